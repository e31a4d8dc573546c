/* The files of a batch: its ledger, and the answers and errors that are written out of it. */
#ifndef CM_JOBS_BATCH_BATCH_FILES_H
#define CM_JOBS_BATCH_BATCH_FILES_H

#include "jobs/batch/batch_options.h"
#include "jobs/ledger.h"

#include <limits.h>

struct cm_batch_files {
    const struct cm_batch_options *options;
    char ledger_path[PATH_MAX];
    char errors_path[PATH_MAX];
    struct cm_ledger *ledger;
};

/* Names the files and checks that they may be written; opens the ledger where there is one, since
 * it knows which files are its own. */
enum cm_status cm_batch_files_check(struct cm_batch_files *files,
                                    const struct cm_batch_options *options,
                                    struct cm_error *error) CM_MUST_CHECK;

/* Creates the ledger where there is none yet. */
enum cm_status cm_batch_files_open_ledger(struct cm_batch_files *files,
                                          struct cm_error *error) CM_MUST_CHECK;

/* Writes both files from the plan; each appears whole. CM_INTERNAL where the ledger does not hold
 * as many rows as were counted. */
enum cm_status cm_batch_files_write(struct cm_batch_files *files, uint64_t ok_count,
                                    uint64_t failed_count, struct cm_error *error) CM_MUST_CHECK;

void cm_batch_files_deinit(struct cm_batch_files *files);

#endif
