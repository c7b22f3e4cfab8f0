/* Calls of compiled functions with plain arguments; jit/small.py makes their patterns. */
#include "engine.h"
#include <stddef.h>

enum { FEW = 64 }; /* numbers for which there is room on the stack */

typedef int64_t (*Driver)(const void *code, const double *inputs, double *outputs, void *workspace);

/* The machine code of a path. */
typedef struct {
    PyObject_HEAD
    Driver driver;    /* the function that runs it */
    const void *code; /* the table that describes it */
    Py_ssize_t n_inputs, n_outputs;
    bool long_running;   /* other threads may go on meanwhile */
    PyObject *result;    /* a pattern, or a function of the list of outputs */
    PyObject *following; /* a dict: by the status of a guard that failed, the step that goes on */
    PyObject *kept;      /* what the code lives as long as */
} Step;

/* One kind of plain arguments. */
typedef struct {
    PyObject_HEAD
    PyObject *pattern; /* of the arguments: a tuple of float for each number, static values, tuples and lists */
    PyObject *first;   /* the step it begins with */
    PyObject *looks;   /* a tuple of pairs: a function, and the object that it has to give */
    PyObject *changed; /* a function that tells whether something else has changed, or None */
    PyObject *plan;
} Small;

typedef struct {
    PyObject_HEAD
    PyObject *small; /* a list */
    long long calls;
} Dispatch;

static PyTypeObject *StepType, *SmallType;
static PyObject *progress, *names_name, *general_name;
static PyTypeObject *numpy_float;

/* Patterns */

#define IS_SLOT(pattern) ((pattern) == (PyObject *)&PyFloat_Type)

/* Whether two static values are one: of types whose == runs no code of the user's. -1 with an error. */
static int same_static(PyObject *pattern, PyObject *x) {
    if (pattern == x) return 1;
    return Py_TYPE(pattern) == Py_TYPE(x) && pattern != Py_None ? PyObject_RichCompareBool(pattern, x, Py_EQ) : 0;
}

/* Whether an argument fits a pattern; its numbers go to *numbers. -1 with an error. */
static int match(PyObject *pattern, PyObject *x, double **numbers) {
    if (IS_SLOT(pattern)) {
        if (!PyFloat_CheckExact(x) && Py_TYPE(x) != numpy_float) return 0;
        *(*numbers)++ = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    bool is_tuple = PyTuple_CheckExact(pattern);
    if (!is_tuple && !PyList_CheckExact(pattern)) return same_static(pattern, x);
    if (Py_TYPE(x) != Py_TYPE(pattern) || Py_SIZE(x) != Py_SIZE(pattern)) return 0;
    for (Py_ssize_t i = 0; i < Py_SIZE(pattern); i++) {
        PyObject *part = is_tuple ? PyTuple_GET_ITEM(pattern, i) : PyList_GET_ITEM(pattern, i);
        int fits = match(part, is_tuple ? PyTuple_GET_ITEM(x, i) : PyList_GET_ITEM(x, i), numbers);
        if (fits <= 0) return fits;
    }
    return 1;
}

/* The tree of a pattern that holds some numbers. */
static PyObject *filled(PyObject *pattern, const double **numbers) {
    if (IS_SLOT(pattern)) return PyFloat_FromDouble(*(*numbers)++);
    Py_ssize_t n = Py_SIZE(pattern);
    bool is_tuple = PyTuple_CheckExact(pattern);
    PyObject *tree = is_tuple ? PyTuple_New(n) : PyList_New(n);
    for (Py_ssize_t i = 0; tree != NULL && i < n; i++) {
        PyObject *part = filled(is_tuple ? PyTuple_GET_ITEM(pattern, i) : PyList_GET_ITEM(pattern, i), numbers);
        if (part == NULL) Py_CLEAR(tree);
        else if (is_tuple) PyTuple_SET_ITEM(tree, i, part);
        else PyList_SET_ITEM(tree, i, part);
    }
    return tree;
}

/* How many slots a pattern has; -1 with an error if it is none. */
static Py_ssize_t count_slots(PyObject *pattern, bool of_result) {
    if (IS_SLOT(pattern)) return 1;
    bool is_tuple = PyTuple_CheckExact(pattern);
    if (!is_tuple && !PyList_CheckExact(pattern)) {
        if (!of_result && (pattern == Py_None || PyBool_Check(pattern) || PyLong_CheckExact(pattern) ||
                           PyUnicode_CheckExact(pattern) || PyBytes_CheckExact(pattern)))
            return 0;
        PyErr_Format(PyExc_TypeError, "no pattern: %R", pattern);
        return -1;
    }
    Py_ssize_t count = 0;
    if (Py_EnterRecursiveCall(" in a pattern")) return -1;
    for (Py_ssize_t i = 0; count >= 0 && i < Py_SIZE(pattern); i++) {
        Py_ssize_t n = count_slots(is_tuple ? PyTuple_GET_ITEM(pattern, i) : PyList_GET_ITEM(pattern, i), of_result);
        count = n < 0 ? -1 : count + n;
    }
    Py_LeaveRecursiveCall();
    return count;
}

/* Steps */

static PyObject *step_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned long long driver, code;
    Py_ssize_t n_inputs, n_outputs;
    int long_running;
    PyObject *result, *kept;
    if (!PyArg_ParseTuple(args, "KKnnpOO:Step", &driver, &code, &n_inputs, &n_outputs, &long_running, &result, &kept))
        return NULL;
    if (n_inputs < 0 || n_outputs < 0 || n_inputs > PY_SSIZE_T_MAX / 8 || n_outputs > PY_SSIZE_T_MAX / 8)
        return PyErr_Format(PyExc_ValueError, "a step has numbers of inputs and outputs");
    if (!PyCallable_Check(result) || IS_SLOT(result)) {
        Py_ssize_t slots = count_slots(result, true);
        if (slots < 0) return NULL;
        if (slots != n_outputs) return PyErr_Format(PyExc_ValueError, "%zd outputs for %zd slots", n_outputs, slots);
    }
    Step *step = (Step *)type->tp_alloc(type, 0);
    if (step == NULL) return NULL;
    step->driver = (Driver)(uintptr_t)driver;
    step->code = (const void *)(uintptr_t)code;
    step->n_inputs = n_inputs;
    step->n_outputs = n_outputs;
    step->long_running = long_running;
    step->result = Py_NewRef(result);
    step->kept = Py_NewRef(kept);
    step->following = PyDict_New();
    if (step->following == NULL) Py_CLEAR(step);
    return (PyObject *)step;
}

static int step_traverse(PyObject *self, visitproc visit, void *arg) {
    Step *step = (Step *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(step->result);
    Py_VISIT(step->following);
    Py_VISIT(step->kept);
    return 0;
}

static int step_clear(PyObject *self) {
    Step *step = (Step *)self;
    Py_CLEAR(step->following); /* the code stays until the step itself goes */
    return 0;
}

static void step_dealloc(PyObject *self) {
    Step *step = (Step *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(step->result);
    Py_CLEAR(step->following);
    Py_CLEAR(step->kept);
    type->tp_free(self);
    Py_DECREF(type);
}

static int64_t run(const Step *step, const double *inputs, double *outputs) {
    if (!step->long_running) return step->driver(step->code, inputs, outputs, NULL);
    int64_t status;
    Py_BEGIN_ALLOW_THREADS
    status = step->driver(step->code, inputs, outputs, NULL);
    Py_END_ALLOW_THREADS
    return status;
}

static PyObject *result_of(const Step *step, const double *outputs) {
    if (!PyCallable_Check(step->result) || IS_SLOT(step->result)) return filled(step->result, &outputs);
    PyObject *numbers = PyList_New(step->n_outputs);
    for (Py_ssize_t i = 0; numbers != NULL && i < step->n_outputs; i++) {
        PyObject *number = PyFloat_FromDouble(outputs[i]);
        if (number == NULL) Py_CLEAR(numbers);
        else PyList_SET_ITEM(numbers, i, number);
    }
    if (numbers == NULL) return NULL;
    PyObject *result = PyObject_CallOneArg(step->result, numbers);
    Py_DECREF(numbers);
    return result != NULL ? result : failed();
}

/* Follow the steps; the result, or NULL: with an error, or where none goes on. */
static PyObject *follow(PyObject *first, const double *inputs) {
    double few[FEW], *outputs = few;
    Py_ssize_t room = FEW;
    PyObject *result = NULL;
    Step *step = (Step *)Py_NewRef(first);
    while (step != NULL) {
        if (step->n_outputs > room) {
            if (outputs != few) PyMem_Free(outputs);
            room = step->n_outputs;
            outputs = PyMem_Malloc((size_t)room * sizeof(double));
            if (outputs == NULL) {
                PyErr_NoMemory();
                break;
            }
        }
        int64_t status = run(step, inputs, outputs);
        if (status == 0) {
            result = result_of(step, outputs);
            break;
        }
        PyObject *key = step->following == NULL ? NULL : PyLong_FromLongLong(status);
        PyObject *next = key == NULL ? NULL : PyDict_GetItemWithError(step->following, key);
        Py_XDECREF(key);
        /* Of another kind only if somebody has put it there. */
        bool fits = next != NULL && Py_TYPE(next) == StepType && ((Step *)next)->n_inputs == step->n_inputs;
        Step *following = fits ? (Step *)Py_NewRef(next) : NULL;
        Py_DECREF(step);
        step = following;
    }
    if (outputs != few) PyMem_Free(outputs);
    Py_XDECREF(step);
    return result;
}

/* Kinds of plain arguments */

static PyObject *small_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *pattern, *first, *looks, *changed, *plan;
    if (!PyArg_ParseTuple(args, "O!O!O!OO:SmallCall", &PyTuple_Type, &pattern, StepType, &first, &PyTuple_Type, &looks,
                          &changed, &plan))
        return NULL;
    Py_ssize_t slots = count_slots(pattern, false);
    if (slots < 0) return NULL;
    if (slots != ((Step *)first)->n_inputs)
        return PyErr_Format(PyExc_ValueError, "%zd inputs for %zd slots", ((Step *)first)->n_inputs, slots);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(looks); i++) {
        PyObject *look = PyTuple_GET_ITEM(looks, i);
        if (!PyTuple_Check(look) || PyTuple_GET_SIZE(look) != 2)
            return PyErr_Format(PyExc_TypeError, "looks are pairs, not %R", look);
    }
    Small *small = (Small *)type->tp_alloc(type, 0);
    if (small == NULL) return NULL;
    small->pattern = Py_NewRef(pattern);
    small->first = Py_NewRef(first);
    small->looks = Py_NewRef(looks);
    small->changed = Py_NewRef(changed);
    small->plan = Py_NewRef(plan);
    return (PyObject *)small;
}

static int small_traverse(PyObject *self, visitproc visit, void *arg) {
    Small *small = (Small *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(small->pattern);
    Py_VISIT(small->first);
    Py_VISIT(small->looks);
    Py_VISIT(small->changed);
    Py_VISIT(small->plan);
    return 0;
}

static void small_dealloc(PyObject *self) {
    Small *small = (Small *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(small->pattern);
    Py_CLEAR(small->first);
    Py_CLEAR(small->looks);
    Py_CLEAR(small->changed);
    Py_CLEAR(small->plan);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Whether something is another object now; -1 with an error. */
static int has_changed(const Small *small) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(small->looks); i++) {
        PyObject *look = PyTuple_GET_ITEM(small->looks, i);
        PyObject *found = PyObject_CallNoArgs(PyTuple_GET_ITEM(look, 0));
        if (found == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
            PyErr_Clear(); /* it is not there any more */
            return 1;
        }
        Py_DECREF(found);
        if (found != PyTuple_GET_ITEM(look, 1)) return 1;
    }
    if (small->changed == Py_None) return 0;
    PyObject *answer = PyObject_CallNoArgs(small->changed);
    int changed = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (changed < 0) failed();
    return changed;
}

/* A call of one kind; NULL: with an error, or if it is none of this kind. */
static PyObject *small_call(const Small *small, PyObject *args) {
    double few[FEW], *inputs = few;
    if (PyTuple_GET_SIZE(args) != PyTuple_GET_SIZE(small->pattern)) return NULL;
    Py_ssize_t n = ((Step *)small->first)->n_inputs;
    if (n > FEW && (inputs = PyMem_Malloc((size_t)n * sizeof(double))) == NULL) return PyErr_NoMemory();
    PyObject *result = NULL;
    double *end = inputs;
    if (match(small->pattern, args, &end) == 1 && has_changed(small) == 0) result = follow(small->first, inputs);
    if (inputs != few) PyMem_Free(inputs);
    return result;
}

/* Compiled functions */

/* Whether a transformation is in progress in this thread; -1 with an error. */
static int is_transformed(void) {
    PyObject *names = progress == NULL ? NULL : PyObject_GetAttr(progress, names_name);
    if (names == NULL || !PyDict_Check(names)) {
        Py_XDECREF(names);
        return PyErr_Occurred() ? -1 : 1;
    }
    int is = PyDict_GET_SIZE(names) > 0;
    Py_DECREF(names);
    return is;
}

static PyObject *dispatch_call(PyObject *self, PyObject *args, PyObject *kwargs) {
    Dispatch *dispatch = (Dispatch *)self;
    bool plain = (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0) && CONTEXTS == 0;
    if (plain && dispatch->small != NULL && PyList_GET_SIZE(dispatch->small) > 0) {
        int transformed = is_transformed();
        if (transformed < 0) return failed();
        for (Py_ssize_t i = 0; !transformed && i < PyList_GET_SIZE(dispatch->small); i++) {
            PyObject *small = PyList_GET_ITEM(dispatch->small, i);
            if (Py_TYPE(small) != SmallType) continue;
            Py_INCREF(small); /* another thread may take it out meanwhile */
            PyObject *result = small_call((Small *)small, args);
            Py_DECREF(small);
            if (result != NULL) dispatch->calls++;
            if (result != NULL || PyErr_Occurred()) return result;
        }
    }
    PyObject *none = kwargs == NULL ? PyDict_New() : NULL;
    if (kwargs == NULL && none == NULL) return NULL;
    PyObject *result = PyObject_CallMethodObjArgs(self, general_name, args, kwargs == NULL ? none : kwargs, NULL);
    Py_XDECREF(none);
    return result != NULL ? result : failed();
}

static PyObject *dispatch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    Dispatch *dispatch = (Dispatch *)type->tp_alloc(type, 0);
    if (dispatch == NULL) return NULL;
    dispatch->small = PyList_New(0);
    if (dispatch->small == NULL) Py_CLEAR(dispatch);
    return (PyObject *)dispatch;
}

static int dispatch_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Dispatch *)self)->small);
    return 0;
}

static int dispatch_clear(PyObject *self) {
    Py_CLEAR(((Dispatch *)self)->small);
    return 0;
}

static void dispatch_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((Dispatch *)self)->small);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef STEP_MEMBERS[] = {
    {"following", T_OBJECT_EX, offsetof(Step, following), READONLY, "By the status of a failed guard, what goes on."},
    {NULL},
};

static PyMemberDef SMALL_MEMBERS[] = {
    {"first", T_OBJECT_EX, offsetof(Small, first), READONLY, "The step it begins with."},
    {"plan", T_OBJECT_EX, offsetof(Small, plan), READONLY, "What it was made of."},
    {NULL},
};

static PyMemberDef DISPATCH_MEMBERS[] = {
    {"_small", T_OBJECT_EX, offsetof(Dispatch, small), READONLY, "The kinds of plain calls: a list."},
    {"calls", T_LONGLONG, offsetof(Dispatch, calls), 0, "How often it was called."},
    {NULL},
};

static PyObject *set_dispatch_hooks(PyObject *module, PyObject *args) {
    PyObject *in_progress, *type;
    if (!PyArg_ParseTuple(args, "OO!:set_dispatch_hooks", &in_progress, &PyType_Type, &type)) return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)type, &PyFloat_Type)) return PyErr_Format(PyExc_TypeError, "no float type");
    Py_XSETREF(progress, Py_NewRef(in_progress));
    Py_XSETREF(numpy_float, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_dispatch_hooks", set_dispatch_hooks, METH_VARARGS, "Where the transformations in progress stand; NumPy's float64."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *add_type(PyObject *module, const char *name, int size, unsigned flags, PyType_Slot *slots) {
    PyType_Spec spec = {.name = name, .basicsize = size, .slots = slots,
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | flags};
    PyObject *type = PyType_FromSpec(&spec);
    if (type != NULL && PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type) < 0) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

int add_dispatch(PyObject *module) {
    PyType_Slot step[] = {
        {Py_tp_new, step_new}, {Py_tp_dealloc, step_dealloc}, {Py_tp_traverse, step_traverse},
        {Py_tp_clear, step_clear}, {Py_tp_members, STEP_MEMBERS}, {0, NULL},
    };
    PyType_Slot small[] = {
        {Py_tp_new, small_new}, {Py_tp_dealloc, small_dealloc}, {Py_tp_traverse, small_traverse},
        {Py_tp_members, SMALL_MEMBERS}, {0, NULL},
    };
    PyType_Slot dispatch[] = {
        {Py_tp_new, dispatch_new}, {Py_tp_dealloc, dispatch_dealloc}, {Py_tp_traverse, dispatch_traverse},
        {Py_tp_clear, dispatch_clear}, {Py_tp_call, dispatch_call}, {Py_tp_members, DISPATCH_MEMBERS}, {0, NULL},
    };
    names_name = PyUnicode_InternFromString("names");
    general_name = PyUnicode_InternFromString("_general");
    if (names_name == NULL || general_name == NULL || PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    StepType = add_type(module, "chainrule._engine.Step", sizeof(Step), 0, step);
    SmallType = StepType == NULL ? NULL : add_type(module, "chainrule._engine.SmallCall", sizeof(Small), 0, small);
    if (SmallType == NULL) return -1;
    return add_type(module, "chainrule._engine.Dispatch", sizeof(Dispatch), Py_TPFLAGS_BASETYPE, dispatch) == NULL ? -1 : 0;
}
