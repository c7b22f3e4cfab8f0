/* What most arguments and results are: numbers, nodes, and flat lists and tuples of these. The twins of `flat` in
   trees.py, `are_current` in tracing.py and `_handed_over` in handover.py, which does what is left to it. */
#include "engine.h"

/* Whether it is a float or a node, of no class of the user's. */
static inline bool is_plain(PyObject *x) {
    return PyFloat_CheckExact(x) || Py_TYPE(x)->tp_dealloc == node_dealloc;
}

/* Whether it is one of these, or another object that a function can't change. */
static inline bool is_simple(PyObject *x) {
    return is_plain(x) || x == Py_None || PyLong_CheckExact(x) || PyBool_Check(x) || PyUnicode_CheckExact(x);
}

static inline bool is_flat(PyObject *tree, bool (*is_kind)(PyObject *)) {
    if (!PyList_CheckExact(tree) && !PyTuple_CheckExact(tree)) return false;
    for (Py_ssize_t i = 0, n = PySequence_Fast_GET_SIZE(tree); i < n; i++)
        if (!is_kind(PySequence_Fast_GET_ITEM(tree, i))) return false;
    return true;
}

static PyObject *number, *lists, *tuples; /* layouts; of lists and tuples by their lengths */

static PyObject *set_layouts(PyObject *module, PyObject *args) {
    PyObject *of_number, *of_lists, *of_tuples;
    if (!PyArg_ParseTuple(args, "OO!O!", &of_number, &PyTuple_Type, &of_lists, &PyTuple_Type, &of_tuples)) return NULL;
    Py_XSETREF(number, Py_NewRef(of_number));
    Py_XSETREF(lists, Py_NewRef(of_lists));
    Py_XSETREF(tuples, Py_NewRef(of_tuples));
    Py_RETURN_NONE;
}

static PyObject *flat(PyObject *module, PyObject *tree) {
    PyObject *values, *layout = number;
    if (number == NULL) return PyErr_Format(PyExc_RuntimeError, "the engine has no layouts");
    if (is_plain(tree)) {
        if ((values = PyList_New(1)) != NULL) PyList_SET_ITEM(values, 0, Py_NewRef(tree));
    } else if (is_flat(tree, is_plain)) {
        PyObject *layouts = PyList_CheckExact(tree) ? lists : tuples;
        Py_ssize_t n = PySequence_Fast_GET_SIZE(tree);
        if (n >= PyTuple_GET_SIZE(layouts)) Py_RETURN_NONE;
        layout = PyTuple_GET_ITEM(layouts, n);
        values = PySequence_List(tree);
    } else {
        Py_RETURN_NONE;
    }
    PyObject *pair = values == NULL ? NULL : PyTuple_Pack(2, values, layout);
    Py_XDECREF(values);
    return pair;
}

/* are_current(values, open): whether the levels of the nodes in a list are among those open in this thread. */
static PyObject *are_current(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 2 || !PyList_CheckExact(args[0]) || !PyDict_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "are_current takes values and levels");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *value = PyList_GET_ITEM(args[0], i);
        int open = is_node(value) ? is_open(args[1], ((Node *)value)->level) : 1;
        if (open != 1) return open < 0 ? NULL : Py_NewRef(Py_False);
    }
    Py_RETURN_TRUE;
}

int is_open(PyObject *open, int64_t level) {
    if (level <= 0) return 1;
    PyObject *key = PyLong_FromLongLong(level);
    int found = key == NULL ? -1 : PyDict_Contains(open, key);
    Py_XDECREF(key);
    return found;
}

/* Calls of functions */

static PyObject *in_general, *check; /* the function of Python, and (name, place, given, kept) for a list that changed */

static PyObject *set_handover(PyObject *module, PyObject *args) {
    PyObject *function, *checking;
    if (!PyArg_ParseTuple(args, "OO", &function, &checking)) return NULL;
    Py_XSETREF(in_general, Py_NewRef(function));
    Py_XSETREF(check, Py_NewRef(checking));
    Py_RETURN_NONE;
}

static bool is_same(PyObject *x, PyObject *y) {
    if (PyList_GET_SIZE(x) != PyList_GET_SIZE(y)) return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(x); i++)
        if (PyList_GET_ITEM(x, i) != PyList_GET_ITEM(y, i)) return false;
    return true;
}

/* Whether the lists that a function was given are what they were; -1 with an error. */
static int check_all(PyObject *name, PyObject *const *given, PyObject *const *kept, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) {
        if (kept[i] == NULL || is_same(given[i], kept[i])) continue;
        PyObject *done = PyObject_CallFunction(check, "OnOO", name, i, given[i], kept[i]);
        Py_XDECREF(done);
        if (done == NULL) return -1;
    }
    return 0;
}

/* handed_over(function, args, kwargs, name) */
static PyObject *handed_over(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    enum { MOST = 8 };
    if (n_args != 4 || in_general == NULL || !PyDict_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "handed_over takes a function, arguments and a name");
    PyObject *room[MOST + 1] = {NULL}, **given = room + 1, *kept[MOST] = {NULL}, *result = NULL;
    bool listed = PyList_CheckExact(args[1]) || PyTuple_CheckExact(args[1]);
    Py_ssize_t n = listed ? PySequence_Fast_GET_SIZE(args[1]) : MOST + 1, i;
    bool simple = n <= MOST && PyDict_GET_SIZE(args[2]) == 0;
    for (i = 0; simple && i < n; i++) {
        PyObject *arg = PySequence_Fast_GET_ITEM(args[1], i);
        simple = is_simple(arg) || is_flat(arg, is_simple);
    }
    if (!simple) return PyObject_Vectorcall(in_general, args, 4, NULL);
    for (i = 0; i < n; i++) given[i] = Py_NewRef(PySequence_Fast_GET_ITEM(args[1], i)); /* no Python runs so far */
    for (i = 0; i < n; i++) {
        if (!PyList_CheckExact(given[i])) continue;
        kept[i] = PySequence_List(given[i]);
        PyObject *own = kept[i] == NULL ? NULL : PySequence_List(kept[i]);
        if (own == NULL) goto end;
        Py_SETREF(given[i], own);
    }
    result = PyObject_Vectorcall(args[0], given, (size_t)n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (result != NULL && check_all(args[3], given, kept, n) < 0) Py_CLEAR(result);
end:
    for (i = 0; i < n; i++) {
        Py_DECREF(given[i]);
        Py_XDECREF(kept[i]);
    }
    return result;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_layouts", set_layouts, METH_VARARGS, NULL},
    {"flat", flat, METH_O, "The values and the layout of a plain tree: see chainrule.trees."},
    {"are_current", (PyCFunction)(void (*)(void))are_current, METH_FASTCALL, NULL},
    {"set_handover", set_handover, METH_VARARGS, NULL},
    {"handed_over", (PyCFunction)(void (*)(void))handed_over, METH_FASTCALL, "A call: see chainrule.handover."},
    {NULL, NULL, 0, NULL},
};

int add_arguments(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
