/* What the files of the engine share: the node, and what each file gives the others.

   The engine is the C twin of rules.py, node.py and backpropagation.py: the same names in the same
   order. Everything rare (errors' words, names, arrays, contexts) stays in Python and is called from
   here through the hooks of module.c. */
#ifndef CHAINRULE_ENGINE_H
#define CHAINRULE_ENGINE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <structmember.h>

#ifdef _MSC_VER
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

/* node.c: what a node is */

typedef struct Node Node;

typedef struct {         /* what few nodes have */
    PyObject *operation; /* of a user's operation, else NULL */
    PyObject *rest;      /* a tuple of all operands, if these are not in a, b and constant; or NULL */
    PyObject *annotation; /* name, groups and line, or NULL */
    double constant;
    bool has_constant;
} More;

typedef struct { /* what a node has that has these two */
    PyObject *annotation;
    double constant;
} Noted;

enum { /* what `extra` is */
    EXTRA_NONE,
    EXTRA_CONSTANT,   /* the number among two operands */
    EXTRA_REST,       /* a tuple of all operands: of more than two, or of a user's own subclass */
    EXTRA_ANNOTATION, /* name, groups and line */
    EXTRA_NOTED,      /* a constant and an annotation */
    EXTRA_NUMBERED,   /* a number, and the annotation of a row of leaves: see leaves.c */
    EXTRA_MORE,       /* several of these otherwise, or a user's operation */
};

enum { /* flags */
    HAS_HEADER = 1, /* of the garbage collector, in front of it in memory */
    MAY_CYCLE = 2,  /* computed from what may be part of a cycle: a user's subclass or operation */
    ASKED = 4,      /* of a comparison: whether anything has used it; and of what else a trace has used */
    ESCAPED = 8,    /* of a comparison: whether it was used where only a bool would do */
};

struct Node {
    PyObject_HEAD
    double number;
    union {
        double grad;
        Node *next; /* while it waits to be freed */
    };
    Node *a, *b; /* operands: nodes, or NULL; a constant stands where its node would */
    union {
        double constant;
        PyObject *rest;
        PyObject *annotation;
        Noted *noted;
        More *more;
    };
    int64_t serial; /* grows with each node made and each number set: see node.py */
    int64_t level;  /* of the innermost transformation it depends on an input of */
    int32_t pending; /* edges from children not yet followed; 0 outside of a walk */
    uint16_t code;   /* of its operation in the table of rules.c; LEAF or USER besides */
    uint8_t extra;
    uint8_t flags;
};

extern PyTypeObject *NodeType, *OperationNodeType, *BinaryOpNodeType, *ReLUNodeType, *TanhNodeType, *PowOpType;
extern int64_t SERIAL;   /* the last that was given */
extern int64_t LAST_SET; /* the last that a node got as its number was set */

Py_ssize_t kept_nodes(void); /* how many freed nodes are kept for the next */
bool is_subclass_node(PyObject *x);
void node_dealloc(PyObject *self);
void node_free(void *self);
void free_in_child(void); /* after a fork: the thread that was freeing nodes may not be there any more */
int node_traverse(PyObject *self, visitproc visit, void *arg);
int node_clear(PyObject *self);
int node_is_gc(PyObject *self);
void forget(Node *node); /* operands, annotation and operation: it becomes a leaf */

/* Whether an object is a node. */
static inline bool is_node(PyObject *x) {
    return Py_TYPE(x)->tp_dealloc == node_dealloc || (!PyFloat_CheckExact(x) && is_subclass_node(x));
}

/* A float or an int as a number; what needs more care (other numbers, ints too large) is left to Python. */
static inline bool is_number(PyObject *x, double *number) {
    if (PyFloat_Check(x)) {
        *number = PyFloat_AS_DOUBLE(x);
        return true;
    }
    if (!PyLong_Check(x)) return false;
    *number = PyLong_AsDouble(x);
    if (*number != -1.0 || !PyErr_Occurred()) return true;
    PyErr_Clear();
    return false;
}

/* New references; NULL with an error. A NULL operand of `with_constant` is the constant. */
PyObject *new_unary(int code, double number, Node *a);
PyObject *new_binary(int code, double number, Node *a, Node *b);
PyObject *new_with_constant(int code, double number, Node *a, Node *b, double constant);
PyObject *new_from_tuple(int code, double number, PyObject *operands);
/* A node of any class of operations, with operands as OperationNode takes them, which are checked. */
PyObject *new_operation(PyTypeObject *type, PyObject *operation, double number, Node *a, Node *b, PyObject *rest);
int check_operands(int code, Node *a, Node *b, PyObject *rest);
/* The steps: a node without its rest, unknown to the collector and to contexts, and what completes it. */
Node *make_node(PyTypeObject *type, int code, double number, Node *a, Node *b, uint8_t cycle);
PyObject *finished_node(Node *node);
/* Set the rest of the operands (a float, a tuple of all, or None); -1 with an error. */
int set_rest_of(Node *node, PyObject *rest);
/* Give a node another annotation, or none (NULL); -1 with an error. */
int set_annotation_of(Node *node, PyObject *annotation);
/* _replace(operands): other operands, as many as there are, kept in the same way. */
PyObject *node_replace(PyObject *self, PyObject *operands);

/* The operands in order, nodes and constants, whatever they are kept in. */
static inline PyObject *rest_of(const Node *node) {
    return node->extra == EXTRA_REST ? node->rest : node->extra == EXTRA_MORE ? node->more->rest : NULL;
}
static inline bool has_constant(const Node *node) {
    return node->extra == EXTRA_CONSTANT || node->extra == EXTRA_NOTED ||
           (node->extra == EXTRA_MORE && node->more->has_constant);
}
static inline double constant_of(const Node *node) {
    return node->extra == EXTRA_NOTED  ? node->noted->constant
           : node->extra == EXTRA_MORE ? node->more->constant
                                       : node->constant;
}
static inline PyObject *annotation_of(const Node *node) {
    return node->extra == EXTRA_ANNOTATION ? node->annotation
           : node->extra == EXTRA_NOTED    ? node->noted->annotation
           : node->extra == EXTRA_NUMBERED ? node->noted->annotation
           : node->extra == EXTRA_MORE     ? node->more->annotation
                                           : NULL;
}
static inline Py_ssize_t operand_count(const Node *node) {
    PyObject *rest = rest_of(node);
    if (rest != NULL) return PyTuple_GET_SIZE(rest);
    return (node->a != NULL) + (node->b != NULL) + has_constant(node);
}
/* The operand at a position if it is a node, NULL if it is a constant. */
static inline Node *operand_node(const Node *node, Py_ssize_t i) {
    PyObject *rest = rest_of(node);
    if (rest != NULL) {
        PyObject *operand = PyTuple_GET_ITEM(rest, i);
        return is_node(operand) ? (Node *)operand : NULL;
    }
    return i == 0 ? node->a : node->b;
}
static inline double operand_number(const Node *node, Py_ssize_t i) {
    Node *operand = operand_node(node, i);
    if (operand != NULL) return operand->number;
    PyObject *rest = rest_of(node);
    return rest != NULL ? PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(rest, i)) : constant_of(node);
}
/* A leaf: neither an operation's node, nor a user's own with parents. */
#define IS_LEAF(node) ((node)->code == LEAF && rest_of(node) == NULL)

/* leaves.c: leaves in bulk */

/* Before an annotation is read or replaced: give a node the one that its number in a row of leaves stands for;
   -1 with an error. */
int tell_name(Node *node);

/* attributes.c: what Python reads and sets of a node */

extern PyGetSetDef NODE_ATTRIBUTES[];
extern PyMemberDef NODE_MEMBERS[];

/* rules.c: the table. A code is a row's place in it. */

enum {
    LEAF, /* no operation: a leaf, or a user's own subclass with parents */
    ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, NEGATIVE, RELU, TANH, EXP, LOG, SQRT, SIN, COS,
    OTHERS, /* the others of the table, in its order; see rules.c */
    USER = 0xFFFF, /* a user's operation: more->operation */
};

enum { PICKS = 1, NATIVE = 2, PASSES = 4 }; /* properties of a row: as in rules.py; native: no Python runs */

/* The code of an operation (an instance of rules.Operation): USER for one that is not of the table. */
int code_of(PyObject *operation);
/* The code of a row by its name; -1 if there is none. Known before any operation is registered. */
int code_named(const char *name);
PyObject *operation_at(int code); /* the rules.Operation of a row (borrowed) */
/* The rules.Operation of a node (borrowed), NULL for LEAF. */
PyObject *operation_of(const Node *node);
int properties_of(int code); /* 0 for USER and LEAF */
/* Whether the local gradient by the operand at a position is 0 by rule, and is never sent. */
bool ignores(int code, Py_ssize_t position);
/* The value for numbers: -1 with an error. Only of a row that is not native can Python run. */
int rule_value(int code, const double *x, Py_ssize_t count, double *value);
/* The local gradient of a native row by one operand. y is the value, x the operands. Never fails. */
double local_gradient(int code, Py_ssize_t position, double y, const double *x, Py_ssize_t count);

/* functions.c: elementary functions of floats, the twin of ieee.py and special.py, in functions.h */

/* walk.c: order and backpropagation, the twin of backpropagation.py */

/* Nodes from some roots down, in topological order (children first), only of a level or deeper ones:
   an array of borrowed pointers in *order, to be freed with PyMem_Free. Returns their number, or -1 with
   an error (a cycle, no memory). No Python runs, and all marks are 0 again. */
Py_ssize_t topological_order(Node *const *roots, Py_ssize_t n_roots, int64_t level, Node ***order);
/* The functions of backpropagation.py; -1 with an error. */
int backward(Node *root, double seed);
/* The methods of Node. */
PyObject *node_sorted_nodes(PyObject *self, PyObject *unused);
PyObject *node_backward(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);

/* contexts.c: what new nodes take from where they are made */

extern int CONTEXTS; /* how many contexts that concern new nodes are open, in all threads */
/* Give a new node what the open contexts say, check it; -1 with an error. Called if CONTEXTS. */
int enter_contexts(Node *node);
/* Name a node, None for no name; -1 with an error. Its groups and its line stay. */
int set_name(Node *node, PyObject *name);
/* The level from which on nodes depend on an input of the trace that records in this thread; 0 if none does. */
int64_t recorded_level(void);
/* The level of the innermost transformation of this thread; 0 for none. */
int64_t innermost_level(void);
void innermost_is(int64_t level);
/* What a comparison gives that a trace records, with operands as OperationNode takes them. */
PyObject *new_condition(int code, double value, Node *a, Node *b, PyObject *rest);
/* Whether the caller is inside detect_anomaly; -1 with an error. */
int detecting_anomaly(void);
/* A new Annotation: name and place can be NULL, groups NULL or an annotation with these groups. */
PyObject *new_annotation(PyObject *name, PyObject *groups, PyObject *place);

/* lines.c: where in the user's code nodes are made */

/* The annotation (a new reference; NULL for none) of nodes made here and now in some groups (an annotation with
   these, or NULL); -1 with an error. */
int annotation_here(PyObject *groups, PyObject **annotation);
void set_package(PyObject *prefix); /* with what the names of this package's files start */

/* operators.c: the number protocol, comparisons, and the methods of one operand */

extern PyMethodDef NODE_METHODS[];
void add_operator_slots(PyType_Slot *slots);      /* to the slots of Node */
PyObject *apply_unary(int code, Node *a);         /* the node of an operation of one operand */
PyObject *apply_whole(int code, Node *a);         /* of floor, ceil or trunc */
/* Whether two nodes give a BinaryOpNode. */
bool is_operator(int code);

/* arguments.c */

/* Whether a level is 0 or a key of a dict of the levels open in this thread; -1 with an error. */
int is_open(PyObject *open, int64_t level);
/* The gradient of a function of a few numbers: see gradient_at of differentiation.py. */
PyObject *gradient_of(PyObject *form, PyObject *args, Py_ssize_t place, PyObject *name, int64_t level, PyObject *open,
                      bool keep);

/* release.c: put their inputs in the place of the values in a list, for a transformation that has opened a level; -1
   with an error. */
int make_inputs(PyObject *values, int64_t level);

/* closed_gradient.c: a list of what the gradient and the value of an output are after its level is closed; NULL with
   an error, or without one where that is left to Python. */
PyObject *gradient_closed(PyObject *output, PyObject *inputs, int64_t level, PyObject *open);

/* module.c: functions of Python's side, by name; set when chainrule.node is imported */

#define HOOK_NAMES(H) \
    H(keep_users_frames) /* (error): take the package's frames out of its traceback */ \
    H(apply)             /* (operation, operands): any operation of anything */ \
    H(with_other)        /* (node, other, symbol, swapped): an operator with what is no float or int */ \
    H(compared)          /* (node, other, symbol): with a traced node, in a context, or with what is no number */ \
    H(fill)              /* (node, data, parents, name, **unknown): a leaf of anything but a float alone */ \
    H(set_parents)       /* (node, parents) */ \
    H(sorted_nodes) H(backward) /* the methods, where there are levels, contexts, or odd seeds */ \
    H(data_of_traced) H(grad_of_traced) H(hash_of_traced) /* (node): in a context, or with a level */ \
    H(data_to_set) H(grad_to_set) /* (node, value): the float, for all but a leaf and a float */ \
    H(operator_of)       /* (symbol): the operation */ \
    H(check_node)        /* (x): TypeError for what is no node */ \
    H(to_float)          /* (x, what): the float, or TypeError */

extern struct Hooks {
#define H(name) PyObject *name;
    HOOK_NAMES(H)
#undef H
} HOOKS;
/* A call of a hook; the frames of the package are taken out of its error's traceback. */
PyObject *call_hook(PyObject *function, PyObject *const *args, size_t n);
PyObject *call_hook_with(PyObject *function, PyObject *args, PyObject *kwargs);
/* Take the frames of the package out of the traceback of the error that is set. Returns NULL. */
PyObject *failed(void);
/* The arguments of a vectorcall as those of a call: new references, NULL for no dict; -1 with an error. */
int tuple_and_dict(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **tuple, PyObject **kwargs);

/* Each file adds its types and functions to the module; -1 with an error. */
int add_classes(PyObject *module);    /* classes.c */
int add_operators(PyObject *module);  /* operators.c */
int add_rules(PyObject *module);      /* rules.c */
int add_walk(PyObject *module);       /* walk_functions.c */
int add_copying(PyObject *module);    /* copying.c */
int add_leaves(PyObject *module);     /* leaves.c */
int add_passes(PyObject *module);     /* passes.c */
int add_recording(PyObject *module);  /* recording.c */
int add_points(PyObject *module);     /* points.c */
int add_repeats(PyObject *module);    /* repeats.c */
int add_numbering(PyObject *module);  /* numbering.c */
int add_contexts(PyObject *module);   /* contexts.c */
int add_dispatch(PyObject *module);   /* dispatch.c */
int add_arguments(PyObject *module);  /* arguments.c */
int add_lines(PyObject *module);      /* lines.c */
int add_elements(PyObject *module);   /* elements.c */
int add_notes(PyObject *module);      /* notes.c */
int add_gradients(PyObject *module);  /* gradients.c */

#endif
