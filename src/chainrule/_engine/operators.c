/* Operators on nodes and numbers, comparisons, and methods of one operand. The twin of Node in node.py. */
#include "rules.h"
#include "functions.h"

static inline double value_of(int code, double u, double v) {
    switch (code) {
    case ADD: return u + v;
    case SUBTRACT: return u - v;
    case MULTIPLY: return u * v;
    case DIVIDE: return ieee_divide(u, v);
    case POWER: return ieee_power(u, v);
    case MOD: return ieee_mod(u, v);
    default: return ieee_floor_divide(u, v);
    }
}

bool is_operator(int code) { return (ADD <= code && code <= POWER) || code == MOD || code == FLOOR_DIVIDE; }

/* An operator with what is neither a node nor a number here: arrays, other numbers, or an error. */
static PyObject *with_other(PyObject *node, PyObject *other, const char *symbol, bool swapped) {
    PyObject *args[] = {node, other, PyUnicode_FromString(symbol), swapped ? Py_True : Py_False};
    if (args[2] == NULL) return NULL;
    PyObject *result = call_hook(HOOKS.with_other, args, 4);
    Py_DECREF(args[2]);
    return result;
}

static inline PyObject *operate(int code, const char *symbol, PyObject *x, PyObject *y) {
    double number;
    if (is_node(x)) {
        Node *a = (Node *)x;
        if (is_node(y)) return new_binary(code, value_of(code, a->number, ((Node *)y)->number), a, (Node *)y);
        if (is_number(y, &number)) return new_with_constant(code, value_of(code, a->number, number), a, NULL, number);
        return with_other(x, y, symbol, false);
    }
    Node *b = (Node *)y;
    if (is_number(x, &number)) return new_with_constant(code, value_of(code, number, b->number), NULL, b, number);
    return with_other(y, x, symbol, true);
}

static PyObject *node_add(PyObject *x, PyObject *y) { return operate(ADD, "+", x, y); }
static PyObject *node_subtract(PyObject *x, PyObject *y) { return operate(SUBTRACT, "-", x, y); }
static PyObject *node_multiply(PyObject *x, PyObject *y) { return operate(MULTIPLY, "*", x, y); }
static PyObject *node_divide(PyObject *x, PyObject *y) { return operate(DIVIDE, "/", x, y); }

static PyObject *node_power(PyObject *x, PyObject *y, PyObject *modulus) {
    if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
    return operate(POWER, "**", x, y);
}

static PyObject *node_mod(PyObject *x, PyObject *y) { return operate(MOD, "%", x, y); }
static PyObject *node_floor_divide(PyObject *x, PyObject *y) { return operate(FLOOR_DIVIDE, "//", x, y); }

PyObject *apply_unary(int code, Node *a) {
    double number;
    if (rule_value(code, &a->number, 1, &number) < 0) return NULL;
    return new_unary(code, number, a);
}

PyTypeObject *WholeNodeType; /* the class of whole.py */

static PyObject *set_whole(PyObject *module, PyObject *type) {
    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, OperationNodeType))
        return PyErr_Format(PyExc_TypeError, "set_whole takes a class of nodes");
    Py_INCREF(type);
    Py_XSETREF(WholeNodeType, (PyTypeObject *)type);
    Py_RETURN_NONE;
}

/* floor, ceil and trunc give whole numbers; where a trace or a transformation looks on, Python makes them. */
PyObject *apply_whole(int code, Node *a) {
    double number;
    if (a->level || CONTEXTS || WholeNodeType == NULL) {
        PyObject *operand = (PyObject *)a, *operands = PyTuple_Pack(1, operand);
        PyObject *args[] = {operation_at(code), operands};
        PyObject *node = operands == NULL ? NULL : call_hook(HOOKS.apply, args, 2);
        Py_XDECREF(operands);
        return node;
    }
    if (rule_value(code, &a->number, 1, &number) < 0) return NULL;
    return new_operation(WholeNodeType, operation_at(code), number, a, NULL, Py_None);
}

static PyObject *node_negative(PyObject *self) { return new_unary(NEGATIVE, -((Node *)self)->number, (Node *)self); }
static PyObject *node_positive(PyObject *self) { return Py_NewRef(self); }
static PyObject *node_absolute(PyObject *self) { return apply_unary(ABSOLUTE, (Node *)self); }

/* Methods under NumPy's names, each with the row of the table that it is. */
#define UNARIES(U) \
    U(relu, RELU) U(tanh, TANH) U(exp, EXP) U(exp2, EXP2) U(expm1, EXPM1) U(log, LOG) U(log2, LOG2) U(log10, LOG10) \
    U(log1p, LOG1P) U(sqrt, SQRT) U(cbrt, CBRT) U(sin, SIN) U(cos, COS) U(tan, TAN) U(arcsin, ASIN) U(arccos, ACOS) \
    U(arctan, ATAN) U(sinh, SINH) U(cosh, COSH) U(arcsinh, ASINH) U(arccosh, ACOSH) U(arctanh, ATANH) U(sign, SIGN) \
    U(sigmoid, SIGMOID) U(softplus, SOFTPLUS)

#define DEFINE(method, code) \
    static PyObject *node_##method(PyObject *self, PyObject *unused) { return apply_unary(code, (Node *)self); }
UNARIES(DEFINE)
#undef DEFINE

static PyObject *node_floor(PyObject *self, PyObject *unused) { return apply_whole(FLOOR, (Node *)self); }
static PyObject *node_ceil(PyObject *self, PyObject *unused) { return apply_whole(CEIL, (Node *)self); }
static PyObject *node_trunc(PyObject *self, PyObject *unused) { return apply_whole(TRUNC, (Node *)self); }

PyMethodDef NODE_METHODS[] = {
    {"floor", node_floor, METH_NOARGS, NULL},
    {"ceil", node_ceil, METH_NOARGS, NULL},
    {"trunc", node_trunc, METH_NOARGS, NULL},
    {"_replace", node_replace, METH_O, NULL},
    {"sorted_nodes", node_sorted_nodes, METH_NOARGS, NULL},
    {"backward", (PyCFunction)(void (*)(void))node_backward, METH_FASTCALL | METH_KEYWORDS, NULL},
#define METHOD(method, code) {#method, node_##method, METH_NOARGS, NULL},
    UNARIES(METHOD)
#undef METHOD
    {NULL, NULL, 0, NULL},
};

/* Comparisons that are plain bools: of plain nodes, between two of which == and != are identity, and of those
   of the innermost transformation. What Python notes of these, that values were equal, it decides itself. */

static inline bool holds(int op, double u, double v) {
    switch (op) {
    case Py_LT: return u < v;
    case Py_LE: return u <= v;
    case Py_EQ: return u == v;
    case Py_NE: return u != v;
    case Py_GT: return u > v;
    default: return u >= v;
    }
}

static inline bool is_current(const Node *x) { return !x->level || x->level == innermost_level(); }

static inline bool is_noted(int op, double u, double v) { return (op == Py_EQ || op == Py_NE) && u == v; }

/* What a trace may record without asking Python: no node of another transformation, which may have ended. */
static inline bool is_recorded(const Node *x) { return is_current(x) || x->level == recorded_level(); }

/* A comparison of nodes and numbers that a trace records. */
static PyObject *recorded_comparison(int op, Node *x, Node *y, double number) {
    static const int codes[] = {LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, LESS, LESS_EQUAL}; /* in Python's order */
    bool swapped = op == Py_GT || op == Py_GE, outcome = holds(op, x->number, y == NULL ? number : y->number);
    PyObject *rest = y == NULL ? PyFloat_FromDouble(number) : Py_NewRef(Py_None);
    PyObject *node = rest == NULL ? NULL : new_condition(codes[op], outcome, swapped ? y : x, swapped ? x : y, rest);
    Py_XDECREF(rest);
    return node;
}

static PyObject *node_compare(PyObject *self, PyObject *other, int op) {
    Node *x = (Node *)self;
    double number = 0.0;
    bool exact = !is_node(other) && is_number(other, &number) && (PyFloat_Check(other) || (-9e15 < number && number < 9e15));
    Node *node = is_node(other) ? (Node *)other : NULL;
    if (recorded_level() && is_recorded(x) && (exact || (node != NULL && is_recorded(node) && (x->level || node->level))))
        return recorded_comparison(op, x, node, number);
    if (!CONTEXTS && is_current(x)) {
        if (node != NULL) {
            const Node *y = node;
            bool plain = !x->level && !y->level, same = x == y;
            if (plain && (op == Py_EQ || op == Py_NE)) return PyBool_FromLong(same == (op == Py_EQ));
            if (plain || (is_current(y) && !is_noted(op, x->number, y->number)))
                return PyBool_FromLong(holds(op, x->number, y->number));
        } else if (exact) { /* an int is: below 2**53 */
            if (!x->level || !is_noted(op, x->number, number))
                return PyBool_FromLong(holds(op, x->number, number));
        }
    }
    static const char *const symbols[] = {"<", "<=", "==", "!=", ">", ">="}; /* in Python's order */
    PyObject *args[] = {self, other, PyUnicode_FromString(symbols[op])};
    if (args[2] == NULL) return NULL;
    PyObject *result = call_hook(HOOKS.compared, args, 3);
    Py_DECREF(args[2]);
    return result;
}

static int node_truth(PyObject *self) {
    Node *node = (Node *)self;
    if (!node->level && !CONTEXTS) return node->number != 0.0;
    PyObject *zero = PyFloat_FromDouble(0.0);
    PyObject *truth = zero == NULL ? NULL : node_compare(self, zero, Py_NE);
    Py_XDECREF(zero);
    if (truth == NULL) return -1;
    int result = PyObject_IsTrue(truth);
    Py_DECREF(truth);
    return result;
}

static Py_hash_t node_hash(PyObject *self) {
    if (!((Node *)self)->level) return (Py_hash_t)((uintptr_t)self >> 4);
    PyObject *found = call_hook(HOOKS.hash_of_traced, &self, 1); /* raises */
    Py_hash_t hash = found == NULL ? -1 : PyObject_Hash(found);
    Py_XDECREF(found);
    return hash;
}

void add_operator_slots(PyType_Slot *slots) {
    const PyType_Slot operators[] = {
        {Py_nb_add, node_add}, {Py_nb_subtract, node_subtract}, {Py_nb_multiply, node_multiply},
        {Py_nb_true_divide, node_divide}, {Py_nb_power, node_power}, {Py_nb_remainder, node_mod},
        {Py_nb_floor_divide, node_floor_divide}, {Py_nb_negative, node_negative},
        {Py_nb_positive, node_positive}, {Py_nb_absolute, node_absolute}, {Py_nb_bool, node_truth},
        {Py_tp_richcompare, node_compare}, {Py_tp_hash, node_hash}, {Py_tp_methods, NODE_METHODS}, {0, NULL},
    };
    memcpy(slots, operators, sizeof operators);
}

static PyMethodDef FUNCTIONS[] = {{"set_whole", set_whole, METH_O, NULL}, {NULL, NULL, 0, NULL}};

int add_operators(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
