/* Prompts kept in order, to find how much of a new one an earlier one already has. */
#ifndef CM_JOBS_PROMPT_SET_H
#define CM_JOBS_PROMPT_SET_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Prefixes are compared up to here; it bounds the memory of an item with many segments. */
enum { CM_PROMPT_SET_TOKENS_MAX = 4096 };

/* Zero-initialise; release with cm_prompt_set_deinit. */
struct cm_prompt_set {
    struct cm_prompt_ids *prompts; /* sorted by their ids */
    size_t count;
    size_t capacity;
};

struct cm_prompt_ids {
    int32_t *ids;
    size_t count;
};

void cm_prompt_set_deinit(struct cm_prompt_set *set);
void cm_prompt_set_clear(struct cm_prompt_set *set);

/* The most tokens at the start of `ids` that any prompt of the set shares. */
size_t cm_prompt_set_shared(const struct cm_prompt_set *set, const int32_t *ids, size_t count);

/* Copies. CM_OUT_OF_MEMORY. */
enum cm_status cm_prompt_set_add(struct cm_prompt_set *set, const int32_t *ids,
                                 size_t count) CM_MUST_CHECK;

#endif
