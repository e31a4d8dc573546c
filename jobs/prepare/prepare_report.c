#include "jobs/prepare/prepare_report.h"

#include "base/log.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS = 6, DETAIL_BYTES = 512 };
static const char *const NAMES[COLUMNS] = {
    "line", "item_id", "action", "field", "reason", "detail"
};

enum cm_status cm_prepare_report_open(struct cm_prepare_report *report, FILE *stream,
                                      const char *path, bool excel, struct cm_error *error)
{
    *report = (struct cm_prepare_report){ .writer = NULL };
    if (stream == NULL) {
        return CM_OK;
    }
    struct cm_copy_writer_options options = { cm_copy_format_of(path), excel };
    return cm_table_writer_open(stream, path, NAMES, COLUMNS, &options, &report->writer, error);
}

void cm_prepare_report_close(struct cm_prepare_report *report)
{
    cm_table_writer_close(report->writer);
    report->writer = NULL;
}

/* Past the maximum a reason is in the file, but in no sum of its own. */
static void count(struct cm_prepare_report *report, const char *action, const char *reason)
{
    for (size_t i = 0; i < report->reasons_count; i++) {
        if (strcmp(report->reasons[i].action, action) == 0 &&
            strncmp(report->reasons[i].reason, reason, sizeof report->reasons[i].reason - 1) == 0) {
            report->reasons[i].count++;
            return;
        }
    }
    if (report->reasons_count < CM_REPORT_REASONS_MAX) {
        size_t new = report->reasons_count++;
        report->reasons[new].action = action;
        report->reasons[new].count = 1;
        snprintf(report->reasons[new].reason, sizeof report->reasons[new].reason, "%s", reason);
        cm_utf8_clean(report->reasons[new].reason);
    }
}

enum cm_status cm_prepare_report_add(struct cm_prepare_report *report, uint64_t line,
                                     const char *item_id, const char *action, const char *field,
                                     const char *reason, const char *detail, struct cm_error *error)
{
    CM_ASSERT(report != NULL);
    char number[24] = "";
    char short_detail[DETAIL_BYTES];
    report->kept += strcmp(action, "kept") == 0;
    report->merged += strcmp(action, "merged") == 0;
    report->dropped += strcmp(action, "dropped") == 0;
    if (reason[0] != '\0') {
        count(report, action, reason);
    }
    if (report->writer == NULL) {
        return CM_OK;
    }
    if (line > 0) {
        snprintf(number, sizeof number, "%" PRIu64, line);
    }
    snprintf(short_detail, sizeof short_detail, "%s", detail);
    cm_utf8_clean(short_detail);
    const char *values[COLUMNS] = { number, item_id, action, field, reason, short_detail };
    return cm_table_writer_add(report->writer, values, error);
}

void cm_prepare_report_say(const struct cm_prepare_report *report)
{
    for (size_t i = 0; i < report->reasons_count; i++) {
        cm_log(CM_LOG_INFO, "%s: %s: %" PRIu64, report->reasons[i].action,
               report->reasons[i].reason, report->reasons[i].count);
    }
    cm_log(CM_LOG_INFO,
           "%" PRIu64 " items read: %" PRIu64 " kept, %" PRIu64 " merged, %" PRIu64 " dropped",
           report->kept + report->merged + report->dropped, report->kept, report->merged,
           report->dropped);
}
