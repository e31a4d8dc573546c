/* The categories of a shop as a file: what an item is in, found by its own category or by words of
 * its title and facts.
 *
 * CSV, JSON or JSONL with a column `category` (or the first): a path such as "Home > Kitchen >
 * Mugs"
 * (">" or "/" between), and a column `keywords`, separated by commas or semicolons. Without
 * keywords the last part of the path is the keyword.
 */
#ifndef CM_JOBS_PREPARE_TAXONOMY_H
#define CM_JOBS_PREPARE_TAXONOMY_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/catalog.h"

#include <stddef.h>

enum { CM_TAXONOMY_CATEGORIES_MAX = 100000 };

struct cm_taxonomy;

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA (with the line), CM_LIMIT, CM_OUT_OF_MEMORY. */
enum cm_status cm_taxonomy_open(const char *path, struct cm_taxonomy **taxonomy,
                                struct cm_error *error) CM_MUST_CHECK;
void cm_taxonomy_close(struct cm_taxonomy *taxonomy);

struct cm_taxonomy_match {
    const char *path;       /* as in the file; NULL: no category fits, or two fit alike */
    const char *reason;     /* "own category", "keyword" */
    struct cm_span keyword; /* the one that counted most, as in the file */
};

/* The item's own category counts where it is one of the taxonomy's; else keywords do: three for the
 * title, two for the own category, one for attributes and description; at least two are needed. */
void cm_taxonomy_find(const struct cm_taxonomy *taxonomy, const struct cm_item *item,
                      struct cm_taxonomy_match *match);

#endif
