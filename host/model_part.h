/* The part of a model that one device computes where several compute it together (tensor parallel,
 * as in Megatron-LM, Shoeybi et al. 2019): some attention heads, some columns of the feed-forward
 * block and some rows of the vocabulary. Everything else is on all of them.
 *
 * A rank's heads share KV heads that it has too: where there are fewer KV heads than ranks, some
 * ranks hold the same one. The feed-forward block is cut at whole blocks of quantised weights, so
 * that ranks may differ by one block; the vocabulary at multiples of 8. */
#ifndef CM_HOST_MODEL_PART_H
#define CM_HOST_MODEL_PART_H

#include "base/status.h"
#include "kernels/comm.h"
#include "loaders/model_file.h"

struct cm_model_part {
    uint32_t rank;
    uint32_t ranks_count;
    struct cm_model_config config; /* the model's, with the part's n_heads, n_kv_heads, n_ff and
                                      n_vocab */
    uint32_t first_head;
    uint32_t first_kv_head;
    uint32_t first_ff;
    uint32_t first_token;
    struct cm_split vocabulary; /* how the ranks share it */
};

/* `ff_unit` divides n_ff: the block is cut at its multiples. CM_UNSUPPORTED, naming the numbers of
 * devices that would do, where the heads, the block or the vocabulary cannot be shared evenly. */
enum cm_status cm_model_part_init(struct cm_model_part *part, const struct cm_model_config *config,
                                  uint32_t ff_unit, uint32_t ranks_count, uint32_t rank,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
