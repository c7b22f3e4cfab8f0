/* The gradient of one output of a transformation, after its level is closed: the twin of `closed_gradient` in
   differentiation.py. What a Linearization does in steps is one here, where each operation is a row of the table
   with programs for its local gradients, and no context is open. */
#include "linearization.h"

typedef struct { /* a node of the level */
    Node *node;       /* a reference */
    PyObject *sum;    /* what has come to it: a float or a node; None for nothing */
    int32_t *sources; /* the operands' numbers, -1 for what is sent nothing */
    Py_ssize_t count; /* of operands */
} Place;

typedef struct {
    int64_t level;
    PyObject *open; /* a dict whose keys are the levels that are open in this thread */
    Py_ssize_t count;
    Place *places;    /* by number: children before parents */
    int32_t *sources; /* of all places */
    bool live;        /* whether nodes from outside are used */
} Passage;

/* Find the sources of a node: 1, 0 for what is left to Python, -1 with an error. */
static int find_sources(Passage *passage, const Place *place) {
    if (place->count > MOST_OPERANDS) return 0;
    for (Py_ssize_t i = 0; i < place->count; i++) {
        const Node *operand = operand_node(place->node, i);
        place->sources[i] = -1;
        if (operand == NULL) continue;
        if (operand->level < passage->level) {
            int open = is_open(passage->open, operand->level);
            if (open != 1) return open; /* a transformation that has ended */
            passage->live = true;
        } else if (!ignores(place->node->code, i)) {
            if (!has_program(place->node, i)) return 0;
            place->sources[i] = (int32_t)number_of(operand);
        }
    }
    return 1;
}

/* Fill in the places of the nodes of an order. No Python runs: 1, 0 or -1 as above. */
static int fill(Passage *passage, Node *const *order, Node *const *inputs, Py_ssize_t n_inputs, int32_t *ends) {
    int32_t *sources = passage->sources;
    int done = 1;
    for (Py_ssize_t i = 0; i < n_inputs; i++) {
        set_number(inputs[i], -1);
        passage->live |= inputs[i]->a != NULL;
    }
    for (Py_ssize_t i = passage->count; i-- > 0 && done == 1;) { /* operands have their numbers first */
        Place *place = &passage->places[i];
        *place = (Place){order[i], Py_None, sources, operand_count(order[i])};
        sources += place->count;
        done = find_sources(passage, place);
        set_number(order[i], i);
    }
    for (Py_ssize_t i = 0; i < n_inputs; i++) {
        ends[i] = (int32_t)number_of(inputs[i]);
        inputs[i]->grad = 0.0;
    }
    for (Py_ssize_t i = 0; i < passage->count; i++) order[i]->grad = 0.0;
    return done;
}

/* Send the messages of a node, once all its local gradients are there; -1 with an error. */
static int send(const Passage *passage, const Place *place) {
    PyObject *locals[MOST_OPERANDS] = {NULL};
    int done = 0;
    for (Py_ssize_t i = 0; i < place->count && done == 0; i++)
        if (place->sources[i] >= 0 && (locals[i] = local_grad_of(place->node, i)) == NULL) done = -1;
    for (Py_ssize_t i = 0; i < place->count; i++) {
        if (locals[i] == NULL) continue;
        if (done == 0 && is_sent(place->node, locals[i]))
            done = add_message(&passage->places[place->sources[i]].sum, place->sum, locals[i]);
        Py_DECREF(locals[i]);
    }
    return done;
}

/* Reverse mode; -1 with an error. */
static int send_back(const Passage *passage) {
    Py_SETREF(passage->places[0].sum, PyFloat_FromDouble(1.0));
    if (passage->places[0].sum == NULL) return -1;
    for (Py_ssize_t i = 0; i < passage->count; i++)
        if (passage->places[i].sum != Py_None && send(passage, &passage->places[i]) < 0) return -1;
    return 0;
}

/* The sums at the ends, and the output, after the level is closed: a list. */
static PyObject *closed(const Passage *passage, PyObject *inputs, const int32_t *ends) {
    Py_ssize_t n = PyList_GET_SIZE(inputs);
    PyObject *values = PyList_New(n + 1), *result = NULL;
    if (values == NULL) return NULL;
    PyList_SET_ITEM(values, n, Py_NewRef((PyObject *)passage->places[0].node));
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *sum = ends[i] < 0 ? Py_None : passage->places[ends[i]].sum;
        if (is_node(sum)) sum = Py_NewRef(sum);
        else sum = PyFloat_FromDouble(sum == Py_None ? 0.0 : PyFloat_AS_DOUBLE(sum) + 0.0);
        if (sum == NULL) goto end;
        PyList_SET_ITEM(values, i, sum);
    }
    result = released(inputs, values, passage->level);
end:
    Py_DECREF(values);
    return result;
}

/* By nodes, where such are used from outside: NULL with an error, or without one where it is left to Python. */
static PyObject *by_nodes(Node *root, Node *const *inputs, PyObject *list, PyObject *open) {
    Passage passage = {.level = root->level, .open = open};
    Node **order = NULL;
    PyObject *result = NULL;
    Py_ssize_t n_inputs = PyList_GET_SIZE(list), n_sources = 0;
    Py_ssize_t n = topological_order(&root, 1, passage.level, &order);
    if (n < 0) return NULL;
    for (Py_ssize_t i = 0; i < n; i++) n_sources += operand_count(order[i]);
    int32_t *ends = PyMem_New(int32_t, n_sources + n_inputs + 1);
    passage.places = PyMem_New(Place, n);
    if (ends == NULL || passage.places == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    passage.count = n;
    passage.sources = ends + n_inputs;
    if (n < INT32_MAX && fill(&passage, order, inputs, n_inputs, ends) == 1 && passage.live) {
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_INCREF(passage.places[i].node); /* from here on Python may run */
            Py_INCREF(passage.places[i].sum);
        }
        if (send_back(&passage) == 0) result = closed(&passage, list, ends);
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_XDECREF(passage.places[i].sum);
            Py_DECREF(passage.places[i].node);
        }
    }
end:
    PyMem_Free(passage.places);
    PyMem_Free(ends);
    PyMem_Free(order);
    return result;
}

/* By numbers, where these are all there is: likewise. */
static PyObject *by_numbers(Node *root, Node *const *inputs, Py_ssize_t n) {
    if (send_gradients(root, inputs, n) != 1) return NULL;
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
    PyObject *result = by_numbers(root, inputs, PyList_GET_SIZE(list));
    if (result == NULL && !PyErr_Occurred() && CONTEXTS == 0) result = by_nodes(root, inputs, list, open);
    return result;
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
