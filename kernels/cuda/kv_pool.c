/* Memory of the paged KV cache: creation and the copy that a fork inside a page needs. A page holds
 * for every layer keys [n_kv_heads][CM_PAGE_TOKENS][head_dim], then values of the same shape, so
 * that the first positions of a head lie together; of type e4m3 with the exponents behind each
 * head. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

struct sizes {
    size_t element_bytes;
    size_t head_bytes; /* keys (or values) of one KV head of one layer in one page */
    size_t page_bytes;
};

static enum cm_cuda_kv_type type_of(const struct cm_backend *backend)
{
    return backend->precision == CM_PRECISION_EXACT ? CM_CUDA_KV_F32
           : backend->precision == CM_PRECISION_FP8 ? CM_CUDA_KV_E4M3
                                                    : CM_CUDA_KV_F16;
}

/* False where the shape is empty or its size overflows. */
static bool sizes_of(const struct cm_backend *backend, const struct cm_kv_shape *shape,
                     struct sizes *sizes)
{
    static const size_t element_bytes[] = {
        [CM_CUDA_KV_F32] = sizeof(float), [CM_CUDA_KV_F16] = sizeof(uint16_t), [CM_CUDA_KV_E4M3] = 1
    };
    enum cm_cuda_kv_type type = type_of(backend);
    size_t exponents_bytes = type == CM_CUDA_KV_E4M3 ? CM_PAGE_TOKENS : 0;
    size_t layer_bytes;
    sizes->element_bytes = element_bytes[type];
    return shape->n_layers > 0 && shape->n_kv_heads > 0 && shape->head_dim > 0 &&
           !cm_size_mul(sizes->element_bytes * CM_PAGE_TOKENS, shape->head_dim,
                        &sizes->head_bytes) &&
           !cm_size_add(sizes->head_bytes, exponents_bytes, &sizes->head_bytes) &&
           !cm_size_mul(sizes->head_bytes, 2 * (size_t)shape->n_kv_heads, &layer_bytes) &&
           !cm_size_mul(layer_bytes, shape->n_layers, &sizes->page_bytes);
}

size_t cm_cuda_kv_page_bytes(const struct cm_backend *backend, const struct cm_kv_shape *shape)
{
    struct sizes sizes;
    return sizes_of(backend, shape, &sizes) ? sizes.page_bytes : 0;
}

/* Room for the parts of long rows: some blocks of 64 queries for each multiprocessor. A device
 * without it goes on, and no slower but for few rows with long contexts. */
static void reserve_parts(struct cm_backend *backend, uint32_t head_dim,
                          struct cm_cuda_parts *parts)
{
    enum { BLOCKS = 2, PARTS = 8 * 64 }; /* of a multiprocessor */
    int processors = 0;
    cm_cuda_check(
        backend,
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, backend->device),
        "asking for its multiprocessors");
    parts->blocks_enough = BLOCKS * (uint32_t)processors;
    parts->capacity = PARTS * (size_t)processors;
    parts->values = cm_cuda_reserve(backend, parts->capacity * head_dim * sizeof(float));
    parts->states = cm_cuda_reserve(backend, parts->capacity * 2 * sizeof(float));
    if (parts->states == NULL) {
        cm_cuda_backend_free(backend, parts->values);
        parts->values = NULL;
    }
}

enum cm_status cm_cuda_kv_pool_create(struct cm_backend *backend, const struct cm_kv_shape *shape,
                                      uint32_t pages_count, struct cm_kv_pool **pool,
                                      struct cm_error *error)
{
    *pool = NULL;
    struct sizes sizes;
    size_t bytes;
    if (!sizes_of(backend, shape, &sizes) || pages_count == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "KV cache: %u layers, %u KV heads, head size %u and %u pages make no "
                            "cache; check the model's sizes and the memory limit.",
                            shape->n_layers, shape->n_kv_heads, shape->head_dim, pages_count);
    }
    if (shape->head_dim % 16 != 0 || shape->head_dim > CM_CUDA_HEAD_DIM_MAX) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "KV cache: heads of %u values; copymill runs models whose head size is "
                            "a multiple of 16 up to %d.",
                            shape->head_dim, CM_CUDA_HEAD_DIM_MAX);
    }
    struct cm_kv_pool *created = cm_alloc(1, sizeof *created);
    if (created != NULL && !cm_size_mul(pages_count, sizes.page_bytes, &bytes)) {
        created->kv.pages = cm_cuda_reserve(backend, bytes);
    }
    if (created == NULL || created->kv.pages == NULL) {
        cm_free(created);
        return cm_error_set(error, CM_OUT_OF_MEMORY,
                            "KV cache: no device memory for %u pages of %zu bytes; lower --memory "
                            "or --batch.",
                            pages_count, sizes.page_bytes);
    }
    created->functions = backend->functions;
    created->backend = backend;
    created->shape = *shape;
    created->pages_count = pages_count;
    created->element_bytes = sizes.element_bytes;
    created->kv.type = type_of(backend);
    created->kv.head_stride = sizes.head_bytes / created->element_bytes;
    created->kv.values_stride = created->kv.head_stride * shape->n_kv_heads;
    created->kv.layer_stride = 2 * created->kv.values_stride;
    created->kv.page_stride = sizes.page_bytes / created->element_bytes;
    reserve_parts(backend, shape->head_dim, &created->parts);
    *pool = created;
    return CM_OK;
}

void cm_cuda_kv_pool_close(struct cm_kv_pool *pool)
{
    cm_cuda_backend_free(pool->backend, pool->kv.pages);
    cm_cuda_backend_free(pool->backend, pool->parts.values);
    cm_cuda_backend_free(pool->backend, pool->parts.states);
    cm_free(pool);
}

void cm_cuda_kv_discard(struct cm_backend *backend, struct cm_kv_pool *pool, const int32_t *pages,
                        uint32_t pages_count)
{
    size_t page_bytes = pool->kv.page_stride * pool->element_bytes;
    for (uint32_t i = 0; CM_POISONS_PAGES && i < pages_count && cm_cuda_begin(backend); i++) {
        CM_ASSERT((uint32_t)pages[i] < pool->pages_count);
        unsigned char *page = (unsigned char *)pool->kv.pages + (size_t)pages[i] * page_bytes;
        cm_cuda_check(backend, cudaMemsetAsync(page, CM_POISON, page_bytes, backend->stream),
                      "discarding a page");
    }
}

/* Of every head of a page the same bytes. */
static void copy_columns(struct cm_backend *backend, struct cm_kv_pool *pool, uint32_t from_page,
                         uint32_t to_page, size_t begin, size_t bytes)
{
    size_t head_bytes = pool->kv.head_stride * pool->element_bytes;
    size_t page_bytes = pool->kv.page_stride * pool->element_bytes;
    unsigned char *pages = (unsigned char *)pool->kv.pages + begin;
    cm_cuda_check(backend,
                  cudaMemcpy2DAsync(pages + to_page * page_bytes, head_bytes,
                                    pages + from_page * page_bytes, head_bytes, bytes,
                                    page_bytes / head_bytes, cudaMemcpyDeviceToDevice,
                                    backend->stream),
                  "copying a page");
}

void cm_cuda_kv_copy_tokens(struct cm_backend *backend, struct cm_kv_pool *pool, uint32_t from_page,
                            uint32_t to_page, uint32_t tokens)
{
    CM_ASSERT(from_page < pool->pages_count && to_page < pool->pages_count);
    CM_ASSERT(tokens <= CM_PAGE_TOKENS && from_page != to_page);
    size_t token_bytes = pool->shape.head_dim * pool->element_bytes;
    if (tokens == 0 || !cm_cuda_begin(backend)) {
        return;
    }
    copy_columns(backend, pool, from_page, to_page, 0, tokens * token_bytes);
    if (pool->kv.type == CM_CUDA_KV_E4M3) {
        copy_columns(backend, pool, from_page, to_page, CM_PAGE_TOKENS * token_bytes, tokens);
    }
}
