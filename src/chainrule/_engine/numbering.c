/* Which rows of a recording have the same value: the twin of program/numbering.py. */
#include "recording.h"
#include "rules.h"

typedef struct { /* of a row */
    int32_t value; /* the first row that has it, or a constant, as an operand */
    int32_t scope; /* where segments are apart, the row at which the one around it begins, + 1 */
    bool of_loops; /* whether it takes what loops compute to know the number */
} Numbered;

typedef struct {
    PyObject_HEAD
    Recording *recording;
    int apart;
    bool after_loop; /* whether one has ended */
    int32_t scope;   /* around the rows that come */
    Numbered *rows;
    Py_ssize_t count, room;
    Py_ssize_t firsts; /* that have a value of their own */
    int32_t *table; /* first rows + 1, by what they compute */
    size_t size, used;
} Numbering;

enum {
    BEGIN = MARKS, END = MARKS + 1, EACH = MARKS + 6, END_LOOP = MARKS + 7, ENTER = MARKS + 8, KNOWN = 1,
};

/* The operands of a row, some of them in the pool. */
typedef struct {
    const int32_t *of;
    Py_ssize_t count;
    int32_t own[2];
    int32_t user; /* the place of a user's operation, or -1 */
} Given;

static void give(const Recording *r, Py_ssize_t i, Given *given) {
    int code = shorts(r->columns[CODES])[i];
    int32_t left = ints(r->columns[LEFT])[i], right = ints(r->columns[RIGHT])[i];
    given->user = -1;
    if (code & POOLED) {
        given->of = ints(r->columns[POOL]) + left;
        given->count = right;
        if (code == USER) given->user = *given->of++;
        return;
    }
    given->of = given->own;
    given->own[0] = left;
    given->own[1] = right;
    given->count = !has_left(code) ? 0 : right == ABSENT || !has_right(code) ? 1 : 2;
}

static inline int32_t value_of(const Numbering *n, int32_t operand) {
    return operand >= 0 ? n->rows[operand].value : operand;
}

static inline uint64_t bits_of(const Numbering *n, int32_t constant) {
    uint64_t bits;
    memcpy(&bits, &doubles(n->recording->columns[CONSTANTS])[~constant], sizeof bits);
    return bits;
}

static inline uint64_t mixed(uint64_t hash, uint64_t x) {
    hash = (hash ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static size_t hash_of(const Numbering *n, Py_ssize_t i) {
    Given given;
    give(n->recording, i, &given);
    uint64_t hash = mixed((uint64_t)n->rows[i].scope << 16 | shorts(n->recording->columns[CODES])[i], (uint64_t)given.user);
    for (Py_ssize_t k = 0; k < given.count; k++) {
        int32_t value = value_of(n, given.of[k]);
        hash = mixed(hash, value >= 0 ? (uint64_t)value : ~bits_of(n, value));
    }
    return (size_t)hash;
}

static bool are_equal(const Numbering *n, Py_ssize_t i, Py_ssize_t j) {
    const uint16_t *codes = shorts(n->recording->columns[CODES]);
    Given a, b;
    if (codes[i] != codes[j] || n->rows[i].scope != n->rows[j].scope) return false;
    give(n->recording, i, &a);
    give(n->recording, j, &b);
    if (a.count != b.count || a.user != b.user) return false;
    for (Py_ssize_t k = 0; k < a.count; k++) {
        int32_t x = value_of(n, a.of[k]), y = value_of(n, b.of[k]);
        if (x != y && (x >= 0 || y >= 0 || bits_of(n, x) != bits_of(n, y))) return false;
    }
    return true;
}

/* Where a row stands that computes what another does, or would. */
static int32_t *entry_for(const Numbering *n, Py_ssize_t i) {
    size_t place = hash_of(n, i) & (n->size - 1);
    while (n->table[place] != 0 && !are_equal(n, i, n->table[place] - 1)) place = (place + 1) & (n->size - 1);
    return &n->table[place];
}

static int grow_table(Numbering *n, size_t size) {
    size_t old_size = n->size;
    int32_t *old = n->table, *table = PyMem_Calloc(size, sizeof *table);
    if (table == NULL) return PyErr_NoMemory(), -1;
    n->table = table;
    n->size = size;
    for (size_t i = 0; i < old_size; i++)
        if (old[i] != 0) *entry_for(n, old[i] - 1) = old[i];
    PyMem_Free(old);
    return 0;
}

/* What an operation gives for constants, as a constant; FAILED with an error. */
static int32_t folded(const Numbering *n, int code, const Given *given) {
    PyObject *operation = code == USER ? PyList_GetItem(n->recording->operations, given->user) : operation_at(code & ~POOLED);
    PyObject *numbers = operation == NULL ? NULL : PyTuple_New(given->count);
    for (Py_ssize_t k = 0; numbers != NULL && k < given->count; k++) {
        PyObject *number = PyFloat_FromDouble(doubles(n->recording->columns[CONSTANTS])[~value_of(n, given->of[k])]);
        if (number == NULL) Py_CLEAR(numbers);
        else PyTuple_SET_ITEM(numbers, k, number);
    }
    PyObject *value = numbers == NULL ? NULL : PyObject_CallMethod(operation, "evaluate", "(O)", numbers);
    double number = value == NULL ? -1.0 : PyFloat_AsDouble(value);
    Py_XDECREF(numbers);
    Py_XDECREF(value);
    return PyErr_Occurred() ? FAILED : add_constant(n->recording, number);
}

/* Find the value of a row, once those before it have theirs. */
static int number_row(Numbering *n, int32_t i) {
    int code = shorts(n->recording->columns[CODES])[i];
    Numbered *row = &n->rows[i];
    *row = (Numbered){i, n->scope, false};
    if (n->apart) {
        if (code == BEGIN) n->scope = i + 1;
        if (code == END) n->scope = n->rows[n->scope - 1].scope;
        if ((code & ~POOLED) >= MARKS) return 0; /* users' operations too, which may do more than give a value */
    }
    n->after_loop = n->after_loop || code == END_LOOP;
    Given given;
    give(n->recording, i, &given);
    bool constants = true;
    for (Py_ssize_t k = 0; k < given.count; k++) {
        if (given.of[k] >= 0) row->of_loops = row->of_loops || n->rows[given.of[k]].of_loops;
        constants = constants && value_of(n, given.of[k]) < 0;
    }
    if (!n->apart) {
        int operation = code & ~POOLED;
        bool passes = operation == LEAF || operation == IDENTITY || operation == STOP_GRADIENT;
        if (code == ENTER || passes || (operation < MARKS && properties_of(operation) & PASSES)) {
            row->value = value_of(n, given.of[0]);
            return 0;
        }
        if (code == RESULT || code == EACH)
            row->of_loops = n->after_loop && ints(n->recording->columns[RIGHT])[i] != KNOWN;
        if (operation >= MARKS && code != USER) return 0;
        if (constants) return (row->value = folded(n, code, &given)) == FAILED ? -1 : 0;
    }
    if (2 * (n->used + 1) > n->size && grow_table(n, n->size == 0 ? 1024 : 2 * n->size) < 0) return -1;
    int32_t *entry = entry_for(n, i);
    if (*entry != 0) {
        row->value = *entry - 1;
    } else {
        *entry = i + 1;
        n->used++;
    }
    return 0;
}

/* Find the values of the rows that have come, as long as not more than so many are first. */
static int number_rows(Numbering *n, Py_ssize_t most) {
    Py_ssize_t end = n_rows(n->recording);
    if (end > n->room) {
        Py_ssize_t room = end + end / 4 + 64;
        Numbered *rows = PyMem_Realloc(n->rows, (size_t)room * sizeof *rows);
        if (rows == NULL) return PyErr_NoMemory(), -1;
        n->rows = rows;
        n->room = room;
    }
    for (; n->count < end && n->firsts <= most; n->count++) {
        if (number_row(n, (int32_t)n->count) < 0) return -1;
        n->firsts += n->rows[n->count].value == (int32_t)n->count;
    }
    return 0;
}

static PyObject *shown(const Numbering *n, int32_t value) {
    if (value == ABSENT) return Py_NewRef(Py_None);
    if (value >= 0) return PyLong_FromLong(value);
    return PyFloat_FromDouble(doubles(n->recording->columns[CONSTANTS])[~value]);
}

static PyObject *of(PyObject *self, PyObject *operand) {
    Numbering *n = (Numbering *)self;
    long x = PyLong_AsLong(operand);
    if (PyErr_Occurred() || number_rows(n, PY_SSIZE_T_MAX) < 0) return NULL;
    if (x >= n->count || ~x >= n->recording->columns[CONSTANTS]->count)
        return PyErr_Format(PyExc_IndexError, "there is no operand %ld", x);
    return shown(n, value_of(n, (int32_t)x));
}

/* The row, if it has been numbered; NULL with an error. */
static const Numbered *row_at(const Numbering *n, PyObject *number) {
    Py_ssize_t row = PyLong_AsSsize_t(number);
    if (row >= 0 && row < n->count) return &n->rows[row];
    if (!PyErr_Occurred()) PyErr_Format(PyExc_IndexError, "there is no row %zd", row);
    return NULL;
}

static PyObject *described(PyObject *self, PyObject *number) {
    const Numbering *n = (Numbering *)self;
    const Numbered *row = row_at(n, number);
    if (row == NULL) return NULL;
    Given given;
    give(n->recording, row - n->rows, &given);
    PyObject *left = shown(n, given.count > 0 ? value_of(n, given.of[0]) : ABSENT);
    PyObject *right = shown(n, given.count > 1 ? value_of(n, given.of[1]) : ABSENT);
    int code = shorts(n->recording->columns[CODES])[row - n->rows];
    PyObject *result = left && right ? Py_BuildValue("iOO", code, left, right) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return result;
}

static PyObject *comes_of_loops(PyObject *self, PyObject *number) {
    const Numbered *row = row_at((Numbering *)self, number);
    return row == NULL ? NULL : PyBool_FromLong(row->of_loops);
}

static PyObject *values(PyObject *self, PyObject *most) {
    Numbering *n = (Numbering *)self;
    Py_ssize_t wanted = PyLong_AsSsize_t(most);
    size_t size = 1024;
    while (size < 2 * (size_t)(wanted > 0 ? wanted + 1 : 1)) size *= 2;
    if (PyErr_Occurred() || (size > n->size && grow_table(n, size) < 0) || number_rows(n, wanted) < 0) return NULL;
    if (n->firsts > wanted) Py_RETURN_NONE;
    PyObject *result = PyBytes_FromStringAndSize(NULL, n->count * (Py_ssize_t)sizeof(int32_t));
    for (Py_ssize_t i = 0; result != NULL && i < n->count; i++)
        memcpy(PyBytes_AS_STRING(result) + i * (Py_ssize_t)sizeof(int32_t), &n->rows[i].value, sizeof(int32_t));
    return result;
}

static PyObject *numbering_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"recording", "apart", NULL};
    PyObject *recording;
    int apart = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|p:Numbering", names, RecordingType, &recording, &apart)) return NULL;
    Numbering *n = (Numbering *)type->tp_alloc(type, 0);
    if (n == NULL) return NULL;
    n->recording = (Recording *)Py_NewRef(recording);
    n->apart = apart;
    return (PyObject *)n;
}

static int numbering_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Numbering *)self)->recording);
    return 0;
}

static void numbering_dealloc(PyObject *self) {
    Numbering *n = (Numbering *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyMem_Free(n->rows);
    PyMem_Free(n->table);
    Py_DECREF(n->recording);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef METHODS[] = {
    {"of", of, METH_O, "The value of an operand: the first row that has it, or a number."},
    {"row", described, METH_O, "What a row computes: its code and the values of its first two operands."},
    {"comes_of_loops", comes_of_loops, METH_O, "Whether it takes what loops compute to know the number of a row."},
    {"values", values, METH_O, "The values of all rows, as the bytes of int32; None if more than so many differ."},
    {NULL, NULL, 0, NULL},
};

int add_numbering(PyObject *module) {
    PyType_Slot slots[] = {
        {Py_tp_new, numbering_new},
        {Py_tp_dealloc, numbering_dealloc},
        {Py_tp_traverse, numbering_traverse},
        {Py_tp_methods, METHODS},
        {Py_tp_doc, "Which rows of a recording have the same value: see chainrule.program.numbering."},
        {0, NULL},
    };
    PyType_Spec spec = {.name = "chainrule.program.numbering.Numbering", .basicsize = sizeof(Numbering),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, .slots = slots};
    PyObject *type = PyType_FromSpec(&spec);
    int done = type == NULL ? -1 : PyModule_AddObjectRef(module, "Numbering", type);
    Py_XDECREF(type);
    return done;
}
