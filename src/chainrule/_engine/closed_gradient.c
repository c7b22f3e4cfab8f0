/* The gradient of one output of a transformation, after its level is closed: the twin of `closed_gradient` in
   differentiation.py. What a Linearization does in steps is one here, where each operation is a row of the table
   with programs for its local gradients, and no context is open. The level is closed first, so that what depends
   on no node from outside is a number as gradients are sent back. */
#include "linearization.h"
#include "walk.h"

typedef struct { /* a number or a node */
    double number;
    PyObject *node; /* a reference, or NULL */
} Value;

typedef struct { /* what has come to a node of the level */
    Value sum;
    bool reached;
    int32_t first; /* the place of its first source */
} Place;

typedef struct {
    Closing closing;
    PyObject *open; /* a dict whose keys are the levels that are open in this thread */
    int64_t level;  /* one of these that was met, or 0 */
    Place *places;  /* by number: children before parents */
    int32_t *sources; /* of all places: the operands' numbers, -1 for what is sent nothing */
    bool live;      /* whether nodes from outside are used */
} Passage;

/* Find the sources of a node: 1, 0 for what is left to Python, -1 with an error. */
static int find_sources(Passage *passage, const Node *node, int32_t *sources, Py_ssize_t count) {
    if (count > MOST_OPERANDS) return 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        const Node *operand = operand_node(node, i);
        sources[i] = -1;
        if (operand == NULL) continue;
        if (operand->level < passage->closing.level) {
            int open = operand->level == passage->level ? 1 : is_open(passage->open, operand->level);
            if (open != 1) return open; /* a transformation that has ended */
            passage->level = operand->level;
            passage->live = true;
        } else if (!ignores(node->code, i)) {
            if (!has_program(node, i)) return 0;
            sources[i] = (int32_t)number_of(operand);
        }
    }
    return 1;
}

/* Fill in the places, and where the inputs are, -1 for what is in none: 1, 0 or -1 as above. */
static int fill(Passage *passage, PyObject *inputs, int32_t *ends) {
    const Closing *closing = &passage->closing;
    int32_t first = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(inputs); i++) {
        const Node *input = (Node *)PyList_GET_ITEM(inputs, i);
        ends[i] = (int32_t)place_of(closing, input);
        passage->live |= input->a != NULL;
    }
    for (Py_ssize_t i = 0; i < closing->count; i++) {
        Py_ssize_t count = operand_count(closing->order[i]);
        passage->places[i] = (Place){.first = first};
        int done = find_sources(passage, closing->order[i], passage->sources + first, count);
        if (done != 1) return done;
        first += (int32_t)count;
    }
    return passage->live;
}

/* The twins of `times` and `plus` of differentiation.py; they take no reference. -1 with an error. */

static inline bool is_number_of(const Value *x, double number) { return x->node == NULL && x->number == number; }

static PyObject *object_of(const Value *x) { return x->node != NULL ? Py_NewRef(x->node) : PyFloat_FromDouble(x->number); }

/* Set a value to a node, whose reference it takes. */
static int set_node(Value *value, PyObject *node) {
    *value = (Value){.node = node};
    return node == NULL ? -1 : 0;
}

/* A sum or a product of which not both are numbers. */
static int combined(int code, double number, const Value *x, const Value *y, Value *result) {
    bool own = (x->node == NULL || Py_TYPE(x->node)->tp_dealloc == node_dealloc) &&
               (y->node == NULL || Py_TYPE(y->node)->tp_dealloc == node_dealloc);
    Node *a = (Node *)x->node, *b = (Node *)y->node;
    if (own && a != NULL && b != NULL) return set_node(result, new_binary(code, number, a, b));
    if (own) return set_node(result, new_with_constant(code, number, a, b, a == NULL ? x->number : y->number));
    PyObject *left = object_of(x), *right = left == NULL ? NULL : object_of(y), *made = NULL;
    if (right != NULL) made = code == ADD ? PyNumber_Add(left, right) : PyNumber_Multiply(left, right);
    Py_XDECREF(left);
    Py_XDECREF(right);
    return set_node(result, made);
}

static double number_in(const Value *x) { return x->node == NULL ? x->number : ((Node *)x->node)->number; }

static int times(const Value *change, const Value *local, Value *result) {
    if (change->node == NULL && local->node == NULL) return *result = (Value){change->number * local->number}, 0;
    const Value *same = is_number_of(change, 1.0) ? local : is_number_of(local, 1.0) ? change : NULL;
    if (same != NULL) return set_node(result, Py_NewRef(same->node));
    if (is_number_of(local, -1.0)) return set_node(result, PyNumber_Negative(change->node));
    return combined(MULTIPLY, number_in(change) * number_in(local), change, local, result);
}

static int plus(const Value *x, const Value *y, Value *result) {
    double sum = number_in(x) + number_in(y);
    if (x->node == NULL && y->node == NULL) return *result = (Value){sum}, 0;
    const Value *same = is_number_of(x, 0.0) ? y : is_number_of(y, 0.0) ? x : NULL;
    if (same != NULL) return set_node(result, Py_NewRef(same->node));
    return combined(ADD, sum, x, y, result);
}

/* Send a message to a node: what has come, times a local gradient. */
static int send_one(Place *to, const Value *change, const Value *local) {
    Value message, sum;
    if (times(change, local, &message) < 0) return -1;
    if (to->reached) {
        int done = plus(&to->sum, &message, &sum);
        Py_XDECREF(message.node);
        if (done < 0) return -1;
        Py_XDECREF(to->sum.node);
        message = sum;
    }
    to->sum = message;
    to->reached = true;
    return 0;
}

/* The local gradient by an operand, and whether it is sent a message: 1, 0, or -1 with an error. */
static int local_by(Node *node, Py_ssize_t position, bool fixed, const double *x, Py_ssize_t count, Value *local) {
    if (fixed && properties_of(node->code) & NATIVE) {
        *local = (Value){local_gradient(node->code, position, node->number, x, count)};
        return picked(node->code, local->number, x);
    }
    PyObject *found = local_grad_of(node, position, fixed);
    if (found == NULL) return -1;
    int sent = is_sent(node, found);
    *local = is_node(found) ? (Value){.node = found} : (Value){PyFloat_AS_DOUBLE(found)};
    if (local->node == NULL) Py_DECREF(found);
    return sent;
}

/* Send the messages of a node, once all its local gradients are there; -1 with an error. */
static int send(const Passage *passage, Py_ssize_t number) {
    Node *node = passage->closing.order[number];
    const Place *place = &passage->places[number];
    const int32_t *sources = passage->sources + place->first;
    Py_ssize_t count = operand_count(node);
    bool fixed = passage->closing.marks[number].state == FIXED;
    double x[MOST_OPERANDS];
    Value locals[MOST_OPERANDS] = {{0.0}};
    int sent[MOST_OPERANDS] = {0}, done = 0;
    if (fixed) read_operands(node, count, x);
    for (Py_ssize_t i = 0; i < count && done == 0; i++)
        if (sources[i] >= 0 && (sent[i] = local_by(node, i, fixed, x, count, &locals[i])) < 0) done = -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (done == 0 && sent[i]) done = send_one(&passage->places[sources[i]], &place->sum, &locals[i]);
        Py_XDECREF(locals[i].node);
    }
    return done;
}

/* Reverse mode; -1 with an error. */
static int send_back(const Passage *passage) {
    passage->places[0].sum.number = 1.0;
    passage->places[0].reached = true;
    for (Py_ssize_t i = 0; i < passage->closing.count; i++)
        if (passage->places[i].reached && send(passage, i) < 0) return -1;
    return 0;
}

/* The output, after the level is closed. */
static PyObject *output_of(const Passage *passage) {
    Node *root = passage->closing.order[0];
    int state = passage->closing.marks[0].state;
    return state == FIXED ? PyFloat_FromDouble(root->number) : Py_NewRef((PyObject *)(state == STANDING ? root->a : root));
}

/* The sums at the ends, and the output: a list. */
static PyObject *results(const Passage *passage, const int32_t *ends, Py_ssize_t n) {
    PyObject *list = PyList_New(n + 1);
    for (Py_ssize_t i = 0; list != NULL && i <= n; i++) {
        Value sum = i < n && ends[i] >= 0 ? passage->places[ends[i]].sum : (Value){0.0};
        sum.number += 0.0;
        PyObject *result = i == n ? output_of(passage) : object_of(&sum);
        if (result == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, result);
    }
    return list;
}

/* By nodes, where such are used from outside, after a first pass: NULL with an error, or without one where it is
   left to Python. */
static PyObject *by_nodes(Walk *walk, Node *root, PyObject *inputs, PyObject *open) {
    Passage passage = {.closing = {.level = root->level}, .open = open};
    Closing *closing = &passage.closing;
    PyObject *result = NULL;
    Py_ssize_t n_inputs = PyList_GET_SIZE(inputs), n_sources = 0;
    if (follow_edges(walk, &root, 1, root->level) < 0) return end_walk(walk), NULL;
    closing->order = walk->nodes;
    closing->count = walk->count;
    for (Py_ssize_t i = 0; i < closing->count; i++) n_sources += operand_count(closing->order[i]);
    int32_t *ends = PyMem_New(int32_t, n_sources + n_inputs + 1);
    passage.places = PyMem_New(Place, closing->count);
    int done = begin_closing(closing, inputs);
    if (ends == NULL || passage.places == NULL) {
        PyErr_NoMemory();
        done = -1;
    }
    passage.sources = ends + n_inputs;
    if (done == 0) done = n_sources < INT32_MAX ? fill(&passage, inputs, ends) : 0;
    if (done == 1 && close_order(closing) < 0) done = -1;
    restore(closing, done == 1);
    if (done == 1) { /* from here on Python may run */
        if (send_back(&passage) == 0) result = results(&passage, ends, n_inputs);
        for (Py_ssize_t i = 0; i < closing->count; i++) Py_XDECREF(passage.places[i].sum.node);
    }
    PyMem_Free(passage.places);
    PyMem_Free(ends);
    end_closing(closing);
    return result;
}

/* By numbers, where these are all there is. */
static PyObject *by_numbers(Node *root, Node *const *inputs, Py_ssize_t n) {
    PyObject *list = PyList_New(n + 1);
    for (Py_ssize_t i = 0; list != NULL && i <= n; i++) {
        PyObject *number = PyFloat_FromDouble(i < n ? inputs[i]->grad : root->number);
        if (number == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, number);
    }
    return list;
}

PyObject *gradient_closed(PyObject *output, PyObject *list, int64_t level, PyObject *open) {
    Node *root = (Node *)output, *const *inputs = (Node *const *)((PyListObject *)list)->ob_item;
    if (!is_node(output) || root->level != level) return NULL;
    Walk walk;
    int sent = send_gradients(root, inputs, PyList_GET_SIZE(list), &walk);
    if (sent != 0) return sent < 0 ? NULL : by_numbers(root, inputs, PyList_GET_SIZE(list));
    if (CONTEXTS == 0) return by_nodes(&walk, root, list, open);
    clear_marks(&walk);
    end_walk(&walk);
    return NULL;
}

/* closed_gradient(output, inputs, level, open): None where it is left to Python. */
static PyObject *closed_gradient(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 4 || !PyList_CheckExact(args[1]) || !PyLong_Check(args[2]) || !PyDict_CheckExact(args[3]))
        return PyErr_Format(PyExc_TypeError, "closed_gradient takes an output, inputs, a level and the open ones");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[1]); i++)
        if (!is_node(PyList_GET_ITEM(args[1], i))) return PyErr_Format(PyExc_TypeError, "inputs are nodes");
    PyObject *result = gradient_closed(args[0], args[1], PyLong_AsLongLong(args[2]), args[3]);
    return result != NULL || PyErr_Occurred() ? result : Py_NewRef(Py_None);
}

PyMethodDef CLOSED_GRADIENT_FUNCTIONS[] = {
    {"closed_gradient", (PyCFunction)(void (*)(void))closed_gradient, METH_FASTCALL,
     "The gradient of one output, closed: see chainrule.differentiation."},
    {NULL, NULL, 0, NULL},
};
