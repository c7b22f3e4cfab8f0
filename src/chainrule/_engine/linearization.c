/* The twin of Linearization in differentiation.py for a graph of numbers: what nothing from outside
   depends on and no trace records. It is an array of edges with their local gradients. */
#include "linearization.h"
#include "rules.h"

enum { FEW = 8 }; /* operands that need no memory of their own */

typedef struct { /* a linearization in the making */
    Linearization *self;
    int64_t level;
    Py_ssize_t n_edges, capacity, unknown_capacity;
    double *operands; /* of the node at hand */
    Py_ssize_t operands_capacity;
    double few[FEW];
} Builder;

/* While edges are collected the number of a node stands in place of its gradient: what depends on an
   input of a transformation has none that could be read. No Python runs until it is 0 again. */
static inline void set_number(Node *node, int64_t number) { memcpy(&node->grad, &number, sizeof number); }
static inline int32_t number_of(const Node *node) {
    int64_t number;
    memcpy(&number, &node->grad, sizeof number);
    return (int32_t)number;
}

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

/* The edges of a node: 1, 0 if an operand is from outside, or -1 with an error. */
static int add_edges(Builder *builder, Node *node, Py_ssize_t number) {
    Linearization *self = builder->self;
    Py_ssize_t count = operand_count(node);
    if (count > FEW && count > builder->operands_capacity) {
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
    int code = node->code, properties = properties_of(code);
    bool known = (properties & NATIVE) != 0;
    for (Py_ssize_t i = 0; known && i < count; i++) x[i] = operand_number(node, i);
    Py_ssize_t before = builder->n_edges;
    for (Py_ssize_t i = 0; i < count; i++) {
        Node *operand = operand_node(node, i);
        if (operand == NULL) continue;
        if (operand->level < builder->level) return 0;
        Edge edge = {0.0, number_of(operand), true, known};
        if (known) {
            if (ignores(code, i)) continue;
            edge.local = local_gradient(code, i, node->number, x, count);
            if (properties & PICKS) edge.picked = (code == MESSAGE ? x[0] : edge.local) != 0.0;
        }
        if (add_edge(builder, edge) < 0) return -1;
    }
    if (known || builder->n_edges == before) return 1;
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
    if (reserve(&self->edges, &builder->capacity, n + n / 2, sizeof(Edge)) < 0) return -1;
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

/* The nodes among some objects: malloc'ed, or NULL with an error. Objects that are none give NULLs. */
static Node **nodes_among(PyObject *objects, Py_ssize_t n) {
    Node **nodes = PyMem_New(Node *, n + 1);
    if (nodes == NULL) return (Node **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        nodes[i] = is_node(object) ? (Node *)object : NULL;
    }
    return nodes;
}

/* Collects the graph between inputs and outputs: 1, 0 if it is none of numbers alone, -1. */
static int collect(Linearization *self, Node **inputs, Node **outputs, int64_t level) {
    Builder builder = {.self = self, .level = level};
    builder.operands = builder.few;
    Node **roots = PyMem_New(Node *, self->n_outputs + 1);
    if (roots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t n_roots = 0; /* the last first, as in topological(): what the first depend on comes first */
    for (Py_ssize_t i = self->n_outputs; i-- > 0;)
        if (outputs[i] != NULL && outputs[i]->level >= level) roots[n_roots++] = outputs[i];
    Node **order = NULL;
    Py_ssize_t n = n_roots ? topological_order(roots, n_roots, level, &order) : 0;
    PyMem_Free(roots);
    if (n < 0) return -1;
    int done = n < INT32_MAX;
    if (done) {
        self->count = n;
        for (Py_ssize_t i = 0; i < self->n_inputs; i++) set_number(inputs[i], -1);
        done = add_all(&builder, order);
        for (Py_ssize_t i = 0; i < self->n_inputs; i++) self->inputs[i] = number_of(inputs[i]);
        for (Py_ssize_t i = 0; i < self->n_outputs; i++) {
            bool inside = outputs[i] != NULL && outputs[i]->level >= level;
            self->outputs[i] = inside ? number_of(outputs[i]) : -1;
        }
        for (Py_ssize_t i = 0; i < self->n_inputs; i++) inputs[i]->grad = 0.0;
        for (Py_ssize_t i = 0; i < n; i++) order[i]->grad = 0.0;
    }
    PyMem_Free(order);
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
    for (Py_ssize_t i = 0; i < self->n_unknown; i++) Py_VISIT(self->unknown_nodes[i]);
    return 0;
}

static int clear(Linearization *self) {
    Py_ssize_t n = self->n_unknown;
    self->n_unknown = 0;
    for (Py_ssize_t i = 0; i < n; i++) Py_DECREF(self->unknown_nodes[i]);
    Py_CLEAR(self->local_grads);
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

/* linearization(inputs, outputs, level, local_grads): None if it takes nodes. */
static PyObject *linearization(PyObject *module, PyObject *args) {
    PyObject *inputs, *outputs, *local_grads;
    long long level;
    if (!PyArg_ParseTuple(args, "O!O!LO:linearization", &PyList_Type, &inputs, &PyList_Type, &outputs, &level,
                          &local_grads))
        return NULL;
    Linearization *self = PyObject_GC_New(Linearization, LinearizationType);
    if (self == NULL) return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->local_grads = Py_NewRef(local_grads);
    PyObject_GC_Track(self);
    self->n_inputs = PyList_GET_SIZE(inputs);
    self->n_outputs = PyList_GET_SIZE(outputs);
    self->inputs = PyMem_New(int32_t, self->n_inputs + 1);
    self->outputs = PyMem_New(int32_t, self->n_outputs + 1);
    Node **ins = nodes_among(inputs, self->n_inputs), **outs = nodes_among(outputs, self->n_outputs);
    int done = -1;
    if (ins == NULL || outs == NULL) goto end;
    if (self->inputs == NULL || self->outputs == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    done = 1;
    for (Py_ssize_t i = 0; i < self->n_inputs; i++) /* one that stands for a node outlives */
        done = done && ins[i] != NULL && IS_LEAF(ins[i]);
    for (Py_ssize_t i = 0; i < self->n_outputs; i++) /* another level's may have ended */
        done = done && (outs[i] == NULL || outs[i]->level == 0 || outs[i]->level == level);
    if (done == 1) done = collect(self, ins, outs, level);
    if (done == 1) done = have_local_grads(self);
end:
    PyMem_Free(ins);
    PyMem_Free(outs);
    if (done == 1) return (PyObject *)self;
    Py_DECREF(self);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
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
    return PyModule_AddFunctions(module, FUNCTIONS);
}
