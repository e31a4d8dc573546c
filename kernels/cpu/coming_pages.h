/* Pages of the KV cache that the attention of the next layer will read. They are asked for while
 * matmuls compute, which leave the memory idle: attention alone waits for it half of its time. */
#ifndef CM_KERNELS_CPU_COMING_PAGES_H
#define CM_KERNELS_CPU_COMING_PAGES_H

#include "base/memory.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CM_COMING_PAGES_MAX = 4096,  /* 48 MiB of a layer of SmolLM2: far more than a cache */
    CM_COMING_THREADS_MAX = 256, /* others fetch nothing */
};

struct cm_kv_pool;
struct cm_visit;

/* All zero: none. Written between regions, except for each thread's own progress, which changes
 * with every tile of a matmul: no line of it is one that another thread reads. */
struct cm_coming_pages {
    const uint8_t *layer; /* of page 0 */
    size_t page_bytes;
    uint32_t lines_count; /* cache lines of a layer in a page */
    uint32_t threads_count;
    uint32_t pages[CM_COMING_PAGES_MAX];
    struct {
        _Alignas(CM_CACHE_LINE_BYTES) uint32_t page; /* index into `pages` */
        uint32_t pages_end;
        uint32_t line;
        uint8_t apart[CM_CACHE_LINE_BYTES]; /* and the neighbouring line, which may be prefetched */
    } progress[CM_COMING_THREADS_MAX];
};

/* A share for each thread, in the order in which attention hands them out. */
void cm_coming_pages_set(struct cm_coming_pages *coming, const struct cm_kv_pool *pool,
                         uint32_t layer, const struct cm_visit *visits, size_t visits_count,
                         uint32_t threads_count);

/* What thread `thread_index` is to fetch within `steps` steps: `lines` cache lines a step, one
 * after the other from the address returned. NULL and 0 lines: nothing is left. */
const uint8_t *cm_coming_pages_take(struct cm_coming_pages *coming, uint32_t thread_index,
                                    uint32_t steps, uint32_t *lines);

#endif
