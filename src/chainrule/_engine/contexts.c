/* What new nodes take from where they are made: the level of a trace, groups, a line, checks. The twin of
   _enter_contexts in node.py, and of _Active in annotations.py. */
#include "engine.h"
#include <math.h>

/* Context variables, and how many contexts are open that set them, in all threads: one that nobody has set
   is not asked, which would cost more than the rest. */

static struct Variable {
    PyObject *variable;
    int open;
} groups, lines, anomaly, raising;

static struct Variable *const VARIABLES[] = {&groups, &lines, &anomaly, &raising};
enum { N_VARIABLES = 4 };

int CONTEXTS = 0;

static PyObject *count(PyObject *const *args, Py_ssize_t n, int step) {
    if (n > 1) return PyErr_Format(PyExc_TypeError, "a context is of one variable, not %zd", n);
    for (int i = 0; n == 1 && i < N_VARIABLES; i++)
        if (VARIABLES[i]->variable == args[0]) VARIABLES[i]->open += step;
    CONTEXTS += step;
    Py_RETURN_NONE;
}

static PyObject *enter(PyObject *self, PyObject *const *args, Py_ssize_t n) { return count(args, n, 1); }
static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t n) { return count(args, n, -1); }
static PyObject *get_contexts(PyObject *self, void *closure) { return PyLong_FromLong(CONTEXTS); }

/* The value of a variable (a new reference; NULL for None and where it is not asked); -1 with an error. */
static inline int ask(const struct Variable *of, PyObject **value) {
    *value = NULL;
    if (of->open == 0) return 0;
    if (PyContextVar_Get(of->variable, NULL, value) < 0) return -1;
    if (*value == Py_None) Py_CLEAR(*value);
    return 0;
}

/* Whether a variable is True; -1 with an error. */
static inline int holds(const struct Variable *of) {
    PyObject *value;
    if (ask(of, &value) < 0) return -1;
    bool held = value == Py_True;
    Py_XDECREF(value);
    return held;
}

static PyObject *get(PyObject *self, PyObject *variable) {
    PyObject *value = NULL;
    for (int i = 0; i < N_VARIABLES; i++)
        if (VARIABLES[i]->variable == variable && ask(VARIABLES[i], &value) < 0) return NULL;
    return value != NULL ? value : Py_NewRef(Py_None);
}

int detecting_anomaly(void) { return holds(&anomaly); }

static PyMethodDef ACTIVE_METHODS[] = {
    {"enter", (PyCFunction)(void (*)(void))enter, METH_FASTCALL, NULL},
    {"leave", (PyCFunction)(void (*)(void))leave, METH_FASTCALL, NULL},
    {"get", get, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ACTIVE_ATTRIBUTES[] = {
    {"contexts", get_contexts, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject ActiveType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chainrule._engine.Active",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = ACTIVE_METHODS,
    .tp_getset = ACTIVE_ATTRIBUTES,
};

/* Levels of this thread: from which on nodes are recorded, and that of the innermost transformation */

static THREAD_LOCAL int64_t recorded = 0, innermost = 0;

int64_t recorded_level(void) { return recorded; }
int64_t innermost_level(void) { return innermost; }
void innermost_is(int64_t level) { innermost = level; }

static PyObject *set_level(int64_t *level, PyObject *given) {
    int64_t number = PyLong_AsLongLong(given);
    if (number == -1 && PyErr_Occurred()) return NULL;
    *level = number;
    Py_RETURN_NONE;
}

static PyObject *set_recorded_level(PyObject *module, PyObject *level) { return set_level(&recorded, level); }
static PyObject *set_innermost_level(PyObject *module, PyObject *level) { return set_level(&innermost, level); }

/* Of a trace a node is computed anew at each call, and what it is computed from has been used: comparisons,
   which look at the mark, and others, which do not. */
static inline void record(Node *node) {
    if (node->level < recorded) node->level = recorded;
    PyObject *rest = rest_of(node);
    if (rest == NULL) {
        if (node->a != NULL) node->a->flags |= ASKED;
        if (node->b != NULL) node->b->flags |= ASKED;
        return;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rest); i++) {
        Node *operand = operand_node(node, i);
        if (operand != NULL) operand->flags |= ASKED;
    }
}

static PyObject *get_mark(PyObject *self, void *mark) {
    return PyBool_FromLong(((Node *)self)->flags & (uintptr_t)mark);
}

static int set_mark(PyObject *self, PyObject *value, void *mark) {
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "this attribute of a comparison can't be deleted");
        return -1;
    }
    int wanted = PyObject_IsTrue(value);
    if (wanted < 0) return -1;
    Node *node = (Node *)self;
    if (wanted) node->flags |= (uint8_t)(uintptr_t)mark;
    else node->flags &= (uint8_t)~(uintptr_t)mark;
    return 0;
}

static PyGetSetDef MARKS[] = {
    {"asked", get_mark, set_mark, NULL, (void *)ASKED},
    {"escaped", get_mark, set_mark, NULL, (void *)ESCAPED},
};

/* Give the class of comparisons its attributes, which are marks of the node. */
static int add_marks(PyTypeObject *condition) {
    for (int i = 0; i < 2; i++) {
        PyObject *attribute = PyDescr_NewGetSet(condition, &MARKS[i]);
        if (attribute == NULL) return -1;
        int done = PyObject_SetAttrString((PyObject *)condition, MARKS[i].name, attribute);
        Py_DECREF(attribute);
        if (done < 0) return -1;
    }
    return 0;
}

/* What Python's side gives */

static PyObject *annotation_class; /* Annotation of annotations.py */
static PyObject *check;            /* (node): raise for a value that is not finite */
static PyObject *noted;            /* (condition): what a comparison gives in a trace */
static PyTypeObject *condition_class;

static PyObject *set_context_hooks(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"groups", "lines",   "anomaly",   "raising", "annotation",
                            "check",  "noted", "package", "condition", NULL};
    PyObject **kept[] = {&groups.variable,  &lines.variable, &anomaly.variable,
                         &raising.variable, &annotation_class, &check, &noted};
    enum { N_KEPT = 7 };
    PyObject *given[N_KEPT] = {NULL}, *package = NULL, *condition = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOOOOUO!", names, &given[0], &given[1], &given[2],
                                     &given[3], &given[4], &given[5], &given[6], &package, &PyType_Type, &condition))
        return NULL;
    for (int i = 0; i < N_VARIABLES; i++)
        if (given[i] != NULL && !PyContextVar_CheckExact(given[i]))
            return PyErr_Format(PyExc_TypeError, "%s is no context variable", names[i]);
    if (condition != NULL && !PyType_IsSubtype((PyTypeObject *)condition, NodeType))
        return PyErr_Format(PyExc_TypeError, "a condition is a node");
    if (condition != NULL && add_marks((PyTypeObject *)condition) < 0) return NULL;
    if (condition != NULL) Py_XSETREF(condition_class, (PyTypeObject *)Py_NewRef(condition));
    for (int i = 0; i < N_KEPT; i++)
        if (given[i] != NULL) {
            Py_INCREF(given[i]);
            Py_XSETREF(*kept[i], given[i]);
        }
    if (package != NULL) set_package(package);
    Py_RETURN_NONE;
}

/* Comparisons */

PyObject *new_condition(int code, double value, Node *a, Node *b, PyObject *rest) {
    if (condition_class == NULL || noted == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the engine has no class of comparisons");
    PyObject *node = new_operation(condition_class, operation_at(code), value, a, b, rest);
    PyObject *found = node == NULL ? NULL : call_hook(noted, &node, 1);
    Py_XDECREF(node);
    return found;
}

/* Annotations */

PyObject *new_annotation(PyObject *name, PyObject *grouped, PyObject *place) {
    if (annotation_class == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the engine has no class of annotations");
        return NULL;
    }
    PyObject *names = grouped == NULL ? PyTuple_New(0) : PyObject_GetAttrString(grouped, "groups");
    if (names == NULL) return NULL;
    if (name == NULL) name = Py_None;
    if (place == NULL) place = Py_None;
    PyObject *made = PyObject_CallFunctionObjArgs(annotation_class, name, names, place, NULL);
    Py_DECREF(names);
    return made;
}

static int annotate(Node *node, bool with_line) {
    PyObject *annotation, *grouped;
    int done = ask(&groups, &grouped);
    if (done == 0 && with_line) {
        done = annotation_here(grouped, &annotation);
        Py_XDECREF(grouped);
    } else {
        annotation = grouped; /* shared by all nodes of these groups */
    }
    if (annotation != NULL) done = set_annotation_of(node, annotation);
    Py_XDECREF(annotation);
    return done;
}

/* A value that is not finite, of an operation or of a user's own node: is that an error here? */
static int check_value(Node *node, bool is_anomaly) {
    int asked = is_anomaly ? 1 : holds(&raising);
    if (asked <= 0 || check == NULL) return asked < 0 ? -1 : 0;
    PyObject *self = (PyObject *)node, *done = call_hook(check, &self, 1);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int enter_contexts(Node *node) {
    if (recorded) record(node);
    int is_anomaly = holds(&anomaly), with_line = is_anomaly ? is_anomaly : holds(&lines);
    if (with_line < 0 || annotate(node, with_line) < 0) return -1;
    return isfinite(node->number) || IS_LEAF(node) ? 0 : check_value(node, is_anomaly);
}

/* A name comes in addition. */
int set_name(Node *node, PyObject *name) {
    PyObject *old = Py_XNewRef(annotation_of(node)), *annotation;
    if (old != NULL) annotation = PyObject_CallMethod(old, "named", "O", name);
    else annotation = new_annotation(name, NULL, NULL);
    Py_XDECREF(old);
    int done = annotation == NULL ? -1 : set_annotation_of(node, annotation);
    Py_XDECREF(annotation);
    return done;
}

static PyObject *enter_contexts_of(PyObject *module, PyObject *args) {
    PyObject *node, *name;
    if (!PyArg_ParseTuple(args, "O!O:_enter_contexts", NodeType, &node, &name)) return NULL;
    if (CONTEXTS && enter_contexts((Node *)node) < 0) return NULL;
    if (name != Py_None && set_name((Node *)node, name) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_context_hooks", (PyCFunction)(void (*)(void))set_context_hooks, METH_VARARGS | METH_KEYWORDS, NULL},
    {"set_recorded_level", set_recorded_level, METH_O, NULL},
    {"set_innermost_level", set_innermost_level, METH_O, NULL},
    {"enter_contexts", enter_contexts_of, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int add_contexts(PyObject *module) {
    if (PyType_Ready(&ActiveType) < 0 || PyModule_AddFunctions(module, FUNCTIONS) < 0) return -1;
    PyObject *active = PyObject_New(PyObject, &ActiveType);
    int done = active == NULL ? -1 : PyModule_AddObjectRef(module, "ACTIVE", active);
    Py_XDECREF(active);
    return done;
}
