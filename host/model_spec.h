/* One description of a model family: data, not code. `forward.c` reads it; a new decoder family is
 * one more entry in model_spec.c.
 *
 * What differs between checkpoints of one family (sizes, epsilons, rope base) is in
 * cm_model_config; what differs between families, and between the two containers of one family, is
 * here.
 */
#ifndef CM_HOST_MODEL_SPEC_H
#define CM_HOST_MODEL_SPEC_H

#include "base/status.h"
#include "kernels/backend.h"
#include "loaders/model_file.h"

#include <stdbool.h>

/* Names without ".weight" and ".bias"; those of a layer without the layer's prefix ("blk.0.").
 * NULL: the family has no such tensor. */
struct cm_weight_names {
    const char *layer_prefix; /* "blk." : the number and a dot follow */
    const char *embed;
    const char *positions; /* learned absolute positions */
    const char *final_norm;
    const char *head;         /* absent in the file: tied to `embed` */
    const char *rope_factors; /* absent in most files */
    const char *attention_norm;
    const char *q, *k, *v; /* or */
    const char *qkv;       /* already stacked */
    const char *q_norm, *k_norm;
    const char *attention_out;
    const char *attention_post_norm; /* on the block's output, before it is added (Gemma) */
    const char *ffn_norm;
    const char *gate; /* NULL: a plain, ungated feed-forward block */
    const char *up;
    const char *down;
    const char *ffn_post_norm;
};

struct cm_model_spec {
    const char *family; /* "llama" */
    enum cm_norm_kind norm;
    enum cm_rope_kind rope;
    enum cm_activation_kind activation;
    bool embed_scaled;      /* embeddings are multiplied by sqrt(n_embd) */
    bool linear_transposed; /* the file holds linear weights as [n_in, n_out] */
    const struct cm_weight_names *names;
};

/* CM_UNSUPPORTED, naming the family, where there is none. The spec is static. */
enum cm_status cm_model_spec_find(const struct cm_model_config *config,
                                  const struct cm_model_spec **spec,
                                  struct cm_error *error) CM_MUST_CHECK;

/* Tokens that layer `layer` sees, itself included; 0: all. */
uint32_t cm_model_layer_window(const struct cm_model_config *config, uint32_t layer);

/* Radians per position for each of the head_dim / 2 rotations of a layer: rope_theta^(-2i/head_dim)
 * with the configured scaling (linear; llama3: long wavelengths divided by the factor, a smooth
 * ramp between the two cut-offs, as in Meta's Llama 3.1 reference). `factors`, which GGUF files
 * hold instead of the llama3 numbers, divide them further; NULL: none. */
void cm_model_rope_frequencies(const struct cm_model_config *config, uint32_t layer,
                               const float *factors /* [head_dim / 2] */,
                               float *inverse_frequencies /* [head_dim / 2] */);

#endif
