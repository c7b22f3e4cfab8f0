/* Which inputs of a function interact: the pattern of its second derivatives, from its graph alone.

   What comes back to a node depends on some inputs: on those that what came to its children depends on, and
   those of the local gradients on the way. A sum passes on what has come as it is, so that only the operands
   of other operations are asked what they depend on. Sets of inputs are shared, and never change. */
#include "linearization.h"

typedef struct Set {
    Py_ssize_t count;
    int32_t places[]; /* growing */
} Set;

typedef struct Block {
    struct Block *next;
} Block;

typedef struct {
    Graph graph;
    int64_t constant;       /* nodes up to this level are constants */
    Py_ssize_t room;        /* for so many more places before it is given up */
    Block *blocks;          /* the memory of all sets */
    const Set **value;      /* what the value of a node depends on, by number; NULL if not known yet */
    const Set **adjoint;    /* what has come to it; NULL for nothing */
    Py_ssize_t *waiting;    /* a stack of nodes */
    Set **own;              /* of inputs, by number */
    bool failed;
} Search;

static const Set EMPTY = {0};

static Set *new_set(Search *search, Py_ssize_t count) {
    Block *block = NULL;
    if ((search->room -= count + 4) > 0)
        block = PyMem_Malloc(sizeof(Block) + sizeof(Set) + (size_t)count * sizeof(int32_t));
    if (block == NULL) {
        search->failed = true;
        return NULL;
    }
    block->next = search->blocks;
    search->blocks = block;
    Set *set = (Set *)(block + 1);
    set->count = count;
    return set;
}

static const Set *united(Search *search, const Set *a, const Set *b) {
    if (a == b || b == NULL || b->count == 0) return a;
    if (a == NULL || a->count == 0) return b;
    Py_ssize_t i = 0, k = 0, count = 0;
    for (; i < a->count || k < b->count; count++) {
        int32_t x = i < a->count ? a->places[i] : INT32_MAX, y = k < b->count ? b->places[k] : INT32_MAX;
        i += x <= y;
        k += y <= x;
    }
    if (count == a->count) return a;
    if (count == b->count) return b;
    Set *set = new_set(search, count);
    if (set == NULL) return &EMPTY;
    i = k = 0;
    for (Py_ssize_t n = 0; n < count; n++) {
        int32_t x = i < a->count ? a->places[i] : INT32_MAX, y = k < b->count ? b->places[k] : INT32_MAX;
        set->places[n] = x <= y ? x : y;
        i += x <= y;
        k += y <= x;
    }
    return set;
}

static inline Node *node_of(const Search *search, Py_ssize_t number) {
    return search->graph.order[search->graph.count - 1 - number];
}

/* The number of an operand that a node depends on; -1 for a constant, or one that counts for nothing. */
static Py_ssize_t source(const Search *search, Node *node, Py_ssize_t i) {
    Node *operand = operand_node(node, i);
    if (operand == NULL || operand->level < search->graph.level || ignores(node->code, i)) return -1;
    return number_of(operand);
}

/* What the value of a node depends on. */
static const Set *value_of(Search *search, Py_ssize_t root) {
    Py_ssize_t size = 0;
    search->waiting[size++] = root;
    while (size > 0) {
        Py_ssize_t number = search->waiting[size - 1], before = size;
        if (search->value[number] != NULL) {
            size--;
            continue;
        }
        Node *node = node_of(search, number);
        Py_ssize_t n = search->own[number] || IS_LEAF(node) ? 0 : operand_count(node);
        for (Py_ssize_t i = 0; i < n && size == before; i++) { /* one at a time: each is on the stack once */
            Py_ssize_t x = source(search, node, i);
            if (x >= 0 && search->value[x] == NULL) search->waiting[size++] = x;
        }
        if (size > before) continue;
        const Set *set = search->own[number] ? search->own[number] : &EMPTY;
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_ssize_t x = source(search, node, i);
            if (x >= 0) set = united(search, set, search->value[x]);
        }
        search->value[number] = set;
        size--;
    }
    return search->value[root];
}

static const Set *operand_value(Search *search, Node *node, Py_ssize_t i) {
    Node *operand = operand_node(node, i);
    if (operand == NULL || operand->level < search->graph.level) return &EMPTY;
    return value_of(search, number_of(operand));
}

/* What a local gradient depends on: its program, run on sets. */
static const Set *local_of(Search *search, Node *node, Py_ssize_t number, Py_ssize_t position) {
    if (node->code == ADD) return &EMPTY;
    if (node->code == MULTIPLY) return operand_value(search, node, 1 - position);
    const Rule *rule = &TABLE[node->code].rules[position];
    const Set *stack[DEPTH];
    int depth = 0;
    for (const Step *step = rule->steps, *end = step + rule->length; step < end; step++) {
        const Set *made = &EMPTY;
        if (step->kind == OPERAND) made = operand_value(search, node, step->count);
        else if (step->kind == VALUE) made = value_of(search, number);
        else if (step->kind != NUMBER) {
            depth -= step->count;
            for (int i = 0; i < step->count; i++)
                if (!ignores(step->kind, i)) made = united(search, made, stack[depth + i]);
        }
        stack[depth++] = made;
    }
    return stack[0];
}

/* Whether all of an operation's local gradients by nodes are programs, and it takes no node from in between. */
static bool is_followed(const Search *search, Node *node) {
    bool by_rule = node->code != USER && node->code != LEAF && TABLE[node->code].count != ANY;
    Py_ssize_t n = operand_count(node);
    for (Py_ssize_t i = 0; i < n; i++) {
        Node *operand = operand_node(node, i);
        if (operand == NULL || (node->code != USER && ignores(node->code, i))) continue;
        if (operand->level > search->constant && operand->level < search->graph.level) return false;
        if (operand->level < search->graph.level) continue;
        if (!by_rule || (TABLE[node->code].rules[i].length == 0 && node->code != ADD && node->code != MULTIPLY))
            return false;
    }
    return true;
}

static void send_back(Search *search, Py_ssize_t number) {
    Node *node = node_of(search, number);
    const Set *come = search->adjoint[number];
    if (come == NULL || search->own[number] || IS_LEAF(node)) return;
    Py_ssize_t n = operand_count(node);
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t x = source(search, node, i);
        if (x < 0) continue;
        const Set *sent = united(search, come, local_of(search, node, number, i));
        search->adjoint[x] = search->adjoint[x] ? united(search, search->adjoint[x], sent) : sent;
    }
}

/* Find the sets of all nodes: false if it is given up. */
static bool find(Search *search) {
    Py_ssize_t n = search->graph.count;
    for (Py_ssize_t i = 0; i < search->graph.n_inputs; i++) set_number(search->graph.inputs[i], -1);
    for (Py_ssize_t number = 0; number < n; number++) set_number(node_of(search, number), number);
    bool followed = true;
    for (Py_ssize_t i = 0; i < search->graph.n_inputs; i++) {
        Py_ssize_t number = number_of(search->graph.inputs[i]);
        if (number < 0) continue;
        Set *set = search->own[number] = new_set(search, 1);
        if (set != NULL) set->places[0] = (int32_t)i;
    }
    for (Py_ssize_t number = 0; number < n && followed; number++)
        followed = search->own[number] || IS_LEAF(node_of(search, number)) || is_followed(search, node_of(search, number));
    Node *output = search->graph.outputs[0];
    if (followed && output != NULL && output->level == search->graph.level) {
        search->adjoint[number_of(output)] = &EMPTY;
        for (Py_ssize_t number = n - 1; number >= 0 && !search->failed; number--) send_back(search, number);
    }
    return followed && !search->failed;
}

static const Set *pattern_of(const Search *search, Py_ssize_t input) {
    Py_ssize_t number = number_of(search->graph.inputs[input]);
    return number < 0 || search->adjoint[number] == NULL ? &EMPTY : search->adjoint[number];
}

/* What has come to each input: the bytes of where the places of each begin, and of the places, all int32. */
static PyObject *patterns(const Search *search) {
    Py_ssize_t n = search->graph.n_inputs, total = 0;
    for (Py_ssize_t i = 0; i < n; i++) total += pattern_of(search, i)->count;
    PyObject *starts = PyBytes_FromStringAndSize(NULL, (n + 1) * (Py_ssize_t)sizeof(int32_t));
    PyObject *places = PyBytes_FromStringAndSize(NULL, total * (Py_ssize_t)sizeof(int32_t));
    if (starts == NULL || places == NULL) {
        Py_XDECREF(starts);
        Py_XDECREF(places);
        return NULL;
    }
    char *start = PyBytes_AS_STRING(starts), *place = PyBytes_AS_STRING(places);
    int32_t before = 0;
    for (Py_ssize_t i = 0; i <= n; i++) {
        memcpy(start + (size_t)i * sizeof before, &before, sizeof before);
        if (i == n) break;
        const Set *set = pattern_of(search, i);
        memcpy(place + (size_t)before * sizeof before, set->places, (size_t)set->count * sizeof before);
        before += (int32_t)set->count;
    }
    return Py_BuildValue("NN", starts, places);
}

/* interactions(inputs, outputs, level, constant): for each input of a function with one output on which of them
   its gradient depends: where their places begin, and these. None if that is not known, or is much. */
static PyObject *interactions(PyObject *module, PyObject *args) {
    PyObject *inputs, *outputs, *found = NULL;
    long long level, constant;
    if (!PyArg_ParseTuple(args, "O!O!LL:interactions", &PyList_Type, &inputs, &PyList_Type, &outputs, &level, &constant))
        return NULL;
    Search search = {.constant = constant};
    int done = read_graph(&search.graph, inputs, outputs, level, true);
    if (done == 1 && search.graph.n_outputs != 1) done = 0;
    if (done == 1) {
        size_t n = (size_t)search.graph.count + 1;
        search.room = 16 * search.graph.count + (1 << 22);
        search.value = PyMem_Calloc(n, sizeof *search.value);
        search.adjoint = PyMem_Calloc(n, sizeof *search.adjoint);
        search.waiting = PyMem_New(Py_ssize_t, n);
        search.own = PyMem_Calloc(n, sizeof *search.own);
        if (search.value && search.adjoint && search.waiting && search.own) {
            done = find(&search);
            if (done == 1) found = patterns(&search);
            for (Py_ssize_t i = 0; i < search.graph.n_inputs; i++) search.graph.inputs[i]->grad = 0.0;
            for (Py_ssize_t i = 0; i < search.graph.count; i++) search.graph.order[i]->grad = 0.0;
        } else {
            PyErr_NoMemory();
            done = -1;
        }
        PyMem_Free(search.value);
        PyMem_Free(search.adjoint);
        PyMem_Free(search.waiting);
        PyMem_Free(search.own);
        for (Block *next, *block = search.blocks; block != NULL; block = next) {
            next = block->next;
            PyMem_Free(block);
        }
    }
    free_graph(&search.graph);
    return done == 0 ? Py_NewRef(Py_None) : found;
}

PyMethodDef INTERACTION_FUNCTIONS[] = {
    {"interactions", interactions, METH_VARARGS, "The pattern of second derivatives: see chainrule.jit.segments."},
    {NULL, NULL, 0, NULL},
};
