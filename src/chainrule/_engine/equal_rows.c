/* Which rows of a recording compute the same as an earlier one: the twin of passes/sharing.py. */
#include "recording.h"

typedef struct {
    const uint16_t *codes;
    const int32_t *left, *right, *pool;
    const uint64_t *constants; /* their bits */
    int32_t *same;             /* for each row so far the first that computes the same */
    int32_t *scopes;           /* for each row the segment around it, + 1 */
} Rows;

enum { BEGIN = MARKS, END = MARKS + 1 };

static inline uint64_t mixed(uint64_t hash, uint64_t x) {
    hash = (hash ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

/* An operand as a number: rows that compute the same have the same one. */
static inline uint64_t named(const Rows *r, int32_t x) {
    if (x >= 0) return (uint64_t)r->same[x];
    return x == ABSENT ? UINT64_MAX : ~r->constants[~x] ^ UINT64_C(1) << 62;
}

static inline bool is_constant(int32_t x) { return x < 0 && x != ABSENT; }

static inline bool alike(const Rows *r, int32_t x, int32_t y) {
    if (is_constant(x) && is_constant(y)) return r->constants[~x] == r->constants[~y];
    return x >= 0 && y >= 0 ? r->same[x] == r->same[y] : x == y;
}

static uint64_t hash_of(const Rows *r, Py_ssize_t i) {
    uint64_t hash = mixed((uint64_t)r->scopes[i], r->codes[i]);
    if (!(r->codes[i] & POOLED)) return mixed(mixed(hash, named(r, r->left[i])), named(r, r->right[i]));
    for (int32_t k = 0; k < r->right[i]; k++) hash = mixed(hash, named(r, r->pool[r->left[i] + k]));
    return hash;
}

static bool are_equal(const Rows *r, Py_ssize_t i, Py_ssize_t j) {
    if (r->codes[i] != r->codes[j] || r->scopes[i] != r->scopes[j]) return false;
    if (!(r->codes[i] & POOLED)) return alike(r, r->left[i], r->left[j]) && alike(r, r->right[i], r->right[j]);
    if (r->right[i] != r->right[j]) return false;
    for (int32_t k = 0; k < r->right[i]; k++)
        if (!alike(r, r->pool[r->left[i] + k], r->pool[r->left[j] + k])) return false;
    return true;
}

static void find(Rows *r, Py_ssize_t n, int32_t *around, int32_t *table, size_t size) {
    int32_t scope = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        uint16_t code = r->codes[i];
        r->same[i] = (int32_t)i;
        if (code == BEGIN) {
            around[r->left[i]] = scope;
            scope = r->left[i] + 1;
        } else if (code == END) scope = around[r->left[i]];
        r->scopes[i] = scope;
        if ((code & ~POOLED) >= BEGIN) continue;
        size_t place = hash_of(r, i) & (size - 1);
        while (table[place] != 0 && !are_equal(r, i, table[place] - 1)) place = (place + 1) & (size - 1);
        if (table[place] == 0) table[place] = (int32_t)i + 1;
        else r->same[i] = table[place] - 1;
    }
}

/* equal_rows(codes, left, right, pool, constants, same): same, int32, is written. */
static PyObject *equal_rows(PyObject *module, PyObject *args) {
    Py_buffer codes, left, right, pool, constants, same;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*:equal_rows", &codes, &left, &right, &pool, &constants, &same)) return NULL;
    Py_ssize_t n = codes.len / 2;
    size_t size = 1024;
    while (size < 2 * (size_t)n) size *= 2;
    int32_t *scopes = PyMem_Malloc(2 * ((size_t)n + 1) * sizeof *scopes), *table = PyMem_Calloc(size, sizeof *table);
    bool whole = scopes != NULL && table != NULL && same.len == 4 * n && left.len == same.len && right.len == same.len;
    if (whole) {
        Rows rows = {codes.buf, left.buf, right.buf, pool.buf, constants.buf, same.buf, scopes};
        find(&rows, n, scopes + n, table, size);
    } else if (!PyErr_Occurred()) PyErr_SetString(PyExc_MemoryError, "equal_rows: no memory, or arrays of other lengths");
    PyMem_Free(scopes);
    PyMem_Free(table);
    Py_buffer *all[] = {&codes, &left, &right, &pool, &constants, &same};
    for (int i = 0; i < 6; i++) PyBuffer_Release(all[i]);
    return whole ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef METHODS[] = {
    {"equal_rows", equal_rows, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_equal_rows(PyObject *module) { return PyModule_AddFunctions(module, METHODS); }
