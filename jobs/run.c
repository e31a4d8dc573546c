#include "jobs/run.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "jobs/copy_output.h"
#include "jobs/dry_run.h"
#include "jobs/interrupt.h"
#include "jobs/job.h"
#include "jobs/ledger.h"
#include "jobs/output_file.h"
#include "jobs/pipeline.h"
#include "jobs/progress.h"
#include "jobs/report/report_page.h"
#include "jobs/run_figures.h"
#include "jobs/version.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct run {
    const struct cm_run_options *options;
    char ledger_path[PATH_MAX];
    struct cm_job job;
    struct cm_ledger *ledger;
    struct cm_ledger_contents contents; /* when the run began */
    struct cm_progress *progress;
    struct cm_metrics *metrics;
    struct cm_pipeline_counts counts;
};

/* --- Before the work --- */

static enum cm_status name_ledger(struct run *run, struct cm_error *error)
{
    const struct cm_run_options *options = run->options;
    const char *base = strcmp(options->out_path, "-") == 0 ? "copymill" : options->out_path;
    const char *given = options->job_path;
    int length = snprintf(run->ledger_path, sizeof run->ledger_path, "%s%s",
                          given != NULL ? given : base, given != NULL ? "" : ".job");
    if (length < 0 || (size_t)length >= sizeof run->ledger_path) {
        return cm_error_set(error, CM_LIMIT, "--job: the path is too long");
    }
    return CM_OK;
}

/* Opened before the model where there is one, because it knows whether the file at --out is this
 * job's own; a new one is created only when everything else has proved right. */
static enum cm_status check_output(struct run *run, struct cm_error *error)
{
    enum cm_status status = name_ledger(run, error);
    if (status == CM_OK && access(run->ledger_path, F_OK) == 0) {
        status = cm_ledger_open(run->ledger_path, &run->ledger, error);
    }
    if (status != CM_OK) {
        return status;
    }
    struct cm_output_rules rules = {
        .path = run->options->out_path,
        .overwrite = run->options->overwrite,
        .ledger = run->ledger,
    };
    status = cm_output_check(&rules, error);
    if (status == CM_OK && run->options->report_path != NULL) {
        rules.path = run->options->report_path;
        rules.option = "--report";
        status = cm_output_check(&rules, error);
    }
    if (status == CM_OK && run->options->metrics_path != NULL) {
        status = cm_metrics_check(run->options->metrics_path, error);
    }
    return status;
}

static enum cm_status begin_ledger(struct run *run, struct cm_error *error)
{
    enum { NUMBER_BYTES = 32 };
    const struct cm_run_options *options = run->options;
    char seed[NUMBER_BYTES];
    char attempts[NUMBER_BYTES];
    char best_of[NUMBER_BYTES];
    char min_score[NUMBER_BYTES];
    char max_tokens[NUMBER_BYTES];
    char max_length[NUMBER_BYTES];
    char sampling[192];
    snprintf(seed, sizeof seed, "%" PRIu64, options->seed);
    snprintf(attempts, sizeof attempts, "%" PRIu32, options->attempts);
    snprintf(best_of, sizeof best_of, "%" PRIu32, options->best_of);
    snprintf(min_score, sizeof min_score, "%g", options->min_score);
    snprintf(max_tokens, sizeof max_tokens, "%" PRIu32, options->max_tokens);
    snprintf(max_length, sizeof max_length, "%" PRIu32, options->max_length);
    snprintf(sampling, sizeof sampling,
             "temperature=%.7g top_k=%" PRIu32
             " top_p=%.7g min_p=%.7g repetition_penalty=%.7g no_repeat_ngram=%" PRIu32
             " beams=%" PRIu32,
             (double)options->sampling.temperature, options->sampling.top_k,
             (double)options->sampling.top_p, (double)options->sampling.min_p,
             (double)options->sampling.repetition_penalty, options->sampling.no_repeat_ngram,
             options->sampling.beams);
    const struct cm_ledger_setting pairs[] = {
        { "version", cm_version() },
        { "command", options->command != NULL ? options->command : "" },
        { "catalog", options->catalog_path },
        { "segments", options->segments_path != NULL ? options->segments_path : "" },
        { "questions", options->questions_path != NULL ? options->questions_path : "" },
        { "out", options->out_path },
        { "scenario", options->scenario },
        { "channel", options->channel },
        { "template", options->template_path != NULL ? options->template_path : "" },
        { "language", options->language },
        { "model", options->model },
        { "model_name", run->job.model.name },
        { "model_sha256", run->job.model_digest },
        { "variant", run->job.model.variant },
        { "seed", seed },
        { "sampling", sampling },
        { "ban", options->ban_path != NULL ? options->ban_path : "" },
        { "fact_lock", CM_FACT_LOCK_MODES[options->fact_lock] },
        { "max_tokens", max_tokens },
        { "max_length", max_length },
        { "attempts", attempts },
        { "best_of", best_of },
        { "min_score", min_score },
    };
    struct cm_ledger_settings settings = {
        .digest = cm_row_keys_job_digest(run->job.keys),
        .pairs = pairs,
        .pairs_count = sizeof pairs / sizeof pairs[0],
    };
    return cm_ledger_begin(run->ledger, &settings, &run->contents, error);
}

static enum cm_status open_ledger(struct run *run, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    if (run->ledger == NULL) {
        status = cm_ledger_open(run->ledger_path, &run->ledger, error);
    }
    if (status == CM_OK) {
        status = begin_ledger(run, error);
    }
    if (status != CM_OK) {
        return status;
    }
    if (run->contents.rows_same > 0) {
        cm_log(CM_LOG_INFO, "%s holds %" PRIu64 " finished rows of this job; they are used again",
               run->ledger_path, run->contents.rows_same);
    }
    if (run->contents.rows_other > 0) {
        cm_log(CM_LOG_INFO,
               "%s also holds %" PRIu64
               " rows of other settings (another template, model, seed ...); they are kept, not "
               "used",
               run->ledger_path, run->contents.rows_other);
    }
    return CM_OK;
}

/* --- The work --- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Of a job that went on without them. */
static void report_losses(const struct run *run)
{
    struct cm_engine_counters counters;
    cm_engine_counters(run->job.engine, &counters);
    if (counters.devices_lost > 0 && counters.devices_lost < run->job.model.devices) {
        cm_log(CM_LOG_WARNING,
               "%" PRIu32 " of %" PRIu32 " devices were put aside, since %s; the others went on "
               "and took over %" PRIu32 " rows of theirs",
               counters.devices_lost, run->job.model.devices,
               run->options->tp > 1 ? "one of each group failed" : "they failed",
               counters.requeued);
    }
}

static enum cm_status generate(struct run *run, struct cm_error *error)
{
    struct cm_pipeline_parts parts = {
        .options = run->options,
        .plan = run->job.plan,
        .controls = run->job.controls,
        .engine = run->job.engine,
        .channel = cm_prompts_channel(run->job.prompts),
        .judge = run->job.judge,
        .ledger = run->ledger,
        .segments_count = run->job.segments.count,
        .questions = cm_job_questions(&run->job),
        .ledger_is_empty = run->contents.rows_same == 0,
        .model_name = run->job.model.name,
    };
    enum cm_status status = cm_progress_open(run->options->progress, &run->progress);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory");
    }
    if (run->options->metrics_path != NULL &&
        cm_metrics_open(run->options->metrics_path, base_name(run->ledger_path),
                        run->job.model.name, &run->metrics) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    parts.progress = run->progress;
    parts.metrics = run->metrics;
    status = cm_pipeline_run(&parts, &run->counts, error);
    report_losses(run);
    if (status == CM_OK && run->counts.rows_planned == 0) {
        status = cm_job_no_rows(&run->job, error);
    }
    return status;
}

/* The promise of the ledger, held against the rows that really are in it. */
static enum cm_status check_counts(const struct run *run,
                                   const uint64_t written[CM_ROW_STATUS_COUNT],
                                   struct cm_error *error)
{
    uint64_t sum = written[CM_ROW_OK] + written[CM_ROW_FLAGGED] + written[CM_ROW_FAILED];
    if (sum != run->counts.rows_planned) {
        return cm_error_set(error, CM_INTERNAL,
                            "%" PRIu64 " rows were planned, but the ledger %s holds %" PRIu64,
                            run->counts.rows_planned, run->ledger_path, sum);
    }
    return CM_OK;
}

static enum cm_status write_report(struct run *run, struct cm_error *error)
{
    const struct cm_report_options report = {
        .name = base_name(run->ledger_path),
        .path = run->options->report_path,
        .remember = true,
    };
    return run->options->report_path != NULL ? cm_report_write(run->ledger, &report, error) : CM_OK;
}

static enum cm_status write_output(struct run *run, struct cm_error *error)
{
    uint64_t written[CM_ROW_STATUS_COUNT] = { 0 };
    enum cm_status status = cm_copy_output_write(run->options, run->ledger, written, error);
    if (status == CM_OK) {
        status = check_counts(run, written, error);
    }
    if (status == CM_OK && !run->options->quiet_samples) {
        status = cm_copy_output_samples(run->ledger, run->counts.rows_planned, error);
    }
    return status;
}

/* --- After the work --- */

static uint64_t rows_stored(const struct run *run)
{
    return run->counts.rows[CM_ROW_OK] + run->counts.rows[CM_ROW_FLAGGED] +
           run->counts.rows[CM_ROW_FAILED];
}

static void finish_progress(struct run *run)
{
    struct cm_progress_numbers numbers = {
        .rows_total = run->counts.rows_planned,
        .rows_reused = run->counts.rows_reused,
        .rows_ok = run->counts.rows[CM_ROW_OK],
        .rows_flagged = run->counts.rows[CM_ROW_FLAGGED],
        .rows_failed = run->counts.rows[CM_ROW_FAILED],
    };
    cm_engine_counters(run->job.engine, &numbers.engine);
    cm_metrics_close(run->metrics, &numbers);
    run->metrics = NULL;
    if (run->progress != NULL) {
        cm_progress_finish(run->progress, &numbers);
        cm_progress_close(run->progress);
        run->progress = NULL;
    }
}

static void fill_summary(const struct run *run, struct cm_run_summary *summary)
{
    *summary = (struct cm_run_summary){
        .rows_planned = run->counts.rows_planned,
        .rows_ok = run->counts.rows[CM_ROW_OK],
        .rows_flagged = run->counts.rows[CM_ROW_FLAGGED],
        .rows_failed = run->counts.rows[CM_ROW_FAILED],
        .rows_reused = run->counts.rows_reused,
        .wall_s = run->counts.wall_s,
        .model = run->job.model,
    };
    cm_engine_counters(run->job.engine, &summary->engine);
}

/* What the report will show of this run. The limits take a moment to measure, which a run of
 * minutes has to spare; that of bandwidth takes memory that the job did not plan for. */
static enum cm_status end_ledger(struct run *run, enum cm_status status, struct cm_error *error)
{
    const double long_run_s = 30;
    struct cm_engine_limits limits;
    struct cm_run_figures figures = {
        .outcome = status == CM_OK            ? "finished"
                   : status == CM_INTERRUPTED ? "interrupted"
                                              : "stopped",
        .rows_planned = run->counts.rows_planned,
        .rows_reused = run->counts.rows_reused,
        .wall_s = run->counts.wall_s,
        .model = run->job.model,
    };
    cm_engine_counters(run->job.engine, &figures.engine);
    if (status == CM_OK && (run->counts.wall_s > long_run_s || run->options->report_path != NULL)) {
        cm_engine_measure_limits(run->job.engine, false, &limits);
        figures.limits = &limits;
    }
    char *text = cm_run_figures_write(&figures);
    if (text == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status ended = cm_ledger_end_run(run->ledger, text, error);
    cm_free(text);
    return ended;
}

/* How the run ended, in words and as an exit status. */
static enum cm_exit conclude(const struct run *run, enum cm_status status,
                             const struct cm_error *error)
{
    uint64_t failed_count = run->counts.rows[CM_ROW_FAILED];
    if (status == CM_OK) {
        if (failed_count == 0) {
            return CM_EXIT_OK;
        }
        cm_log(CM_LOG_WARNING,
               "%" PRIu64 " of %" PRIu64 " rows failed; the column \"error\" of %s says why",
               failed_count, run->counts.rows_planned, run->options->out_path);
        return failed_count == run->counts.rows_planned ? CM_EXIT_FAILED : CM_EXIT_PARTIAL;
    }
    if (status != CM_INTERRUPTED) {
        cm_log(CM_LOG_ERROR, "%s%s", status == CM_DEVICE_FAILED ? "no device is left: " : "",
               error->message);
    }
    bool is_input = status == CM_INVALID_DATA || status == CM_NOT_FOUND;
    /* What the outside did to a job that was under way is not the job's failure. */
    bool can_resume = status == CM_INTERRUPTED || status == CM_DEVICE_FAILED;
    if (is_input || (!can_resume && rows_stored(run) == 0)) {
        return is_input ? CM_EXIT_USAGE : CM_EXIT_FAILED;
    }
    cm_log(CM_LOG_INFO,
           "%s: %" PRIu64 " finished rows are safe in %s; the same command continues from there",
           status == CM_INTERRUPTED ? "interrupted" : "stopped", rows_stored(run),
           run->ledger_path);
    return CM_EXIT_INTERRUPTED;
}

static enum cm_exit run_job(struct run *run, struct cm_run_summary *summary, struct cm_error *error)
{
    enum cm_status status = open_ledger(run, error);
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error->message);
        return status == CM_IO ? CM_EXIT_FAILED : cm_job_exit_of(status);
    }
    status = generate(run, error);
    finish_progress(run);
    if (summary != NULL) {
        fill_summary(run, summary);
    }
    struct cm_error ended = { 0 };
    enum cm_status ending = end_ledger(run, status, &ended);
    if (status == CM_OK && ending != CM_OK) {
        status = ending;
        *error = ended;
    }
    if (status == CM_OK) {
        status = write_output(run, error);
    }
    if (status == CM_OK) {
        status = write_report(run, error);
    }
    return conclude(run, status, error);
}

enum cm_exit cm_run(const struct cm_run_options *options, struct cm_run_summary *summary)
{
    struct run run = { .options = options };
    struct cm_error error = { 0 };
    enum cm_exit exit_status;
    cm_interrupt_install();
    enum cm_status status = options->dry_run ? CM_OK : check_output(&run, &error);
    if (status == CM_OK) {
        status = cm_job_open(&run.job, options, &error);
    }
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
        exit_status = cm_job_exit_of(status);
    } else if (options->dry_run) {
        exit_status = cm_dry_run(&run.job);
    } else {
        exit_status = run_job(&run, summary, &error);
    }
    cm_ledger_close(run.ledger);
    cm_job_deinit(&run.job);
    cm_interrupt_remove();
    return exit_status;
}
