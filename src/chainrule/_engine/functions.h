/* Elementary functions of floats that follow IEEE 754: the twins of ieee.py and special.py.

   The bits are those of the Python files: where these call a function of `math`, the function of C
   that it calls is called here, or an exact one. */
#ifndef CHAINRULE_FUNCTIONS_H
#define CHAINRULE_FUNCTIONS_H

#include <Python.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* As math.nan: the NaN of <math.h> is negative with some compilers, which copysign would show. */
static inline double positive_nan(void) {
    union {
        uint64_t bits;
        double number;
    } nan = {UINT64_C(0x7ff8000000000000)};
    return nan.number;
}
#define POSITIVE_NAN positive_nan()

/* ieee.py */

static inline double ieee_divide(double x, double y) {
    if (y == 0.0) {
        if (x == 0.0 || x != x) return POSITIVE_NAN;
        return copysign(HUGE_VAL, x) * copysign(1.0, y);
    }
    return x / y;
}
double ieee_power(double x, double y);
double ieee_power_term(double c, double x, double n, double k);
double ieee_exp(double x);
double ieee_exp2(double x);
double ieee_expm1(double x);
double ieee_log(double x);
double ieee_log2(double x);
double ieee_log10(double x);
double ieee_log1p(double x);
double ieee_sqrt(double x);
double ieee_cbrt(double x);
double ieee_sin(double x);
double ieee_cos(double x);
double ieee_tan(double x);
double ieee_asin(double x);
double ieee_acos(double x);
double ieee_atan(double x);
double ieee_atan2(double y, double x);
double ieee_sinh(double x);
double ieee_cosh(double x);
double ieee_tanh(double x);
double ieee_sech2(double x);
double ieee_asinh(double x);
double ieee_acosh(double x);
double ieee_atanh(double x);
double ieee_hypot(const double *x, Py_ssize_t count);
double ieee_over_norm(const double *x, Py_ssize_t count);    /* p and the numbers after it */
double ieee_over_squares(const double *x, Py_ssize_t count); /* likewise */
double over_squares_of(double p, const double *x, Py_ssize_t count);
double over_norm_of(double p, const double *x, Py_ssize_t count);
static inline double ieee_azmul(double x, double y) { return x == 0.0 && isinf(y) ? 0.0 : x * y; }
double ieee_message(double reached, double global_grad, double local_grad);
double ieee_less(double x, double y);
double ieee_less_equal(double x, double y);
double ieee_equal(double x, double y);
double ieee_not_equal(double x, double y);
static inline double ieee_nonnegative(double x) { return x > 0.0 ? x : x == 0.0 ? 0.0 : POSITIVE_NAN; }
double ieee_sign(double x);
static inline double ieee_step(double x) { return x > 0.0 ? 1.0 : x != x ? x : 0.0; }
static inline double ieee_relu(double x) { return x > 0.0 || x != x ? x : 0.0; }
double ieee_maximum(double x, double y);
double ieee_minimum(double x, double y);
double ieee_greater(double x, double y);
double ieee_copysign(double x, double y);
double ieee_floor(double x);
double ieee_ceil(double x);
double ieee_trunc(double x);
double ieee_round_half_even(double x, double digits); /* NaN with an error if there is no memory */
double ieee_mod(double x, double y);
double ieee_floor_divide(double x, double y);
double ieee_fmod(double x, double y);
double ieee_remainder(double x, double y);
double ieee_ldexp(double x, double exponent);
double ieee_fma(double x, double y, double z);
double ieee_fsum(const double *x, Py_ssize_t count);
double ieee_sigmoid(double x);
double ieee_softplus(double x);
double ieee_identity(double x);

/* special.py, but for the gamma family, which is mpmath's */

double special_erf(double x);
double special_erfc(double x);
double special_gaussian(double x);
double special_norm_pdf(double x);
double special_norm_cdf(double x);

/* Finds math.hypot; -1 with an error. */
int find_hypot(void);

#endif
