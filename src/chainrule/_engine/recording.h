/* What the files of recordings share. */
#ifndef CHAINRULE_RECORDING_H
#define CHAINRULE_RECORDING_H

#include "columns.h"

enum { MARKS = 0x7FE0, RESULT = 0x7FE4, INPUT = 0x7FFE, GUARD = 0x7FFF, POOLED = 0x8000 }; /* codes, besides those of operations */
#define ABSENT INT32_MIN
#define IN_BULK (1 << 30) /* operands from here on are no rows */
#define FAILED INT32_MIN /* instead of an operand or place, with an error */

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
    Py_ssize_t n_constants; /* at least, of these nodes */
} Recording;

enum { PAGE_BITS = 8, PAGE = 1 << PAGE_BITS };

/* Which operands of a row without a pool are operands, and not numbers: see program/recording.py. */
static inline bool has_left(int code) { return code < MARKS || (code & 8 && code != INPUT); }
static inline bool has_right(int code) { return code < MARKS; }

/* Where the row of a serial number stands, NULL if there is no such page. */
static inline int32_t *row_of(const Recording *r, int64_t serial) {
    int64_t n = serial - r->first, page = n >> PAGE_BITS;
    return page < r->n_pages && r->pages[page] != NULL ? &r->pages[page][n & (PAGE - 1)] : NULL;
}

static inline Py_ssize_t n_rows(const Recording *r) { return r->columns[CODES]->count; }

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

extern PyTypeObject *RecordingType;

/* recording.c */

int32_t add_constant(Recording *r, double number); /* as an operand, or FAILED */
int32_t *new_row_of(Recording *r, int64_t serial); /* as row_of, with a new page if there is none; NULL: an error */
int reserve_rows(Recording *r, Py_ssize_t n);
int32_t capture(Recording *r, Node *node); /* take a node from outside as an input; its row, or FAILED */
PyObject *record(PyObject *self, PyObject *root);
PyObject *record_all(PyObject *self, PyObject *roots);
PyObject *guard(PyObject *self, PyObject *args);
PyObject *mark(PyObject *self, PyObject *args);
PyObject *mark_all(PyObject *self, PyObject *args);
PyObject *mark_results(PyObject *self, PyObject *args);
PyObject *stand_for(PyObject *self, PyObject *args);

/* recording_order.c */

PyObject *in_order(PyObject *self, PyObject *args);

#endif
