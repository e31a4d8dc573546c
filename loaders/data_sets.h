/* Public data sets of products and copy as items and texts:
 *
 *   amazon        Amazon Reviews metadata (2023): JSON lines with title, features, description,
 * price, store, categories, details, parent_asin. The text is the description taobao        titles
 * with an aspect and a category of users, and their descriptions (KOBE): a table with columns
 * title, aspect, user_category, description; or KOBE's own parallel files, of which NAME.src is
 * named and NAME.tgt and NAME.cond are read too advertisegen  JSON lines, content
 * "类型#裤*版型#宽松", summary e2e           a table with the columns mr, "name[Aromi],
 * food[French]", and ref
 *
 * All texts are plain text. A record that cannot be read is a damaged item, never the end.
 */
#ifndef CM_LOADERS_DATA_SETS_H
#define CM_LOADERS_DATA_SETS_H

#include "base/status.h"
#include "loaders/catalog.h"

enum cm_data_set_kind {
    CM_DATA_SET_AMAZON,
    CM_DATA_SET_TAOBAO,
    CM_DATA_SET_ADVERTISEGEN,
    CM_DATA_SET_E2E,
    CM_DATA_SET_KIND_COUNT
};

/* "amazon" ...; NULL for a number that is none. */
const char *cm_data_set_name(enum cm_data_set_kind kind);

struct cm_data_record {
    struct cm_item item; /* without an id where the data set has none */
    char *text;          /* the copy that goes with it; "": none */
    char *aspect;        /* taobao: what the copy stresses; "" */
    char *audience;      /* taobao: the category of users; "" */
};

void cm_data_record_deinit(struct cm_data_record *record);

struct cm_data_set;

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA, CM_OUT_OF_MEMORY. */
enum cm_status cm_data_set_open(enum cm_data_set_kind kind, const char *path,
                                struct cm_data_set **set, struct cm_error *error) CM_MUST_CHECK;
void cm_data_set_close(struct cm_data_set *set);

/* The next record, which the caller releases, or CM_END. CM_IO, CM_OUT_OF_MEMORY, CM_INVALID_DATA
 * where the file cannot be followed any further. */
enum cm_status cm_data_set_next(struct cm_data_set *set, struct cm_data_record *record,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
