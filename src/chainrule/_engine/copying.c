/* Copies of the most frequent nodes, the twin of _new in copying.py. */
#include "walk.h"

/* The copy of an operand (borrowed) by its id in a memo; NULL without an error if there is none. */
static PyObject *copied(PyObject *memo, PyObject *operand) {
    PyObject *key = PyLong_FromVoidPtr(operand);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(memo, key);
    Py_XDECREF(key);
    return found != NULL && is_node(found) ? found : NULL;
}

/* All operands of a node in a tuple, with copies in the place of nodes. */
static PyObject *copied_rest(PyObject *memo, PyObject *rest) {
    Py_ssize_t n = PyTuple_GET_SIZE(rest);
    PyObject *twins = PyTuple_New(n);
    for (Py_ssize_t i = 0; twins != NULL && i < n; i++) {
        PyObject *operand = PyTuple_GET_ITEM(rest, i);
        if (is_node(operand)) operand = copied(memo, operand);
        if (operand == NULL) Py_CLEAR(twins);
        else PyTuple_SET_ITEM(twins, i, Py_NewRef(operand));
    }
    return twins;
}

static PyObject *twin_of(const Node *node, PyObject *memo) {
    PyObject *rest = rest_of(node);
    if (node->code == LEAF) {
        PyObject *number = PyFloat_FromDouble(node->number);
        PyObject *twin = number == NULL ? NULL : PyObject_CallOneArg((PyObject *)NodeType, number);
        Py_XDECREF(number);
        return twin;
    }
    if (rest != NULL) {
        PyObject *operands = copied_rest(memo, rest);
        PyObject *twin = operands == NULL ? NULL : new_from_tuple(node->code, node->number, operands);
        Py_XDECREF(operands);
        return twin;
    }
    Node *a = node->a == NULL ? NULL : (Node *)copied(memo, (PyObject *)node->a);
    Node *b = node->b == NULL ? NULL : (Node *)copied(memo, (PyObject *)node->b);
    if ((node->a != NULL && a == NULL) || (node->b != NULL && b == NULL)) return NULL;
    if (has_constant(node)) return new_with_constant(node->code, node->number, a, b, constant_of(node));
    return b == NULL ? new_unary(node->code, node->number, a) : new_binary(node->code, node->number, a, b);
}

/* copy_of(node, memo): a new node on the copies of its operands; None where Python has to make it: of
   users' classes and operations, whole numbers, and in contexts. */
static PyObject *copy_of(PyObject *module, PyObject *args) {
    PyObject *x, *memo;
    if (!PyArg_ParseTuple(args, "OO:copy_of", &x, &memo)) return NULL;
    const Node *node = (Node *)x;
    if (!is_node(x) || !PyDict_Check(memo) || CONTEXTS || node->code == USER || node_runs_python(node)) Py_RETURN_NONE;
    if (node->code == LEAF && Py_TYPE(x) != NodeType) Py_RETURN_NONE;
    int stale = is_stale((Node *)x);
    if (stale < 0) return NULL;
    Node *twin = (Node *)twin_of(node, memo);
    if (twin == NULL && PyErr_Occurred()) return NULL;
    if (twin == NULL || Py_TYPE(twin) != Py_TYPE(x)) {
        Py_XDECREF(twin);
        Py_RETURN_NONE;
    }
    twin->grad = node->grad;
    if (stale) twin->serial = -1; /* older than any operand, so that backward looks at the values */
    PyObject *annotation = annotation_of(node);
    if (annotation != NULL && set_annotation_of(twin, annotation) < 0) Py_CLEAR(twin);
    return (PyObject *)twin;
}

static PyMethodDef FUNCTIONS[] = {
    {"copy_of", copy_of, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_copying(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
