/* Calls of what `grad` and `value_and_grad` give, with a few plain arguments: the twin of Gradient in transforms.py,
   and of `open_level` and `close_level` in tracing.py. All else goes on in Python. */
#include "engine.h"

static PyObject *progress, *levels;       /* PROGRESS and LEVELS of tracing.py */
static PyTypeObject *transformed;         /* Transformed of transforms.py */
static PyObject *NAMES[14];               /* of attributes */
enum { OF_NAMES, OF_LOG, OF_STRUCTURAL, OF_SHORTCUTS, OF_FUNCTION, OF_ARGNUMS, OF_HAS_AUX, OF_VALUE, OF_NAME, OF_FORM,
       OF_WRAPPED, OF_DICT, OF_INNER, OF_INSTEAD };
static const char *const TEXTS[] = {"names", "log", "structural", "shortcuts", "_function",
                                    "argnums", "has_aux", "value", "name", "form_of",
                                    "__wrapped__", "__dict__", "inner", "instead"};

typedef struct { /* a call */
    PyObject *self, *args, *function, *name;
    Py_ssize_t place;   /* of the argument by which it is differentiated */
    PyObject *progress; /* of this thread: a dict */
    PyObject *names;    /* of the open levels, borrowed */
} Call;

/* What is in progress in this thread (borrowed); NULL with an error. */
static PyObject *in_progress(const Call *call, int name) {
    PyObject *found = PyDict_GetItemWithError(call->progress, NAMES[name]);
    if (found == NULL && !PyErr_Occurred()) PyErr_SetObject(PyExc_AttributeError, NAMES[name]);
    return found;
}

/* Open a level: its number as Python has it; NULL with an error. */
static PyObject *open_level(const Call *call) {
    PyObject *level = PyIter_Next(levels);
    if (level == NULL || PyDict_SetItem(call->names, level, call->name) < 0) {
        Py_XDECREF(level);
        return NULL;
    }
    innermost_is(PyLong_AsLongLong(level));
    return level;
}

/* Forget the lines of comparisons, as no transformation is open any more; -1 with an error. */
static int clear_shortcuts(const Call *call) {
    PyObject *lines = in_progress(call, OF_SHORTCUTS);
    if (lines == NULL || !PyList_CheckExact(lines) || PyList_GET_SIZE(lines) == 0) return lines == NULL ? -1 : 0;
    PyObject *none = PyList_New(0);
    int done = none == NULL ? -1 : PyDict_SetItem(call->progress, NAMES[OF_SHORTCUTS], none);
    Py_XDECREF(none);
    return done;
}

/* Close it again; the result, which it takes, or NULL with an error. */
static PyObject *close_level(const Call *call, PyObject *level, PyObject *result) {
    PyObject *type, *error, *traceback, *key, *name, *last = NULL;
    PyErr_Fetch(&type, &error, &traceback);
    int done = PyDict_DelItem(call->names, level);
    for (Py_ssize_t i = 0; PyDict_Next(call->names, &i, &key, &name);) last = key;
    innermost_is(last == NULL ? 0 : PyLong_AsLongLong(last));
    if (last == NULL && clear_shortcuts(call) < 0) done = -1;
    Py_DECREF(level);
    if (result == NULL) {
        PyErr_Restore(type, error, traceback); /* the first error */
    } else if (done < 0) {
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *call(PyObject *self, PyObject *args, PyObject *kwargs);

static inline bool is_gradient(PyObject *function) { return Py_TYPE(function)->tp_call == call; }

/* What is called in the place of the function: another one where a run in numbers is noted. */
static PyObject *form_of(const Call *call) {
    if (is_gradient(call->function)) return Py_NewRef(call->function);
    PyObject *log = in_progress(call, OF_LOG);
    if (log == NULL) return NULL;
    if (log == Py_None) return Py_NewRef(call->function);
    Py_INCREF(log);
    PyObject *form = PyObject_CallMethodOneArg(log, NAMES[OF_FORM], call->function);
    Py_DECREF(log);
    return form;
}

/* The value and the gradient; or what has begun, to be gone on with in Python, which has done it. */
static PyObject *differentiated(const Call *call) {
    PyObject *form = form_of(call), *level = form == NULL ? NULL : open_level(call);
    PyObject *found = NULL;
    if (level != NULL) {
        int64_t number = innermost_level();
        found = gradient_of(form, call->args, call->place, call->name, number, call->names, false);
        if (found != NULL && found != Py_None && PyTuple_GET_SIZE(found) == 3)
            Py_SETREF(found, PyObject_CallMethod(call->self, "_continued", "OOnO", level, call->args, call->place, found));
        found = close_level(call, level, found);
    }
    Py_XDECREF(form);
    return found;
}

/* Read what a call takes: 1, 0 if it is left to Python, -1 with an error. */
static int read_call(Call *call) {
    PyObject *self = call->self, *argnums = NULL, *has_aux = NULL, *structural;
    int plain = -1;
    if ((call->function = PyObject_GetAttr(self, NAMES[OF_FUNCTION])) == NULL) goto end;
    if ((call->name = PyObject_GetAttr(self, NAMES[OF_NAME])) == NULL) goto end;
    if ((argnums = PyObject_GetAttr(self, NAMES[OF_ARGNUMS])) == NULL) goto end;
    if ((has_aux = PyObject_GetAttr(self, NAMES[OF_HAS_AUX])) == NULL) goto end;
    if ((call->progress = PyObject_GetAttr(progress, NAMES[OF_DICT])) == NULL) goto end;
    if ((structural = in_progress(call, OF_STRUCTURAL)) == NULL) goto end;
    if ((call->names = in_progress(call, OF_NAMES)) == NULL) goto end;
    plain = has_aux == Py_False && PyLong_CheckExact(argnums) && PyDict_CheckExact(call->names) &&
            (is_gradient(call->function) || !PyType_IsSubtype(Py_TYPE(call->function), transformed));
    if (plain) {
        plain = PyObject_Not(structural);
        call->place = PyLong_AsSsize_t(argnums);
        if (call->place == -1 && PyErr_Occurred()) PyErr_Clear(); /* too large, of which Python tells */
        if (call->place < 0) plain = 0;
    }
end:
    Py_XDECREF(argnums);
    Py_XDECREF(has_aux);
    return plain;
}

/* The result by machine code of its own, in a run that no trace follows; NotImplemented if it has none. */
static PyObject *instead(const Call *call) {
    PyObject *inner = PyDict_GET_SIZE(call->names) > 0 ? Py_None : in_progress(call, OF_INNER);
    if (inner == Py_None) return Py_NewRef(Py_NotImplemented);
    PyObject *log = inner == NULL ? NULL : in_progress(call, OF_LOG);
    if (log != Py_None) return log == NULL ? NULL : Py_NewRef(Py_NotImplemented);
    Py_INCREF(inner);
    PyObject *result = PyObject_CallMethodObjArgs(inner, NAMES[OF_INSTEAD], call->self, call->args, NULL);
    Py_DECREF(inner);
    return result;
}

/* The result for plain arguments; None if it is left to Python. */
static PyObject *quick(PyObject *self, PyObject *args) {
    Call call = {.self = self, .args = args};
    PyObject *found = NULL, *result = NULL, *value = NULL;
    int plain = read_call(&call);
    PyObject *taken = plain > 0 ? instead(&call) : NULL;
    if (taken != NULL && taken != Py_NotImplemented) {
        result = taken;
        goto end;
    }
    Py_XDECREF(taken);
    if (plain == 0) {
        found = Py_NewRef(Py_None);
    } else if (taken != NULL) {
        found = differentiated(&call);
    }
    if (found == Py_None) {
        result = Py_NewRef(found);
    } else if (found != NULL && PyTuple_GET_SIZE(found) != 2) {
        PyObject *finish = PyObject_GetAttrString(self, "_of_call");
        result = finish == NULL ? NULL : PyObject_Call(finish, found, NULL);
        Py_XDECREF(finish);
    } else if (found != NULL && (value = PyObject_GetAttr(self, NAMES[OF_VALUE])) != NULL) {
        int both = PyObject_IsTrue(value);
        if (both >= 0) result = Py_NewRef(both ? found : PyTuple_GET_ITEM(found, 1));
    }
end:
    Py_XDECREF(value);
    Py_XDECREF(found);
    Py_XDECREF(call.function);
    Py_XDECREF(call.name);
    Py_XDECREF(call.progress);
    return result;
}

static PyObject *call(PyObject *self, PyObject *args, PyObject *kwargs) {
    bool positional = kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0;
    PyObject *result = positional && recorded_level() == 0 ? quick(self, args) : Py_NewRef(Py_None);
    if (result == Py_None) {
        PyObject *function = PyObject_GetAttrString(self, "_in_general");
        Py_SETREF(result, function == NULL ? NULL : PyObject_Call(function, args, kwargs));
        Py_XDECREF(function);
    }
    return result != NULL ? result : failed();
}

/* Whether a name begins and ends the way that Python's own do, but `__class__`, which is asked for often. */
static bool is_special(PyObject *name) {
    if (!PyUnicode_Check(name) || PyUnicode_GET_LENGTH(name) < 2 || PyUnicode_READ_CHAR(name, 1) != '_') return false;
    return PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_CompareWithASCIIString(name, "__class__") != 0;
}

/* Whether there is an attribute; -1 with an error. */
static int has(PyObject *self, PyObject *name) {
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    if (found == NULL) PyErr_Clear();
    Py_XDECREF(found);
    return found != NULL;
}

/* An attribute. The function's name, and what else tells of it, is taken over once somebody looks. */
static PyObject *getattro(PyObject *self, PyObject *name) {
    if (is_special(name)) {
        int named = has(self, NAMES[OF_WRAPPED]), has_function = named ? 1 : has(self, NAMES[OF_FUNCTION]);
        if (named < 0 || has_function < 0) return NULL;
        PyObject *done = named || !has_function ? Py_NewRef(Py_None) : PyObject_CallMethod(self, "_take_names", NULL);
        if (done == NULL) return failed();
        Py_DECREF(done);
    }
    return PyObject_GenericGetAttr(self, name);
}

static PyTypeObject CalledType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chainrule._engine.GradientBase",
    .tp_doc = "What calls a gradient.",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_call = call,
    .tp_getattro = getattro,
};

/* set_progress(PROGRESS, levels, Transformed) */
static PyObject *set_progress(PyObject *module, PyObject *args) {
    PyObject *of_thread, *numbers, *type;
    if (!PyArg_ParseTuple(args, "OOO!", &of_thread, &numbers, &PyType_Type, &type)) return NULL;
    if (!PyIter_Check(numbers)) return PyErr_Format(PyExc_TypeError, "levels are given out by an iterator");
    Py_XSETREF(progress, Py_NewRef(of_thread));
    Py_XSETREF(levels, Py_NewRef(numbers));
    Py_XSETREF(transformed, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {{"set_progress", set_progress, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

int add_gradients(PyObject *module) {
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if ((NAMES[i] = PyUnicode_InternFromString(TEXTS[i])) == NULL) return -1;
    if (PyType_Ready(&CalledType) < 0 || PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    return PyModule_AddObjectRef(module, "GradientBase", (PyObject *)&CalledType);
}
