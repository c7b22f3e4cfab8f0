/* What Python reads and sets of a node. The twin of the properties of Node in node.py. */
#include "engine.h"

static int deleted(PyObject *value, const char *name) {
    if (value != NULL) return 0;
    PyErr_Format(PyExc_AttributeError, "attribute '%s' of a node can't be deleted", name);
    return 1;
}

/* A number in a field, read or set; the rare cases are left to Python. */

static PyObject *get_data(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    if (node->level || CONTEXTS) return call_hook(HOOKS.data_of_traced, &self, 1);
    return PyFloat_FromDouble(node->number);
}

static int set_data(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    if (deleted(value, "data")) return -1;
    bool plain = node->code == LEAF && node->level == 0 && !CONTEXTS && PyFloat_Check(value);
    PyObject *args[] = {self, value}, *number = plain ? Py_NewRef(value) : call_hook(HOOKS.data_to_set, args, 2);
    if (number == NULL) return -1;
    node->number = PyFloat_AS_DOUBLE(number);
    LAST_SET = node->serial = ++SERIAL;
    Py_DECREF(number);
    return 0;
}

static PyObject *get_grad(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    if (node->level || CONTEXTS) return call_hook(HOOKS.grad_of_traced, &self, 1);
    return PyFloat_FromDouble(node->grad);
}

static int set_grad(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    if (deleted(value, "grad")) return -1;
    bool plain = node->level == 0 && !CONTEXTS && PyFloat_Check(value);
    PyObject *args[] = {self, value}, *number = plain ? Py_NewRef(value) : call_hook(HOOKS.grad_to_set, args, 2);
    if (number == NULL) return -1;
    node->grad = PyFloat_AS_DOUBLE(number);
    Py_DECREF(number);
    return 0;
}

static PyObject *get_operation(PyObject *self, void *closure) {
    PyObject *operation = operation_of((Node *)self);
    return Py_NewRef(operation == NULL ? Py_None : operation);
}

static PyObject *get_operand(PyObject *self, void *field) {
    Node *operand = *(Node **)((char *)self + (size_t)field);
    return Py_NewRef(operand == NULL ? Py_None : (PyObject *)operand);
}

static PyObject *get_rest(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    PyObject *rest = rest_of(node);
    if (rest == NULL && has_constant(node)) return PyFloat_FromDouble(constant_of(node));
    return Py_NewRef(rest == NULL ? Py_None : rest);
}

static int set_rest(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    if (deleted(value, "_rest") || check_operands(node->code, node->a, node->b, value) < 0) return -1;
    for (Py_ssize_t i = 0; PyTuple_Check(value) && i < PyTuple_GET_SIZE(value); i++) {
        PyObject *operand = PyTuple_GET_ITEM(value, i);
        if (!is_node(operand) || !(((Node *)operand)->flags & ~node->flags & MAY_CYCLE)) continue;
        PyErr_SetString(PyExc_TypeError, "a node made without parents can't be given a user's own as a parent;"
                                         " make a new one");
        return -1;
    }
    return set_rest_of(node, value);
}

static PyObject *get_annotation(PyObject *self, void *closure) {
    if (tell_name((Node *)self) < 0) return NULL;
    PyObject *annotation = annotation_of((Node *)self);
    return Py_NewRef(annotation == NULL ? Py_None : annotation);
}

static int set_annotation(PyObject *self, PyObject *value, void *closure) {
    return deleted(value, "_annotation") ? -1 : set_annotation_of((Node *)self, value == Py_None ? NULL : value);
}

static PyObject *get_operands(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    PyObject *rest = rest_of(node);
    if (rest != NULL) return Py_NewRef(rest);
    Py_ssize_t count = operand_count(node);
    PyObject *operands = PyTuple_New(count);
    for (Py_ssize_t i = 0; operands != NULL && i < count; i++) {
        Node *operand = i == 0 ? node->a : node->b;
        PyObject *item = operand != NULL ? Py_NewRef((PyObject *)operand) : PyFloat_FromDouble(constant_of(node));
        if (item == NULL) Py_CLEAR(operands);
        else PyTuple_SET_ITEM(operands, i, item);
    }
    return operands;
}

static PyObject *get_parents(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    Py_ssize_t count = operand_count(node), n = 0, next = 0;
    for (Py_ssize_t i = 0; i < count; i++) n += operand_node(node, i) != NULL;
    PyObject *parents = PyTuple_New(n);
    for (Py_ssize_t i = 0; parents != NULL && i < count; i++) {
        Node *operand = operand_node(node, i);
        if (operand != NULL) PyTuple_SET_ITEM(parents, next++, Py_NewRef((PyObject *)operand));
    }
    return parents;
}

static int set_parents(PyObject *self, PyObject *value, void *closure) {
    if (deleted(value, "_parents")) return -1;
    PyObject *args[] = {self, value}, *done = call_hook(HOOKS.set_parents, args, 2);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

PyGetSetDef NODE_ATTRIBUTES[] = {
    {"data", get_data, set_data, NULL, NULL},
    {"grad", get_grad, set_grad, NULL, NULL},
    {"operands", get_operands, NULL, NULL, NULL},
    {"operation", get_operation, NULL, NULL, NULL},
    {"_operation", get_operation, NULL, NULL, NULL},
    {"_a", get_operand, NULL, NULL, (void *)offsetof(Node, a)},
    {"_b", get_operand, NULL, NULL, (void *)offsetof(Node, b)},
    {"_rest", get_rest, set_rest, NULL, NULL},
    {"_annotation", get_annotation, set_annotation, NULL, NULL},
    {"_parents", get_parents, set_parents, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMemberDef NODE_MEMBERS[] = {
    {"_number", T_DOUBLE, offsetof(Node, number), 0, NULL},
    {"_grad", T_DOUBLE, offsetof(Node, grad), 0, NULL},
    {"_serial", T_LONGLONG, offsetof(Node, serial), 0, NULL},
    {"_level", T_LONGLONG, offsetof(Node, level), 0, NULL},
    {"_pending", T_INT, offsetof(Node, pending), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
