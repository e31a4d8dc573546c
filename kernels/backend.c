/* The door to the back ends: each call goes to the table of the back end that made the object. */
#include "kernels/backend_functions.h"
#include "kernels/cpu/placement.h"

static const struct cm_backend_functions *functions_of(const void *object)
{
    return *(const struct cm_backend_functions *const *)object;
}

/* --- The back end --- */

uint32_t cm_devices_count(enum cm_device device)
{
#if defined(COPYMILL_CUDA)
    return device == CM_DEVICE_CUDA ? cm_cuda_devices_count() : 1;
#else
    return device == CM_DEVICE_CUDA ? 0 : 1;
#endif
}

enum cm_status cm_backend_open(const struct cm_backend_options *options,
                               struct cm_backend **backend, struct cm_error *error)
{
    if (options->device == CM_DEVICE_CPU) {
        return cm_backend_open_cpu(options, backend, error);
    }
    if (options->kv_int8) {
        return cm_error_set(
            error, CM_UNSUPPORTED,
            "--kv-cache int8 is for the CPU; on a CUDA device --precision fp8 keeps "
            "keys and values in 8 bits");
    }
#if defined(COPYMILL_CUDA)
    return cm_backend_open_cuda(options, backend, error);
#else
    return cm_error_set(error, CM_UNSUPPORTED,
                        "this copymill was built without CUDA. Use --device cpu, or build it again "
                        "where the CUDA toolkit (nvcc) is installed");
#endif
}

void cm_backend_close(struct cm_backend *backend)
{
    if (backend != NULL) {
        functions_of(backend)->backend_close(backend);
    }
}

const char *cm_backend_variant(const struct cm_backend *backend)
{
    return functions_of(backend)->backend_variant(backend);
}

uint32_t cm_backend_threads(const struct cm_backend *backend)
{
    return functions_of(backend)->backend_threads(backend);
}

enum cm_precision cm_backend_precision(const struct cm_backend *backend)
{
    return functions_of(backend)->backend_precision(backend);
}

enum cm_status cm_backend_status(struct cm_backend *backend, struct cm_error *error)
{
    return functions_of(backend)->backend_status(backend, error);
}

uint32_t cm_cpu_nodes(uint32_t threads)
{
    uint32_t nodes = cm_placement_nodes();
    uint32_t cores = 0;
    uint32_t count = 0;
    while (count < nodes && (threads == 0 || cores < threads)) {
        cores += cm_placement_cores((struct cm_place){ .node = ++count });
    }
    return count;
}

uint32_t cm_cpu_threads(uint32_t node)
{
    return cm_placement_threads((struct cm_place){ .node = node });
}

void cm_backend_enter(struct cm_backend *backend)
{
    functions_of(backend)->backend_enter(backend);
}

void cm_backend_leave(struct cm_backend *backend)
{
    functions_of(backend)->backend_leave(backend);
}

uint64_t cm_backend_memory_bytes(struct cm_backend *backend)
{
    return functions_of(backend)->backend_memory_bytes(backend);
}

void *cm_backend_alloc(struct cm_backend *backend, size_t bytes)
{
    return functions_of(backend)->backend_alloc(backend, bytes);
}

void cm_backend_free(struct cm_backend *backend, void *memory)
{
    functions_of(backend)->backend_free(backend, memory);
}

void cm_backend_upload(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    functions_of(backend)->backend_upload(backend, to, from, bytes);
}

void cm_backend_download(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    functions_of(backend)->backend_download(backend, to, from, bytes);
}

void *cm_backend_host_alloc(struct cm_backend *backend, size_t bytes)
{
    return functions_of(backend)->backend_host_alloc(backend, bytes);
}

void cm_backend_host_free(struct cm_backend *backend, void *memory)
{
    functions_of(backend)->backend_host_free(backend, memory);
}

void cm_backend_send(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    functions_of(backend)->backend_send(backend, to, from, bytes);
}

void cm_backend_fetch(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    functions_of(backend)->backend_fetch(backend, to, from, bytes);
}

enum cm_status cm_fence_create(struct cm_backend *backend, struct cm_fence **fence,
                               struct cm_error *error)
{
    return functions_of(backend)->fence_create(backend, fence, error);
}

void cm_fence_close(struct cm_fence *fence)
{
    if (fence != NULL) {
        functions_of(fence)->fence_close(fence);
    }
}

void cm_fence_record(struct cm_fence *fence)
{
    functions_of(fence)->fence_record(fence);
}

void cm_fence_wait(struct cm_fence *fence)
{
    functions_of(fence)->fence_wait(fence);
}

bool cm_backend_replay(struct cm_backend *backend, uint64_t key)
{
    return functions_of(backend)->backend_replay(backend, key);
}

bool cm_backend_record_begin(struct cm_backend *backend, uint64_t key)
{
    return functions_of(backend)->backend_record_begin(backend, key);
}

bool cm_backend_record_end(struct cm_backend *backend)
{
    return functions_of(backend)->backend_record_end(backend);
}

void cm_backend_forget(struct cm_backend *backend)
{
    functions_of(backend)->backend_forget(backend);
}

void cm_backend_range_begin(struct cm_backend *backend, const char *name)
{
    functions_of(backend)->backend_range_begin(backend, name);
}

void cm_backend_range_end(struct cm_backend *backend)
{
    functions_of(backend)->backend_range_end(backend);
}

void cm_backend_measure_limits(struct cm_backend *backend, bool bandwidth,
                               struct cm_machine_limits *limits)
{
    functions_of(backend)->backend_measure_limits(backend, bandwidth, limits);
}

/* --- Weights --- */

enum cm_status cm_matrix_create(struct cm_backend *backend, const struct cm_matrix_source *sources,
                                size_t sources_count, struct cm_matrix **matrix,
                                struct cm_error *error)
{
    return functions_of(backend)->matrix_create(backend, sources, sources_count, matrix, error);
}

void cm_matrix_close(struct cm_matrix *matrix)
{
    if (matrix != NULL) {
        functions_of(matrix)->matrix_close(matrix);
    }
}

uint32_t cm_matrix_n_in(const struct cm_matrix *matrix)
{
    return functions_of(matrix)->matrix_n_in(matrix);
}

uint32_t cm_matrix_n_out(const struct cm_matrix *matrix)
{
    return functions_of(matrix)->matrix_n_out(matrix);
}

size_t cm_matrix_bytes(const struct cm_matrix *matrix)
{
    return functions_of(matrix)->matrix_bytes(matrix);
}

uint64_t cm_matrix_rows_count(const struct cm_matrix *matrix)
{
    return functions_of(matrix)->matrix_rows_count(matrix);
}

enum cm_status cm_vector_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                                float **vector, struct cm_error *error)
{
    return functions_of(backend)->vector_create(backend, tensor, vector, error);
}

enum cm_status cm_table_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                               struct cm_table **table, struct cm_error *error)
{
    return functions_of(backend)->table_create(backend, tensor, table, error);
}

void cm_table_close(struct cm_table *table)
{
    if (table != NULL) {
        functions_of(table)->table_close(table);
    }
}

/* --- The KV cache --- */

size_t cm_kv_page_bytes(const struct cm_backend *backend, const struct cm_kv_shape *shape)
{
    return functions_of(backend)->kv_page_bytes(backend, shape);
}

enum cm_status cm_kv_pool_create(struct cm_backend *backend, const struct cm_kv_shape *shape,
                                 uint32_t pages_count, struct cm_kv_pool **pool,
                                 struct cm_error *error)
{
    return functions_of(backend)->kv_pool_create(backend, shape, pages_count, pool, error);
}

void cm_kv_pool_close(struct cm_kv_pool *pool)
{
    if (pool != NULL) {
        functions_of(pool)->kv_pool_close(pool);
    }
}

void cm_kv_discard(struct cm_backend *backend, struct cm_kv_pool *pool, const int32_t *pages,
                   uint32_t pages_count)
{
    functions_of(backend)->kv_discard(backend, pool, pages, pages_count);
}

void cm_kv_copy_tokens(struct cm_backend *backend, struct cm_kv_pool *pool, uint32_t from_page,
                       uint32_t to_page, uint32_t tokens)
{
    functions_of(backend)->kv_copy_tokens(backend, pool, from_page, to_page, tokens);
}

/* --- Ops --- */

void cm_op_embed(struct cm_backend *backend, const struct cm_table *table, const int32_t *tokens,
                 uint32_t n_rows, float scale, float *out)
{
    functions_of(backend)->op_embed(backend, table, tokens, n_rows, scale, out);
}

void cm_op_gather(struct cm_backend *backend, const float *x, uint32_t dim, const int32_t *rows,
                  uint32_t n_rows, float *out)
{
    functions_of(backend)->op_gather(backend, x, dim, rows, n_rows, out);
}

void cm_op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    functions_of(backend)->op_norm(backend, args);
}

void cm_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim)
{
    functions_of(backend)->op_add(backend, x, y, n_rows, dim);
}

void cm_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                  uint32_t n_rows, float *y)
{
    functions_of(backend)->op_matmul(backend, matrix, x, n_rows, y);
}

void cm_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                 uint32_t n_rows, uint32_t dim, float *out)
{
    functions_of(backend)->op_gated(backend, kind, x, n_rows, dim, out);
}

void cm_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out)
{
    functions_of(backend)->op_activation(backend, kind, x, n_rows, dim, out);
}

void cm_op_norm_matmul(struct cm_backend *backend, const struct cm_norm_args *norm,
                       struct cm_matrix *matrix, float *y)
{
    functions_of(backend)->op_norm_matmul(backend, norm, matrix, y);
}

void cm_op_gated_matmul(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                        uint32_t n_rows, float *hidden, struct cm_matrix *matrix, float *y)
{
    functions_of(backend)->op_gated_matmul(backend, kind, x, n_rows, hidden, matrix, y);
}

void cm_op_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args)
{
    functions_of(backend)->op_feed_forward(backend, args);
}

void cm_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    functions_of(backend)->op_rope_append(backend, args);
}

void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    functions_of(backend)->op_attention(backend, args);
}

void cm_op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    functions_of(backend)->op_sample(backend, args);
}

void cm_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                float *probabilities)
{
    functions_of(backend)->op_sample_probabilities(backend, args, probabilities);
}

void cm_op_beam(struct cm_backend *backend, const struct cm_beam_args *args)
{
    functions_of(backend)->op_beam(backend, args);
}

/* --- Several devices --- */

enum cm_status cm_comm_open(struct cm_backend *const *ranks, uint32_t ranks_count,
                            struct cm_comm **comm, struct cm_error *error)
{
    CM_ASSERT(ranks_count >= 2);
    for (uint32_t i = 1; i < ranks_count; i++) {
        if (functions_of(ranks[i]) != functions_of(ranks[0])) {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "devices of two kinds cannot compute a model together");
        }
    }
    if (ranks_count > CM_COMM_RANKS_MAX) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%u devices for one model: at most %d can compute it together",
                            ranks_count, CM_COMM_RANKS_MAX);
    }
    return functions_of(ranks[0])->comm_open(ranks, ranks_count, comm, error);
}

void cm_comm_close(struct cm_comm *comm)
{
    if (comm != NULL) {
        functions_of(comm)->comm_close(comm);
    }
}

void cm_comm_fail(struct cm_comm *comm, const char *reason)
{
    if (comm != NULL) {
        functions_of(comm)->comm_fail(comm, reason);
    }
}

void cm_op_all_reduce(struct cm_backend *backend, float *x, size_t count)
{
    functions_of(backend)->op_all_reduce(backend, x, count);
}

void cm_op_gather_columns(struct cm_backend *backend, const float *part, uint32_t n_rows,
                          const struct cm_split *split, float *out)
{
    functions_of(backend)->op_gather_columns(backend, part, n_rows, split, out);
}

void cm_op_sample_split(struct cm_backend *backend, const struct cm_sample_args *args,
                        const struct cm_split *split, float *scratch)
{
    functions_of(backend)->op_sample_split(backend, args, split, scratch);
}
