/* Opening and closing a level: the twins of `fresh_inputs` and `release` in differentiation.py. The nodes of a
   level that is closed go on without its inputs. */
#include "linearization.h"

/* The mark of a node, NULL if it is from outside. */
static inline Mark *mark_of(const Closing *closing, const Node *node) {
    return node->level >= closing->level ? &closing->marks[number_of(node)] : NULL;
}

/* What takes the place of an operand: a node, or NULL for its number. Its level goes into *outer. */
static Node *follower(const Closing *closing, Node *operand, int64_t *outer) {
    const Mark *mark = mark_of(closing, operand);
    if (mark != NULL && mark->state == FIXED) return NULL;
    int64_t level = mark != NULL ? mark->level : operand->level;
    if (level > *outer) *outer = level;
    return mark != NULL && mark->state == STANDING ? operand->a : operand;
}

static int replace_in_tuple(const Closing *closing, Node *node, PyObject *rest, int64_t *outer) {
    Py_ssize_t n = PyTuple_GET_SIZE(rest);
    PyObject *operands = PyTuple_New(n);
    for (Py_ssize_t i = 0; operands != NULL && i < n; i++) {
        PyObject *operand = PyTuple_GET_ITEM(rest, i), *now = operand;
        if (is_node(operand)) {
            now = (PyObject *)follower(closing, (Node *)operand, outer);
            if (now == NULL && node->code == LEAF) now = operand; /* a user's own has nodes alone */
        }
        now = now == NULL ? PyFloat_FromDouble(((Node *)operand)->number) : Py_NewRef(now);
        if (now == NULL) Py_CLEAR(operands);
        else PyTuple_SET_ITEM(operands, i, now);
    }
    if (operands == NULL) return -1;
    int done = set_rest_of(node, operands);
    Py_DECREF(operands);
    return done;
}

/* Put what follows in the place of an operand: another node, or a constant. */
static int replace_one(const Closing *closing, Node *node, Node **place, int64_t *outer) {
    Node *operand = *place;
    if (operand == NULL) return 0;
    Node *now = follower(closing, operand, outer);
    if (now == operand) return 0;
    if (now == NULL && node->extra == EXTRA_NONE) {
        node->extra = EXTRA_CONSTANT;
        node->constant = operand->number;
    } else if (now == NULL) {
        PyObject *number = PyFloat_FromDouble(operand->number);
        int done = number == NULL ? -1 : set_rest_of(node, number);
        Py_XDECREF(number);
        if (done < 0) return -1;
    }
    *place = (Node *)Py_XNewRef((PyObject *)now);
    Py_DECREF(operand);
    return 0;
}

static bool is_moving(const Closing *closing, const Node *node) {
    for (Py_ssize_t i = 0, n = operand_count(node); i < n; i++) {
        const Node *operand = operand_node(node, i);
        const Mark *mark = operand == NULL ? NULL : mark_of(closing, operand);
        if (operand != NULL && (mark == NULL || mark->state != FIXED)) return true;
    }
    return false;
}

/* Close the level for a node whose operands it is closed for. */
static int close_node(const Closing *closing, Node *node, Mark *mark) {
    mark->level = closing->floor;
    if (mark->state == STANDING) {
        if (node->a->level > mark->level) mark->level = node->a->level;
        return 0;
    }
    if (!is_moving(closing, node)) {
        mark->level = node->level;
        mark->state = FIXED;
        return 0;
    }
    PyObject *rest = rest_of(node);
    if (rest != NULL) return replace_in_tuple(closing, node, rest, &mark->level);
    if (replace_one(closing, node, &node->a, &mark->level) < 0) return -1;
    return replace_one(closing, node, &node->b, &mark->level);
}

/* The nodes of the level that some values depend on; -1 with an error. */
static int find_order(Closing *closing, PyObject *values) {
    Py_ssize_t n = PyList_GET_SIZE(values), n_roots = 0;
    Node **roots = PyMem_New(Node *, n + 1);
    if (roots == NULL) return PyErr_NoMemory(), -1;
    for (Py_ssize_t i = n; i-- > 0;) {
        PyObject *value = PyList_GET_ITEM(values, i);
        if (is_node(value) && ((Node *)value)->level >= closing->level) roots[n_roots++] = (Node *)value;
    }
    if (n_roots) closing->count = topological_order(roots, n_roots, closing->level, &closing->order);
    PyMem_Free(roots);
    if (closing->count < 0) return closing->count = 0, -1;
    return 0;
}

int begin_closing(Closing *closing, PyObject *inputs) {
    for (Py_ssize_t i = 0; i < closing->count; i++) Py_INCREF(closing->order[i]);
    closing->marks = PyMem_New(Mark, closing->count + 1);
    if (closing->marks == NULL) return PyErr_NoMemory(), -1;
    for (Py_ssize_t i = 0; i < closing->count; i++) {
        Node *node = closing->order[i];
        closing->marks[i] = (Mark){node->grad, node->level, MOVING};
        set_number(node, i);
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(inputs); i++) {
        Node *input = (Node *)PyList_GET_ITEM(inputs, i);
        int64_t place = input->a == NULL ? -1 : place_of(closing, input);
        if (place >= 0) closing->marks[place].state = STANDING;
    }
    return 0;
}

int close_order(const Closing *closing) {
    for (Py_ssize_t i = closing->count; i-- > 0;)
        if (close_node(closing, closing->order[i], &closing->marks[i]) < 0) return -1;
    return 0;
}

void restore(const Closing *closing, bool closed) {
    for (Py_ssize_t i = 0; closing->marks != NULL && i < closing->count; i++) {
        closing->order[i]->grad = closing->marks[i].grad;
        if (closed) closing->order[i]->level = closing->marks[i].level;
    }
}

void end_closing(Closing *closing) {
    for (Py_ssize_t i = 0; i < closing->count; i++) Py_DECREF(closing->order[i]);
    PyMem_Free(closing->order);
    PyMem_Free(closing->marks);
}

/* What values are after that: a list. */
static PyObject *followers(const Closing *closing, PyObject *values) {
    Py_ssize_t n = PyList_GET_SIZE(values);
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        Node *node = (Node *)value;
        const Mark *mark = is_node(value) ? mark_of(closing, node) : NULL;
        if (mark != NULL && mark->state == STANDING) value = (PyObject *)node->a;
        value = mark != NULL && mark->state == FIXED ? PyFloat_FromDouble(node->number) : Py_NewRef(value);
        if (value == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, value);
    }
    return list;
}

static PyObject *released(PyObject *inputs, PyObject *values, int64_t level) {
    PyObject *result = NULL;
    Closing closing = {.level = level, .floor = CONTEXTS ? recorded_level() : 0};
    if (find_order(&closing, values) == 0 && begin_closing(&closing, inputs) == 0 && close_order(&closing) == 0)
        result = followers(&closing, values);
    restore(&closing, result != NULL);
    end_closing(&closing);
    return result;
}

static PyObject *release(PyObject *module, PyObject *args) {
    PyObject *inputs, *values;
    long long level;
    if (!PyArg_ParseTuple(args, "O!O!L:release", &PyList_Type, &inputs, &PyList_Type, &values, &level)) return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(inputs); i++)
        if (!is_node(PyList_GET_ITEM(inputs, i))) return PyErr_Format(PyExc_TypeError, "inputs are nodes");
    return released(inputs, values, level);
}

/* The input of a value; NULL with an error. */
static PyObject *fresh_input(PyObject *value, int64_t level) {
    PyObject *input = NULL;
    if (is_node(value)) {
        input = new_unary(IDENTITY, ((Node *)value)->number, (Node *)value);
    } else if (PyFloat_Check(value)) {
        Node *leaf = make_node(NodeType, LEAF, PyFloat_AS_DOUBLE(value), NULL, NULL, 0);
        if (leaf != NULL) input = finished_node(leaf);
    } else {
        PyErr_Format(PyExc_TypeError, "inputs are made of floats and nodes");
    }
    if (input != NULL) ((Node *)input)->level = level;
    return input;
}

PyObject *inputs_of(PyObject *values, int64_t level) {
    PyObject *inputs = PySequence_List(values); /* contexts may run Python, that changes the values */
    for (Py_ssize_t i = 0; inputs != NULL && i < PyList_GET_SIZE(inputs); i++) {
        PyObject *input = fresh_input(PyList_GET_ITEM(inputs, i), level);
        if (input == NULL || PyList_SetItem(inputs, i, input) < 0) Py_CLEAR(inputs);
    }
    return inputs;
}

static PyObject *fresh_inputs(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args != 2 || !PyList_CheckExact(args[0]) || !PyLong_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "fresh_inputs takes a list and a level");
    return inputs_of(args[0], PyLong_AsLongLong(args[1]));
}

/* operation_nodes(operation, numbers, x, level): nodes of a level at least, each of one of these numbers, that is
   what the operation gives for it and a node. */
static PyObject *operation_nodes(PyObject *module, PyObject *args) {
    PyObject *operation, *numbers, *x;
    long long level;
    if (!PyArg_ParseTuple(args, "OO!O!L:operation_nodes", &operation, &PyList_Type, &numbers, OperationNodeType, &x, &level))
        return NULL;
    PyObject *nodes = PyList_New(0);
    for (Py_ssize_t i = 0; nodes != NULL && i < PyList_GET_SIZE(numbers); i++) { /* contexts may run Python */
        PyObject *number = Py_NewRef(PyList_GET_ITEM(numbers, i)), *node = NULL;
        if (PyFloat_Check(number))
            node = new_operation(OperationNodeType, operation, PyFloat_AS_DOUBLE(number), NULL, (Node *)x, number);
        else
            PyErr_SetString(PyExc_TypeError, "operation_nodes takes floats");
        if (node != NULL && ((Node *)node)->level < level) ((Node *)node)->level = level;
        if (node == NULL || PyList_Append(nodes, node) < 0) Py_CLEAR(nodes);
        Py_XDECREF(node);
        Py_DECREF(number);
    }
    return nodes;
}

/* met(objects): the levels of the nodes among some objects, and the largest of their serial numbers. */
static PyObject *met(PyObject *module, PyObject *objects) {
    if (!PyList_Check(objects)) return PyErr_Format(PyExc_TypeError, "expected a list");
    PyObject *levels = PySet_New(NULL);
    int64_t last = -1, newest = -1;
    for (Py_ssize_t i = 0; levels != NULL && i < PyList_GET_SIZE(objects); i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        if (!is_node(object)) continue;
        const Node *node = (Node *)object;
        if (node->serial > newest) newest = node->serial;
        if (node->level == last) continue;
        PyObject *level = PyLong_FromLongLong(last = node->level);
        if (level == NULL || PySet_Add(levels, level) < 0) Py_CLEAR(levels);
        Py_XDECREF(level);
    }
    return levels == NULL ? NULL : Py_BuildValue("NL", levels, (long long)newest);
}

/* followed(objects, level): where nodes of a level or a higher one stand among some objects. */
static PyObject *followed(PyObject *module, PyObject *args) {
    PyObject *objects;
    long long level;
    if (!PyArg_ParseTuple(args, "O!L:followed", &PyList_Type, &objects, &level)) return NULL;
    PyObject *places = PyList_New(0);
    for (Py_ssize_t i = 0; places != NULL && i < PyList_GET_SIZE(objects); i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        if (!is_node(object) || ((Node *)object)->level < level) continue;
        PyObject *place = PyLong_FromSsize_t(i);
        if (place == NULL || PyList_Append(places, place) < 0) Py_CLEAR(places);
        Py_XDECREF(place);
    }
    return places;
}

/* places_among(nodes, objects): the place of each object among some nodes, -1 for others, as int32. */
static PyObject *places_among(PyObject *module, PyObject *args) {
    PyObject *nodes, *objects;
    if (!PyArg_ParseTuple(args, "O!O!:places_among", &PyList_Type, &nodes, &PyList_Type, &objects)) return NULL;
    Py_ssize_t n = PyList_GET_SIZE(nodes), count = PyList_GET_SIZE(objects);
    for (Py_ssize_t i = 0; i < n; i++)
        if (!is_node(PyList_GET_ITEM(nodes, i))) return PyErr_Format(PyExc_TypeError, "expected nodes");
    PyObject *result = PyByteArray_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int32_t));
    double *grads = PyMem_New(double, n + 1);
    if (result == NULL || grads == NULL) {
        Py_XDECREF(result);
        PyMem_Free(grads);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < n; i++) grads[i] = ((Node *)PyList_GET_ITEM(nodes, i))->grad;
    for (Py_ssize_t i = 0; i < n; i++) set_number((Node *)PyList_GET_ITEM(nodes, i), i);
    int32_t *places = (int32_t *)(void *)PyByteArray_AS_STRING(result);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        int64_t number = is_node(object) ? number_of((Node *)object) : -1;
        bool there = number >= 0 && number < n && PyList_GET_ITEM(nodes, number) == object;
        places[i] = there ? (int32_t)number : -1;
    }
    for (Py_ssize_t i = n; i-- > 0;) ((Node *)PyList_GET_ITEM(nodes, i))->grad = grads[i];
    PyMem_Free(grads);
    return result;
}

PyMethodDef RELEASE_FUNCTIONS[] = {
    {"fresh_inputs", (PyCFunction)(void (*)(void))fresh_inputs, METH_FASTCALL,
     "The inputs of a level: see chainrule.differentiation."},
    {"operation_nodes", operation_nodes, METH_VARARGS, "Several nodes of an operation of a number and a node."},
    {"met", met, METH_O, "What nodes there are among some objects: see chainrule.differentiation."},
    {"followed", followed, METH_VARARGS, "Where nodes of a level stand: see chainrule.differentiation."},
    {"places_among", places_among, METH_VARARGS, "Where objects stand among nodes: see chainrule.differentiation."},
    {"release", release, METH_VARARGS, "Close a level: see chainrule.differentiation."},
    {NULL, NULL, 0, NULL},
};
