/* What a text may say, as an automaton over its bytes: banned words, a lock on numbers. Compiled in
 * `jobs` and handed down opaque; the engine only asks which tokens keep it alive.
 *
 * Because it runs over bytes, no tokenisation slips through: a banned word cannot be written in one
 * token, in two, or letter by letter, nor a number by its digits.
 *
 * The tokens that a state allows are worked out when a text first reaches it and kept. Most tokens
 * consist of bytes that mean nothing to the automaton ("ordinary" bytes) and share one fate, so
 * only those with a relevant byte are tried one by one.
 */
#ifndef CM_HOST_CONSTRAINT_H
#define CM_HOST_CONSTRAINT_H

#include "base/status.h"
#include "host/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM_AUTOMATON_DEAD = UINT32_MAX, CM_CONSTRAINTS_MAX = 2 };

/* How much of a token matters to an automaton in a state. */
enum cm_attention {
    CM_ATTENTION_RELEVANT, /* its relevant bytes */
    CM_ATTENTION_NEAR,     /* and what the subset's `is_near` looks for at its beginning */
    CM_ATTENTION_ALL,      /* everything: each token is tried */
};

struct cm_automaton {
    const void *context;
    uint32_t start;

    /* The state after one more byte; CM_AUTOMATON_DEAD: it may not stand here. All bytes that are
     * not in `relevant` lead to the same state, but for UTF-8 continuation bytes in a state that a
     * relevant byte led to, and where `attention` asks for more. */
    uint32_t (*next)(const void *context, uint32_t state, uint8_t byte);
    bool (*may_end)(const void *context, uint32_t state); /* whether the text may end here */
    /* Whether a text that has to end, at its token limit, may be cut here; NULL: as may_end. */
    bool (*may_cut)(const void *context, uint32_t state);
    enum cm_attention (*attention)(const void *context, uint32_t state); /* NULL: RELEVANT */
    bool relevant[256];
};

/* The tokens that hold a byte relevant to a kind of automaton or begin inside a character; one for
 * all constraints of the kind.
 * Read-only after opening. */
struct cm_token_subset;

/* `is_near` (may be NULL) tells whether a token that begins so is tried in near states too. */
enum cm_status cm_token_subset_open(const struct cm_tokenizer *tokenizer, const bool relevant[256],
                                    bool (*is_near)(struct cm_span bytes),
                                    struct cm_token_subset **subset) CM_MUST_CHECK;
void cm_token_subset_close(struct cm_token_subset *subset);

/* An automaton with what was worked out about it. Counted by reference: made by one thread, then
 * used by the engine's; whoever drops the last reference frees it. */
struct cm_constraint;

/* `free_context` (may be NULL) is called on the automaton's context at the end, also when this
 * fails. `subset` must outlive the constraint. */
enum cm_status cm_constraint_open(const struct cm_automaton *automaton,
                                  const struct cm_token_subset *subset,
                                  void (*free_context)(void *context),
                                  struct cm_constraint **constraint) CM_MUST_CHECK;
struct cm_constraint *cm_constraint_share(struct cm_constraint *constraint);
void cm_constraint_release(struct cm_constraint *constraint); /* NULL is fine */

uint32_t cm_constraint_start(const struct cm_constraint *constraint);

/* The state after a token's bytes. CM_AUTOMATON_DEAD only for a token that was not allowed. */
uint32_t cm_constraint_advance(const struct cm_constraint *constraint, uint32_t state,
                               int32_t token);

/* Whether the text may end in this state. */
bool cm_constraint_may_end(const struct cm_constraint *constraint, uint32_t state);

/* Whether it may be cut in this state, where it has to end. */
bool cm_constraint_may_cut(const struct cm_constraint *constraint, uint32_t state);

/* Which tokens may follow: all but `ids`, or `ids` alone. Rising ids; never the stop tokens where
 * the text may not end. `only` with no ids means that nothing at all can follow. */
struct cm_token_mask {
    bool only;
    const int32_t *ids;
    uint32_t count;
};

/* Valid as long as the constraint. CM_OUT_OF_MEMORY. */
enum cm_status cm_constraint_mask(struct cm_constraint *constraint, uint32_t state,
                                  struct cm_token_mask *mask) CM_MUST_CHECK;

#endif
