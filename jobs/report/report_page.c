#include "jobs/report/report_page.h"

#include "base/memory.h"
#include "jobs/display_text.h"
#include "jobs/embedded_files.h"
#include "jobs/output_file.h"
#include "jobs/report/report_data.h"
#include "jobs/report/report_sections.h"
#include "jobs/version.h"

#include <string.h>

extern const struct cm_embedded_file CM_REPORT_FILES[];

static void write_figure(FILE *stream, const char *number, const char *label)
{
    fprintf(stream, "<div><b>%s</b><span>%s</span></div>\n", number, label);
}

static void write_count_figure(FILE *stream, uint64_t count, const char *label)
{
    char number[40];
    cm_display_count(count, number);
    write_figure(stream, number, label);
}

static void write_share_figure(FILE *stream, double part, double whole, const char *label)
{
    char number[32];
    snprintf(number, sizeof number, "%.1f %%", whole > 0 ? 100 * part / whole : 0);
    write_figure(stream, number, label);
}

/* The first look: a line of numbers. */
static void write_figures(FILE *stream, const struct cm_report_data *data,
                          const struct cm_report_options *options)
{
    char number[64];
    double rows = (double)data->rows_count;
    double computed =
        cm_report_figure(data, "rows_planned") - cm_report_figure(data, "rows_reused");
    double wall_s = cm_report_figure(data, "wall_s");
    fputs("<div class=\"figures\">\n", stream);
    write_count_figure(stream, data->rows_count, "rows");
    write_share_figure(stream, (double)data->rows[CM_ROW_OK], rows, "nothing found");
    write_share_figure(stream, (double)data->rows[CM_ROW_FLAGGED], rows, "flagged");
    write_count_figure(stream, data->rows[CM_ROW_FAILED], "failed");
    snprintf(number, sizeof number, "%.2f",
             data->texts_count > 0 ? data->score_sum / (double)data->texts_count : 0);
    write_figure(stream, number, "mean score");
    write_count_figure(stream,
                       data->decisions[CM_DECISION_APPROVED] + data->decisions[CM_DECISION_EDITED],
                       "approved");
    if (wall_s > 0 && computed > 0) {
        cm_plot_short_number(3600 * computed / wall_s, number);
        write_figure(stream, number, "copies an hour");
    }
    if (data->wall_s > 0) {
        cm_report_duration(data->wall_s, number);
        write_figure(stream, number, "machine time");
    }
    if (options->hourly_cost > 0 && data->texts_count > 0 && data->wall_s > 0) {
        double cost = options->hourly_cost * data->wall_s / 3600;
        snprintf(number, sizeof number, "%.4g", 1000 * cost / (double)data->texts_count);
        write_figure(stream, number, "cost of 1,000 copies");
    }
    fputs("</div>\n", stream);
}

static void write_head(FILE *stream, const struct cm_report_data *data,
                       const struct cm_report_options *options)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          stream);
    cm_html_write(stream, options->name);
    fprintf(stream, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>",
            CM_REPORT_FILES[0].bytes);
    cm_html_write(stream, options->name);
    fputs("</h1>\n<p class=\"about\">", stream);
    if (data->began[0] != '\0') {
        fputs("Last computed from ", stream);
        cm_html_write(stream, data->began);
        fputs(data->ended[0] != '\0' ? " to " : "; not ended", stream);
        cm_html_write(stream, data->ended);
        fputs(" UTC &middot; ", stream);
    }
    fprintf(stream, "%zu %s &middot; copymill %s</p>\n", data->runs_count,
            data->runs_count == 1 ? "run" : "runs", cm_version());
}

static enum cm_status write_page(struct cm_ledger *ledger, const struct cm_report_data *data,
                                 const struct cm_report_options *options, FILE *stream,
                                 struct cm_error *error)
{
    write_head(stream, data, options);
    write_figures(stream, data, options);
    fputs("<div class=\"grid2\">\n", stream);
    cm_report_write_scores(stream, data);
    cm_report_write_course(stream, data);
    enum cm_status status = cm_report_write_lengths(stream, data, error);
    cm_report_write_rules(stream, data);
    cm_report_write_calibration(stream, data);
    fputs("</div>\n", stream);
    cm_report_write_segments(stream, data);
    if (status == CM_OK) {
        status = cm_report_write_groups(ledger, data, stream, error);
    }
    if (status == CM_OK) {
        status = cm_report_write_examples(ledger, data, stream, error);
    }
    cm_report_write_work(stream, data, options->hourly_cost);
    if (status == CM_OK) {
        status = cm_report_write_settings(ledger, data, stream, error);
    }
    fputs("</main>\n</body>\n</html>\n", stream);
    return status;
}

enum cm_status cm_report_write(struct cm_ledger *ledger, const struct cm_report_options *options,
                               struct cm_error *error)
{
    struct cm_report_data *data = cm_alloc(1, sizeof *data);
    struct cm_output_file *file = NULL;
    if (data == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = cm_report_data_gather(ledger, data, error);
    if (status == CM_OK) {
        status = cm_output_file_open(options->path, &file, error);
    }
    if (status == CM_OK) {
        status = write_page(ledger, data, options, cm_output_file_stream(file), error);
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(file, options->remember ? ledger : NULL, error);
    }
    cm_output_file_close(file);
    cm_report_data_deinit(data);
    cm_free(data);
    return status;
}
