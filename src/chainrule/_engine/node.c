/* What a node is: how it is made, what it holds, and how it is freed. The twin of node.py. */
#include "engine.h"
#include "rules.h"
#include <structmember.h>

PyTypeObject *NodeType, *OperationNodeType;
static PyTypeObject *BinaryOpNodeType, *ReLUNodeType, *TanhNodeType, *PowOpType;
int64_t SERIAL = 0;
int64_t LAST_SET = 0;

bool is_subclass_node(PyObject *x) {
    return NodeType != NULL && PyType_IsSubtype(Py_TYPE(x), NodeType);
}

/* Memory. Nodes that cannot be part of a cycle have no header of the garbage collector, which then
   never looks at them. A few of those that were freed are kept for the next ones. */

#ifdef Py_GIL_DISABLED
enum { MOST_FREE = 0 };
#else
enum { MOST_FREE = 4096 };
#endif
static Node *free_nodes[MOST_FREE + 1];
static int n_free = 0;

static inline Node *without_header(PyTypeObject *type) {
    Node *node = n_free > 0 ? free_nodes[--n_free] : PyObject_Malloc(sizeof(Node));
    if (node == NULL) return (Node *)PyErr_NoMemory();
    PyObject_Init((PyObject *)node, type);
    node->flags = 0;
    return node;
}

static Node *with_header(PyTypeObject *type) {
    bool own = type->tp_dealloc == node_dealloc;
    Node *node = own ? PyObject_GC_New(Node, type) : (Node *)type->tp_alloc(type, 0);
    if (node == NULL) return NULL;
    if (!own) PyObject_GC_UnTrack(node); /* until all its fields are set */
    node->flags = HAS_HEADER;
    return node;
}

static void forget(Node *node) {
    PyObject *a = (PyObject *)node->a, *b = (PyObject *)node->b;
    PyObject *held = node->extra == EXTRA_REST ? node->rest : node->extra == EXTRA_ANNOTATION ? node->annotation : NULL;
    More *more = node->extra == EXTRA_MORE ? node->more : NULL;
    node->a = node->b = NULL;
    node->extra = EXTRA_NONE;
    node->code = LEAF;
    Py_XDECREF(a);
    Py_XDECREF(b);
    Py_XDECREF(held);
    if (more != NULL) {
        Py_XDECREF(more->operation);
        Py_XDECREF(more->rest);
        Py_XDECREF(more->annotation);
        PyMem_Free(more);
    }
}

/* Freeing a node frees its parents: one after the other, as a long chain would overflow the stack if
   each freed the next. */
void node_dealloc(PyObject *self) {
#ifdef Py_GIL_DISABLED
    static THREAD_LOCAL Node *waiting = NULL;
    static THREAD_LOCAL bool freeing = false;
#else
    static Node *waiting = NULL;
    static bool freeing = false;
#endif
    Node *node = (Node *)self;
    if (node->flags & HAS_HEADER) PyObject_GC_UnTrack(self);
    node->next = waiting;
    waiting = node;
    if (freeing) return;
    freeing = true;
    while (waiting != NULL) {
        node = waiting;
        waiting = node->next;
        PyTypeObject *type = Py_TYPE(node);
        forget(node);
        if (node->flags & HAS_HEADER) PyObject_GC_Del(node);
        else if (n_free < MOST_FREE) free_nodes[n_free++] = node;
        else PyObject_Free(node);
        Py_DECREF(type);
    }
    freeing = false;
}

static int node_is_gc(PyObject *self) { return ((Node *)self)->flags & HAS_HEADER; }

static int node_traverse(PyObject *self, visitproc visit, void *arg) {
    Node *node = (Node *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(node->a);
    Py_VISIT(node->b);
    Py_VISIT(rest_of(node));
    Py_VISIT(annotation_of(node));
    if (node->extra == EXTRA_MORE) Py_VISIT(node->more->operation);
    return 0;
}

static int node_clear(PyObject *self) {
    forget((Node *)self);
    return 0;
}

/* Building */

static inline Node *make(PyTypeObject *type, int code, double number, Node *a, Node *b, uint8_t cycle) {
    int64_t level = 0;
    if (a != NULL) {
        cycle |= a->flags;
        level = a->level;
    }
    if (b != NULL) {
        cycle |= b->flags;
        if (b->level > level) level = b->level;
    }
    cycle &= MAY_CYCLE;
    Node *node = cycle || type->tp_dealloc != node_dealloc ? with_header(type) : without_header(type);
    if (node == NULL) return NULL;
    Py_XINCREF(a);
    Py_XINCREF(b);
    node->number = number;
    node->grad = 0.0;
    node->a = a;
    node->b = b;
    node->serial = ++SERIAL;
    node->level = level;
    node->pending = 0;
    node->code = (uint16_t)code;
    node->extra = EXTRA_NONE;
    node->flags |= cycle;
    return node;
}

/* A node that is complete but for what the open contexts say. */
static inline PyObject *finished(Node *node) {
    if (node->flags & HAS_HEADER) PyObject_GC_Track(node);
    if (CONTEXTS && enter_contexts(node) < 0) Py_CLEAR(node);
    return (PyObject *)node;
}

static inline PyTypeObject *type_of_unary(int code) {
    return code == TANH ? TanhNodeType : code == RELU ? ReLUNodeType : OperationNodeType;
}

PyObject *new_unary(int code, double number, Node *a) {
    Node *node = make(type_of_unary(code), code, number, a, NULL, 0);
    return node == NULL ? NULL : finished(node);
}

PyObject *new_binary(int code, double number, Node *a, Node *b) {
    Node *node = make(is_operator(code) ? BinaryOpNodeType : OperationNodeType, code, number, a, b, 0);
    return node == NULL ? NULL : finished(node);
}

PyObject *new_with_constant(int code, double number, Node *a, Node *b, double constant) {
    Node *node = make(code == POWER && b == NULL ? PowOpType : OperationNodeType, code, number, a, b, 0);
    if (node == NULL) return NULL;
    node->extra = EXTRA_CONSTANT;
    node->constant = constant;
    return finished(node);
}

/* Whether operands are as an operation has them: a node or two, or a node and a number, or a tuple of more.
   Of what Python hands over; 0, or -1 with an error. */
static int check_operands(int code, Node *a, Node *b, PyObject *rest) {
    Py_ssize_t count = (a != NULL) + (b != NULL) + (rest != Py_None);
    bool tuple = PyTuple_Check(rest), right = rest == Py_None || PyFloat_Check(rest);
    if (tuple) {
        count = PyTuple_GET_SIZE(rest);
        right = a == NULL && b == NULL && (count > 2 || code == LEAF);
        for (Py_ssize_t i = 0; right && i < count; i++) {
            PyObject *operand = PyTuple_GET_ITEM(rest, i);
            right = is_node(operand) || (PyFloat_Check(operand) && code != LEAF);
        }
    } else if (code == LEAF) {
        right = count == 0;
    } else {
        right = right && 0 < count && count <= 2 && (a != NULL || (b != NULL && rest != Py_None));
    }
    if (right && (code == LEAF || code == USER || takes(code, count))) return 0;
    PyErr_SetString(PyExc_TypeError, "these are not the operands of such a node; make operations with"
                                     " operators and functions");
    return -1;
}

/* Set the rest of the operands (a float, a tuple or None), the annotation, and a user's operation. */
static int keep_all(Node *node, PyObject *rest, PyObject *annotation, PyObject *operation) {
    bool constant = rest != Py_None && PyFloat_Check(rest);
    PyObject *tuple = rest == Py_None || constant ? NULL : rest;
    More *more = NULL;
    if (annotation == Py_None) annotation = NULL;
    if (tuple != NULL && !PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "the rest of the operands is a float or a tuple, not %.100s",
                     Py_TYPE(tuple)->tp_name);
        return -1;
    }
    if (operation != NULL || (annotation != NULL && rest != Py_None)) {
        more = PyMem_Malloc(sizeof(More));
        if (more == NULL) return PyErr_NoMemory(), -1;
        more->operation = operation;
        more->rest = tuple;
        more->annotation = annotation;
        more->constant = constant ? PyFloat_AS_DOUBLE(rest) : 0.0;
        more->has_constant = constant;
        Py_XINCREF(operation);
    }
    Py_XINCREF(tuple);
    Py_XINCREF(annotation);
    Node before = {.extra = node->extra, .rest = node->rest}; /* what it held: freed at the end */
    if (more != NULL) {
        node->extra = EXTRA_MORE;
        node->more = more;
    } else if (annotation != NULL) {
        node->extra = EXTRA_ANNOTATION;
        node->annotation = annotation;
    } else if (tuple != NULL) {
        node->extra = EXTRA_REST;
        node->rest = tuple;
    } else if (constant) {
        node->extra = EXTRA_CONSTANT;
        node->constant = PyFloat_AS_DOUBLE(rest);
    } else {
        node->extra = EXTRA_NONE;
    }
    forget(&before);
    return 0;
}

int keep(Node *node, PyObject *rest, PyObject *annotation) {
    return keep_all(node, rest, annotation, node->extra == EXTRA_MORE ? node->more->operation : NULL);
}

int set_annotation(Node *node, PyObject *annotation) {
    PyObject *rest = rest_of(node);
    rest = rest != NULL ? Py_NewRef(rest) : has_constant(node) ? PyFloat_FromDouble(constant_of(node)) : Py_NewRef(Py_None);
    if (rest == NULL) return -1;
    int done = keep(node, rest, annotation);
    Py_DECREF(rest);
    return done;
}

/* A node of any class of operations, with operands as OperationNode takes them. */
static PyObject *new_operation(PyTypeObject *type, PyObject *operation, double number, Node *a, Node *b,
                               PyObject *rest) {
    int code = code_of(operation);
    uint8_t cycle = code == USER ? MAY_CYCLE : 0;
    int64_t level = 0;
    if (PyTuple_Check(rest))
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rest); i++) {
            Node *operand = (Node *)PyTuple_GET_ITEM(rest, i);
            if (!is_node((PyObject *)operand)) continue;
            cycle |= operand->flags;
            if (operand->level > level) level = operand->level;
        }
    Node *node = make(type, code, number, a, b, cycle);
    if (node == NULL) return NULL;
    if (level > node->level) node->level = level;
    if ((rest != Py_None || code == USER) && keep_all(node, rest, Py_None, code == USER ? operation : NULL) < 0) {
        Py_DECREF(node);
        return NULL;
    }
    return finished(node);
}

/* A node of several operands, numbers among them as floats. */
PyObject *new_from_tuple(int code, double number, PyObject *operands) {
    PyObject *operation = operation_at(code);
    return new_operation(OperationNodeType, operation, number, NULL, NULL, operands);
}

/* Whether x is a node: TypeError if not. */
static bool check_node(PyObject *x) {
    if (is_node(x)) return true;
    Py_XDECREF(call_hook(HOOKS.check_node, &x, 1)); /* raises */
    return false;
}

static int operand_or_none(PyObject *x, Node **operand) {
    *operand = x == Py_None ? NULL : (Node *)x;
    return x == Py_None || check_node(x) ? 0 : -1;
}

static PyObject *operation_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *operation, *x, *y, *rest;
    double number;
    Node *a, *b;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError, "%.100s takes no keyword arguments", type->tp_name);
    if (!PyArg_ParseTuple(args, "OdOOO:OperationNode", &operation, &number, &x, &y, &rest)) return NULL;
    if (operand_or_none(x, &a) < 0 || operand_or_none(y, &b) < 0) return NULL;
    if (check_operands(code_of(operation), a, b, rest) < 0) return NULL;
    return new_operation(type, operation, number, a, b, rest);
}

static PyObject *binary_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "y", "op", NULL};
    PyObject *x, *y, *symbol;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:BinaryOpNode", names, &x, &y, &symbol)) return NULL;
    if (!check_node(x) || !check_node(y)) return NULL;
    PyObject *operation = call_hook(HOOKS.operator_of, &symbol, 1);
    if (operation == NULL) return NULL;
    double number, operands[] = {((Node *)x)->number, ((Node *)y)->number};
    PyObject *node = NULL;
    if (rule_value(code_of(operation), operands, 2, &number) == 0)
        node = new_binary(code_of(operation), number, (Node *)x, (Node *)y);
    Py_DECREF(operation);
    return node;
}

static PyObject *unary_of_type(PyObject *args, PyObject *kwargs, const char *format, int code) {
    static char *names[] = {"x", NULL};
    PyObject *x;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &x) || !check_node(x)) return NULL;
    return apply_unary(code, (Node *)x);
}

static PyObject *relu_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    return unary_of_type(args, kwargs, "O:ReLUNode", RELU);
}

static PyObject *tanh_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    return unary_of_type(args, kwargs, "O:TanhNode", TANH);
}

static PyObject *pow_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "n", NULL};
    PyObject *x, *n;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:PowOp", names, &x, &n) || !check_node(x)) return NULL;
    PyObject *given[] = {n, PyUnicode_FromString("**")};
    PyObject *exponent = given[1] == NULL ? NULL : call_hook(HOOKS.to_float, given, 2);
    Py_XDECREF(given[1]);
    if (exponent == NULL) return NULL;
    double constant = PyFloat_AsDouble(exponent), number, operands[] = {((Node *)x)->number, constant};
    Py_DECREF(exponent);
    if (rule_value(POWER, operands, 2, &number) < 0) return NULL;
    return new_with_constant(POWER, number, (Node *)x, NULL, constant);
}

static int operation_init(PyObject *self, PyObject *args, PyObject *kwargs) { return 0; }

/* A leaf, or a user's own node: blank from `new`, filled by `init`, which may come again. */

static PyObject *leaf(PyTypeObject *type, double number, bool parents) {
    bool own = type == NodeType && !parents; /* its parents may be part of a cycle */
    Node *node = make(type, LEAF, number, NULL, NULL, own ? 0 : MAY_CYCLE);
    if (node != NULL && !own) PyObject_GC_Track(node);
    return (PyObject *)node;
}

static PyObject *node_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *parents = PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1)
                        : kwargs != NULL           ? PyDict_GetItemString(kwargs, "parents")
                                                   : NULL;
    return leaf(type, 0.0, parents != NULL && !(PyTuple_Check(parents) && PyTuple_GET_SIZE(parents) == 0));
}

static int node_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    Node *node = (Node *)self;
    PyObject *data = PyTuple_GET_SIZE(args) == 1 && kwargs == NULL ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (node->a != NULL || node->b != NULL || node->extra != EXTRA_NONE || node->code != LEAF) forget(node);
    node->grad = 0.0;
    node->level = 0;
    node->serial = ++SERIAL;
    if (data != NULL && PyFloat_CheckExact(data)) {
        node->number = PyFloat_AS_DOUBLE(data);
        return CONTEXTS ? enter_contexts(node) : 0;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *with_self = PyTuple_New(n + 1);
    if (with_self == NULL) return -1;
    PyTuple_SET_ITEM(with_self, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < n; i++) PyTuple_SET_ITEM(with_self, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    PyObject *done = call_hook_with(HOOKS.fill, with_self, kwargs);
    Py_DECREF(with_self);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Node(2.0) alone, without the two steps above. */
static PyObject *node_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names) {
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    if (type == (PyObject *)NodeType && n == 1 && names == NULL && PyFloat_CheckExact(args[0])) {
        Node *node = (Node *)leaf(NodeType, PyFloat_AS_DOUBLE(args[0]), false);
        return node == NULL ? NULL : finished(node);
    }
    PyObject *tuple = PyTuple_New(n), *kwargs = NULL, *self = NULL;
    if (tuple == NULL) return NULL;
    for (Py_ssize_t i = 0; i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    if (names != NULL) {
        kwargs = PyDict_New();
        for (Py_ssize_t i = 0; kwargs != NULL && i < PyTuple_GET_SIZE(names); i++)
            if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), args[n + i]) < 0) Py_CLEAR(kwargs);
    }
    if (names == NULL || kwargs != NULL) self = node_new((PyTypeObject *)type, tuple, kwargs);
    if (self != NULL && node_init(self, tuple, kwargs) < 0) Py_CLEAR(self);
    Py_DECREF(tuple);
    Py_XDECREF(kwargs);
    return self;
}

/* Attributes */

static int deleted(PyObject *value, const char *name) {
    if (value != NULL) return 0;
    PyErr_Format(PyExc_AttributeError, "attribute '%s' of a node can't be deleted", name);
    return 1;
}

/* A number in a field, read or set; the rare cases are left to Python. */

static PyObject *get_data(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    if (node->level || CONTEXTS) return call_hook(HOOKS.data_of_traced, &self, 1);
    return PyFloat_FromDouble(node->number);
}

static int set_data(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    if (deleted(value, "data")) return -1;
    if (node->code == LEAF && node->level == 0 && !CONTEXTS && PyFloat_CheckExact(value)) {
        node->number = PyFloat_AS_DOUBLE(value);
        LAST_SET = node->serial = ++SERIAL;
        return 0;
    }
    PyObject *args[] = {self, value}, *number = call_hook(HOOKS.data_to_set, args, 2);
    if (number == NULL) return -1;
    node->number = PyFloat_AS_DOUBLE(number);
    LAST_SET = node->serial = ++SERIAL;
    Py_DECREF(number);
    return 0;
}

static PyObject *get_grad(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    if (node->level || CONTEXTS) return call_hook(HOOKS.grad_of_traced, &self, 1);
    return PyFloat_FromDouble(node->grad);
}

static int set_grad(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    if (deleted(value, "grad")) return -1;
    if (node->level == 0 && !CONTEXTS && PyFloat_CheckExact(value)) {
        node->grad = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    PyObject *args[] = {self, value}, *number = call_hook(HOOKS.grad_to_set, args, 2);
    if (number == NULL) return -1;
    node->grad = PyFloat_AS_DOUBLE(number);
    Py_DECREF(number);
    return 0;
}

static PyObject *get_operation(PyObject *self, void *closure) {
    PyObject *operation = operation_of((Node *)self);
    return Py_NewRef(operation == NULL ? Py_None : operation);
}

static PyObject *get_operand(PyObject *self, void *field) {
    Node *operand = *(Node **)((char *)self + (size_t)field);
    return Py_NewRef(operand == NULL ? Py_None : (PyObject *)operand);
}

static PyObject *get_rest(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    PyObject *rest = rest_of(node);
    if (rest == NULL && has_constant(node)) return PyFloat_FromDouble(constant_of(node));
    return Py_NewRef(rest == NULL ? Py_None : rest);
}

static int set_rest(PyObject *self, PyObject *value, void *closure) {
    Node *node = (Node *)self;
    PyObject *annotation = annotation_of(node);
    if (deleted(value, "_rest") || check_operands(node->code, node->a, node->b, value) < 0) return -1;
    for (Py_ssize_t i = 0; PyTuple_Check(value) && i < PyTuple_GET_SIZE(value); i++) {
        PyObject *operand = PyTuple_GET_ITEM(value, i);
        if (!is_node(operand) || !(((Node *)operand)->flags & ~node->flags & MAY_CYCLE)) continue;
        PyErr_SetString(PyExc_TypeError, "a node made without parents can't be given a user's own as a parent;"
                                         " make a new one");
        return -1;
    }
    return keep(node, value, annotation == NULL ? Py_None : annotation);
}

static PyObject *get_annotation(PyObject *self, void *closure) {
    PyObject *annotation = annotation_of((Node *)self);
    return Py_NewRef(annotation == NULL ? Py_None : annotation);
}

static int set_annotation_of(PyObject *self, PyObject *value, void *closure) {
    return deleted(value, "_annotation") ? -1 : set_annotation((Node *)self, value);
}

/* _replace(operands): other operands, as many as there are, kept in the same way. */
PyObject *node_replace(PyObject *self, PyObject *given) {
    Node *node = (Node *)self, *places[] = {NULL, NULL}, *before[] = {node->a, node->b};
    PyObject *annotation = annotation_of(node), *rest = Py_None;
    PyObject *operands = PySequence_Tuple(given);
    Py_ssize_t count = operands == NULL ? 0 : PyTuple_GET_SIZE(operands);
    if (operands == NULL) return NULL;
    bool right = count == operand_count(node);
    for (Py_ssize_t i = 0; right && i < count; i++) {
        PyObject *operand = PyTuple_GET_ITEM(operands, i);
        if (!is_node(operand)) rest = operand;
        else if (((Node *)operand)->flags & ~node->flags & MAY_CYCLE) right = false;
        else if (i < 2) places[i] = (Node *)operand;
    }
    if (rest_of(node) != NULL) {
        rest = operands;
        places[0] = places[1] = NULL;
    }
    if (!right) PyErr_SetString(PyExc_TypeError, "these can't be the operands of this node");
    if (right && (right = check_operands(node->code, places[0], places[1], rest) == 0)) {
        Py_XINCREF(places[0]);
        Py_XINCREF(places[1]);
        right = keep(node, rest, annotation == NULL ? Py_None : annotation) == 0;
        if (right) {
            node->a = places[0];
            node->b = places[1];
        }
        for (int i = 0; i < 2; i++) Py_XDECREF(right ? before[i] : places[i]);
    }
    Py_DECREF(operands);
    return right ? Py_NewRef(Py_None) : NULL;
}

static PyObject *get_operands(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    PyObject *rest = rest_of(node);
    if (rest != NULL) return Py_NewRef(rest);
    Py_ssize_t count = operand_count(node);
    PyObject *operands = PyTuple_New(count);
    for (Py_ssize_t i = 0; operands != NULL && i < count; i++) {
        Node *operand = i == 0 ? node->a : node->b;
        PyObject *item = operand != NULL ? Py_NewRef((PyObject *)operand) : PyFloat_FromDouble(constant_of(node));
        if (item == NULL) Py_CLEAR(operands);
        else PyTuple_SET_ITEM(operands, i, item);
    }
    return operands;
}

static PyObject *get_parents(PyObject *self, void *closure) {
    Node *node = (Node *)self;
    Py_ssize_t count = operand_count(node), n = 0, next = 0;
    for (Py_ssize_t i = 0; i < count; i++) n += operand_node(node, i) != NULL;
    PyObject *parents = PyTuple_New(n);
    for (Py_ssize_t i = 0; parents != NULL && i < count; i++) {
        Node *operand = operand_node(node, i);
        if (operand != NULL) PyTuple_SET_ITEM(parents, next++, Py_NewRef((PyObject *)operand));
    }
    return parents;
}

static int set_parents(PyObject *self, PyObject *value, void *closure) {
    if (deleted(value, "_parents")) return -1;
    PyObject *args[] = {self, value}, *done = call_hook(HOOKS.set_parents, args, 2);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyGetSetDef ATTRIBUTES[] = {
    {"data", get_data, set_data, NULL, NULL},
    {"grad", get_grad, set_grad, NULL, NULL},
    {"operands", get_operands, NULL, NULL, NULL},
    {"operation", get_operation, NULL, NULL, NULL},
    {"_operation", get_operation, NULL, NULL, NULL},
    {"_a", get_operand, NULL, NULL, (void *)offsetof(Node, a)},
    {"_b", get_operand, NULL, NULL, (void *)offsetof(Node, b)},
    {"_rest", get_rest, set_rest, NULL, NULL},
    {"_annotation", get_annotation, set_annotation_of, NULL, NULL},
    {"_parents", get_parents, set_parents, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef MEMBERS[] = {
    {"_number", T_DOUBLE, offsetof(Node, number), 0, NULL},
    {"_grad", T_DOUBLE, offsetof(Node, grad), 0, NULL},
    {"_serial", T_LONGLONG, offsetof(Node, serial), 0, NULL},
    {"_level", T_LONGLONG, offsetof(Node, level), 0, NULL},
    {"_pending", T_INT, offsetof(Node, pending), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* The classes */

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)
#define PREFIX "chainrule.node."
#define COMMON \
    {Py_tp_dealloc, node_dealloc}, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear}, \
        {Py_tp_is_gc, node_is_gc}

static PyTypeObject *add_class(PyObject *module, const char *name, PyTypeObject *base, unsigned flags,
                               PyType_Slot *slots) {
    PyType_Spec spec = {.name = name, .basicsize = sizeof(Node), .flags = flags, .slots = slots};
    PyObject *type = PyType_FromSpecWithBases(&spec, (PyObject *)base);
    const char *last = strrchr(name, '.') + 1;
    if (type != NULL && PyModule_AddObjectRef(module, last, type) < 0) Py_CLEAR(type);
    if (type != NULL) ((PyTypeObject *)type)->tp_name = last; /* in messages, as of a class of Python */
    return (PyTypeObject *)type;
}

static int set_doc(PyObject *docs, const char *name, const char *signature, const char **doc) {
    PyObject *text = PyDict_GetItemString(docs, name);
    const char *read = text == NULL ? "" : PyUnicode_AsUTF8(text);
    if (read == NULL) return -1;
    if (text == NULL) return 0;
    const char *head = *signature ? name : "";
    size_t size = strlen(head) + strlen(signature) + strlen(read) + 1;
    char *kept = PyMem_RawMalloc(size); /* as long as the class lives */
    if (kept == NULL) return PyErr_NoMemory(), -1;
    PyOS_snprintf(kept, size, "%s%s%s", head, signature, read);
    *doc = kept;
    return 0;
}

/* set_docs({name: text}): docstrings are written once, in node.py. */
static PyObject *set_docs(PyObject *module, PyObject *docs) {
    if (!PyDict_Check(docs)) return PyErr_Format(PyExc_TypeError, "set_docs takes texts by name");
    for (PyGetSetDef *attribute = ATTRIBUTES; attribute->name != NULL; attribute++)
        if (set_doc(docs, attribute->name, "", &attribute->doc) < 0) return NULL;
    for (PyMethodDef *method = NODE_METHODS; method->ml_name != NULL; method++)
        if (set_doc(docs, method->ml_name, method->ml_flags == METH_NOARGS ? "($self)\n--\n\n" : "",
                    &method->ml_doc) < 0)
            return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_docs", set_docs, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int add_nodes(PyObject *module) {
    if (PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    PyType_Slot node[64] = {
        COMMON,
        {Py_tp_doc, "Node(data, parents=(), name=None)\n--\n\n"}, /* and node.py's text */
        {Py_tp_new, node_new},
        {Py_tp_init, node_init},
        {Py_tp_getset, ATTRIBUTES},
        {Py_tp_members, MEMBERS},
    };
    add_operator_slots(node + 9);
    PyType_Slot operation[] = {COMMON, {Py_tp_new, operation_new}, {Py_tp_init, operation_init}, {0, NULL}};
    PyType_Slot binary[] = {COMMON, {Py_tp_new, binary_new}, {0, NULL}};
    PyType_Slot relu[] = {COMMON, {Py_tp_new, relu_new}, {0, NULL}};
    PyType_Slot tanh[] = {COMMON, {Py_tp_new, tanh_new}, {0, NULL}};
    PyType_Slot pow[] = {COMMON, {Py_tp_new, pow_new}, {0, NULL}};
    unsigned open = FLAGS | Py_TPFLAGS_BASETYPE;
    if ((NodeType = add_class(module, PREFIX "Node", NULL, open, node)) == NULL) return -1;
    NodeType->tp_vectorcall = node_vectorcall;
    if ((OperationNodeType = add_class(module, PREFIX "OperationNode", NodeType, open, operation)) == NULL) return -1;
    PyTypeObject *base = OperationNodeType;
    if ((BinaryOpNodeType = add_class(module, PREFIX "BinaryOpNode", base, open, binary)) == NULL) return -1;
    if ((ReLUNodeType = add_class(module, PREFIX "ReLUNode", base, open, relu)) == NULL) return -1;
    if ((TanhNodeType = add_class(module, PREFIX "TanhNode", base, open, tanh)) == NULL) return -1;
    if ((PowOpType = add_class(module, PREFIX "PowOp", base, open, pow)) == NULL) return -1;
    return 0;
}
