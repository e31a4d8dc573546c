#include "jobs/run_figures.h"

#include "base/memory.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <string.h>
#include <sys/resource.h>

static json_t *describe_work(const struct cm_run_figures *figures)
{
    const struct cm_engine_counters *engine = &figures->engine;
    struct rusage usage = { 0 };
    getrusage(RUSAGE_SELF, &usage);
    return json_pack(
        "{s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "outcome",
        figures->outcome, "rows_planned", (json_int_t)figures->rows_planned, "rows_reused",
        (json_int_t)figures->rows_reused, "wall_s", figures->wall_s, "computed_tokens",
        (json_int_t)engine->computed_tokens, "prompt_tokens", (json_int_t)engine->prompt_tokens,
        "prefill_tokens", (json_int_t)engine->prefill_tokens, "shared_tokens",
        (json_int_t)engine->shared_tokens, "output_tokens", (json_int_t)engine->output_tokens,
        "prefill_s", engine->prefill_s, "decode_s", engine->decode_s, "peak_rss_mib",
        (double)usage.ru_maxrss / 1024, "devices_lost", (json_int_t)engine->devices_lost,
        "rows_requeued", (json_int_t)engine->requeued);
}

static json_t *describe_machine(const struct cm_run_figures *figures)
{
    const struct cm_engine_info *model = &figures->model;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "variant", model->variant,
                     "devices", (json_int_t)model->devices, "threads", (json_int_t)model->threads,
                     "batch", (json_int_t)model->batch, "parameters_count",
                     (json_int_t)model->parameters_count, "weights_bytes",
                     (json_int_t)model->weights_bytes, "kv_bytes", (json_int_t)model->kv_bytes,
                     "multiply_adds_per_token", model->multiply_adds_per_token,
                     "head_multiply_adds_per_token", model->head_multiply_adds_per_token);
}

static json_t *describe_limits(const struct cm_engine_limits *limits)
{
    return json_pack("{s:f, s:f, s:f}", "int8_gops", limits->int8_gops, "bf16_gflops",
                     limits->bf16_gflops, "fp32_gflops", limits->fp32_gflops);
}

char *cm_run_figures_write(const struct cm_run_figures *figures)
{
    cm_json_memory_begin();
    json_t *object = describe_work(figures);
    json_t *machine = describe_machine(figures);
    json_t *limits = figures->limits != NULL ? describe_limits(figures->limits) : NULL;
    bool whole = object != NULL && machine != NULL &&
                 json_object_update_missing(object, machine) == 0 &&
                 (limits == NULL || json_object_update_missing(object, limits) == 0) &&
                 !cm_json_memory_failed();
    char *text = whole ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    json_decref(machine);
    json_decref(limits);
    return text;
}
