/* The functions of backpropagation.py that are the walk's, as Python calls them. */
#include "walk.h"

static Node *node_of(PyObject *x) {
    if (is_node(x)) return (Node *)x;
    PyErr_Format(PyExc_TypeError, "expected a node, not %.100s", Py_TYPE(x)->tp_name);
    return NULL;
}

/* The nodes of an iterable, held by the list *items. A pointer to them, or NULL with an error. */
static Node *const *nodes_of(PyObject *iterable, PyObject **items, Py_ssize_t *n) {
    *items = PySequence_Tuple(iterable);
    if (*items == NULL) return NULL;
    *n = PyTuple_GET_SIZE(*items);
    for (Py_ssize_t i = 0; i < *n; i++)
        if (node_of(PyTuple_GET_ITEM(*items, i)) == NULL) {
            Py_CLEAR(*items);
            return NULL;
        }
    return (Node *const *)((PyTupleObject *)*items)->ob_item;
}

/* A list of the nodes of an order, which it ends. Making a list can run the collector, and so Python. */
static PyObject *list_of(Node **order, Py_ssize_t n, bool reversed) {
    if (n < 0) return NULL;
    for (Py_ssize_t i = 0; i < n; i++) Py_INCREF(order[i]);
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *node = (PyObject *)order[reversed ? n - 1 - i : i];
        if (list != NULL) PyList_SET_ITEM(list, i, node);
        else Py_DECREF(node);
    }
    PyMem_Free(order);
    return list;
}

static PyObject *sorted_nodes(PyObject *module, PyObject *x) {
    Node *root = node_of(x), **order = NULL;
    if (root == NULL) return NULL;
    Py_ssize_t n = topological_order(&root, 1, 0, &order);
    return list_of(order, n, false);
}

static PyObject *topological(PyObject *module, PyObject *args) {
    PyObject *iterable, *items;
    long long level;
    Py_ssize_t n, count = 0;
    if (!PyArg_ParseTuple(args, "OL:topological", &iterable, &level)) return NULL;
    Node *const *roots = nodes_of(iterable, &items, &n);
    if (roots == NULL) return NULL;
    Node **order = NULL, **starts = PyMem_Malloc((size_t)(n + 1) * sizeof(Node *));
    if (starts == NULL) {
        Py_DECREF(items);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = n - 1; i >= 0; i--)
        if (roots[i]->level >= level) starts[count++] = roots[i];
    Py_ssize_t found = topological_order(starts, count, level, &order);
    PyMem_Free(starts);
    PyObject *list = list_of(order, found, true);
    Py_DECREF(items);
    return list;
}

static PyObject *backward_function(PyObject *module, PyObject *args) {
    PyObject *x;
    double seed;
    Node *root;
    if (!PyArg_ParseTuple(args, "Od:backward", &x, &seed) || (root = node_of(x)) == NULL) return NULL;
    return backward(root, seed) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *send_gradients_function(PyObject *module, PyObject *args) {
    PyObject *x, *iterable, *items;
    Py_ssize_t n;
    Node *root;
    if (!PyArg_ParseTuple(args, "OO:send_gradients", &x, &iterable) || (root = node_of(x)) == NULL) return NULL;
    Node *const *inputs = nodes_of(iterable, &items, &n);
    if (inputs == NULL) return NULL;
    Walk walk;
    int sent = send_gradients(root, inputs, n, &walk);
    if (sent == 0) {
        clear_marks(&walk);
        end_walk(&walk);
    }
    Py_DECREF(items);
    return sent < 0 ? NULL : PyBool_FromLong(sent);
}

static PyObject *is_stale_function(PyObject *module, PyObject *x) {
    Node *node = node_of(x);
    int stale = node == NULL ? -1 : is_stale(node);
    return stale < 0 ? NULL : PyBool_FromLong(stale);
}

/* Methods of Node: for plain nodes outside of contexts; else Python's. */

PyObject *node_sorted_nodes(PyObject *self, PyObject *unused) {
    if (((Node *)self)->level || CONTEXTS) return PyObject_CallOneArg(HOOKS.sorted_nodes, self);
    PyObject *nodes = sorted_nodes(NULL, self);
    return nodes != NULL ? nodes : failed();
}

PyObject *node_backward(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    Node *root = (Node *)self;
    double seed = 1.0;
    bool plain = n == 0 || (n == 1 && PyFloat_CheckExact(args[0]));
    if (root->level || CONTEXTS || names != NULL || !plain) {
        Py_ssize_t all = n + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
        PyObject **given = PyMem_Malloc((size_t)(all + 1) * sizeof(PyObject *));
        if (given == NULL) return PyErr_NoMemory();
        given[0] = self;
        for (Py_ssize_t i = 0; i < all; i++) given[i + 1] = args[i];
        PyObject *done = PyObject_Vectorcall(HOOKS.backward, given, (size_t)n + 1, names);
        PyMem_Free(given);
        return done;
    }
    if (n == 1) seed = PyFloat_AS_DOUBLE(args[0]);
    return backward(root, seed) < 0 ? failed() : Py_NewRef(Py_None);
}

static PyMethodDef FUNCTIONS[] = {
    {"sorted_nodes", sorted_nodes, METH_O, NULL},
    {"topological", topological, METH_VARARGS, NULL},
    {"backward", backward_function, METH_VARARGS, NULL},
    {"send_gradients", send_gradients_function, METH_VARARGS, NULL},
    {"is_stale", is_stale_function, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int add_walk(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
