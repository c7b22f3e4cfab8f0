/* A walk over a graph: what walk.c, stale.c, apart.c and backward.c share. */
#ifndef CHAINRULE_WALK_H
#define CHAINRULE_WALK_H

#include "messages.h"

/* What the first pass has found. One array is all the memory of a walk: all nodes that the first pass
   has come to are in it, so that their marks can be cleared when memory ends; the second pass keeps its
   own lists there, which never hold more nodes than these. */
typedef struct {
    Node **nodes; /* once each, in no particular order */
    Py_ssize_t count, capacity;
    Py_ssize_t edges;  /* from nodes whose operands are in a tuple */
    Py_ssize_t widest; /* the most operands in a tuple */
    Py_ssize_t leaves;
    int64_t oldest;   /* the least serial of an operation */
    bool runs_python; /* an operation does, which may raise or let another thread run */
    bool open;        /* it has operands of a level outside */
} Walk;

/* walk.c */
int count_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level);
int follow_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level);
void clear_marks(Walk *walk);
void end_walk(Walk *walk);

/* Whether Python runs in a node: a user's class or operation, or a row such as gamma. */
static inline bool node_runs_python(const Node *node) {
    if (node->code < OTHERS) return node->code == LEAF && rest_of(node) != NULL;
    return !(properties_of(node->code) & NATIVE);
}

/* Whether an operand has got another number since. */
static inline bool has_newer_operand(const Node *node) {
    if (node->serial >= LAST_SET) return false;
    PyObject *rest = rest_of(node);
    Py_ssize_t n = rest != NULL ? PyTuple_GET_SIZE(rest) : 2;
    for (Py_ssize_t i = 0; i < n; i++) {
        Node *operand = operand_node(node, i);
        if (operand != NULL && operand->serial > node->serial) return true;
    }
    return false;
}

/* stale.c: 1 or 0, 0 or -1; -1 with an error */
int is_stale(Node *node);
int check_fresh(Node *const *order, Py_ssize_t n);

/* backward.c: the function of backpropagation.py; 1: sent, 0: not, and the first pass is done; -1 with an error */
int send_gradients(Node *root, Node *const *inputs, Py_ssize_t n_inputs, Walk *walk);

/* apart.c */
int backward_apart(Node *const *order, Py_ssize_t n, double seed, bool anomaly);

/* A function of chainrule.backpropagation, a new reference. */
PyObject *reference(const char *name);

/* The local gradient by an operand that is a node, and the message to it; false if none is sent. x are
   the operands' numbers. */
static inline bool message_to(const Node *node, Py_ssize_t position, double g, const double *x, Py_ssize_t n,
                              double *local, double *message) {
    int code = node->code;
    if (ignores(code, position)) return false;
    *local = local_gradient(code, position, node->number, x, n);
    *message = g * *local;
    return picked(code, *local, x);
}

#endif
