#include "jobs/bench_command.h"

#include "base/log.h"
#include "jobs/bench.h"
#include "jobs/bench_catalog.h"
#include "jobs/bench_plan.h"
#include "jobs/cli.h"
#include "jobs/model_store.h"

#include <stdio.h>
#include <string.h>

enum {
    PROMPT_TOKENS_DEFAULT = 192,
    OUTPUT_TOKENS_DEFAULT = 32,
    BATCH_DEFAULT = 32,
    REPEAT_DEFAULT = 3,
};

struct bench_options {
    struct cm_run_options run;   /* first: the rows of CM_RUN_OPTIONS point into it */
    struct cm_bench_shape shape; /* 0: not given */
    uint32_t repeat;
    bool json;
    const char *plan;
};

#define FIELD(name) offsetof(struct bench_options, name)

static const struct cm_option BENCH_OPTIONS[] = {
    { .help = "Measurement" },
    { "repeat", "N", "passes; the median one is reported (3; with --catalog 1)", CM_OPTION_U32,
      .offset = FIELD(repeat), .minimum = 1, .maximum = CM_BENCH_REPEAT_MAX },
    { "json", NULL, "print one JSON object", CM_OPTION_FLAG, .offset = FIELD(json) },
    { "plan", "GPU",
      "h100, h200 or a100: time of each op at its roofline, instead of running; of --model "
      "a folder with config.json is enough",
      CM_OPTION_STRING, .offset = FIELD(plan) },

    { .help = "Synthetic workload: prompts of random tokens, greedy, --batch of them at a time" },
    { "prompt-tokens", "N", "tokens of each prompt (192)", CM_OPTION_U32,
      .offset = FIELD(shape.prompt_tokens), .minimum = 1, .maximum = 1e6 },
    { "output-tokens", "N", "tokens written after each (32)", CM_OPTION_U32,
      .offset = FIELD(shape.output_tokens), .minimum = 1, .maximum = 1e6 },
    { "shared-prefix", "N", "tokens at the start that all prompts have in common (0)",
      CM_OPTION_U32, .offset = FIELD(shape.shared_prefix_tokens), .minimum = 0, .maximum = 1e6 },
    { "segments-per-item", "N", "consecutive prompts that are about one item (1)", CM_OPTION_U32,
      .offset = FIELD(shape.segments_per_item), .minimum = 1, .maximum = 1e6 },
    { "item-tokens", "N", "tokens after the shared ones that prompts of one item share (0)",
      CM_OPTION_U32, .offset = FIELD(shape.item_tokens), .minimum = 0, .maximum = 1e6 },
};
enum { BENCH_OPTIONS_COUNT = sizeof BENCH_OPTIONS / sizeof BENCH_OPTIONS[0], OPTIONS_MAX = 64 };

/* What a timed job does not have: its output goes to a folder that is removed. */
static const char *const LEFT_OUT[] = { "out",      "overwrite",  "excel",  "job",    "dry-run",
                                        "progress", "no-samples", "report", "metrics" };

static bool is_left_out(const struct cm_option *option)
{
    for (size_t i = 0; option->name != NULL && i < sizeof LEFT_OUT / sizeof LEFT_OUT[0]; i++) {
        if (strcmp(option->name, LEFT_OUT[i]) == 0) {
            return true;
        }
    }
    return false;
}

static size_t all_options(struct cm_option options[OPTIONS_MAX])
{
    CM_ASSERT(BENCH_OPTIONS_COUNT + CM_RUN_OPTIONS_COUNT <= OPTIONS_MAX);
    memcpy(options, BENCH_OPTIONS, sizeof BENCH_OPTIONS);
    size_t count = BENCH_OPTIONS_COUNT;
    for (size_t i = 0; i < CM_RUN_OPTIONS_COUNT; i++) {
        if (is_left_out(&CM_RUN_OPTIONS[i])) {
            continue;
        }
        struct cm_option *option = &options[count++];
        *option = CM_RUN_OPTIONS[i];
        if (option->name != NULL && strcmp(option->name, "precision") == 0) {
            option->choices = CM_PRECISION_NAMES; /* a plan needs no device */
            option->help = "auto, exact, bf16, int8; on CUDA or planned fp16, int4, fp8 (auto)";
        }
    }
    return count;
}

/* --- Options --- */

static enum cm_status check_catalog(struct bench_options *options, struct cm_error *error)
{
    const struct cm_bench_shape *shape = &options->shape;
    if (shape->prompt_tokens + shape->output_tokens + shape->shared_prefix_tokens +
            shape->item_tokens + shape->segments_per_item >
        0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--prompt-tokens, --output-tokens, --shared-prefix, --item-tokens and "
                            "--segments-per-item are for a synthetic workload: leave them out "
                            "beside --catalog");
    }
    options->repeat = options->repeat == 0 ? 1 : options->repeat;
    if (options->repeat > 1 && strcmp(options->run.catalog_path, "-") == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--repeat %u: standard input can be read once: expected a file after "
                            "--catalog",
                            options->repeat);
    }
    options->run.out_path = "-"; /* only for the check: each pass gets a file of its own */
    return cm_run_options_check(&options->run, error);
}

static enum cm_status check_synthetic(struct bench_options *options, struct cm_error *error)
{
    struct cm_bench_shape *shape = &options->shape;
    if (options->run.segments_path != NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--segments is for a real job: expected --catalog FILE beside it");
    }
    options->repeat = options->repeat == 0 ? REPEAT_DEFAULT : options->repeat;
    options->run.batch = options->run.batch == 0 ? BATCH_DEFAULT : options->run.batch;
    shape->sequences_count = options->run.batch;
    shape->prompt_tokens = shape->prompt_tokens == 0 ? PROMPT_TOKENS_DEFAULT : shape->prompt_tokens;
    shape->output_tokens = shape->output_tokens == 0 ? OUTPUT_TOKENS_DEFAULT : shape->output_tokens;
    if (shape->shared_prefix_tokens > shape->prompt_tokens) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--shared-prefix %u: expected at most --prompt-tokens, %u",
                            shape->shared_prefix_tokens, shape->prompt_tokens);
    }
    if (shape->item_tokens > shape->prompt_tokens - shape->shared_prefix_tokens) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--item-tokens %u: expected at most %u, what --shared-prefix leaves of "
                            "--prompt-tokens",
                            shape->item_tokens, shape->prompt_tokens - shape->shared_prefix_tokens);
    }
    return CM_OK;
}

/* --- Measuring --- */

static enum cm_status open_engine(const struct cm_run_options *run, uint32_t batch,
                                  uint32_t context_tokens, struct cm_engine **engine,
                                  struct cm_error *error)
{
    char path[CM_MODEL_PATH_BYTES];
    enum cm_status status = cm_model_resolve(run->model, path, sizeof path, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_engine_options options = {
        .model_path = path,
        .precision = run->precision,
        .kv = run->kv,
        .device = run->device,
        .tp = run->tp,
        .device_timeout_s = run->device_timeout_s,
        .threads = run->threads,
        .batch = batch,
        .memory_bytes = (uint64_t)(run->memory_gib * 0x1p30),
        .context_tokens = context_tokens,
    };
    return cm_engine_open(&options, engine, error);
}

/* What the workload should take on the one CUDA device that ran it. */
static void compare_with_plan(const struct bench_options *options,
                              const struct cm_engine_info *info,
                              const struct cm_engine_limits *limits, struct cm_bench_report *report)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_bench_plan plan;
    const struct cm_plan_options plan_options = {
        .model_path = path,
        .device = { .measured = *limits },
        .precision = options->run.precision,
        .shape = options->shape,
    };
    bool is_one = strcmp(report->device, "cuda") == 0 && info->devices == 1;
    if (is_one && limits->bandwidth_gbs > 0 && limits->fp32_gflops > 0 &&
        cm_model_resolve(options->run.model, path, sizeof path, NULL) == CM_OK &&
        cm_bench_plan(&plan_options, &plan, NULL) == CM_OK) {
        cm_bench_plan_compare(&plan, report);
    }
}

static enum cm_status print(const struct bench_options *options, struct cm_bench_pass *passes,
                            const struct cm_engine_info *info,
                            const struct cm_engine_limits *limits, struct cm_error *error)
{
    struct cm_bench_report report;
    cm_bench_report(cm_bench_median(passes, options->repeat), info, limits, &report);
    if (options->run.catalog_path == NULL) {
        compare_with_plan(options, info, limits, &report);
    }
    if (!options->json) {
        cm_bench_print_table(stdout, &report, limits);
    } else if (cm_bench_print_json(stdout, &report) != CM_OK) {
        return cm_error_set(error, CM_IO, "the figures cannot be written to standard output");
    }
    return CM_OK;
}

static enum cm_exit exit_of(enum cm_status status)
{
    switch (status) {
    case CM_OK:
        return CM_EXIT_OK;
    case CM_INVALID_ARGUMENT:
    case CM_INVALID_DATA:
    case CM_NOT_FOUND:
    case CM_UNSUPPORTED:
    case CM_LIMIT:
        return CM_EXIT_USAGE;
    case CM_INTERRUPTED:
        return CM_EXIT_INTERRUPTED;
    default:
        return CM_EXIT_FAILED;
    }
}

static enum cm_exit report_error(enum cm_status status, const struct cm_error *error)
{
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error->message);
    }
    return exit_of(status);
}

/* The limits come first: the passes then start with awake threads and a warm clock. */
static enum cm_exit measure_synthetic(const struct bench_options *options)
{
    struct cm_engine *engine = NULL;
    struct cm_bench_pass passes[CM_BENCH_REPEAT_MAX];
    struct cm_engine_info info;
    struct cm_engine_limits limits;
    struct cm_error error;
    enum cm_status status =
        open_engine(&options->run, options->run.batch,
                    options->shape.prompt_tokens + options->shape.output_tokens, &engine, &error);
    if (status == CM_OK) {
        cm_engine_info(engine, &info);
        cm_engine_measure_limits(engine, true, &limits);
    }
    for (uint32_t round = 0; round < options->repeat && status == CM_OK; round++) {
        status = cm_bench_run(engine, &options->shape, round, &passes[round], &error);
    }
    if (status == CM_OK) {
        status = print(options, passes, &info, &limits, &error);
    }
    cm_engine_close(engine);
    return report_error(status, &error);
}

/* A run opens its own engine, so the limits are measured with a small one that is gone by then. */
static enum cm_exit measure_catalog(const struct bench_options *options)
{
    enum { SMALL_CONTEXT_TOKENS = 64 };
    struct cm_engine *engine = NULL;
    struct cm_bench_pass passes[CM_BENCH_REPEAT_MAX];
    struct cm_engine_info info;
    struct cm_engine_limits limits;
    struct cm_error error;
    enum cm_status status = open_engine(&options->run, 1, SMALL_CONTEXT_TOKENS, &engine, &error);
    if (status != CM_OK) {
        return report_error(status, &error);
    }
    cm_engine_measure_limits(engine, true, &limits);
    cm_engine_close(engine);
    enum cm_exit exit = cm_bench_catalog(&options->run, options->repeat, passes, &info);
    if (exit != CM_EXIT_OK && exit != CM_EXIT_PARTIAL) {
        return exit;
    }
    status = print(options, passes, &info, &limits, &error);
    return status == CM_OK ? exit : report_error(status, &error);
}

/* --- Planning --- */

static enum cm_exit plan_synthetic(const struct bench_options *options)
{
    char path[CM_MODEL_PATH_BYTES];
    const struct cm_plan_options plan_options = {
        .model_path = path,
        .device = { .sheet = options->plan },
        .precision = options->run.precision,
        .drawn = options->run.sampling.temperature > 0,
        .shape = options->shape,
    };
    struct cm_bench_plan plan;
    struct cm_error error;
    enum cm_status status = cm_model_resolve(options->run.model, path, sizeof path, &error);
    if (status == CM_OK) {
        status = cm_bench_plan(&plan_options, &plan, &error);
    }
    if (status == CM_OK && !options->json) {
        cm_bench_plan_print_table(stdout, &plan_options, &plan);
    } else if (status == CM_OK && cm_bench_plan_print_json(stdout, &plan_options, &plan) != CM_OK) {
        status = cm_error_set(&error, CM_IO, "the plan cannot be written to standard output");
    }
    return report_error(status, &error);
}

static void print_help(const struct cm_option *options, size_t options_count)
{
    printf("Usage: copymill bench [options]\n"
           "       copymill bench --catalog FILE [--segments FILE] [options]\n"
           "       copymill bench --plan h100|h200|a100 [options]\n\n"
           "Times a synthetic workload or a real job and compares with what the machine can do.\n");
    cm_cli_print_options(stdout, options, options_count);
}

enum cm_exit cm_bench_command(int argc, char **argv)
{
    struct cm_option rows[OPTIONS_MAX];
    size_t rows_count = all_options(rows);
    struct cm_error error;
    struct bench_options options = { 0 };
    cm_run_options_init(&options.run);
    enum cm_status status = cm_cli_parse(rows, rows_count, &options, argc, argv, &error);
    if (status == CM_END) {
        print_help(rows, rows_count);
        return CM_EXIT_OK;
    }
    bool synthetic = options.run.catalog_path == NULL;
    if (status == CM_OK && options.plan != NULL && !synthetic) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "--plan is for token shapes: leave --catalog out");
    }
    if (status == CM_OK) {
        status = synthetic ? check_synthetic(&options, &error) : check_catalog(&options, &error);
    }
    if (status != CM_OK) {
        return report_error(status, &error);
    }
    if (options.plan != NULL) {
        return plan_synthetic(&options);
    }
    return synthetic ? measure_synthetic(&options) : measure_catalog(&options);
}
