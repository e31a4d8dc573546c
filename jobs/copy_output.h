/* The planned rows of a ledger into --out, and a few of them on stderr for a first impression. */
#ifndef CM_JOBS_COPY_OUTPUT_H
#define CM_JOBS_COPY_OUTPUT_H

#include "base/status.h"
#include "jobs/ledger.h"
#include "jobs/run_options.h"

/* Writes all planned rows in their order and counts them by status. */
enum cm_status cm_copy_output_write(const struct cm_run_options *options, struct cm_ledger *ledger,
                                    uint64_t counts[CM_ROW_STATUS_COUNT],
                                    struct cm_error *error) CM_MUST_CHECK;

/* Shows a few rows that have a text, from all over the `rows_count` planned ones. */
enum cm_status cm_copy_output_samples(struct cm_ledger *ledger, uint64_t rows_count,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
