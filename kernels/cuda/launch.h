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
    CM_CUDA_PANEL = 32,       /* outputs of a panel of integer weights */
};

#define CM_CUDA_E4M3_MAX 448.0f

/* How the weights of a matrix lie on the device. */
enum cm_cuda_format {
    CM_CUDA_F32,
    CM_CUDA_BF16,
    CM_CUDA_F16,
    CM_CUDA_FP8,
    CM_CUDA_INTEGERS,
};

enum cm_cuda_kv_type { CM_CUDA_KV_F32, CM_CUDA_KV_F16, CM_CUDA_KV_E4M3 };

/* The paged KV cache as kernels see it: a page of one layer and head is keys (or values)
 * [CM_PAGE_TOKENS][head_dim]. Those of type e4m3 are followed by int8 exponents [CM_PAGE_TOKENS]:
 * an element of a position counts times 2^exponent. Strides count elements. */
struct cm_cuda_kv {
    void *pages;
    size_t page_stride;
    size_t layer_stride;
    size_t values_stride; /* from a head's keys to its values */
    size_t head_stride;
    enum cm_cuda_kv_type type;
};

/* e4m3 times a power of two in this range is a float16, whatever the code. */
enum { CM_CUDA_KV_EXPONENT_MIN = -15, CM_CUDA_KV_EXPONENT_MAX = 7 };

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
/* The same into rows of bfloat16 or float16, each filled with zeros up to `padded` elements. */
cudaError_t cm_cuda_norm_narrow(const struct cm_norm_args *args, bool bf16, uint32_t padded,
                                void *out, cudaStream_t stream);
cudaError_t cm_cuda_add(float *x, const float *y, size_t n, cudaStream_t stream);
cudaError_t cm_cuda_gated(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                          uint32_t dim, float *out, cudaStream_t stream);
cudaError_t cm_cuda_gated_narrow(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                                 uint32_t dim, bool bf16, uint32_t padded, void *out,
                                 cudaStream_t stream);
cudaError_t cm_cuda_activation(enum cm_activation_kind kind, const float *x, size_t n, float *out,
                               cudaStream_t stream);
cudaError_t cm_cuda_rope_append(const struct cm_rope_append_args *args, const struct cm_cuda_kv *kv,
                                cudaStream_t stream);
cudaError_t cm_cuda_attention(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                              const struct cm_cuda_parts *parts, cudaStream_t stream);
/* float16 or e4m3 pages and a head_dim of 32, 64, 80, 96, 128 or 256. */
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

/* Rows of float32 to bfloat16 or float16, each padded with zeros to `padded` elements. */
cudaError_t cm_cuda_narrow(const float *x, uint32_t n_rows, uint32_t dim, uint32_t padded,
                           bool bf16, void *out, cudaStream_t stream);

/* Rows of float32 to e4m3, padded likewise, with a scale each; and after the product the scales of
 * rows and columns, and the bias. */
cudaError_t cm_cuda_narrow_fp8(const float *x, uint32_t n_rows, uint32_t dim, uint32_t padded,
                               void *out, float *scales, cudaStream_t stream);
cudaError_t cm_cuda_scale(float *y, uint32_t n_rows, uint32_t n_out, const float *row_scales,
                          const float *column_scales, const float *bias, cudaStream_t stream);

/* Numbers of no meaning, of a floating format; and in how many places two arrays differ. */
cudaError_t cm_cuda_noise(void *out, size_t n, enum cm_cuda_format format, uint32_t seed,
                          cudaStream_t stream);
cudaError_t cm_cuda_count_differences(const float *a, const float *b, size_t n, uint32_t *count,
                                      cudaStream_t stream);

/* Weights as integers; see matmul_integer.cu. */
struct cm_cuda_integers {
    const uint8_t *units; /* [panels][units_count][unit_bytes] */
    const float *bias;    /* [n_out] or NULL */
    uint32_t units_count; /* groups of 32 inputs */
    uint32_t unit_bytes;
    uint32_t n_out;
    uint32_t bits;   /* 4 or 8 */
    uint32_t scales; /* of a group: 1, or one for each half */
    uint32_t zero;   /* that codes of 4 bits are stored with: 8 or 0 */
    bool has_minima;
};

/* `fragments` is scratch of (n_rows rounded up to 16) * units_count * 64 bytes. */
cudaError_t cm_cuda_integer_matmul(const struct cm_cuda_integers *matrix, const float *x,
                                   uint32_t n_rows, uint32_t n_in, void *fragments, float *y,
                                   cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
