/* The topological order of a graph, in two passes. The twin of the first half of backpropagation.py.

   Kahn's algorithm: the first pass counts the edges to every node, the second follows those of nodes
   with none left. The counts are marks on the nodes, 0 again at the end and after any error. No Python
   runs in between and the GIL is held, so that no other thread sees them. */
#include "walk.h"

static const Py_ssize_t MOST = INT32_MAX / 4; /* nodes, or edges from tuples: their counts are int32_t */

void end_walk(Walk *walk) {
    PyMem_Free(walk->nodes);
    walk->nodes = NULL;
}

/* Set the marks back to 0, after a first pass that no second follows. Needs no memory. */
void clear_marks(Walk *walk) {
    for (Py_ssize_t i = 0; i < walk->count; i++) walk->nodes[i]->pending = 0;
}

/* Make room for more nodes; -1 with an error. */
static int reserve(Walk *walk, Py_ssize_t more) {
    if (walk->capacity - walk->count >= more) return 0;
    if (walk->count + more > MOST) {
        PyErr_SetString(PyExc_OverflowError, "a graph of more than half a billion nodes");
        return -1;
    }
    Py_ssize_t capacity = walk->capacity ? 2 * walk->capacity : 64;
    if (capacity < walk->count + more) capacity = walk->count + more;
    Node **nodes = PyMem_Realloc(walk->nodes, (size_t)capacity * sizeof(Node *));
    if (nodes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    walk->nodes = nodes;
    walk->capacity = capacity;
    return 0;
}

static inline void count_edge(Walk *walk, Node *operand, int64_t level) {
    if (operand->level < level)
        walk->open = true;
    else if (operand->pending++ == 0)
        walk->nodes[walk->count++] = operand;
}

/* The edges of a node whose operands are in a tuple. */
static int count_rest(Walk *walk, PyObject *rest, int64_t level) {
    Py_ssize_t n = PyTuple_GET_SIZE(rest);
    if (reserve(walk, n) < 0) return -1;
    walk->edges += n;
    if (walk->edges > MOST) {
        PyErr_SetString(PyExc_OverflowError, "a graph of more than half a billion edges");
        return -1;
    }
    if (n > walk->widest) walk->widest = n;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *operand = PyTuple_GET_ITEM(rest, i);
        if (is_node(operand)) count_edge(walk, (Node *)operand, level);
    }
    return 0;
}

/* The first pass: mark every node with the number of edges to it, roots with 1 more.

   Visits the nodes of a level or a deeper one. After an error (no memory) all marks are 0. */
int count_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level) {
    *walk = (Walk){.oldest = SERIAL};
    if (reserve(walk, n_roots) < 0) return -1;
    for (Py_ssize_t i = 0; i < n_roots; i++)
        if (roots[i]->pending++ == 0) walk->nodes[walk->count++] = roots[i];
    for (Py_ssize_t i = 0; i < walk->count; i++) {
        Node *node = walk->nodes[i];
        PyObject *rest = rest_of(node);
        if (node->code == LEAF && rest == NULL) {
            walk->leaves++;
            continue;
        }
        if (node->serial < walk->oldest) walk->oldest = node->serial;
        if (node_runs_python(node)) walk->runs_python = true;
        if (rest != NULL) {
            if (count_rest(walk, rest, level) < 0) goto no_memory;
            continue;
        }
        if (walk->capacity - walk->count < 2 && reserve(walk, 2) < 0) goto no_memory;
        if (node->a != NULL) count_edge(walk, node->a, level);
        if (node->b != NULL) count_edge(walk, node->b, level);
    }
    return 0;
no_memory:
    clear_marks(walk);
    end_walk(walk);
    return -1;
}

/* Clear the marks of what a second pass did not come to: cycles, and what lies below them. The array
   has room for a list of those: it holds only the nodes of the order. */
static void unmark(Walk *walk, Py_ssize_t ordered, Node *const *roots, Py_ssize_t n_roots) {
    Node **waiting = walk->nodes + ordered;
    for (Py_ssize_t i = -n_roots; i < ordered; i++) {
        Py_ssize_t n = 0;
        Node *node = i < 0 ? roots[i + n_roots] : walk->nodes[i];
        if (node->pending != 0) node->pending = 0;
        for (;;) {
            PyObject *rest = rest_of(node);
            Py_ssize_t count = rest != NULL ? PyTuple_GET_SIZE(rest) : 2;
            for (Py_ssize_t j = 0; j < count; j++) {
                Node *operand = operand_node(node, j);
                if (operand == NULL || operand->pending == 0) continue;
                operand->pending = 0;
                waiting[n++] = operand;
            }
            if (n == 0) break;
            node = waiting[--n];
        }
    }
}

/* The second pass: the nodes in topological order, in the array. -1 with ValueError for a cycle.

   The order grows from the front of the array, and the list of nodes that are ready from its end:
   together they are at most all nodes. */
int follow_edges(Walk *walk, Node *const *roots, Py_ssize_t n_roots, int64_t level) {
    Node **order = walk->nodes, **end = walk->nodes + walk->count, **ready = end;
    for (Py_ssize_t i = 0; i < n_roots; i++) {
        if (--roots[i]->pending != 0) continue;
        *--ready = roots[i];
        while (ready < end) {
            Node *node = *ready++;
            *order++ = node;
            PyObject *rest = rest_of(node);
            Py_ssize_t count = rest != NULL ? PyTuple_GET_SIZE(rest) : 2;
            for (Py_ssize_t j = 0; j < count; j++) {
                Node *operand = operand_node(node, j);
                if (operand != NULL && operand->level >= level && --operand->pending == 0)
                    *--ready = operand;
            }
        }
    }
    if (order == end) return 0;
    unmark(walk, order - walk->nodes, roots, n_roots);
    PyErr_SetString(PyExc_ValueError, "the graph has a cycle: a node is its own ancestor");
    return -1;
}

Py_ssize_t topological_order(Node *const *roots, Py_ssize_t n_roots, int64_t level, Node ***order) {
    Walk walk;
    if (count_edges(&walk, roots, n_roots, level) < 0) return -1;
    if (follow_edges(&walk, roots, n_roots, level) < 0) {
        end_walk(&walk);
        return -1;
    }
    *order = walk.nodes;
    return walk.count;
}

PyObject *reference(const char *name) {
    PyObject *module = PyImport_ImportModule("chainrule.backpropagation");
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return function;
}
