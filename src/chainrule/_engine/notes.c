/* What a run in plain numbers meets: the twin of rewriting/log.py's Notes. */
#include "engine.h"
#include <stddef.h>

enum { DEEPEST = 20 }; /* as deep leaves are looked for here; deeper ones are left to Python */

typedef struct {
    PyObject_HEAD
    PyObject *events;  /* a list */
    PyObject *numbers; /* a dict */
    PyObject *first;   /* a dict: lists by the numbers of their events */
    Py_ssize_t left;   /* the branches that may still be met */
} Notes;

static PyTypeObject *run_type, *numpy_float, *numpy_array;
static PyObject *plain_leaves; /* a function: see log.py */
static PyObject *events_name, *kinds_name, *values_name, *number_name;

static int note(Notes *notes, PyObject *site, bool outcome) {
    if (--notes->left < 0) {
        PyErr_SetNone(PyExc_RuntimeError);
        return -1;
    }
    PyObject *events = PyObject_GetAttr(site, events_name);
    if (events == NULL) return -1;
    int done = -1;
    if (!PyTuple_Check(events) || PyTuple_GET_SIZE(events) != 2)
        PyErr_SetString(PyExc_TypeError, "a branch has two outcomes");
    else done = PyList_Append(notes->events, PyTuple_GET_ITEM(events, outcome));
    Py_DECREF(events);
    return done;
}

static PyObject *met(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    if (n != 2) return PyErr_Format(PyExc_TypeError, "met takes a branch and its outcome");
    int outcome = PyObject_IsTrue(args[1]);
    return outcome < 0 || note((Notes *)self, args[0], outcome) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *truth(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    if (n != 4 || !PyDict_Check(args[0])) return PyErr_Format(PyExc_TypeError, "truth takes sites, a function, a name and a condition");
    if (!PyBool_Check(args[3])) return PyObject_Vectorcall(args[1], args + 2, 2, NULL);
    PyObject *site = PyDict_GetItemWithError(args[0], args[2]);
    if (site == NULL) {
        if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, args[2]);
        return NULL;
    }
    return note((Notes *)self, site, args[3] == Py_True) < 0 ? NULL : Py_NewRef(args[3]);
}

/* Add the leaves of a value to a list: plain numbers, and None for what is none. 0 where Python has to look; -1
   with an error. */
static int add_leaves_of(PyObject *leaves, PyObject *x, int depth) {
    if (x == Py_None) return 1; /* an empty tree */
    if (PyFloat_CheckExact(x) || PyLong_CheckExact(x) || Py_TYPE(x) == numpy_float)
        return PyList_Append(leaves, x) < 0 ? -1 : 1;
    if (PyBool_Check(x) || PyUnicode_CheckExact(x) || Py_TYPE(x) == numpy_array || is_node(x))
        return PyList_Append(leaves, Py_None) < 0 ? -1 : 1;
    if ((!PyList_CheckExact(x) && !PyTuple_CheckExact(x)) || depth == DEEPEST) return 0;
    int done = 1;
    for (Py_ssize_t i = 0; done > 0 && i < PySequence_Fast_GET_SIZE(x); i++)
        done = add_leaves_of(leaves, PySequence_Fast_GET_ITEM(x, i), depth + 1);
    return done;
}

/* What an iteration keeps of the values of those variables that it reads. */
static PyObject *kept_of(PyObject *read, PyObject *const *values) {
    PyObject *leaves = PyList_New(0);
    int done = leaves == NULL ? -1 : 1;
    for (Py_ssize_t i = 0; done > 0 && i < PyTuple_GET_SIZE(read); i++)
        if (PyTuple_GET_ITEM(read, i) == Py_True) done = add_leaves_of(leaves, values[i], 0);
    if (done > 0) return leaves;
    Py_XDECREF(leaves);
    if (done < 0) return NULL;
    PyObject *given = PyList_New(0);
    for (Py_ssize_t i = 0; given != NULL && i < PyTuple_GET_SIZE(read); i++)
        if (PyTuple_GET_ITEM(read, i) == Py_True && PyList_Append(given, values[i]) < 0) Py_CLEAR(given);
    leaves = given == NULL ? NULL : PyObject_CallOneArg(plain_leaves, given);
    Py_XDECREF(given);
    return leaves;
}

/* The number of a key: a new reference. */
static PyObject *number_of(Notes *notes, PyObject *key) {
    PyObject *known = PyDict_GetItemWithError(notes->numbers, key);
    if (known != NULL || PyErr_Occurred()) return Py_XNewRef(known);
    PyObject *made = PyLong_FromSsize_t(PyDict_GET_SIZE(notes->numbers));
    if (made != NULL && PyDict_SetItem(notes->numbers, key, made) < 0) Py_CLEAR(made);
    return made;
}

static PyObject *number(PyObject *self, PyObject *key) { return number_of((Notes *)self, key); }

/* An attribute of a run that is a list; NULL with an error. */
static PyObject *list_of(PyObject *run, PyObject *name) {
    PyObject *list = PyObject_GetAttr(run, name);
    if (list == NULL || PyList_CheckExact(list)) return list;
    Py_DECREF(list);
    return PyErr_Format(PyExc_TypeError, "a run has lists");
}

/* End the iteration that has begun last, if it has not been ended. */
static int close_iteration(Notes *notes, PyObject *lists, PyObject *kinds) {
    Py_ssize_t n = PyList_GET_SIZE(lists);
    if (n <= PyList_GET_SIZE(kinds)) return 0;
    PyObject *events = PyList_GET_ITEM(lists, n - 1);
    if (!PyList_CheckExact(events)) return PyErr_SetString(PyExc_TypeError, "a run has lists of events"), -1;
    PyObject *key = PyList_AsTuple(events);
    if (key == NULL) return -1;
    bool has_runs = false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); i++) {
        PyObject *event = PyTuple_GET_ITEM(key, i);
        if (Py_TYPE(event) != run_type) continue;
        has_runs = true;
        PyObject *own = PyObject_GetAttr(event, number_name);
        if (own == NULL || PyTuple_SetItem(key, i, own) < 0) {
            Py_DECREF(key);
            return -1;
        }
    }
    PyObject *kind = number_of(notes, key);
    Py_DECREF(key);
    int done = kind == NULL ? -1 : PyList_Append(kinds, kind);
    if (done == 0 && !has_runs) {
        PyObject *same = PyDict_SetDefault(notes->first, kind, events);
        done = same == NULL ? -1 : PyList_SetItem(lists, n - 1, Py_NewRef(same));
    }
    Py_XDECREF(kind);
    return done;
}

static PyObject *close_run(PyObject *self, PyObject *run) {
    PyObject *lists = list_of(run, events_name), *kinds = list_of(run, kinds_name);
    int done = lists == NULL || kinds == NULL ? -1 : close_iteration((Notes *)self, lists, kinds);
    Py_XDECREF(lists);
    Py_XDECREF(kinds);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *turn(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Notes *notes = (Notes *)self;
    if (n < 2 || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) != n - 2)
        return PyErr_Format(PyExc_TypeError, "turn takes a run, which variables are read, and what all are");
    PyObject *lists = list_of(args[0], events_name), *kinds = list_of(args[0], kinds_name);
    PyObject *values = list_of(args[0], values_name), *kept = NULL, *events = NULL, *result = NULL;
    if (lists != NULL && kinds != NULL && values != NULL && close_iteration(notes, lists, kinds) == 0 &&
        (kept = kept_of(args[1], args + 2)) != NULL && PyList_Append(values, kept) == 0 &&
        (events = PyList_New(0)) != NULL && PyList_Append(lists, events) == 0) {
        Py_SETREF(notes->events, Py_NewRef(events));
        result = PyTuple_New(n - 2);
        for (Py_ssize_t i = 2; result != NULL && i < n; i++) PyTuple_SET_ITEM(result, i - 2, Py_NewRef(args[i]));
    }
    Py_XDECREF(lists);
    Py_XDECREF(kinds);
    Py_XDECREF(values);
    Py_XDECREF(kept);
    Py_XDECREF(events);
    return result;
}

static PyObject *notes_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    Notes *notes = (Notes *)type->tp_alloc(type, 0);
    if (notes == NULL) return NULL;
    notes->events = PyList_New(0);
    notes->numbers = PyDict_New();
    notes->first = PyDict_New();
    if (notes->events == NULL || notes->numbers == NULL || notes->first == NULL) Py_CLEAR(notes);
    return (PyObject *)notes;
}

static int notes_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    return PyArg_ParseTuple(args, "n:Notes", &((Notes *)self)->left) ? 0 : -1;
}

/* There is no tp_clear: a cycle leads through the list or a dict, which break it; the list may be used elsewhere. */
static int notes_traverse(PyObject *self, visitproc visit, void *arg) {
    Notes *notes = (Notes *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(notes->events);
    Py_VISIT(notes->numbers);
    Py_VISIT(notes->first);
    return 0;
}

static void notes_dealloc(PyObject *self) {
    Notes *notes = (Notes *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(notes->events);
    Py_XDECREF(notes->numbers);
    Py_XDECREF(notes->first);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_events(PyObject *self, void *unused) { return Py_NewRef(((Notes *)self)->events); }

static int set_events(PyObject *self, PyObject *events, void *unused) {
    if (events == NULL || !PyList_CheckExact(events)) return PyErr_SetString(PyExc_TypeError, "events are a list"), -1;
    Py_SETREF(((Notes *)self)->events, Py_NewRef(events));
    return 0;
}

static PyGetSetDef ATTRIBUTES[] = {
    {"events", get_events, set_events, "What has been met where it runs.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef METHODS[] = {
    {"met", (PyCFunction)(void (*)(void))met, METH_FASTCALL, "Note the outcome of a branch."},
    {"truth", (PyCFunction)(void (*)(void))truth, METH_FASTCALL, "The truth of what a branch is by, noted."},
    {"turn", (PyCFunction)(void (*)(void))turn, METH_FASTCALL, "Note that an iteration begins."},
    {"close", close_run, METH_O, "Note that an iteration has ended, if one has begun."},
    {"number", number, METH_O, "A number that is the same for what is equal."},
    {NULL, NULL, 0, NULL},
};

static PyObject *set_notes(PyObject *module, PyObject *args) {
    PyObject *run, *number_type, *array, *leaves;
    if (!PyArg_ParseTuple(args, "O!O!O!O:set_notes", &PyType_Type, &run, &PyType_Type, &number_type, &PyType_Type, &array, &leaves))
        return NULL;
    Py_XSETREF(run_type, (PyTypeObject *)Py_NewRef(run));
    Py_XSETREF(numpy_float, (PyTypeObject *)Py_NewRef(number_type));
    Py_XSETREF(numpy_array, (PyTypeObject *)Py_NewRef(array));
    Py_XSETREF(plain_leaves, Py_NewRef(leaves));
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_notes", set_notes, METH_VARARGS, "The class of runs; NumPy's float64 and ndarray; the plain numbers of values."},
    {NULL, NULL, 0, NULL},
};

int add_notes(PyObject *module) {
    PyType_Slot slots[] = {
        {Py_tp_new, notes_new},
        {Py_tp_init, notes_init},
        {Py_tp_dealloc, notes_dealloc},
        {Py_tp_traverse, notes_traverse},
        {Py_tp_getset, ATTRIBUTES},
        {Py_tp_methods, METHODS},
        {Py_tp_doc, "What a run in plain numbers has met so far: see chainrule.rewriting.log."},
        {0, NULL},
    };
    PyType_Spec spec = {.name = "chainrule.rewriting.log.Notes", .basicsize = sizeof(Notes),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, .slots = slots};
    events_name = PyUnicode_InternFromString("events");
    kinds_name = PyUnicode_InternFromString("kinds");
    values_name = PyUnicode_InternFromString("values");
    number_name = PyUnicode_InternFromString("number");
    PyObject *type = PyType_FromSpec(&spec);
    if (events_name == NULL || kinds_name == NULL || values_name == NULL || number_name == NULL || type == NULL) return -1;
    return PyModule_AddObjectRef(module, "Notes", type) < 0 ? -1 : PyModule_AddFunctions(module, FUNCTIONS);
}
