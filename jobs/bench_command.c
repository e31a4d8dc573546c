#include "jobs/bench_command.h"

#include "base/log.h"
#include "jobs/bench.h"
#include "jobs/cli.h"
#include "jobs/model_store.h"

#include <stdio.h>
#include <string.h>

struct bench_options {
    struct cm_run_options run; /* first: the rows of CM_RUN_OPTIONS point into it */
    struct cm_bench_shape shape;
    uint32_t repeat;
    bool json;
};

#define FIELD(name) offsetof(struct bench_options, name)

static const struct cm_option BENCH_OPTIONS[] = {
    { .help = "Workload" },
    { "prompt-tokens", "N", "tokens of each prompt (192)", CM_OPTION_U32,
      .offset = FIELD(shape.prompt_tokens), .minimum = 1, .maximum = 1e6 },
    { "output-tokens", "N", "tokens written after each (32)", CM_OPTION_U32,
      .offset = FIELD(shape.output_tokens), .minimum = 1, .maximum = 1e6 },
    { "shared-prefix", "N", "tokens at the start that all prompts have in common (0)",
      CM_OPTION_U32, .offset = FIELD(shape.shared_prefix_tokens), .minimum = 0, .maximum = 1e6 },
    { "repeat", "N", "passes; the median one is reported (3)", CM_OPTION_U32,
      .offset = FIELD(repeat), .minimum = 1, .maximum = CM_BENCH_REPEAT_MAX },
    { "json", NULL, "print one JSON object", CM_OPTION_FLAG, .offset = FIELD(json) },
    { .help = "Where and how it runs" },
};
enum { BENCH_OPTIONS_COUNT = sizeof BENCH_OPTIONS / sizeof BENCH_OPTIONS[0] };

/* What of a job's options a workload without texts has, too. */
static const char *const SHARED_OPTIONS[] = { "model", "threads", "batch", "memory", "precision" };
enum { SHARED_OPTIONS_COUNT = sizeof SHARED_OPTIONS / sizeof SHARED_OPTIONS[0] };

static const struct cm_option *find_run_option(const char *name)
{
    for (size_t i = 0; i < CM_RUN_OPTIONS_COUNT; i++) {
        if (CM_RUN_OPTIONS[i].name != NULL && strcmp(CM_RUN_OPTIONS[i].name, name) == 0) {
            return &CM_RUN_OPTIONS[i];
        }
    }
    return NULL;
}

static size_t all_options(struct cm_option options[BENCH_OPTIONS_COUNT + SHARED_OPTIONS_COUNT])
{
    memcpy(options, BENCH_OPTIONS, sizeof BENCH_OPTIONS);
    size_t count = BENCH_OPTIONS_COUNT;
    for (size_t i = 0; i < SHARED_OPTIONS_COUNT; i++) {
        const struct cm_option *option = find_run_option(SHARED_OPTIONS[i]);
        CM_ASSERT(option != NULL);
        options[count++] = *option;
    }
    return count;
}

static enum cm_status check(const struct bench_options *options, struct cm_error *error)
{
    if (options->shape.shared_prefix_tokens > options->shape.prompt_tokens) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--shared-prefix %u: expected at most --prompt-tokens, %u",
                            options->shape.shared_prefix_tokens, options->shape.prompt_tokens);
    }
    return CM_OK;
}

static enum cm_status open_engine(const struct bench_options *options, struct cm_engine **engine,
                                  struct cm_error *error)
{
    char path[CM_MODEL_PATH_BYTES];
    enum cm_status status = cm_model_resolve(options->run.model, path, sizeof path, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_engine_options engine_options = {
        .model_path = path,
        .precision = options->run.precision,
        .threads = options->run.threads,
        .batch = options->run.batch,
        .memory_bytes = (uint64_t)(options->run.memory_gib * 0x1p30),
        .context_tokens = options->shape.prompt_tokens + options->shape.output_tokens,
    };
    return cm_engine_open(&engine_options, engine, error);
}

/* The limits come first: the passes then start with awake threads and a warm clock. */
static enum cm_status measure(const struct bench_options *options, struct cm_error *error)
{
    struct cm_engine *engine = NULL;
    struct cm_bench_pass passes[CM_BENCH_REPEAT_MAX];
    struct cm_engine_info info;
    struct cm_engine_limits limits;
    struct cm_bench_report report;
    enum cm_status status = open_engine(options, &engine, error);
    if (status != CM_OK) {
        return status;
    }
    cm_engine_info(engine, &info);
    cm_engine_measure_limits(engine, &limits);
    for (uint32_t round = 0; round < options->repeat && status == CM_OK; round++) {
        status = cm_bench_run(engine, &options->shape, round, &passes[round], error);
    }
    if (status == CM_OK) {
        cm_bench_report(cm_bench_median(passes, options->repeat), &info, &limits, &report);
        if (!options->json) {
            cm_bench_print_table(stdout, &report, &limits);
        } else if (cm_bench_print_json(stdout, &report) != CM_OK) {
            status = cm_error_set(error, CM_IO, "the figures cannot be written to standard output");
        }
    }
    cm_engine_close(engine);
    return status;
}

static void print_help(const struct cm_option *options, size_t options_count)
{
    printf("Usage: copymill bench [options]\n\n"
           "Times prompts of random tokens and compares with what the machine can do.\n");
    cm_cli_print_options(stdout, options, options_count);
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

enum cm_exit cm_bench_command(int argc, char **argv)
{
    enum { BATCH_DEFAULT = 32 };
    struct cm_option rows[BENCH_OPTIONS_COUNT + SHARED_OPTIONS_COUNT];
    size_t rows_count = all_options(rows);
    struct cm_error error;
    struct bench_options options = { .shape = { .prompt_tokens = 192, .output_tokens = 32 },
                                     .repeat = 3 };
    cm_run_options_init(&options.run);
    options.run.batch = BATCH_DEFAULT;
    enum cm_status status = cm_cli_parse(rows, rows_count, &options, argc, argv, &error);
    if (status == CM_END) {
        print_help(rows, rows_count);
        return CM_EXIT_OK;
    }
    options.shape.sequences_count = options.run.batch;
    if (status == CM_OK) {
        status = check(&options, &error);
    }
    if (status == CM_OK) {
        status = measure(&options, &error);
    }
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
    }
    return exit_of(status);
}
