/* Values that are no longer those of their operands, as data was set since. */
#include "walk.h"

static PyObject *ask(const char *name, Node *node) {
    PyObject *function = reference(name);
    PyObject *answer = function == NULL ? NULL : PyObject_CallOneArg(function, (PyObject *)node);
    Py_XDECREF(function);
    return answer;
}

/* Whether an operand's data was set since, and the node's value would now be another: 1 or 0.

   Where the value can't be computed again, in a user's own class, setting is enough. */
int is_stale(Node *node) {
    if (!has_newer_operand(node)) return 0;
    if (node->code == LEAF) return 1;
    if (node_runs_python(node)) {
        PyObject *found = ask("_has_other_value", node);
        int changed = found == NULL ? -1 : PyObject_IsTrue(found);
        Py_XDECREF(found);
        return changed;
    }
    double few[8], *x = few, value;
    Py_ssize_t n = operand_count(node);
    if (n > 8) x = PyMem_Malloc((size_t)n * sizeof(double));
    if (x == NULL) return PyErr_NoMemory(), -1;
    read_operands(node, n, x);
    int changed = rule_value(node->code, x, n, &value);
    if (changed == 0) changed = value != node->number && (value == value || node->number == node->number);
    if (x != few) PyMem_Free(x);
    return changed;
}

/* ValueError for the first stale node; -1 with an error. The nodes must be held: Python may run. */
int check_fresh(Node *const *order, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) {
        int stale = is_stale(order[i]);
        if (stale == 0) continue;
        if (stale < 0) return -1;
        PyObject *raised = ask("_check_fresh", order[i]);
        if (raised == NULL) return -1;
        Py_DECREF(raised);
    }
    return 0;
}
