/* Counts identical items: the how-manieth of its kind an item is. 16 bytes per distinct item, so
 * ten million items need some 300 MB. Twelve bytes of the digest tell items apart; that two of ten
 * million differ and agree in these has a chance of about 10^-15, and would only make one of them
 * "the second". */
#ifndef CM_JOBS_DUPLICATES_H
#define CM_JOBS_DUPLICATES_H

#include "base/status.h"
#include "jobs/row_key.h"

struct cm_duplicates;

enum cm_status cm_duplicates_open(struct cm_duplicates **duplicates) CM_MUST_CHECK;
void cm_duplicates_close(struct cm_duplicates *duplicates);

/* `*nth` is 0 for the first item of this content, 1 for the second ... CM_OUT_OF_MEMORY. */
enum cm_status cm_duplicates_count(struct cm_duplicates *duplicates,
                                   const struct cm_content_digest *digest,
                                   uint32_t *nth) CM_MUST_CHECK;

#endif
