/* What `copymill batch` was asked for. */
#ifndef CM_JOBS_BATCH_BATCH_OPTIONS_H
#define CM_JOBS_BATCH_BATCH_OPTIONS_H

#include "host/engine.h"
#include "jobs/cli.h"
#include "jobs/run_options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_batch_options {
    const char *input_path; /* "-": standard input */
    const char *out_path;
    const char *errors_path; /* NULL: beside the output, and only where there are errors */
    const char *job_path;    /* NULL: the output's path with .job */
    bool overwrite;
    const char *model;
    uint32_t max_tokens; /* of a request that sets no limit */
    uint32_t max_length;
    const char *device; /* NULL: auto */
    uint32_t tp;        /* devices that compute one copy of the model together; 0: one */
    double device_timeout_s;
    enum cm_engine_precision precision;
    enum cm_engine_kv kv;
    uint32_t threads;
    uint32_t batch;
    double memory_gib;
    enum cm_progress_mode progress;
};

extern const struct cm_option CM_BATCH_OPTIONS[];
extern const size_t CM_BATCH_OPTIONS_COUNT;

void cm_batch_options_init(struct cm_batch_options *options);

/* CM_INVALID_ARGUMENT: names the option and what would be right. */
enum cm_status cm_batch_options_check(const struct cm_batch_options *options,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
