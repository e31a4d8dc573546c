#include "jobs/dry_run.h"

#include "base/log.h"
#include "base/memory.h"
#include "jobs/interrupt.h"
#include "jobs/memory_forecast.h"

#include <inttypes.h>
#include <stdio.h>

/* The measurement behind the time estimate: small, so that a dry run stays quick. */
enum { PROBE_PROMPT_TOKENS = 64, PROBE_OUTPUT_TOKENS = 8, PROBE_ROWS_MAX = 16 };

enum { PROBLEMS_SHOWN_MAX = 5 };

/* What only a run has: the ledger's caches, rows on their way between the stages. */
enum { RUN_BYTES = 4 << 20 };

struct estimate {
    uint64_t items_count;
    uint64_t rows_count;
    uint64_t rows_failing; /* that can have no text */
    uint64_t prompt_tokens;
    uint64_t distinct_tokens; /* what sharing leaves to compute */
    uint64_t output_tokens;   /* at most, in one attempt */
    uint64_t longest_tokens;  /* prompt of the longest row */
    struct cm_memory_forecast *memory;
    uint64_t resident_bytes; /* with everything open and no page of the KV cache used */
};

/* --- Reading the plan --- */

static void note_problem(struct estimate *estimate, const struct cm_job *job,
                         const struct cm_planned_row *row, const char *reason)
{
    estimate->rows_failing++;
    if (estimate->rows_failing <= PROBLEMS_SHOWN_MAX) {
        cm_log(CM_LOG_WARNING, "%s:%" PRIu64 ": item \"%.80s\", segment \"%.80s\" will fail: %s",
               job->options->catalog_path, row->item->item.line, row->item->item.fields[CM_ITEM_ID],
               row->segment->id, reason);
    }
}

static void add_row(struct estimate *estimate, const struct cm_job *job,
                    const struct cm_planned_row *row)
{
    struct cm_error error = { 0 };
    struct cm_planned_prompt prompt;
    uint64_t room = job->model.context_tokens;
    estimate->rows_count++;
    if (row->item->item.damaged) {
        note_problem(estimate, job, row, row->item->item.problem);
        return;
    }
    if (cm_plan_prompt(job->plan, &prompt, &error) != CM_OK) {
        note_problem(estimate, job, row, error.message);
        return;
    }
    if (prompt.count >= room) {
        note_problem(estimate, job, row, "the prompt is too long; shorten the item");
        return;
    }
    room -= prompt.count;
    uint64_t output_tokens = room < job->options->max_tokens ? room : job->options->max_tokens;
    cm_memory_forecast_add(estimate->memory, prompt.ids, prompt.count, prompt.cached_tokens,
                           output_tokens);
    estimate->prompt_tokens += prompt.count;
    estimate->distinct_tokens += prompt.count - prompt.cached_tokens;
    estimate->output_tokens += output_tokens;
    if (prompt.count > estimate->longest_tokens) {
        estimate->longest_tokens = prompt.count;
    }
}

static enum cm_status read_plan(struct cm_job *job, struct estimate *estimate,
                                struct cm_error *error)
{
    struct cm_planned_row row;
    uint64_t last_item = UINT64_MAX;
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        if (cm_interrupt_requested()) {
            return cm_error_set(error, CM_INTERRUPTED, "interrupted");
        }
        status = cm_plan_next(job->plan, &row, error);
        if (status == CM_OK) {
            estimate->items_count += row.item->item.index != last_item;
            last_item = row.item->item.index;
            add_row(estimate, job, &row);
        }
    }
    return status == CM_END ? CM_OK : status;
}

/* --- Measuring the engine --- */

/* The prompts differ from their first token, so that nothing is shared. */
static enum cm_status submit_probe(struct cm_job *job, uint32_t row, struct cm_error *error)
{
    int32_t prompt[PROBE_PROMPT_TOKENS];
    uint32_t n_vocab = job->model.n_vocab;
    for (uint32_t i = 0; i < PROBE_PROMPT_TOKENS; i++) {
        prompt[i] = (int32_t)((row * 131 + i * 17 + 11) % n_vocab);
    }
    struct cm_request request = {
        .id = row,
        .unit = row,
        .prompt = prompt,
        .prompt_tokens = PROBE_PROMPT_TOKENS,
        .output_tokens_max = PROBE_OUTPUT_TOKENS,
        .attempt = 1,
        .sampling = CM_SAMPLING_GREEDY,
    };
    request.sampling.ignore_stop = true;
    return cm_engine_submit(job->engine, &request, error);
}

/* Seconds for the whole job at the rates of a small batch; CM_FULL ends the filling early. */
static enum cm_status measure(struct cm_job *job, const struct estimate *estimate, double *time_s,
                              struct cm_error *error)
{
    uint32_t rows_max = job->model.batch < PROBE_ROWS_MAX ? job->model.batch : PROBE_ROWS_MAX;
    enum cm_status status = CM_OK;
    for (uint32_t row = 0; status == CM_OK && row < rows_max; row++) {
        status = submit_probe(job, row, error);
    }
    status = status == CM_FULL ? CM_OK : status;
    while (status == CM_OK) {
        struct cm_result result;
        status = cm_engine_step(job->engine, error);
        while (cm_engine_finished(job->engine, &result) == CM_OK) {
            cm_engine_release(job->engine, result.id);
        }
    }
    if (status != CM_END) {
        return status;
    }
    struct cm_engine_counters counters;
    cm_engine_counters(job->engine, &counters);
    if (counters.prefill_tokens > 0) {
        *time_s += (double)estimate->distinct_tokens * counters.prefill_s /
                   (double)counters.prefill_tokens;
    }
    if (counters.decode_tokens > 0) {
        *time_s += (double)estimate->output_tokens * job->options->sampling.beams *
                   counters.decode_s / (double)counters.decode_tokens;
    }
    return CM_OK;
}

/* --- Printing --- */

static void print_time(double time_s)
{
    if (time_s < 90) {
        printf("time             about %.0f s at most\n", time_s);
    } else if (time_s < 5400) {
        printf("time             about %.0f min at most\n", time_s / 60);
    } else {
        printf("time             about %.1f h at most\n", time_s / 3600);
    }
}

/* On the CPU the KV cache takes memory page by page, and this process has opened all else that a
 * run opens; of the table of embeddings, which stays in the file, it takes what is read. */
static void print_memory(const struct cm_engine_info *model, const struct estimate *estimate)
{
    if (!model->in_host_memory) {
        uint64_t weights_bytes = model->weights_bytes + model->tables_bytes;
        printf("memory           %.2f GiB weights, %.2f GiB KV cache on %s; %.2f GiB here\n",
               (double)weights_bytes / 0x1p30, (double)model->kv_bytes / 0x1p30,
               model->devices > 1 ? "the devices" : "the device",
               (double)estimate->resident_bytes / 0x1p30);
        return;
    }
    uint64_t kv_bytes = cm_memory_forecast_kv_bytes(estimate->memory);
    uint64_t weights_bytes =
        model->weights_bytes + cm_memory_forecast_tables_bytes(estimate->memory);
    uint64_t rest_bytes = RUN_BYTES;
    if (estimate->resident_bytes > model->weights_bytes) {
        rest_bytes += estimate->resident_bytes - model->weights_bytes;
    }
    printf("memory           %.3f GiB: %.3f weights, %.3f KV cache, %.3f the rest\n",
           (double)(weights_bytes + kv_bytes + rest_bytes) / 0x1p30, (double)weights_bytes / 0x1p30,
           (double)kv_bytes / 0x1p30, (double)rest_bytes / 0x1p30);
}

static void print_estimate(const struct cm_job *job, const struct estimate *estimate, double time_s)
{
    double prompt_tokens = estimate->prompt_tokens > 0 ? (double)estimate->prompt_tokens : 1;
    printf("rows             %" PRIu64 " (%" PRIu64 " items, %zu segments)\n", estimate->rows_count,
           estimate->items_count, job->segments.count);
    if (estimate->rows_failing > 0) {
        printf("will fail        %" PRIu64 "\n", estimate->rows_failing);
    }
    printf("prompt tokens    %" PRIu64 ", the longest %" PRIu64 "\n", estimate->prompt_tokens,
           estimate->longest_tokens);
    printf("distinct tokens  %" PRIu64 " (%.0f%% shared)\n", estimate->distinct_tokens,
           100 * (1 - (double)estimate->distinct_tokens / prompt_tokens));
    printf("output tokens    %" PRIu64 " at most\n", estimate->output_tokens);
    print_memory(&job->model, estimate);
    print_time(time_s);
}

enum cm_exit cm_dry_run(struct cm_job *job)
{
    struct estimate estimate = { 0 };
    struct cm_error error = { 0 };
    double time_s = 0;
    enum cm_status status =
        cm_memory_forecast_open(&job->model, job->options->sampling.beams, &estimate.memory);
    if (status == CM_OK) {
        status = read_plan(job, &estimate, &error);
    } else {
        cm_error_set(&error, status, "out of memory");
    }
    if (status == CM_OK && estimate.rows_count == 0) {
        status = cm_job_no_rows(job, &error);
    }
    if (status == CM_OK) {
        estimate.resident_bytes = cm_memory_resident_bytes();
        status = measure(job, &estimate, &time_s, &error);
    }
    if (status == CM_OK) {
        print_estimate(job, &estimate, time_s);
    } else {
        cm_log(CM_LOG_ERROR, "%s", error.message);
    }
    cm_memory_forecast_close(estimate.memory);
    if (status != CM_OK) {
        return cm_job_exit_of(status);
    }
    return fflush(stdout) == 0 ? CM_EXIT_OK : CM_EXIT_FAILED;
}
