/* A node as a hand-written extension type: how fast the eager engine could be.

It has what the benchmark needs and nothing else: three operations between nodes, and
backpropagation. No numbers among the operands, no subclasses, no names, no checks of NaN or of
changed data, no locks, and no place in the garbage collector (parents never change, so nodes form
no cycles). eager.py compiles it.
*/
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <structmember.h>

enum { LEAF, ADD, MULTIPLY, TANH };

typedef struct Node {
    PyObject_HEAD
    double data;
    union {
        double grad;
        struct Node *next; /* while the node waits to be freed */
    };
    struct Node *a, *b; /* operands, or NULL */
    int op;
    int pending; /* edges from children not yet followed; 0 outside of backward */
} Node;

static PyTypeObject NodeType;

static PyObject *make(double data, int op, PyObject *a, PyObject *b) {
    Node *node = PyObject_New(Node, &NodeType);
    if (node == NULL) return NULL;
    node->data = data;
    node->grad = 0.0;
    node->a = (Node *)Py_XNewRef(a);
    node->b = (Node *)Py_XNewRef(b);
    node->op = op;
    node->pending = 0;
    return (PyObject *)node;
}

static PyObject *node_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    double data;
    if (!PyArg_ParseTuple(args, "d", &data)) return NULL;
    return make(data, LEAF, NULL, NULL);
}

/* Freeing a node frees its parents: one after the other, as a long chain would overflow the stack
   if each freed the next. */
static void node_dealloc(PyObject *self) {
    static Node *waiting = NULL;
    static int freeing = 0;
    ((Node *)self)->next = waiting;
    waiting = (Node *)self;
    if (freeing) return;
    freeing = 1;
    while (waiting != NULL) {
        Node *node = waiting;
        waiting = node->next;
        Py_XDECREF(node->a);
        Py_XDECREF(node->b);
        PyObject_Free(node);
    }
    freeing = 0;
}

static PyObject *node_add(PyObject *a, PyObject *b) {
    if (!Py_IS_TYPE(a, &NodeType) || !Py_IS_TYPE(b, &NodeType)) Py_RETURN_NOTIMPLEMENTED;
    return make(((Node *)a)->data + ((Node *)b)->data, ADD, a, b);
}

static PyObject *node_multiply(PyObject *a, PyObject *b) {
    if (!Py_IS_TYPE(a, &NodeType) || !Py_IS_TYPE(b, &NodeType)) Py_RETURN_NOTIMPLEMENTED;
    return make(((Node *)a)->data * ((Node *)b)->data, MULTIPLY, a, b);
}

static PyObject *node_tanh(PyObject *self, PyObject *unused) {
    return make(tanh(((Node *)self)->data), TANH, self, NULL);
}

/* Appends a node to those found when its first edge is; 0 if there is no memory. */
static int follow(Node *parent, Node ***nodes, size_t *found, size_t *capacity) {
    if (parent == NULL || parent->pending++ > 0) return 1;
    if (*found == *capacity) {
        Node **larger = realloc(*nodes, 2 * *capacity * sizeof(Node *));
        if (larger == NULL) {
            parent->pending = 0;
            return 0;
        }
        *nodes = larger;
        *capacity *= 2;
    }
    (*nodes)[(*found)++] = parent;
    return 1;
}

/* Kahn's algorithm: count the edges to every node, then follow those that have none left. */
static PyObject *node_backward(PyObject *self, PyObject *unused) {
    size_t found = 1, capacity = 1024, top = 0;
    Node **nodes = malloc(capacity * sizeof(Node *)), **ready = NULL;
    int complete = nodes != NULL;
    if (complete) nodes[0] = (Node *)self;
    for (size_t i = 0; complete && i < found; i++) {
        Node *node = nodes[i];
        complete = follow(node->a, &nodes, &found, &capacity) &&
                   follow(node->b, &nodes, &found, &capacity);
    }
    if (complete) ready = malloc(found * sizeof(Node *));
    if (ready == NULL) {
        for (size_t i = 0; nodes != NULL && i < found; i++) nodes[i]->pending = 0;
        free(nodes);
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < found; i++) {
        if (nodes[i]->op != LEAF) nodes[i]->grad = 0.0;
    }
    ((Node *)self)->grad += 1.0;
    ready[top++] = (Node *)self;
    while (top > 0) {
        Node *node = ready[--top], *a = node->a, *b = node->b;
        double g = node->grad;
        switch (node->op) {
        case ADD:
            a->grad += g;
            b->grad += g;
            break;
        case MULTIPLY:
            a->grad += g * b->data;
            b->grad += g * a->data;
            break;
        case TANH:
            a->grad += g * (1.0 - node->data * node->data);
            break;
        }
        if (a != NULL && --a->pending == 0) ready[top++] = a;
        if (b != NULL && --b->pending == 0) ready[top++] = b;
    }
    free(nodes);
    free(ready);
    Py_RETURN_NONE;
}

static PyMemberDef node_members[] = {
    {"data", T_DOUBLE, offsetof(Node, data), READONLY, "The value."},
    {"grad", T_DOUBLE, offsetof(Node, grad), 0, "The derivative of the root by this node."},
    {NULL},
};

static PyMethodDef node_methods[] = {
    {"tanh", node_tanh, METH_NOARGS, "Hyperbolic tangent."},
    {"backward", node_backward, METH_NOARGS, "Set the gradients of all nodes below."},
    {NULL},
};

static PyNumberMethods node_operators = {.nb_add = node_add, .nb_multiply = node_multiply};

static PyTypeObject NodeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "limit.Node",
    .tp_doc = "A number in a computational graph.",
    .tp_basicsize = sizeof(Node),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = node_new,
    .tp_dealloc = node_dealloc,
    .tp_members = node_members,
    .tp_methods = node_methods,
    .tp_as_number = &node_operators,
};

static PyModuleDef limit_module = {PyModuleDef_HEAD_INIT, "limit", NULL, -1};

PyMODINIT_FUNC PyInit_limit(void) {
    PyObject *module = PyModule_Create(&limit_module);
    if (module == NULL) return NULL;
    if (PyType_Ready(&NodeType) < 0 ||
        PyModule_AddObjectRef(module, "Node", (PyObject *)&NodeType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
