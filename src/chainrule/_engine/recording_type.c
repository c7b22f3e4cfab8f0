/* The type of recordings: making and freeing one, and what Python sees of it. */
#include "recording.h"
#include <stddef.h>

PyTypeObject *RecordingType;

/* Give nodes rows as inputs, numbered from one on. */
static int take_inputs(Recording *r, Py_ssize_t number, PyObject *nodes) {
    Py_ssize_t count = PySequence_Fast_GET_SIZE(nodes);
    if (reserve_rows(r, count) < 0) return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        Node *x = (Node *)PySequence_Fast_GET_ITEM(nodes, i);
        int32_t row = (int32_t)n_rows(r);
        if (!is_node((PyObject *)x)) {
            PyErr_Format(PyExc_TypeError, "an input of a recording is a node, not %.100s", Py_TYPE(x)->tp_name);
            return -1;
        }
        if (x->level < r->level) {
            if (PyList_Append(r->lower, (PyObject *)x) < 0 || put_into(&r->outside, x, row) < 0) return -1;
        } else {
            if (x->serial < r->first) {
                PyErr_SetString(PyExc_ValueError, "an input is not older than the recording");
                return -1;
            }
            int32_t *place = new_row_of(r, x->serial);
            if (place == NULL) return -1;
            *place = row + 1;
        }
        add_row(r, INPUT, (int32_t)(number + i), ABSENT, -1);
    }
    return 0;
}

/* Take the inputs with which a recording begins: so many that have no node yet, or nodes. */
static int begin_with(Recording *r, PyObject *inputs) {
    if (PyLong_Check(inputs)) {
        r->n_inputs = PyLong_AsSsize_t(inputs);
        r->first = ++SERIAL;
        return PyErr_Occurred() ? -1 : 0;
    }
    inputs = PySequence_Fast(inputs, "the inputs of a recording are a sequence of nodes");
    if (inputs == NULL) return -1;
    r->n_inputs = PySequence_Fast_GET_SIZE(inputs);
    r->first = r->n_inputs > 0 ? INT64_MAX : ++SERIAL;
    for (Py_ssize_t i = 0; i < r->n_inputs; i++) {
        Node *x = (Node *)PySequence_Fast_GET_ITEM(inputs, i);
        if (is_node((PyObject *)x) && x->serial < r->first) r->first = x->serial;
    }
    int done = take_inputs(r, 0, inputs);
    Py_DECREF(inputs);
    return done;
}

static PyObject *enter_inputs(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    PyObject *nodes;
    Py_ssize_t number;
    if (!PyArg_ParseTuple(args, "nO:enter_inputs", &number, &nodes)) return NULL;
    nodes = PySequence_Fast(nodes, "inputs are a sequence of nodes");
    int done = nodes == NULL ? -1 : 0;
    if (done == 0 && (number < 0 || number + PySequence_Fast_GET_SIZE(nodes) > r->n_inputs)) {
        PyErr_SetString(PyExc_ValueError, "there are not so many inputs");
        done = -1;
    }
    if (done == 0) done = take_inputs(r, number, nodes);
    Py_XDECREF(nodes);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static int take_captured(Recording *r, PyObject *captured) {
    Py_ssize_t count = PySequence_Fast_GET_SIZE(captured);
    if (reserve_rows(r, count) < 0 || reserve_keys(&r->outside, (size_t)count) < 0) return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *node = PySequence_Fast_GET_ITEM(captured, i);
        if (!is_node(node)) {
            PyErr_Format(PyExc_TypeError, "a captured node is a node, not %.100s", Py_TYPE(node)->tp_name);
            return -1;
        }
        if (capture(r, (Node *)node) == FAILED) return -1;
    }
    return 0;
}

static PyObject *recording_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"inputs", "level", "captured", NULL};
    static const char *const formats[] = {"H", "i", "i", "i", "d", "i"};
    PyObject *inputs, *captured = NULL;
    long long level;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OL|O:Recording", names, &inputs, &level, &captured)) return NULL;
    Recording *r = (Recording *)type->tp_alloc(type, 0);
    if (r == NULL) return NULL;
    r->level = level;
    bool whole = true;
    for (int i = 0; i < N_COLUMNS; i++) {
        Py_ssize_t item = i == CODES ? 2 : i == CONSTANTS ? 8 : 4;
        whole = (r->columns[i] = new_column(item, formats[i])) != NULL && whole;
    }
    whole = whole && (r->captured = PyList_New(0)) != NULL && (r->operations = PyList_New(0)) != NULL &&
            (r->annotations = PyList_New(0)) != NULL && (r->lower = PyList_New(0)) != NULL;
    whole = whole && begin_with(r, inputs) == 0;
    if (whole && captured != NULL) {
        captured = PySequence_Fast(captured, "the captured nodes are a sequence");
        whole = captured != NULL && take_captured(r, captured) == 0;
        Py_XDECREF(captured);
    }
    if (!whole) Py_CLEAR(r);
    return (PyObject *)r;
}

static int recording_traverse(PyObject *self, visitproc visit, void *arg) {
    Recording *r = (Recording *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(r->captured);
    Py_VISIT(r->operations);
    Py_VISIT(r->annotations);
    Py_VISIT(r->lower);
    return 0;
}

/* The lists are emptied, not given up: they have what the tables point to. */
static int recording_clear(PyObject *self) {
    Recording *r = (Recording *)self;
    PyObject *lists[] = {r->captured, r->operations, r->annotations, r->lower};
    r->outside.count = r->places.count = 0;
    if (r->outside.size > 0) memset(r->outside.entries, 0, r->outside.size * sizeof(Entry));
    if (r->places.size > 0) memset(r->places.entries, 0, r->places.size * sizeof(Entry));
    for (int i = 0; i < 4; i++)
        if (lists[i] != NULL && PyList_SetSlice(lists[i], 0, PyList_GET_SIZE(lists[i]), NULL) < 0) PyErr_Clear();
    return 0;
}

static void recording_dealloc(PyObject *self) {
    Recording *r = (Recording *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    for (Py_ssize_t i = 0; i < r->n_pages; i++) PyMem_Free(r->pages[i]);
    PyMem_Free(r->pages);
    PyMem_Free(r->found);
    PyMem_Free(r->outside.entries);
    PyMem_Free(r->places.entries);
    for (int i = 0; i < N_COLUMNS; i++) Py_XDECREF(r->columns[i]);
    Py_XDECREF(r->captured);
    Py_XDECREF(r->operations);
    Py_XDECREF(r->annotations);
    Py_XDECREF(r->lower);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t recording_length(PyObject *self) { return n_rows((Recording *)self); }

static PyObject *recording_str(PyObject *self) {
    PyObject *module = PyImport_ImportModule("chainrule.program.recording");
    PyObject *text = module == NULL ? NULL : PyObject_CallMethod(module, "text", "O", self);
    Py_XDECREF(module);
    return text;
}

static PyObject *get_column(PyObject *self, void *which) {
    return PyMemoryView_FromObject((PyObject *)((Recording *)self)->columns[(size_t)which]);
}

static PyObject *get_n_inputs(PyObject *self, void *unused) {
    Recording *r = (Recording *)self;
    return PyLong_FromSsize_t(r->n_inputs + PyList_GET_SIZE(r->captured));
}

static PyObject *get_list(PyObject *self, void *field) {
    return Py_NewRef(*(PyObject **)(void *)((char *)self + (size_t)field));
}

static PyGetSetDef ATTRIBUTES[] = {
    {"codes", get_column, NULL, "The codes of the rows, as uint16.", (void *)CODES},
    {"left", get_column, NULL, "The first operands of the rows, as int32.", (void *)LEFT},
    {"right", get_column, NULL, "The second operands of the rows, as int32.", (void *)RIGHT},
    {"notes", get_column, NULL, "The places of the rows' annotations, -1 for none, as int32.", (void *)NOTES},
    {"constants", get_column, NULL, "The constants, as float64.", (void *)CONSTANTS},
    {"pool", get_column, NULL, "The operands of operations with more than two, as int32.", (void *)POOL},
    {"n_inputs", get_n_inputs, NULL, "How many inputs there are, those without a row included.", NULL},
    {"captured", get_list, NULL, "The nodes from outside that the graph uses.", (void *)offsetof(Recording, captured)},
    {"operations", get_list, NULL, "The user's operations in it.", (void *)offsetof(Recording, operations)},
    {"annotations", get_list, NULL, "Names, groups and lines of its nodes.", (void *)offsetof(Recording, annotations)},
    {NULL, NULL, NULL, NULL, NULL},
};

/* An operand of a row for Python: a row's number, a constant, None where there is none. */
static PyObject *shown(const Recording *r, int32_t operand, bool is_operand) {
    if (operand == ABSENT) return Py_NewRef(Py_None);
    if (!is_operand || operand >= 0) return PyLong_FromLong(operand);
    return PyFloat_FromDouble(doubles(r->columns[CONSTANTS])[~operand]);
}

static PyObject *row_at(PyObject *self, PyObject *number) {
    Recording *r = (Recording *)self;
    Py_ssize_t row = PyLong_AsSsize_t(number);
    if (row == -1 && PyErr_Occurred()) return NULL;
    if (row < 0 || row >= n_rows(r)) return PyErr_Format(PyExc_IndexError, "there is no row %zd", row);
    int code = shorts(r->columns[CODES])[row];
    PyObject *left = shown(r, ints(r->columns[LEFT])[row], has_left(code));
    PyObject *right = shown(r, ints(r->columns[RIGHT])[row], has_right(code));
    PyObject *result = left && right ? Py_BuildValue("iOO", code, left, right) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return result;
}

static PyMethodDef METHODS[] = {
    {"row", row_at, METH_O, "A row: its code and operands, constants as floats, None where there is none."},
    {"record", record, METH_O, "Take a node or number, with all that it depends on; gives it as an operand."},
    {"record_all", record_all, METH_O, "Take several of a list; gives them as operands, of int64."},
    {"guard", guard, METH_VARARGS, "Note that a row was asked for its truth, after all the nodes made so far."},
    {"mark", mark, METH_VARARGS, "Add a row that concerns a segment, or let a node's row be one; gives its number."},
    {"mark_all", mark_all, METH_VARARGS, "Add several such rows of one code."},
    {"mark_results", mark_results, METH_VARARGS, "Add results without nodes, whose places are given; gives the first."},
    {"stand_for", stand_for, METH_VARARGS, "Let a node that was just made stand for a row."},
    {"enter_inputs", enter_inputs, METH_VARARGS, "Give nodes that were just made rows as inputs, from a number on."},
    {"in_order", in_order, METH_VARARGS, "Put all rows in the order in which their nodes were made, inputs first."},
    {NULL, NULL, 0, NULL},
};

int add_recording(PyObject *module) {
    PyType_Slot slots[] = {
        {Py_tp_new, recording_new},
        {Py_tp_dealloc, recording_dealloc},
        {Py_tp_traverse, recording_traverse},
        {Py_tp_clear, recording_clear},
        {Py_tp_getset, ATTRIBUTES},
        {Py_tp_methods, METHODS},
        {Py_sq_length, recording_length},
        {Py_tp_str, recording_str},
        {Py_tp_doc, "The graph of a run as flat arrays: see chainrule.program.recording."},
        {0, NULL},
    };
    PyType_Spec spec = {.name = "chainrule.program.recording.Recording", .basicsize = sizeof(Recording),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, .slots = slots};
    if (add_columns() < 0) return -1;
    RecordingType = (PyTypeObject *)PyType_FromSpec(&spec);
    return RecordingType == NULL ? -1 : PyModule_AddObjectRef(module, "Recording", (PyObject *)RecordingType);
}
