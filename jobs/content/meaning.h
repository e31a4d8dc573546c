/* What an embedding model adds to the judge, where one is named with --embedder: whether a text is
 * closer to its audience than to the others', and whether it says the same as another text of its
 * item in other words.
 *
 * One thread at a time. What is found of a text depends on it, its segment, the other segments and
 * the texts of the same item before it.
 */
#ifndef CM_JOBS_CONTENT_MEANING_H
#define CM_JOBS_CONTENT_MEANING_H

#include "base/status.h"
#include "jobs/content/judgement.h"
#include "loaders/segments.h"

struct cm_meaning;

/* `model` is a folder or a name that the cache knows; `segments`, which outlives the result, may be
 * empty. Errors are those of host/encoder.h. */
enum cm_status cm_meaning_open(const char *model, const struct cm_segments *segments,
                               struct cm_meaning **meaning, struct cm_error *error) CM_MUST_CHECK;
void cm_meaning_close(struct cm_meaning *meaning); /* NULL is fine */

struct cm_meaning_row {
    struct cm_span text;
    const char *item_id;              /* rows of one item stand together */
    const struct cm_segment *segment; /* one of `segments`; NULL: none */
    const char *name;                 /* of the row, for findings */
};

/* Changes the score for the audience, and flags a near duplicate. CM_OUT_OF_MEMORY. */
enum cm_status cm_meaning_judge(struct cm_meaning *meaning, const struct cm_meaning_row *row,
                                struct cm_judgement *judgement,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
