/* The graph of a run as flat arrays: the twin of program/recording.py, which says what a row is.

   A node's row is found by its serial number, in a table of pages: serial numbers are dense among the
   nodes of a run, never come again, and need no marks on the nodes, nor that these stay alive. */
#include "recording.h"
#include "rules.h"

/* Rows */

int32_t *new_row_of(Recording *r, int64_t serial) {
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

int reserve_rows(Recording *r, Py_ssize_t n) {
    int columns = r->columns[NOTES]->count > 0 ? NOTES : RIGHT;
    for (int i = CODES; i <= columns; i++)
        if (reserve(r->columns[i], n) < 0) return -1;
    return 0;
}

/* As the first annotation comes: the rows before have none, and those for which there is room may have none. */
static int start_notes(Recording *r) {
    Column *notes = r->columns[NOTES];
    if (notes->count > 0) return 0;
    if (reserve(notes, r->columns[CODES]->capacity) < 0) return -1;
    while (notes->count < n_rows(r)) ints(notes)[notes->count++] = -1;
    return 0;
}

static void cut(Recording *r, Py_ssize_t size) {
    for (int i = CODES; i <= NOTES; i++)
        if (r->columns[i]->count > size) r->columns[i]->count = size;
}

/* Operands */

int32_t add_constant(Recording *r, double number) {
    Column *constants = r->columns[CONSTANTS];
    if (reserve(constants, 1) < 0) return FAILED;
    doubles(constants)[constants->count++] = number;
    return ~(int32_t)(constants->count - 1);
}

static int32_t operand(Recording *r, const Node *x) {
    if (x->level < r->level) return found_in(&r->outside, x);
    if (x->serial < r->first) return add_constant(r, x->number);
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
    return x != NULL ? operand(r, x) : add_constant(r, operand_number(node, i));
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

/* Whether a node is equal to its first operand, a node, and differs in its derivative: -1 with an error. */
static int is_value(const Node *node) {
    if (node->code != USER || operand_node(node, 0) == NULL) return 0;
    PyObject *found = PyObject_GetAttrString(operation_of(node), "is_value");
    int truth = found == NULL ? -1 : PyObject_IsTrue(found);
    Py_XDECREF(found);
    return truth;
}

/* Add the row of a node, for which there is room. */
static int enter(Recording *r, Node *node, int32_t *row) {
    if (tell_name(node) < 0) return -1;
    PyObject *annotation = annotation_of(node);
    Py_ssize_t count = operand_count(node);
    int32_t note = -1, left, right = ABSENT;
    int code = node->code, same = is_value(node);
    if (same < 0) return -1;
    if (same) {
        code = IDENTITY;
        count = 1;
    }
    if (annotation != NULL) {
        note = place_of(r, annotation, r->annotations);
        if (note == FAILED || start_notes(r) < 0) return -1;
    }
    if (code == LEAF) {
        left = add_constant(r, node->number);
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

int32_t capture(Recording *r, Node *node) {
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
    r->n_constants += node->code == LEAF || has_constant(node);
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
    if (reserve_rows(r, r->n_found) < 0 || reserve(r->columns[CONSTANTS], r->n_constants) < 0) return -1;
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

/* A node or number as an operand, recorded with all it depends on; FAILED with an error. */
static int32_t recorded(Recording *r, PyObject *root) {
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
        r->n_found = r->n_constants = 0;
        if (r->room > 4096) {
            PyMem_Free(r->found);
            r->found = NULL;
            r->room = 0;
        }
    } else if (PyFloat_Check(root)) {
        result = add_constant(r, PyFloat_AS_DOUBLE(root));
    } else {
        PyErr_Format(PyExc_TypeError, "a recording takes nodes and floats, not %.100s", Py_TYPE(root)->tp_name);
    }
    return result;
}

PyObject *record(PyObject *self, PyObject *root) {
    int32_t result = recorded((Recording *)self, root);
    return result == FAILED ? NULL : PyLong_FromLong(result);
}

/* Several of a list, as operands of int64. */
PyObject *record_all(PyObject *self, PyObject *roots) {
    if (!PyList_Check(roots)) return PyErr_Format(PyExc_TypeError, "record_all takes a list");
    Py_ssize_t n = PyList_GET_SIZE(roots);
    PyObject *operands = PyByteArray_FromStringAndSize(NULL, n * (Py_ssize_t)sizeof(int64_t));
    for (Py_ssize_t i = 0; operands != NULL && i < n; i++) {
        PyObject *root = Py_NewRef(i < PyList_GET_SIZE(roots) ? PyList_GET_ITEM(roots, i) : Py_None);
        int32_t operand = recorded((Recording *)self, root);
        Py_DECREF(root);
        if (operand == FAILED)
            Py_CLEAR(operands);
        else
            ((int64_t *)(void *)PyByteArray_AS_STRING(operands))[i] = operand;
    }
    return operands;
}

PyObject *guard(PyObject *self, PyObject *args) {
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

/* See that a mark can be added; -1 with an error. */
static int check_mark(const Recording *r, int code, long left, PyObject *node) {
    if (code < MARKS || code >= GUARD || code == INPUT) return PyErr_Format(PyExc_ValueError, "no mark is %d", code), -1;
    if (has_left(code) && left >= n_rows(r)) return PyErr_Format(PyExc_ValueError, "there is no row %ld", left), -1;
    if (node != Py_None && !is_node(node)) return PyErr_Format(PyExc_TypeError, "a mark stands where a node does"), -1;
    if (node != Py_None && ((Node *)node)->serial < r->first)
        return PyErr_Format(PyExc_ValueError, "a mark is not older than the inputs"), -1;
    return 0;
}

/* Add a mark, where a node stands or after all so far; its row, or FAILED. */
static int32_t put_mark(Recording *r, int code, int32_t left, int32_t right, const Node *node) {
    if (reserve_rows(r, 1) < 0) return FAILED;
    int32_t *row = new_row_of(r, node == NULL ? ++SERIAL : node->serial);
    if (row == NULL) return FAILED;
    if (*row > 0) {
        shorts(r->columns[CODES])[*row - 1] = (uint16_t)code;
        ints(r->columns[LEFT])[*row - 1] = left;
        ints(r->columns[RIGHT])[*row - 1] = right;
    } else {
        add_row(r, code, left, right, -1);
        *row = (int32_t)n_rows(r);
    }
    return *row - 1;
}

PyObject *mark(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    PyObject *node = Py_None;
    int code, left, right = ABSENT;
    if (!PyArg_ParseTuple(args, "ii|iO:mark", &code, &left, &right, &node)) return NULL;
    if (check_mark(r, code, left, node) < 0) return NULL;
    int32_t row = put_mark(r, code, left, right, node == Py_None ? NULL : (Node *)node);
    return row == FAILED ? NULL : PyLong_FromLong(row);
}

PyObject *mark_all(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    PyObject *left, *right, *nodes = Py_None;
    int code;
    if (!PyArg_ParseTuple(args, "iO!O!|O:mark_all", &code, &PyList_Type, &left, &PyList_Type, &right, &nodes))
        return NULL;
    Py_ssize_t n = PyList_GET_SIZE(left);
    if (nodes != Py_None && !PyList_Check(nodes))
        return PyErr_Format(PyExc_TypeError, "the nodes are a list");
    if (PyList_GET_SIZE(right) != n || (nodes != Py_None && PyList_GET_SIZE(nodes) != n))
        return PyErr_Format(PyExc_ValueError, "there are not as many of each");
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *node = nodes == Py_None ? Py_None : PyList_GET_ITEM(nodes, i);
        long of[] = {PyLong_AsLong(PyList_GET_ITEM(left, i)), PyLong_AsLong(PyList_GET_ITEM(right, i))};
        for (int k = 0; k < 2; k++) {
            if (of[k] == -1 && PyErr_Occurred()) return NULL;
            if (of[k] < INT32_MIN || of[k] > INT32_MAX) return PyErr_Format(PyExc_OverflowError, "no operand is so large");
        }
        if (check_mark(r, code, of[0], node) < 0) return NULL;
        if (put_mark(r, code, (int32_t)of[0], (int32_t)of[1], node == Py_None ? NULL : (Node *)node) == FAILED)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* Add results of what was marked last, whose places are an array of int32, without nodes; the first of the rows. */
PyObject *mark_results(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    Py_buffer places;
    if (!PyArg_ParseTuple(args, "y*:mark_results", &places)) return NULL;
    Py_ssize_t n = places.len / (Py_ssize_t)sizeof(int32_t), first = n_rows(r);
    int done = reserve_rows(r, n);
    for (Py_ssize_t i = 0; i < n && done == 0; i++) {
        int32_t *row = new_row_of(r, ++SERIAL);
        if (row == NULL) {
            done = -1;
            break;
        }
        add_row(r, RESULT, ((const int32_t *)places.buf)[i], ABSENT, -1);
        *row = (int32_t)n_rows(r);
    }
    PyBuffer_Release(&places);
    return done < 0 ? NULL : PyLong_FromSsize_t(first);
}

PyObject *stand_for(PyObject *self, PyObject *args) {
    Recording *r = (Recording *)self;
    Py_ssize_t number;
    PyObject *node;
    if (!PyArg_ParseTuple(args, "nO:stand_for", &number, &node)) return NULL;
    if (number < 0 || number >= n_rows(r)) return PyErr_Format(PyExc_ValueError, "there is no row %zd", number);
    if (!is_node(node)) return PyErr_Format(PyExc_TypeError, "what stands for a row is a node");
    int32_t *row = ((Node *)node)->serial < r->first ? NULL : new_row_of(r, ((Node *)node)->serial);
    if (row == NULL || *row != 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "the node is none that was just made");
    *row = (int32_t)number + 1;
    Py_RETURN_NONE;
}
