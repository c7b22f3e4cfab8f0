/* Backpropagation where Python runs: in users' operations and classes, and rows such as gamma.

   The gradients are kept apart from the nodes until all are known. So a user's code may raise in the
   middle, drop nodes, walk the same graph, and two threads may do this on one graph. The caller holds
   the nodes. */
#include "walk.h"

#include <math.h>

typedef struct {
    int32_t place;
    double message;
} Arrived;

enum { A_LEAF = -1 };

typedef struct {
    Node *const *order;
    double *grads;      /* by place in the order */
    int32_t *operands;  /* the places of the operands that are nodes, node by node */
    int32_t *counts;    /* how many of these each node has; A_LEAF of what began the pass as a leaf */
    Arrived *arrived;   /* the messages to leaves, which are added to what they hold one by one */
    Py_ssize_t n_arrived, capacity;
    PyObject *results;  /* of custom_gradient's functions of several results: see _sent_by */
    double *x;          /* the numbers of the operands of one node */
    Py_ssize_t widest;
    PyObject *sent_by;  /* the function of backpropagation.py */
    bool anomaly;       /* whether one is an error */
} Pass;

static void end_pass(Pass *pass) {
    PyMem_Free(pass->grads);
    PyMem_Free(pass->operands);
    PyMem_Free(pass->counts);
    PyMem_Free(pass->arrived);
    PyMem_Free(pass->x);
    Py_XDECREF(pass->results);
    Py_XDECREF(pass->sent_by);
}

static int begin_pass(Pass *pass, Node *const *order, Py_ssize_t n, bool anomaly) {
    Py_ssize_t edges = 0, to_leaves = 1, widest = 1; /* the root may be a leaf */
    *pass = (Pass){.order = order, .anomaly = anomaly};
    pass->sent_by = reference("_sent_by");
    pass->results = pass->sent_by == NULL ? NULL : PyDict_New();
    if (pass->results == NULL) {
        end_pass(pass);
        return -1;
    }
    /* From here on no Python runs, not even a finalizer: nothing changes the graph. */
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t count = operand_count(order[i]);
        edges += count;
        if (count > widest) widest = count;
        for (Py_ssize_t j = 0; j < count; j++) {
            Node *operand = operand_node(order[i], j);
            to_leaves += operand != NULL && IS_LEAF(operand);
        }
    }
    pass->widest = widest;
    pass->grads = PyMem_Malloc((size_t)n * sizeof(double));
    pass->operands = PyMem_Malloc((size_t)(edges + 1) * sizeof(int32_t));
    pass->counts = PyMem_Malloc((size_t)n * sizeof(int32_t));
    pass->arrived = PyMem_Malloc((size_t)to_leaves * sizeof(Arrived));
    pass->capacity = to_leaves;
    pass->x = PyMem_Malloc((size_t)widest * sizeof(double));
    if (!pass->grads || !pass->operands || !pass->counts || !pass->arrived || !pass->x) {
        end_pass(pass);
        PyErr_NoMemory();
        return -1;
    }
    int32_t *place = pass->operands;
    for (Py_ssize_t i = 0; i < n; i++) order[i]->pending = (int32_t)i;
    for (Py_ssize_t i = 0; i < n; i++) {
        int32_t *first = place;
        Py_ssize_t count = operand_count(order[i]);
        for (Py_ssize_t j = 0; j < count; j++) {
            Node *operand = operand_node(order[i], j);
            if (operand != NULL) *place++ = operand->pending;
        }
        pass->counts[i] = IS_LEAF(order[i]) ? A_LEAF : (int32_t)(place - first);
        pass->grads[i] = NOTHING;
        order[i]->pending = 0; /* those that it is an operand of came before */
    }
    return 0;
}

/* The operands of the node at a place of the order; `next` is where the search for one begins, as they
   are usually asked for in order. */
typedef struct {
    Py_ssize_t place;
    const int32_t *operands;
    int32_t count, next;
} From;

static int raise_anomaly(const Pass *pass, const From *from, Node *operand, double local, double total) {
    PyObject *function = reference("_raise_anomaly");
    Node *node = pass->order[from->place];
    if (function != NULL)
        Py_XDECREF(PyObject_CallFunction(function, "OOOddd", node, operand, pass->results, pass->grads[from->place],
                                         local, total));
    Py_XDECREF(function);
    return -1;
}

/* Note a message to a leaf; -1 with an error. */
static int note_arrival(Pass *pass, int32_t place, double message) {
    if (pass->n_arrived == pass->capacity) { /* a user's code sends more than one over an edge */
        Py_ssize_t capacity = 2 * pass->capacity;
        Arrived *larger = PyMem_Realloc(pass->arrived, (size_t)capacity * sizeof(Arrived));
        if (larger == NULL) return PyErr_NoMemory(), -1;
        pass->arrived = larger;
        pass->capacity = capacity;
    }
    pass->arrived[pass->n_arrived++] = (Arrived){.place = place, .message = message};
    return 0;
}

/* Add a message to the gradient of an operand; -1 with an error. One that is no operand, as a user's
   code has changed the graph meanwhile, gets nothing. */
static int add_message(Pass *pass, From *from, Node *operand, double local, double message) {
    for (int32_t tried = 0; tried < from->count; tried++) {
        int32_t place = from->operands[from->next];
        from->next = from->next + 1 < from->count ? from->next + 1 : 0;
        if (pass->order[place] != operand) continue;
        double total = pass->grads[place] + (message + 0.0);
        if (pass->anomaly && !isfinite(total)) return raise_anomaly(pass, from, operand, local, total);
        pass->grads[place] = total;
        if (pass->counts[place] == A_LEAF) return note_arrival(pass, place, message + 0.0);
        return 0;
    }
    return 0;
}

/* What Python says that a node sends: a list of operands, local gradients, messages. */
static int send_by_python(Pass *pass, From *from) {
    double g = pass->grads[from->place];
    PyObject *given = is_nothing(g) ? Py_NewRef(Py_None) : PyFloat_FromDouble(g);
    if (given == NULL) return -1;
    PyObject *messages =
        PyObject_CallFunctionObjArgs(pass->sent_by, pass->order[from->place], given, pass->results, NULL);
    Py_DECREF(given);
    if (messages == NULL) return -1;
    int done = 0;
    for (Py_ssize_t i = 0; done == 0 && i < PyList_GET_SIZE(messages); i++) {
        PyObject *message = PyList_GET_ITEM(messages, i);
        double local = PyFloat_AsDouble(PyTuple_GET_ITEM(message, 1));
        double sent = PyFloat_AsDouble(PyTuple_GET_ITEM(message, 2));
        if (PyErr_Occurred()) done = -1;
        else done = add_message(pass, from, (Node *)PyTuple_GET_ITEM(message, 0), local, sent);
    }
    Py_DECREF(messages);
    return done;
}

static int send_by_table(Pass *pass, From *from) {
    Node *node = pass->order[from->place];
    Py_ssize_t n = operand_count(node);
    if (n > pass->widest) {
        PyErr_SetString(PyExc_RuntimeError, "the graph was changed while backward ran");
        return -1;
    }
    read_operands(node, n, pass->x);
    int done = 0;
    for (Py_ssize_t i = 0; done == 0 && i < n; i++) {
        double local, sent;
        Node *operand = operand_node(node, i);
        if (operand != NULL && message_to(node, i, pass->grads[from->place], pass->x, n, &local, &sent))
            done = add_message(pass, from, operand, local, sent);
    }
    return done;
}

/* Set the gradients of the nodes of a topological order, the first being the root; -1 with an error,
   after which none has changed. */
int backward_apart(Node *const *order, Py_ssize_t n, double seed, bool anomaly) {
    Pass pass;
    if (begin_pass(&pass, order, n, anomaly) < 0) return -1;
    From from = {.operands = pass.operands};
    int done = 0;
    pass.grads[0] = seed + 0.0;
    if (pass.counts[0] == A_LEAF) done = note_arrival(&pass, 0, seed + 0.0);
    for (Py_ssize_t i = 0; i < n && done == 0; i++) {
        bool reached = !is_nothing(pass.grads[i]);
        from.place = i;
        from.count = pass.counts[i] == A_LEAF ? 0 : pass.counts[i];
        from.next = 0;
        if (order[i]->code == USER || (reached && node_runs_python(order[i]))) done = send_by_python(&pass, &from);
        else if (reached && !IS_LEAF(order[i])) done = send_by_table(&pass, &from);
        from.operands += from.count;
    }
    for (Py_ssize_t i = 0; i < n && done == 0; i++) { /* no Python runs here */
        double g = pass.grads[i];
        if (pass.counts[i] != A_LEAF) order[i]->grad = is_nothing(g) ? 0.0 : g;
    }
    for (Py_ssize_t i = 0; i < pass.n_arrived && done == 0; i++)
        order[pass.arrived[i].place]->grad += pass.arrived[i].message;
    end_pass(&pass);
    return done;
}
