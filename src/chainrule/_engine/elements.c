/* Elements of NumPy's arrays: reading them by plain whole numbers goes straight to NumPy, as loops do so often;
   a class of arrays says what other keys mean. */
#include "engine.h"

static PyTypeObject *array_type;
static binaryfunc array_element; /* NumPy's own */
static PyObject *element_name;

static inline bool is_plain_key(PyObject *key) { return PyLong_CheckExact(key) || PySlice_Check(key); }

static PyObject *element(PyObject *self, PyObject *key) {
    bool plain = is_plain_key(key);
    if (PyTuple_CheckExact(key)) {
        plain = true;
        for (Py_ssize_t i = 0; plain && i < PyTuple_GET_SIZE(key); i++) plain = is_plain_key(PyTuple_GET_ITEM(key, i));
    }
    if (plain && array_type != NULL && PyObject_TypeCheck(self, array_type)) return array_element(self, key);
    return PyObject_CallMethodOneArg(self, element_name, key);
}

/* set_array_type(ndarray): once. */
static PyObject *set_array_type(PyObject *module, PyObject *type) {
    if (!PyType_Check(type) || ((PyTypeObject *)type)->tp_as_mapping == NULL)
        return PyErr_Format(PyExc_TypeError, "expected a type of arrays");
    Py_INCREF(type);
    Py_XSETREF(array_type, (PyTypeObject *)type);
    array_element = ((PyTypeObject *)type)->tp_as_mapping->mp_subscript;
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"set_array_type", set_array_type, METH_O, "NumPy's ndarray."},
    {NULL, NULL, 0, NULL},
};

int add_elements(PyObject *module) {
    PyType_Slot slots[] = {{Py_mp_subscript, element}, {0, NULL}};
    PyType_Spec spec = {.name = "chainrule._engine.ElementReader", .basicsize = sizeof(PyObject),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    if ((element_name = PyUnicode_InternFromString("_element")) == NULL) return -1;
    PyObject *type = PyModule_AddFunctions(module, FUNCTIONS) < 0 ? NULL : PyType_FromSpec(&spec);
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "ElementReader", type);
}
