/* Tokens in the order of their bytes, so that an automaton runs once over what neighbours begin
 * with: a walk through the tree that their bytes make. */
#ifndef CM_HOST_TOKEN_WALK_H
#define CM_HOST_TOKEN_WALK_H

#include "base/status.h"
#include "host/tokenizer.h"

#include <stdint.h>

/* Bytes that neighbours have in common count up to here. */
enum { CM_WALK_BYTES_MAX = 63 };

struct cm_token_walk {
    int32_t *tokens; /* [count] */
    uint8_t *common; /* [count] bytes that are those of the token before */
    uint32_t *ends;  /* [count] of its other bytes, in `bytes`, where those of the next begin */
    uint8_t *bytes;
    uint32_t count;
};

/* Sorts tokens by their bytes. */
enum cm_status cm_token_walk_sort(const struct cm_tokenizer *tokenizer, int32_t *tokens,
                                  uint32_t count) CM_MUST_CHECK;

/* The sorted tokens whose rank, ranks[token], is at least `rank_min`. Release with
 * cm_token_walk_deinit, also on failure. */
enum cm_status cm_token_walk_init(struct cm_token_walk *walk, const struct cm_tokenizer *tokenizer,
                                  const int32_t *sorted, uint32_t count, const uint8_t *ranks,
                                  uint8_t rank_min) CM_MUST_CHECK;
void cm_token_walk_deinit(struct cm_token_walk *walk);

#endif
