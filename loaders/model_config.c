#include "loaders/model_config.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define FIELD(member) offsetof(struct cm_model_config, member)

const struct cm_config_field cm_config_fields[CM_CONFIG_FIELDS_COUNT] = {
    { "num_hidden_layers", "n_layer", "block_count", FIELD(n_layers), CM_LAYERS_MAX, true },
    { "hidden_size", "n_embd", "embedding_length", FIELD(n_embd), CM_EMBD_MAX, true },
    { "num_attention_heads", "n_head", "attention.head_count", FIELD(n_heads), CM_HEADS_MAX, true },
    { "num_key_value_heads", NULL, "attention.head_count_kv", FIELD(n_kv_heads), CM_HEADS_MAX,
      false },
    { "head_dim", NULL, "attention.key_length", FIELD(head_dim), CM_HEAD_DIM_MAX, false },
    { "intermediate_size", "n_inner", "feed_forward_length", FIELD(n_ff), CM_FF_MAX, false },
    { "max_position_embeddings", "n_positions", "context_length", FIELD(n_positions),
      CM_POSITIONS_MAX, true },
    { "vocab_size", "vocab_size", "vocab_size", FIELD(n_vocab), CM_VOCAB_MAX, false },
};

uint32_t *cm_config_field_value(struct cm_model_config *config, const struct cm_config_field *field)
{
    return (uint32_t *)(void *)((char *)config + field->offset);
}

static void fill_defaults(struct cm_model_config *config)
{
    if (config->n_kv_heads == 0) {
        config->n_kv_heads = config->n_heads;
    }
    if (config->head_dim == 0 && config->n_embd % config->n_heads == 0) {
        config->head_dim = config->n_embd / config->n_heads;
    }
    if (config->n_ff == 0 && config->family == CM_FAMILY_GPT2) {
        config->n_ff = 4 * config->n_embd;
    }
    if (config->attention_scale == 0.0F && config->head_dim > 0) {
        config->attention_scale = 1.0F / sqrtf((float)config->head_dim);
    }
}

static enum cm_status check_heads(const struct cm_model_config *config, const char *path,
                                  struct cm_error *error)
{
    if (config->head_dim == 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the width %" PRIu32 " is no multiple of the %" PRIu32
                            " attention heads and no head size is given",
                            path, config->n_embd, config->n_heads);
    }
    if (config->head_dim > CM_HEAD_DIM_MAX) {
        return cm_error_set(error, CM_LIMIT,
                            "%s: the head size is %" PRIu32 "; expected at most %d", path,
                            config->head_dim, CM_HEAD_DIM_MAX);
    }
    if (config->n_heads % config->n_kv_heads != 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %" PRIu32 " attention heads are no multiple of %" PRIu32
                            " key-value heads",
                            path, config->n_heads, config->n_kv_heads);
    }
    if (config->family != CM_FAMILY_GPT2 && config->head_dim % 2 != 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the head size %" PRIu32
                            " is odd; the rotary embedding needs pairs",
                            path, config->head_dim);
    }
    return CM_OK;
}

enum cm_status cm_model_config_complete(struct cm_model_config *config, const char *path,
                                        struct cm_error *error)
{
    fill_defaults(config);
    enum cm_status status = check_heads(config, path, error);
    if (status != CM_OK) {
        return status;
    }
    if (config->n_ff == 0 || config->n_ff > CM_FF_MAX) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the feed-forward width is %" PRIu32 "; expected 1 to %d", path,
                            config->n_ff, CM_FF_MAX);
    }
    if (config->n_vocab == 0 || config->n_vocab > CM_VOCAB_MAX) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the vocabulary size is %" PRIu32 "; expected 1 to %d", path,
                            config->n_vocab, CM_VOCAB_MAX);
    }
    if (config->sliding_window_pattern != 0 && config->sliding_window == 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: some layers have a sliding window, but its size is not given",
                            path);
    }
    return CM_OK;
}

enum cm_status cm_config_required(enum cm_status status, struct cm_error *error)
{
    if (status == CM_NOT_FOUND && error != NULL) {
        error->status = CM_INVALID_DATA;
    }
    return status == CM_NOT_FOUND ? CM_INVALID_DATA : status;
}

void cm_model_config_set_name(struct cm_model_config *config, struct cm_span name)
{
    size_t length = name.length < sizeof config->name ? name.length : sizeof config->name - 1;
    /* Cut between characters: 10xxxxxx continues one. */
    while (length < name.length && length > 0 &&
           ((unsigned char)name.data[length] & 0xc0) == 0x80) {
        length--;
    }
    memcpy(config->name, name.data, length);
    config->name[length] = '\0';
}
