/* What is sent along edges, in every pass: gradients to operands, tangents from them. */
#ifndef CHAINRULE_MESSAGES_H
#define CHAINRULE_MESSAGES_H

#include "rules.h"

/* The sum of no messages: messages and their sums with it never are -0.0, as 0.0 is added to them. */
static const double NOTHING = -0.0;

static inline bool is_nothing(double sum) {
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return bits == (uint64_t)1 << 63;
}

/* The operands of a node as numbers; x has room for all. */
static inline void read_operands(const Node *node, Py_ssize_t count, double *x) {
    for (Py_ssize_t i = 0; i < count; i++) x[i] = operand_number(node, i);
}

/* Whether a message goes along an edge with a local gradient: to an operand that is not picked none does.
   See Operation.deciding. */
static inline bool picked(int code, double local, const double *x) {
    return !(properties_of(code) & PICKS) || (code == MESSAGE ? x[0] : local) != 0.0;
}

#endif
