/* Leaves in bulk, the twins of the functions of leaves.py: made, read and set together. */
#include "engine.h"

/* A leaf with a number in its name, which is put together once somebody asks for it: see tell_name. */
static PyObject *numbered(double number, PyObject *name, Py_ssize_t place, PyObject **around, PyObject **shared) {
    Node *node = make_node(NodeType, LEAF, number, NULL, NULL, 0);
    if (node == NULL || finished_node(node) == NULL) return NULL;
    if (name == Py_None) return (PyObject *)node;
    PyObject *annotation = annotation_of(node); /* nearly always the same for all of them */
    if (*shared == NULL || annotation != *around) {
        Py_XSETREF(*around, Py_XNewRef(annotation));
        if (set_name(node, name) < 0) goto failed;
        Py_XSETREF(*shared, Py_NewRef(annotation_of(node)));
    }
    Noted *noted = PyMem_Malloc(sizeof(Noted));
    if (noted == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    if (set_annotation_of(node, NULL) < 0) goto failed;
    *noted = (Noted){.annotation = Py_NewRef(*shared), .constant = (double)place};
    node->noted = noted;
    node->extra = EXTRA_NUMBERED;
    return (PyObject *)node;
failed:
    Py_DECREF(node);
    return NULL;
}

/* leaves(numbers, name): of the bytes of float64 numbers. */
static PyObject *leaves(PyObject *module, PyObject *args) {
    PyObject *name, *around = NULL, *shared = NULL;
    Py_buffer numbers;
    if (!PyArg_ParseTuple(args, "y*O:leaves", &numbers, &name)) return NULL;
    Py_ssize_t n = numbers.len / (Py_ssize_t)sizeof(double);
    PyObject *made = PyList_New(0);
    for (Py_ssize_t i = 0; made != NULL && i < n; i++) { /* contexts may run Python */
        PyObject *node = numbered(((const double *)numbers.buf)[i], name, i, &around, &shared);
        if (node == NULL || PyList_Append(made, node) < 0) Py_CLEAR(made);
        Py_XDECREF(node);
    }
    PyBuffer_Release(&numbers);
    Py_XDECREF(around);
    Py_XDECREF(shared);
    return made;
}

/* Give a node the annotation that its number in a row of leaves stands for; -1 with an error. */
int tell_name(Node *node) {
    if (node->extra != EXTRA_NUMBERED) return 0;
    PyObject *shared = Py_NewRef(node->noted->annotation), *prefix = PyObject_GetAttrString(shared, "name");
    PyObject *name = prefix == NULL ? NULL : PyUnicode_FromFormat("%U%zd", prefix, (Py_ssize_t)node->noted->constant);
    PyObject *annotation = name == NULL ? NULL : PyObject_CallMethod(shared, "named", "O", name);
    Py_XDECREF(prefix);
    Py_XDECREF(name);
    Py_DECREF(shared);
    if (annotation == NULL) return -1;
    if (node->extra != EXTRA_NUMBERED) { /* Python has run */
        Py_DECREF(annotation);
        return 0;
    }
    Noted *noted = node->noted;
    node->annotation = annotation;
    node->extra = EXTRA_ANNOTATION;
    Py_DECREF(noted->annotation);
    PyMem_Free(noted);
    return 0;
}

/* distinct(nodes): a list without those that have come before. */
static PyObject *distinct(PyObject *module, PyObject *nodes) {
    if (!PyList_Check(nodes)) return PyErr_Format(PyExc_TypeError, "distinct takes a list");
    Py_ssize_t n = PyList_GET_SIZE(nodes), count = 0;
    PyObject *found = PyList_New(n);
    for (Py_ssize_t i = 0; found != NULL && i < n; i++) /* Python does not run while there are marks */
        if (!is_node(PyList_GET_ITEM(nodes, i))) {
            Py_DECREF(found);
            return PyErr_Format(PyExc_TypeError, "distinct takes nodes");
        }
    for (Py_ssize_t i = 0; found != NULL && i < n; i++) {
        Node *node = (Node *)PyList_GET_ITEM(nodes, i);
        if (node->pending == 0) PyList_SET_ITEM(found, count++, Py_NewRef((PyObject *)node));
        node->pending = 1;
    }
    for (Py_ssize_t i = 0; found != NULL && i < n; i++) ((Node *)PyList_GET_ITEM(nodes, i))->pending = 0;
    if (found != NULL && count < n && PyList_SetSlice(found, count, n, NULL) < 0) Py_CLEAR(found);
    return found;
}

/* are_leaves(list): whether all are nodes of the class itself, without operands. */
static PyObject *are_leaves(PyObject *module, PyObject *list) {
    bool all = PyList_Check(list);
    for (Py_ssize_t i = 0; all && i < PyList_GET_SIZE(list); i++) {
        PyObject *x = PyList_GET_ITEM(list, i);
        all = Py_TYPE(x) == NodeType && IS_LEAF((Node *)x);
    }
    return PyBool_FromLong(all);
}

/* are_same(left, right): whether two lists hold the very same objects in the same order. */
static PyObject *are_same(PyObject *module, PyObject *args) {
    PyObject *left, *right;
    if (!PyArg_ParseTuple(args, "O!O!:are_same", &PyList_Type, &left, &PyList_Type, &right)) return NULL;
    Py_ssize_t n = PyList_GET_SIZE(left);
    bool same = PyList_GET_SIZE(right) == n;
    for (Py_ssize_t i = 0; same && i < n; i++) same = PyList_GET_ITEM(left, i) == PyList_GET_ITEM(right, i);
    return PyBool_FromLong(same);
}

/* Whether there are as many numbers in memory as plain nodes, so that no Python has to be asked. */
static bool is_plain(PyObject *nodes, const Py_buffer *numbers, bool leaves) {
    bool plain = !CONTEXTS && numbers->len == PyList_GET_SIZE(nodes) * (Py_ssize_t)sizeof(double);
    for (Py_ssize_t i = 0; plain && i < PyList_GET_SIZE(nodes); i++) {
        Node *node = (Node *)PyList_GET_ITEM(nodes, i);
        plain = is_node((PyObject *)node) && node->level == 0 && (!leaves || node->code == LEAF);
    }
    return plain;
}

static PyObject *read_data(PyObject *module, PyObject *args) {
    PyObject *nodes;
    Py_buffer numbers;
    if (!PyArg_ParseTuple(args, "O!w*:read_data", &PyList_Type, &nodes, &numbers)) return NULL;
    bool plain = is_plain(nodes, &numbers, false);
    for (Py_ssize_t i = 0; plain && i < PyList_GET_SIZE(nodes); i++)
        ((double *)numbers.buf)[i] = ((Node *)PyList_GET_ITEM(nodes, i))->number;
    PyBuffer_Release(&numbers);
    return PyBool_FromLong(plain);
}

static PyObject *write_data(PyObject *module, PyObject *args) {
    PyObject *nodes;
    Py_buffer numbers;
    int zero_grad;
    if (!PyArg_ParseTuple(args, "O!y*p:write_data", &PyList_Type, &nodes, &numbers, &zero_grad)) return NULL;
    bool plain = is_plain(nodes, &numbers, true);
    for (Py_ssize_t i = 0; plain && i < PyList_GET_SIZE(nodes); i++) {
        Node *node = (Node *)PyList_GET_ITEM(nodes, i);
        node->number = ((const double *)numbers.buf)[i];
        if (zero_grad) node->grad = 0.0;
        LAST_SET = node->serial = ++SERIAL;
    }
    PyBuffer_Release(&numbers);
    return PyBool_FromLong(plain);
}

static PyMethodDef FUNCTIONS[] = {
    {"leaves", leaves, METH_VARARGS, NULL},
    {"distinct", distinct, METH_O, NULL},
    {"are_leaves", are_leaves, METH_O, NULL},
    {"are_same", are_same, METH_VARARGS, NULL},
    {"read_data", read_data, METH_VARARGS, NULL},
    {"write_data", write_data, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_leaves(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
