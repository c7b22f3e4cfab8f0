/* The local gradients of rules.py, and values that no function here computes, as small programs: each
   was run on symbols once, at import.

   A program is in postfix form: a list of floats, positions of operands (-1 is the value), and pairs of an
   operation's name and how many operands it takes. On doubles it computes what the Python function
   computes on floats, in the same order. */
#include "rules.h"

/* One step, and the change of the stack's depth by it; -1 with an error. */
static int read_step(Step *step, PyObject *given, int operands, int *depth) {
    *step = (Step){NUMBER, 0, 0.0};
    int taken = 0;
    if (PyFloat_Check(given)) {
        step->number = PyFloat_AS_DOUBLE(given);
    } else if (PyLong_Check(given)) {
        long position = PyLong_AsLong(given);
        if (position < -1 || position >= operands) goto wrong;
        step->kind = position < 0 ? VALUE : OPERAND;
        step->count = (int16_t)position;
    } else {
        const char *name;
        if (!PyTuple_Check(given) || !PyArg_ParseTuple(given, "si", &name, &taken)) goto wrong;
        int code = code_named(name);
        if (code < 0 || taken < 0 || (TABLE[code].count != taken && TABLE[code].count != ANY)) goto wrong;
        step->kind = (int16_t)code;
        step->count = (int16_t)taken;
    }
    *depth += 1 - taken;
    if (*depth >= 1 && *depth <= DEPTH) return 0;
wrong:
    if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "no step of a program: %R", given);
    return -1;
}

int read_rule(Rule *rule, PyObject *given, int operands) {
    if (given == Py_None) return 0;
    if (!PyList_Check(given) || PyList_GET_SIZE(given) == 0) {
        PyErr_SetString(PyExc_TypeError, "a program is a list of steps");
        return -1;
    }
    int length = (int)PyList_GET_SIZE(given), depth = 0, done = 0;
    PyObject *program = PyList_AsTuple(given); /* as it is now: Python may run */
    Step *steps = PyMem_Malloc((size_t)length * sizeof *steps); /* kept as long as the module */
    if (program == NULL || steps == NULL) done = -1;
    if (steps == NULL) PyErr_NoMemory();
    for (int i = 0; i < length && done == 0; i++)
        done = read_step(&steps[i], PyTuple_GET_ITEM(program, i), operands, &depth);
    Py_XDECREF(program);
    if (done < 0) {
        PyMem_Free(steps);
        return -1;
    }
    PyMem_Free(rule->steps);
    rule->steps = steps;
    rule->length = length;
    return 0;
}

bool runs_python(const Rule *rule) {
    for (int i = 0; i < rule->length; i++)
        if (rule->steps[i].kind > 0 && by_python(&TABLE[rule->steps[i].kind])) return true;
    return false;
}

double run_rule(const Rule *rule, double y, const double *x) {
    double stack[DEPTH], *top = stack; /* the first that is free */
    for (const Step *step = rule->steps, *end = step + rule->length; step < end; step++) {
        switch (step->kind) {
        case NUMBER: *top++ = step->number; break;
        case OPERAND: *top++ = x[step->count]; break;
        case VALUE: *top++ = y; break;
        default:
            top -= step->count;
            *top = native_value(&TABLE[step->kind], top, step->count);
            top++;
        }
    }
    return stack[0];
}
