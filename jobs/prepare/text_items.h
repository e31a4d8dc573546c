/* Raw marketing texts, one a line, as items that are nothing but a description. */
#ifndef CM_JOBS_PREPARE_TEXT_ITEMS_H
#define CM_JOBS_PREPARE_TEXT_ITEMS_H

#include "base/status.h"
#include "loaders/catalog.h"

struct cm_text_items;

/* CM_NOT_FOUND, CM_IO, CM_UNSUPPORTED, CM_OUT_OF_MEMORY. */
enum cm_status cm_text_items_open(const char *path, struct cm_text_items **items,
                                  struct cm_error *error) CM_MUST_CHECK;
void cm_text_items_close(struct cm_text_items *items);

/* The next text that is not blank, or CM_END. Its id is "text-" and a hash of the text. Bytes that
 * are no text make the item damaged. */
enum cm_status cm_text_items_next(struct cm_text_items *items, struct cm_item *item,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
