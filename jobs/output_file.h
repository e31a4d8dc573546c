/* A file that appears whole or not at all: written under another name in the same folder, synced,
 * then renamed. The path "-" is standard output, which is written as it comes. */
#ifndef CM_JOBS_OUTPUT_FILE_H
#define CM_JOBS_OUTPUT_FILE_H

#include "base/status.h"
#include "jobs/ledger.h"

#include <stdbool.h>
#include <stdio.h>

struct cm_output_rules {
    const char *path;
    const char *option; /* for messages; NULL: "--out" */
    bool overwrite;
    struct cm_ledger *ledger; /* NULL: the job has none yet, so no file can be its own */
};

/* Whether the path may be written: CM_ALREADY_EXISTS for a file that is there and that this job did
 * not write (or that was changed since), unless `overwrite`; CM_INVALID_ARGUMENT for what is no
 * regular file; CM_IO where the folder cannot be written. */
enum cm_status cm_output_check(const struct cm_output_rules *rules,
                               struct cm_error *error) CM_MUST_CHECK;

struct cm_output_file;

/* What an earlier run that died left under the temporary name is replaced. */
enum cm_status cm_output_file_open(const char *path, struct cm_output_file **file,
                                   struct cm_error *error) CM_MUST_CHECK;

FILE *cm_output_file_stream(struct cm_output_file *file);

/* Syncs, has the ledger (NULL: none) remember the file, renames, syncs the folder. Errors that the
 * stream met earlier are found here too. */
enum cm_status cm_output_file_publish(struct cm_output_file *file, struct cm_ledger *ledger,
                                      struct cm_error *error) CM_MUST_CHECK;

/* Removes the temporary file unless it was published. NULL is fine. */
void cm_output_file_close(struct cm_output_file *file);

#endif
