/* What a node is: how it is made, what it holds, and how it is freed. The twin of node.py. */
#include "rules.h"

PyTypeObject *NodeType, *OperationNodeType, *BinaryOpNodeType, *ReLUNodeType, *TanhNodeType, *PowOpType;
int64_t SERIAL = 0;
int64_t LAST_SET = 0;

bool is_subclass_node(PyObject *x) {
    return NodeType != NULL && PyType_IsSubtype(Py_TYPE(x), NodeType);
}

/* Memory. Nodes that cannot be part of a cycle have no header of the garbage collector, which then
   never looks at them. Those that were freed are kept for the next ones, up to 20 MB of them: the memory
   of a graph that is built anew again and again (as in training) then stays mapped. */

#ifndef MOST_FREE
#if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__) /* which sees uses of what was freed */
#define MOST_FREE 0
#else
#define MOST_FREE 262144
#endif
#endif
static Node *free_nodes = NULL; /* linked by `next` */
static int n_free = 0;

Py_ssize_t kept_nodes(void) { return n_free; }

static inline Node *without_header(PyTypeObject *type) {
    Node *node = free_nodes;
    if (node != NULL) {
        free_nodes = node->next;
        n_free--;
    } else if ((node = PyObject_Malloc(sizeof(Node))) == NULL) {
        return (Node *)PyErr_NoMemory();
    }
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

void forget(Node *node) {
    PyObject *a = (PyObject *)node->a, *b = (PyObject *)node->b;
    PyObject *held = node->extra == EXTRA_REST ? node->rest : node->extra == EXTRA_ANNOTATION ? node->annotation : NULL;
    More *more = node->extra == EXTRA_MORE ? node->more : NULL;
    Noted *noted = node->extra == EXTRA_NOTED || node->extra == EXTRA_NUMBERED ? node->noted : NULL;
    node->a = node->b = NULL;
    node->extra = EXTRA_NONE;
    node->code = LEAF;
    Py_XDECREF(a);
    Py_XDECREF(b);
    Py_XDECREF(held);
    if (noted != NULL) {
        Py_DECREF(noted->annotation);
        PyMem_Free(noted);
    }
    if (more != NULL) {
        Py_XDECREF(more->operation);
        Py_XDECREF(more->rest);
        Py_XDECREF(more->annotation);
        PyMem_Free(more);
    }
}

/* The memory of a node. As no class of Python has this in its tp_free, `node.__class__ = UsersOwn`, which
   would need a header, is a TypeError. */
void node_free(void *self) {
    Node *node = self;
    if (node->flags & HAS_HEADER) {
        PyObject_GC_Del(node);
    } else if (n_free < MOST_FREE) {
        node->next = free_nodes;
        free_nodes = node;
        n_free++;
    } else {
        PyObject_Free(node);
    }
}

/* Freeing a node frees its parents: one after the other, as a long chain would overflow the stack if
   each freed the next. */
#ifdef Py_GIL_DISABLED
static THREAD_LOCAL Node *waiting = NULL;
static THREAD_LOCAL bool freeing = false;
#else
static Node *waiting = NULL;
static bool freeing = false;
#endif

void node_dealloc(PyObject *self) {
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
        node_free(node);
        Py_DECREF(type);
    }
    freeing = false;
}

void free_in_child(void) { freeing = false; }

int node_is_gc(PyObject *self) { return ((Node *)self)->flags & HAS_HEADER; }

int node_traverse(PyObject *self, visitproc visit, void *arg) {
    Node *node = (Node *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(node->a);
    Py_VISIT(node->b);
    Py_VISIT(rest_of(node));
    Py_VISIT(annotation_of(node));
    if (node->extra == EXTRA_MORE) Py_VISIT(node->more->operation);
    return 0;
}

int node_clear(PyObject *self) {
    forget((Node *)self);
    return 0;
}

/* Building */

Node *make_node(PyTypeObject *type, int code, double number, Node *a, Node *b, uint8_t cycle) {
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
PyObject *finished_node(Node *node) {
    if (node->flags & HAS_HEADER) PyObject_GC_Track(node);
    if (CONTEXTS && enter_contexts(node) < 0) Py_CLEAR(node);
    return (PyObject *)node;
}

static inline PyTypeObject *type_of_unary(int code) {
    return code == TANH ? TanhNodeType : code == RELU ? ReLUNodeType : OperationNodeType;
}

PyObject *new_unary(int code, double number, Node *a) {
    Node *node = make_node(type_of_unary(code), code, number, a, NULL, 0);
    return node == NULL ? NULL : finished_node(node);
}

PyObject *new_binary(int code, double number, Node *a, Node *b) {
    Node *node = make_node(is_operator(code) ? BinaryOpNodeType : OperationNodeType, code, number, a, b, 0);
    return node == NULL ? NULL : finished_node(node);
}

PyObject *new_with_constant(int code, double number, Node *a, Node *b, double constant) {
    Node *node = make_node(code == POWER && b == NULL ? PowOpType : OperationNodeType, code, number, a, b, 0);
    if (node == NULL) return NULL;
    node->extra = EXTRA_CONSTANT;
    node->constant = constant;
    return finished_node(node);
}

/* Whether operands are as an operation has them: a node or two, or a node and a number, or a tuple of more.
   Of what Python hands over; 0, or -1 with an error. */
int check_operands(int code, Node *a, Node *b, PyObject *rest) {
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
    if (code != LEAF && code != USER) {
        right = right && takes(code, count);
        if (right && TABLE[code].count != ANY)
            for (Py_ssize_t i = 0; i < count; i++) {
                bool node = tuple ? is_node(PyTuple_GET_ITEM(rest, i)) : (i == 0 ? a : b) != NULL;
                if (node && TABLE[code].rules[i].length == 0) right = false; /* it must be a number */
            }
    }
    if (right) return 0;
    PyErr_SetString(PyExc_TypeError, "these are not the operands of such a node; make operations with"
                                     " operators and functions");
    return -1;
}

/* Attach an annotation to a node, or none (NULL), instead of the one it has; -1 with an error. */
int set_annotation_of(Node *node, PyObject *annotation) {
    if (tell_name(node) < 0) return -1;
    PyObject *before = annotation_of(node);
    if (annotation != NULL && node->extra == EXTRA_CONSTANT) {
        Noted *noted = PyMem_Malloc(sizeof(Noted));
        if (noted == NULL) return PyErr_NoMemory(), -1;
        *noted = (Noted){.annotation = annotation, .constant = node->constant};
        node->noted = noted;
        node->extra = EXTRA_NOTED;
    } else if (annotation != NULL && node->extra == EXTRA_REST) {
        More *more = PyMem_Calloc(1, sizeof(More));
        if (more == NULL) return PyErr_NoMemory(), -1;
        more->rest = node->rest;
        more->annotation = annotation;
        node->more = more;
        node->extra = EXTRA_MORE;
    } else if (node->extra == EXTRA_NOTED) {
        Noted *noted = node->noted;
        noted->annotation = annotation;
        if (annotation == NULL) {
            node->extra = EXTRA_CONSTANT;
            node->constant = noted->constant;
            PyMem_Free(noted);
        }
    } else if (node->extra == EXTRA_MORE) {
        node->more->annotation = annotation;
    } else if (node->extra == EXTRA_ANNOTATION || annotation != NULL) {
        node->extra = annotation == NULL ? EXTRA_NONE : EXTRA_ANNOTATION;
        node->annotation = annotation;
    }
    Py_XINCREF(annotation);
    Py_XDECREF(before);
    return 0;
}

/* Set the rest of the operands: a constant, a tuple of all, or None; -1 with an error. */
int set_rest_of(Node *node, PyObject *rest) {
    if (tell_name(node) < 0) return -1;
    bool constant = PyFloat_Check(rest);
    double number = constant ? PyFloat_AS_DOUBLE(rest) : 0.0;
    PyObject *tuple = constant || rest == Py_None ? NULL : Py_NewRef(rest);
    if (node->extra == EXTRA_MORE) {
        PyObject *before = node->more->rest;
        node->more->rest = tuple;
        node->more->constant = number;
        node->more->has_constant = constant;
        Py_XDECREF(before);
        return 0;
    }
    PyObject *annotation = Py_XNewRef(annotation_of(node));
    Node before = {.extra = node->extra, .constant = node->constant}; /* the widest, so all of it */
    node->extra = tuple != NULL ? EXTRA_REST : constant ? EXTRA_CONSTANT : EXTRA_NONE;
    if (constant) node->constant = number;
    else node->rest = tuple;
    if (annotation != NULL && set_annotation_of(node, annotation) < 0) {
        node->extra = before.extra;
        node->constant = before.constant;
        Py_XDECREF(tuple);
        Py_DECREF(annotation);
        return -1;
    }
    forget(&before);
    Py_XDECREF(annotation);
    return 0;
}

/* A node of any class of operations, with operands as OperationNode takes them. */
PyObject *new_operation(PyTypeObject *type, PyObject *operation, double number, Node *a, Node *b,
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
    Node *node = make_node(type, code, number, a, b, cycle);
    if (node == NULL) return NULL;
    if (level > node->level) node->level = level;
    if (code == USER) {
        node->code = LEAF; /* until it has its operation */
        More *more = PyMem_Calloc(1, sizeof(More));
        if (more == NULL) {
            Py_DECREF(node);
            return PyErr_NoMemory();
        }
        more->operation = Py_NewRef(operation);
        node->more = more;
        node->extra = EXTRA_MORE;
        node->code = USER;
    }
    if (rest != Py_None && set_rest_of(node, rest) < 0) {
        Py_DECREF(node);
        return NULL;
    }
    return finished_node(node);
}

/* A node of several operands, numbers among them as floats. */
PyObject *new_from_tuple(int code, double number, PyObject *operands) {
    PyObject *operation = operation_at(code);
    return new_operation(OperationNodeType, operation, number, NULL, NULL, operands);
}

/* _replace(operands): other operands, as many as there are, kept in the same way. */
PyObject *node_replace(PyObject *self, PyObject *given) {
    PyObject *rest = Py_None, *operands = PySequence_Tuple(given); /* Python may run */
    if (operands == NULL) return NULL;
    Node *node = (Node *)self, *places[] = {NULL, NULL}, *before[] = {node->a, node->b};
    Py_ssize_t count = PyTuple_GET_SIZE(operands);
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
        right = set_rest_of(node, rest) == 0;
        if (right) {
            node->a = places[0];
            node->b = places[1];
        }
        for (int i = 0; i < 2; i++) Py_XDECREF(right ? before[i] : places[i]);
    }
    Py_DECREF(operands);
    return right ? Py_NewRef(Py_None) : NULL;
}
