/* What sets the customers of a group apart in the columns that the groups were not made by: a
 * choice that most of them share and clearly fewer of the others do. */
#ifndef CM_JOBS_PREPARE_SEGMENT_TRAITS_H
#define CM_JOBS_PREPARE_SEGMENT_TRAITS_H

#include "jobs/prepare/segment_groups.h"

struct cm_segment_traits;

/* Counts all rows once. CM_OUT_OF_MEMORY. */
enum cm_status cm_segment_traits_open(const struct cm_segment_groups *groups,
                                      struct cm_segment_traits **traits) CM_MUST_CHECK;
void cm_segment_traits_close(struct cm_segment_traits *traits);

/* Appends "Contract: Two year; StreamingTV: Yes" for a group; nothing where nothing stands out. */
enum cm_status cm_segment_traits_append(const struct cm_segment_traits *traits, size_t group,
                                        struct cm_text *text) CM_MUST_CHECK;

#endif
