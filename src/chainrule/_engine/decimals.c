/* Rounding to decimals, as Python's round: the float nearest to the exact decimal result. */
#include "functions.h"

#include <Python.h>
#include <string.h>

enum { EXACT = 766 }; /* decimals behind the first digit that write any float exactly */

/* |x| rounded; x is finite and not 0. NaN with an error if there is no memory. */
static double rounded_size(double x, int digits) {
    char *text = PyOS_double_to_string(fabs(x), 'e', EXACT, 0, NULL);
    if (text == NULL) return POSITIVE_NAN;
    /* One place of room for a carry, then "d.ddd…e±dd" as the figures of a whole number */
    char figure[EXACT + 32];
    figure[0] = '0';
    figure[1] = text[0];
    memcpy(figure + 2, text + 2, EXACT);
    int exponent = (int)strtol(text + EXACT + 3, NULL, 10);
    PyMem_Free(text);
    int kept = exponent + 1 + digits; /* how many digits stay, after the place of the carry */
    if (kept > EXACT) return fabs(x);
    if (kept < 0) return 0.0;
    char *end = figure + 1 + kept;
    bool up = *end > '5';
    if (*end == '5') {
        up = (end[-1] - '0') % 2 == 1;
        for (const char *rest = end + 1; rest <= figure + EXACT + 1 && !up; rest++) up = *rest != '0';
    }
    if (up) {
        char *last = end - 1;
        for (; *last == '9'; last--) *last = '0';
        ++*last;
    }
    snprintf(end, 16, "e%d", -digits);
    double size = PyOS_string_to_double(figure, NULL, NULL);
    return size < 0.0 ? POSITIVE_NAN : size; /* -1 with an error */
}

double ieee_round_half_even(double x, double digits) {
    if (!isfinite(x)) return x;
    if (isnan(digits) || (isfinite(digits) && digits != floor(digits))) return POSITIVE_NAN;
    if (digits == 0.0 || x == 0.0) return copysign(rint(x), x);
    double limited = digits < -5000.0 ? -5000.0 : digits > 5000.0 ? 5000.0 : digits;
    return copysign(rounded_size(x, (int)limited), x);
}
