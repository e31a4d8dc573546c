/* Items set aside in a temporary file while a catalog is read: the columns of a CSV file are known
 * only at its end, and an item may still be completed by a later duplicate. Memory holds the place
 * of each item and the names of all attributes.
 */
#ifndef CM_JOBS_PREPARE_ITEM_STORE_H
#define CM_JOBS_PREPARE_ITEM_STORE_H

#include "base/status.h"
#include "loaders/catalog.h"

#include <stddef.h>

enum { CM_STORE_NAMES_MAX = 1000 };

struct cm_item_store;

/* CM_IO where there is no room for temporary files ($TMPDIR, /tmp). */
enum cm_status cm_item_store_open(struct cm_item_store **store,
                                  struct cm_error *error) CM_MUST_CHECK;
void cm_item_store_close(struct cm_item_store *store);

/* Adds an item; they count from 0. CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_item_store_add(struct cm_item_store *store, const struct cm_item *item,
                                 struct cm_error *error) CM_MUST_CHECK;

/* Puts `item` in the place of item `index`. */
enum cm_status cm_item_store_replace(struct cm_item_store *store, size_t index,
                                     const struct cm_item *item,
                                     struct cm_error *error) CM_MUST_CHECK;

/* Reads an item back; release it with cm_item_deinit. */
enum cm_status cm_item_store_read(struct cm_item_store *store, size_t index, struct cm_item *item,
                                  struct cm_error *error) CM_MUST_CHECK;

size_t cm_item_store_count(const struct cm_item_store *store);

/* Names of the attributes of all items, in the order they were first met; past
 * CM_STORE_NAMES_MAX new names are not learned. Compared without case. */
const char *const *cm_item_store_names(const struct cm_item_store *store, size_t *count);

#endif
