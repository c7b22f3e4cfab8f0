/* Arrays that grow and that Python can look into, and tables of pointers. */
#include "columns.h"

static PyTypeObject *ColumnType;

Column *new_column(Py_ssize_t item, const char *format) {
    Column *column = PyObject_New(Column, ColumnType);
    if (column == NULL) return NULL;
    column->data = NULL;
    column->count = column->capacity = column->views = 0;
    column->item = item;
    column->format = format;
    return column;
}

static void column_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(((Column *)self)->data);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int column_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    Column *column = (Column *)self;
    static char nothing[8];
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "the arrays of a recording are read-only");
        view->obj = NULL;
        return -1;
    }
    view->obj = Py_NewRef(self);
    view->buf = column->data == NULL ? nothing : column->data;
    view->len = column->count * column->item;
    view->readonly = 1;
    view->itemsize = column->item;
    view->format = flags & PyBUF_FORMAT ? (char *)column->format : NULL;
    view->ndim = 1;
    view->shape = flags & PyBUF_ND ? &column->count : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &column->item : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    column->views++;
    return 0;
}

static void column_releasebuffer(PyObject *self, Py_buffer *view) { ((Column *)self)->views--; }

int is_free(const Column *column) {
    if (column->views == 0) return 0;
    PyErr_SetString(PyExc_BufferError, "a recording can't change while a view of one of its arrays is held");
    return -1;
}

int reserve(Column *column, Py_ssize_t more) {
    if (is_free(column) < 0) return -1;
    Py_ssize_t needed = column->count + more;
    if (needed <= column->capacity) return 0;
    if (needed > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a recording has less than 2**31 rows");
        return -1;
    }
    Py_ssize_t grown = column->capacity + column->capacity / 8 + 16;
    Py_ssize_t capacity = needed > grown ? needed : grown;
    char *data = PyMem_Realloc(column->data, (size_t)(capacity * column->item));
    if (data == NULL) return PyErr_NoMemory(), -1;
    column->data = data;
    column->capacity = capacity;
    return 0;
}

int add_columns(void) {
    PyType_Slot slots[] = {
        {Py_tp_dealloc, column_dealloc},
        {Py_bf_getbuffer, column_getbuffer},
        {Py_bf_releasebuffer, column_releasebuffer},
        {0, NULL},
    };
    PyType_Spec spec = {.name = "chainrule._engine.Column", .basicsize = sizeof(Column),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, .slots = slots};
    ColumnType = (PyTypeObject *)PyType_FromSpec(&spec);
    return ColumnType == NULL ? -1 : 0;
}

/* Tables */

Entry *entry_of(const Table *table, const void *key) {
    uint64_t address = (uint64_t)(uintptr_t)key;
    size_t i = (size_t)((address >> 10) * 0x9E3779B97F4A7C15u >> 20 << 6) | (address >> 4 & 63);
    for (i &= table->size - 1; table->entries[i].key != NULL && table->entries[i].key != key;)
        i = (i + 1) & (table->size - 1);
    return &table->entries[i];
}

int32_t found_in(const Table *table, const void *key) {
    if (table->size == 0) return -1;
    Entry *entry = entry_of(table, key);
    return entry->key == NULL ? -1 : entry->value;
}

int reserve_keys(Table *table, size_t more) {
    size_t size = table->size == 0 ? 16 : table->size;
    while (2 * (table->count + more) > size) size *= 2;
    if (size == table->size) return 0;
    Table larger = {.size = size, .count = table->count};
    larger.entries = PyMem_Calloc(larger.size, sizeof(Entry));
    if (larger.entries == NULL) return PyErr_NoMemory(), -1;
    for (size_t i = 0; i < table->size; i++)
        if (table->entries[i].key != NULL) *entry_of(&larger, table->entries[i].key) = table->entries[i];
    PyMem_Free(table->entries);
    *table = larger;
    return 0;
}

int put_into(Table *table, const void *key, int32_t value) {
    if (reserve_keys(table, 1) < 0) return -1;
    Entry *entry = entry_of(table, key);
    table->count += entry->key == NULL;
    *entry = (Entry){key, value};
    return 0;
}
