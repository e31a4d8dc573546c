/* What `prepare` did to a catalog: a row for every item and every change, in a file where one is
 * asked for, and the sums for the terminal. */
#ifndef CM_JOBS_PREPARE_PREPARE_REPORT_H
#define CM_JOBS_PREPARE_PREPARE_REPORT_H

#include "base/status.h"
#include "jobs/table_writer.h"

#include <stdint.h>
#include <stdio.h>

enum { CM_REPORT_REASONS_MAX = 64 };

struct cm_prepare_report {
    struct cm_table_writer *writer; /* NULL: no file */
    uint64_t kept;
    uint64_t merged;
    uint64_t dropped;
    struct {
        const char *action;
        char reason[80];
        uint64_t count;
    } reasons[CM_REPORT_REASONS_MAX]; /* in the order they were first met */
    size_t reasons_count;
};

/* `stream` and `path` may be NULL: then only sums are kept. */
enum cm_status cm_prepare_report_open(struct cm_prepare_report *report, FILE *stream,
                                      const char *path, bool excel,
                                      struct cm_error *error) CM_MUST_CHECK;
void cm_prepare_report_close(struct cm_prepare_report *report);

/* `action` is a constant: "kept", "merged", "dropped", "changed", "labelled". Line 0: none. */
enum cm_status cm_prepare_report_add(struct cm_prepare_report *report, uint64_t line,
                                     const char *item_id, const char *action, const char *field,
                                     const char *reason, const char *detail,
                                     struct cm_error *error) CM_MUST_CHECK;

/* Says the sums. */
void cm_prepare_report_say(const struct cm_prepare_report *report);

#endif
