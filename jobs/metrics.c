#include "jobs/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "jobs/output_file.h"

#include <string.h>
#include <time.h>

static const double INTERVAL_S = 5;

struct cm_metrics {
    char *path;
    char *job;
    char *model;
    double began_s;
    double written_s; /* negative: not yet */
    bool warned;
};

static const char first_words[] = "# HELP copymill_";

enum cm_status cm_metrics_check(const char *path, struct cm_error *error)
{
    char start[sizeof first_words] = "";
    FILE *file = fopen(path, "r");
    size_t length = file != NULL ? fread(start, 1, sizeof start - 1, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    if (length > 0 && strcmp(start, first_words) != 0) {
        return cm_error_set(error, CM_ALREADY_EXISTS,
                            "--metrics %s: the file holds something else; name another one", path);
    }
    struct cm_output_rules rules = { .path = path, .option = "--metrics", .overwrite = true };
    return cm_output_check(&rules, error);
}

enum cm_status cm_metrics_open(const char *path, const char *job, const char *model,
                               struct cm_metrics **metrics)
{
    struct cm_metrics *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->path = cm_strdup(path);
    opened->job = cm_strdup(job);
    opened->model = cm_strdup(model);
    opened->began_s = cm_clock_s();
    opened->written_s = -1;
    if (opened->path == NULL || opened->job == NULL || opened->model == NULL) {
        cm_metrics_close(opened, NULL);
        return CM_OUT_OF_MEMORY;
    }
    *metrics = opened;
    return CM_OK;
}

/* --- Writing --- */

/* The value of a label: quotes, backslashes and line ends are escaped. */
static void write_label(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            fputs("\\n", stream);
        } else {
            if (*text == '"' || *text == '\\') {
                fputc('\\', stream);
            }
            fputc(*text, stream);
        }
    }
}

/* One sample; `label` and `value` of a second label may be NULL. */
static void write_sample(FILE *stream, const struct cm_metrics *metrics, const char *name,
                         const char *label, const char *value, double number)
{
    fprintf(stream, "copymill_%s{job=\"", name);
    write_label(stream, metrics->job);
    fputs("\",model=\"", stream);
    write_label(stream, metrics->model);
    if (label != NULL) {
        fprintf(stream, "\",%s=\"%s", label, value);
    }
    fprintf(stream, "\"} %.17g\n", number);
}

static void write_heading(FILE *stream, const char *name, const char *type, const char *help)
{
    fprintf(stream, "# HELP copymill_%s %s\n# TYPE copymill_%s %s\n", name, help, name, type);
}

static void write_rows(FILE *stream, const struct cm_metrics *metrics,
                       const struct cm_progress_numbers *numbers)
{
    write_heading(stream, "rows_planned", "gauge", "Rows of the job; 0 until they are counted.");
    write_sample(stream, metrics, "rows_planned", NULL, NULL, (double)numbers->rows_total);
    write_heading(stream, "rows", "gauge", "Finished rows, those of earlier runs too.");
    write_sample(stream, metrics, "rows", "status", "ok", (double)numbers->rows_ok);
    write_sample(stream, metrics, "rows", "status", "flagged", (double)numbers->rows_flagged);
    write_sample(stream, metrics, "rows", "status", "failed", (double)numbers->rows_failed);
    write_heading(stream, "rows_reused", "gauge", "Of these, finished by earlier runs.");
    write_sample(stream, metrics, "rows_reused", NULL, NULL, (double)numbers->rows_reused);
}

static void write_engine(FILE *stream, const struct cm_metrics *metrics,
                         const struct cm_engine_counters *engine)
{
    write_heading(stream, "tokens_total", "counter",
                  "Tokens since the run began: of prompts, computed or shared, and of copy.");
    write_sample(stream, metrics, "tokens_total", "kind", "prefill",
                 (double)engine->prefill_tokens);
    write_sample(stream, metrics, "tokens_total", "kind", "shared", (double)engine->shared_tokens);
    write_sample(stream, metrics, "tokens_total", "kind", "output", (double)engine->output_tokens);
    write_heading(stream, "active_copies", "gauge", "Copies in work.");
    write_sample(stream, metrics, "active_copies", NULL, NULL, engine->active);
    write_heading(stream, "kv_pages", "gauge", "Pages of the key-value cache in use.");
    write_sample(stream, metrics, "kv_pages", NULL, NULL, engine->pages_used);
    write_heading(stream, "devices_lost", "gauge", "Devices put aside because they failed.");
    write_sample(stream, metrics, "devices_lost", NULL, NULL, engine->devices_lost);
    write_heading(stream, "rows_requeued_total", "counter",
                  "Rows that other devices took over from those.");
    write_sample(stream, metrics, "rows_requeued_total", NULL, NULL, engine->requeued);
}

static enum cm_status write_file(const struct cm_metrics *metrics,
                                 const struct cm_progress_numbers *numbers, bool under_way,
                                 struct cm_error *error)
{
    struct cm_output_file *file = NULL;
    enum cm_status status = cm_output_file_open(metrics->path, &file, error);
    if (status == CM_OK) {
        FILE *stream = cm_output_file_stream(file);
        write_heading(stream, "up", "gauge", "1 while the run is under way, 0 when it ended.");
        write_sample(stream, metrics, "up", NULL, NULL, under_way ? 1 : 0);
        write_heading(stream, "updated_timestamp_seconds", "gauge", "When this was written.");
        write_sample(stream, metrics, "updated_timestamp_seconds", NULL, NULL, (double)time(NULL));
        write_heading(stream, "run_seconds", "gauge", "How long the run has been under way.");
        write_sample(stream, metrics, "run_seconds", NULL, NULL, cm_clock_s() - metrics->began_s);
        write_rows(stream, metrics, numbers);
        write_engine(stream, metrics, &numbers->engine);
        status = cm_output_file_publish(file, NULL, error);
    }
    cm_output_file_close(file);
    return status;
}

static void write_or_warn(struct cm_metrics *metrics, const struct cm_progress_numbers *numbers,
                          bool under_way)
{
    struct cm_error error = { 0 };
    if (write_file(metrics, numbers, under_way, &error) != CM_OK && !metrics->warned) {
        metrics->warned = true;
        cm_log(CM_LOG_WARNING, "--metrics: %s; the run goes on without", error.message);
    }
}

void cm_metrics_update(struct cm_metrics *metrics, const struct cm_progress_numbers *numbers)
{
    double now_s = cm_clock_s();
    if (metrics->written_s < 0 || now_s - metrics->written_s >= INTERVAL_S) {
        metrics->written_s = now_s;
        write_or_warn(metrics, numbers, true);
    }
}

void cm_metrics_close(struct cm_metrics *metrics, const struct cm_progress_numbers *numbers)
{
    if (metrics == NULL) {
        return;
    }
    if (numbers != NULL) {
        write_or_warn(metrics, numbers, false);
    }
    cm_free(metrics->path);
    cm_free(metrics->job);
    cm_free(metrics->model);
    cm_free(metrics);
}
