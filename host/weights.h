/* The model's weights in the back end's own layout: packed once from the file, read by forward.c.
 */
#ifndef CM_HOST_WEIGHTS_H
#define CM_HOST_WEIGHTS_H

#include "base/status.h"
#include "host/model_part.h"
#include "host/model_spec.h"
#include "kernels/backend.h"
#include "loaders/model_file.h"

/* A norm's weight and, for LayerNorm, bias; [dim] float32. NULL weight: the model has no such norm.
 */
struct cm_norm_weights {
    float *weight;
    float *bias;
};

/* Sizes are those of the part that the device computes. */
struct cm_layer_weights {
    struct cm_norm_weights attention_norm;
    struct cm_matrix *qkv;         /* [(n_heads + 2 * n_kv_heads) * head_dim, n_embd] */
    struct cm_norm_weights q_norm; /* [head_dim] */
    struct cm_norm_weights k_norm;
    struct cm_matrix *attention_out; /* [n_embd, n_heads * head_dim] */
    struct cm_norm_weights attention_post_norm;
    struct cm_norm_weights ffn_norm;
    struct cm_matrix *gate_up; /* [2 * n_ff, n_embd], or [n_ff, n_embd] for an ungated block */
    struct cm_matrix *down;    /* [n_embd, n_ff] */
    struct cm_norm_weights ffn_post_norm;
    const float *inverse_frequencies; /* [head_dim / 2]; one of the two tables below */
    uint32_t window;
};

struct cm_weights {
    struct cm_backend *backend;
    const struct cm_model_spec *spec;
    struct cm_model_part part;
    struct cm_table *embed;
    struct cm_table *positions;      /* NULL where positions are rotary */
    struct cm_layer_weights *layers; /* [n_layers] */
    uint32_t n_layers;
    struct cm_norm_weights final_norm;
    struct cm_matrix *head;    /* [n_vocab, n_embd] */
    float *frequencies_global; /* [head_dim / 2] */
    float *frequencies_local;
    bool has_key_bias;
    uint64_t parameters_count; /* of the whole model */
    uint64_t packed_bytes;     /* here; 0 where they are another's */
    uint64_t tables_bytes;
    bool is_shared; /* all but matrices' counts is another's */
};

/* The part of rank `rank` of `ranks_count` (0 of 1: the whole). The embedding table stays in the
 * file's own memory, so `file` must outlive the weights. Shapes are checked against the
 * configuration; CM_INVALID_DATA names the tensor. Errors of cm_model_part_init too. */
enum cm_status cm_weights_open(struct cm_backend *backend, const struct cm_model_file *file,
                               uint32_t ranks_count, uint32_t rank, struct cm_weights **weights,
                               struct cm_error *error) CM_MUST_CHECK;

/* The same weights in the same memory for another CPU back end of the same precision, whose ops may
 * run at the same time. `owner` must outlive them. CM_OUT_OF_MEMORY. */
enum cm_status cm_weights_share(const struct cm_weights *owner, struct cm_backend *backend,
                                struct cm_weights **weights, struct cm_error *error) CM_MUST_CHECK;

void cm_weights_close(struct cm_weights *weights);

#endif
