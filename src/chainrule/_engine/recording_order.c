/* The rows of a recording in the order in which their nodes were made. */
#include "recording.h"

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
        } else {
            if (has_left(codes[i])) left[i] = moved_to(moved, left[i]);
            if (has_right(codes[i])) right[i] = moved_to(moved, right[i]);
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

/* What operands in a list are now; -1 with an error. */
static int place_list(const int32_t *moved, Py_ssize_t n, PyObject *operands) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(operands); i++) {
        long operand = PyLong_AsLong(PyList_GET_ITEM(operands, i));
        if (operand >= n) PyErr_Format(PyExc_ValueError, "there is no row %ld", operand);
        PyObject *now = PyErr_Occurred() ? NULL : PyLong_FromLong(operand >= 0 ? moved[operand] : operand);
        if (now == NULL || PyList_SetItem(operands, i, now) < 0) return -1;
    }
    return 0;
}

/* The same of an array of int64. */
static int place_all(const int32_t *moved, Py_ssize_t n, const Py_buffer *operands) {
    int64_t *items = operands->buf;
    Py_ssize_t count = operands->len / (Py_ssize_t)sizeof *items;
    for (Py_ssize_t i = 0; i < count; i++)
        if (items[i] >= n && items[i] < IN_BULK)
            return PyErr_Format(PyExc_ValueError, "there is no row %lld", (long long)items[i]), -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (items[i] >= 0 && items[i] < IN_BULK) items[i] = moved[items[i]];
    return 0;
}

PyObject *in_order(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    PyObject *operands = NULL;
    if (!PyArg_ParseTuple(args, "|O:in_order", &operands)) return NULL;
    for (int i = 0; i < N_COLUMNS; i++)
        if (is_free(r->columns[i]) < 0) return NULL;
    Py_buffer whole = {.buf = NULL};
    if (operands != NULL && PyObject_CheckBuffer(operands) && PyObject_GetBuffer(operands, &whole, PyBUF_WRITABLE) < 0)
        return NULL;
    PyObject *result = operands == NULL ? PyList_New(0) : whole.buf ? Py_NewRef(operands) : PySequence_List(operands);
    int32_t *moved = result == NULL ? NULL : PyMem_Malloc(((size_t)n_rows(r) + 1) * sizeof *moved), place = 0;
    if (moved == NULL) {
        if (result != NULL) PyErr_NoMemory();
        goto failed;
    }
    memset(moved, -1, (size_t)n_rows(r) * sizeof *moved);
    const uint16_t *codes = shorts(r->columns[CODES]);
    for (int32_t i = 0; i < n_rows(r); i++)
        if (codes[i] == INPUT) moved[i] = place++;
    for (Py_ssize_t page = 0; page < r->n_pages; page++)
        for (int k = 0; r->pages[page] != NULL && k < PAGE; k++) {
            int32_t row = r->pages[page][k];
            if (row > 0 && moved[row - 1] < 0) moved[row - 1] = place++; /* several nodes may stand for it */
        }
    if (whole.buf != NULL ? place_all(moved, n_rows(r), &whole) < 0 : place_list(moved, n_rows(r), result) < 0)
        goto failed;
    for (Py_ssize_t page = 0; page < r->n_pages; page++)
        for (int k = 0; r->pages[page] != NULL && k < PAGE; k++) {
            int32_t *row = &r->pages[page][k];
            if (*row > 0) *row = moved[*row - 1] + 1;
        }
    rename_operands(r, moved);
    move_rows(r, moved);
    PyMem_Free(moved);
    if (whole.buf != NULL) PyBuffer_Release(&whole);
    return result;
failed:
    PyMem_Free(moved);
    if (whole.buf != NULL) PyBuffer_Release(&whole);
    Py_XDECREF(result);
    return NULL;
}
