/* Calls of compiled functions with plain arguments; jit/small.py makes their patterns. */
#include "engine.h"
#include <stddef.h>

enum { FEW = 128, FEW_ARRAYS = 8 }; /* for how many there is room on the stack */
enum { COPIED = 1024 }; /* numbers of outputs up to which arrays of them are copies: views would take longer */

typedef int64_t (*Driver)(const void *code, const double *inputs, double *outputs, void *workspace);

/* What stands for an array of float64 in a pattern. */
typedef struct {
    PyObject_VAR_HEAD
    PyObject *shape;  /* a tuple */
    Py_ssize_t count; /* of its numbers */
    Py_ssize_t lengths[1];
} Array;

/* The machine code of a path. */
typedef struct {
    PyObject_HEAD
    Driver driver;    /* the function that runs it */
    const void *code; /* the table that describes it */
    Py_ssize_t n_inputs, n_outputs;
    bool long_running;   /* other threads may go on meanwhile */
    PyObject *empty;     /* a function of the shape that makes arrays of outputs, or None */
    PyObject *result;    /* a pattern, or a function of the outputs: a list, or an array */
    bool is_pattern;
    PyObject *following; /* a dict: by the status of a guard that failed, the step that goes on */
    PyObject *kept;      /* what the code lives as long as */
} Step;

/* One kind of plain arguments. */
typedef struct {
    PyObject_HEAD
    PyObject *pattern; /* of the arguments: a tuple of float for each number, Arrays, static values, tuples and lists */
    Py_ssize_t n_arrays; /* in it */
    PyObject *first;   /* the step it begins with */
    PyObject *looks;   /* a tuple: of a function, its arguments, and the object that it has to give */
    PyObject *changed; /* a function that tells whether something else has changed, or None */
    PyObject *plan;
} Small;

typedef struct {
    PyObject_HEAD
    PyObject *small; /* a list */
    long long calls;
    vectorcallfunc vectorcall;
} Dispatch;

static PyTypeObject *ArrayType, *StepType, *SmallType;
static PyObject *general_name, *reshape_name, *copy_name;
static PyObject *getattr_function, *getitem_function;
static PyTypeObject *numpy_float, *numpy_array;

/* Arrays */

static PyObject *array_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *shape;
    if (!PyArg_ParseTuple(args, "O!:Array", &PyTuple_Type, &shape)) return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(shape);
    Array *array = (Array *)type->tp_alloc(type, n);
    if (array == NULL) return NULL;
    array->shape = Py_NewRef(shape);
    array->count = 1;
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t length = PyNumber_AsSsize_t(PyTuple_GET_ITEM(shape, i), PyExc_OverflowError);
        if (length < 0 || (length > 0 && array->count > PY_SSIZE_T_MAX / 8 / length)) {
            if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "no shape: %R", shape);
            Py_DECREF(array);
            return NULL;
        }
        array->lengths[i] = length;
        array->count *= length;
    }
    return (PyObject *)array;
}

static void array_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Array *)self)->shape);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Whether an object is such an array, with its numbers side by side; if so, a view of it. */
static int view_of(const Array *array, PyObject *x, Py_buffer *view) {
    if (Py_TYPE(x) != numpy_array) return 0;
    if (PyObject_GetBuffer(x, view, PyBUF_STRIDES | PyBUF_FORMAT) < 0) {
        PyErr_Clear(); /* of another type */
        return 0;
    }
    bool fits = view->format != NULL && strcmp(view->format, "d") == 0 && view->ndim == Py_SIZE(array);
    fits = fits && memcmp(view->shape, array->lengths, (size_t)view->ndim * sizeof(Py_ssize_t)) == 0;
    fits = fits && (uintptr_t)view->buf % sizeof(double) == 0;
    if (fits && PyBuffer_IsContiguous(view, 'C')) return 1;
    PyBuffer_Release(view);
    return 0;
}

/* Patterns */

#define IS_SLOT(pattern) ((pattern) == (PyObject *)&PyFloat_Type)

/* Whether two static values are one: of types whose == runs no code of the user's. -1 with an error. */
static int same_static(PyObject *pattern, PyObject *x) {
    if (pattern == x) return 1;
    return Py_TYPE(pattern) == Py_TYPE(x) && pattern != Py_None ? PyObject_RichCompareBool(pattern, x, Py_EQ) : 0;
}

/* What arguments are matched with. */
typedef struct {
    double *numbers; /* where the next ones go */
    Py_buffer *views; /* of the arrays so far */
    double **places; /* where their numbers go */
    Py_ssize_t n_views;
} Match;

static int match_all(PyObject *const *patterns, PyObject *const *xs, Py_ssize_t n, Match *found);

/* Whether an argument fits a pattern that is no slot. */
static int match(PyObject *pattern, PyObject *x, Match *found) {
    if (Py_TYPE(pattern) == ArrayType) {
        if (!view_of((Array *)pattern, x, &found->views[found->n_views])) return 0;
        found->places[found->n_views++] = found->numbers;
        found->numbers += ((Array *)pattern)->count;
        return 1;
    }
    if (!PyTuple_CheckExact(pattern) && !PyList_CheckExact(pattern)) return same_static(pattern, x);
    if (Py_TYPE(x) != Py_TYPE(pattern) || Py_SIZE(x) != Py_SIZE(pattern)) return 0;
    return match_all(PySequence_Fast_ITEMS(pattern), PySequence_Fast_ITEMS(x), Py_SIZE(pattern), found);
}

/* Whether arguments fit patterns; their numbers are noted, those of arrays where they are. -1 with an error. */
static int match_all(PyObject *const *patterns, PyObject *const *xs, Py_ssize_t n, Match *found) {
    for (Py_ssize_t i = 0; i < n; i++) {
        if (IS_SLOT(patterns[i])) {
            if (!PyFloat_CheckExact(xs[i]) && Py_TYPE(xs[i]) != numpy_float) return 0;
            *found->numbers++ = PyFloat_AS_DOUBLE(xs[i]);
        } else {
            int fits = match(patterns[i], xs[i], found);
            if (fits <= 0) return fits;
        }
    }
    return 1;
}

/* The outputs of a step. */
typedef struct {
    double *numbers;
    Py_ssize_t count, room;
    PyObject *array; /* which they lie in, or NULL */
    PyObject *empty; /* what makes others */
    Py_buffer view;  /* of it */
    double few[FEW];
} Outputs;

/* A new array of some numbers. */
static PyObject *array_from(const Array *array, PyObject *empty, const double *numbers) {
    Py_buffer view;
    PyObject *copy = PyObject_CallOneArg(empty, array->shape);
    if (copy == NULL || PyObject_GetBuffer(copy, &view, PyBUF_WRITABLE) < 0) {
        Py_XDECREF(copy);
        return NULL;
    }
    bool fits = view.len == array->count * (Py_ssize_t)sizeof(double);
    if (fits) memcpy(view.buf, numbers, (size_t)view.len);
    PyBuffer_Release(&view);
    if (fits) return copy;
    Py_DECREF(copy);
    return PyErr_Format(PyExc_ValueError, "an array of another size");
}

/* An array of some of the outputs: a view, or a copy if most of the memory is not its own. */
static PyObject *array_of(const Array *array, const Outputs *outputs, Py_ssize_t first) {
    if (outputs->array == NULL) return array_from(array, outputs->empty, outputs->numbers + first);
    PyObject *numbers = PySequence_GetSlice(outputs->array, first, first + array->count);
    if (numbers != NULL && Py_SIZE(array) != 1)
        Py_SETREF(numbers, PyObject_CallMethodOneArg(numbers, reshape_name, array->shape));
    if (numbers != NULL && (array->count == 0 || array->count < outputs->count / 2))
        Py_SETREF(numbers, PyObject_CallMethodNoArgs(numbers, copy_name));
    return numbers;
}

/* The tree of a pattern that holds the outputs from a number on, which goes on. */
static PyObject *filled(PyObject *pattern, const Outputs *outputs, Py_ssize_t *next) {
    if (IS_SLOT(pattern)) return PyFloat_FromDouble(outputs->numbers[(*next)++]);
    if (Py_TYPE(pattern) == ArrayType) {
        Py_ssize_t first = *next;
        *next += ((Array *)pattern)->count;
        return array_of((Array *)pattern, outputs, first);
    }
    Py_ssize_t n = Py_SIZE(pattern);
    bool is_tuple = PyTuple_CheckExact(pattern);
    PyObject *tree = is_tuple ? PyTuple_New(n) : PyList_New(n);
    for (Py_ssize_t i = 0; tree != NULL && i < n; i++) {
        PyObject *of = is_tuple ? PyTuple_GET_ITEM(pattern, i) : PyList_GET_ITEM(pattern, i);
        PyObject *part = IS_SLOT(of) ? PyFloat_FromDouble(outputs->numbers[(*next)++]) : filled(of, outputs, next);
        if (part == NULL) Py_CLEAR(tree);
        else if (is_tuple) PyTuple_SET_ITEM(tree, i, part);
        else PyList_SET_ITEM(tree, i, part);
    }
    return tree;
}

/* How many numbers a pattern stands for, and how many Arrays; -1 with an error if it is none. */
static Py_ssize_t count_slots(PyObject *pattern, bool of_result, Py_ssize_t *n_arrays) {
    if (IS_SLOT(pattern)) return 1;
    if (Py_TYPE(pattern) == ArrayType) {
        ++*n_arrays;
        return ((Array *)pattern)->count;
    }
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
        PyObject *part = is_tuple ? PyTuple_GET_ITEM(pattern, i) : PyList_GET_ITEM(pattern, i);
        Py_ssize_t n = count_slots(part, of_result, n_arrays);
        if (n > PY_SSIZE_T_MAX - count) {
            PyErr_SetString(PyExc_ValueError, "a pattern stands for too many numbers");
            n = -1;
        }
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
    PyObject *empty, *result, *kept;
    if (!PyArg_ParseTuple(args, "KKnnpOOO:Step", &driver, &code, &n_inputs, &n_outputs, &long_running, &empty, &result,
                          &kept))
        return NULL;
    if (n_inputs < 0 || n_outputs < 0 || n_inputs > PY_SSIZE_T_MAX / 8 || n_outputs > PY_SSIZE_T_MAX / 8)
        return PyErr_Format(PyExc_ValueError, "a step has numbers of inputs and outputs");
    bool is_pattern = !PyCallable_Check(result) || IS_SLOT(result);
    if (is_pattern) {
        Py_ssize_t n_arrays = 0, slots = count_slots(result, true, &n_arrays);
        if (slots < 0) return NULL;
        if (slots != n_outputs) return PyErr_Format(PyExc_ValueError, "%zd outputs for %zd slots", n_outputs, slots);
        if (n_arrays && empty == Py_None) return PyErr_Format(PyExc_ValueError, "arrays of outputs that lie in none");
    }
    Step *step = (Step *)type->tp_alloc(type, 0);
    if (step == NULL) return NULL;
    step->driver = (Driver)(uintptr_t)driver;
    step->code = (const void *)(uintptr_t)code;
    step->n_inputs = n_inputs;
    step->n_outputs = n_outputs;
    step->long_running = long_running;
    step->empty = Py_NewRef(empty);
    step->result = Py_NewRef(result);
    step->is_pattern = is_pattern;
    step->kept = Py_NewRef(kept);
    step->following = PyDict_New();
    if (step->following == NULL) Py_CLEAR(step);
    return (PyObject *)step;
}

static int step_traverse(PyObject *self, visitproc visit, void *arg) {
    Step *step = (Step *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(step->empty);
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
    Py_CLEAR(step->empty);
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

static PyObject *result_of(const Step *step, const Outputs *outputs) {
    Py_ssize_t first = 0;
    if (step->is_pattern) return filled(step->result, outputs, &first);
    bool is_list = step->empty == Py_None;
    PyObject *numbers = is_list ? PyList_New(step->n_outputs) : Py_NewRef(outputs->array);
    for (Py_ssize_t i = 0; is_list && numbers != NULL && i < step->n_outputs; i++) {
        PyObject *number = PyFloat_FromDouble(outputs->numbers[i]);
        if (number == NULL) Py_CLEAR(numbers);
        else PyList_SET_ITEM(numbers, i, number);
    }
    if (numbers == NULL) return NULL;
    PyObject *result = PyObject_CallOneArg(step->result, numbers);
    Py_DECREF(numbers);
    return result != NULL ? result : failed();
}

static void let_go(Outputs *outputs) {
    if (outputs->array != NULL) PyBuffer_Release(&outputs->view);
    else if (outputs->numbers != outputs->few) PyMem_Free(outputs->numbers);
    Py_CLEAR(outputs->array);
    outputs->numbers = outputs->few;
    outputs->room = FEW;
}

/* Make room for the outputs of a step; -1 with an error. */
static int make_room(Outputs *outputs, const Step *step) {
    size_t size = (size_t)step->n_outputs * sizeof(double);
    outputs->count = step->n_outputs;
    outputs->empty = step->empty;
    if (step->empty == Py_None || (step->is_pattern && step->n_outputs <= COPIED)) {
        if (outputs->array == NULL && step->n_outputs <= outputs->room) return 0;
        let_go(outputs);
        if (step->n_outputs <= FEW) return 0;
        double *numbers = PyMem_Malloc(size);
        if (numbers == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        outputs->numbers = numbers;
        outputs->room = step->n_outputs;
        return 0;
    }
    if (outputs->array != NULL && (size_t)outputs->view.len == size) return 0;
    let_go(outputs);
    PyObject *array = PyObject_CallFunction(step->empty, "((n))", step->n_outputs);
    if (array == NULL || PyObject_GetBuffer(array, &outputs->view, PyBUF_WRITABLE) < 0) {
        Py_XDECREF(array);
        return -1;
    }
    outputs->array = array;
    outputs->numbers = outputs->view.buf;
    if ((size_t)outputs->view.len == size) return 0;
    PyErr_SetString(PyExc_ValueError, "an array of another size");
    return -1;
}

/* Follow the steps; the result, or NULL: with an error, or where none goes on. */
static PyObject *follow(PyObject *first, const double *inputs) {
    Outputs outputs; /* to fill its numbers with zeros would take as long as a small program */
    outputs.array = NULL;
    outputs.numbers = outputs.few;
    outputs.room = FEW;
    PyObject *result = NULL;
    Step *step = (Step *)Py_NewRef(first);
    while (step != NULL) {
        if (make_room(&outputs, step) < 0) break;
        int64_t status = run(step, inputs, outputs.numbers);
        if (status == 0) {
            result = result_of(step, &outputs);
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
    let_go(&outputs);
    Py_XDECREF(step);
    return result;
}

/* Kinds of plain arguments */

static PyObject *small_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *pattern, *first, *looks, *changed, *plan;
    if (!PyArg_ParseTuple(args, "O!O!O!OO:SmallCall", &PyTuple_Type, &pattern, StepType, &first, &PyTuple_Type, &looks,
                          &changed, &plan))
        return NULL;
    Py_ssize_t n_arrays = 0, slots = count_slots(pattern, false, &n_arrays);
    if (slots < 0) return NULL;
    if (slots != ((Step *)first)->n_inputs)
        return PyErr_Format(PyExc_ValueError, "%zd inputs for %zd slots", ((Step *)first)->n_inputs, slots);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(looks); i++) {
        PyObject *look = PyTuple_GET_ITEM(looks, i);
        if (!PyTuple_Check(look) || PyTuple_GET_SIZE(look) != 3 || !PyTuple_Check(PyTuple_GET_ITEM(look, 1)))
            return PyErr_Format(PyExc_TypeError, "no function, its arguments, and what it gives: %R", look);
    }
    Small *small = (Small *)type->tp_alloc(type, 0);
    if (small == NULL) return NULL;
    small->pattern = Py_NewRef(pattern);
    small->n_arrays = n_arrays;
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

/* What a function gives; those that most look with without a call. */
static PyObject *look_with(PyObject *function, PyObject *args) {
    if (PyTuple_GET_SIZE(args) == 2) {
        PyObject *holder = PyTuple_GET_ITEM(args, 0), *key = PyTuple_GET_ITEM(args, 1);
        if (function == getattr_function) return PyObject_GetAttr(holder, key);
        if (function == getitem_function) return PyObject_GetItem(holder, key);
    }
    return PyObject_CallObject(function, args);
}

/* Whether something is another object now; -1 with an error. */
static int has_changed(const Small *small) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(small->looks); i++) {
        PyObject *look = PyTuple_GET_ITEM(small->looks, i);
        PyObject *found = look_with(PyTuple_GET_ITEM(look, 0), PyTuple_GET_ITEM(look, 1));
        if (found == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
            PyErr_Clear(); /* it is not there any more */
            return 1;
        }
        Py_DECREF(found);
        if (found != PyTuple_GET_ITEM(look, 2)) return 1;
    }
    if (small->changed == Py_None) return 0;
    PyObject *answer = PyObject_CallNoArgs(small->changed);
    int changed = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (changed < 0) failed();
    return changed;
}

/* The result for arguments that match. */
static PyObject *call_with(const Small *small, const Match *found, double *inputs) {
    Py_ssize_t n = ((Step *)small->first)->n_inputs;
    if (found->n_views == 1 && found->views[0].len == n * (Py_ssize_t)sizeof(double))
        return follow(small->first, found->views[0].buf); /* there is no other number */
    for (Py_ssize_t i = 0; i < found->n_views; i++)
        memcpy(found->places[i], found->views[i].buf, (size_t)found->views[i].len);
    return follow(small->first, inputs);
}

/* A call of one kind; NULL: with an error, or if it is none of this kind. */
static PyObject *small_call(const Small *small, PyObject *const *args, Py_ssize_t n_args) {
    double few[FEW], *inputs = few, *few_places[FEW_ARRAYS], **places = few_places;
    Py_buffer few_views[FEW_ARRAYS], *views = few_views;
    if (n_args != PyTuple_GET_SIZE(small->pattern)) return NULL;
    Py_ssize_t n = ((Step *)small->first)->n_inputs;
    if (n > FEW) inputs = PyMem_Malloc((size_t)n * sizeof(double));
    if (small->n_arrays > FEW_ARRAYS) {
        views = PyMem_Malloc((size_t)small->n_arrays * sizeof(Py_buffer));
        places = PyMem_Malloc((size_t)small->n_arrays * sizeof(double *));
    }
    PyObject *result = NULL;
    if (inputs == NULL || views == NULL || places == NULL) {
        PyErr_NoMemory();
    } else {
        Match found = {.numbers = inputs, .views = views, .places = places};
        int fits = match_all(PySequence_Fast_ITEMS(small->pattern), args, n_args, &found);
        if (fits == 1 && has_changed(small) == 0) result = call_with(small, &found, inputs);
        for (Py_ssize_t i = 0; i < found.n_views; i++) PyBuffer_Release(&views[i]);
    }
    if (inputs != few) PyMem_Free(inputs);
    if (views != few_views) PyMem_Free(views);
    if (places != few_places) PyMem_Free(places);
    return result;
}

/* Compiled functions */

/* The result of a plain call; NULL: with an error, or if it is none. */
static PyObject *plain_call(Dispatch *dispatch, PyObject *const *args, Py_ssize_t n) {
    if (CONTEXTS != 0 || innermost_level() != 0 || dispatch->small == NULL) return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(dispatch->small); i++) {
        PyObject *small = PyList_GET_ITEM(dispatch->small, i);
        if (Py_TYPE(small) != SmallType) continue;
        Py_INCREF(small); /* another thread may take it out meanwhile */
        PyObject *result = small_call((Small *)small, args, n);
        Py_DECREF(small);
        if (result != NULL) dispatch->calls++;
        if (result != NULL || PyErr_Occurred()) return result;
    }
    return NULL;
}

static PyObject *general_call(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *none = kwargs == NULL ? PyDict_New() : NULL;
    if (kwargs == NULL && none == NULL) return NULL;
    PyObject *result = PyObject_CallMethodObjArgs(self, general_name, args, kwargs == NULL ? none : kwargs, NULL);
    Py_XDECREF(none);
    return result != NULL ? result : failed();
}

static PyObject *dispatch_call(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *result = NULL;
    if (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0)
        result = plain_call((Dispatch *)self, PySequence_Fast_ITEMS(args), PyTuple_GET_SIZE(args));
    return result != NULL || PyErr_Occurred() ? result : general_call(self, args, kwargs);
}

/* The same without a tuple, unless Python has put another __call__ in the place of ours. */
static PyObject *dispatch_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    ternaryfunc call = Py_TYPE(self)->tp_call;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    PyObject *tuple, *kwargs, *result = NULL;
    if (call == dispatch_call && names == NULL) result = plain_call((Dispatch *)self, args, n);
    if (result != NULL || PyErr_Occurred() || tuple_and_dict(args, n, names, &tuple, &kwargs) < 0) return result;
    result = call == dispatch_call ? general_call(self, tuple, kwargs) : call(self, tuple, kwargs);
    Py_DECREF(tuple);
    Py_XDECREF(kwargs);
    return result;
}

static PyObject *dispatch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    Dispatch *dispatch = (Dispatch *)type->tp_alloc(type, 0);
    if (dispatch == NULL) return NULL;
    dispatch->vectorcall = dispatch_vectorcall;
#if PY_VERSION_HEX < 0x030C0000 /* later ones inherit it */
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#endif
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
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Dispatch, vectorcall), READONLY, NULL},
    {NULL},
};

static PyObject *set_dispatch_hooks(PyObject *module, PyObject *args) {
    PyObject *type, *array, *attribute, *item;
    if (!PyArg_ParseTuple(args, "O!O!OO:set_dispatch_hooks", &PyType_Type, &type, &PyType_Type, &array, &attribute, &item))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)type, &PyFloat_Type)) return PyErr_Format(PyExc_TypeError, "no float type");
    Py_XSETREF(getattr_function, Py_NewRef(attribute));
    Py_XSETREF(getitem_function, Py_NewRef(item));
    Py_XSETREF(numpy_float, (PyTypeObject *)Py_NewRef(type));
    Py_XSETREF(numpy_array, (PyTypeObject *)Py_NewRef(array));
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_dispatch_hooks", set_dispatch_hooks, METH_VARARGS, "NumPy's float64 and ndarray; getattr and operator.getitem."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *add_type(PyObject *module, const char *name, int size, int item, unsigned flags, PyType_Slot *slots) {
    PyType_Spec spec = {.name = name, .basicsize = size, .itemsize = item, .slots = slots, .flags = Py_TPFLAGS_DEFAULT | flags};
    PyObject *type = PyType_FromSpec(&spec);
    if (type != NULL && PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type) < 0) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

int add_dispatch(PyObject *module) {
    PyType_Slot array[] = {{Py_tp_new, array_new}, {Py_tp_dealloc, array_dealloc}, {0, NULL}};
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
    general_name = PyUnicode_InternFromString("_general");
    reshape_name = PyUnicode_InternFromString("reshape");
    copy_name = PyUnicode_InternFromString("copy");
    if (general_name == NULL || reshape_name == NULL || copy_name == NULL) return -1;
    if (PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    const unsigned collected = Py_TPFLAGS_HAVE_GC;
    ArrayType = add_type(module, "chainrule._engine.Array", offsetof(Array, lengths), sizeof(Py_ssize_t), 0, array);
    if (ArrayType == NULL) return -1;
    StepType = add_type(module, "chainrule._engine.Step", sizeof(Step), 0, collected, step);
    if (StepType == NULL) return -1;
    SmallType = add_type(module, "chainrule._engine.SmallCall", sizeof(Small), 0, collected, small);
    if (SmallType == NULL) return -1;
    unsigned base = collected | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL;
    return add_type(module, "chainrule._engine.Dispatch", sizeof(Dispatch), 0, base, dispatch) == NULL ? -1 : 0;
}
