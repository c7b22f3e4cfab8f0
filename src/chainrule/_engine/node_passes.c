/* Passes over a linearization whose local gradients are nodes: what Linearization does in
   differentiation.py where no message has a condition. Its lists are worked on in place. */
#include "linearization.h"

typedef struct {
    PyObject *order, *positions, *sources, *locals; /* of the Linearization */
    PyObject *sums;        /* what has come to the nodes: floats, nodes or None */
    PyObject *local_grads; /* (number): what the table does not have, kept in the locals by it */
} Pass;

static PyObject *operand_at(Node *node, Py_ssize_t position, bool fixed) {
    Node *operand = fixed ? NULL : operand_node(node, position);
    return operand != NULL ? Py_NewRef((PyObject *)operand) : PyFloat_FromDouble(operand_number(node, position));
}

/* The local gradient by an operand: its program, run on nodes, or on their numbers. */
static PyObject *run_on_nodes(const Rule *rule, Node *node, bool fixed) {
    PyObject *stack[DEPTH];
    int depth = 0;
    for (const Step *step = rule->steps, *end = step + rule->length; step < end; step++) {
        PyObject *made;
        switch (step->kind) {
        case NUMBER: made = PyFloat_FromDouble(step->number); break;
        case OPERAND: made = operand_at(node, step->count, fixed); break;
        case VALUE: made = fixed ? PyFloat_FromDouble(node->number) : Py_NewRef((PyObject *)node); break;
        default:
            depth -= step->count;
            made = PyObject_Vectorcall(TABLE[step->kind].operation, stack + depth, (size_t)step->count, NULL);
            for (int i = 0; i < step->count; i++) Py_DECREF(stack[depth + i]);
        }
        if (made == NULL) {
            while (depth > 0) Py_DECREF(stack[--depth]);
            return NULL;
        }
        stack[depth++] = made;
    }
    return stack[0];
}

PyObject *local_grad_of(Node *node, Py_ssize_t position, bool fixed) {
    switch (node->code) {
    case ADD: return PyFloat_FromDouble(1.0);
    case MULTIPLY: return operand_at(node, 1 - position, fixed);
    default: return run_on_nodes(&TABLE[node->code].rules[position], node, fixed);
    }
}

bool has_program(const Node *node, Py_ssize_t position) {
    if (node->code == LEAF || node->code == USER || TABLE[node->code].count == ANY) return false;
    return TABLE[node->code].rules[position].length > 0;
}

/* Whether the table has a program for each local gradient of a node. */
static bool has_programs(const Node *node, PyObject *positions) {
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(positions); k++)
        if (!has_program(node, PyLong_AsSsize_t(PyList_GET_ITEM(positions, k)))) return false;
    return true;
}

/* The local gradients of a node, computed once: a list (borrowed), or NULL with an error. */
static PyObject *locals_of(const Pass *pass, Py_ssize_t number) {
    if (PyList_GET_ITEM(pass->locals, number) != Py_None) return PyList_GET_ITEM(pass->locals, number);
    Node *node = (Node *)PyList_GET_ITEM(pass->order, number);
    PyObject *positions = PyList_GET_ITEM(pass->positions, number), *grads;
    if (has_programs(node, positions)) {
        grads = PyList_New(PyList_GET_SIZE(positions));
        for (Py_ssize_t k = 0; grads != NULL && k < PyList_GET_SIZE(positions); k++) {
            PyObject *grad = local_grad_of(node, PyLong_AsSsize_t(PyList_GET_ITEM(positions, k)), false);
            if (grad == NULL) Py_CLEAR(grads);
            else PyList_SET_ITEM(grads, k, grad);
        }
        if (grads == NULL || PyList_SetItem(pass->locals, number, grads) < 0) return NULL;
        return grads;
    }
    PyObject *given = PyLong_FromSsize_t(number);
    grads = given == NULL ? NULL : PyObject_CallOneArg(pass->local_grads, given);
    Py_XDECREF(given);
    Py_XDECREF(grads); /* the locals hold it */
    return grads;
}

static inline bool is_float(PyObject *x, double value) {
    return PyFloat_Check(x) && PyFloat_AS_DOUBLE(x) == value;
}

/* The twins of `times` and `plus` of differentiation.py. */

static PyObject *times(PyObject *change, PyObject *local) {
    if (PyFloat_Check(change)) {
        if (is_float(change, 1.0)) return Py_NewRef(local);
    } else {
        if (is_float(local, 1.0)) return Py_NewRef(change);
        if (is_float(local, -1.0)) return PyNumber_Negative(change);
    }
    return PyNumber_Multiply(change, local);
}

static PyObject *plus(PyObject *x, PyObject *y) {
    if (is_float(x, 0.0)) return Py_NewRef(y);
    if (is_node(x) && is_node(y)) {
        Node *a = (Node *)x, *b = (Node *)y;
        return new_binary(ADD, a->number + b->number, a, b);
    }
    return is_float(y, 0.0) ? Py_NewRef(x) : PyNumber_Add(x, y);
}

int add_message(PyObject **sum, PyObject *change, PyObject *local) {
    PyObject *message = times(change, local), *before = *sum;
    if (message != NULL && before != Py_None) Py_SETREF(message, plus(before, message));
    if (message == NULL) return -1;
    *sum = message;
    Py_DECREF(before);
    return 0;
}

/* Add a message to the sum of a node; -1 with an error. */
static int add_to(const Pass *pass, Py_ssize_t number, PyObject *change, PyObject *local) {
    return add_message(&((PyListObject *)pass->sums)->ob_item[number], change, local);
}

bool is_sent(const Node *node, PyObject *local) {
    if (!(properties_of(node->code) & PICKS)) return true;
    double decider = node->code == MESSAGE  ? operand_number(node, 0)
                     : is_node(local)       ? ((Node *)local)->number
                                            : PyFloat_AS_DOUBLE(local);
    return decider != 0.0;
}

static Py_ssize_t source_at(const Pass *pass, Py_ssize_t number, Py_ssize_t k) {
    return PyLong_AsSsize_t(PyList_GET_ITEM(PyList_GET_ITEM(pass->sources, number), k));
}

/* Reverse mode at a node. */
static int send_back(const Pass *pass, Py_ssize_t number) {
    PyObject *change = PyList_GET_ITEM(pass->sums, number);
    Py_ssize_t n = PyList_GET_SIZE(PyList_GET_ITEM(pass->positions, number));
    if (change == Py_None || n == 0) return 0;
    PyObject *locals = locals_of(pass, number);
    if (locals == NULL) return -1;
    for (Py_ssize_t k = 0; k < n; k++) {
        PyObject *local = PyList_GET_ITEM(locals, k);
        if (!is_sent((Node *)PyList_GET_ITEM(pass->order, number), local)) continue;
        if (add_to(pass, source_at(pass, number, k), change, local) < 0) return -1;
    }
    return 0;
}

/* Forward mode at a node. */
static int send_forward(const Pass *pass, Py_ssize_t number) {
    Py_ssize_t n = PyList_GET_SIZE(PyList_GET_ITEM(pass->positions, number));
    bool moving = false;
    for (Py_ssize_t k = 0; k < n; k++)
        moving |= PyList_GET_ITEM(pass->sums, source_at(pass, number, k)) != Py_None;
    if (!moving) return 0;
    PyObject *locals = locals_of(pass, number);
    if (locals == NULL) return -1;
    for (Py_ssize_t k = 0; k < n; k++) {
        PyObject *local = PyList_GET_ITEM(locals, k);
        PyObject *change = PyList_GET_ITEM(pass->sums, source_at(pass, number, k));
        if (change == Py_None || !is_sent((Node *)PyList_GET_ITEM(pass->order, number), local)) continue;
        if (add_to(pass, number, change, local) < 0) return -1;
    }
    return 0;
}

static PyObject *send(PyObject *args, bool forward) {
    Pass pass;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!O", &PyList_Type, &pass.order, &PyList_Type, &pass.positions,
                          &PyList_Type, &pass.sources, &PyList_Type, &pass.locals, &PyList_Type, &pass.sums,
                          &pass.local_grads))
        return NULL;
    Py_ssize_t n = PyList_GET_SIZE(pass.order);
    for (Py_ssize_t i = 0; i < n; i++)
        if ((forward ? send_forward(&pass, i) : send_back(&pass, n - 1 - i)) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *send_all_back(PyObject *module, PyObject *args) { return send(args, false); }
static PyObject *send_all_forward(PyObject *module, PyObject *args) { return send(args, true); }

/* The operands of a node that are in the graph: their positions and numbers, but for those that count for
   nothing by the table. Of a node from outside the level goes into a dict, with the node. */
static int add_operands(Node *node, long long level, PyObject *positions, PyObject *sources, PyObject *outside) {
    Py_ssize_t n = operand_count(node);
    for (Py_ssize_t i = 0; i < n; i++) {
        Node *operand = operand_node(node, i);
        if (operand == NULL || (operand->level >= level && node->code != USER && ignores(node->code, i))) continue;
        bool inside = operand->level >= level;
        PyObject *key = PyLong_FromLongLong(inside ? (long long)i : operand->level);
        PyObject *value = inside ? PyLong_FromLongLong(number_of(operand)) : Py_NewRef((PyObject *)operand);
        int done = key == NULL || value == NULL ? -1 : 0;
        if (done == 0 && !inside) done = PyDict_SetItem(outside, key, value);
        if (done == 0 && inside) done = PyList_Append(positions, key) < 0 ? -1 : PyList_Append(sources, value);
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (done < 0) return -1;
    }
    return 0;
}

static PyObject *empty_lists(Py_ssize_t n) {
    PyObject *lists = PyList_New(n);
    for (Py_ssize_t i = 0; lists != NULL && i < n; i++) {
        PyObject *list = PyList_New(0);
        if (list == NULL) Py_CLEAR(lists);
        else PyList_SET_ITEM(lists, i, list);
    }
    return lists;
}

/* edges(order, inputs, level): the positions and sources of a Linearization, the nodes that are no table's by
   their numbers, a node from outside for each level, and whether an operation of the table picks. */
static PyObject *edges(PyObject *module, PyObject *args) {
    PyObject *order, *inputs;
    long long level;
    if (!PyArg_ParseTuple(args, "O!O!L:edges", &PyList_Type, &order, &PyList_Type, &inputs, &level)) return NULL;
    Py_ssize_t n = PyList_GET_SIZE(order), n_inputs = PyList_GET_SIZE(inputs);
    PyObject *positions = empty_lists(n), *sources = empty_lists(n), *others = PyList_New(0), *outside = PyDict_New();
    int picks = 0, done = positions && sources && others && outside ? 0 : -1;
    /* No Python runs from here on, not even by the collector: nothing is made that it tracks. */
    for (Py_ssize_t i = 0; i < n; i++) set_number((Node *)PyList_GET_ITEM(order, i), i);
    for (Py_ssize_t i = 0; i < n_inputs; i++) ((Node *)PyList_GET_ITEM(inputs, i))->pending = 1; /* the end */
    for (Py_ssize_t i = 0; done == 0 && i < n; i++) {
        Node *node = (Node *)PyList_GET_ITEM(order, i);
        if (node->pending || IS_LEAF(node)) continue;
        picks |= properties_of(node->code) & PICKS;
        done = add_operands(node, level, PyList_GET_ITEM(positions, i), PyList_GET_ITEM(sources, i), outside);
        if (done == 0 && (node->code == USER || node->code == LEAF)) {
            PyObject *number = PyLong_FromSsize_t(i);
            done = number == NULL ? -1 : PyList_Append(others, number);
            Py_XDECREF(number);
        }
    }
    for (Py_ssize_t i = 0; i < n_inputs; i++) ((Node *)PyList_GET_ITEM(inputs, i))->pending = 0;
    for (Py_ssize_t i = 0; i < n; i++) ((Node *)PyList_GET_ITEM(order, i))->grad = 0.0;
    PyObject *found = NULL;
    if (done == 0) found = Py_BuildValue("OOOOO", positions, sources, others, outside, picks ? Py_True : Py_False);
    Py_XDECREF(positions);
    Py_XDECREF(sources);
    Py_XDECREF(others);
    Py_XDECREF(outside);
    return found;
}

PyMethodDef NODE_PASS_FUNCTIONS[] = {
    {"edges", edges, METH_VARARGS, "The edges of a graph of nodes: see chainrule.differentiation."},
    {"send_back", send_all_back, METH_VARARGS, "Reverse mode on nodes: see chainrule.differentiation."},
    {"send_forward", send_all_forward, METH_VARARGS, "Forward mode on nodes."},
    {NULL, NULL, 0, NULL},
};
