/* The launchers of the kernels, one for each op and file: what the C side of the back end (ops.c)
 * may ask of the device. Pointers are device memory, work goes to `stream` in order, nothing is
 * allocated or waited for. Each returns what the launch returned; shapes and types stand at the
 * kernels and in kernels/backend.h, whose argument structs they take as they are. */
#ifndef CM_KERNELS_CUDA_LAUNCH_H
#define CM_KERNELS_CUDA_LAUNCH_H

#include "kernels/comm.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CM_CUDA_HEAD_DIM_MAX = 256,
    CM_CUDA_SPLIT_PAGES = 16, /* of a row's attention in one part; it decides roundings */
};

/* The paged KV cache as kernels see it: a page of one layer and head is keys (or values)
 * [CM_PAGE_TOKENS][head_dim], float32 or float16. Strides count elements. */
struct cm_cuda_kv {
    void *pages;
    size_t page_stride;
    size_t layer_stride;
    size_t values_stride; /* from a head's keys to its values */
    size_t head_stride;
    bool half;
};

/* Room for parts of rows' attention, until they are merged; see attention_split.h. */
struct cm_cuda_parts {
    float *values;          /* [capacity][head_dim]; NULL: parts never run side by side */
    float *states;          /* [capacity][2]: maximum and sum */
    size_t capacity;        /* in parts: one for each row, head and split */
    uint32_t blocks_enough; /* that keep the device busy: a launch of so many is not split */
};

cudaError_t cm_cuda_embed(const void *table, enum cm_dtype dtype, uint32_t dim,
                          const int32_t *tokens, uint32_t n_rows, float scale, float *out,
                          cudaStream_t stream);
cudaError_t cm_cuda_gather(const float *x, uint32_t dim, const int32_t *rows, uint32_t n_rows,
                           float *out, cudaStream_t stream);
cudaError_t cm_cuda_norm(const struct cm_norm_args *args, cudaStream_t stream);
cudaError_t cm_cuda_add(float *x, const float *y, size_t n, cudaStream_t stream);
cudaError_t cm_cuda_gated(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                          uint32_t dim, float *out, cudaStream_t stream);
cudaError_t cm_cuda_activation(enum cm_activation_kind kind, const float *x, size_t n, float *out,
                               cudaStream_t stream);
cudaError_t cm_cuda_rope_append(const struct cm_rope_append_args *args, const struct cm_cuda_kv *kv,
                                cudaStream_t stream);
cudaError_t cm_cuda_attention(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                              const struct cm_cuda_parts *parts, cudaStream_t stream);
/* float16 pages and a head_dim of 32, 64, 80, 96, 128 or 256. */
cudaError_t cm_cuda_attention_mma(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                                  const struct cm_cuda_parts *parts, cudaStream_t stream);
/* Of `chunks` chunks from `first_chunk` on; base_2: states and factors are powers of 2, not of e.
 */
cudaError_t cm_cuda_attention_merge(const struct cm_attention_args *args,
                                    const struct cm_cuda_parts *parts, bool base_2,
                                    uint32_t first_chunk, uint32_t chunks, cudaStream_t stream);
cudaError_t cm_cuda_sample(const struct cm_sample_args *args, float *probabilities,
                           cudaStream_t stream);

cudaError_t cm_cuda_beam(const struct cm_beam_args *args, cudaStream_t stream);

/* --- Several devices --- */

/* What a rank brings for a row when a vocabulary is split (sample_split.cu). */
struct cm_cuda_maxima {
    float raw;       /* of the logits of its part */
    float processed; /* after penalty and masks */
};
struct cm_cuda_bid {
    unsigned long long raw_mass; /* of its part, against the greatest logit of all */
    unsigned long long mass;     /* of its weights; 0 where the candidates are not weights */
    uint32_t count;              /* of its candidates ... */
    uint32_t is_whole;           /* ... which are all the tokens that it has */
    float values[CM_SPLIT_CANDIDATES];
    uint32_t tokens[CM_SPLIT_CANDIDATES];
};

/* Device memory: [n_rows] of this rank, and [ranks_count, n_rows] of all. */
struct cm_cuda_split_buffers {
    struct cm_cuda_maxima *own_maxima;
    struct cm_cuda_maxima *maxima;
    struct cm_cuda_bid *own_bids;
    struct cm_cuda_bid *bids;
};

struct cm_cuda_split_args {
    struct cm_sample_args sample; /* logits and n_vocab of this rank's part */
    uint32_t first_token;         /* the whole's number of the part's first token */
    uint32_t n_part;
    uint32_t n_whole;
    uint32_t ranks_count;
    float *values; /* scratch [n_rows, own columns] */
    struct cm_cuda_split_buffers buffers;
};

/* The three steps of cm_op_sample_split, with an all-gather after the first two. */
cudaError_t cm_cuda_split_maxima(const struct cm_cuda_split_args *args, cudaStream_t stream);
cudaError_t cm_cuda_split_bids(const struct cm_cuda_split_args *args, cudaStream_t stream);
cudaError_t cm_cuda_split_decide(const struct cm_cuda_split_args *args, cudaStream_t stream);

/* out[i] = parts[0, i] + parts[1, i] + ... in this order */
cudaError_t cm_cuda_sum_parts(const float *parts /* [parts_count, n] */, uint32_t parts_count,
                              size_t n, float *out, cudaStream_t stream);

/* Rows of float32 to bfloat16 (or float16), each padded with zeros to `padded` elements. */
cudaError_t cm_cuda_narrow(const float *x, uint32_t n_rows, uint32_t dim, uint32_t padded,
                           void *out, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
