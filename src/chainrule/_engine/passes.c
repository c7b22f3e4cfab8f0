/* Passes over a linearization of numbers: cotangents pulled back, tangents pushed forward.

   Several of them take the same way at once, in lanes. */
#include "linearization.h"

enum { LANES = 8 };

#if defined(_MSC_VER)
#define INLINED static __forceinline
#elif defined(__GNUC__)
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

/* One sum a node and lane, which nothing has reached; NULL with an error. */
static double *new_sums(const Linearization *self, int lanes) {
    size_t size = (size_t)self->count * (size_t)lanes;
    double *sums = PyMem_New(double, size + 1);
    if (sums == NULL) return (double *)PyErr_NoMemory();
    for (size_t i = 0; i < size; i++) sums[i] = NOTHING;
    return sums;
}

INLINED bool is_reached(const double *sums, int lanes) {
    bool reached = false;
    for (int lane = 0; lane < lanes; lane++) reached |= !is_nothing(sums[lane]);
    return reached;
}

/* Reverse mode from a node down: -1 with an error. */
INLINED int send_back(Linearization *self, double *sums, Py_ssize_t last, int lanes) {
    for (Py_ssize_t number = last; number >= 0; number--) {
        const Edge *edge = self->edges + self->first[number], *end = self->edges + self->first[number + 1];
        const double *from = sums + number * lanes;
        if (edge == end || !is_reached(from, lanes)) continue;
        if (!edge->known && compute_local_grads(self, number) < 0) return -1;
        for (; edge < end; edge++) {
            if (!edge->picked) continue;
            double *to = sums + (Py_ssize_t)edge->source * lanes;
            for (int lane = 0; lane < lanes; lane++) to[lane] += sent(from[lane], edge->local);
        }
    }
    return 0;
}

/* Forward mode: -1 with an error. */
INLINED int send_forward(Linearization *self, double *sums, int lanes) {
    for (Py_ssize_t number = 0; number < self->count; number++) {
        const Edge *edge = self->edges + self->first[number], *end = self->edges + self->first[number + 1];
        if (edge == end) continue;
        if (!edge->known) {
            bool moving = false;
            for (const Edge *e = edge; e < end; e++)
                moving |= is_reached(sums + (Py_ssize_t)e->source * lanes, lanes);
            if (!moving) continue;
            if (compute_local_grads(self, number) < 0) return -1;
        }
        double to[LANES];
        for (int lane = 0; lane < lanes; lane++) to[lane] = NOTHING;
        for (; edge < end; edge++) {
            if (!edge->picked) continue;
            const double *from = sums + (Py_ssize_t)edge->source * lanes;
            for (int lane = 0; lane < lanes; lane++) to[lane] += sent(from[lane], edge->local);
        }
        memcpy(sums + number * lanes, to, (size_t)lanes * sizeof(double));
    }
    return 0;
}

/* What has come to a node in the end. */
static inline double total(const double *sums, int32_t number, int lane, int lanes) {
    return number < 0 ? 0.0 : sums[(Py_ssize_t)number * lanes + lane] + 0.0;
}

static PyObject *totals(const double *sums, const int32_t *numbers, Py_ssize_t n) {
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *value = PyFloat_FromDouble(total(sums, numbers[i], 0, 1));
        if (value == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, value);
    }
    return list;
}

/* Sums with what starts at some nodes: None is no message. The largest number of these in *last.
   NULL with an error, or without one if other objects than floats are among the values. */
static double *started(Linearization *self, PyObject *values, const int32_t *numbers, Py_ssize_t n,
                       Py_ssize_t *last) {
    if (!PyList_CheckExact(values) || PyList_GET_SIZE(values) != n) {
        PyErr_Format(PyExc_ValueError, "a list of %zd numbers is wanted", n);
        return NULL;
    }
    double *sums = new_sums(self, 1);
    if (sums == NULL) return NULL;
    *last = -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        if (numbers[i] < 0 || value == Py_None) continue;
        if (!PyFloat_CheckExact(value)) {
            PyMem_Free(sums);
            return NULL;
        }
        sums[numbers[i]] += PyFloat_AS_DOUBLE(value) + 0.0;
        if (numbers[i] > *last) *last = numbers[i];
    }
    return sums;
}

static PyObject *pull_back(Linearization *self, PyObject *cotangents) {
    Py_ssize_t last;
    double *sums = started(self, cotangents, self->outputs, self->n_outputs, &last);
    if (sums == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented);
    PyObject *result = NULL;
    if (send_back(self, sums, last, 1) == 0) result = totals(sums, self->inputs, self->n_inputs);
    PyMem_Free(sums);
    return result;
}

static PyObject *push_forward(Linearization *self, PyObject *tangents) {
    Py_ssize_t last;
    double *sums = started(self, tangents, self->inputs, self->n_inputs, &last);
    if (sums == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented);
    PyObject *result = NULL;
    if (send_forward(self, sums, 1) == 0) result = totals(sums, self->outputs, self->n_outputs);
    PyMem_Free(sums);
    return result;
}

/* Compute those local gradients that have not been. */
static PyObject *compute_all(Linearization *self, PyObject *unused) {
    for (Py_ssize_t i = 0; i < self->n_unknown; i++) {
        Py_ssize_t number = self->unknown[i];
        if (!self->edges[self->first[number]].known && compute_local_grads(self, number) < 0) return NULL;
    }
    Py_RETURN_NONE;
}

/* jacobian(forward): the whole matrix, row by row, as the bytes of its doubles. */
static PyObject *jacobian(Linearization *self, PyObject *arg) {
    int forward = PyObject_IsTrue(arg);
    if (forward < 0) return NULL;
    const int32_t *starts = forward ? self->inputs : self->outputs;
    const int32_t *ends = forward ? self->outputs : self->inputs;
    Py_ssize_t n_starts = forward ? self->n_inputs : self->n_outputs;
    Py_ssize_t n_ends = forward ? self->n_outputs : self->n_inputs;
    if (n_ends && n_starts > PY_SSIZE_T_MAX / (Py_ssize_t)sizeof(double) / n_ends) return PyErr_NoMemory();
    PyObject *bytes = PyByteArray_FromStringAndSize(NULL, n_starts * n_ends * (Py_ssize_t)sizeof(double));
    if (bytes == NULL) return NULL;
    double *matrix = (double *)PyByteArray_AS_STRING(bytes);
    for (Py_ssize_t start = 0; start < n_starts; start += LANES) {
        double *sums = new_sums(self, LANES);
        if (sums == NULL) goto fail;
        Py_ssize_t last = -1;
        int used = n_starts - start < LANES ? (int)(n_starts - start) : LANES;
        for (int lane = 0; lane < used; lane++) {
            int32_t number = starts[start + lane];
            if (number < 0) continue;
            sums[(Py_ssize_t)number * LANES + lane] = 1.0;
            if (number > last) last = number;
        }
        int done = forward ? send_forward(self, sums, LANES) : send_back(self, sums, last, LANES);
        for (int lane = 0; lane < used; lane++) {
            for (Py_ssize_t end = 0; end < n_ends; end++) {
                Py_ssize_t place = forward ? end * n_starts + start + lane : (start + lane) * n_ends + end;
                matrix[place] = total(sums, ends[end], lane, LANES);
            }
        }
        PyMem_Free(sums);
        if (done < 0) goto fail;
    }
    return bytes;
fail:
    Py_DECREF(bytes);
    return NULL;
}

/* Sparse rows: only what an output depends on is visited. */

typedef struct {
    double *sums;    /* of the seen ones */
    char *seen;      /* by number */
    int32_t *places; /* by number, of the inputs; -1 */
    int32_t *heap;   /* the numbers not yet visited, the largest on top */
    Py_ssize_t size;
} Visit;

static void push(Visit *visit, int32_t number) {
    Py_ssize_t place = visit->size++;
    while (place > 0 && visit->heap[(place - 1) / 2] < number) {
        visit->heap[place] = visit->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    visit->heap[place] = number;
}

static int32_t pop(Visit *visit) {
    int32_t top = visit->heap[0], number = visit->heap[--visit->size];
    Py_ssize_t place = 0;
    for (;;) {
        Py_ssize_t child = 2 * place + 1;
        if (child >= visit->size) break;
        if (child + 1 < visit->size && visit->heap[child + 1] > visit->heap[child]) child++;
        if (visit->heap[child] <= number) break;
        visit->heap[place] = visit->heap[child];
        place = child;
    }
    visit->heap[place] = number;
    return top;
}

/* Add the entries of an output to a row, in any order: -1 with an error. */
static int visit_below(Linearization *self, Visit *visit, int32_t root, PyObject *row) {
    visit->sums[root] = 1.0;
    visit->seen[root] = 1;
    push(visit, root);
    while (visit->size > 0) {
        int32_t number = pop(visit);
        visit->seen[number] = 0; /* as it was, for the next row */
        double sum = visit->sums[number];
        if (visit->places[number] >= 0) { /* all that comes to it has come */
            PyObject *place = PyLong_FromLong(visit->places[number]), *value = PyFloat_FromDouble(sum + 0.0);
            int done = place == NULL || value == NULL ? -1 : PyDict_SetItem(row, place, value);
            Py_XDECREF(place);
            Py_XDECREF(value);
            if (done < 0) return -1;
        }
        const Edge *edge = self->edges + self->first[number], *end = self->edges + self->first[number + 1];
        for (const Edge *e = edge; e < end; e++) {
            if (visit->seen[e->source]) continue;
            visit->seen[e->source] = 1;
            visit->sums[e->source] = NOTHING;
            push(visit, e->source);
        }
        if (edge == end || is_nothing(sum)) continue;
        if (!edge->known && compute_local_grads(self, number) < 0) return -1;
        for (; edge < end; edge++)
            if (edge->picked) visit->sums[edge->source] += sent(sum, edge->local);
    }
    return 0;
}

/* The gradient of each output by the inputs that it depends on: a list of dicts by place. */
static PyObject *sparse_rows(Linearization *self, PyObject *unused) {
    size_t n = (size_t)self->count + 1;
    Visit visit = {PyMem_New(double, n), PyMem_Calloc(n, 1), PyMem_New(int32_t, n), PyMem_New(int32_t, n), 0};
    PyObject *rows = PyList_New(self->n_outputs);
    if (visit.sums == NULL || visit.seen == NULL || visit.places == NULL || visit.heap == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(rows);
    }
    if (rows == NULL) goto end;
    for (size_t i = 0; i < n; i++) visit.places[i] = -1;
    for (Py_ssize_t place = 0; place < self->n_inputs; place++)
        if (self->inputs[place] >= 0) visit.places[self->inputs[place]] = (int32_t)place;
    for (Py_ssize_t i = 0; i < self->n_outputs; i++) {
        PyObject *row = PyDict_New();
        if (row == NULL || (self->outputs[i] >= 0 && visit_below(self, &visit, self->outputs[i], row) < 0)) {
            Py_XDECREF(row);
            Py_CLEAR(rows);
            goto end;
        }
        PyList_SET_ITEM(rows, i, row);
    }
end:
    PyMem_Free(visit.sums);
    PyMem_Free(visit.seen);
    PyMem_Free(visit.places);
    PyMem_Free(visit.heap);
    return rows;
}

PyMethodDef PASS_METHODS[] = {
    {"compute_local_grads", (PyCFunction)(void (*)(void))compute_all, METH_NOARGS, "Those of users."},
    {"pull_back", (PyCFunction)(void (*)(void))pull_back, METH_O, "From cotangents to those of the inputs."},
    {"push_forward", (PyCFunction)(void (*)(void))push_forward, METH_O, "From tangents to those of the outputs."},
    {"jacobian", (PyCFunction)(void (*)(void))jacobian, METH_O, "The bytes of the matrix; by forward mode?"},
    {"sparse_rows", (PyCFunction)(void (*)(void))sparse_rows, METH_NOARGS, "The rows of a sparse matrix."},
    {NULL, NULL, 0, NULL},
};
