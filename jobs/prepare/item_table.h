/* Stored items as a catalog: the fields, then a column for every attribute. */
#ifndef CM_JOBS_PREPARE_ITEM_TABLE_H
#define CM_JOBS_PREPARE_ITEM_TABLE_H

#include "jobs/prepare/item_store.h"

#include <stdbool.h>
#include <stdio.h>

/* Writes all items to `stream`, as CSV or JSON lines by the ending of `path`. Attributes that have
 * no column of their own (past CM_STORE_NAMES_MAX) gather in "more_facts". CM_IO,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_item_table_write(struct cm_item_store *store, FILE *stream, const char *path,
                                   bool excel, struct cm_error *error) CM_MUST_CHECK;

#endif
