/* `copymill prepare --segments-from`: from a table of customers to a segment file for `run`. */
#ifndef CM_JOBS_PREPARE_SEGMENTS_FROM_H
#define CM_JOBS_PREPARE_SEGMENTS_FROM_H

#include "jobs/prepare/prepare_options.h"

/* Writes the segments and, where asked for, the report; says on stderr what was found. */
enum cm_status cm_prepare_segments(const struct cm_prepare_options *options,
                                   struct cm_error *error) CM_MUST_CHECK;

#endif
