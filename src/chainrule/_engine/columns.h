/* What recordings keep their rows in: arrays that grow, and tables of pointers. */
#ifndef CHAINRULE_COLUMNS_H
#define CHAINRULE_COLUMNS_H

#include "engine.h"

/* An array that Python sees through memoryviews. */
typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t count, capacity, item;
    Py_ssize_t views; /* while there are any, it neither grows nor changes */
    const char *format;
} Column;

Column *new_column(Py_ssize_t item, const char *format); /* the size of an item, its format as of struct */
int is_free(const Column *column);               /* -1 with BufferError while there are views */
int reserve(Column *column, Py_ssize_t more);    /* make room for some more items; -1 with an error */
int add_columns(void);

static inline uint16_t *shorts(const Column *column) { return (uint16_t *)(void *)column->data; }
static inline int32_t *ints(const Column *column) { return (int32_t *)(void *)column->data; }
static inline double *doubles(const Column *column) { return (double *)(void *)column->data; }

/* Tables of pointers to what has a number: open addressing, at most half full */

typedef struct {
    const void *key;
    int32_t value;
} Entry;

typedef struct {
    Entry *entries;
    size_t size, count; /* the size is a power of 2, or 0 */
} Table;

Entry *entry_of(const Table *table, const void *key); /* where a key is, or would be; not of an empty table */
int32_t found_in(const Table *table, const void *key); /* its number, -1 if it is not there */
int reserve_keys(Table *table, size_t more); /* make room for some more keys; -1 with an error */
int put_into(Table *table, const void *key, int32_t value); /* -1 with an error */

#endif
