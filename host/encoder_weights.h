/* The weights of a BERT encoder in the back end's layout; internal to the encoder. */
#ifndef CM_HOST_ENCODER_WEIGHTS_H
#define CM_HOST_ENCODER_WEIGHTS_H

#include "host/weights.h"

struct cm_encoder_layer {
    struct cm_matrix *qkv;           /* [3 * n_embd, n_embd] */
    struct cm_matrix *attention_out; /* [n_embd, n_embd] */
    struct cm_norm_weights attention_norm;
    struct cm_matrix *up;   /* [n_ff, n_embd] */
    struct cm_matrix *down; /* [n_embd, n_ff] */
    struct cm_norm_weights output_norm;
};

struct cm_encoder_weights {
    struct cm_backend *backend;
    struct cm_table *words;     /* [n_vocab, n_embd] */
    struct cm_table *positions; /* [n_positions, n_embd] */
    struct cm_table *types;     /* [n_token_types, n_embd] */
    struct cm_norm_weights embedding_norm;
    struct cm_encoder_layer *layers;
    uint32_t n_layers;
};

/* The tables stay in the file's memory, so `file` must outlive the weights. CM_INVALID_DATA names
 * the tensor that is missing or of another shape. */
enum cm_status cm_encoder_weights_open(struct cm_backend *backend, const struct cm_model_file *file,
                                       struct cm_encoder_weights **weights,
                                       struct cm_error *error) CM_MUST_CHECK;
void cm_encoder_weights_close(struct cm_encoder_weights *weights);

#endif
