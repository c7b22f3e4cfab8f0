/* The module chainrule._engine: what the other files add, and the functions of Python that they call. */
#include "engine.h"

struct Hooks HOOKS;

PyObject *failed(void) {
    PyObject *type, *error, *traceback;
    if (HOOKS.keep_users_frames == NULL) return NULL;
    PyErr_Fetch(&type, &error, &traceback);
    if (type != NULL) PyErr_NormalizeException(&type, &error, &traceback);
    if (error == NULL) { /* it failed without an error: no memory for that */
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return PyErr_NoMemory();
    }
    if (traceback != NULL) PyException_SetTraceback(error, traceback);
    PyObject *done = PyObject_CallOneArg(HOOKS.keep_users_frames, error);
    if (done == NULL) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(traceback);
    PyErr_Restore(type, error, PyException_GetTraceback(error));
    return NULL;
}

PyObject *call_hook(PyObject *function, PyObject *const *args, size_t n) {
    PyObject *result = PyObject_Vectorcall(function, args, n, NULL);
    return result != NULL ? result : failed();
}

PyObject *call_hook_with(PyObject *function, PyObject *args, PyObject *kwargs) {
    PyObject *result = PyObject_Call(function, args, kwargs);
    return result != NULL ? result : failed();
}

int tuple_and_dict(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **tuple, PyObject **kwargs) {
    *kwargs = NULL;
    *tuple = PyTuple_New(n);
    if (*tuple == NULL) return -1;
    for (Py_ssize_t i = 0; i < n; i++) PyTuple_SET_ITEM(*tuple, i, Py_NewRef(args[i]));
    if (names == NULL) return 0;
    *kwargs = PyDict_New();
    for (Py_ssize_t i = 0; *kwargs != NULL && i < PyTuple_GET_SIZE(names); i++)
        if (PyDict_SetItem(*kwargs, PyTuple_GET_ITEM(names, i), args[n + i]) < 0) Py_CLEAR(*kwargs);
    if (*kwargs == NULL) Py_CLEAR(*tuple);
    return *kwargs == NULL ? -1 : 0;
}

/* set_hooks(name=function, ...): once; they live as long as the module. */
static PyObject *set_hooks(PyObject *module, PyObject *args, PyObject *kwargs) {
    if (kwargs == NULL) return PyErr_Format(PyExc_TypeError, "set_hooks takes functions by name");
#define H(name) \
    Py_XSETREF(HOOKS.name, Py_XNewRef(PyDict_GetItemString(kwargs, #name))); \
    if (HOOKS.name == NULL) return PyErr_Format(PyExc_TypeError, "set_hooks lacks " #name);
    HOOK_NAMES(H)
#undef H
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"set_hooks", (PyCFunction)(void (*)(void))set_hooks, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "chainrule._engine", .m_doc = "The engine in C.", .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__engine(void) {
    static int (*const parts[])(PyObject *) = {
        add_contexts, add_rules, add_classes, add_operators, add_walk, add_copying, add_leaves, add_passes, add_recording, add_repeats,
        add_numbering, add_dispatch, add_arguments, add_lines, add_elements, add_notes, add_gradients, add_points, NULL,
    };
    PyObject *module = PyModule_Create(&MODULE);
    for (int i = 0; module != NULL && parts[i] != NULL; i++)
        if (parts[i](module) < 0) Py_CLEAR(module);
    return module;
}
