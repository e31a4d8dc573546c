/* A catalog held whole in memory and found by id: for files of copy, whose rows come in any order.
 */
#ifndef CM_JOBS_CONTENT_CATALOG_INDEX_H
#define CM_JOBS_CONTENT_CATALOG_INDEX_H

#include "base/status.h"
#include "loaders/catalog.h"

#include <stddef.h>

struct cm_catalog_index;

/* Errors of the catalog. */
enum cm_status cm_catalog_index_open(const struct cm_catalog_options *options,
                                     struct cm_catalog_index **index,
                                     struct cm_error *error) CM_MUST_CHECK;
void cm_catalog_index_close(struct cm_catalog_index *index); /* NULL is fine */

size_t cm_catalog_index_count(const struct cm_catalog_index *index);
const struct cm_item *cm_catalog_index_at(const struct cm_catalog_index *index, size_t place);

/* The first item of that id; NULL: none. */
const struct cm_item *cm_catalog_index_find(const struct cm_catalog_index *index, const char *id);

#endif
