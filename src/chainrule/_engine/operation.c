/* What a call of an operation does: exp(1.0), exp(x), atan2(y, x). The twin of rules.OperationBase.

   Numbers and nodes of the engine's own types are computed here. All else goes to the Python twin: users'
   operations, users' subclasses of Node, arrays, what is wrong. */
#include "rules.h"

#include <stddef.h>

static PyObject *CALLED;    /* of Python: (operation, *operands) */
static PyObject *EVALUATED; /* of Python: (operation, numbers) */

/* Python's answer to a call. */
static PyObject *called(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    PyObject *few[8], **all = n < 8 ? few : PyMem_Malloc((size_t)(n + 1) * sizeof *all);
    if (all == NULL) return PyErr_NoMemory();
    all[0] = self;
    for (Py_ssize_t i = 0; i < n; i++) all[i + 1] = args[i];
    PyObject *result = call_hook(CALLED, all, (size_t)n + 1);
    if (all != few) PyMem_Free(all);
    return result;
}

static bool is_engines(PyObject *x) { return Py_TYPE(x)->tp_dealloc == node_dealloc; }

/* A node from operands of which one or more are nodes; NULL without an error: Python's to answer. */
static PyObject *node_from(int code, PyObject *const *args, const double *x, Py_ssize_t n) {
    const Row *row = &TABLE[code];
    if (code == FLOOR || code == CEIL || code == TRUNC) return apply_whole(code, (Node *)args[0]);
    if (row->count != ANY)
        for (Py_ssize_t i = 0; i < n; i++)
            if (row->rules[i].length == 0 && is_engines(args[i])) return NULL; /* must be a number */
    double value;
    if (rule_value(code, x, n, &value) < 0) return NULL;
    if (n == 1) return new_unary(code, value, (Node *)args[0]);
    if (n == 2) {
        Node *a = is_engines(args[0]) ? (Node *)args[0] : NULL;
        Node *b = is_engines(args[1]) ? (Node *)args[1] : NULL;
        if (a != NULL && b != NULL) return new_binary(code, value, a, b);
        return new_with_constant(code, value, a, b, x[a == NULL ? 0 : 1]);
    }
    PyObject *operands = PyTuple_New(n);
    for (Py_ssize_t i = 0; operands != NULL && i < n; i++) {
        PyObject *operand = is_engines(args[i]) ? args[i] : PyFloat_FromDouble(x[i]);
        if (operand == args[i]) Py_INCREF(operand);
        if (operand == NULL) Py_CLEAR(operands);
        else PyTuple_SET_ITEM(operands, i, operand);
    }
    PyObject *node = operands == NULL ? NULL : new_from_tuple(code, value, operands);
    Py_XDECREF(operands);
    return node;
}

/* The result for numbers and nodes; NULL without an error: Python's to answer. */
static PyObject *applied(int code, PyObject *const *args, double *x, Py_ssize_t n) {
    bool nodes = false;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (is_engines(args[i])) {
            x[i] = ((Node *)args[i])->number;
            nodes = true;
        } else if (!is_number(args[i], &x[i])) {
            return NULL;
        }
    }
    if (nodes) return node_from(code, args, x, n);
    double value;
    if (rule_value(code, x, n, &value) < 0) return NULL;
    if (CONTEXTS && value - value != 0.0) return NULL; /* in domain_errors() perhaps an error */
    return PyFloat_FromDouble(value);
}

static PyObject *call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    int code = ((OperationBase *)self)->code;
    if (names != NULL && PyTuple_GET_SIZE(names) > 0)
        return PyErr_Format(PyExc_TypeError, "%R got an unexpected keyword argument %R", self,
                            PyTuple_GET_ITEM(names, 0));
    if (code != USER && takes(code, n)) {
        double few[MOST_OPERANDS], *x = n <= MOST_OPERANDS ? few : PyMem_Malloc((size_t)n * sizeof *x);
        if (x == NULL) return PyErr_NoMemory();
        PyObject *result = applied(code, args, x, n);
        if (x != few) PyMem_Free(x);
        if (result != NULL || PyErr_Occurred()) return result;
    }
    return called(self, args, n);
}

PyObject *evaluated(PyObject *operation, PyObject *numbers) {
    PyObject *args[] = {operation, numbers};
    return call_hook(EVALUATED, args, 2);
}

/* evaluate(numbers): the value of floats. */
static PyObject *evaluate(PyObject *self, PyObject *numbers) {
    int code = ((OperationBase *)self)->code;
    double x[MOST_OPERANDS], value;
    bool few = code != USER && PyTuple_Check(numbers) && PyTuple_GET_SIZE(numbers) == TABLE[code].count;
    for (Py_ssize_t i = 0; few && i < TABLE[code].count; i++) {
        few = PyFloat_Check(PyTuple_GET_ITEM(numbers, i));
        if (few) x[i] = PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(numbers, i));
    }
    if (few && !by_python(&TABLE[code]))
        return rule_value(code, x, TABLE[code].count, &value) < 0 ? NULL : PyFloat_FromDouble(value);
    return evaluated(self, numbers);
}

static PyObject *new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    OperationBase *self = (OperationBase *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->call = call;
    self->code = USER;
    return (PyObject *)self;
}

static PyObject *get_code(PyObject *self, void *unused) {
    int code = ((OperationBase *)self)->code;
    return PyLong_FromLong(code == USER ? 0 : code);
}

static PyObject *get_native(PyObject *self, void *unused) {
    return PyBool_FromLong(properties_of(((OperationBase *)self)->code) & NATIVE);
}

static PyMethodDef OPERATION_METHODS[] = {{"evaluate", evaluate, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyGetSetDef ATTRIBUTES[] = {
    {"code", get_code, NULL, "Its row in the engine's table; 0 of a user's.", NULL},
    {"native", get_native, NULL, "Whether no Python runs in it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject OperationBaseType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chainrule._engine.OperationBase",
    .tp_doc = "What can be called on numbers and nodes.",
    .tp_basicsize = sizeof(OperationBase),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = new,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(OperationBase, call),
    .tp_methods = OPERATION_METHODS,
    .tp_getset = ATTRIBUTES,
};

/* set_call(Operation, called, evaluated): the class of rules.py, and the functions that this file is a twin
   of, for what is rare. */
static PyObject *set_call(PyObject *module, PyObject *args) {
    PyObject *type, *call_function, *evaluate_function;
    if (!PyArg_ParseTuple(args, "O!OO", &PyType_Type, &type, &call_function, &evaluate_function)) return NULL;
#if PY_VERSION_HEX < 0x030C0000 /* before, a class of Python inherited a call, but not that it is fast */
    if (((PyTypeObject *)type)->tp_call == PyVectorcall_Call)
        ((PyTypeObject *)type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#endif
    Py_INCREF(call_function);
    Py_XSETREF(CALLED, call_function);
    Py_INCREF(evaluate_function);
    Py_XSETREF(EVALUATED, evaluate_function);
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {{"set_call", set_call, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

int add_operation(PyObject *module) {
    if (PyType_Ready(&OperationBaseType) < 0 || PyModule_AddFunctions(module, METHODS) < 0) return -1;
    return PyModule_AddObjectRef(module, "OperationBase", (PyObject *)&OperationBaseType);
}
