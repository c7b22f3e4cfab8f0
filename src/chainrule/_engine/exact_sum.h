/* Sums of floats without error, rounded once at the end. */
#ifndef CHAINRULE_EXACT_SUM_H
#define CHAINRULE_EXACT_SUM_H

#include <stdint.h>

/* A whole number of 2**-1074, the smallest float, in digits of 32 bits, each with room for the carries
   of 2**31 terms. */
enum { DIGITS = 68 };
typedef struct {
    int64_t digit[DIGITS];
    int low, high; /* the digits in use: from low on, before high */
} ExactSum;

void exact_start(ExactSum *sum);
void exact_add(ExactSum *sum, double x); /* x is finite */
double exact_rounded(ExactSum *sum);     /* half to even; 0.0 for none; infinite if too large */

#endif
