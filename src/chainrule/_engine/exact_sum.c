/* Sums of floats without error: a fixed-point number that spans all floats. */
#include "exact_sum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define BASE 4294967296 /* 2**32 */

void exact_start(ExactSum *sum) { sum->low = sum->high = -1; }

void exact_add(ExactSum *sum, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    if (exponent == 0) exponent = 1; /* subnormal */
    else fraction |= (uint64_t)1 << 52;
    int shift = exponent - 1, place = shift / 32, within = shift % 32;
    uint64_t low = (fraction & 0xffffffff) << within, high = (fraction >> 32) << within;
    high += low >> 32; /* at most 21 bits, moved by 31, and a carry */
    int64_t part[3] = {(int64_t)(low & 0xffffffff), (int64_t)(high & 0xffffffff), (int64_t)(high >> 32)};
    if (sum->low < 0) sum->low = sum->high = place;
    while (sum->low > place) sum->digit[--sum->low] = 0;
    while (sum->high < place + 3) sum->digit[sum->high++] = 0;
    for (int i = 0; i < 3; i++) sum->digit[place + i] += bits >> 63 ? -part[i] : part[i];
}

/* Bring the digits into [0, 2**32); what is left over at the top tells the sign. */
static int64_t carried(ExactSum *sum) {
    int64_t carry = 0;
    for (int i = sum->low; i < sum->high; i++) {
        int64_t total = sum->digit[i] + carry, rest = total % BASE;
        if (rest < 0) rest += BASE;
        sum->digit[i] = rest;
        carry = (total - rest) / BASE;
    }
    return carry;
}

double exact_rounded(ExactSum *sum) {
    if (sum->low < 0) return 0.0;
    int64_t carry = carried(sum);
    bool negative = carry < 0;
    if (negative) {
        for (int i = sum->low; i < sum->high; i++) sum->digit[i] = -sum->digit[i];
        carry = -carry + carried(sum);
    }
    int top = sum->high - 1;
    if (carry > 0) sum->digit[++top] = carry; /* less than 2**32 for so many terms */
    while (top > sum->low && sum->digit[top] == 0) top--;
    if (sum->digit[top] == 0) return 0.0;
    /* The leading 64 bits, and whether anything is below them. */
    uint64_t lead = (uint64_t)sum->digit[top] << 32;
    uint64_t below = 0;
    if (top - 1 >= sum->low) lead |= (uint64_t)sum->digit[top - 1];
    if (top - 2 >= sum->low) below = (uint64_t)sum->digit[top - 2];
    int moved = 0;
    while (!(lead >> 63)) {
        lead = lead << 1 | (below >> 31 & 1);
        below = below << 1 & 0xffffffff;
        moved++;
    }
    for (int i = top - 3; i >= sum->low && below == 0; i--) below = (uint64_t)sum->digit[i];
    /* 53 of them, the last of which is worth 2**exponent; fewer are left of a sum under 2**-1021, exact. */
    uint64_t whole = lead >> 11, rest = lead & 0x7ff;
    if (rest > 0x400 || (rest == 0x400 && (below != 0 || whole & 1))) whole++;
    int exponent = 32 * top - 32 - moved + 11 - 1074;
    double size = ldexp((double)whole, exponent);
    return negative ? -size : size;
}
