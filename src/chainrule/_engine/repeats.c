/* Where pairs of numbers in a sequence have stood before, and the repetitions found by that. */
#include "engine.h"

typedef struct {
    uint64_t pair;
    int32_t name, last; /* last: where it stood last, + 1; 0 in a free entry */
} Named;

static inline uint64_t hash(uint64_t pair) {
    pair *= UINT64_C(0x9E3779B97F4A7C15);
    return pair ^ pair >> 32;
}

static Named *place_of(Named *table, size_t size, uint64_t pair) {
    size_t i = hash(pair) & (size - 1);
    while (table[i].last != 0 && table[i].pair != pair) i = (i + 1) & (size - 1);
    return &table[i];
}

/* The table at twice its size; NULL, and the old one is freed, if there is no memory. */
static Named *grown(Named *table, size_t size) {
    Named *larger = PyMem_Calloc(2 * size, sizeof *larger);
    for (size_t i = 0; larger != NULL && i < size; i++)
        if (table[i].last != 0) *place_of(larger, 2 * size, table[i].pair) = table[i];
    PyMem_Free(table);
    return larger;
}

/* named_pairs(numbers, ahead, names, back) -> how many names. All int32; the last two are written. */
static PyObject *named_pairs(PyObject *module, PyObject *args) {
    Py_buffer numbers, names, back;
    Py_ssize_t ahead;
    if (!PyArg_ParseTuple(args, "y*nw*w*:named_pairs", &numbers, &ahead, &names, &back)) return NULL;
    Py_ssize_t n = names.len / 4;
    int32_t count = 0;
    size_t size = 1024;
    Named *table = PyMem_Calloc(size, sizeof *table);
    const int32_t *x = numbers.buf;
    int32_t *name = names.buf, *distance = back.buf;
    if (ahead < 0 || back.len != names.len || numbers.len / 4 < n + ahead) {
        PyErr_SetString(PyExc_ValueError, "named_pairs: arrays of other lengths");
        PyMem_Free(table);
        table = NULL;
    } else if (table == NULL) PyErr_NoMemory();
    for (Py_ssize_t i = 0; table != NULL && i < n; i++) {
        uint64_t pair = (uint64_t)(uint32_t)x[i] << 32 | (uint32_t)x[i + ahead];
        Named *entry = place_of(table, size, pair);
        if (entry->last == 0) {
            *entry = (Named){pair, count++, 0};
            distance[i] = 0;
        } else distance[i] = (int32_t)(i + 1) - entry->last;
        name[i] = entry->name;
        entry->last = (int32_t)(i + 1);
        if ((size_t)count * 2 > size) {
            table = grown(table, size);
            size *= 2;
            if (table == NULL) PyErr_NoMemory();
        }
    }
    PyMem_Free(table);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&names);
    PyBuffer_Release(&back);
    return table == NULL ? NULL : PyLong_FromLong(count);
}

/* repetitions(tokens, sizes, back, m, worth) -> int64 triples in bytes: start, length, period. Tokens and back are
   int32, sizes int64. */
static PyObject *repetitions(PyObject *module, PyObject *args) {
    Py_buffer tokens, sizes, back;
    Py_ssize_t m, worth, count = 0, room = 64;
    if (!PyArg_ParseTuple(args, "y*y*y*nn:repetitions", &tokens, &sizes, &back, &m, &worth)) return NULL;
    const int32_t *token = tokens.buf, *distance = back.buf;
    const int64_t *size_of = sizes.buf;
    Py_ssize_t n = back.len / 4;
    bool fits = tokens.len / 4 >= n + m - 1;
    for (Py_ssize_t i = 0; fits && i < tokens.len / 4; i++) fits = token[i] >= 0 && token[i] < sizes.len / 8;
    int64_t(*found)[3] = PyMem_Malloc((size_t)room * sizeof *found);
    if (found == NULL) PyErr_NoMemory();
    for (Py_ssize_t start = 0, end; fits && found != NULL && start < n; start = end) {
        Py_ssize_t period = distance[start], size = 0;
        for (end = start + 1; end < n && distance[end] == period;) end++;
        Py_ssize_t first = start - period, length = end + m - 1 - first;
        if (period < m || period >= 2 * m || first < 0 || length < 2 * period) continue;
        for (Py_ssize_t i = 0; i < period && 2 * size < worth; i++) size += size_of[token[first + i]];
        if (2 * size < worth && (length / period - 1) * size < worth) continue;
        if (count == room) {
            void *larger = PyMem_Realloc(found, (size_t)(room *= 2) * sizeof *found);
            if (larger == NULL) {
                PyMem_Free(found);
                PyErr_NoMemory();
            }
            if ((found = larger) == NULL) break;
        }
        found[count][0] = first;
        found[count][1] = length;
        found[count++][2] = period;
    }
    PyObject *result = NULL;
    if (!fits) PyErr_SetString(PyExc_ValueError, "repetitions: arrays of other lengths, or no token");
    else if (found != NULL) result = PyBytes_FromStringAndSize((char *)found, count * (Py_ssize_t)sizeof *found);
    PyMem_Free(found);
    PyBuffer_Release(&tokens);
    PyBuffer_Release(&sizes);
    PyBuffer_Release(&back);
    return result;
}

static PyMethodDef METHODS[] = {
    {"repetitions", repetitions, METH_VARARGS, NULL},
    {"named_pairs", named_pairs, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_repeats(PyObject *module) { return PyModule_AddFunctions(module, METHODS); }
