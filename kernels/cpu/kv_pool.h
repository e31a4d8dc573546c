/* Layout of the paged KV cache, shared by its writer (rope) and its reader (attention).
 *
 * A page holds, for every layer,
 *     keys   [n_kv_heads][head_dim][CM_PAGE_TOKENS]  transposed: 16 positions' scores are a vector
 *     values [n_kv_heads][CM_PAGE_TOKENS][head_dim]
 * in float32 (exact) or float16. Where the processor multiplies pairs of 16 bits and adds them,
 *     keys   [n_kv_heads][head_dim / 2][CM_PAGE_TOKENS][2]  words, see words.h
 *     values [n_kv_heads][CM_PAGE_TOKENS / 2][head_dim][2]  bf16, neighbouring positions
 *     steps  [n_kv_heads][CM_PAGE_TOKENS] float32, of the words
 * (bf16 is enough for what is averaged; scores would suffer). As integers of 8 bits (codes) keys
 * and values have, behind those of a head, steps for groups of channels, since single ones may be
 * far from all others (Qwen2.5's keys):
 *     scales [head_dim / CM_KV_GROUP][CM_PAGE_TOKENS] float32
 * A page's bytes are a multiple of a cache line. */
#ifndef CM_KERNELS_CPU_KV_POOL_H
#define CM_KERNELS_CPU_KV_POOL_H

#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"

enum { CM_HEAD_DIM_MAX = 256, CM_KV_GROUP = 16 };

struct cm_kv_pool {
    const struct cm_backend_functions *functions;
    struct cm_kv_shape shape;
    uint32_t pages_count;
    bool half;  /* keys and values are float16 */
    bool codes; /* keys and values */
    bool pairs; /* keys are pairs of words, values pairs of bf16 */
    size_t element_bytes;
    size_t head_bytes;  /* keys (or values) of one KV head of one layer in one page */
    size_t layer_bytes; /* keys and values of one layer in one page */
    size_t page_bytes;
    unsigned char *pages;
};

static inline unsigned char *cm_kv_keys(const struct cm_kv_pool *pool, uint32_t page,
                                        uint32_t layer, uint32_t kv_head)
{
    return pool->pages + page * pool->page_bytes + layer * pool->layer_bytes +
           kv_head * pool->head_bytes;
}

/* What codes are multiplied with; they are the keys or the values of a head in a page. */
static inline float *cm_kv_scales(const unsigned char *codes, uint32_t head_dim)
{
    return (float *)(uintptr_t)(codes + (size_t)CM_PAGE_TOKENS * head_dim);
}

/* Of keys that are words. */
static inline float *cm_kv_key_steps(const struct cm_kv_pool *pool, uint32_t page, uint32_t layer,
                                     uint32_t kv_head)
{
    const unsigned char *steps = cm_kv_keys(pool, page, layer, 2 * pool->shape.n_kv_heads);
    return (float *)(uintptr_t)steps + (size_t)kv_head * CM_PAGE_TOKENS;
}

static inline unsigned char *cm_kv_values(const struct cm_kv_pool *pool, uint32_t page,
                                          uint32_t layer, uint32_t kv_head)
{
    return cm_kv_keys(pool, page, layer, pool->shape.n_kv_heads + kv_head);
}

#endif
