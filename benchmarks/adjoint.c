/* The practical limit: value and adjoint of the Asian option of compiled_cases/asian.py, by hand.

   A block of paths is worked on at once, in loops over its lanes that the C compiler turns into
   vector instructions; exp comes from the C library's vector mathematics where it has one. Threads
   share the blocks. compiled_cases/asian_by_hand.py compiles this file for the occasion. */

#include <stdlib.h>

#define LANES 16

/* glibc declares its vector functions for -ffast-math only, which is not wanted here. */
#if defined(__x86_64__) && defined(__GLIBC__)
#pragma omp declare simd notinbranch
#endif
extern double exp(double);
extern double sqrt(double);

/* parameters: spot, strike, rate, volatility, years and barrier. With knock_out a path whose price
   was ever above the barrier is worth nothing. normals: paths rows of steps numbers. value: one
   number a path; gradient: by spot, strike, rate and volatility, each for all paths.
   Returns 0, or 1 if there was no memory. */
int adjoint(const double *parameters, int knock_out, const double *normals, long paths, long steps,
            int threads, double *value, double *gradient)
{
    const double spot = parameters[0], strike = parameters[1], rate = parameters[2];
    const double vol = parameters[3], years = parameters[4], barrier = parameters[5];
    const double dt = years / steps, root_dt = sqrt(dt);
    const double drift = (rate - 0.5 * vol * vol) * dt, scale = vol * root_dt;
    const double discount = exp(-rate * years);
    const long block = steps * LANES;
    int failed = 0;

#pragma omp parallel num_threads(threads)
    {
        /* Of each step, for the block's lanes: the normals, the factors and the prices. */
        double *z = aligned_alloc(64, 3 * block * sizeof(double));
        double *growth = z + block, *price = growth + block;
        if (z == NULL) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for
        for (long first = 0; first < paths; first += LANES) {
            if (z == NULL)
                continue;
            double s[LANES], top[LANES], total[LANES];
            double share[LANES], strike_bar[LANES], s_bar[LANES], drift_bar[LANES], scale_bar[LANES];
            const int lanes = paths - first < LANES ? (int)(paths - first) : LANES;
            for (int l = 0; l < LANES; l++) {
                const double *row = normals + (first + (l < lanes ? l : 0)) * steps;
                for (long i = 0; i < steps; i++)
                    z[i * LANES + l] = row[i];
                s[l] = top[l] = spot;
                total[l] = 0.0;
            }
            for (long i = 0; i < steps; i++) {
                double *zi = z + i * LANES, *gi = growth + i * LANES, *pi = price + i * LANES;
#pragma omp simd
                for (int l = 0; l < LANES; l++) {
                    gi[l] = exp(drift + scale * zi[l]);
                    s[l] *= gi[l];
                    pi[l] = s[l];
                    total[l] += s[l];
                }
                if (knock_out)
#pragma omp simd
                    for (int l = 0; l < LANES; l++)
                        top[l] = s[l] > top[l] ? s[l] : top[l];
            }
#pragma omp simd
            for (int l = 0; l < LANES; l++) {
                const double excess = total[l] / steps - strike;
                const int paid = excess > 0.0 && (!knock_out || top[l] <= barrier);
                s[l] = paid ? discount * excess : 0.0;
                strike_bar[l] = paid ? -discount : 0.0;
                share[l] = paid ? discount / steps : 0.0;
                s_bar[l] = drift_bar[l] = scale_bar[l] = 0.0;
            }
            for (long i = steps - 1; i >= 0; i--) {
                double *zi = z + i * LANES, *gi = growth + i * LANES, *pi = price + i * LANES;
#pragma omp simd
                for (int l = 0; l < LANES; l++) {
                    s_bar[l] += share[l];
                    const double exponent_bar = s_bar[l] * pi[l];
                    drift_bar[l] += exponent_bar;
                    scale_bar[l] += exponent_bar * zi[l];
                    s_bar[l] *= gi[l];
                }
            }
            for (int l = 0; l < lanes; l++) {
                double *by = gradient + first + l;
                value[first + l] = s[l];
                by[0] = s_bar[l];
                by[paths] = strike_bar[l];
                by[2 * paths] = drift_bar[l] * dt - years * s[l];
                by[3 * paths] = scale_bar[l] * root_dt - drift_bar[l] * vol * dt;
            }
        }
        free(z);
    }
    return failed;
}
