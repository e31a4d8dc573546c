/* What a row was written from, for the ledger: the item's fields and attributes and the segment's,
 * as JSON objects, name -> value, in their order. Numbers are asked of the ledger once for an item
 * or a segment and kept. For the thread that stores rows. */
#ifndef CM_JOBS_ROW_SOURCES_H
#define CM_JOBS_ROW_SOURCES_H

#include "base/status.h"
#include "jobs/ledger.h"
#include "jobs/row_task.h"

struct cm_row_sources;

/* CM_OUT_OF_MEMORY only. The ledger is borrowed. */
enum cm_status cm_row_sources_open(struct cm_ledger *ledger, size_t segments_count,
                                   struct cm_row_sources **sources) CM_MUST_CHECK;
void cm_row_sources_close(struct cm_row_sources *sources);

/* Stores the row's item and segment, where they are not there yet, and names them in its place. */
enum cm_status cm_row_sources_store(struct cm_row_sources *sources, struct cm_row_task *task,
                                    struct cm_error *error) CM_MUST_CHECK;

#endif
