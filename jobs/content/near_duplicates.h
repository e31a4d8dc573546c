/* Texts that say nearly the same, found while they come in: MinHash (Broder 1997) over shingles of
 * three words, with locality-sensitive hashing so that a text is compared with few others.
 *
 * Words are compared without case, punctuation and width; each ideograph is a word. A text that is
 * like none before starts a group; later texts join the group whose first text they are most like.
 * So every member is near the first of its group, and the outcome depends on the texts and their
 * order alone. About a kilobyte a group and 4 bytes a text. One thread at a time.
 */
#ifndef CM_JOBS_CONTENT_NEAR_DUPLICATES_H
#define CM_JOBS_CONTENT_NEAR_DUPLICATES_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

struct cm_near_duplicates;

struct cm_near_match {
    bool found;
    size_t index;      /* of the first text of the group; texts count from 0 */
    double similarity; /* estimated Jaccard index of the shingles, within about 0.05 */
};

/* Texts at `threshold` (0.3 to 1) or above are near duplicates; at 0.8 about one word in thirty
 * differs. CM_OUT_OF_MEMORY. */
enum cm_status cm_near_duplicates_open(double threshold, struct cm_near_duplicates **set,
                                       struct cm_error *error) CM_MUST_CHECK;
void cm_near_duplicates_close(struct cm_near_duplicates *set);

/* Adds the next text and tells whether it joined a group. Texts without a word join none.
 * CM_OUT_OF_MEMORY, CM_LIMIT after two thousand million texts. */
enum cm_status cm_near_duplicates_add(struct cm_near_duplicates *set, struct cm_span text,
                                      struct cm_near_match *match,
                                      struct cm_error *error) CM_MUST_CHECK;

size_t cm_near_duplicates_count(const struct cm_near_duplicates *set);

/* The first text of the group that text `index` is in; `index` itself where it is that. */
size_t cm_near_duplicates_group(const struct cm_near_duplicates *set, size_t index);

#endif
