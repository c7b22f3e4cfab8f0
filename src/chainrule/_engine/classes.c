/* The classes of nodes, and how Python makes nodes of them. The twin of the classes of node.py. */
#include "rules.h"

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
    Node *node = make_node(type, LEAF, number, NULL, NULL, own ? 0 : MAY_CYCLE);
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
    bool last = node->serial == SERIAL;
    node->serial = ++SERIAL;
    if (!last) LAST_SET = SERIAL; /* something may have been computed from what it was */
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

/* Node(2.0) alone, without the two steps above; unless Python has put another __init__ in the place of ours.
   (Of another __new__ Python would not go back to ours.) */
static PyObject *node_vectorcall(PyObject *class, PyObject *const *args, size_t nargsf, PyObject *names) {
    PyTypeObject *type = (PyTypeObject *)class;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    bool own = type == NodeType && type->tp_init == node_init;
    if (own && n == 1 && names == NULL && PyFloat_CheckExact(args[0])) {
        Node *node = (Node *)leaf(NodeType, PyFloat_AS_DOUBLE(args[0]), false);
        return node == NULL ? NULL : finished_node(node);
    }
    PyObject *tuple, *kwargs, *self = NULL;
    if (tuple_and_dict(args, n, names, &tuple, &kwargs) < 0) return NULL;
    if (Py_EnterRecursiveCall(" while making a node") == 0) {
        self = node_new(type, tuple, kwargs);
        if (self != NULL && type->tp_init(self, tuple, kwargs) < 0) Py_CLEAR(self);
        Py_LeaveRecursiveCall();
    }
    Py_DECREF(tuple);
    Py_XDECREF(kwargs);
    return self;
}

/* The classes */

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)
#define PREFIX "chainrule.node."
#define COMMON \
    {Py_tp_dealloc, node_dealloc}, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear}, \
        {Py_tp_is_gc, node_is_gc}, {Py_tp_free, node_free}

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
    for (PyGetSetDef *attribute = NODE_ATTRIBUTES; attribute->name != NULL; attribute++)
        if (set_doc(docs, attribute->name, "", &attribute->doc) < 0) return NULL;
    for (PyMethodDef *method = NODE_METHODS; method->ml_name != NULL; method++)
        if (set_doc(docs, method->ml_name, method->ml_flags == METH_NOARGS ? "($self)\n--\n\n" : "",
                    &method->ml_doc) < 0)
            return NULL;
    Py_RETURN_NONE;
}

/* kept_nodes(): how many freed nodes are kept for the next, for tests that count what is not freed. */
static PyObject *kept_nodes_function(PyObject *module, PyObject *unused) { return PyLong_FromSsize_t(kept_nodes()); }

static PyObject *after_fork_in_child(PyObject *module, PyObject *unused) {
    free_in_child();
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_docs", set_docs, METH_O, NULL},
    {"kept_nodes", kept_nodes_function, METH_NOARGS, NULL},
    {"after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_classes(PyObject *module) {
    if (PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    PyType_Slot node[64] = {
        COMMON,
        {Py_tp_doc, "Node(data, parents=(), name=None)\n--\n\n"}, /* and node.py's text */
        {Py_tp_new, node_new},
        {Py_tp_init, node_init},
        {Py_tp_getset, NODE_ATTRIBUTES},
        {Py_tp_members, NODE_MEMBERS},
    };
    add_operator_slots(node + 10);
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
