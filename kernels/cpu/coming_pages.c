#include "kernels/cpu/coming_pages.h"

#include "base/memory.h"
#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/thread_pool.h"

/* More at a time than a processor has misses in flight are dropped. */
enum { STEP_LINES_MAX = 3 };

void cm_coming_pages_set(struct cm_coming_pages *coming, const struct cm_kv_pool *pool,
                         uint32_t layer, const struct cm_visit *visits, size_t visits_count,
                         uint32_t threads_count)
{
    uint32_t count =
        visits_count < CM_COMING_PAGES_MAX ? (uint32_t)visits_count : CM_COMING_PAGES_MAX;
    coming->layer = cm_kv_keys(pool, 0, layer, 0);
    coming->page_bytes = pool->page_bytes;
    coming->lines_count = (uint32_t)(pool->layer_bytes / CM_CACHE_LINE_BYTES);
    coming->threads_count =
        threads_count < CM_COMING_THREADS_MAX ? threads_count : CM_COMING_THREADS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        coming->pages[i] = (uint32_t)visits[i].page;
    }
    for (uint32_t i = 0; i < coming->threads_count; i++) {
        struct cm_pool_range share = cm_pool_share(count, i, threads_count);
        coming->progress[i].page = share.begin;
        coming->progress[i].pages_end = share.end;
        coming->progress[i].line = 0;
    }
}

const uint8_t *cm_coming_pages_take(struct cm_coming_pages *coming, uint32_t thread_index,
                                    uint32_t steps, uint32_t *lines)
{
    *lines = 0;
    if (thread_index >= coming->threads_count ||
        coming->progress[thread_index].page >= coming->progress[thread_index].pages_end) {
        return NULL;
    }
    uint32_t page = coming->progress[thread_index].page;
    uint32_t line = coming->progress[thread_index].line;
    /* Parts of a page of nearly equal size. */
    uint32_t parts = (coming->lines_count + STEP_LINES_MAX * steps - 1) / (STEP_LINES_MAX * steps);
    *lines = ((coming->lines_count + parts - 1) / parts + steps - 1) / steps;
    const uint8_t *from = coming->layer + coming->pages[page] * coming->page_bytes +
                          (size_t)line * CM_CACHE_LINE_BYTES;
    line += *lines * steps;
    if (line >= coming->lines_count) {
        coming->progress[thread_index].page++;
        line = 0;
    }
    coming->progress[thread_index].line = line;
    return from;
}
