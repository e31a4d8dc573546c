/* Everything `copymill run` and `copymill bench --catalog` can be told, parsed and range-checked by
 * the table CM_RUN_OPTIONS. Strings are borrowed from the command line; NULL means not given. */
#ifndef CM_JOBS_RUN_OPTIONS_H
#define CM_JOBS_RUN_OPTIONS_H

#include "host/engine.h"
#include "jobs/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cm_progress_mode {
    CM_PROGRESS_AUTO,
    CM_PROGRESS_TTY,
    CM_PROGRESS_PLAIN,
    CM_PROGRESS_JSON,
    CM_PROGRESS_NONE,
};

/* How a command ended; the process's exit status. */
enum cm_exit {
    CM_EXIT_OK = 0,          /* every row ok or flagged */
    CM_EXIT_FAILED = 1,      /* nothing usable */
    CM_EXIT_USAGE = 2,       /* wrong usage or unreadable input */
    CM_EXIT_PARTIAL = 3,     /* finished, some rows failed */
    CM_EXIT_INTERRUPTED = 4, /* can be resumed */
};

/* By the numbers of enum cm_engine_precision; a build without CUDA takes the first four only. */
extern const char *const CM_PRECISION_NAMES[];

enum cm_fact_lock_mode { CM_FACT_LOCK_OFF, CM_FACT_LOCK_ON, CM_FACT_LOCK_WORDS };
extern const char *const CM_FACT_LOCK_MODES[]; /* their names */

/* By the numbers of enum cm_engine_kv. */
extern const char *const CM_KV_NAMES[];
#define CM_KV_HELP \
    "what keys and values are kept as: auto, or int8, half of that, on the CPU (auto)"

enum { CM_MAPS_MAX = 64 };

/* Of --device, --tp and --device-timeout, which several commands have. Without CUDA there is
 * nothing to choose from; --device cuda still says so. */
#if defined(COPYMILL_CUDA)
#define CM_DEVICE_HELP \
    "auto (all CUDA devices), cpu, cuda, or cuda: and devices' numbers, as in cuda:0,1 (auto)"
#define CM_TP_HELP "devices that compute one copy of the model together, tensor parallel (1)"
#define CM_DEVICE_TIMEOUT_HELP \
    "seconds without an answer after which a CUDA device has failed (120)"
#else
#define CM_DEVICE_HELP NULL
#define CM_TP_HELP NULL
#define CM_DEVICE_TIMEOUT_HELP NULL
#endif

struct cm_run_options {
    const char *catalog_path;
    const char *segments_path;
    const char *questions_path; /* of the scenario "answer" */
    const char *out_path;
    const char *job_path; /* NULL: out_path with ".job" */
    bool overwrite;
    bool excel;
    const char *scenario; /* "description" */
    const char *channel;  /* "generic" */
    const char *template_path;
    const char *language; /* "auto" */
    const char *model;    /* name, file or folder */
    const char *maps[CM_MAPS_MAX];
    size_t maps_count;
    uint64_t limit;   /* items; 0: all */
    const char *only; /* ITEM[:SEGMENT][,...] */
    uint32_t attempts;
    uint32_t best_of;
    double min_score;
    uint32_t max_length; /* prompt and output together; 0: off */
    uint32_t max_tokens;
    struct cm_sampling sampling;
    const char *stops[CM_STOP_STRINGS_MAX];
    size_t stops_count;
    uint64_t seed;
    const char *ban_path; /* NULL: no banned words */
    enum cm_fact_lock_mode fact_lock;
    const char *device; /* NULL: auto */
    uint32_t tp;        /* devices that compute one copy of the model together; 0: one */
    double device_timeout_s;
    uint32_t threads;
    uint32_t batch;
    double memory_gib;
    enum cm_engine_precision precision;
    enum cm_engine_kv kv;
    bool dry_run;
    const char *report_path;  /* NULL: no report */
    const char *metrics_path; /* NULL: no metrics */
    const char *command;      /* what was typed, to repeat the run; NULL: unknown */
    bool quiet_samples;       /* no sample rows at the end */
    enum cm_progress_mode progress;
};

/* For cm_cli_parse: one row for each option, with what it takes and means. */
extern const struct cm_option CM_RUN_OPTIONS[];
extern const size_t CM_RUN_OPTIONS_COUNT;

/* The defaults, but for those that depend on other options: cm_run_options_check settles them. */
void cm_run_options_init(struct cm_run_options *options);

/* What no option can tell alone: missing ones, files that are read and written, conflicts.
 * CM_INVALID_ARGUMENT. */
enum cm_status cm_run_options_check(struct cm_run_options *options,
                                    struct cm_error *error) CM_MUST_CHECK;

#endif
