#include "host/constraint.h"

#include "base/memory.h"
#include "host/token_walk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* --- Tokens with relevant bytes --- */

/* How much a token matters. */
enum rank { RANK_ORDINARY, RANK_NEAR, RANK_RELEVANT, RANKS_COUNT };

struct cm_token_subset {
    const struct cm_tokenizer *tokenizer;
    struct cm_token_walk walks[RANKS_COUNT]; /* tokens of at least this rank, but for those ... */
    int32_t *stops;                          /* ... [stops_count] that end a text */
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

/* Fills in the walks and the stops; `tokens` and `ranks` are [size of the tokenizer]. Tokens that
 * stand for no text go with the ordinary ones and are never tried. */
static enum cm_status fill_subset(struct cm_token_subset *subset, const bool relevant[256],
                                  bool (*is_near)(struct cm_span bytes), int32_t *tokens,
                                  uint8_t *ranks)
{
    const struct cm_tokenizer *tokenizer = subset->tokenizer;
    uint32_t count = 0;
    for (int32_t token = 0; (uint32_t)token < cm_tokenizer_size(tokenizer); token++) {
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, token);
        if (cm_tokenizer_is_stop(tokenizer, token)) {
            subset->stops[subset->stops_count++] = token;
        } else if (bytes.length > 0) {
            ranks[token] = must_be_tried(bytes, relevant)      ? RANK_RELEVANT
                           : is_near != NULL && is_near(bytes) ? RANK_NEAR
                                                               : RANK_ORDINARY;
            tokens[count++] = token;
        }
    }
    enum cm_status status = cm_token_walk_sort(tokenizer, tokens, count);
    for (uint8_t rank = 0; rank < RANKS_COUNT && status == CM_OK; rank++) {
        status = cm_token_walk_init(&subset->walks[rank], tokenizer, tokens, count, ranks, rank);
    }
    return status;
}

enum cm_status cm_token_subset_open(const struct cm_tokenizer *tokenizer, const bool relevant[256],
                                    bool (*is_near)(struct cm_span bytes),
                                    struct cm_token_subset **subset)
{
    uint32_t n_tokens = cm_tokenizer_size(tokenizer);
    int32_t *tokens = cm_alloc(n_tokens, sizeof *tokens);
    uint8_t *ranks = cm_alloc(n_tokens, sizeof *ranks);
    struct cm_token_subset *opened = cm_alloc(1, sizeof *opened);
    enum cm_status status = CM_OUT_OF_MEMORY;
    if (opened == NULL || tokens == NULL || ranks == NULL) {
        goto done;
    }
    opened->tokenizer = tokenizer;
    opened->stops = cm_alloc(n_tokens, sizeof *opened->stops);
    if (opened->stops == NULL) {
        goto done;
    }
    while (relevant[opened->ordinary_byte]) {
        CM_ASSERT(opened->ordinary_byte < 255); /* an automaton leaves some byte ordinary */
        opened->ordinary_byte++;
    }
    status = fill_subset(opened, relevant, is_near, tokens, ranks);
done:
    cm_free(tokens);
    cm_free(ranks);
    if (status != CM_OK) {
        cm_token_subset_close(opened);
        return status;
    }
    *subset = opened;
    return CM_OK;
}

void cm_token_subset_close(struct cm_token_subset *subset)
{
    if (subset != NULL) {
        for (size_t i = 0; i < RANKS_COUNT; i++) {
            cm_token_walk_deinit(&subset->walks[i]);
        }
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

/* The tokens to try in a state. */
static const struct cm_token_walk *tried_tokens(const struct cm_constraint *constraint,
                                                uint32_t state)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    enum cm_attention attention = automaton->attention != NULL
                                      ? automaton->attention(automaton->context, state)
                                      : CM_ATTENTION_RELEVANT;
    switch (attention) {
    case CM_ATTENTION_RELEVANT:
        return &constraint->subset->walks[RANK_RELEVANT];
    case CM_ATTENTION_NEAR:
        return &constraint->subset->walks[RANK_NEAR];
    case CM_ATTENTION_ALL:
        break;
    }
    return &constraint->subset->walks[RANK_ORDINARY];
}

static void set_bit(uint64_t *bits, int32_t token)
{
    bits[token / 64] |= UINT64_C(1) << token % 64;
}

/* Sets the bits of the tokens of the walk that keep the automaton alive, or of those that do not;
 * returns how many. */
static uint32_t list_tokens(const struct cm_constraint *constraint, uint32_t state, bool alive,
                            uint64_t *bits)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    const struct cm_token_walk *walk = tried_tokens(constraint, state);
    uint32_t states[CM_WALK_BYTES_MAX + 1] = {
        state
    };                  /* after so many bytes of the token before */
    size_t reached = 0; /* the last of them that is known */
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk->count; i++) {
        const uint8_t *byte = walk->bytes + (i > 0 ? walk->ends[i - 1] : 0);
        const uint8_t *end = walk->bytes + walk->ends[i];
        /* Where the token before died in what this one begins with too, it is dead at `reached`;
         * else all that they have in common is known. */
        reached = walk->common[i] < reached ? walk->common[i] : reached;
        uint32_t now = states[reached];
        for (; byte < end && now != CM_AUTOMATON_DEAD; byte++) {
            now = automaton->next(automaton->context, now, *byte);
            if (reached < CM_WALK_BYTES_MAX) {
                states[++reached] = now;
            }
        }
        if ((now != CM_AUTOMATON_DEAD) == alive) {
            set_bit(bits, walk->tokens[i]);
            count++;
        }
    }
    return count;
}

static void take_bits(const uint64_t *bits, size_t words, int32_t *ids)
{
    for (size_t i = 0; i < words; i++) {
        for (uint64_t left = bits[i]; left != 0; left &= left - 1) {
            *ids++ = (int32_t)(i * 64) + __builtin_ctzll(left);
        }
    }
}

static enum cm_status work_out(const struct cm_constraint *constraint, uint32_t state,
                               struct known_state *known)
{
    const struct cm_automaton *automaton = &constraint->automaton;
    const struct cm_token_subset *subset = constraint->subset;
    size_t words = cm_tokenizer_size(subset->tokenizer) / 64 + 1;
    uint64_t *bits = cm_alloc(words, sizeof *bits);
    if (bits == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    /* Where ordinary tokens may follow, list those that may not; else those that may. */
    bool only =
        automaton->next(automaton->context, state, subset->ordinary_byte) == CM_AUTOMATON_DEAD;
    uint32_t count = list_tokens(constraint, state, only, bits);
    if (automaton->may_end(automaton->context, state) == only) {
        for (uint32_t i = 0; i < subset->stops_count; i++) {
            set_bit(bits, subset->stops[i]);
        }
        count += subset->stops_count;
    }
    int32_t *ids = cm_alloc((size_t)count + 1, sizeof *ids); /* an empty list is not NULL */
    if (ids != NULL) {
        take_bits(bits, words, ids);
        *known = (struct known_state){ state, { only, ids, count }, ids };
    }
    cm_free(bits);
    return ids != NULL ? CM_OK : CM_OUT_OF_MEMORY;
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
