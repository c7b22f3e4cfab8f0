/* What linearization.c and passes.c share: the local gradients along a graph of numbers. */
#ifndef CHAINRULE_LINEARIZATION_H
#define CHAINRULE_LINEARIZATION_H

#include "messages.h"

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
    PyObject *levels;      /* those of nodes from outside, if these are constants: a set; else NULL */
} Linearization;

typedef struct { /* what a function of numbers has computed */
    int64_t level;
    Py_ssize_t n_inputs, n_outputs, count;
    Node **inputs, **outputs; /* NULL where an output is no node */
    Node **order;             /* all in between: children before parents */
} Graph;

/* While a file here is at work on a graph, the number of a node stands in place of its gradient: what
   depends on an input of a transformation has none that could be read. No Python runs until it is back. */
static inline void set_number(Node *node, int64_t number) { memcpy(&node->grad, &number, sizeof number); }
static inline int64_t number_of(const Node *node) {
    int64_t number;
    memcpy(&number, &node->grad, sizeof number);
    return number;
}

/* linearization.c: read it from lists of inputs and outputs: 1, 0 if nodes outlive, -1 with an error.
   With outside, what is of a lower level is a constant. No Python runs from then on. To be freed in each
   case. */
int read_graph(Graph *graph, PyObject *inputs, PyObject *outputs, int64_t level, bool outside);
void free_graph(Graph *graph);

/* in_place.c, release.c, node_passes.c, closed_gradient.c, interactions.c */
extern PyMethodDef IN_PLACE_FUNCTIONS[], RELEASE_FUNCTIONS[], NODE_PASS_FUNCTIONS[], CLOSED_GRADIENT_FUNCTIONS[],
    INTERACTION_FUNCTIONS[];

/* release.c: close a level for the nodes of an order, by steps */

enum { MOVING, FIXED, STANDING }; /* what a node is to those computed from it: one from outside, a number, its operand */

typedef struct {   /* of a node of the level */
    double grad;   /* its own: its number in the order stands there */
    int64_t level; /* that it will have */
    int state;
} Mark;

typedef struct {
    int64_t level, floor; /* what a trace records stays in the trace */
    Py_ssize_t count;
    Node **order; /* references: children before parents */
    Mark *marks;
} Closing;

/* Take references and mark the nodes; -1 with an error. From then on their numbers stand in them. */
int begin_closing(Closing *closing, PyObject *inputs);
int close_order(const Closing *closing); /* give them their operands; -1 with an error */
void restore(const Closing *closing, bool closed); /* and give them their levels, if it is closed */
void end_closing(Closing *closing); /* Python may run */

/* The place of a node in the order, -1 if it is not there; while they are marked. */
static inline int64_t place_of(const Closing *closing, const Node *node) {
    int64_t place = number_of(node);
    return place >= 0 && place < closing->count && closing->order[place] == node ? place : -1;
}

/* node_passes.c: whether the table has a program for a local gradient; and it, of what is but a number or not:
   a new reference, NULL with an error */
bool has_program(const Node *node, Py_ssize_t position);
PyObject *local_grad_of(Node *node, Py_ssize_t position, bool fixed);
/* Whether an operand is sent a message: see Operation.deciding. */
bool is_sent(const Node *node, PyObject *local);
/* Add a change times a local gradient to a sum, None for nothing; -1 with an error. */
int add_message(PyObject **sum, PyObject *change, PyObject *local);

/* passes.c: the methods */
extern PyMethodDef PASS_METHODS[];

/* linearization.c: compute the local gradients of a node from Python; -1 with an error. */
int compute_local_grads(Linearization *self, Py_ssize_t number);

/* What comes with one sum along an edge: nothing if that has reached it. */
static inline double sent(double sum, double local) {
    return is_nothing(sum) ? NOTHING : sum * local + 0.0;
}

#endif
