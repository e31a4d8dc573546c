#include "host/model_part.h"

#include <stdio.h>
#include <string.h>

enum { VOCABULARY_UNIT = 8 };

/* Columns of the head on every rank but the last. */
static uint32_t tokens_per_rank(uint32_t n_vocab, uint32_t ranks_count)
{
    uint32_t each = (n_vocab + ranks_count - 1) / ranks_count;
    return ranks_count == 1 ? each
                            : (each + VOCABULARY_UNIT - 1) / VOCABULARY_UNIT * VOCABULARY_UNIT;
}

static bool can_split(const struct cm_model_config *config, uint32_t ff_unit, uint32_t ranks_count)
{
    uint32_t n_kv = config->n_kv_heads;
    uint64_t before_last =
        (uint64_t)tokens_per_rank(config->n_vocab, ranks_count) * (ranks_count - 1);
    return config->n_heads % ranks_count == 0 &&
           (n_kv % ranks_count == 0 || ranks_count % n_kv == 0) &&
           config->n_ff / ff_unit >= ranks_count && before_last < config->n_vocab;
}

static enum cm_status refuse(const struct cm_model_config *config, uint32_t ff_unit,
                             uint32_t ranks_count, struct cm_error *error)
{
    char possible[96] = "";
    for (uint32_t i = 2; i <= CM_COMM_RANKS_MAX; i++) {
        size_t length = strlen(possible);
        if (can_split(config, ff_unit, i)) {
            snprintf(possible + length, sizeof possible - length, "%s%u", length > 0 ? ", " : "",
                     i);
        }
    }
    return cm_error_set(error, CM_UNSUPPORTED,
                        "--tp %u: this model's %u attention heads and %u KV heads cannot be shared "
                        "by %u devices; %s%s",
                        ranks_count, config->n_heads, config->n_kv_heads, ranks_count,
                        possible[0] != '\0' ? "what would do: --tp " : "it runs on one only",
                        possible);
}

enum cm_status cm_model_part_init(struct cm_model_part *part, const struct cm_model_config *config,
                                  uint32_t ff_unit, uint32_t ranks_count, uint32_t rank,
                                  struct cm_error *error)
{
    CM_ASSERT(rank < ranks_count && config->n_ff % ff_unit == 0);
    if (ranks_count > CM_COMM_RANKS_MAX || !can_split(config, ff_unit, ranks_count)) {
        return refuse(config, ff_unit, ranks_count, error);
    }
    uint32_t units_count = config->n_ff / ff_unit;
    uint32_t n_part = tokens_per_rank(config->n_vocab, ranks_count);
    uint32_t tokens_left = config->n_vocab - rank * n_part;
    *part = (struct cm_model_part){ .rank = rank, .ranks_count = ranks_count, .config = *config };
    part->config.n_heads = config->n_heads / ranks_count;
    part->config.n_kv_heads =
        config->n_kv_heads > ranks_count ? config->n_kv_heads / ranks_count : 1;
    part->first_head = rank * part->config.n_heads;
    part->first_kv_head = (uint32_t)((uint64_t)rank * config->n_kv_heads / ranks_count);
    part->first_ff = (uint32_t)((uint64_t)units_count * rank / ranks_count) * ff_unit;
    uint32_t end_ff = (uint32_t)((uint64_t)units_count * (rank + 1) / ranks_count) * ff_unit;
    part->config.n_ff = end_ff - part->first_ff;
    part->first_token = rank * n_part;
    part->config.n_vocab = tokens_left < n_part ? tokens_left : n_part;
    part->vocabulary = (struct cm_split){ n_part, config->n_vocab };
    return CM_OK;
}
