/* The module chainrule._engine: what the other files add, and the functions of Python that they call. */
#include "engine.h"

struct Hooks HOOKS;

PyObject *call_hook(PyObject *function, PyObject *const *args, size_t n) {
    PyObject *result = PyObject_Vectorcall(function, args, n, NULL);
    if (result != NULL || HOOKS.keep_users_frames == NULL) return result;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) PyException_SetTraceback(error, traceback);
    PyObject *done = PyObject_CallOneArg(HOOKS.keep_users_frames, error);
    if (done == NULL) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(traceback);
    PyErr_Restore(type, error, PyException_GetTraceback(error));
    return NULL;
}

static PyObject *set_hooks(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"with_other", "compared", "keep_users_frames", "apply", NULL};
    struct Hooks hooks;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOO", names, &hooks.with_other, &hooks.compared,
                                     &hooks.keep_users_frames, &hooks.apply))
        return NULL;
    Py_INCREF(hooks.with_other);
    Py_INCREF(hooks.compared);
    Py_INCREF(hooks.keep_users_frames);
    Py_INCREF(hooks.apply);
    HOOKS = hooks; /* once: they live as long as the module */
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
        add_rules,
        /* add_contexts, add_nodes, add_operators, add_walk, add_passes, add_recording, */
        NULL,
    };
    PyObject *module = PyModule_Create(&MODULE);
    for (int i = 0; module != NULL && parts[i] != NULL; i++)
        if (parts[i](module) < 0) Py_CLEAR(module);
    return module;
}
