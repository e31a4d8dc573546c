#include "host/constraint.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* --- Tokens with relevant bytes --- */

struct cm_token_subset {
    const struct cm_tokenizer *tokenizer;
    int32_t *relevant; /* [relevant_count] rising ids */
    uint32_t relevant_count;
    int32_t *near; /* [near_count] those, and what is near */
    uint32_t near_count;
    int32_t *stops; /* [stops_count] tokens that end a text, rising */
    uint32_t stops_count;
    uint8_t ordinary_byte; /* one that is not relevant */
};

static bool must_be_tried(struct cm_span bytes, const bool relevant[256])
{
    if (bytes.length > 0 && ((uint8_t)bytes.data[0] & 0xc0) == 0x80) {
        return true;
    }
    for (size_t i = 0; i < bytes.length; i++) {
        if (relevant[(uint8_t)bytes.data[i]]) {
            return true;
        }
    }
    return false;
}

enum cm_status cm_token_subset_open(const struct cm_tokenizer *tokenizer, const bool relevant[256],
                                    bool (*is_near)(struct cm_span bytes),
                                    struct cm_token_subset **subset)
{
    uint32_t n_tokens = cm_tokenizer_size(tokenizer);
    struct cm_token_subset *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->tokenizer = tokenizer;
    opened->relevant = cm_alloc(n_tokens, sizeof *opened->relevant);
    opened->near = cm_alloc(n_tokens, sizeof *opened->near);
    opened->stops = cm_alloc(n_tokens, sizeof *opened->stops);
    if (opened->relevant == NULL || opened->near == NULL || opened->stops == NULL) {
        cm_token_subset_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    for (int32_t token = 0; (uint32_t)token < n_tokens; token++) {
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, token);
        if (cm_tokenizer_is_stop(tokenizer, token)) {
            opened->stops[opened->stops_count++] = token;
        } else if (must_be_tried(bytes, relevant)) {
            opened->relevant[opened->relevant_count++] = token;
            opened->near[opened->near_count++] = token;
        } else if (is_near != NULL && is_near(bytes)) {
            opened->near[opened->near_count++] = token;
        }
    }
    while (relevant[opened->ordinary_byte]) {
        CM_ASSERT(opened->ordinary_byte < 255); /* an automaton leaves some byte ordinary */
        opened->ordinary_byte++;
    }
    *subset = opened;
    return CM_OK;
}

void cm_token_subset_close(struct cm_token_subset *subset)
{
    if (subset != NULL) {
        cm_free(subset->relevant);
        cm_free(subset->near);
        cm_free(subset->stops);
        cm_free(subset);
    }
}

/* --- Constraints --- */

struct known_state {
    uint32_t state;
    struct cm_token_mask mask;
    int32_t *ids; /* owned; mask.ids */
};

struct cm_constraint {
    struct cm_automaton automaton;
    const struct cm_token_subset *subset;
    void (*free_context)(void *context);
    atomic_uint references;
    pthread_mutex_t lock;      /* guards what is known: several devices may ask */
    struct known_state *known; /* open addressing by state; ids NULL: free */
    size_t known_capacity;     /* a power of two */
    size_t known_count;
};

enum cm_status cm_constraint_open(const struct cm_automaton *automaton,
                                  const struct cm_token_subset *subset,
                                  void (*free_context)(void *context),
                                  struct cm_constraint **constraint)
{
    struct cm_constraint *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        if (free_context != NULL) {
            free_context((void *)(uintptr_t)automaton->context);
        }
        return CM_OUT_OF_MEMORY;
    }
    opened->automaton = *automaton;
    opened->subset = subset;
    opened->free_context = free_context;
    atomic_init(&opened->references, 1);
    pthread_mutex_init(&opened->lock, NULL);
    *constraint = opened;
    return CM_OK;
}

struct cm_constraint *cm_constraint_share(struct cm_constraint *constraint)
{
    atomic_fetch_add(&constraint->references, 1);
    return constraint;
}

void cm_constraint_release(struct cm_constraint *constraint)
{
    if (constraint == NULL || atomic_fetch_sub(&constraint->references, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < constraint->known_capacity; i++) {
        cm_free(constraint->known[i].ids);
    }
    cm_free(constraint->known);
    if (constraint->free_context != NULL) {
        constraint->free_context((void *)(uintptr_t)constraint->automaton.context);
    }
    pthread_mutex_destroy(&constraint->lock);
    cm_free(constraint);
}

uint32_t cm_constraint_start(const struct cm_constraint *constraint)
{
    return constraint->automaton.start;
}

static uint32_t run_bytes(const struct cm_automaton *automaton, uint32_t state,
                          struct cm_span bytes)
{
    for (size_t i = 0; i < bytes.length && state != CM_AUTOMATON_DEAD; i++) {
        state = automaton->next(automaton->context, state, (uint8_t)bytes.data[i]);
    }
    return state;
}

uint32_t cm_constraint_advance(const struct cm_constraint *constraint, uint32_t state,
                               int32_t token)
{
    return run_bytes(&constraint->automaton, state,
                     cm_tokenizer_token_bytes(constraint->subset->tokenizer, token));
}

bool cm_constraint_may_end(const struct cm_constraint *constraint, uint32_t state)
{
    return constraint->automaton.may_end(constraint->automaton.context, state);
}

bool cm_constraint_may_cut(const struct cm_constraint *constraint, uint32_t state)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    return automaton->may_cut != NULL ? automaton->may_cut(automaton->context, state)
                                      : automaton->may_end(automaton->context, state);
}

/* --- Masks --- */

static struct known_state *find_known(struct known_state *known, size_t capacity, uint32_t state)
{
    size_t i = (state * UINT32_C(2654435761)) & (capacity - 1);
    while (known[i].ids != NULL && known[i].state != state) {
        i = (i + 1) & (capacity - 1);
    }
    return &known[i];
}

static enum cm_status reserve_known(struct cm_constraint *constraint)
{
    if (2 * (constraint->known_count + 1) <= constraint->known_capacity) {
        return CM_OK;
    }
    size_t capacity = constraint->known_capacity == 0 ? 16 : 2 * constraint->known_capacity;
    struct known_state *known = cm_alloc(capacity, sizeof *known);
    if (known == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < constraint->known_capacity; i++) {
        if (constraint->known[i].ids != NULL) {
            *find_known(known, capacity, constraint->known[i].state) = constraint->known[i];
        }
    }
    cm_free(constraint->known);
    constraint->known = known;
    constraint->known_capacity = capacity;
    return CM_OK;
}

/* Merges two rising lists without common elements into `out`. */
static uint32_t merge(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count,
                      int32_t *out)
{
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a_count || j < b_count) {
        bool from_a = j == b_count || (i < a_count && a[i] < b[j]);
        out[i + j] = from_a ? a[i] : b[j];
        i += from_a;
        j += !from_a;
    }
    return a_count + b_count;
}

/* The tokens to try in a state; NULL: all. */
static const int32_t *tried_tokens(const struct cm_constraint *constraint, uint32_t state,
                                   uint32_t *count)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    const struct cm_token_subset *subset = constraint->subset;
    enum cm_attention attention = automaton->attention != NULL
                                      ? automaton->attention(automaton->context, state)
                                      : CM_ATTENTION_RELEVANT;
    switch (attention) {
    case CM_ATTENTION_RELEVANT:
        *count = subset->relevant_count;
        return subset->relevant;
    case CM_ATTENTION_NEAR:
        *count = subset->near_count;
        return subset->near;
    case CM_ATTENTION_ALL:
        break;
    }
    *count = cm_tokenizer_size(subset->tokenizer);
    return NULL;
}

/* Tokens that stand for no text go with the ordinary ones and are never listed, as little as those
 * that end the text. */
static bool is_listed(const struct cm_constraint *constraint, uint32_t state, int32_t token,
                      bool alive)
{
    const struct cm_tokenizer *tokenizer = constraint->subset->tokenizer;
    return cm_tokenizer_token_bytes(tokenizer, token).length > 0 &&
           (cm_constraint_advance(constraint, state, token) != CM_AUTOMATON_DEAD) == alive &&
           !cm_tokenizer_is_stop(tokenizer, token);
}

static enum cm_status work_out(const struct cm_constraint *constraint, uint32_t state,
                               struct known_state *known)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    const struct cm_token_subset *subset = constraint->subset;
    uint32_t tried_count;
    const int32_t *tried = tried_tokens(constraint, state, &tried_count);
    /* One more than needed, so that an empty list is not NULL. */
    int32_t *listed = cm_alloc((size_t)tried_count + 1, sizeof *listed);
    int32_t *ids = cm_alloc((size_t)tried_count + subset->stops_count + 1, sizeof *ids);
    if (listed == NULL || ids == NULL) {
        cm_free(listed);
        cm_free(ids);
        return CM_OUT_OF_MEMORY;
    }
    /* Where ordinary tokens may follow, list those that may not; else those that may. */
    bool only =
        automaton->next(automaton->context, state, subset->ordinary_byte) == CM_AUTOMATON_DEAD;
    uint32_t listed_count = 0;
    for (uint32_t i = 0; i < tried_count; i++) {
        int32_t token = tried != NULL ? tried[i] : (int32_t)i;
        if (is_listed(constraint, state, token, only)) {
            listed[listed_count++] = token;
        }
    }
    bool list_stops = automaton->may_end(automaton->context, state) == only;
    uint32_t count =
        merge(listed, listed_count, subset->stops, list_stops ? subset->stops_count : 0, ids);
    cm_free(listed);
    int32_t *fitted = cm_realloc(ids, count + 1, sizeof *ids);
    known->ids = fitted != NULL ? fitted : ids;
    known->state = state;
    known->mask = (struct cm_token_mask){ only, known->ids, count };
    return CM_OK;
}

static enum cm_status find_mask(struct cm_constraint *constraint, uint32_t state,
                                struct cm_token_mask *mask)
{
    enum cm_status status = reserve_known(constraint);
    if (status != CM_OK) {
        return status;
    }
    struct known_state *known = find_known(constraint->known, constraint->known_capacity, state);
    if (known->ids == NULL) {
        status = work_out(constraint, state, known);
        if (status != CM_OK) {
            return status;
        }
        constraint->known_count++;
    }
    *mask = known->mask;
    return CM_OK;
}

enum cm_status cm_constraint_mask(struct cm_constraint *constraint, uint32_t state,
                                  struct cm_token_mask *mask)
{
    pthread_mutex_lock(&constraint->lock);
    enum cm_status status = find_mask(constraint, state, mask);
    pthread_mutex_unlock(&constraint->lock);
    return status;
}
