/* Reference outputs that `copymill model check` holds a model to: a JSON file in one of four
 * shapes, told apart by their fields.
 *
 *   tokenizer cases   {"cases": [[text, [id, ...]], ...]}
 *   full logits       {"n_vocab", "cases": [{"ids", "continuation", "logits_row", "logits_rows",
 *                     "greedy", "greedy_margin"}]}, and logits.f32 beside it: little-endian float32
 *                     of [rows, n_vocab]. A case may have "beams4": [{"tokens", "score"}], the
 * texts of a beam search, the best first highest logits    {"cases": [{"text", "ids",
 * "mean_logprob", "greedy", "top20"}]}, where top20 holds [id, logit] pairs for each greedy token
 *
 *   hidden states     {"cases": [{"ids", "hidden_row"}]} of an encoder, and hidden.f32 beside it:
 *                     little-endian float32 of [rows, width]
 *
 * All that is handed out lives until cm_reference_close and is checked to be consistent; ids are
 * only known to be non-negative. */
#ifndef CM_LOADERS_REFERENCE_H
#define CM_LOADERS_REFERENCE_H

#include "base/status.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

enum cm_reference_kind {
    CM_REFERENCE_TOKENIZER,
    CM_REFERENCE_LOGITS,
    CM_REFERENCE_TOP,
    CM_REFERENCE_HIDDEN
};

struct cm_reference_top {
    int32_t id;
    float logit;
};

struct cm_reference_beam {
    int32_t *tokens;
    size_t tokens_count;
    double score;
};

struct cm_reference_case {
    struct cm_span text; /* empty where the file has none */
    int32_t *ids;
    size_t ids_count;
    int32_t *continuation; /* CM_REFERENCE_LOGITS: what follows the prompt in `logits` */
    size_t continuation_count;
    const float *hidden; /* CM_REFERENCE_HIDDEN: [ids_count, width] */
    const float *logits; /* CM_REFERENCE_LOGITS: [ids_count + continuation_count, n_vocab] */
    int32_t *greedy;
    size_t greedy_count;
    float *margins; /* [greedy_count] first over second */
    double mean_logprob;
    struct cm_reference_top *top; /* CM_REFERENCE_TOP: [greedy_count, top_count], highest first */
    size_t top_count;
    struct cm_reference_beam *beams; /* CM_REFERENCE_LOGITS: [beams_count], all of one length */
    size_t beams_count;
};

struct cm_file_map;

struct cm_reference {
    enum cm_reference_kind kind;
    uint32_t n_vocab; /* CM_REFERENCE_LOGITS */
    uint32_t width;   /* CM_REFERENCE_HIDDEN */
    struct cm_reference_case *cases;
    size_t cases_count;
    void *json;                     /* what the texts point into */
    struct cm_file_map *values_map; /* logits.f32 or hidden.f32 */
};

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA (the message names file, case and field),
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_reference_init(struct cm_reference *reference, const char *path,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_reference_deinit(struct cm_reference *reference);

#endif
