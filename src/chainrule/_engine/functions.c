/* Elementary functions of floats that follow IEEE 754: the twins of ieee.py and special.py. */
#include "functions.h"

#include "exact_sum.h"

static const double SMALLEST_NORMAL = 2.2250738585072014e-308;
static const double LARGEST = 1.7976931348623157e308;
static const double SPLIT = 134217729.0; /* 2**27 + 1, Veltkamp's constant: halves the digits of a number */

static bool is_odd(double y) { return isfinite(y) && fabs(fmod(y, 2.0)) == 1.0; }

double ieee_power(double x, double y) {
    double result = pow(x, y);
    return isnan(result) && !isnan(x) && !isnan(y) ? POSITIVE_NAN : result;
}

double ieee_power_term(double c, double x, double n, double k) {
    if (c == 0.0) return 0.0;
    if (c != c || (x < 0.0 && !(isfinite(n) && n == floor(n)))) return POSITIVE_NAN;
    double base = fabs(x), exponent = n - k, magnitude = ieee_power(base, exponent), result;
    if (x == 0.0 || !(isfinite(c) && isfinite(x) && isfinite(n))) {
        result = magnitude == 0.0 ? 0.0 : c * magnitude;
    } else {
        result = c * magnitude;
        if (!(SMALLEST_NORMAL <= magnitude && magnitude <= LARGEST)) {
            double half = ieee_power(base, 0.5 * exponent);
            result = c * half * half;
        }
        double shift = exponent - n;
        double error = (n - (exponent - shift)) - (k + shift);
        if (error != 0.0 && isfinite(result)) result += result * (error * log(base));
    }
    bool whole = isfinite(n) && n == floor(n);
    bool negative = copysign(1.0, x) < 0.0 && whole && is_odd(n) != is_odd(k);
    return negative ? -result : result;
}

/* Overflow gives infinity, of the right sign, by itself. */

double ieee_exp(double x) { return exp(x); }

double ieee_exp2(double x) {
    volatile double two = 2.0; /* some compilers turn pow(2.0, x) into exp2(x), of other bits */
    return pow(two, x);
}

double ieee_expm1(double x) { return expm1(x); }

double ieee_log(double x) { return x > 0.0 ? log(x) : x == 0.0 ? -HUGE_VAL : POSITIVE_NAN; }

double ieee_log2(double x) { return x > 0.0 ? log2(x) : x == 0.0 ? -HUGE_VAL : POSITIVE_NAN; }

double ieee_log10(double x) { return x > 0.0 ? log10(x) : x == 0.0 ? -HUGE_VAL : POSITIVE_NAN; }

double ieee_log1p(double x) { return x > -1.0 ? log1p(x) : x == -1.0 ? -HUGE_VAL : POSITIVE_NAN; }

double ieee_sqrt(double x) { return x >= 0.0 ? sqrt(x) : POSITIVE_NAN; }

double ieee_cbrt(double x) {
    if (x == 0.0 || !isfinite(x)) return x;
    int exponent;
    double mantissa = frexp(fabs(x), &exponent);
    int thirds = exponent > 0 ? (exponent + 2) / 3 : -(-exponent / 3); /* rounded up */
    mantissa = ldexp(mantissa, exponent - 3 * thirds);
    double start = floor(pow(mantissa, 1.0 / 3.0) * 65536.0 + 0.5) / 65536.0;
    double cube = start * start * start;
    double d = (mantissa - cube) / cube;
    double series = d * (1.0 / 3.0 - d * (1.0 / 9.0 - d * (5.0 / 81.0 - d * (10.0 / 243.0))));
    double root = start + start * series;
    return copysign(ldexp(root, thirds), x);
}

double ieee_sin(double x) { return isfinite(x) ? sin(x) : POSITIVE_NAN; }

double ieee_cos(double x) { return isfinite(x) ? cos(x) : POSITIVE_NAN; }

double ieee_tan(double x) { return isfinite(x) ? tan(x) : POSITIVE_NAN; }

double ieee_asin(double x) { return -1.0 <= x && x <= 1.0 ? asin(x) : POSITIVE_NAN; }

double ieee_acos(double x) { return -1.0 <= x && x <= 1.0 ? acos(x) : POSITIVE_NAN; }

double ieee_atan(double x) { return atan(x); }

double ieee_atan2(double y, double x) { return atan2(y, x); }

double ieee_sinh(double x) { return sinh(x); }

double ieee_cosh(double x) { return cosh(x); }

double ieee_tanh(double x) { return tanh(x); }

double ieee_sech2(double x) {
    double e = exp(-2.0 * fabs(x));
    return 4.0 * e / (1.0 + e * (2.0 + e));
}

double ieee_asinh(double x) { return asinh(x); }

double ieee_acosh(double x) { return x >= 1.0 ? acosh(x) : POSITIVE_NAN; }

double ieee_atanh(double x) {
    if (-1.0 < x && x < 1.0) return atanh(x);
    return fabs(x) == 1.0 ? copysign(HUGE_VAL, x) : POSITIVE_NAN;
}

/* math.hypot is an algorithm of Python's own, another in each version: it is called as it is, on floats
   that live on the stack. It runs no Python, and makes no object that the garbage collector counts. */

typedef PyObject *(*Fast)(PyObject *, PyObject *const *, Py_ssize_t);
static PyObject *HYPOT_FUNCTION;
static Fast HYPOT_FAST; /* what is behind it, if known: called past the limit of recursion */

int find_hypot(void) {
    PyObject *math = PyImport_ImportModule("math");
    if (math == NULL) return -1;
    Py_XSETREF(HYPOT_FUNCTION, PyObject_GetAttrString(math, "hypot"));
    Py_DECREF(math);
    if (HYPOT_FUNCTION == NULL) return -1;
    if (!PyCFunction_Check(HYPOT_FUNCTION)) { /* another could keep the floats, or give no float */
        PyErr_SetString(PyExc_ImportError, "math.hypot is not Python's own");
        return -1;
    }
    if (PyCFunction_GET_FLAGS(HYPOT_FUNCTION) == METH_FASTCALL)
        HYPOT_FAST = (Fast)(void (*)(void))PyCFunction_GET_FUNCTION(HYPOT_FUNCTION);
    return 0;
}

enum { ON_STACK = 16 };

/* The length of the numbers times 2**-exponent. */
static double scaled_hypot(const double *x, Py_ssize_t count, int exponent) {
    PyFloatObject few[ON_STACK], *floats = few;
    PyObject *few_args[ON_STACK], **args = few_args, *result = NULL;
    if (count > ON_STACK) {
        floats = PyMem_RawMalloc((size_t)count * sizeof *floats);
        args = PyMem_RawMalloc((size_t)count * sizeof *args);
    }
    if (floats != NULL && args != NULL) {
        for (Py_ssize_t i = 0; i < count; i++) {
            floats[i] = (PyFloatObject){PyObject_HEAD_INIT(&PyFloat_Type).ob_fval = ldexp(x[i], -exponent)};
            args[i] = (PyObject *)&floats[i];
        }
        result = HYPOT_FAST != NULL
                     ? HYPOT_FAST(PyCFunction_GET_SELF(HYPOT_FUNCTION), args, count)
                     : PyObject_Vectorcall(HYPOT_FUNCTION, args, (size_t)count, NULL);
    }
    if (floats != few) PyMem_RawFree(floats);
    if (args != few_args) PyMem_RawFree(args);
    double length = 0.0;
    if (result != NULL) {
        length = PyFloat_AS_DOUBLE(result);
        Py_DECREF(result);
    } else { /* no memory for a float: C's, which may differ in the last bit */
        PyErr_Clear();
        for (Py_ssize_t i = 0; i < count; i++) length = hypot(length, ldexp(x[i], -exponent));
    }
    return length;
}

double ieee_hypot(const double *x, Py_ssize_t count) { return scaled_hypot(x, count, 0); }

/* x**2 as a number of at most 53 bits and a remainder, for x of moderate size. */
static void exact_square(double x, double *square, double *remainder) {
    double big = SPLIT * x;
    double high = big - (big - x);
    double low = x - high;
    *square = high * high;
    *remainder = low * (high + x);
}

/* p / hypot(x)**power of the numbers times 2**-exponent, for a length of moderate size. */
static double over_length(double p, int power, double length, const double *x, Py_ssize_t count,
                          int exponent) {
    if (power == 1) return p / length;
    ExactSum sum;
    exact_start(&sum);
    for (Py_ssize_t i = 0; i < count; i++) {
        double square, remainder;
        exact_square(ldexp(x[i], -exponent), &square, &remainder);
        exact_add(&sum, square);
        exact_add(&sum, remainder);
    }
    return p / exact_rounded(&sum);
}

/* p / hypot(x)**power for a power of 1 or 2. */
static double over_power(double p, int power, const double *x, Py_ssize_t count) {
    double length = ieee_hypot(x, count);
    if (1e-140 < length && length < 1e140) return over_length(p, power, length, x, count, 0);
    Py_ssize_t infinite = 0;
    bool nan = p != p;
    for (Py_ssize_t i = 0; i < count; i++) {
        infinite += isinf(x[i]) ? 1 : 0;
        nan = nan || x[i] != x[i];
    }
    if (nan) return POSITIVE_NAN;
    if (infinite > 0 && isinf(p) && power == 1) return infinite == 1 ? copysign(1.0, p) : POSITIVE_NAN;
    if (infinite > 0) return 0.0;
    if (length == 0.0) return p == 0.0 && power == 1 ? 0.0 : ieee_divide(p, 0.0);
    int exponent = -2000, one, p_exponent = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (x[i] == 0.0) continue;
        frexp(x[i], &one);
        if (one > exponent) exponent = one;
    }
    double mantissa = isinf(p) ? p : frexp(p, &p_exponent);
    length = scaled_hypot(x, count, exponent);
    double quotient = over_length(mantissa, power, length, x, count, exponent);
    return ieee_ldexp(quotient, (double)(p_exponent - power * exponent));
}

double over_norm_of(double p, const double *x, Py_ssize_t count) { return over_power(p, 1, x, count); }

double over_squares_of(double p, const double *x, Py_ssize_t count) { return over_power(p, 2, x, count); }

double ieee_over_norm(const double *x, Py_ssize_t count) { return over_norm_of(x[0], x + 1, count - 1); }

double ieee_over_squares(const double *x, Py_ssize_t count) { return over_squares_of(x[0], x + 1, count - 1); }

double ieee_message(double reached, double global_grad, double local_grad) {
    return reached != 0.0 ? global_grad * local_grad : 0.0;
}

double ieee_less(double x, double y) { return x < y ? 1.0 : 0.0; }

double ieee_less_equal(double x, double y) { return x <= y ? 1.0 : 0.0; }

double ieee_equal(double x, double y) { return x == y ? 1.0 : 0.0; }

double ieee_not_equal(double x, double y) { return x != y ? 1.0 : 0.0; }

double ieee_sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x + 0.0; }

double ieee_maximum(double x, double y) {
    if (x > y || x != x) return x;
    if (y > x || y != y) return y;
    return copysign(1.0, x) < 0.0 ? y : x;
}

double ieee_minimum(double x, double y) {
    if (x < y || x != x) return x;
    if (y < x || y != y) return y;
    return copysign(1.0, x) < 0.0 ? x : y;
}

double ieee_greater(double x, double y) {
    if (x > y) return 1.0;
    if (x == y) return 0.5;
    return x < y ? 0.0 : POSITIVE_NAN;
}

double ieee_copysign(double x, double y) { return copysign(x, y); }

double ieee_floor(double x) { return floor(x); }

double ieee_ceil(double x) { return ceil(x); }

double ieee_trunc(double x) { return trunc(x); }

/* x % y of Python's floats, for y that is not 0. */
double ieee_mod(double x, double y) {
    if (y == 0.0) return POSITIVE_NAN;
    double rest = fmod(x, y);
    if (rest == 0.0) return copysign(0.0, y);
    return (y < 0.0) != (rest < 0.0) ? rest + y : rest;
}

/* x // y of Python's floats: the quotient of what a remainder leaves, nearly whole, made whole. */
double ieee_floor_divide(double x, double y) {
    if (y == 0.0) return ieee_divide(x, y);
    double rest = fmod(x, y);
    double quotient = (x - rest) / y;
    if (rest != 0.0 && (y < 0.0) != (rest < 0.0)) quotient -= 1.0;
    if (quotient == 0.0) return copysign(0.0, x / y);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

double ieee_fmod(double x, double y) { return y == 0.0 || isinf(x) ? POSITIVE_NAN : fmod(x, y); }

double ieee_remainder(double x, double y) {
    if (y == 0.0 || isinf(x)) return POSITIVE_NAN;
    double rest = remainder(x, y);
    return rest == 0.0 ? copysign(0.0, x) : rest; /* in some libraries, it has another sign */
}

double ieee_ldexp(double x, double exponent) {
    if (exponent != exponent || (isfinite(exponent) && exponent != floor(exponent))) return POSITIVE_NAN;
    if (x == 0.0 || !isfinite(x)) return x;
    return ldexp(x, exponent < -5000.0 ? -5000 : exponent > 5000.0 ? 5000 : (int)exponent);
}

double ieee_fma(double x, double y, double z) {
    if (!(isfinite(x) && isfinite(y)) || x == 0.0 || y == 0.0) return x * y + z;
    return isfinite(z) ? fma(x, y, z) : z;
}

double ieee_fsum(const double *x, Py_ssize_t count) {
    ExactSum sum;
    exact_start(&sum);
    double others = 0.0; /* infinities and NaN */
    bool finite = true;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (isfinite(x[i])) {
            exact_add(&sum, x[i]);
        } else {
            others += x[i];
            finite = false;
        }
    }
    return finite ? exact_rounded(&sum) : others;
}

double ieee_sigmoid(double x) {
    if (x >= 0.0) return 1.0 / (1.0 + exp(-x));
    double e = exp(x);
    return e / (1.0 + e);
}

double ieee_softplus(double x) {
    return x == x ? (0.0 > x ? 0.0 : x) + log1p(exp(-fabs(x))) : x;
}

double ieee_identity(double x) { return x; }

/* special.py */

static const double SQRT_HALF = 0.7071067811865476;
static const double SQRT_HALF_ERROR = -4.833646656726457e-17; /* sqrt(1/2) - SQRT_HALF */
static const double INV_SQRT_2PI = 0.3989422804014327;
static const double INV_SQRT_2PI_ERROR = -6.247337834861335e-17; /* 1 / sqrt(2 pi) is INV_SQRT_2PI (1 + this) */
static const double TWO_OVER_SQRT_PI = 1.1283791670955126;

double special_erf(double x) { return erf(x); }

double special_erfc(double x) { return erfc(x); }

double special_gaussian(double x) {
    if (!(fabs(x) < 100.0)) return exp(-x * x);
    double high, low;
    exact_square(x, &high, &low);
    double e = exp(-high);
    return e + e * expm1(-low);
}

double special_norm_pdf(double x) {
    if (!(fabs(x) < 100.0)) return exp(-x * x);
    double high, low;
    exact_square(x, &high, &low);
    double e = exp(-0.5 * high);
    return INV_SQRT_2PI * (e + e * (expm1(-0.5 * low) + INV_SQRT_2PI_ERROR));
}

double special_norm_cdf(double x) {
    if (!(fabs(x) < 100.0)) return 0.5 * erfc(-x);
    double t = -x * SQRT_HALF;
    double big = SPLIT * x;
    double xh = big - (big - x);
    double xl = x - xh;
    big = SPLIT * SQRT_HALF;
    double ch = big - (big - SQRT_HALF);
    double cl = SQRT_HALF - ch;
    double error = ((-xh * ch - t) - xh * cl - xl * ch) - xl * cl - x * SQRT_HALF_ERROR;
    return 0.5 * (erfc(t) - TWO_OVER_SQRT_PI * special_gaussian(t) * error);
}
