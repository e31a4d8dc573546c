/* Memory of the paged KV cache: creation and the copy that a fork inside a page needs. */
#include "kernels/cpu/kv_pool.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

/* False where the shape is empty or its size overflows. */
static bool sizes_from_shape(const struct cm_backend *backend, const struct cm_kv_shape *shape,
                             struct cm_kv_pool *sizes)
{
    sizes->shape = *shape;
    sizes->codes = backend->kv_int8;
    bool exact = cm_cpu_backend_precision(backend) == CM_PRECISION_EXACT;
    sizes->pairs = !sizes->codes && !exact && backend->isa == CM_CPU_AVX512BF16;
    sizes->half = !sizes->codes && !exact && !sizes->pairs;
    sizes->element_bytes = sizes->codes ? sizeof(int8_t) : exact ? sizeof(float) : sizeof(uint16_t);
    const size_t page_floats_bytes = CM_PAGE_TOKENS * sizeof(float);
    size_t steps_bytes = sizes->pairs ? shape->n_kv_heads * page_floats_bytes : 0;
    size_t scales_bytes = sizes->codes ? shape->head_dim / CM_KV_GROUP * page_floats_bytes : 0;
    return shape->n_layers > 0 && shape->n_kv_heads > 0 && shape->head_dim > 0 &&
           !cm_size_mul(sizes->element_bytes * CM_PAGE_TOKENS, shape->head_dim,
                        &sizes->head_bytes) &&
           !cm_size_add(sizes->head_bytes, scales_bytes, &sizes->head_bytes) &&
           !cm_size_mul(sizes->head_bytes, 2 * (size_t)shape->n_kv_heads, &sizes->layer_bytes) &&
           !cm_size_add(sizes->layer_bytes, steps_bytes, &sizes->layer_bytes) &&
           !cm_size_mul(sizes->layer_bytes, shape->n_layers, &sizes->page_bytes);
}

size_t cm_cpu_kv_page_bytes(const struct cm_backend *backend, const struct cm_kv_shape *shape)
{
    struct cm_kv_pool sizes = { 0 };
    return sizes_from_shape(backend, shape, &sizes) ? sizes.page_bytes : 0;
}

enum cm_status cm_cpu_kv_pool_create(struct cm_backend *backend, const struct cm_kv_shape *shape,
                                     uint32_t pages_count, struct cm_kv_pool **pool,
                                     struct cm_error *error)
{
    *pool = NULL;
    struct cm_kv_pool sizes = { .functions = backend->functions, .pages_count = pages_count };
    if (!sizes_from_shape(backend, shape, &sizes) || pages_count == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "KV cache: %u layers, %u KV heads, head size %u and %u pages make no "
                            "cache; check the model's sizes and the memory limit.",
                            shape->n_layers, shape->n_kv_heads, shape->head_dim, pages_count);
    }
    if (shape->head_dim % 16 != 0 || shape->head_dim > CM_HEAD_DIM_MAX) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "KV cache: heads of %u values; copymill runs models whose head size is "
                            "a multiple of 16 up to %d.",
                            shape->head_dim, CM_HEAD_DIM_MAX);
    }
    struct cm_kv_pool *created = cm_alloc(1, sizeof *created);
    if (created != NULL) {
        *created = sizes;
        /* Mapped, so that pages never used take no memory. */
        size_t bytes;
        if (!cm_size_mul(pages_count, sizes.page_bytes, &bytes)) {
            created->pages = cm_map(bytes);
        }
    }
    if (created == NULL || created->pages == NULL) {
        cm_free(created);
        return cm_error_set(error, CM_OUT_OF_MEMORY,
                            "KV cache: no memory for %u pages of %zu bytes; lower the memory limit "
                            "or the batch.",
                            pages_count, sizes.page_bytes);
    }
    *pool = created;
    return CM_OK;
}

void cm_cpu_kv_pool_close(struct cm_kv_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    cm_unmap(pool->pages, pool->pages_count * pool->page_bytes);
    cm_free(pool);
}

void cm_cpu_kv_discard(struct cm_backend *backend, struct cm_kv_pool *pool, const int32_t *pages,
                       uint32_t pages_count)
{
    (void)backend;
    for (uint32_t i = 0; CM_POISONS_PAGES && i < pages_count; i++) {
        CM_ASSERT((uint32_t)pages[i] < pool->pages_count);
        memset(pool->pages + (size_t)pages[i] * pool->page_bytes, CM_POISON, pool->page_bytes);
    }
}

static void copy_values(const struct cm_kv_pool *pool, const void *from, void *to, uint32_t tokens)
{
    uint32_t dim = pool->shape.head_dim;
    uint32_t whole = pool->pairs ? tokens / 2 * 2 : tokens;
    memcpy(to, from, (size_t)whole * dim * pool->element_bytes);
    const uint16_t *pairs = (const uint16_t *)from + (size_t)whole * dim;
    uint16_t *copies = (uint16_t *)to + (size_t)whole * dim;
    for (uint32_t i = 0; whole < tokens && i < dim; i++) {
        copies[2 * i] = pairs[2 * i];
    }
}

static void copy_keys(const struct cm_kv_pool *pool, const unsigned char *from, unsigned char *to,
                      uint32_t tokens)
{
    uint32_t together = pool->pairs ? 2 : 1; /* dimensions */
    size_t token_bytes = together * pool->element_bytes;
    for (uint32_t i = 0; i < pool->shape.head_dim / together; i++) {
        size_t first = i * CM_PAGE_TOKENS * token_bytes;
        memcpy(to + first, from + first, tokens * token_bytes);
    }
}

static void copy_scales(const struct cm_kv_pool *pool, const unsigned char *from, unsigned char *to,
                        uint32_t tokens)
{
    uint32_t dim = pool->shape.head_dim;
    for (uint32_t i = 0; pool->codes && i < dim / CM_KV_GROUP; i++) {
        size_t first = (size_t)i * CM_PAGE_TOKENS;
        memcpy(cm_kv_scales(to, dim) + first, cm_kv_scales(from, dim) + first,
               tokens * sizeof(float));
    }
}

void cm_cpu_kv_copy_tokens(struct cm_backend *backend, struct cm_kv_pool *pool, uint32_t from_page,
                           uint32_t to_page, uint32_t tokens)
{
    (void)backend;
    CM_ASSERT(from_page < pool->pages_count && to_page < pool->pages_count);
    CM_ASSERT(tokens <= CM_PAGE_TOKENS && from_page != to_page);
    for (uint32_t layer = 0; layer < pool->shape.n_layers; layer++) {
        for (uint32_t head = 0; head < pool->shape.n_kv_heads; head++) {
            const unsigned char *from = cm_kv_keys(pool, from_page, layer, head);
            unsigned char *to = cm_kv_keys(pool, to_page, layer, head);
            copy_keys(pool, from, to, tokens);
            copy_scales(pool, from, to, tokens);
            if (pool->pairs) {
                memcpy(cm_kv_key_steps(pool, to_page, layer, head),
                       cm_kv_key_steps(pool, from_page, layer, head), tokens * sizeof(float));
            }
            from = cm_kv_values(pool, from_page, layer, head);
            to = cm_kv_values(pool, to_page, layer, head);
            copy_values(pool, from, to, tokens);
            copy_scales(pool, from, to, tokens);
        }
    }
}
