/* Where in the user's code a node is made: one annotation for all the nodes made at a place, from whose
   code and offset the line is told when it is asked for (see Annotation in annotations.py). */
#include "engine.h"
#include <frameobject.h>

static PyObject *package; /* with what the names of this package's files start */

void set_package(PyObject *prefix) {
    Py_INCREF(prefix);
    Py_XSETREF(package, prefix);
}

/* The offset of the running instruction in a frame's code, in bytes, as f_lasti gives it. */
static inline int offset_of(PyFrameObject *frame) {
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    return frame->f_lasti < 0 ? -1 : 2 * frame->f_lasti; /* counted in instructions */
#endif
}

/* The places met: a hash table with open addressing. It keeps what it holds alive, so that no address is of
   something else by now, and is thrown away when half full. */

typedef struct {
    PyObject *code, *groups; /* groups: an annotation, or NULL */
    PyObject *annotation;    /* NULL for code of this package: who calls it is looked at */
    int offset;
} Place;

enum { BITS = 12, SLOTS = 1 << BITS };

static Place *places = NULL;
static int n_places = 0;

/* Where a place is, or would be. */
static inline Place *slot_of(PyObject *code, int offset, PyObject *groups) {
    uint64_t key = ((uint64_t)(uintptr_t)code >> 4) + ((uint64_t)(uintptr_t)groups << 7);
    key += (uint64_t)offset << 20;
    uint32_t i = (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - BITS));
    for (;; i = (i + 1) % SLOTS) {
        Place *slot = &places[i];
        if (slot->code == NULL || (slot->code == code && slot->offset == offset && slot->groups == groups))
            return slot;
    }
}

static int note(PyObject *code, int offset, PyObject *groups, PyObject *annotation) {
    Place *before = NULL;
    if (places == NULL || n_places >= SLOTS / 2) {
        Place *empty = PyMem_Calloc(SLOTS, sizeof(Place));
        if (empty == NULL) return PyErr_NoMemory(), -1;
        before = places;
        places = empty;
        n_places = 0;
    }
    Place *slot = slot_of(code, offset, groups);
    if (slot->code == NULL) { /* else what ran meanwhile has noted it */
        Py_INCREF(code);
        Py_XINCREF(groups);
        Py_XINCREF(annotation);
        *slot = (Place){.code = code, .groups = groups, .annotation = annotation, .offset = offset};
        n_places++;
    }
    for (int i = 0; before != NULL && i < SLOTS; i++) { /* at the end, as other code can run */
        Py_XDECREF(before[i].code);
        Py_XDECREF(before[i].groups);
        Py_XDECREF(before[i].annotation);
    }
    PyMem_Free(before);
    return 0;
}

/* Whether code is of this package; -1 with an error. */
static int is_own(PyObject *code) {
    PyObject *file = ((PyCodeObject *)code)->co_filename;
    return package == NULL ? 0 : (int)PyUnicode_Tailmatch(file, package, 0, PY_SSIZE_T_MAX, -1);
}

/* A new annotation for code that runs. */
static PyObject *annotation_at(PyObject *code, int offset, PyObject *groups) {
    PyObject *place = Py_BuildValue("Oi", code, offset);
    PyObject *annotation = place == NULL ? NULL : new_annotation(NULL, groups, place);
    Py_XDECREF(place);
    return annotation;
}

/* What is known of a place, or found out now: *annotation is a new reference, NULL for the package's code. */
static inline int look_up(PyObject *code, int offset, PyObject *groups, PyObject **annotation) {
    Place *known = places == NULL ? NULL : slot_of(code, offset, groups);
    if (known != NULL && known->code != NULL) {
        Py_XINCREF(known->annotation);
        *annotation = known->annotation;
        return 0;
    }
    int own = is_own(code);
    *annotation = NULL;
    if (own < 0 || (!own && (*annotation = annotation_at(code, offset, groups)) == NULL)) return -1;
    if (note(code, offset, groups, *annotation) == 0) return 0;
    Py_CLEAR(*annotation);
    return -1;
}

int annotation_here(PyObject *groups, PyObject **annotation) {
    PyFrameObject *frame = PyEval_GetFrame();
    *annotation = NULL;
    if (frame == NULL) {
        if (PyEval_GetGlobals() != NULL) return PyErr_NoMemory(), -1; /* for the frame */
        /* else no Python runs in this thread */
        Py_XINCREF(groups);
        *annotation = groups;
        return 0;
    }
    Py_INCREF(frame);
    for (;;) {
        PyObject *code = (PyObject *)PyFrame_GetCode(frame);
        int offset = offset_of(frame), done = look_up(code, offset, groups, annotation);
        if (done == 0 && *annotation == NULL) {
            PyFrameObject *caller = PyFrame_GetBack(frame);
            if (caller != NULL) {
                Py_DECREF(code);
                Py_SETREF(frame, caller);
                continue;
            } /* else there is no memory, or no other code than the package's */
            if (!PyErr_Occurred()) *annotation = annotation_at(code, offset, groups);
            if (*annotation == NULL) done = -1;
        }
        Py_DECREF(code);
        Py_DECREF(frame);
        return done;
    }
}

/* The frame of the innermost running code outside of the package. */
static PyObject *users_frame(PyObject *module, PyObject *unused) {
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL) return PyErr_NoMemory(); /* for the frame: code of Python calls this */
    Py_INCREF(frame);
    for (;;) {
        PyObject *code = (PyObject *)PyFrame_GetCode(frame);
        int own = is_own(code);
        Py_DECREF(code);
        PyFrameObject *caller = own > 0 ? PyFrame_GetBack(frame) : NULL;
        if (own < 0 || PyErr_Occurred()) Py_CLEAR(frame);
        if (caller == NULL || frame == NULL) {
            Py_XDECREF(caller);
            return (PyObject *)frame;
        }
        Py_SETREF(frame, caller);
    }
}

static PyMethodDef FUNCTIONS[] = {
    {"users_frame", users_frame, METH_NOARGS, "Of code outside of the package: see chainrule.annotations."},
    {NULL, NULL, 0, NULL},
};

int add_lines(PyObject *module) { return PyModule_AddFunctions(module, FUNCTIONS); }
