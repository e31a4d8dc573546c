/* Logits of every position of a text, for tests and `model check`: see cm_engine_logits. */
#ifndef CM_HOST_SEQUENCE_LOGITS_H
#define CM_HOST_SEQUENCE_LOGITS_H

#include "base/status.h"
#include "host/kv_pages.h"
#include "host/ranks.h"

/* What the computation needs of an idle replica. */
struct cm_logits_parts {
    struct cm_ranks *ranks;
    struct cm_kv_pages *pages;
    uint32_t n_vocab;
    uint32_t context_tokens;
};

/* Arguments and errors as of cm_engine_logits. */
enum cm_status cm_sequence_logits(const struct cm_logits_parts *parts, const int32_t *tokens,
                                  uint32_t tokens_count, uint32_t chunk_tokens,
                                  uint32_t shared_tokens, float *logits,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
