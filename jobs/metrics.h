/* A run as Prometheus sees it: a file in its text format (0.0.4) that is replaced whole every few
 * seconds, for a collector of text files. A file that cannot be written is a warning, once: it must
 * not end a night's work. */
#ifndef CM_JOBS_METRICS_H
#define CM_JOBS_METRICS_H

#include "jobs/progress.h"

struct cm_metrics;

/* Whether the path may be written: CM_ALREADY_EXISTS for a file that holds something else. */
enum cm_status cm_metrics_check(const char *path, struct cm_error *error) CM_MUST_CHECK;

/* `job` and `model` become labels. All are copied. CM_OUT_OF_MEMORY only. */
enum cm_status cm_metrics_open(const char *path, const char *job, const char *model,
                               struct cm_metrics **metrics) CM_MUST_CHECK;

/* Cheap to call after every step. */
void cm_metrics_update(struct cm_metrics *metrics, const struct cm_progress_numbers *numbers);

/* Writes the last state, in which the run is not under way. NULL is fine. */
void cm_metrics_close(struct cm_metrics *metrics, const struct cm_progress_numbers *numbers);

#endif
