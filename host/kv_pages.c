#include "host/kv_pages.h"

#include "base/memory.h"

#include <stdbool.h>

struct cm_kv_pages {
    int32_t *free_stack; /* [pages_count] */
    bool *taken;         /* [pages_count] */
    int32_t *discarded;  /* [pages_count] */
    bool *is_discarded;  /* [pages_count] and in the list */
    uint32_t pages_count;
    uint32_t free_count;
    uint32_t discarded_count;
    uint32_t used_max;
};

enum cm_status cm_kv_pages_open(uint32_t pages_count, struct cm_kv_pages **pages)
{
    struct cm_kv_pages *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->free_stack = cm_alloc(pages_count, sizeof *opened->free_stack);
    opened->taken = cm_alloc(pages_count, sizeof *opened->taken);
    opened->discarded = cm_alloc(pages_count, sizeof *opened->discarded);
    opened->is_discarded = cm_alloc(pages_count, sizeof *opened->is_discarded);
    if (opened->free_stack == NULL || opened->taken == NULL || opened->discarded == NULL ||
        opened->is_discarded == NULL) {
        cm_kv_pages_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    opened->pages_count = pages_count;
    opened->free_count = pages_count;
    for (uint32_t i = 0; i < pages_count; i++) {
        opened->free_stack[i] = (int32_t)(pages_count - 1 - i);
    }
    *pages = opened;
    return CM_OK;
}

void cm_kv_pages_close(struct cm_kv_pages *pages)
{
    if (pages != NULL) {
        cm_free(pages->free_stack);
        cm_free(pages->taken);
        cm_free(pages->discarded);
        cm_free(pages->is_discarded);
        cm_free(pages);
    }
}

uint32_t cm_kv_pages_free_count(const struct cm_kv_pages *pages)
{
    return pages->free_count;
}

uint32_t cm_kv_pages_count(const struct cm_kv_pages *pages)
{
    return pages->pages_count;
}

uint32_t cm_kv_pages_used_max(const struct cm_kv_pages *pages)
{
    return pages->used_max;
}

int32_t cm_kv_pages_take(struct cm_kv_pages *pages)
{
    CM_ASSERT(pages->free_count > 0);
    int32_t page = pages->free_stack[--pages->free_count];
    pages->taken[page] = true;
    uint32_t used = pages->pages_count - pages->free_count;
    pages->used_max = used > pages->used_max ? used : pages->used_max;
    return page;
}

void cm_kv_pages_give_back(struct cm_kv_pages *pages, int32_t page)
{
    if (page == CM_NO_PAGE) {
        return;
    }
    cm_kv_pages_discard(pages, page);
    pages->taken[page] = false;
    pages->free_stack[pages->free_count++] = page;
}

void cm_kv_pages_discard(struct cm_kv_pages *pages, int32_t page)
{
    CM_ASSERT(page >= 0 && (uint32_t)page < pages->pages_count && pages->taken[page]);
    if (!pages->is_discarded[page]) {
        pages->is_discarded[page] = true;
        pages->discarded[pages->discarded_count++] = page;
    }
}

uint32_t cm_kv_pages_discarded(struct cm_kv_pages *pages, int32_t *list)
{
    uint32_t count = pages->discarded_count;
    for (uint32_t i = 0; i < count; i++) {
        list[i] = pages->discarded[i];
        pages->is_discarded[list[i]] = false;
    }
    pages->discarded_count = 0;
    return count;
}
