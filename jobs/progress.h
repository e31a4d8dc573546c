/* The live display of a run on stderr: a few redrawn lines on a terminal, one plain line per update
 * elsewhere, JSON lines for programs. */
#ifndef CM_JOBS_PROGRESS_H
#define CM_JOBS_PROGRESS_H

#include "base/status.h"
#include "jobs/run_options.h"

#include <stdio.h>

struct cm_progress;

struct cm_progress_numbers {
    uint64_t rows_total;  /* 0 while the catalog is still being counted */
    uint64_t rows_reused; /* done in an earlier run of the same job */
    uint64_t rows_ok;
    uint64_t rows_flagged;
    uint64_t rows_failed; /* these three count reused rows too */
    struct cm_engine_counters engine;
};

enum cm_status cm_progress_open(enum cm_progress_mode mode,
                                struct cm_progress **progress) CM_MUST_CHECK;

/* The same with everything that a test sets. Zero and NULL stand for the usual. */
struct cm_progress_options {
    enum cm_progress_mode mode;
    FILE *stream;          /* stderr */
    int columns;           /* of the terminal: asked at every drawing */
    double (*now_s)(void); /* cm_clock_s */
};
enum cm_status cm_progress_open_with(const struct cm_progress_options *options,
                                     struct cm_progress **progress) CM_MUST_CHECK;

void cm_progress_close(struct cm_progress *progress); /* clears the live display */

/* Cheap to call after every step: draws a few times a second on a terminal, every 10 s in plain
 * mode. `preview` is the last copy (may be NULL); it is cut to the terminal's width. */
void cm_progress_update(struct cm_progress *progress, const struct cm_progress_numbers *numbers,
                        const char *preview);

/* The closing summary: rows by status, tokens, share of prompt tokens that were shared, copies/s,
 * time. */
void cm_progress_finish(struct cm_progress *progress, const struct cm_progress_numbers *numbers);

#endif
