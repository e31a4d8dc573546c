/* How a back end stands behind backend.h: a table with one function per function there. Private to
 * kernels/.
 *
 * Each back end completes the opaque structs itself (cm_backend, cm_fence, cm_matrix, cm_table,
 * cm_kv_pool, cm_comm) and puts `const struct cm_backend_functions *functions` first in each of
 * them; backend.c finds the table there and calls through it. A back end's own function is named
 * like the public one with its own prefix: cm_op_norm is cm_cpu_op_norm or cm_cuda_op_norm, with
 * the same contract. */
#ifndef CM_KERNELS_BACKEND_FUNCTIONS_H
#define CM_KERNELS_BACKEND_FUNCTIONS_H

#include "kernels/comm.h"

/* Whether cm_kv_discard fills pages, and with which bytes: NaN as float32 and float16. */
#if defined(COPYMILL_POISON_PAGES)
enum { CM_POISONS_PAGES = 1 };
#else
enum { CM_POISONS_PAGES = 0 };
#endif
enum { CM_POISON = 0xFF };

/* All that a back end implements: cm_backend_close and so on. */
#define CM_BACKEND_FUNCTIONS(EACH) \
    EACH(backend_close)            \
    EACH(backend_variant)          \
    EACH(backend_threads)          \
    EACH(backend_precision)        \
    EACH(backend_status)           \
    EACH(backend_enter)            \
    EACH(backend_leave)            \
    EACH(backend_memory_bytes)     \
    EACH(backend_alloc)            \
    EACH(backend_free)             \
    EACH(backend_upload)           \
    EACH(backend_download)         \
    EACH(backend_host_alloc)       \
    EACH(backend_host_free)        \
    EACH(backend_send)             \
    EACH(backend_fetch)            \
    EACH(fence_create)             \
    EACH(fence_close)              \
    EACH(fence_record)             \
    EACH(fence_wait)               \
    EACH(backend_replay)           \
    EACH(backend_record_begin)     \
    EACH(backend_record_end)       \
    EACH(backend_forget)           \
    EACH(backend_range_begin)      \
    EACH(backend_range_end)        \
    EACH(backend_measure_limits)   \
    EACH(matrix_create)            \
    EACH(matrix_close)             \
    EACH(matrix_n_in)              \
    EACH(matrix_n_out)             \
    EACH(matrix_bytes)             \
    EACH(matrix_rows_count)        \
    EACH(vector_create)            \
    EACH(table_create)             \
    EACH(table_close)              \
    EACH(kv_page_bytes)            \
    EACH(kv_pool_create)           \
    EACH(kv_pool_close)            \
    EACH(kv_discard)               \
    EACH(kv_copy_tokens)           \
    EACH(op_embed)                 \
    EACH(op_gather)                \
    EACH(op_norm)                  \
    EACH(op_add)                   \
    EACH(op_matmul)                \
    EACH(op_norm_matmul)           \
    EACH(op_gated_matmul)          \
    EACH(op_feed_forward)          \
    EACH(op_gated)                 \
    EACH(op_activation)            \
    EACH(op_rope_append)           \
    EACH(op_attention)             \
    EACH(op_sample)                \
    EACH(op_sample_probabilities)  \
    EACH(op_beam)                  \
    EACH(comm_open)                \
    EACH(comm_close)               \
    EACH(comm_fail)                \
    EACH(op_all_reduce)            \
    EACH(op_gather_columns)        \
    EACH(op_sample_split)

#define CM_BACKEND_MEMBER(name) __typeof__(cm_##name) *(name);

struct cm_backend_functions {
    CM_BACKEND_FUNCTIONS(CM_BACKEND_MEMBER)
};

/* In cpu/ and cuda/; the latter two only where the build defines COPYMILL_CUDA. */
enum cm_status cm_backend_open_cpu(const struct cm_backend_options *options,
                                   struct cm_backend **backend,
                                   struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_backend_open_cuda(const struct cm_backend_options *options,
                                    struct cm_backend **backend,
                                    struct cm_error *error) CM_MUST_CHECK;
uint32_t cm_cuda_devices_count(void);

#endif
