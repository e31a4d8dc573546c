/* Commands about a finished job: `copymill NAME JOB [options]`. JOB is the ledger, or the copy file
 * that it lies beside. */
#ifndef CM_JOBS_JOB_ARGUMENT_H
#define CM_JOBS_JOB_ARGUMENT_H

#include "jobs/cli.h"

enum { CM_JOB_PATH_BYTES = 4096 };

struct cm_job_arguments {
    const char *words[4]; /* what is no option, nor an option's value */
    size_t words_count;
};

/* Sets the words apart, wherever they stand, and parses the rest as cm_cli_parse does, whose
 * results it gives; CM_END for --help. */
enum cm_status cm_job_arguments_parse(const struct cm_option *options, size_t options_count,
                                      void *target, int argc, char **argv,
                                      struct cm_job_arguments *arguments,
                                      struct cm_error *error) CM_MUST_CHECK;

/* The ledger that `word` names: itself, or what lies beside it with ".job". */
enum cm_status cm_job_path(const char *word, char path[CM_JOB_PATH_BYTES],
                           struct cm_error *error) CM_MUST_CHECK;

#endif
