/* The table of elementary operations, the twin of rules.py: values here, local gradients from there. */
#include "rules.h"

#include "functions.h"

static double add(double a, double b) { return a + b; }
static double subtract(double a, double b) { return a - b; }
static double multiply(double a, double b) { return a * b; }
static double negative(double x) { return -x; }
static double absolute(double x) { return fabs(x); }
static double where(double condition, double a, double b) { return condition != 0.0 ? a : b; }
static double divide(double a, double b) { return ieee_divide(a, b); }
static double azmul(double a, double b) { return ieee_azmul(a, b); }
static double nonnegative(double x) { return ieee_nonnegative(x); }
static double step(double x) { return ieee_step(x); }
static double relu(double x) { return ieee_relu(x); }

/* Whether a table of so many elements has one at an index, which as in Python may count from the end. */
static bool is_index(double index, Py_ssize_t count) {
    return count > 0 && index < (double)count && trunc(index) >= -(double)count;
}

/* table[index], the table from x[1] on */
static double gather(const double *x, Py_ssize_t count) {
    if (!is_index(x[0], count - 1)) return POSITIVE_NAN;
    Py_ssize_t index = (Py_ssize_t)x[0];
    return x[1 + (index < 0 ? index + count - 1 : index)];
}

#define ONE(code, name, function) [code] = {name, 1, {.one = function}}
#define TWO(code, name, function) [code] = {name, 2, {.two = function}}
#define THREE(code, name, function) [code] = {name, 3, {.three = function}}
#define FOUR(code, name, function) [code] = {name, 4, {.four = function}}
#define SEVERAL(code, name, function) [code] = {name, ANY, {.any = function}}

Row TABLE[ROWS + SPARE] = {
    TWO(ADD, "add", add),
    TWO(SUBTRACT, "subtract", subtract),
    TWO(MULTIPLY, "multiply", multiply),
    TWO(DIVIDE, "divide", divide),
    TWO(POWER, "power", ieee_power),
    ONE(NEGATIVE, "negative", negative),
    ONE(RELU, "relu", relu),
    ONE(TANH, "tanh", ieee_tanh),
    ONE(EXP, "exp", ieee_exp),
    ONE(LOG, "log", ieee_log),
    ONE(SQRT, "sqrt", ieee_sqrt),
    ONE(SIN, "sin", ieee_sin),
    ONE(COS, "cos", ieee_cos),

    TWO(AZMUL, "azmul", azmul),
    THREE(MESSAGE, "message", ieee_message),
    FOUR(POWER_TERM, "power_term", ieee_power_term),
    TWO(MOD, "mod", ieee_mod),
    TWO(FMOD, "fmod", ieee_fmod),
    TWO(REMAINDER, "remainder", ieee_remainder),
    TWO(FLOOR_DIVIDE, "floor_divide", ieee_floor_divide),
    THREE(FMA, "fma", ieee_fma),
    SEVERAL(FSUM, "fsum", ieee_fsum),
    TWO(LDEXP, "ldexp", ieee_ldexp),
    ONE(EXP2, "exp2", ieee_exp2),
    ONE(EXPM1, "expm1", ieee_expm1),
    ONE(LOG2, "log2", ieee_log2),
    ONE(LOG10, "log10", ieee_log10),
    ONE(LOG1P, "log1p", ieee_log1p),
    ONE(CBRT, "cbrt", ieee_cbrt),
    ONE(TAN, "tan", ieee_tan),
    ONE(ASIN, "asin", ieee_asin),
    ONE(ACOS, "acos", ieee_acos),
    ONE(ATAN, "atan", ieee_atan),
    TWO(ATAN2, "atan2", ieee_atan2),
    SEVERAL(HYPOT, "hypot", ieee_hypot),
    SEVERAL(OVER_NORM, "over_norm", ieee_over_norm),
    SEVERAL(OVER_SQUARES, "over_squares", ieee_over_squares),
    ONE(SINH, "sinh", ieee_sinh),
    ONE(COSH, "cosh", ieee_cosh),
    ONE(SECH2, "sech2", ieee_sech2),
    ONE(ASINH, "asinh", ieee_asinh),
    ONE(ACOSH, "acosh", ieee_acosh),
    ONE(ATANH, "atanh", ieee_atanh),
    ONE(ABSOLUTE, "absolute", absolute),
    TWO(MAXIMUM, "maximum", ieee_maximum),
    TWO(MINIMUM, "minimum", ieee_minimum),
    TWO(COPYSIGN, "copysign", ieee_copysign),
    THREE(WHERE, "where", where),
    TWO(LESS, "less", ieee_less),
    TWO(LESS_EQUAL, "less_equal", ieee_less_equal),
    TWO(EQUAL, "equal", ieee_equal),
    TWO(NOT_EQUAL, "not_equal", ieee_not_equal),
    ONE(NONNEGATIVE, "nonnegative", nonnegative),
    ONE(SIGN, "sign", ieee_sign),
    ONE(STEP, "step", step),
    TWO(GREATER, "greater", ieee_greater),
    ONE(FLOOR, "floor", ieee_floor),
    ONE(CEIL, "ceil", ieee_ceil),
    ONE(TRUNC, "trunc", ieee_trunc),
    TWO(ROUND, "round", ieee_round_half_even),
    ONE(STOP_GRADIENT, "stop_gradient", ieee_identity),
    ONE(IDENTITY, "identity", ieee_identity),
    SEVERAL(GATHER, "gather", gather),
    ONE(SIGMOID, "sigmoid", ieee_sigmoid),
    ONE(SOFTPLUS, "softplus", ieee_softplus),
    ONE(ERF, "erf", special_erf),
    ONE(ERFC, "erfc", special_erfc),
    ONE(GAUSSIAN, "gaussian", special_gaussian),
    ONE(NORM_CDF, "norm_cdf", special_norm_cdf),
    ONE(NORM_PDF, "norm_pdf", special_norm_pdf),
    ONE(GAMMA, "gamma", NULL), /* mpmath is Python */
    ONE(LGAMMA, "lgamma", NULL),
    TWO(POLYGAMMA, "polygamma", NULL),
};

static int n_rows = ROWS; /* with the spare ones in use */

int code_of(PyObject *operation) {
    return PyObject_TypeCheck(operation, &OperationBaseType) ? ((OperationBase *)operation)->code : USER;
}

int code_named(const char *name) {
    for (int code = ADD; code < n_rows; code++)
        if (strcmp(TABLE[code].name, name) == 0) return code;
    return -1;
}

PyObject *operation_at(int code) { return TABLE[code].operation; }

PyObject *operation_of(const Node *node) {
    return node->code == USER ? node->more->operation : operation_at(node->code);
}

int properties_of(int code) { return code == USER ? 0 : TABLE[code].properties; }

bool ignores(int code, Py_ssize_t position) {
    if (code == USER || code == LEAF) return false;
    return code == GATHER ? position == 0 : TABLE[code].count != ANY && TABLE[code].rules[position].ignored;
}

double native_value(const Row *row, const double *x, Py_ssize_t count) {
    if (row->value.one == NULL) return run_rule(&row->program, 0.0, x);
    switch (row->count) {
    case 1: return row->value.one(x[0]);
    case 2: return row->value.two(x[0], x[1]);
    case 3: return row->value.three(x[0], x[1], x[2]);
    case 4: return row->value.four(x[0], x[1], x[2], x[3]);
    default: return row->value.any(x, count);
    }
}

/* The value by Python. */
static int python_value(const Row *row, const double *x, Py_ssize_t count, double *value) {
    PyObject *numbers = PyTuple_New(count);
    for (Py_ssize_t i = 0; numbers != NULL && i < count; i++) {
        PyObject *number = PyFloat_FromDouble(x[i]);
        if (number == NULL) Py_CLEAR(numbers);
        else PyTuple_SET_ITEM(numbers, i, number);
    }
    PyObject *result = numbers == NULL ? NULL : evaluated(row->operation, numbers);
    Py_XDECREF(numbers);
    if (result == NULL) return -1;
    *value = PyFloat_AsDouble(result);
    Py_DECREF(result);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int rule_value(int code, const double *x, Py_ssize_t count, double *value) {
    const Row *row = &TABLE[code];
    if (by_python(row) || (code == GATHER && !is_index(x[0], count - 1))) /* whose error is Python's */
        return python_value(row, x, count, value);
    *value = native_value(row, x, count);
    return code == ROUND && *value != *value && PyErr_Occurred() ? -1 : 0;
}

/* Rows for any number of operands */

static double any_gradient(int code, Py_ssize_t position, double y, const double *x, Py_ssize_t count) {
    switch (code) {
    case HYPOT:
        if (1e-140 < y && y < 1e140) return ieee_divide(x[position], y);
        return over_norm_of(x[position], x, count);
    case OVER_NORM:
        if (position == 0) return over_norm_of(1.0, x + 1, count - 1);
        return -ieee_azmul(y, over_squares_of(x[position], x + 1, count - 1));
    case OVER_SQUARES:
        if (position == 0) return over_squares_of(1.0, x + 1, count - 1);
        return -2.0 * ieee_azmul(y, over_squares_of(x[position], x + 1, count - 1));
    case GATHER: return position == 0 ? 0.0 : ieee_equal(x[0], (double)(position - 1));
    default: return 1.0; /* FSUM */
    }
}

/* The most frequent rows stand here as code; the tests compare it with the programs. */
double local_gradient(int code, Py_ssize_t position, double y, const double *x, Py_ssize_t count) {
    switch (code) {
    case ADD: return 1.0;
    case SUBTRACT: return position == 0 ? 1.0 : -1.0;
    case MULTIPLY: return x[1 - position];
    case DIVIDE: return position == 0 ? ieee_divide(1.0, x[1]) : -ieee_divide(y, x[1]);
    case POWER:
        return position == 0 ? ieee_power_term(x[1], x[0], x[1], 1.0)
                             : ieee_power_term(ieee_log(x[0]), x[0], x[1], 0.0);
    case NEGATIVE: return -1.0;
    case RELU: return ieee_step(x[0]);
    case TANH: return ieee_sech2(x[0]);
    case EXP: return y;
    case LOG: return ieee_divide(1.0, ieee_nonnegative(x[0]));
    case SQRT: return ieee_divide(0.5, ieee_nonnegative(y));
    case SIN: return ieee_cos(x[0]);
    case COS: return -ieee_sin(x[0]);
    default:
        if (TABLE[code].count == ANY) return any_gradient(code, position, y, x, count);
        return run_rule(&TABLE[code].rules[position], y, x);
    }
}

/* What Python asks */

/* The code of a name given by Python, or -1. */
static int code_of_name(PyObject *name) {
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
    if (text == NULL) PyErr_Clear();
    return text == NULL ? -1 : code_named(text);
}

/* add_row(name, count): make room for an operation of rules.py with so many operands, if it has none; gives
   whether it has no function here. */
static PyObject *add_row(PyObject *module, PyObject *args) {
    const char *name;
    int count;
    if (!PyArg_ParseTuple(args, "si", &name, &count)) return NULL;
    int code = code_named(name);
    if (code >= 0) return PyBool_FromLong(TABLE[code].value.one == NULL);
    if (count < 1 || count > MOST_OPERANDS || n_rows == ROWS + SPARE) Py_RETURN_FALSE;
    char *copy = PyMem_Malloc(strlen(name) + 1); /* kept as long as the module */
    if (copy == NULL) return PyErr_NoMemory();
    TABLE[n_rows].name = strcpy(copy, name);
    TABLE[n_rows++].count = count;
    Py_RETURN_TRUE;
}

/* The program of a value, where there is one that runs without Python. */
static int read_value(Row *row, PyObject *steps) {
    if (row->value.one != NULL) return 0;
    if (read_rule(&row->program, steps, row->count) < 0) return -1;
    if (runs_python(&row->program)) row->program.length = 0;
    return 0;
}

/* register(operation, programs, value): give an operation of rules.py its row, with the programs of its
   local gradients, one an operand, and that of its value, or None. One that has no row here is treated as
   a user's. */
static PyObject *register_operation(PyObject *module, PyObject *args) {
    PyObject *operation, *programs, *steps = Py_None;
    if (!PyArg_ParseTuple(args, "O!O!|O", &OperationBaseType, &operation, &PyTuple_Type, &programs, &steps))
        return NULL;
    PyObject *name = PyObject_GetAttrString(operation, "name"), *picks = NULL;
    if (name == NULL) return NULL;
    int code = code_of_name(name);
    Py_DECREF(name);
    if (code < 0) Py_RETURN_NONE;
    Row *row = &TABLE[code];
    Py_ssize_t wanted = row->count == ANY ? 0 : row->count;
    if (PyTuple_GET_SIZE(programs) != wanted)
        return PyErr_Format(PyExc_ValueError, "%s has %zd local gradients here", row->name, wanted);
    if (read_value(row, steps) < 0 || (picks = PyObject_GetAttrString(operation, "picks")) == NULL) return NULL;
    int properties = (picks == Py_True ? PICKS : 0) | (by_python(row) ? 0 : NATIVE);
    Py_DECREF(picks);
    for (Py_ssize_t i = 0; i < wanted; i++) {
        if (read_rule(&row->rules[i], PyTuple_GET_ITEM(programs, i), row->count) < 0) return NULL;
        PyObject *ignored = PyObject_CallMethod(operation, "ignores", "n", i);
        if (ignored == NULL) return NULL;
        row->rules[i].ignored = ignored == Py_True;
        Py_DECREF(ignored);
        if (runs_python(&row->rules[i])) properties &= ~NATIVE;
    }
    row->properties = properties;
    Py_INCREF(operation);
    Py_XSETREF(row->operation, operation);
    ((OperationBase *)operation)->code = (uint16_t)code;
    Py_RETURN_NONE;
}

/* The row and the numbers from a position on of the arguments of a function below; -1 with an error. */
static int read_numbers(PyObject *args, Py_ssize_t from, double **x, Py_ssize_t *count) {
    Py_ssize_t n = PyTuple_GET_SIZE(args) - from;
    PyObject *name = n < 0 ? NULL : PyTuple_GET_ITEM(args, 0);
    int code = name == NULL ? -1 : code_of_name(name);
    if (code < 0 || TABLE[code].operation == NULL || !takes(code, n)) {
        PyErr_SetString(PyExc_ValueError, "no row of this name and so many operands");
        return -1;
    }
    *count = n;
    *x = PyMem_Malloc((size_t)(n + 1) * sizeof **x);
    if (*x == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        (*x)[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(args, from + i));
        if ((*x)[i] == -1.0 && PyErr_Occurred()) {
            PyMem_Free(*x);
            return -1;
        }
    }
    return code;
}

/* value(name, *numbers): the value of a row, as nodes have it. */
static PyObject *value(PyObject *module, PyObject *args) {
    double *x, found;
    Py_ssize_t count;
    int code = read_numbers(args, 1, &x, &count);
    if (code < 0) return NULL;
    int done = rule_value(code, x, count, &found);
    PyMem_Free(x);
    return done < 0 ? NULL : PyFloat_FromDouble(found);
}

/* local_gradient(name, position, y, *numbers): of a native row; of a frequent one, by code or program. */
static PyObject *gradient(PyObject *args, bool by_program) {
    double *x, y;
    Py_ssize_t count, position;
    int code = read_numbers(args, 3, &x, &count);
    if (code < 0) return NULL;
    position = PyLong_AsSsize_t(PyTuple_GET_ITEM(args, 1));
    y = PyErr_Occurred() ? 0.0 : PyFloat_AsDouble(PyTuple_GET_ITEM(args, 2));
    const Row *row = &TABLE[code];
    if (!PyErr_Occurred() && (!(row->properties & NATIVE) || position < 0 || position >= count ||
                              (row->count != ANY && row->rules[position].length == 0)))
        PyErr_SetString(PyExc_ValueError, "no native local gradient");
    double found = 0.0;
    if (!PyErr_Occurred())
        found = by_program && row->count != ANY ? run_rule(&row->rules[position], y, x)
                                                : local_gradient(code, position, y, x, count);
    PyMem_Free(x);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(found);
}

static PyObject *gradient_of_row(PyObject *module, PyObject *args) { return gradient(args, false); }

static PyObject *gradient_by_program(PyObject *module, PyObject *args) { return gradient(args, true); }

static PyMethodDef METHODS[] = {
    {"add_row", add_row, METH_VARARGS, NULL},
    {"register", register_operation, METH_VARARGS, NULL},
    {"value", value, METH_VARARGS, NULL},
    {"local_gradient", gradient_of_row, METH_VARARGS, NULL},
    {"local_gradient_by_program", gradient_by_program, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_rules(PyObject *module) {
    if (find_hypot() < 0 || PyModule_AddFunctions(module, METHODS) < 0) return -1;
    return add_operation(module);
}
