/* The graph of a run as flat arrays: the twin of compiler/recording.py, which says what a row is.

   A node's row is found by its serial number, in a table of pages: serial numbers are dense among the
   nodes of a run, never come again, and need no marks on the nodes, nor that these stay alive. */
#include "engine.h"
#include <stddef.h>

enum { INPUT = 0x7FFE, GUARD = 0x7FFF, POOLED = 0x8000 };
#define ABSENT INT32_MIN

/* Columns: arrays that grow, and that Python sees through memoryviews */

typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t count, capacity, item;
    Py_ssize_t views; /* while there are any, it neither grows nor changes */
    const char *format;
} Column;

static PyTypeObject *ColumnType, *RecordingType;

static Column *new_column(Py_ssize_t item, const char *format) {
    Column *column = PyObject_New(Column, ColumnType);
    if (column == NULL) return NULL;
    column->data = NULL;
    column->count = column->capacity = column->views = 0;
    column->item = item;
    column->format = format;
    return column;
}

static void column_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(((Column *)self)->data);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int column_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    Column *column = (Column *)self;
    static char nothing[8];
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "the arrays of a recording are read-only");
        view->obj = NULL;
        return -1;
    }
    view->obj = Py_NewRef(self);
    view->buf = column->data == NULL ? nothing : column->data;
    view->len = column->count * column->item;
    view->readonly = 1;
    view->itemsize = column->item;
    view->format = flags & PyBUF_FORMAT ? (char *)column->format : NULL;
    view->ndim = 1;
    view->shape = flags & PyBUF_ND ? &column->count : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &column->item : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    column->views++;
    return 0;
}

static void column_releasebuffer(PyObject *self, Py_buffer *view) { ((Column *)self)->views--; }

static int is_free(const Column *column) {
    if (column->views == 0) return 0;
    PyErr_SetString(PyExc_BufferError, "a recording can't change while a view of one of its arrays is held");
    return -1;
}

/* Make room for some more items. */
static int reserve(Column *column, Py_ssize_t more) {
    if (is_free(column) < 0) return -1;
    Py_ssize_t needed = column->count + more;
    if (needed <= column->capacity) return 0;
    if (needed > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a recording has less than 2**31 rows");
        return -1;
    }
    Py_ssize_t grown = column->capacity + column->capacity / 8 + 16;
    Py_ssize_t capacity = needed > grown ? needed : grown;
    char *data = PyMem_Realloc(column->data, (size_t)(capacity * column->item));
    if (data == NULL) return PyErr_NoMemory(), -1;
    column->data = data;
    column->capacity = capacity;
    return 0;
}

static inline uint16_t *shorts(const Column *column) { return (uint16_t *)(void *)column->data; }
static inline int32_t *ints(const Column *column) { return (int32_t *)(void *)column->data; }
static inline double *doubles(const Column *column) { return (double *)(void *)column->data; }

/* Tables of pointers to what has a number: open addressing, at most half full */

typedef struct {
    const void *key;
    int32_t value;
} Entry;

typedef struct {
    Entry *entries;
    size_t size, count; /* the size is a power of 2, or 0 */
} Table;

static Entry *entry_of(const Table *table, const void *key) {
    size_t i = (size_t)(((uint64_t)(uintptr_t)key >> 4) * 0x9E3779B97F4A7C15u >> 20);
    for (i &= table->size - 1; table->entries[i].key != NULL && table->entries[i].key != key;)
        i = (i + 1) & (table->size - 1);
    return &table->entries[i];
}

static int32_t found_in(const Table *table, const void *key) { /* -1 if it is not */
    if (table->size == 0) return -1;
    Entry *entry = entry_of(table, key);
    return entry->key == NULL ? -1 : entry->value;
}

static int put_into(Table *table, const void *key, int32_t value) {
    if (2 * (table->count + 1) > table->size) {
        Table larger = {.size = table->size == 0 ? 16 : 2 * table->size, .count = table->count};
        larger.entries = PyMem_Calloc(larger.size, sizeof(Entry));
        if (larger.entries == NULL) return PyErr_NoMemory(), -1;
        for (size_t i = 0; i < table->size; i++)
            if (table->entries[i].key != NULL) *entry_of(&larger, table->entries[i].key) = table->entries[i];
        PyMem_Free(table->entries);
        *table = larger;
    }
    Entry *entry = entry_of(table, key);
    table->count += entry->key == NULL;
    *entry = (Entry){key, value};
    return 0;
}

/* The recording */

enum { CODES, LEFT, RIGHT, NOTES, CONSTANTS, POOL, N_COLUMNS };

typedef struct {
    PyObject_HEAD
    int64_t level;
    int64_t first; /* serial number of the inputs' first: what is older does not depend on them */
    int32_t **pages; /* by serial number less the first: 0, a row + 1, or minus a place in found - 1 */
    Py_ssize_t n_pages;
    Column *columns[N_COLUMNS];
    PyObject *captured, *operations, *annotations, *lower; /* lists; the last are inputs of a lower level */
    Table outside; /* rows of nodes from outside */
    Table places;  /* of operations and annotations in their lists */
    Py_ssize_t n_inputs;
    Node **found; /* nodes that wait for a row */
    Py_ssize_t n_found, room;
} Recording;

enum { PAGE_BITS = 8, PAGE = 1 << PAGE_BITS };

/* Where the row of a serial number stands, NULL if there is no such page. */
static inline int32_t *row_of(const Recording *r, int64_t serial) {
    int64_t n = serial - r->first, page = n >> PAGE_BITS;
    return page < r->n_pages && r->pages[page] != NULL ? &r->pages[page][n & (PAGE - 1)] : NULL;
}

static int32_t *new_row_of(Recording *r, int64_t serial) {
    int64_t page = (serial - r->first) >> PAGE_BITS;
    if (page >= r->n_pages) {
        Py_ssize_t n = (Py_ssize_t)page + 1 + r->n_pages / 2;
        int32_t **pages = PyMem_Realloc(r->pages, (size_t)n * sizeof *pages);
        if (pages == NULL) return PyErr_NoMemory(), NULL;
        for (Py_ssize_t i = r->n_pages; i < n; i++) pages[i] = NULL;
        r->pages = pages;
        r->n_pages = n;
    }
    if (r->pages[page] == NULL && (r->pages[page] = PyMem_Calloc(PAGE, sizeof(int32_t))) == NULL)
        return PyErr_NoMemory(), NULL;
    return row_of(r, serial);
}

static inline Py_ssize_t n_rows(const Recording *r) { return r->columns[CODES]->count; }

/* Make room for rows. */
static int reserve_rows(Recording *r, Py_ssize_t n) {
    int columns = r->columns[NOTES]->count > 0 ? NOTES : RIGHT;
    for (int i = CODES; i <= columns; i++)
        if (reserve(r->columns[i], n) < 0) return -1;
    return 0;
}

/* As the first annotation comes: the rows before have none. */
static int start_notes(Recording *r) {
    Column *notes = r->columns[NOTES];
    if (notes->count > 0 || n_rows(r) == 0) return reserve(notes, 1);
    if (reserve(notes, r->columns[CODES]->capacity) < 0) return -1;
    while (notes->count < n_rows(r)) ints(notes)[notes->count++] = -1;
    return 0;
}

/* Add a row for which there is room. */
static inline void add_row(Recording *r, int code, int32_t left, int32_t right, int32_t note) {
    Py_ssize_t row = n_rows(r);
    Column *notes = r->columns[NOTES];
    if (notes->count > 0 || note >= 0) ints(notes)[notes->count++] = note;
    shorts(r->columns[CODES])[row] = (uint16_t)code;
    ints(r->columns[LEFT])[row] = left;
    ints(r->columns[RIGHT])[row] = right;
    r->columns[CODES]->count = r->columns[LEFT]->count = r->columns[RIGHT]->count = row + 1;
}

static void cut(Recording *r, Py_ssize_t size) {
    for (int i = CODES; i <= NOTES; i++)
        if (r->columns[i]->count > size) r->columns[i]->count = size;
}

/* Operands. They are -1 or less for constants, so that an error has a number of its own. */
#define FAILED INT32_MIN

static int32_t constant(Recording *r, double number) {
    Column *constants = r->columns[CONSTANTS];
    if (reserve(constants, 1) < 0) return FAILED;
    doubles(constants)[constants->count++] = number;
    return ~(int32_t)(constants->count - 1);
}

static int32_t operand(Recording *r, const Node *x) {
    if (x->level < r->level) return found_in(&r->outside, x);
    if (x->serial < r->first) return constant(r, x->number);
    int32_t *row = row_of(r, x->serial);
    if (row != NULL && *row > 0) return *row - 1;
    PyErr_SetString(PyExc_ValueError, "a node can't be recorded that is older than its operands");
    return FAILED;
}

/* The place of an operation or annotation in its list. */
static int32_t place_of(Recording *r, PyObject *item, PyObject *list) {
    int32_t place = found_in(&r->places, item);
    if (place >= 0) return place;
    place = (int32_t)PyList_GET_SIZE(list);
    if (PyList_Append(list, item) < 0) return FAILED;
    if (put_into(&r->places, item, place) < 0) {
        PyList_SetSlice(list, place, place + 1, NULL);
        return FAILED;
    }
    return place;
}

/* The operand at a position of a node, whose nodes have their rows. */
static inline int32_t given(Recording *r, const Node *node, Py_ssize_t i) {
    Node *x = operand_node(node, i);
    return x != NULL ? operand(r, x) : constant(r, operand_number(node, i));
}

/* Several operands, or a user's operation and its operands, into the pool; gives where they start. */
static int32_t pooled(Recording *r, const Node *node, Py_ssize_t count) {
    Column *pool = r->columns[POOL];
    Py_ssize_t start = pool->count, end = start;
    if (reserve(pool, count + 1) < 0) return FAILED;
    if (node->code == USER && (ints(pool)[end++] = place_of(r, operation_of(node), r->operations)) == FAILED)
        return FAILED;
    for (Py_ssize_t i = 0; i < count; i++)
        if ((ints(pool)[end++] = given(r, node, i)) == FAILED) return FAILED;
    pool->count = end;
    return (int32_t)start;
}

/* Add the row of a node, for which there is room. */
static int enter(Recording *r, const Node *node, int32_t *row) {
    PyObject *annotation = annotation_of(node);
    Py_ssize_t count = operand_count(node);
    int32_t note = -1, left, right = ABSENT;
    int code = node->code;
    if (annotation != NULL) {
        note = place_of(r, annotation, r->annotations);
        if (note == FAILED || start_notes(r) < 0) return -1;
    }
    if (code == LEAF) {
        left = constant(r, node->number);
    } else if (code == USER || count > 2) {
        code |= POOLED;
        left = pooled(r, node, count);
        right = (int32_t)count;
    } else {
        left = given(r, node, 0);
        if (left != FAILED && count == 2 && (right = given(r, node, 1)) == FAILED) return -1;
    }
    if (left == FAILED) return -1;
    add_row(r, code, left, right, note);
    *row = (int32_t)n_rows(r);
    return 0;
}

/* Take a node from outside as an input. */
static int32_t capture(Recording *r, Node *node) {
    Py_ssize_t number = PyList_GET_SIZE(r->captured);
    int32_t row = (int32_t)n_rows(r);
    if (reserve_rows(r, 1) < 0 || put_into(&r->outside, node, row) < 0) return FAILED;
    if (PyList_Append(r->captured, (PyObject *)node) < 0) {
        entry_of(&r->outside, node)->value = -1; /* as if it were not there */
        return FAILED;
    }
    add_row(r, INPUT, (int32_t)(r->n_inputs + number), ABSENT, -1);
    return row;
}

/* Finding what has no row yet */

/* Note a node that another, or a call, asks for; -1 with an error. */
static int ask(Recording *r, Node *node) {
    if (node->level < r->level)
        return found_in(&r->outside, node) >= 0 || capture(r, node) != FAILED ? 0 : -1;
    if (node->serial < r->first) return 0;
    int32_t *row = new_row_of(r, node->serial);
    if (row == NULL) return -1;
    if (*row != 0) return 0;
    if (node->code == LEAF && rest_of(node) != NULL) {
        PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(node), "__name__");
        if (name != NULL)
            PyErr_Format(PyExc_TypeError,
                         "%U can't be compiled: its value is computed in Python; define an Operation instead", name);
        Py_XDECREF(name);
        return -1;
    }
    if (r->n_found == r->room) {
        Py_ssize_t room = r->room + r->room / 4 + 64;
        Node **found = PyMem_Realloc(r->found, (size_t)room * sizeof *found);
        if (found == NULL) return PyErr_NoMemory(), -1;
        r->found = found;
        r->room = room;
    }
    r->found[r->n_found++] = node;
    *row = (int32_t)-r->n_found;
    return 0;
}

/* Put the nodes found in the order of their serial numbers: a heap of them, taken apart from the top. */
static void sort_found(Recording *r) {
    Node **found = r->found;
    for (Py_ssize_t n = r->n_found, i = n / 2; n > 1;) {
        Node *sinking;
        if (i > 0) {
            sinking = found[--i];
        } else {
            sinking = found[--n];
            found[n] = found[0];
        }
        Py_ssize_t place = i, child;
        while ((child = 2 * place + 1) < n) {
            if (child + 1 < n && found[child + 1]->serial > found[child]->serial) child++;
            if (found[child]->serial < sinking->serial) break;
            found[place] = found[child];
            place = child;
        }
        found[place] = sinking;
    }
}

/* Give rows to the nodes found, from the oldest to the newest. */
static int enter_found(Recording *r) {
    if (reserve_rows(r, r->n_found) < 0) return -1;
    int64_t oldest = INT64_MAX, newest = 0;
    for (Py_ssize_t i = 0; i < r->n_found; i++) {
        int64_t serial = r->found[i]->serial;
        if (serial < oldest) oldest = serial;
        if (serial > newest) newest = serial;
    }
    if (newest - oldest >= 16 * (int64_t)r->n_found) { /* far apart */
        sort_found(r);
        for (Py_ssize_t i = 0; i < r->n_found; i++)
            if (enter(r, r->found[i], row_of(r, r->found[i]->serial)) < 0) return -1;
        return 0;
    }
    for (int64_t serial = oldest; serial <= newest; serial++) { /* the table has them in order */
        int32_t *row = row_of(r, serial);
        if (row != NULL && *row < 0 && enter(r, r->found[-*row - 1], row) < 0) return -1;
    }
    return 0;
}

static PyObject *record(PyObject *self, PyObject *root) {
    Recording *r = (Recording *)self;
    int32_t result = FAILED;
    if (is_node(root)) {
        int done = ask(r, (Node *)root);
        for (Py_ssize_t i = 0; done == 0 && i < r->n_found; i++) {
            Node *node = r->found[i];
            PyObject *rest = rest_of(node);
            if (node->a != NULL) done = ask(r, node->a);
            if (node->b != NULL && done == 0) done = ask(r, node->b);
            if (rest == NULL) continue;
            for (Py_ssize_t k = 0; done == 0 && k < PyTuple_GET_SIZE(rest); k++)
                if (is_node(PyTuple_GET_ITEM(rest, k))) done = ask(r, (Node *)PyTuple_GET_ITEM(rest, k));
        }
        Py_ssize_t size = n_rows(r);
        if (done == 0 && r->n_found > 0) done = enter_found(r);
        if (done == 0) {
            result = operand(r, (Node *)root);
        } else {
            cut(r, size);
            for (Py_ssize_t i = 0; i < r->n_found; i++) *row_of(r, r->found[i]->serial) = 0;
        }
        r->n_found = 0;
        if (r->room > 4096) {
            PyMem_Free(r->found);
            r->found = NULL;
            r->room = 0;
        }
    } else if (PyFloat_Check(root)) {
        result = constant(r, PyFloat_AS_DOUBLE(root));
    } else {
        PyErr_Format(PyExc_TypeError, "a recording takes nodes and floats, not %.100s", Py_TYPE(root)->tp_name);
    }
    return result == FAILED ? NULL : PyLong_FromLong(result);
}

static PyObject *guard(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    int condition, outcome;
    if (!PyArg_ParseTuple(args, "ip:guard", &condition, &outcome)) return NULL;
    if (condition < 0 || condition >= n_rows(r))
        return PyErr_Format(PyExc_ValueError, "the condition of a guard is a row, not %d", condition);
    if (reserve_rows(r, 1) < 0) return NULL;
    int32_t *row = new_row_of(r, ++SERIAL);
    if (row == NULL) return NULL;
    add_row(r, GUARD, condition, outcome, -1);
    *row = (int32_t)n_rows(r);
    Py_RETURN_NONE;
}

/* The order in which the nodes were made */

static inline int32_t moved_to(const int32_t *moved, int32_t operand) {
    return operand >= 0 ? moved[operand] : operand;
}

/* Let the operands of the rows, which still stand where they were, name the rows' new places. */
static void rename_operands(Recording *r, const int32_t *moved) {
    const uint16_t *codes = shorts(r->columns[CODES]);
    int32_t *left = ints(r->columns[LEFT]), *right = ints(r->columns[RIGHT]), *pool = ints(r->columns[POOL]);
    for (Py_ssize_t i = 0; i < n_rows(r); i++) {
        if (codes[i] & POOLED) {
            int32_t start = left[i] + (codes[i] == USER);
            for (int32_t k = start; k < start + right[i]; k++) pool[k] = moved_to(moved, pool[k]);
        } else if (codes[i] != INPUT) {
            left[i] = moved_to(moved, left[i]);
            if (codes[i] != GUARD) right[i] = moved_to(moved, right[i]);
        }
    }
    for (size_t i = 0; i < r->outside.size; i++)
        if (r->outside.entries[i].key != NULL)
            r->outside.entries[i].value = moved_to(moved, r->outside.entries[i].value);
}

static inline void swap(int32_t *column, int32_t i, int32_t k) {
    int32_t item = column[i];
    column[i] = column[k];
    column[k] = item;
}

/* Move the rows to their new places, along the cycles of the permutation; it is used up. */
static void move_rows(Recording *r, int32_t *moved) {
    uint16_t *codes = shorts(r->columns[CODES]);
    Column *notes = r->columns[NOTES];
    for (int32_t i = 0; i < n_rows(r); i++)
        while (moved[i] != i) {
            int32_t k = moved[i];
            uint16_t code = codes[i];
            codes[i] = codes[k];
            codes[k] = code;
            swap(ints(r->columns[LEFT]), i, k);
            swap(ints(r->columns[RIGHT]), i, k);
            if (notes->count > 0) swap(ints(notes), i, k);
            swap(moved, i, k);
        }
}

static PyObject *in_order(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    PyObject *operands = NULL;
    if (!PyArg_ParseTuple(args, "|O:in_order", &operands)) return NULL;
    for (int i = 0; i < N_COLUMNS; i++)
        if (is_free(r->columns[i]) < 0) return NULL;
    PyObject *result = operands == NULL ? PyList_New(0) : PySequence_List(operands);
    int32_t *moved = result == NULL ? NULL : PyMem_Malloc(((size_t)n_rows(r) + 1) * sizeof *moved), place = 0;
    if (moved == NULL) {
        if (result != NULL) PyErr_NoMemory();
        Py_XDECREF(result);
        return NULL;
    }
    const uint16_t *codes = shorts(r->columns[CODES]);
    for (int32_t i = 0; i < n_rows(r); i++)
        if (codes[i] == INPUT) moved[i] = place++;
    for (Py_ssize_t page = 0; page < r->n_pages; page++)
        for (int k = 0; r->pages[page] != NULL && k < PAGE; k++) {
            int32_t row = r->pages[page][k];
            if (row > 0 && codes[row - 1] != INPUT) moved[row - 1] = place++;
        }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(result); i++) {
        long operand = PyLong_AsLong(PyList_GET_ITEM(result, i));
        if (operand >= n_rows(r)) PyErr_Format(PyExc_ValueError, "there is no row %ld", operand);
        PyObject *now = PyErr_Occurred() ? NULL : PyLong_FromLong(operand >= 0 ? moved[operand] : operand);
        if (now == NULL || PyList_SetItem(result, i, now) < 0) {
            PyMem_Free(moved);
            Py_DECREF(result);
            return NULL;
        }
    }
    for (Py_ssize_t page = 0; page < r->n_pages; page++)
        for (int k = 0; r->pages[page] != NULL && k < PAGE; k++) {
            int32_t *row = &r->pages[page][k];
            if (*row > 0) *row = moved[*row - 1] + 1;
        }
    rename_operands(r, moved);
    move_rows(r, moved);
    PyMem_Free(moved);
    return result;
}

/* The type */

static int take_inputs(Recording *r, PyObject *inputs) {
    r->n_inputs = PySequence_Fast_GET_SIZE(inputs);
    r->first = r->n_inputs > 0 ? INT64_MAX : ++SERIAL;
    if (reserve_rows(r, r->n_inputs) < 0) return -1;
    for (Py_ssize_t i = 0; i < r->n_inputs; i++) {
        Node *x = (Node *)PySequence_Fast_GET_ITEM(inputs, i);
        if (!is_node((PyObject *)x)) {
            PyErr_Format(PyExc_TypeError, "an input of a recording is a node, not %.100s", Py_TYPE(x)->tp_name);
            return -1;
        }
        if (x->serial < r->first) r->first = x->serial;
    }
    for (Py_ssize_t i = 0; i < r->n_inputs; i++) {
        Node *x = (Node *)PySequence_Fast_GET_ITEM(inputs, i);
        if (x->level < r->level) {
            if (PyList_Append(r->lower, (PyObject *)x) < 0 || put_into(&r->outside, x, (int32_t)i) < 0) return -1;
        } else {
            int32_t *row = new_row_of(r, x->serial);
            if (row == NULL) return -1;
            *row = (int32_t)i + 1;
        }
        add_row(r, INPUT, (int32_t)i, ABSENT, -1);
    }
    return 0;
}

static int take_captured(Recording *r, PyObject *captured) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(captured); i++) {
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
    inputs = whole ? PySequence_Fast(inputs, "the inputs of a recording are a sequence of nodes") : NULL;
    whole = inputs != NULL && take_inputs(r, inputs) == 0;
    Py_XDECREF(inputs);
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
    PyObject *module = PyImport_ImportModule("chainrule.compiler.recording");
    PyObject *text = module == NULL ? NULL : PyObject_CallMethod(module, "text", "O", self);
    Py_XDECREF(module);
    return text;
}

static PyObject *get_column(PyObject *self, void *which) {
    return PyMemoryView_FromObject((PyObject *)((Recording *)self)->columns[(size_t)which]);
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
    {"captured", get_list, NULL, "The nodes from outside that the graph uses.", (void *)offsetof(Recording, captured)},
    {"operations", get_list, NULL, "The user's operations in it.", (void *)offsetof(Recording, operations)},
    {"annotations", get_list, NULL, "Names, groups and lines of its nodes.", (void *)offsetof(Recording, annotations)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef METHODS[] = {
    {"record", record, METH_O, "Take a node or number, with all that it depends on; gives it as an operand."},
    {"guard", guard, METH_VARARGS, "Note that a row was asked for its truth, after all the nodes made so far."},
    {"in_order", in_order, METH_VARARGS, "Put all rows in the order in which their nodes were made, inputs first."},
    {NULL, NULL, 0, NULL},
};

int add_recording(PyObject *module) {
    PyType_Slot column[] = {
        {Py_tp_dealloc, column_dealloc},
        {Py_bf_getbuffer, column_getbuffer},
        {Py_bf_releasebuffer, column_releasebuffer},
        {0, NULL},
    };
    PyType_Slot recording[] = {
        {Py_tp_new, recording_new},
        {Py_tp_dealloc, recording_dealloc},
        {Py_tp_traverse, recording_traverse},
        {Py_tp_clear, recording_clear},
        {Py_tp_getset, ATTRIBUTES},
        {Py_tp_methods, METHODS},
        {Py_sq_length, recording_length},
        {Py_tp_str, recording_str},
        {Py_tp_doc, "The graph of a run as flat arrays: see chainrule.compiler.recording."},
        {0, NULL},
    };
    PyType_Spec column_spec = {.name = "chainrule._engine.Column", .basicsize = sizeof(Column),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, .slots = column};
    PyType_Spec recording_spec = {.name = "chainrule.compiler.recording.Recording", .basicsize = sizeof(Recording),
                                  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, .slots = recording};
    ColumnType = (PyTypeObject *)PyType_FromSpec(&column_spec);
    RecordingType = ColumnType == NULL ? NULL : (PyTypeObject *)PyType_FromSpec(&recording_spec);
    return RecordingType == NULL ? -1 : PyModule_AddObjectRef(module, "Recording", (PyObject *)RecordingType);
}
