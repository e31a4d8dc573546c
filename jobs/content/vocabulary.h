/* Which values the columns of a catalog can have, to notice a copy that says the value of another
 * item: "a pub by the river" where the item's column "area" says city centre. Built-in kinds such
 * as colours and materials know synonyms in several languages; a catalog that is read whole adds
 * its own columns.
 */
#ifndef CM_JOBS_CONTENT_VOCABULARY_H
#define CM_JOBS_CONTENT_VOCABULARY_H

#include "base/status.h"
#include "jobs/content/fact_sheet.h"

enum { CM_VOCABULARY_VALUES_MAX = 200, CM_VOCABULARY_COLUMNS_MAX = 256 };

struct cm_vocabulary; /* read-only once it is sealed: any number of threads */

enum cm_status cm_vocabulary_open(struct cm_vocabulary **vocabulary) CM_MUST_CHECK;
void cm_vocabulary_close(struct cm_vocabulary *vocabulary); /* NULL is fine */

/* Adds a list of kinds as in lexicons/value_classes.txt. CM_INVALID_DATA with name and line. */
enum cm_status cm_vocabulary_add_list(struct cm_vocabulary *vocabulary, struct cm_span text,
                                      const char *name, struct cm_error *error) CM_MUST_CHECK;

/* Adds the columns of an item of the catalog. A column of which more than
 * CM_VOCABULARY_VALUES_MAX values are met tells nothing. CM_OUT_OF_MEMORY. */
enum cm_status cm_vocabulary_add_item(struct cm_vocabulary *vocabulary,
                                      const struct cm_item *item) CM_MUST_CHECK;

void cm_vocabulary_seal(struct cm_vocabulary *vocabulary);

struct cm_contradiction {
    const struct cm_fact_slot *slot; /* what the facts say */
    struct cm_span said;             /* what the text says instead; in the text */
    bool is_brand;
};

/* Looks for values that the item's facts exclude and writes at most `limit` of them. Returns how
 * many. `plain` is of `text`. */
size_t cm_vocabulary_contradictions(const struct cm_vocabulary *vocabulary,
                                    const struct cm_fact_sheet *facts,
                                    const struct cm_plain_text *plain, struct cm_span text,
                                    struct cm_contradiction *found, size_t limit);

#endif
