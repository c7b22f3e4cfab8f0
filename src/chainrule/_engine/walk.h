/* A walk over a graph: what walk.c, backward.c and apart.c share. */
#ifndef CHAINRULE_WALK_H
#define CHAINRULE_WALK_H

#include "engine.h"

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

int count_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level);
int follow_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level);
void clear_marks(Walk *walk);
void end_walk(Walk *walk);

/* apart.c */
int backward_apart(Node *const *order, Py_ssize_t n, double seed);

/* A function of chainrule.backpropagation. */
PyObject *reference(const char *name);

#endif
