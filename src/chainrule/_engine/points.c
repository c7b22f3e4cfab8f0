/* The machine code of a program, called for a single point: a twin of the driver's function call. */
#include "engine.h"
#include <stdlib.h>
#include <string.h>
#ifdef _MSC_VER
#include <malloc.h>
#define alloca _alloca
#elif !defined(alloca)
#include <alloca.h>
#endif

enum { SLOT = 64, SMALL = 2048, ON_STACK = 32768, FEW = 64, NO_MEMORY = -1 };
enum { POSITIONS, HANDLE_OF_CALL, STATUS, RESULTS }; /* as in layout.py */
enum { /* as CodeFields in driver.py */
    MAIN = 1, NUMBERS, OUTPUTS, OUTPUT_COUNT, INPUT_OFFSET, SIZE, HANDLE, CONSTANTS, CONSTANT_COUNT,
    SPREAD = 15, SPREAD_COUNT,
};

typedef void (*Code)(char *workspace, const char *numbers, int64_t *status, const char *inputs);

static inline const int64_t *table(int64_t address) { return (const int64_t *)(intptr_t)address; }

/* Few numbers one by one: a wider load has to wait until the stores of all of them, just made, have reached the cache. */
static inline void copy(char *to, const char *from, int64_t size) {
    if (size > FEW) {
        memcpy(to, from, (size_t)size);
        return;
    }
    for (const char *end = from + size; from < end; from += 8, to += 8) {
        double number = *(const volatile double *)(const void *)from; /* which the compiler does not widen */
        memcpy(to, &number, 8);
    }
}

/* 0, the number of the first guard that fails plus 1, or NO_MEMORY. Without a workspace it makes one. */
static int64_t call_point(const int64_t *code, const char *inputs, char *outputs, char *given) {
    int64_t size = code[SIZE] + SLOT;
    bool on_stack = size <= ON_STACK;
    char own[SMALL], *memory = given;
    if (memory == NULL && size <= SMALL) memory = own;
    else if (memory == NULL) memory = on_stack ? alloca((size_t)size) : malloc((size_t)size);
    if (memory == NULL) return NO_MEMORY;
    char *workspace = memory + (-(uintptr_t)memory & (SLOT - 1));
    int64_t *header = (int64_t *)(void *)workspace;
    header[POSITIONS] = 0;
    header[HANDLE_OF_CALL] = code[HANDLE];
    header[STATUS] = 0;
    header[RESULTS] = (int64_t)(intptr_t)outputs;
    const int64_t *row = table(code[CONSTANTS]);
    for (int64_t k = code[CONSTANT_COUNT]; k > 0; k--, row += 2) memcpy(workspace + row[0], row + 1, 8);
    char *slots = workspace + code[INPUT_OFFSET];
    row = table(code[SPREAD]);
    for (int64_t k = code[SPREAD_COUNT]; k > 0; k--, row += 2)
        copy(slots + 8 * row[0], inputs + 8 * row[0], 8 * row[1]);
    if (code[MAIN] != 0)
        ((Code)(intptr_t)code[MAIN])(workspace, (const char *)table(code[NUMBERS]), header + STATUS, inputs);
    int64_t status = header[STATUS];
    row = table(code[OUTPUTS]);
    for (int64_t k = status == 0 ? code[OUTPUT_COUNT] : 0; k > 0; k--, row += 3)
        copy(outputs + row[1], workspace + row[0], row[2]);
    if (given == NULL && !on_stack) free(memory);
    return status;
}

int add_points(PyObject *module) {
    PyObject *address = PyLong_FromVoidPtr((void *)(intptr_t)call_point);
    int added = PyModule_AddObjectRef(module, "CALL_POINT", address);
    Py_XDECREF(address);
    return added;
}
