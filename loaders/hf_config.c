#include "loaders/hf_config.h"

#include "loaders/json_file.h"
#include "loaders/model_config.h"

#include <inttypes.h>
#include <math.h>

struct source {
    const json_t *document;
    const char *path;
    struct cm_error *error;
};

/* What the families' config.json leaves out, and the one activation that the engine has for each.
 */
static const struct family {
    const char *model_type;
    enum cm_model_family family;
    const char *activation_key;
    const char *activation;
    const char *epsilon_key;
    bool tied_by_default;
} families[] = {
    { "gpt2", CM_FAMILY_GPT2, "activation_function", "gelu_new", "layer_norm_epsilon", true },
    { "llama", CM_FAMILY_LLAMA, "hidden_act", "silu", "rms_norm_eps", false },
    { "mistral", CM_FAMILY_MISTRAL, "hidden_act", "silu", "rms_norm_eps", false },
    { "qwen2", CM_FAMILY_QWEN2, "hidden_act", "silu", "rms_norm_eps", false },
    { "qwen3", CM_FAMILY_QWEN3, "hidden_act", "silu", "rms_norm_eps", false },
    { "gemma3_text", CM_FAMILY_GEMMA3, "hidden_activation", "gelu_pytorch_tanh", "rms_norm_eps",
      true },
    { "bert", CM_FAMILY_BERT, "hidden_act", "gelu", "layer_norm_eps", true },
};

/* Turns "the key is not there" into `CM_OK` for a value that has a default. */
static enum cm_status optional(enum cm_status status)
{
    return status == CM_NOT_FOUND ? CM_OK : status;
}

static enum cm_status unsupported(const struct source *source, const char *what)
{
    return cm_error_set(source->error, CM_UNSUPPORTED, "%s: %s", source->path, what);
}

static enum cm_status find_family(const struct source *source, const struct family **family)
{
    struct cm_span type;
    enum cm_status status = cm_config_required(
        cm_json_string(source->document, source->path, "model_type", &type, source->error),
        source->error);
    if (status != CM_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (cm_span_equal_text(type, families[i].model_type)) {
            *family = &families[i];
            return CM_OK;
        }
    }
    return cm_error_set(source->error, CM_UNSUPPORTED,
                        "%s: model_type is \"%.*s\"; expected gpt2, llama, mistral, qwen2, "
                        "qwen3, gemma3_text or bert",
                        source->path, (int)(type.length < 64 ? type.length : 64), type.data);
}

static enum cm_status read_fields(const struct source *source, struct cm_model_config *config)
{
    for (size_t i = 0; i < CM_CONFIG_FIELDS_COUNT; i++) {
        const struct cm_config_field *field = &cm_config_fields[i];
        const char *key = config->family == CM_FAMILY_GPT2 ? field->json_gpt2 : field->json;
        if (key == NULL) {
            continue;
        }
        enum cm_status status = cm_json_uint(source->document, source->path, key, 1, field->max,
                                             cm_config_field_value(config, field), source->error);
        status = field->required ? cm_config_required(status, source->error) : optional(status);
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

static enum cm_status refuse_flag(const struct source *source, const char *key, bool expected)
{
    bool value = expected;
    enum cm_status status =
        optional(cm_json_bool(source->document, source->path, key, &value, source->error));
    if (status == CM_OK && value != expected) {
        return cm_error_set(source->error, CM_UNSUPPORTED, "%s: %s is %s; only %s is supported",
                            source->path, key, value ? "true" : "false",
                            expected ? "true" : "false");
    }
    return status;
}

/* Variants that compute something else from tensors of the same names. */
static enum cm_status check_supported(const struct source *source, const struct family *family)
{
    static const struct {
        const char *key;
        bool expected;
    } flags[] = {
        { "attention_bias", false },      { "mlp_bias", false },
        { "scale_attn_weights", true },   { "scale_attn_by_inverse_layer_idx", false },
        { "add_cross_attention", false }, { "use_bidirectional_attention", false },
        { "is_decoder", false },
    };
    static const char *const null_keys[] = { "attn_logit_softcapping", "final_logit_softcapping",
                                             "quantization_config" };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        enum cm_status status = refuse_flag(source, flags[i].key, flags[i].expected);
        if (status != CM_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < sizeof null_keys / sizeof null_keys[0]; i++) {
        if (cm_json_get(source->document, null_keys[i]) != NULL) {
            return cm_error_set(source->error, CM_UNSUPPORTED,
                                "%s: %s is set; only null is supported", source->path,
                                null_keys[i]);
        }
    }
    struct cm_span positions = cm_span_of("absolute");
    if (optional(cm_json_string(source->document, source->path, "position_embedding_type",
                                &positions, source->error)) != CM_OK ||
        !cm_span_equal_text(positions, "absolute")) {
        return unsupported(source, "position_embedding_type is not absolute");
    }
    struct cm_span activation = cm_span_of(family->activation);
    enum cm_status status = optional(cm_json_string(
        source->document, source->path, family->activation_key, &activation, source->error));
    if (status == CM_OK && !cm_span_equal_text(activation, family->activation)) {
        return cm_error_set(source->error, CM_UNSUPPORTED, "%s: %s is not %s", source->path,
                            family->activation_key, family->activation);
    }
    return status;
}

static enum cm_status read_float(const struct source *source, const json_t *object, const char *key,
                                 double min, double max, float *value)
{
    return cm_json_float(object, source->path, key, min, max, value, source->error);
}

static enum cm_status read_llama3_scaling(const struct source *source, const json_t *rope,
                                          struct cm_model_config *config)
{
    config->rope_scaling = CM_ROPE_SCALING_LLAMA3;
    enum cm_status status =
        read_float(source, rope, "factor", 1.0, CM_ROPE_FACTOR_MAX, &config->rope_factor);
    if (status == CM_OK) {
        status = read_float(source, rope, "low_freq_factor", 1e-3, CM_ROPE_FACTOR_MAX,
                            &config->rope_low_freq_factor);
    }
    if (status == CM_OK) {
        status = read_float(source, rope, "high_freq_factor", 1e-3, CM_ROPE_FACTOR_MAX,
                            &config->rope_high_freq_factor);
    }
    if (status == CM_OK) {
        status = cm_json_uint(rope, source->path, "original_max_position_embeddings", 1,
                              CM_POSITIONS_MAX, &config->rope_original_positions, source->error);
    }
    if (status == CM_OK && config->rope_high_freq_factor <= config->rope_low_freq_factor) {
        return cm_error_set(source->error, CM_INVALID_DATA,
                            "%s: high_freq_factor %g is not above low_freq_factor %g", source->path,
                            (double)config->rope_high_freq_factor,
                            (double)config->rope_low_freq_factor);
    }
    return cm_config_required(status, source->error);
}

/* One rope description: rope_parameters, one of its layer types, or the older rope_scaling, whose
 * kind was called "type" at first. */
static enum cm_status read_scaling(const struct source *source, const json_t *rope,
                                   struct cm_model_config *config)
{
    struct cm_span type = cm_span_of("default");
    const char *key = cm_json_get(rope, "rope_type") != NULL ? "rope_type" : "type";
    enum cm_status status = optional(cm_json_string(rope, source->path, key, &type, source->error));
    if (status != CM_OK || cm_span_equal_text(type, "default")) {
        return status;
    }
    if (cm_span_equal_text(type, "linear")) {
        config->rope_scaling = CM_ROPE_SCALING_LINEAR;
        return cm_config_required(
            read_float(source, rope, "factor", 1.0, CM_ROPE_FACTOR_MAX, &config->rope_factor),
            source->error);
    }
    if (cm_span_equal_text(type, "llama3")) {
        return read_llama3_scaling(source, rope, config);
    }
    return cm_error_set(source->error, CM_UNSUPPORTED,
                        "%s: the rope type is \"%.*s\"; expected default, linear or llama3",
                        source->path, (int)(type.length < 64 ? type.length : 64), type.data);
}

static enum cm_status read_theta(const struct source *source, const json_t *object, const char *key,
                                 float *theta)
{
    return optional(read_float(source, object, key, 1.0, CM_ROPE_THETA_MAX, theta));
}

/* Gemma 3 has one rope for its global layers, which may be scaled, and one for its window layers,
 * which is not. */
static enum cm_status read_layered_rope(const struct source *source, const json_t *rope,
                                        struct cm_model_config *config)
{
    const json_t *global = cm_json_get(rope, "full_attention");
    const json_t *local = cm_json_get(rope, "sliding_attention");
    if (!json_is_object(global) || !json_is_object(local)) {
        return unsupported(source, "rope_parameters of layer types other than full_attention and "
                                   "sliding_attention are not supported");
    }
    struct cm_model_config window = { .rope_scaling = CM_ROPE_SCALING_NONE };
    enum cm_status status = read_scaling(source, local, &window);
    if (status == CM_OK && window.rope_scaling != CM_ROPE_SCALING_NONE) {
        return unsupported(source, "a scaled rope in sliding_attention layers is not supported");
    }
    if (status == CM_OK) {
        status = read_theta(source, local, "rope_theta", &config->rope_theta_local);
    }
    if (status == CM_OK) {
        status = read_theta(source, global, "rope_theta", &config->rope_theta);
    }
    return status == CM_OK ? read_scaling(source, global, config) : status;
}

static enum cm_status read_rope(const struct source *source, struct cm_model_config *config)
{
    bool gemma = config->family == CM_FAMILY_GEMMA3;
    const json_t *parameters = cm_json_get(source->document, "rope_parameters");
    const json_t *scaling = cm_json_get(source->document, "rope_scaling");
    float partial = 1.0F;
    config->rope_factor = 1.0F;
    config->rope_theta = gemma ? 1e6F : CM_ROPE_THETA_DEFAULT;
    config->rope_theta_local = CM_ROPE_THETA_DEFAULT;
    if ((parameters != NULL && !json_is_object(parameters)) ||
        (scaling != NULL && !json_is_object(scaling))) {
        return cm_error_set(source->error, CM_INVALID_DATA,
                            "%s: rope_parameters or rope_scaling is no object", source->path);
    }
    enum cm_status status =
        optional(read_float(source, source->document, "partial_rotary_factor", 0.0, 1.0, &partial));
    if (status == CM_OK && partial != 1.0F) {
        return unsupported(source, "partial_rotary_factor is not 1");
    }
    if (status == CM_OK && gemma && cm_json_get(parameters, "full_attention") != NULL) {
        return read_layered_rope(source, parameters, config);
    }
    if (status == CM_OK) {
        status = read_theta(source, source->document, "rope_theta", &config->rope_theta);
    }
    if (status == CM_OK) {
        status = read_theta(source, parameters, "rope_theta", &config->rope_theta);
    }
    if (status == CM_OK && (parameters != NULL || scaling != NULL)) {
        status = read_scaling(source, parameters != NULL ? parameters : scaling, config);
    }
    if (status == CM_OK && gemma) {
        return read_theta(source, source->document, "rope_local_base_freq",
                          &config->rope_theta_local);
    }
    config->rope_theta_local = config->rope_theta;
    return status;
}

/* layer_types is the truth where it is present: all layers alike, or every n-th one global. */
static enum cm_status read_layer_types(const struct source *source, struct cm_model_config *config)
{
    const json_t *types = cm_json_get(source->document, "layer_types");
    if (types == NULL) {
        return CM_OK;
    }
    if (!json_is_array(types) || json_array_size(types) != config->n_layers) {
        return cm_error_set(source->error, CM_INVALID_DATA,
                            "%s: layer_types has not one element for each of %" PRIu32 " layers",
                            source->path, config->n_layers);
    }
    uint32_t first_global = config->n_layers;
    uint32_t globals_count = 0;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        struct cm_span type = cm_json_span(json_array_get(types, i));
        if (cm_span_equal_text(type, "full_attention")) {
            first_global = globals_count == 0 ? i : first_global;
            globals_count++;
        } else if (!cm_span_equal_text(type, "sliding_attention")) {
            return cm_error_set(source->error, CM_UNSUPPORTED,
                                "%s: layer_types[%" PRIu32
                                "] is neither full_attention nor sliding_attention",
                                source->path, i);
        }
    }
    if (globals_count == config->n_layers) {
        config->sliding_window = 0;
        config->sliding_window_pattern = 0;
        return CM_OK;
    }
    /* A single global layer, or none, could belong to a longer pattern; it repeats nowhere. */
    uint32_t pattern = globals_count == 0 ? 0 : first_global + 1;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        struct cm_span type = cm_json_span(json_array_get(types, i));
        bool global = pattern != 0 && (i + 1) % pattern == 0;
        if (global != cm_span_equal_text(type, "full_attention")) {
            return unsupported(source, "layer_types follows no pattern of every n-th layer");
        }
    }
    config->sliding_window_pattern = pattern;
    return CM_OK;
}

static enum cm_status read_window(const struct source *source, struct cm_model_config *config)
{
    bool qwen = config->family == CM_FAMILY_QWEN2 || config->family == CM_FAMILY_QWEN3;
    bool used = !qwen;
    enum cm_status status = CM_OK;
    if (config->family == CM_FAMILY_GPT2 || config->family == CM_FAMILY_LLAMA) {
        return CM_OK;
    }
    if (qwen) {
        status = optional(cm_json_bool(source->document, source->path, "use_sliding_window", &used,
                                       source->error));
    }
    if (status != CM_OK || !used) {
        return status;
    }
    status = optional(cm_json_uint(source->document, source->path, "sliding_window", 1,
                                   CM_POSITIONS_MAX, &config->sliding_window, source->error));
    if (status == CM_OK && config->family == CM_FAMILY_GEMMA3) {
        const char *key = cm_json_get(source->document, "sliding_window_pattern") != NULL
                              ? "sliding_window_pattern"
                              : "_sliding_window_pattern";
        config->sliding_window_pattern = CM_GEMMA3_WINDOW_PATTERN;
        status = optional(cm_json_uint(source->document, source->path, key, 1, CM_LAYERS_MAX,
                                       &config->sliding_window_pattern, source->error));
    }
    if (status == CM_OK && qwen && cm_json_get(source->document, "layer_types") == NULL) {
        return unsupported(source, "use_sliding_window is true, but layer_types does not say in "
                                   "which layers");
    }
    return status == CM_OK ? read_layer_types(source, config) : status;
}

static enum cm_status read_rest(const struct source *source, const struct family *family,
                                struct cm_model_config *config)
{
    enum cm_status status = cm_config_required(
        read_float(source, source->document, family->epsilon_key, CM_NORM_EPSILON_MIN,
                   CM_NORM_EPSILON_MAX, &config->norm_epsilon),
        source->error);
    config->tied_embeddings = family->tied_by_default;
    if (status == CM_OK) {
        status = optional(cm_json_bool(source->document, source->path, "tie_word_embeddings",
                                       &config->tied_embeddings, source->error));
    }
    if (status == CM_OK && config->family == CM_FAMILY_BERT) {
        enum { TOKEN_TYPES_DEFAULT = 2, TOKEN_TYPES_MAX = 64 };
        config->n_token_types = TOKEN_TYPES_DEFAULT;
        status = optional(cm_json_uint(source->document, source->path, "type_vocab_size", 1,
                                       TOKEN_TYPES_MAX, &config->n_token_types, source->error));
    }
    if (status == CM_OK && config->family == CM_FAMILY_GEMMA3) {
        float scalar;
        status = cm_config_required(
            read_float(source, source->document, "query_pre_attn_scalar", 1.0, 65536.0, &scalar),
            source->error);
        if (status == CM_OK) {
            config->attention_scale = 1.0F / sqrtf(scalar);
        }
    }
    return status;
}

enum cm_status cm_hf_config(const json_t *document, const char *path,
                            struct cm_model_config *config, struct cm_error *error)
{
    struct source source = { document, path, error };
    const struct family *family = NULL;
    *config = (struct cm_model_config){ .container = CM_CONTAINER_SAFETENSORS };
    enum cm_status status = find_family(&source, &family);
    if (status != CM_OK) {
        return status;
    }
    config->family = family->family;
    status = read_fields(&source, config);
    if (status == CM_OK) {
        status = check_supported(&source, family);
    }
    if (status == CM_OK) {
        status = read_rope(&source, config);
    }
    if (status == CM_OK) {
        status = read_window(&source, config);
    }
    if (status == CM_OK) {
        status = read_rest(&source, family, config);
    }
    return status == CM_OK ? cm_model_config_complete(config, path, error) : status;
}
