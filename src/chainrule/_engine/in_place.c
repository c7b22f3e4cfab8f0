/* Tangents pushed forward once, straight from the nodes and in their gradients: nobody else sees the
   nodes of a transformation of numbers. The twin of send_gradients for forward mode. */
#include "functions.h"
#include "linearization.h"

typedef struct {
    double *operands; /* of the node at hand */
    Py_ssize_t capacity;
    double few[MOST_OPERANDS];
} Operands;

/* The operands of a node as numbers; NULL with an error. */
static const double *operands_of(Operands *self, const Node *node, Py_ssize_t count) {
    if (count > self->capacity) {
        double *larger = PyMem_Realloc(self->operands == self->few ? NULL : self->operands,
                                       (size_t)count * sizeof *larger);
        if (larger == NULL) return (double *)PyErr_NoMemory();
        self->operands = larger;
        self->capacity = count;
    }
    read_operands(node, count, self->operands);
    return self->operands;
}

/* The tangent of a native row's node that has no case below: 1, or -1 with an error. */
static int push_by_table(Node *node, Operands *operands) {
    int code = node->code;
    Py_ssize_t count = operand_count(node);
    const double *x = operands_of(operands, node, count);
    if (x == NULL) return -1;
    double tangent = NOTHING;
    for (Py_ssize_t i = 0; i < count; i++) {
        const Node *operand = operand_node(node, i);
        if (operand == NULL || is_nothing(operand->grad) || ignores(code, i)) continue;
        double local = local_gradient(code, i, node->number, x, count);
        if (picked(code, local, x)) tangent += sent(operand->grad, local);
    }
    node->grad = tangent;
    return 1;
}

/* Whether all operands are of a level or deeper ones. */
static inline bool is_inside(const Node *node, int64_t level) {
    PyObject *rest = rest_of(node);
    if (rest == NULL)
        return (node->a == NULL || node->a->level >= level) && (node->b == NULL || node->b->level >= level);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rest); i++) {
        const Node *operand = operand_node(node, i);
        if (operand != NULL && operand->level < level) return false;
    }
    return true;
}

/* What an operand's tangent times a local gradient is. */
static inline double along(const Node *operand, double local) {
    return operand == NULL ? NOTHING : sent(operand->grad, local);
}

/* The tangent of a node from those of its operands: 1, 0 if nodes outlive or Python is needed, -1. The
   cases are frequent rows of the table. A sum with nothing is what it was. */
static inline int push(Node *node, int64_t level, Operands *operands) {
    const Node *a = node->a, *b = node->b;
    if (!is_inside(node, level)) return 0;
    switch (node->code) {
    case ADD:
        node->grad = (a == NULL ? NOTHING : a->grad) + (b == NULL ? NOTHING : b->grad);
        return 1;
    case SUBTRACT:
        node->grad = (a == NULL ? NOTHING : a->grad) + along(b, -1.0);
        return 1;
    case MULTIPLY: {
        double u = a != NULL ? a->number : constant_of(node), v = b != NULL ? b->number : constant_of(node);
        node->grad = along(a, v) + along(b, u);
        return 1;
    }
    case TANH:
        node->grad = along(a, ieee_sech2(a->number));
        return 1;
    case EXP:
        node->grad = along(a, node->number);
        return 1;
    default:
        return properties_of(node->code) & NATIVE ? push_by_table(node, operands) : 0;
    }
}

/* The gradients become tangents: 1, 0 if a tangent of an input is neither None nor a float, or nodes
   outlive, or Python is needed, -1. */
static int push_all(const Graph *graph, PyObject *tangents) {
    for (Py_ssize_t i = 0; i < graph->n_inputs; i++) {
        PyObject *tangent = PyList_GET_ITEM(tangents, i);
        if (tangent != Py_None && !PyFloat_CheckExact(tangent)) return 0;
    }
    for (Py_ssize_t i = 0; i < graph->n_inputs; i++) {
        PyObject *tangent = PyList_GET_ITEM(tangents, i);
        graph->inputs[i]->grad = tangent == Py_None ? NOTHING : PyFloat_AS_DOUBLE(tangent) + 0.0;
        graph->inputs[i]->pending = 1;
    }
    Operands operands = {.operands = operands.few, .capacity = MOST_OPERANDS};
    int done = 1;
    for (Py_ssize_t i = graph->count; i-- > 0 && done == 1;) {
        Node *node = graph->order[i];
        if (!IS_LEAF(node)) done = push(node, graph->level, &operands);
        else if (!node->pending) node->grad = NOTHING; /* no input */
    }
    for (Py_ssize_t i = 0; i < graph->n_inputs; i++) graph->inputs[i]->pending = 0;
    if (operands.operands != operands.few) PyMem_Free(operands.operands);
    return done;
}

/* push_tangents(inputs, outputs, level, tangents): those of the outputs; None if nodes are wanted, or
   Python is needed. */
static PyObject *push_tangents(PyObject *module, PyObject *args) {
    PyObject *inputs, *outputs, *tangents, *result = NULL;
    long long level;
    if (!PyArg_ParseTuple(args, "O!O!LO!:push_tangents", &PyList_Type, &inputs, &PyList_Type, &outputs, &level,
                          &PyList_Type, &tangents))
        return NULL;
    if (PyList_GET_SIZE(inputs) != PyList_GET_SIZE(tangents))
        return PyErr_Format(PyExc_ValueError, "a tangent for each input is wanted");
    int anomaly = detecting_anomaly();
    if (anomaly != 0) return anomaly < 0 ? NULL : Py_NewRef(Py_None);
    Graph graph;
    int done = read_graph(&graph, inputs, outputs, level, false);
    if (done == 1) done = push_all(&graph, tangents);
    if (done == 1) result = PyList_New(graph.n_outputs);
    for (Py_ssize_t i = 0; result != NULL && i < graph.n_outputs; i++) {
        Node *output = graph.outputs[i];
        bool moves = output != NULL && output->level == level;
        PyObject *tangent = PyFloat_FromDouble(moves ? output->grad + 0.0 : 0.0);
        if (tangent == NULL) Py_CLEAR(result);
        else PyList_SET_ITEM(result, i, tangent);
    }
    free_graph(&graph);
    return done == 0 ? Py_NewRef(Py_None) : result;
}

PyMethodDef IN_PLACE_FUNCTIONS[] = {
    {"push_tangents", push_tangents, METH_VARARGS, "Forward mode once, of a function of numbers."},
    {NULL, NULL, 0, NULL},
};
