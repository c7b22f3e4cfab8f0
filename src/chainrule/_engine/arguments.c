/* What most arguments and results are: numbers, nodes, and flat lists and tuples of these. The twins of `flat` in
   trees.py, `are_current` in tracing.py and `_handed_over` in handover.py, which does what is left to it; and
   the gradient of a function of these. */
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

/* Whether the levels of the nodes in a list are among those open in this thread; -1 with an error. */
static int all_open(PyObject *values, PyObject *open) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(values); i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        int found = is_node(value) ? is_open(open, ((Node *)value)->level) : 1;
        if (found != 1) return found;
    }
    return 1;
}

/* are_current(values, open) */
static PyObject *are_current(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 2 || !PyList_CheckExact(args[0]) || !PyDict_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "are_current takes values and levels");
    int found = all_open(args[0], args[1]);
    return found < 0 ? NULL : PyBool_FromLong(found);
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

enum { MOST = 8 };

typedef struct { /* arguments that a function is handed */
    PyObject *room[MOST + 1], *kept[MOST]; /* after one for Python's use; and what lists held */
    Py_ssize_t n;
} Given;

/* Let go of them. */
static void drop(Given *given) {
    for (Py_ssize_t i = 0; i < given->n; i++) {
        Py_DECREF(given->room[1 + i]);
        Py_XDECREF(given->kept[i]);
    }
}

/* Take arguments that are simple, of lists copies: 1, 0 if they are left to Python, -1 with an error. To be dropped
   in the first case. */
static int take(Given *given, PyObject *args) {
    bool listed = PyList_CheckExact(args) || PyTuple_CheckExact(args);
    Py_ssize_t n = listed ? PySequence_Fast_GET_SIZE(args) : MOST + 1, i;
    if (n > MOST) return 0;
    for (i = 0; i < n; i++) {
        PyObject *arg = PySequence_Fast_GET_ITEM(args, i);
        if (!is_simple(arg) && !is_flat(arg, is_simple)) return 0;
    }
    *given = (Given){.n = n};
    PyObject **own = given->room + 1;
    for (i = 0; i < n; i++) own[i] = Py_NewRef(PySequence_Fast_GET_ITEM(args, i)); /* no Python runs so far */
    for (i = 0; i < n; i++) {
        if (!PyList_CheckExact(own[i])) continue;
        given->kept[i] = PySequence_List(own[i]);
        PyObject *copy = given->kept[i] == NULL ? NULL : PySequence_List(given->kept[i]);
        if (copy == NULL) {
            drop(given);
            return -1;
        }
        Py_SETREF(own[i], copy);
    }
    return 1;
}

/* What a function gives for arguments, which it must not change. */
static PyObject *result_for(PyObject *function, Given *given, PyObject *name) {
    size_t n = (size_t)given->n | PY_VECTORCALL_ARGUMENTS_OFFSET;
    PyObject *result = PyObject_Vectorcall(function, given->room + 1, n, NULL);
    if (result != NULL && check_all(name, given->room + 1, given->kept, given->n) < 0) Py_CLEAR(result);
    return result;
}

/* handed_over(function, args, kwargs, name) */
static PyObject *handed_over(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 4 || in_general == NULL || !PyDict_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "handed_over takes a function, arguments and a name");
    Given given;
    int taken = PyDict_GET_SIZE(args[2]) == 0 ? take(&given, args[1]) : 0;
    if (taken < 1) return taken < 0 ? NULL : PyObject_Vectorcall(in_general, args, 4, NULL);
    PyObject *result = result_for(args[0], &given, args[3]);
    drop(&given);
    return result;
}

/* Let inputs stand in an argument: 0, or -1 with an error. */
static int replace(Given *given, Py_ssize_t place, PyObject *inputs) {
    PyObject **own = &given->room[1 + place], *other;
    if (PyList_CheckExact(*own)) {
        Py_SETREF(given->kept[place], Py_NewRef(inputs));
        other = PySequence_List(inputs);
    } else {
        other = PyTuple_CheckExact(*own) ? PyList_AsTuple(inputs) : Py_NewRef(PyList_GET_ITEM(inputs, 0));
    }
    if (other == NULL) return -1;
    Py_SETREF(*own, other);
    return 0;
}

/* The gradient as the argument it is by: a number, a list or a tuple; takes the list. */
static PyObject *like(PyObject *arg, PyObject *gradient) {
    if (gradient == NULL || PyList_CheckExact(arg)) return gradient;
    PyObject *found = PyTuple_CheckExact(arg) ? PyList_AsTuple(gradient) : Py_NewRef(PyList_GET_ITEM(gradient, 0));
    Py_DECREF(gradient);
    return found;
}

/* The pair of the value and the gradient; without an error NULL where that is left to Python. */
static PyObject *value_and_gradient(PyObject *arg, PyObject *output, PyObject *inputs, int64_t level, PyObject *open) {
    PyObject *closed = is_plain(output) ? gradient_closed(output, inputs, level, open) : NULL;
    if (closed == NULL) return NULL;
    Py_ssize_t n = PyList_GET_SIZE(closed) - 1;
    PyObject *value = Py_NewRef(PyList_GET_ITEM(closed, n));
    PyObject *gradient = PyList_SetSlice(closed, n, n + 1, NULL) < 0 ? NULL : like(arg, Py_NewRef(closed));
    PyObject *pair = gradient == NULL ? NULL : PyTuple_Pack(2, value, gradient);
    Py_XDECREF(gradient);
    Py_DECREF(value);
    Py_DECREF(closed);
    return pair;
}

PyObject *gradient_of(PyObject *form, PyObject *args, Py_ssize_t place, PyObject *name, int64_t level, PyObject *open,
                      bool keep) {
    Given given;
    int taken = take(&given, args);
    if (taken < 1) return taken < 0 ? NULL : Py_NewRef(Py_None);
    PyObject *found = place >= 0 && place < given.n ? flat(NULL, given.room[1 + place]) : Py_NewRef(Py_None);
    PyObject *inputs = NULL, *output = NULL, *result = NULL;
    if (found == NULL) goto end;
    int current = found != Py_None ? all_open(PyTuple_GET_ITEM(found, 0), open) : 0;
    if (current < 1) {
        if (current == 0) result = Py_NewRef(Py_None);
        goto end;
    }
    inputs = inputs_of(PyTuple_GET_ITEM(found, 0), level);
    if (inputs == NULL || replace(&given, place, inputs) < 0) goto end;
    output = result_for(form, &given, name);
    if (output != NULL && !keep) result = value_and_gradient(given.room[1 + place], output, inputs, level, open);
    if (output != NULL && result == NULL && !PyErr_Occurred())
        result = PyTuple_Pack(3, PyTuple_GET_ITEM(found, 1), inputs, output);
end:
    Py_XDECREF(output);
    Py_XDECREF(inputs);
    Py_XDECREF(found);
    drop(&given);
    return result;
}

/* gradient_at(function, args, place, name, level, open, keep) */
static PyObject *gradient_at(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 7 || !PyLong_Check(args[4]) || !PyDict_CheckExact(args[5]))
        return PyErr_Format(PyExc_TypeError, "gradient_at takes a function, arguments, a place, a name and levels");
    if (!PyLong_CheckExact(args[2])) Py_RETURN_NONE;
    Py_ssize_t place = PyLong_AsSsize_t(args[2]);
    int keep = PyObject_IsTrue(args[6]);
    if (keep < 0) return NULL;
    return gradient_of(args[0], args[1], place, args[3], PyLong_AsLongLong(args[4]), args[5], keep);
}

static PyMethodDef FUNCTIONS[] = {
    {"set_layouts", set_layouts, METH_VARARGS, NULL},
    {"flat", flat, METH_O, "The values and the layout of a plain tree: see chainrule.trees."},
    {"are_current", (PyCFunction)(void (*)(void))are_current, METH_FASTCALL, NULL},
    {"set_handover", set_handover, METH_VARARGS, NULL},
    {"handed_over", (PyCFunction)(void (*)(void))handed_over, METH_FASTCALL, "A call: see chainrule.handover."},
    {"gradient_at", (PyCFunction)(void (*)(void))gradient_at, METH_FASTCALL,
     "The gradient of a function of a few numbers: see chainrule.differentiation."},
    {NULL, NULL, 0, NULL},
};

int add_arguments(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
