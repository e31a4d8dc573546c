/* The tables of functions, one for each set of instructions that some ops are compiled for. */
#include "kernels/cpu/cpu_backend.h"

#define DECLARE_VARIANT(isa)                                                 \
    __typeof__(cm_op_activation) cm_op_activation_##isa;                     \
    __typeof__(cm_op_add) cm_op_add_##isa;                                   \
    __typeof__(cm_op_attention) cm_op_attention_##isa;                       \
    __typeof__(cm_op_beam) cm_op_beam_##isa;                                 \
    __typeof__(cm_op_feed_forward) cm_op_feed_forward_##isa;                 \
    __typeof__(cm_op_gated) cm_op_gated_##isa;                               \
    __typeof__(cm_op_gated_matmul) cm_op_gated_matmul_##isa;                 \
    __typeof__(cm_op_norm) cm_op_norm_##isa;                                 \
    __typeof__(cm_op_norm_matmul) cm_op_norm_matmul_##isa;                   \
    __typeof__(cm_op_rope_append) cm_op_rope_append_##isa;                   \
    __typeof__(cm_op_sample) cm_op_sample_##isa;                             \
    __typeof__(cm_op_sample_probabilities) cm_op_sample_probabilities_##isa; \
    static const struct cm_backend_functions functions_##isa = {             \
        .backend_close = cm_cpu_backend_close,                               \
        .backend_variant = cm_cpu_backend_variant,                           \
        .backend_threads = cm_cpu_backend_threads,                           \
        .backend_precision = cm_cpu_backend_precision,                       \
        .backend_status = cm_cpu_backend_status,                             \
        .backend_enter = cm_cpu_backend_enter,                               \
        .backend_leave = cm_cpu_backend_leave,                               \
        .backend_memory_bytes = cm_cpu_backend_memory_bytes,                 \
        .backend_alloc = cm_cpu_backend_alloc,                               \
        .backend_free = cm_cpu_backend_free,                                 \
        .backend_upload = cm_cpu_backend_upload,                             \
        .backend_download = cm_cpu_backend_download,                         \
        .backend_host_alloc = cm_cpu_backend_host_alloc,                     \
        .backend_host_free = cm_cpu_backend_host_free,                       \
        .backend_send = cm_cpu_backend_send,                                 \
        .backend_fetch = cm_cpu_backend_fetch,                               \
        .fence_create = cm_cpu_fence_create,                                 \
        .fence_close = cm_cpu_fence_close,                                   \
        .fence_record = cm_cpu_fence_record,                                 \
        .fence_wait = cm_cpu_fence_wait,                                     \
        .backend_replay = cm_cpu_backend_replay,                             \
        .backend_record_begin = cm_cpu_backend_record_begin,                 \
        .backend_record_end = cm_cpu_backend_record_end,                     \
        .backend_forget = cm_cpu_backend_forget,                             \
        .backend_range_begin = cm_cpu_backend_range_begin,                   \
        .backend_range_end = cm_cpu_backend_range_end,                       \
        .backend_measure_limits = cm_cpu_backend_measure_limits,             \
        .matrix_create = cm_cpu_matrix_create,                               \
        .matrix_close = cm_cpu_matrix_close,                                 \
        .matrix_n_in = cm_cpu_matrix_n_in,                                   \
        .matrix_n_out = cm_cpu_matrix_n_out,                                 \
        .matrix_bytes = cm_cpu_matrix_bytes,                                 \
        .matrix_rows_count = cm_cpu_matrix_rows_count,                       \
        .vector_create = cm_cpu_vector_create,                               \
        .table_create = cm_cpu_table_create,                                 \
        .table_close = cm_cpu_table_close,                                   \
        .kv_page_bytes = cm_cpu_kv_page_bytes,                               \
        .kv_pool_create = cm_cpu_kv_pool_create,                             \
        .kv_pool_close = cm_cpu_kv_pool_close,                               \
        .kv_discard = cm_cpu_kv_discard,                                     \
        .kv_copy_tokens = cm_cpu_kv_copy_tokens,                             \
        .op_embed = cm_cpu_op_embed,                                         \
        .op_gather = cm_cpu_op_gather,                                       \
        .op_norm = cm_op_norm_##isa,                                         \
        .op_add = cm_op_add_##isa,                                           \
        .op_matmul = cm_cpu_op_matmul,                                       \
        .op_norm_matmul = cm_op_norm_matmul_##isa,                           \
        .op_feed_forward = cm_op_feed_forward_##isa,                         \
        .op_gated_matmul = cm_op_gated_matmul_##isa,                         \
        .op_gated = cm_op_gated_##isa,                                       \
        .op_activation = cm_op_activation_##isa,                             \
        .op_rope_append = cm_op_rope_append_##isa,                           \
        .op_attention = cm_op_attention_##isa,                               \
        .op_sample = cm_op_sample_##isa,                                     \
        .op_sample_probabilities = cm_op_sample_probabilities_##isa,         \
        .op_beam = cm_op_beam_##isa,                                         \
        .comm_open = cm_cpu_comm_open,                                       \
        .comm_close = cm_cpu_comm_close,                                     \
        .comm_fail = cm_cpu_comm_fail,                                       \
        .op_all_reduce = cm_cpu_op_all_reduce,                               \
        .op_gather_columns = cm_cpu_op_gather_columns,                       \
        .op_sample_split = cm_cpu_op_sample_split,                           \
    }

DECLARE_VARIANT(portable);
#if defined(__x86_64__)
DECLARE_VARIANT(avx2);
DECLARE_VARIANT(avx512);
DECLARE_VARIANT(avx512bf16);
#endif

const struct cm_backend_functions *cm_cpu_functions(enum cm_cpu_isa isa)
{
#if defined(__x86_64__)
    if (isa >= CM_CPU_AVX512BF16) {
        return &functions_avx512bf16;
    }
    if (isa >= CM_CPU_AVX512VNNI) {
        return &functions_avx512;
    }
    if (isa >= CM_CPU_AVX2) {
        return &functions_avx2;
    }
#endif
    (void)isa;
    return &functions_portable;
}
