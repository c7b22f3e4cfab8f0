/* The twin of Linearization in differentiation.py for a graph of numbers: what nothing from outside
   depends on and no trace records. It is an array of edges with their local gradients. */
#include "linearization.h"

enum { FEW = 8 }; /* operands that need no memory of their own */

typedef struct { /* a linearization in the making */
    Linearization *self;
    int64_t level, outside; /* and that of the node from outside that was last met */
    int structure;          /* whether local gradients are left out: there is no pass then */
    Py_ssize_t n_edges, capacity, unknown_capacity;
    double *operands; /* of the node at hand */
    Py_ssize_t operands_capacity;
    double few[FEW];
} Builder;

/* Memory for one more item of an array that grows; -1 with an error. */
static int reserve(void *array, Py_ssize_t *capacity, Py_ssize_t wanted, size_t size) {
    if (wanted <= *capacity) return 0;
    Py_ssize_t larger = wanted + wanted / 2;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = PyMem_Realloc(old, (size_t)larger * size);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = larger;
    return 0;
}

static int add_edge(Builder *builder, Edge edge) {
    Linearization *self = builder->self;
    if (reserve(&self->edges, &builder->capacity, builder->n_edges + 1, sizeof(Edge)) < 0) return -1;
    self->edges[builder->n_edges++] = edge;
    return 0;
}

/* Note the level of a node from outside; -1 with an error. */
static int note_level(Builder *builder, int64_t level) {
    if (level == builder->outside) return 0;
    PyObject *number = PyLong_FromLongLong(builder->outside = level);
    int done = number == NULL ? -1 : PySet_Add(builder->self->levels, number);
    Py_XDECREF(number);
    return done;
}

/* The edges of a node: 1, 0 if an operand is from outside, or -1 with an error. */
static int add_edges(Builder *builder, Node *node, Py_ssize_t number) {
    Linearization *self = builder->self;
    Py_ssize_t count = operand_count(node);
    if (!builder->structure && count > FEW && count > builder->operands_capacity) {
        double *old = builder->operands == builder->few ? NULL : builder->operands;
        double *larger = PyMem_Realloc(old, (size_t)count * sizeof *larger);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        builder->operands = larger;
        builder->operands_capacity = count;
    }
    double *x = builder->operands;
    int code = node->code;
    bool known = (properties_of(code) & NATIVE) != 0;
    if (known && !builder->structure) read_operands(node, count, x);
    Py_ssize_t before = builder->n_edges;
    bool inside = false;
    for (Py_ssize_t i = 0; i < count; i++) {
        Node *operand = operand_node(node, i);
        if (operand == NULL) continue;
        if (operand->level < builder->level) {
            if (self->levels == NULL) return 0;
            if (note_level(builder, operand->level) < 0) return -1;
            continue;
        }
        inside = true;
        if (builder->structure) continue;
        Edge edge = {0.0, (int32_t)number_of(operand), true, known};
        if (known) {
            if (code >= OTHERS && ignores(code, i)) continue;
            edge.local = local_gradient(code, i, node->number, x, count);
            edge.picked = picked(code, edge.local, x);
        }
        if (add_edge(builder, edge) < 0) return -1;
    }
    if (known || (builder->n_edges == before && !(builder->structure && inside))) return 1;
    Py_ssize_t capacity = builder->unknown_capacity;
    if (reserve(&self->unknown, &capacity, self->n_unknown + 1, sizeof *self->unknown) < 0) return -1;
    capacity = builder->unknown_capacity;
    if (reserve(&self->unknown_nodes, &capacity, self->n_unknown + 1, sizeof(Node *)) < 0) return -1;
    builder->unknown_capacity = capacity;
    self->unknown[self->n_unknown] = (int32_t)number;
    self->unknown_nodes[self->n_unknown++] = (Node *)Py_NewRef((PyObject *)node);
    return 1;
}

/* The edges of all nodes of an order, children first: 1, 0 if there are operands from outside, -1. */
static int add_all(Builder *builder, Node *const *order) {
    Linearization *self = builder->self;
    Py_ssize_t n = self->count;
    self->first = PyMem_New(Py_ssize_t, n + 1);
    if (self->first == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t expected = builder->structure ? 0 : n + n / 2;
    if (reserve(&self->edges, &builder->capacity, expected, sizeof(Edge)) < 0) return -1;
    int done = 1;
    for (Py_ssize_t number = 0; number < n && done == 1; number++) {
        Node *node = order[n - 1 - number];
        self->first[number] = builder->n_edges;
        if (!IS_LEAF(node)) done = add_edges(builder, node, number);
        set_number(node, number);
    }
    self->first[n] = builder->n_edges;
    return done;
}

/* The nodes among some objects, NULL for others; NULL with an error. */
static Node **nodes_among(PyObject *objects, Py_ssize_t n) {
    Node **nodes = PyMem_New(Node *, n + 1);
    if (nodes == NULL) return (Node **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        nodes[i] = is_node(object) ? (Node *)object : NULL;
    }
    return nodes;
}

int read_graph(Graph *graph, PyObject *inputs, PyObject *outputs, int64_t level, bool outside) {
    *graph = (Graph){.level = level};
    graph->n_inputs = PyList_GET_SIZE(inputs);
    graph->n_outputs = PyList_GET_SIZE(outputs);
    if ((graph->inputs = nodes_among(inputs, graph->n_inputs)) == NULL) return -1;
    if ((graph->outputs = nodes_among(outputs, graph->n_outputs)) == NULL) return -1;
    for (Py_ssize_t i = 0; i < graph->n_inputs; i++) /* one that stands for a node outlives */
        if (graph->inputs[i] == NULL || !(outside || IS_LEAF(graph->inputs[i]))) return 0;
    Node **roots = PyMem_New(Node *, graph->n_outputs + 1);
    if (roots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t n_roots = 0; /* the last first, as in topological(): what the first depend on comes first */
    bool known = true;      /* another level's may have ended */
    for (Py_ssize_t i = graph->n_outputs; i-- > 0;) {
        Node *output = graph->outputs[i];
        if (output != NULL && output->level == level) roots[n_roots++] = output;
        else if (output != NULL && output->level != 0 && !(outside && output->level < level)) known = false;
    }
    if (known && n_roots) graph->count = topological_order(roots, n_roots, level, &graph->order);
    PyMem_Free(roots);
    if (graph->count < 0) return -1;
    return known && graph->count < INT32_MAX;
}

void free_graph(Graph *graph) {
    PyMem_Free(graph->inputs);
    PyMem_Free(graph->outputs);
    PyMem_Free(graph->order);
}

/* Collects the graph between inputs and outputs: 1, 0 if there are operands from outside, -1. */
static int collect(Linearization *self, const Graph *graph, int structure) {
    Builder builder = {.self = self, .level = graph->level, .outside = -1, .structure = structure};
    builder.operands = builder.few;
    self->count = graph->count;
    for (Py_ssize_t i = 0; i < self->n_inputs; i++) set_number(graph->inputs[i], -1);
    int done = add_all(&builder, graph->order);
    for (Py_ssize_t i = 0; i < self->n_inputs; i++) self->inputs[i] = (int32_t)number_of(graph->inputs[i]);
    for (Py_ssize_t i = 0; i < self->n_outputs; i++) {
        Node *output = graph->outputs[i];
        self->outputs[i] = output != NULL && output->level == graph->level ? (int32_t)number_of(output) : -1;
    }
    for (Py_ssize_t i = 0; i < self->n_inputs; i++) graph->inputs[i]->grad = 0.0;
    for (Py_ssize_t i = 0; i < self->count; i++) graph->order[i]->grad = 0.0;
    if (builder.operands != builder.few) PyMem_Free(builder.operands);
    return done;
}

/* Whether all unknown local gradients can be asked for: 0 if an operation pulls back, -1. */
static int have_local_grads(Linearization *self) {
    static const char *const others[] = {"pull_back", "result_of"};
    for (Py_ssize_t i = 0; i < self->n_unknown; i++) {
        PyObject *operation = operation_of(self->unknown_nodes[i]);
        for (int k = 0; operation != NULL && k < 2; k++) {
            PyObject *found = PyObject_GetAttrString(operation, others[k]);
            if (found == NULL) return -1;
            Py_DECREF(found);
            if (found != Py_None) return 0;
        }
    }
    return 1;
}

int compute_local_grads(Linearization *self, Py_ssize_t number) {
    if (self->local_grads == NULL) { /* the collector has taken it apart */
        PyErr_SetString(PyExc_RuntimeError, "the linearization is being deleted");
        return -1;
    }
    Py_ssize_t low = 0, high = self->n_unknown - 1;
    while (low < high) {
        Py_ssize_t middle = (low + high) / 2;
        if (self->unknown[middle] < number) low = middle + 1;
        else high = middle;
    }
    PyObject *grads = PyObject_CallOneArg(self->local_grads, (PyObject *)self->unknown_nodes[low]);
    if (grads == NULL) return -1;
    Edge *edge = self->edges + self->first[number], *end = self->edges + self->first[number + 1];
    if (!PyList_CheckExact(grads) || PyList_GET_SIZE(grads) != end - edge) {
        PyErr_SetString(PyExc_SystemError, "wrong number of local gradients");
        Py_DECREF(grads);
        return -1;
    }
    for (Py_ssize_t i = 0; edge < end; i++, edge++) {
        edge->local = PyFloat_AsDouble(PyList_GET_ITEM(grads, i));
        edge->known = true;
    }
    Py_DECREF(grads);
    return PyErr_Occurred() ? -1 : 0;
}

static int traverse(Linearization *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->local_grads);
    Py_VISIT(self->levels);
    for (Py_ssize_t i = 0; i < self->n_unknown; i++) Py_VISIT(self->unknown_nodes[i]);
    return 0;
}

static int clear(Linearization *self) {
    Py_ssize_t n = self->n_unknown;
    self->n_unknown = 0;
    for (Py_ssize_t i = 0; i < n; i++) Py_DECREF(self->unknown_nodes[i]);
    Py_CLEAR(self->local_grads);
    Py_CLEAR(self->levels);
    return 0;
}

static void dealloc(Linearization *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    PyMem_Free(self->first);
    PyMem_Free(self->edges);
    PyMem_Free(self->inputs);
    PyMem_Free(self->outputs);
    PyMem_Free(self->unknown);
    PyMem_Free(self->unknown_nodes);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyTypeObject *LinearizationType;

/* linearization(inputs, outputs, level, local_grads, levels, structure): None if it takes nodes. To a set of levels
   those of nodes from outside are added, and these are constants. Of the structure alone: True. */
static PyObject *linearization(PyObject *module, PyObject *args) {
    PyObject *inputs, *outputs, *local_grads, *levels = NULL;
    long long level;
    int structure = 0;
    if (!PyArg_ParseTuple(args, "O!O!LO|O!p:linearization", &PyList_Type, &inputs, &PyList_Type, &outputs, &level,
                          &local_grads, &PySet_Type, &levels, &structure))
        return NULL;
    Linearization *self = PyObject_GC_New(Linearization, LinearizationType);
    if (self == NULL) return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->local_grads = Py_NewRef(local_grads);
    self->levels = Py_XNewRef(levels);
    PyObject_GC_Track(self);
    Graph graph;
    int done = read_graph(&graph, inputs, outputs, level, levels != NULL);
    if (done == 1) {
        self->n_inputs = graph.n_inputs;
        self->n_outputs = graph.n_outputs;
        self->inputs = PyMem_New(int32_t, self->n_inputs + 1);
        self->outputs = PyMem_New(int32_t, self->n_outputs + 1);
        if (self->inputs == NULL || self->outputs == NULL) {
            PyErr_NoMemory();
            done = -1;
        }
    }
    if (done == 1) done = collect(self, &graph, structure);
    free_graph(&graph);
    if (done == 1) done = have_local_grads(self);
    if (done == 1 && !structure) return (PyObject *)self;
    Py_DECREF(self);
    return done < 0 ? NULL : Py_NewRef(done == 1 ? Py_True : Py_None);
}

static PyMethodDef FUNCTIONS[] = {
    {"linearization", linearization, METH_VARARGS,
     "The linearization of a graph of numbers between inputs and outputs; None if nodes are wanted."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_methods, PASS_METHODS},
    {Py_tp_doc, "The local gradients along a graph of numbers: see chainrule.differentiation."},
    {0, NULL},
};

static PyType_Spec SPEC = {
    "chainrule._engine.Linearization", sizeof(Linearization), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, SLOTS,
};

int add_passes(PyObject *module) {
    LinearizationType = (PyTypeObject *)PyType_FromSpec(&SPEC);
    if (LinearizationType == NULL) return -1;
    if (PyModule_AddObjectRef(module, "Linearization", (PyObject *)LinearizationType) < 0) return -1;
    if (PyModule_AddFunctions(module, IN_PLACE_FUNCTIONS) < 0) return -1;
    if (PyModule_AddFunctions(module, RELEASE_FUNCTIONS) < 0) return -1;
    if (PyModule_AddFunctions(module, NODE_PASS_FUNCTIONS) < 0) return -1;
    if (PyModule_AddFunctions(module, CLOSED_GRADIENT_FUNCTIONS) < 0) return -1;
    if (PyModule_AddFunctions(module, INTERACTION_FUNCTIONS) < 0) return -1;
    return PyModule_AddFunctions(module, FUNCTIONS);
}
