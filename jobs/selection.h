/* --only ITEM[:SEGMENT][,...]: which rows of the job are wanted. An entry whose part after the last
 * colon is a segment means that segment of that item; any other entry is an item id, colons and
 * all. */
#ifndef CM_JOBS_SELECTION_H
#define CM_JOBS_SELECTION_H

#include "base/status.h"
#include "loaders/segments.h"

#include <stdbool.h>

enum { CM_SELECTION_MAX = 1000 };

struct cm_selection;

/* `text` NULL selects everything. `segments` must outlive the selection. CM_INVALID_ARGUMENT for an
 * empty entry, CM_LIMIT for more than CM_SELECTION_MAX, CM_OUT_OF_MEMORY. */
enum cm_status cm_selection_open(const char *text, const struct cm_segments *segments,
                                 struct cm_selection **selection,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_selection_close(struct cm_selection *selection);

/* Remembers that the item was met. */
bool cm_selection_wants(struct cm_selection *selection, const char *item_id, size_t segment_index);

/* Remembers an item that has no rows at all. */
void cm_selection_meet(struct cm_selection *selection, const char *item_id);

/* At the end of the catalog: CM_NOT_FOUND names an entry that fitted no item. */
enum cm_status cm_selection_check(const struct cm_selection *selection,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
