/* Backpropagation in place, for graphs in which no Python runs. The twin of `backward` of
   backpropagation.py, whose gradients are kept apart from the nodes (see apart.c).

   The second pass sends each node's gradient to its operands. Nothing in it can fail, and nobody can
   look on. NOTHING marks a gradient that no message has reached. */
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
        operand->grad = NOTHING;
    }
    operand->pending = ++left;
    return left == 0;
}

/* The messages of an operation that has no case in `send`. x has room for its operands. */
static void send_by_table(Node *node, double g, double *x) {
    Py_ssize_t n = operand_count(node);
    read_operands(node, n, x);
    for (Py_ssize_t i = 0; i < n; i++) {
        double local, message;
        Node *operand = operand_node(node, i);
        if (operand != NULL && message_to(node, i, g, x, n, &local, &message)) operand->grad += message + 0.0;
    }
}

/* Add a node's gradient times its local gradients to its operands' gradients. The cases are the
   most frequent rows of the table. */
static inline void send(Node *node, double *x) {
    double g = node->grad;
    Node *a = node->a, *b = node->b;
    if (g == 0.0 && is_nothing(g)) { /* the first is quicker */
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
        if (a != NULL) a->grad += g * ieee_divide(1.0, v) + 0.0;
        if (b != NULL) b->grad += g * -ieee_divide(node->number, v) + 0.0;
        break;
    }
    case NEGATIVE:
        a->grad += 0.0 - g;
        break;
    case RELU: {
        double slope = ieee_step(a->number);
        if (slope != 0.0) a->grad += g * slope + 0.0;
        break;
    }
    case TANH:
        a->grad += g * ieee_sech2(a->number) + 0.0;
        break;
    case EXP:
        a->grad += g * node->number + 0.0;
        break;
    default:
        send_by_table(node, g, x);
    }
}

/* Send the gradients from a root, after the first pass. x has room for the operands of any node.
   The list of nodes that are ready is kept in the walk's array. */
static void send_all(Walk *walk, Node *root, double seed, double *x) {
    Node **ready = walk->nodes, *node = root;
    if (node->code != LEAF) node->grad = NOTHING;
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

/* Whether an operand of any of the nodes has got another number since. */
static bool has_set_operand(const Walk *walk) {
    for (Py_ssize_t i = 0; i < walk->count; i++)
        if (has_newer_operand(walk->nodes[i])) return true;
    return false;
}

/* After the first pass: the gradients in place, then the end of the walk; -1 with an error. */
static int send_in_place(Walk *walk, Node *root, double seed) {
    double few[8], *x = few;
    if (walk->widest > 8) x = PyMem_Malloc((size_t)walk->widest * sizeof(double));
    if (x != NULL) {
        send_all(walk, root, seed, x);
    } else {
        clear_marks(walk);
        PyErr_NoMemory();
    }
    if (x != few) PyMem_Free(x);
    end_walk(walk);
    return x == NULL ? -1 : 0;
}

/* Go on where Python runs, or values may be stale: on nodes in order, that are held. */
static int backward_in_order(Walk *walk, Node *root, double seed, bool apart, bool anomaly) {
    if (follow_edges(walk, &root, 1, 0) < 0) {
        end_walk(walk);
        return -1;
    }
    for (Py_ssize_t i = 0; i < walk->count; i++) Py_INCREF(walk->nodes[i]);
    int done = walk->oldest < LAST_SET ? check_fresh(walk->nodes, walk->count) : 0;
    if (done == 0 && apart) done = backward_apart(walk->nodes, walk->count, seed, anomaly);
    for (Py_ssize_t i = 0; i < walk->count; i++) Py_DECREF(walk->nodes[i]);
    end_walk(walk);
    if (done < 0 || apart) return done;
    if (count_edges(walk, &root, 1, 0) < 0) return -1;
    return send_in_place(walk, root, seed);
}

int backward(Node *root, double seed) {
    Walk walk;
    int anomaly = detecting_anomaly();
    if (anomaly < 0 || count_edges(&walk, &root, 1, 0) < 0) return -1;
    bool apart = walk.runs_python || anomaly;
    if (apart || (walk.oldest < LAST_SET && has_set_operand(&walk)))
        return backward_in_order(&walk, root, seed, apart, anomaly);
    return send_in_place(&walk, root, seed);
}

/* Set the gradients of the inputs of a transformation, if its graph is all there is: 1 if so, 0 if not, where the
   first pass is left to be followed or cleared.

   So it is if everything that the root depends on is of its level, and computed from the inputs alone
   by operations of the table: nobody else can see these nodes. */
int send_gradients(Node *root, Node *const *inputs, Py_ssize_t n_inputs, Walk *walk) {
    int anomaly = detecting_anomaly();
    if (anomaly < 0 || count_edges(walk, &root, 1, root->level) < 0) return -1;
    bool whole = !anomaly && !walk->open && !walk->runs_python;
    Py_ssize_t visited = 0;
    for (Py_ssize_t i = 0; i < n_inputs; i++) {
        visited += inputs[i]->pending != 0;
        whole = whole && inputs[i]->a == NULL; /* it stands for no node from outside */
    }
    if (!whole || visited != walk->leaves) return 0;
    return send_in_place(walk, root, 1.0) < 0 ? -1 : 1;
}
