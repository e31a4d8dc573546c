/* A file of copy, judged row by row. */
#ifndef CM_JOBS_CONTENT_SCORE_FILE_H
#define CM_JOBS_CONTENT_SCORE_FILE_H

#include "jobs/content/score_options.h"

/* Writes --out and prints a summary. `*grave` tells whether a row has a finding of high severity.
 * Errors of the files. */
enum cm_status cm_score_file(const struct cm_score_options *options, bool *grave,
                             struct cm_error *error) CM_MUST_CHECK;

#endif
