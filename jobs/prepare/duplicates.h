/* Items of a catalog that are there twice.
 *
 * Exact: all but the id is the same. Near: nearly the same text (jobs/content/near_duplicates.h).
 * A near duplicate is merged only where nothing speaks against it: the same words in the title, the
 * same numbers in the description, and no brand, price or attribute that both have and that
 * differs. Otherwise the two are variants.
 */
#ifndef CM_JOBS_PREPARE_DUPLICATES_H
#define CM_JOBS_PREPARE_DUPLICATES_H

#include "base/status.h"
#include "loaders/catalog.h"

#include <stdbool.h>
#include <stddef.h>

struct cm_duplicates;

enum cm_duplicate_kind { CM_DUPLICATE_NONE, CM_DUPLICATE_EXACT, CM_DUPLICATE_NEAR };

struct cm_duplicate {
    enum cm_duplicate_kind kind;
    size_t index;      /* of the earlier item; only items that were kept count, from 0 */
    double similarity; /* near */
};

/* `similarity`: the share of common shingles from which texts are near duplicates. */
enum cm_status cm_duplicates_open(double similarity, struct cm_duplicates **duplicates,
                                  struct cm_error *error) CM_MUST_CHECK;
void cm_duplicates_close(struct cm_duplicates *duplicates);

/* Looks for an earlier item that this one repeats; to be told right after, by cm_duplicates_keep,
 * where the item is kept. CM_OUT_OF_MEMORY. */
enum cm_status cm_duplicates_find(struct cm_duplicates *duplicates, const struct cm_item *item,
                                  struct cm_duplicate *found, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_duplicates_keep(struct cm_duplicates *duplicates,
                                  struct cm_error *error) CM_MUST_CHECK;

/* Whether nothing in the two items says that they are different products. */
bool cm_items_agree(const struct cm_item *a, const struct cm_item *b);

/* Gives `kept` what only `other` has: fields and attributes. CM_OUT_OF_MEMORY. */
enum cm_status cm_items_merge(struct cm_item *kept, const struct cm_item *other,
                              bool *changed) CM_MUST_CHECK;

#endif
