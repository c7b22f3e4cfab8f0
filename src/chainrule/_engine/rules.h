/* The rows of the table as the files of the engine that deal with rules see them. */
#ifndef CHAINRULE_RULES_H
#define CHAINRULE_RULES_H

#include "engine.h"

enum { /* codes after those of engine.h, in the order of rules.py */
    AZMUL = OTHERS, MESSAGE, POWER_TERM, MOD, FMOD, REMAINDER, FLOOR_DIVIDE, FMA, FSUM, LDEXP,
    EXP2, EXPM1, LOG2, LOG10, LOG1P, CBRT,
    TAN, ASIN, ACOS, ATAN, ATAN2, HYPOT, OVER_NORM, OVER_SQUARES,
    SINH, COSH, SECH2, ASINH, ACOSH, ATANH,
    ABSOLUTE, MAXIMUM, MINIMUM, COPYSIGN, WHERE, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, NONNEGATIVE,
    SIGN, STEP, GREATER, FLOOR, CEIL, TRUNC, ROUND, STOP_GRADIENT, IDENTITY, GATHER,
    SIGMOID, SOFTPLUS, ERF, ERFC, GAUSSIAN, NORM_CDF, NORM_PDF, GAMMA, LGAMMA, POLYGAMMA,
    ROWS
};

enum { ANY = -1, MOST_OPERANDS = 4 }; /* of a row that is not for any number of operands */
enum { DEPTH = 32 };                     /* of the stack of a program */
enum { SPARE = 64 };                     /* rows for operations of rules.py that have no function here */

typedef struct { /* a step of a program: a number goes onto a stack, or an operation on the last few */
    int16_t kind; /* a code, or one of: */
    int16_t count; /* of the operation's operands; or the position of an operand */
    double number;
} Step;
enum { NUMBER = -1, OPERAND = -2, VALUE = -3 }; /* the value is y */

typedef struct { /* a local gradient as a program in postfix form */
    Step *steps;
    int length;   /* 0 of a local gradient: the operand must be a number */
    bool ignored; /* 0 by rule, not by value */
} Rule;

typedef struct {
    const char *name;
    int count; /* of operands, or ANY */
    union {    /* none of a row whose value only Python computes */
        double (*one)(double);
        double (*two)(double, double);
        double (*three)(double, double, double);
        double (*four)(double, double, double, double);
        double (*any)(const double *, Py_ssize_t);
    } value;
    PyObject *operation; /* of rules.py */
    int properties;
    Rule program;              /* the value of a row that has no function, if it is an expression */
    Rule rules[MOST_OPERANDS]; /* empty if for any number of operands */
} Row;

extern Row TABLE[ROWS + SPARE];

/* Whether only Python computes the value. */
static inline bool by_python(const Row *row) { return row->value.one == NULL && row->program.length == 0; }

/* Whether a row takes so many operands. */
static inline bool takes(int code, Py_ssize_t count) {
    if (TABLE[code].count != ANY) return count == TABLE[code].count;
    return count > 0 || code == FSUM || code == HYPOT;
}

/* The value of a row that has a function or a program here. NaN with an error only of ROUND, if there is no memory. */
double native_value(const Row *row, const double *x, Py_ssize_t count);

/* programs.c: the local gradients of rules.py, and values that are expressions, as traced */

/* Read a program as Python hands it over; -1 with an error. */
int read_rule(Rule *rule, PyObject *steps, int operands);
bool runs_python(const Rule *rule);
double run_rule(const Rule *rule, double y, const double *x);

/* operation.c: what a call of an operation does */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    uint16_t code;
} OperationBase;

extern PyTypeObject OperationBaseType;
PyObject *evaluated(PyObject *operation, PyObject *numbers); /* by Python */
int add_operation(PyObject *module);

#endif
