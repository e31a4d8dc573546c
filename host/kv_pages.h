/* Which pages of the KV pool are taken: a free list. All pages exist from the start; a request
 * takes everything it can ever need when it is admitted, so memory cannot run out in mid-text. */
#ifndef CM_HOST_KV_PAGES_H
#define CM_HOST_KV_PAGES_H

#include "base/status.h"

#include <stdint.h>

struct cm_kv_pages;

enum { CM_NO_PAGE = -1 };

/* Copy the first `tokens` positions of one page to another before the next step runs. */
struct cm_page_copy {
    int32_t from;
    int32_t to;
    uint32_t tokens;
};

enum cm_status cm_kv_pages_open(uint32_t pages_count, struct cm_kv_pages **pages) CM_MUST_CHECK;
void cm_kv_pages_close(struct cm_kv_pages *pages);

uint32_t cm_kv_pages_free_count(const struct cm_kv_pages *pages);
uint32_t cm_kv_pages_count(const struct cm_kv_pages *pages);
uint32_t cm_kv_pages_used_max(const struct cm_kv_pages *pages); /* since the start */

/* A page must be there: the caller has looked at the free count. */
int32_t cm_kv_pages_take(struct cm_kv_pages *pages);

/* Discards it, too. CM_NO_PAGE is fine. */
void cm_kv_pages_give_back(struct cm_kv_pages *pages, int32_t page);

/* Nobody will read what the page holds now: noted for cm_kv_discard. */
void cm_kv_pages_discard(struct cm_kv_pages *pages, int32_t page);

/* Moves the pages discarded since the last call to `list` [cm_kv_pages_count], each once, and
 * returns their number. Some may have been taken again. */
uint32_t cm_kv_pages_discarded(struct cm_kv_pages *pages, int32_t *list);

#endif
