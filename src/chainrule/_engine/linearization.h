/* What linearization.c and passes.c share: the local gradients along a graph of numbers. */
#ifndef CHAINRULE_LINEARIZATION_H
#define CHAINRULE_LINEARIZATION_H

#include "engine.h"

typedef struct {    /* from a node to an operand in the graph */
    double local;   /* the local gradient */
    int32_t source; /* the operand's number */
    bool picked;    /* whether messages go along: not if the operation has not picked the operand */
    bool known;     /* whether the local gradient is computed; a user's are once they are needed */
} Edge;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;     /* of nodes, which go by their numbers: parents before children */
    Py_ssize_t *first;    /* by node, the place of its first edge; and the end */
    Edge *edges;
    Py_ssize_t n_inputs, n_outputs;
    int32_t *inputs, *outputs; /* the numbers of these; -1 if not in the graph */
    Py_ssize_t n_unknown; /* nodes whose local gradients are computed in Python */
    int32_t *unknown;     /* their numbers, growing */
    Node **unknown_nodes; /* references */
    PyObject *local_grads; /* gives the local gradients of such a node, as a list of floats */
} Linearization;

/* passes.c: the methods */
extern PyMethodDef PASS_METHODS[];

/* linearization.c: compute the local gradients of a node from Python; -1 with an error. */
int compute_local_grads(Linearization *self, Py_ssize_t number);

#endif
