/* Copies of the most frequent nodes, the twin of _new in copying.py. */
#include "walk.h"

/* The copy of an operand by its id in a memo, a new reference; NULL without an error if there is none.
   A memo that a user gives can have keys whose comparison runs Python. */
static PyObject *copied(PyObject *memo, PyObject *operand) {
    PyObject *key = PyLong_FromVoidPtr(operand);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(memo, key);
    Py_XDECREF(key);
    return found != NULL && is_node(found) ? Py_NewRef(found) : NULL;
}

/* All operands of a node in a tuple, with copies in the place of nodes. */
static PyObject *copied_rest(PyObject *memo, PyObject *rest) {
    Py_ssize_t n = PyTuple_GET_SIZE(rest);
    PyObject *twins = PyTuple_New(n);
    for (Py_ssize_t i = 0; twins != NULL && i < n; i++) {
        PyObject *operand = PyTuple_GET_ITEM(rest, i);
        operand = is_node(operand) ? copied(memo, operand) : Py_NewRef(operand);
        if (operand == NULL) Py_CLEAR(twins);
        else PyTuple_SET_ITEM(twins, i, operand);
    }
    return twins;
}

static PyObject *twin_of(const Node *node, PyObject *memo) {
    PyObject *rest = Py_XNewRef(rest_of(node)), *twin = NULL;
    int code = node->code; /* read before Python runs, which may change the node */
    bool constant = has_constant(node);
    double number = node->number, value = constant ? constant_of(node) : 0.0;
    Node *a = NULL, *b = NULL;
    if (code == LEAF) {
        PyObject *data = PyFloat_FromDouble(number);
        twin = data == NULL ? NULL : PyObject_CallOneArg((PyObject *)NodeType, data);
        Py_XDECREF(data);
    } else if (rest != NULL) {
        PyObject *operands = copied_rest(memo, rest);
        twin = operands == NULL ? NULL : new_from_tuple(code, number, operands);
        Py_XDECREF(operands);
    } else {
        PyObject *left = (PyObject *)node->a, *right = (PyObject *)node->b;
        if (left != NULL) a = (Node *)copied(memo, left);
        if (right != NULL && (left == NULL || a != NULL)) b = (Node *)copied(memo, right);
        bool found = (left == NULL || a != NULL) && (right == NULL || b != NULL);
        if (found && constant) twin = new_with_constant(code, number, a, b, value);
        else if (found) twin = b == NULL ? new_unary(code, number, a) : new_binary(code, number, a, b);
    }
    Py_XDECREF(rest);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return twin;
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
    PyObject *annotation = tell_name((Node *)x) < 0 ? NULL : annotation_of(node);
    if (annotation == NULL && PyErr_Occurred()) Py_CLEAR(twin);
    if (annotation != NULL && set_annotation_of(twin, annotation) < 0) Py_CLEAR(twin);
    return (PyObject *)twin;
}

static PyMethodDef FUNCTIONS[] = {
    {"copy_of", copy_of, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_copying(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
