#include "loaders/gguf_config.h"

#include "base/utf8.h"

#include "loaders/model_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The one Gemma 3 whose attention scale is not 1/sqrt(head_dim) is told by its depth alone. */
enum { GEMMA3_27B_LAYERS = 62 };

enum { KEY_BYTES = 128 };

struct source {
    const struct cm_gguf *gguf;
    const char *architecture;
    struct cm_error *error;
};

static const struct {
    const char *name;
    enum cm_model_family family;
} architectures[] = {
    { "llama", CM_FAMILY_LLAMA },   { "qwen2", CM_FAMILY_QWEN2 }, { "qwen3", CM_FAMILY_QWEN3 },
    { "gemma3", CM_FAMILY_GEMMA3 }, { "gpt2", CM_FAMILY_GPT2 },
};

static enum cm_status find_architecture(struct source *source, struct cm_model_config *config)
{
    struct cm_span name;
    enum cm_status status =
        cm_gguf_string(source->gguf, "general.architecture", &name, source->error);
    if (status != CM_OK) {
        return cm_config_required(status, source->error);
    }
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++) {
        if (cm_span_equal_text(name, architectures[i].name)) {
            source->architecture = architectures[i].name;
            config->family = architectures[i].family;
            return CM_OK;
        }
    }
    return cm_error_set(source->error, CM_UNSUPPORTED,
                        "%s: general.architecture is \"%.*s\"; expected llama, qwen2, qwen3, "
                        "gemma3 or gpt2",
                        cm_gguf_path(source->gguf), (int)(name.length < 64 ? name.length : 64),
                        name.data);
}

static const char *key_of(const struct source *source, const char *suffix, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s.%s", source->architecture, suffix);
    return key;
}

static bool has(const struct source *source, const char *suffix)
{
    char key[KEY_BYTES];
    return cm_gguf_find(source->gguf, key_of(source, suffix, key)) != NULL;
}

/* An absent key leaves the value as it is. */
static enum cm_status read_uint(const struct source *source, const char *suffix, uint32_t max,
                                uint32_t *value)
{
    char key[KEY_BYTES];
    if (!has(source, suffix)) {
        return CM_OK;
    }
    return cm_gguf_uint(source->gguf, key_of(source, suffix, key), 0, max, value, source->error);
}

static enum cm_status read_float(const struct source *source, const char *suffix, double min,
                                 double max, float *value)
{
    char key[KEY_BYTES];
    if (!has(source, suffix)) {
        return CM_OK;
    }
    return cm_gguf_float(source->gguf, key_of(source, suffix, key), min, max, value, source->error);
}

static enum cm_status read_fields(const struct source *source, struct cm_model_config *config)
{
    for (size_t i = 0; i < CM_CONFIG_FIELDS_COUNT; i++) {
        const struct cm_config_field *field = &cm_config_fields[i];
        if (!field->required && !has(source, field->gguf)) {
            continue;
        }
        char key[KEY_BYTES];
        enum cm_status status =
            cm_gguf_uint(source->gguf, key_of(source, field->gguf, key), 1, field->max,
                         cm_config_field_value(config, field), source->error);
        if (status != CM_OK) {
            return cm_config_required(status, source->error);
        }
    }
    return CM_OK;
}

static enum cm_status read_norm(const struct source *source, struct cm_model_config *config)
{
    char key[KEY_BYTES];
    const char *suffix = config->family == CM_FAMILY_GPT2 ? "attention.layer_norm_epsilon"
                                                          : "attention.layer_norm_rms_epsilon";
    enum cm_status status =
        cm_gguf_float(source->gguf, key_of(source, suffix, key), CM_NORM_EPSILON_MIN,
                      CM_NORM_EPSILON_MAX, &config->norm_epsilon, source->error);
    return cm_config_required(status, source->error);
}

static enum cm_status read_rope_scaling(const struct source *source, struct cm_model_config *config)
{
    char key[KEY_BYTES];
    config->rope_factor = 1.0F;
    if (!has(source, "rope.scaling.type")) {
        return CM_OK;
    }
    struct cm_span type;
    enum cm_status status = cm_gguf_string(source->gguf, key_of(source, "rope.scaling.type", key),
                                           &type, source->error);
    if (status != CM_OK || cm_span_equal_text(type, "none")) {
        return status;
    }
    if (!cm_span_equal_text(type, "linear")) {
        return cm_error_set(
            source->error, CM_UNSUPPORTED, "%s: %s is \"%.*s\"; expected none or linear",
            cm_gguf_path(source->gguf), key, (int)(type.length < 64 ? type.length : 64), type.data);
    }
    config->rope_scaling = CM_ROPE_SCALING_LINEAR;
    return read_float(source, "rope.scaling.factor", 1.0, CM_ROPE_FACTOR_MAX, &config->rope_factor);
}

static enum cm_status read_rope(const struct source *source, struct cm_model_config *config)
{
    config->rope_theta = CM_ROPE_THETA_DEFAULT;
    enum cm_status status =
        read_float(source, "rope.freq_base", 1.0, CM_ROPE_THETA_MAX, &config->rope_theta);
    if (status != CM_OK) {
        return status;
    }
    config->rope_theta_local =
        config->family == CM_FAMILY_GEMMA3 ? CM_ROPE_THETA_DEFAULT : config->rope_theta;
    status =
        read_float(source, "rope.freq_base_swa", 1.0, CM_ROPE_THETA_MAX, &config->rope_theta_local);
    return status == CM_OK ? read_rope_scaling(source, config) : status;
}

/* Gemma 3's pattern is not in its files; other architectures window all layers or none. */
static enum cm_status read_window(const struct source *source, struct cm_model_config *config)
{
    enum cm_status status =
        read_uint(source, "attention.sliding_window", CM_POSITIONS_MAX, &config->sliding_window);
    if (status == CM_OK && config->family == CM_FAMILY_GEMMA3) {
        config->sliding_window_pattern = CM_GEMMA3_WINDOW_PATTERN;
        status = read_uint(source, "attention.sliding_window_pattern", CM_LAYERS_MAX,
                           &config->sliding_window_pattern);
    }
    return status;
}

/* Refuses variants that would compute something else from the same tensors. */
static enum cm_status check_supported(const struct source *source,
                                      const struct cm_model_config *config)
{
    const char *path = cm_gguf_path(source->gguf);
    uint32_t experts = 0;
    uint32_t rope_dim = config->head_dim;
    uint32_t value_dim = config->head_dim;
    enum cm_status status = read_uint(source, "expert_count", UINT32_MAX, &experts);
    if (status == CM_OK) {
        status = read_uint(source, "rope.dimension_count", UINT32_MAX, &rope_dim);
    }
    if (status == CM_OK) {
        status = read_uint(source, "attention.value_length", UINT32_MAX, &value_dim);
    }
    if (status != CM_OK) {
        return status;
    }
    if (experts > 0) {
        return cm_error_set(source->error, CM_UNSUPPORTED,
                            "%s: %s.expert_count is %" PRIu32
                            "; mixture-of-experts models are not supported",
                            path, source->architecture, experts);
    }
    if (value_dim != config->head_dim ||
        (config->family != CM_FAMILY_GPT2 && rope_dim != config->head_dim)) {
        return cm_error_set(source->error, CM_UNSUPPORTED,
                            "%s: heads of %" PRIu32 " values with a rotary part of %" PRIu32
                            " and values of %" PRIu32
                            " are not supported; expected all three to be equal",
                            path, config->head_dim, rope_dim, value_dim);
    }
    return CM_OK;
}

enum cm_status cm_gguf_config(const struct cm_gguf *gguf, struct cm_model_config *config,
                              struct cm_error *error)
{
    struct source source = { .gguf = gguf, .error = error };
    *config = (struct cm_model_config){ .container = CM_CONTAINER_GGUF };
    enum cm_status status = find_architecture(&source, config);
    if (status == CM_OK) {
        status = read_fields(&source, config);
    }
    if (status == CM_OK) {
        status = read_norm(&source, config);
    }
    if (status == CM_OK) {
        status = read_rope(&source, config);
    }
    if (status == CM_OK) {
        status = read_window(&source, config);
    }
    if (status == CM_OK && config->n_vocab == 0) {
        const struct cm_gguf_entry *tokens;
        status = cm_gguf_array(gguf, "tokenizer.ggml.tokens", CM_GGUF_STRING, &tokens, error);
        status = cm_config_required(status, error);
        if (status == CM_OK) {
            config->n_vocab = tokens->count > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens->count;
        }
    }
    if (status == CM_OK && config->family == CM_FAMILY_GEMMA3 &&
        config->n_layers == GEMMA3_27B_LAYERS) {
        config->attention_scale = 1.0F / sqrtf((float)config->n_embd / (float)config->n_heads);
    }
    if (status == CM_OK) {
        status = cm_model_config_complete(config, cm_gguf_path(gguf), error);
    }
    if (status == CM_OK) {
        status = check_supported(&source, config);
    }
    struct cm_span name;
    if (status == CM_OK && cm_gguf_string(gguf, "general.name", &name, NULL) == CM_OK &&
        cm_utf8_valid_name(name)) {
        cm_model_config_set_name(config, name);
    }
    return status;
}
