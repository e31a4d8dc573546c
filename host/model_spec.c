#include "host/model_spec.h"

#include <math.h>

/* --- Tensor names --- */

static const struct cm_weight_names gguf_names = {
    .layer_prefix = "blk.",
    .embed = "token_embd",
    .positions = "position_embd",
    .final_norm = "output_norm",
    .head = "output",
    .rope_factors = "rope_freqs",
    .attention_norm = "attn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .q_norm = "attn_q_norm",
    .k_norm = "attn_k_norm",
    .attention_out = "attn_output",
    .ffn_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
};

static const struct cm_weight_names gguf_gemma_names = {
    .layer_prefix = "blk.",
    .embed = "token_embd",
    .final_norm = "output_norm",
    .head = "output",
    .attention_norm = "attn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .q_norm = "attn_q_norm",
    .k_norm = "attn_k_norm",
    .attention_out = "attn_output",
    .attention_post_norm = "post_attention_norm",
    .ffn_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .ffn_post_norm = "post_ffw_norm",
};

static const struct cm_weight_names gguf_gpt2_names = {
    .layer_prefix = "blk.",
    .embed = "token_embd",
    .positions = "position_embd",
    .final_norm = "output_norm",
    .head = "output",
    .attention_norm = "attn_norm",
    .qkv = "attn_qkv",
    .attention_out = "attn_output",
    .ffn_norm = "ffn_norm",
    .up = "ffn_up",
    .down = "ffn_down",
};

static const struct cm_weight_names hf_names = {
    .layer_prefix = "model.layers.",
    .embed = "model.embed_tokens",
    .final_norm = "model.norm",
    .head = "lm_head",
    .attention_norm = "input_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .attention_out = "self_attn.o_proj",
    .ffn_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

static const struct cm_weight_names hf_gemma_names = {
    .layer_prefix = "model.layers.",
    .embed = "model.embed_tokens",
    .final_norm = "model.norm",
    .head = "lm_head",
    .attention_norm = "input_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .attention_out = "self_attn.o_proj",
    .attention_post_norm = "post_attention_layernorm",
    .ffn_norm = "pre_feedforward_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .ffn_post_norm = "post_feedforward_layernorm",
};

static const struct cm_weight_names hf_gpt2_names = {
    .layer_prefix = "transformer.h.",
    .embed = "transformer.wte",
    .positions = "transformer.wpe",
    .final_norm = "transformer.ln_f",
    .head = "lm_head",
    .attention_norm = "ln_1",
    .qkv = "attn.c_attn",
    .attention_out = "attn.c_proj",
    .ffn_norm = "ln_2",
    .up = "mlp.c_fc",
    .down = "mlp.c_proj",
};

/* --- Families --- */

/* In GGUF files Gemma's norm weights are stored as 1 + w, and llama's Q and K rows are permuted for
 * rotating neighbouring pairs. */
static const struct cm_model_spec gguf_specs[CM_FAMILY_COUNT] = {
    [CM_FAMILY_GPT2] = {
        .family = "gpt2",
        .norm = CM_NORM_LAYER,
        .rope = CM_ROPE_NONE,
        .activation = CM_ACTIVATION_GELU_TANH,
        .names = &gguf_gpt2_names,
    },
    [CM_FAMILY_LLAMA] = {
        .family = "llama",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_PAIRS,
        .activation = CM_ACTIVATION_SILU,
        .names = &gguf_names,
    },
    [CM_FAMILY_MISTRAL] = {
        .family = "mistral",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_PAIRS,
        .activation = CM_ACTIVATION_SILU,
        .names = &gguf_names,
    },
    [CM_FAMILY_QWEN2] = {
        .family = "qwen2",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &gguf_names,
    },
    [CM_FAMILY_QWEN3] = {
        .family = "qwen3",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &gguf_names,
    },
    [CM_FAMILY_GEMMA3] = {
        .family = "gemma3",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_GELU_TANH,
        .embed_scaled = true,
        .names = &gguf_gemma_names,
    },
};

static const struct cm_model_spec hf_specs[CM_FAMILY_COUNT] = {
    [CM_FAMILY_GPT2] = {
        .family = "gpt2",
        .norm = CM_NORM_LAYER,
        .rope = CM_ROPE_NONE,
        .activation = CM_ACTIVATION_GELU_TANH,
        .linear_transposed = true,
        .names = &hf_gpt2_names,
    },
    [CM_FAMILY_LLAMA] = {
        .family = "llama",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &hf_names,
    },
    [CM_FAMILY_MISTRAL] = {
        .family = "mistral",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &hf_names,
    },
    [CM_FAMILY_QWEN2] = {
        .family = "qwen2",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &hf_names,
    },
    [CM_FAMILY_QWEN3] = {
        .family = "qwen3",
        .norm = CM_NORM_RMS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_SILU,
        .names = &hf_names,
    },
    [CM_FAMILY_GEMMA3] = {
        .family = "gemma3",
        .norm = CM_NORM_RMS_PLUS,
        .rope = CM_ROPE_HALVES,
        .activation = CM_ACTIVATION_GELU_TANH,
        .embed_scaled = true,
        .names = &hf_gemma_names,
    },
};

enum cm_status cm_model_spec_find(const struct cm_model_config *config,
                                  const struct cm_model_spec **spec, struct cm_error *error)
{
    const struct cm_model_spec *specs =
        config->container == CM_CONTAINER_GGUF ? gguf_specs : hf_specs;
    if ((unsigned)config->family >= CM_FAMILY_COUNT || specs[config->family].family == NULL) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            config->family == CM_FAMILY_BERT
                                ? "the model is an encoder, which writes no text; \"copymill model "
                                  "embed\" uses it"
                                : "the model's family is not supported");
    }
    *spec = &specs[config->family];
    return CM_OK;
}

static bool layer_is_global(const struct cm_model_config *config, uint32_t layer)
{
    return config->sliding_window_pattern > 0 && (layer + 1) % config->sliding_window_pattern == 0;
}

uint32_t cm_model_layer_window(const struct cm_model_config *config, uint32_t layer)
{
    return layer_is_global(config, layer) ? 0 : config->sliding_window;
}

/* Llama 3.1: wavelengths up to original/high stay, those over original/low are divided by the
 * factor. */
static double llama3_scaled(const struct cm_model_config *config, double frequency)
{
    const double two_pi = 6.283185307179586;
    double turns = config->rope_original_positions * frequency / two_pi;
    if (turns < config->rope_low_freq_factor) {
        return frequency / config->rope_factor;
    }
    if (turns > config->rope_high_freq_factor) {
        return frequency;
    }
    double ramp = (turns - config->rope_low_freq_factor) /
                  (config->rope_high_freq_factor - config->rope_low_freq_factor);
    return (1.0 - ramp) * frequency / config->rope_factor + ramp * frequency;
}

void cm_model_rope_frequencies(const struct cm_model_config *config, uint32_t layer,
                               const float *factors, float *inverse_frequencies)
{
    bool local = cm_model_layer_window(config, layer) > 0 && config->sliding_window_pattern > 0;
    double theta = local ? config->rope_theta_local : config->rope_theta;
    for (uint32_t i = 0; i < config->head_dim / 2; i++) {
        double frequency = pow(theta, -2.0 * i / config->head_dim);
        if (!local && config->rope_scaling == CM_ROPE_SCALING_LINEAR) {
            frequency /= config->rope_factor;
        } else if (!local && config->rope_scaling == CM_ROPE_SCALING_LLAMA3) {
            frequency = llama3_scaled(config, frequency);
        }
        if (factors != NULL) {
            frequency /= (double)factors[i];
        }
        inverse_frequencies[i] = (float)frequency;
    }
}
