#include "jobs/fact_lock.h"

#include "base/memory.h"
#include "jobs/numbers.h"

#include <stdio.h>
#include <string.h>

/* --- The trie of spellings --- */

/* What the bytes of a text come down to. */
enum symbol {
    SYMBOL_POINT = 10, /* after the ten digits */
    SYMBOL_COMMA,
    SYMBOL_PERCENT,
    SYMBOL_COUNT,
    SYMBOL_APOSTROPHE = SYMBOL_COUNT, /* could join digits, but no spelling here uses it */
    SYMBOL_OTHER,                     /* ends a number */
};

enum { NODE_OUTSIDE, NODE_AFTER_SEPARATOR, NODE_ROOT, NODES_FIXED };

struct node {
    uint32_t children[SYMBOL_COUNT]; /* 0: none */
    bool may_end; /* a number of the facts ends here, or ended before a separator */
};

struct lock {
    struct node *nodes; /* the first three are the fixed ones */
    size_t nodes_count;
    size_t nodes_capacity;
};

static enum cm_status add_node(struct lock *lock, uint32_t *index)
{
    void *block = lock->nodes;
    enum cm_status status =
        cm_grow(&block, &lock->nodes_capacity, lock->nodes_count + 1, sizeof *lock->nodes);
    lock->nodes = block;
    if (status == CM_OK) {
        *index = (uint32_t)lock->nodes_count++;
        lock->nodes[*index] = (struct node){ 0 };
    }
    return status;
}

static enum symbol symbol_of(char character)
{
    switch (character) {
    case '.':
        return SYMBOL_POINT;
    case ',':
        return SYMBOL_COMMA;
    case '%':
        return SYMBOL_PERCENT;
    case '\'':
        return SYMBOL_APOSTROPHE;
    default:
        return character >= '0' && character <= '9' ? (enum symbol)(character - '0') : SYMBOL_OTHER;
    }
}

static enum cm_status add_spelling(struct lock *lock, const char *spelling)
{
    uint32_t at = NODE_ROOT;
    for (const char *c = spelling; *c != '\0'; c++) {
        enum symbol symbol = symbol_of(*c);
        uint32_t next = lock->nodes[at].children[symbol];
        if (next == 0) {
            enum cm_status status = add_node(lock, &next);
            if (status != CM_OK) {
                return status;
            }
            lock->nodes[at].children[symbol] = next;
        }
        at = next;
    }
    lock->nodes[at].may_end = true;
    return CM_OK;
}

/* "1299" as "1,299"; false where there are no thousands. */
static bool group_thousands(const char *whole, char *out)
{
    size_t length = strlen(whole);
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[written++] = ',';
        }
        out[written++] = whole[i];
    }
    out[written] = '\0';
    return length > 3;
}

enum { SPELLING_BYTES = 2 * CM_NUMBER_BYTES };

/* One whole part with each usual writing of the fraction. */
static enum cm_status add_fractions(struct lock *lock, const char *whole, const char *fraction,
                                    bool percent)
{
    static const char *const separators[] = { ".", "," };
    const char *sign = percent ? "%" : "";
    char spelling[SPELLING_BYTES + 8];
    enum cm_status status = CM_OK;
    if (fraction[0] == '\0') {
        snprintf(spelling, sizeof spelling, "%s%s", whole, sign);
        status = add_spelling(lock, spelling);
        fraction = "00";
    }
    for (size_t i = 0; i < 2 && status == CM_OK; i++) {
        snprintf(spelling, sizeof spelling, "%s%s%s%s", whole, separators[i], fraction, sign);
        status = add_spelling(lock, spelling);
        if (status == CM_OK && strlen(fraction) == 1) {
            snprintf(spelling, sizeof spelling, "%s%s%s0%s", whole, separators[i], fraction, sign);
            status = add_spelling(lock, spelling);
        }
    }
    return status;
}

/* A key of cm_numbers: "1299", "12.5", "50%". */
static enum cm_status add_number(struct lock *lock, const char *key)
{
    char whole[CM_NUMBER_BYTES];
    char grouped[SPELLING_BYTES];
    snprintf(whole, sizeof whole, "%s", key);
    bool percent = whole[strlen(whole) - 1] == '%';
    whole[strcspn(whole, "%")] = '\0';
    char *point = strchr(whole, '.');
    const char *fraction = point != NULL ? point + 1 : "";
    if (point != NULL) {
        *point = '\0';
    }
    enum cm_status status = add_fractions(lock, whole, fraction, percent);
    if (status == CM_OK && group_thousands(whole, grouped)) {
        status = add_fractions(lock, grouped, fraction, percent);
    }
    return status;
}

/* A separator after a complete number may be the sentence's: what it leads to may end as well. */
static void let_separators_end(struct lock *lock)
{
    for (size_t i = NODES_FIXED; i < lock->nodes_count; i++) {
        for (enum symbol s = SYMBOL_POINT; s <= SYMBOL_COMMA && lock->nodes[i].may_end; s++) {
            uint32_t child = lock->nodes[i].children[s];
            if (child != 0) {
                lock->nodes[child].may_end = true;
            }
        }
    }
}

/* --- The automaton --- */

/* A state is a node and how much has been read of a character that matters: the full-width digits
 * and signs are EF BC xx in UTF-8, the typographic apostrophe is E2 80 99. */
enum { PENDING_NONE, PENDING_EF, PENDING_EF_BC, PENDING_E2, PENDING_E2_80, PENDING_COUNT };

const bool cm_fact_lock_relevant[256] = {
    ['0'] = true, ['1'] = true,  ['2'] = true,  ['3'] = true,  ['4'] = true, ['5'] = true,
    ['6'] = true, ['7'] = true,  ['8'] = true,  ['9'] = true,  ['.'] = true, [','] = true,
    ['%'] = true, ['\''] = true, [0xe2] = true, [0xef] = true,
};

static uint32_t step(const struct lock *lock, uint32_t node, enum symbol symbol)
{
    bool is_digit = symbol < SYMBOL_POINT;
    if (node == NODE_OUTSIDE || node == NODE_AFTER_SEPARATOR) {
        if (symbol == SYMBOL_PERCENT || (is_digit && node == NODE_AFTER_SEPARATOR)) {
            return CM_AUTOMATON_DEAD;
        }
        if (!is_digit) {
            return NODE_OUTSIDE;
        }
        node = NODE_ROOT;
    }
    uint32_t child = symbol < SYMBOL_COUNT ? lock->nodes[node].children[symbol] : 0;
    if (child != 0) {
        return child;
    }
    if (is_digit || symbol == SYMBOL_PERCENT || !lock->nodes[node].may_end) {
        return CM_AUTOMATON_DEAD;
    }
    return symbol == SYMBOL_OTHER ? NODE_OUTSIDE : NODE_AFTER_SEPARATOR;
}

/* The last byte of a character that matters. */
static enum symbol last_byte_symbol(uint32_t pending, uint8_t byte)
{
    if (pending == PENDING_E2_80) {
        return byte == 0x99 ? SYMBOL_APOSTROPHE : SYMBOL_OTHER;
    }
    switch (byte) {
    case 0x85:
        return SYMBOL_PERCENT;
    case 0x8c:
        return SYMBOL_COMMA;
    case 0x8e:
        return SYMBOL_POINT;
    default:
        return byte >= 0x90 && byte <= 0x99 ? (enum symbol)(byte - 0x90) : SYMBOL_OTHER;
    }
}

static uint32_t next_state(const void *context, uint32_t state, uint8_t byte)
{
    const struct lock *lock = context;
    uint32_t node = state / PENDING_COUNT;
    uint32_t pending = state % PENDING_COUNT;
    if ((pending == PENDING_EF && byte == 0xbc) || (pending == PENDING_E2 && byte == 0x80)) {
        return state + 1;
    }
    enum symbol symbol = symbol_of((char)byte);
    bool is_last = pending == PENDING_EF_BC || pending == PENDING_E2_80;
    if (is_last && (byte & 0xc0) == 0x80) {
        symbol = last_byte_symbol(pending, byte);
    } else if (pending != PENDING_NONE) {
        node = step(lock, node, SYMBOL_OTHER); /* what was begun is some other character */
    }
    if (node != CM_AUTOMATON_DEAD && (byte == 0xef || byte == 0xe2)) {
        return node * PENDING_COUNT + (byte == 0xef ? PENDING_EF : PENDING_E2);
    }
    node = node != CM_AUTOMATON_DEAD ? step(lock, node, symbol) : node;
    return node != CM_AUTOMATON_DEAD ? node * PENDING_COUNT : CM_AUTOMATON_DEAD;
}

static bool may_end(const void *context, uint32_t state)
{
    const struct lock *lock = context;
    return state % PENDING_COUNT == PENDING_NONE && lock->nodes[state / PENDING_COUNT].may_end;
}

void cm_fact_lock_free(void *context)
{
    struct lock *lock = context;
    if (lock != NULL) {
        cm_free(lock->nodes);
        cm_free(lock);
    }
}

/* --- Compiling --- */

static enum cm_status compile(const struct cm_numbers *numbers, struct cm_automaton *automaton)
{
    struct lock *lock = cm_alloc(1, sizeof *lock);
    enum cm_status status = lock == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t i = 0; i < NODES_FIXED && status == CM_OK; i++) {
        uint32_t index;
        status = add_node(lock, &index);
    }
    if (status == CM_OK) {
        lock->nodes[NODE_OUTSIDE].may_end = true;
        lock->nodes[NODE_AFTER_SEPARATOR].may_end = true;
    }
    for (size_t i = 0; i < numbers->count && status == CM_OK; i++) {
        status = add_number(lock, numbers->keys[i]);
    }
    if (status != CM_OK) {
        cm_fact_lock_free(lock);
        return status;
    }
    let_separators_end(lock);
    *automaton = (struct cm_automaton){
        .context = lock,
        .start = NODE_OUTSIDE * PENDING_COUNT,
        .next = next_state,
        .may_end = may_end,
    };
    memcpy(automaton->relevant, cm_fact_lock_relevant, sizeof automaton->relevant);
    return CM_OK;
}

enum cm_status cm_fact_lock_compile(const char *const *facts, size_t facts_count,
                                    struct cm_automaton *automaton)
{
    struct cm_numbers numbers = { 0 };
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < facts_count && status == CM_OK; i++) {
        status = cm_numbers_add(&numbers, cm_span_of(facts[i]));
    }
    if (status == CM_OK) {
        status = compile(&numbers, automaton);
    }
    cm_numbers_deinit(&numbers);
    return status;
}

enum cm_status cm_fact_lock_open(const struct cm_fact_sources *sources,
                                 const struct cm_token_subset *subset, struct cm_constraint **lock)
{
    struct cm_numbers numbers = { 0 };
    struct cm_automaton automaton;
    enum cm_status status = cm_fact_numbers_add(&numbers, sources);
    if (status == CM_OK) {
        status = compile(&numbers, &automaton);
    }
    if (status == CM_OK) {
        status = cm_constraint_open(&automaton, subset, cm_fact_lock_free, lock);
    }
    cm_numbers_deinit(&numbers);
    return status;
}
