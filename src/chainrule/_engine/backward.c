/* Backpropagation in place, for graphs in which no Python runs. The twin of `backward` of
   backpropagation.py, whose gradients are kept apart from the nodes (see apart.c).

   The second pass sends each node's gradient to its operands. Nothing in it can fail, and nobody can
   look on. -0.0 marks a gradient that no message has reached: messages are never -0.0, nor are their
   sums with it, as 0.0 is added to them. */
#include "functions.h"
#include "walk.h"

/* Follow an edge to a node: whether it was the last one, of an operation. At the first one, before it
   is sent anything, clear its gradient. To tell the first from the others, the edges left are counted
   as a negative number. Leaves send nothing, and add to what they hold. */
static inline bool is_last_edge(Node *operand) {
    if (operand->code == LEAF) {
        operand->pending = 0;
        return false;
    }
    int32_t left = operand->pending;
    if (left > 0) {
        left = -left;
        operand->grad = -0.0;
    }
    operand->pending = ++left;
    return left == 0;
}

/* The messages of an operation that has no case in `send`. x has room for its operands. */
static void send_by_table(Node *node, double g, double *x) {
    int code = node->code;
    Py_ssize_t n = operand_count(node);
    bool picks = properties_of(code) & PICKS;
    for (Py_ssize_t i = 0; i < n; i++) x[i] = operand_number(node, i);
    for (Py_ssize_t i = 0; i < n; i++) {
        Node *operand = operand_node(node, i);
        if (operand == NULL || ignores(code, i)) continue;
        double local = local_gradient(code, i, node->number, x, n);
        if (picks && (code == MESSAGE ? x[0] : local) == 0.0) continue;
        operand->grad += g * local + 0.0;
    }
}

/* Add a node's gradient times its local gradients to its operands' gradients. The cases are the
   most frequent rows of the table. */
static inline void send(Node *node, double *x) {
    double g = node->grad;
    Node *a = node->a, *b = node->b;
    if (g == 0.0 && signbit(g)) {
        node->grad = 0.0;
        return;
    }
    switch (node->code) {
    case ADD:
        if (a != NULL) a->grad += g;
        if (b != NULL) b->grad += g;
        break;
    case SUBTRACT:
        if (a != NULL) a->grad += g;
        if (b != NULL) b->grad += 0.0 - g;
        break;
    case MULTIPLY: {
        double u = a != NULL ? a->number : constant_of(node), v = b != NULL ? b->number : constant_of(node);
        if (a != NULL) a->grad += g * v + 0.0;
        if (b != NULL) b->grad += g * u + 0.0;
        break;
    }
    case DIVIDE: {
        double v = b != NULL ? b->number : constant_of(node);
        if (a != NULL) a->grad += g * (1.0 / v) + 0.0;
        if (b != NULL) b->grad += g * -(node->number / v) + 0.0;
        break;
    }
    case NEGATIVE:
        a->grad += 0.0 - g;
        break;
    case RELU:
    case TANH:
    case EXP:
    case LOG:
    case SQRT:
    case SIN:
    case COS: {
        double slope = slope_of(node->code, node->number, a->number);
        if (node->code != RELU || slope != 0.0) a->grad += g * slope + 0.0;
        break;
    }
    default:
        send_by_table(node, g, x);
    }
}

/* Send the gradients from a root, after the first pass. x has room for the operands of any node.
   The list of nodes that are ready is kept in the walk's array. */
static void send_all(Walk *walk, Node *root, double seed, double *x) {
    Node **ready = walk->nodes, *node = root;
    if (node->code != LEAF) node->grad = -0.0;
    node->pending = 0;
    node->grad += seed + 0.0;
    if (node->code == LEAF) return;
    for (;;) {
        Node *next = NULL;
        PyObject *rest = rest_of(node);
        if (rest == NULL) {
            Node *a = node->a, *b = node->b;
            if (a != NULL && is_last_edge(a)) next = a;
            if (b != NULL && is_last_edge(b)) {
                if (next != NULL) *ready++ = next;
                next = b;
            }
        } else {
            for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rest); i++) {
                Node *operand = operand_node(node, i);
                if (operand == NULL || !is_last_edge(operand)) continue;
                if (next != NULL) *ready++ = next;
                next = operand;
            }
        }
        send(node, x);
        if (next == NULL) {
            if (ready == walk->nodes) return;
            next = *--ready;
        }
        node = next;
    }
}
