/* One item made clean and labelled, in place: invisible characters and identifiers of persons out,
 * measures written one way, language and category filled in. What was done is told through a
 * callback, so that the report can say it.
 */
#ifndef CM_JOBS_PREPARE_ITEM_CLEANER_H
#define CM_JOBS_PREPARE_ITEM_CLEANER_H

#include "base/status.h"
#include "jobs/prepare/taxonomy.h"
#include "loaders/catalog.h"

/* A change: `field` is one of the item's or an attribute's name; `detail` never quotes what was
 * masked. Returns a status that ends the work where it is not CM_OK. */
typedef enum cm_status (*cm_change_listener)(void *context, const struct cm_item *item,
                                             const char *field, const char *reason,
                                             const char *detail);

struct cm_item_cleaner {
    const struct cm_taxonomy *taxonomy; /* NULL: none */
    cm_change_listener listener;
    void *context;
    uint64_t personal_count; /* identifiers masked in the item in hand */
    struct cm_text text;     /* scratch */
    struct cm_text other;    /* scratch */
};

void cm_item_cleaner_init(struct cm_item_cleaner *cleaner);
void cm_item_cleaner_deinit(struct cm_item_cleaner *cleaner);

/* The item must be whole (not damaged). CM_OUT_OF_MEMORY, or the listener's status. */
enum cm_status cm_item_clean(struct cm_item_cleaner *cleaner, struct cm_item *item) CM_MUST_CHECK;

#endif
