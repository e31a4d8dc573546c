#include "jobs/bench_plan.h"

#include "jobs/run_options.h"
#include "loaders/json_memory.h"
#include "loaders/model_file.h"

#include <jansson.h>
#include <math.h>

/* --- The steps --- */

/* What tokens at positions [begin, end) see together: one at position p sees p + 1. */
static double seen_by(double begin, double end)
{
    return (end * (end + 1) - begin * (begin + 1)) / 2;
}

/* Steps that take as many prompt tokens as the engine lets them, of as many texts as those are.
 * What texts, or those of an item, have in common is computed once. */
static void set_prefill(const struct cm_bench_shape *shape, struct cm_bench_plan *plan)
{
    double texts = shape->sequences_count;
    double shared = shape->shared_prefix_tokens;
    double segments = fmax(1, shape->segments_per_item);
    double items = ceil(texts / segments);
    double item_end = shared + (segments > 1 ? shape->item_tokens : 0);
    double prompt = shape->prompt_tokens;
    double own = prompt - shared;
    plan->prefill_tokens = shared + items * (item_end - shared) + texts * (prompt - item_end);
    double rows = fmin(plan->prefill_tokens, plan->prefill_shape.rows_max);
    double seen =
        seen_by(0, shared) + items * seen_by(shared, item_end) + texts * seen_by(item_end, prompt);
    plan->prefill_steps = plan->prefill_tokens / rows;
    plan->prefill_shape.n_rows = (uint32_t)rows;
    plan->prefill_shape.texts_count =
        own > 0 ? (uint32_t)fmin(texts, fmax(1, round(rows / own))) : 1;
    plan->prefill_shape.logits_rows = (uint32_t)ceil(texts / plan->prefill_steps);
    plan->prefill_shape.context_tokens = seen / plan->prefill_tokens;
    plan->prefill_shape.shared_tokens = shared;
}

/* Every text's next token, half of the output behind it; the first came with the prompt. Many texts
 * are two waves, each of which has steps of its own. */
static void set_decode(const struct cm_bench_shape *shape, struct cm_bench_plan *plan)
{
    uint32_t waves = shape->sequences_count < CM_WAVES_TEXTS_MIN ? 1 : 2;
    uint32_t texts = (shape->sequences_count + waves - 1) / waves;
    plan->decode_steps = waves * (shape->output_tokens - 1.0);
    plan->decode_shape.n_rows = texts;
    plan->decode_shape.texts_count = texts;
    plan->decode_shape.logits_rows = texts;
    plan->decode_shape.context_tokens = shape->prompt_tokens + shape->output_tokens / 2.0;
    plan->decode_shape.shared_tokens = shape->shared_prefix_tokens;
}

enum cm_status cm_bench_plan(const struct cm_plan_options *options, struct cm_bench_plan *plan,
                             struct cm_error *error)
{
    struct cm_model_file *file = NULL;
    *plan = (struct cm_bench_plan){ 0 };
    enum cm_status status = cm_model_file_open_sizes(options->model_path, &file, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_step_shape kind = { .precision = options->precision,
                                        .drawn = options->drawn,
                                        .rows_max =
                                            options->shape.sequences_count + CM_PREFILL_ROWS_CUDA };
    plan->prefill_shape = plan->decode_shape = kind;
    snprintf(plan->model_name, sizeof plan->model_name, "%s", cm_model_file_config(file)->name);
    set_prefill(&options->shape, plan);
    set_decode(&options->shape, plan);
    status = cm_step_cost(file, &options->device, &plan->prefill_shape, &plan->prefill, error);
    if (status == CM_OK) {
        status = cm_step_cost(file, &options->device, &plan->decode_shape, &plan->decode, error);
    }
    cm_model_file_close(file);
    return status;
}

double cm_bench_plan_roofline_s(const struct cm_bench_plan *plan)
{
    return plan->prefill_steps * plan->prefill.roofline_s +
           plan->decode_steps * plan->decode.roofline_s;
}

double cm_bench_plan_designed_s(const struct cm_bench_plan *plan)
{
    return plan->prefill_steps * plan->prefill.designed_s +
           plan->decode_steps * plan->decode.designed_s;
}

void cm_bench_plan_compare(const struct cm_bench_plan *plan, struct cm_bench_report *report)
{
    report->is_planned = true;
    report->prefill.roofline_s = plan->prefill_steps * plan->prefill.roofline_s;
    report->prefill.designed_s = plan->prefill_steps * plan->prefill.designed_s;
    report->decode.roofline_s = plan->decode_steps * plan->decode.roofline_s;
    report->decode.designed_s = plan->decode_steps * plan->decode.designed_s;
}

/* --- The table --- */

static const char *name_of(enum cm_engine_precision precision)
{
    return CM_PRECISION_NAMES[precision == CM_ENGINE_AUTO ? CM_ENGINE_BF16 : precision];
}

static void print_op(FILE *stream, const struct cm_step_op *op)
{
    fprintf(
        stream, "  %-16s %4u %9.2f %9.2f %9.2f %9.2f %7.0f %5.0f%% %5.2f %9.1f %9.1f %4.0f%%  %s\n",
        op->name, op->count, op->bytes / 1e6, op->kernel_bytes / 1e6, op->flops / 1e9,
        op->kernel_flops / 1e9, op->blocks, 100 * op->covered, op->imbalance, op->roofline_s * 1e6,
        op->designed_s * 1e6, 100 * op->roofline_s / op->designed_s, op->bound);
}

static void print_step(FILE *stream, const char *name, const struct cm_step_shape *shape,
                       const struct cm_step_cost *cost)
{
    fprintf(stream, "\n%s: %u rows of %u texts, context %.0f (%.0f shared), %u next tokens\n", name,
            shape->n_rows, shape->texts_count, shape->context_tokens, shape->shared_tokens,
            shape->logits_rows);
    fprintf(stream,
            "  op                  n        MB     MB of     Gflop  Gflop of  blocks loads  full  "
            "roofline  designed share  waits for\n"
            "                                 the kernel        the kernel          ahead   est"
            "        us        us\n");
    for (uint32_t i = 0; i < cost->ops_count; i++) {
        print_op(stream, &cost->ops[i]);
    }
    fprintf(stream, "  %-16s %4s %9.2f %9s %9.2f %9s %7s %6s %5s %9.1f %9.1f %4.0f%%\n", "all", "",
            cost->bytes / 1e6, "", cost->flops / 1e9, "", "", "", "", cost->roofline_s * 1e6,
            cost->designed_s * 1e6, 100 * cost->roofline_s / cost->designed_s);
}

static void print_arithmetic(FILE *stream, const struct cm_cost_sheet *sheet)
{
    fprintf(stream, "\nroofline = max(MB / %.0f GB/s, Gflop / %.0f Tflop/s; float32 %.0f",
            sheet->bandwidth_gbs, sheet->tensor_gflops / 1e3, sheet->fp32_gflops / 1e3);
    if (sheet->fp8_gflops > 0) {
        fprintf(stream, ", fp8 %.0f", sheet->fp8_gflops / 1e3);
    }
    fprintf(
        stream,
        ")\n"
        "designed = launches x %.1f us + the longest of\n"
        "  MB of the kernel / (%.0f GB/s x %.2f x loads ahead)     loads ahead: bytes in flight "
        "over %.1f us of bandwidth\n"
        "  bytes of the multiprocessors / (64 a clock) x fullest   fullest: blocks of the "
        "fullest of %u over the mean\n"
        "  Gflop of the kernel / (peak x %.2f mma.sync, %.2f cuBLASLt, 0.70 float32) x fullest\n"
        "A design, not a measurement: kernels/roofline.h says what it leaves out.\n",
        sheet->launch_us, sheet->bandwidth_gbs, sheet->copy_share, sheet->latency_us,
        sheet->sm_count, sheet->mma_share, sheet->blas_share);
}

static void print_job(FILE *stream, const char *name, double seconds,
                      const struct cm_bench_shape *shape, const struct cm_bench_plan *plan,
                      double prefill_s, double decode_s)
{
    fprintf(stream, "  %-9s %10.2f ms %12.1f copies/s %12.0f prefill tok/s %12.0f decode tok/s\n",
            name, seconds * 1e3, shape->sequences_count / seconds,
            plan->prefill_tokens / (plan->prefill_steps * prefill_s),
            plan->decode_shape.n_rows / decode_s);
}

void cm_bench_plan_print_table(FILE *stream, const struct cm_plan_options *options,
                               const struct cm_bench_plan *plan)
{
    const struct cm_bench_shape *shape = &options->shape;
    struct cm_cost_sheet sheet;
    if (cm_cost_sheet(&options->device, &sheet, NULL) != CM_OK) {
        return; /* the plan was made for it, so it is there */
    }
    fprintf(stream, "%s, %s, %s\n%u texts: %u prompt tokens (%u shared by all), %u written, %s\n",
            sheet.title, plan->model_name, name_of(options->precision), shape->sequences_count,
            shape->prompt_tokens, shape->shared_prefix_tokens, shape->output_tokens,
            options->drawn ? "drawn" : "greedy");
    print_step(stream, "prefill step", &plan->prefill_shape, &plan->prefill);
    print_step(stream, "decode step", &plan->decode_shape, &plan->decode);
    fprintf(stream, "\n%.1f prefill steps, %.0f decode steps\n", plan->prefill_steps,
            plan->decode_steps);
    print_job(stream, "roofline", cm_bench_plan_roofline_s(plan), shape, plan,
              plan->prefill.roofline_s, plan->decode.roofline_s);
    print_job(stream, "designed", cm_bench_plan_designed_s(plan), shape, plan,
              plan->prefill.designed_s, plan->decode.designed_s);
    print_arithmetic(stream, &sheet);
}

/* --- JSON --- */

static json_t *json_of_step(const struct cm_step_shape *shape, const struct cm_step_cost *cost,
                            double steps)
{
    json_t *ops = json_array();
    for (uint32_t i = 0; i < cost->ops_count; i++) {
        const struct cm_step_op *op = &cost->ops[i];
        json_array_append_new(
            ops, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "op",
                           op->name, "count", (json_int_t)op->count, "bytes", op->bytes, "flops",
                           op->flops, "kernel_bytes", op->kernel_bytes, "kernel_flops",
                           op->kernel_flops, "blocks", op->blocks, "loads_ahead", op->covered,
                           "fullest", op->imbalance, "roofline_s", op->roofline_s, "designed_s",
                           op->designed_s, "waits_for", op->bound));
    }
    return json_pack("{s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "steps", steps, "rows",
                     (json_int_t)shape->n_rows, "texts", (json_int_t)shape->texts_count,
                     "context_tokens", shape->context_tokens, "shared_tokens", shape->shared_tokens,
                     "bytes", cost->bytes, "flops", cost->flops, "roofline_s", cost->roofline_s,
                     "designed_s", cost->designed_s, "ops", ops);
}

enum cm_status cm_bench_plan_print_json(FILE *stream, const struct cm_plan_options *options,
                                        const struct cm_bench_plan *plan)
{
    cm_json_memory_begin();
    double roofline_s = cm_bench_plan_roofline_s(plan);
    double designed_s = cm_bench_plan_designed_s(plan);
    double texts = options->shape.sequences_count;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:o, s:o}", "plan",
                  options->device.sheet, "model", plan->model_name, "precision",
                  name_of(options->precision), "batch", (json_int_t)options->shape.sequences_count,
                  "roofline_s", roofline_s, "designed_s", designed_s, "roofline_copies_per_s",
                  texts / roofline_s, "designed_copies_per_s", texts / designed_s, "prefill",
                  json_of_step(&plan->prefill_shape, &plan->prefill, plan->prefill_steps), "decode",
                  json_of_step(&plan->decode_shape, &plan->decode, plan->decode_steps));
    if (object == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    int failed = json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
    return failed != 0 || fputc('\n', stream) == EOF ? CM_IO : CM_OK;
}
