#include "jobs/bench.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "host/philox.h"
#include "jobs/display_text.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* --- A synthetic workload --- */

/* Whose token stands at `position`: everyone's, an item's or the sequence's own. */
static uint32_t owner_of(const struct cm_bench_shape *shape, uint32_t sequence, uint32_t position)
{
    const uint32_t ITEM = UINT32_C(1) << 31;
    if (position < shape->shared_prefix_tokens) {
        return UINT32_MAX;
    }
    if (shape->segments_per_item > 1 &&
        position - shape->shared_prefix_tokens < shape->item_tokens) {
        return ITEM | sequence / shape->segments_per_item;
    }
    return sequence;
}

/* Token `position` of a prompt. */
static int32_t random_token(uint32_t round, uint32_t owner, uint32_t position, uint32_t n_vocab)
{
    uint32_t numbers[4];
    cm_philox4x32((uint32_t[]){ position, owner, round, 0 }, (uint32_t[]){ 0x636f7079, 0x6d696c6c },
                  numbers);
    return (int32_t)(numbers[0] % n_vocab);
}

static void fill_prompt(const struct cm_bench_shape *shape, uint32_t round, uint32_t sequence,
                        uint32_t n_vocab, int32_t *prompt)
{
    for (uint32_t i = 0; i < shape->prompt_tokens; i++) {
        prompt[i] = random_token(round, owner_of(shape, sequence, i), i, n_vocab);
    }
}

static void drain(struct cm_engine *engine, uint64_t *finished)
{
    struct cm_result result;
    while (cm_engine_finished(engine, &result) == CM_OK) {
        cm_engine_release(engine, result.id);
        (*finished)++;
    }
}

/* Submits all sequences and steps until the last one is finished. */
static enum cm_status run_sequences(struct cm_engine *engine, const struct cm_bench_shape *shape,
                                    const int32_t *prompts, uint32_t round, struct cm_error *error)
{
    struct cm_sampling sampling = CM_SAMPLING_GREEDY;
    sampling.ignore_stop = true;
    uint32_t relatives = shape->segments_per_item > 1 ? shape->segments_per_item : 1;
    uint64_t finished = 0;
    uint32_t submitted = 0;
    while (finished < shape->sequences_count) {
        enum cm_status status = CM_OK;
        while (submitted < shape->sequences_count && status == CM_OK) {
            struct cm_request request = {
                .id = (uint64_t)round << 32 | submitted,
                .unit = (uint64_t)round << 32 | submitted / relatives,
                .prompt = prompts + (size_t)submitted * shape->prompt_tokens,
                .prompt_tokens = shape->prompt_tokens,
                .output_tokens_max = shape->output_tokens,
                .sampling = sampling,
            };
            status = cm_engine_submit(engine, &request, error);
            submitted += status == CM_OK;
        }
        if (status != CM_OK && status != CM_FULL) {
            return status;
        }
        status = cm_engine_step(engine, error);
        if (status != CM_OK && status != CM_END) {
            return status;
        }
        drain(engine, &finished);
    }
    return CM_OK;
}

static struct cm_engine_counters difference(const struct cm_engine_counters *after,
                                            const struct cm_engine_counters *before)
{
    struct cm_engine_counters work = *after;
    work.steps -= before->steps;
    work.computed_tokens -= before->computed_tokens;
    work.prefill_tokens -= before->prefill_tokens;
    work.decode_tokens -= before->decode_tokens;
    work.shared_tokens -= before->shared_tokens;
    work.copied_tokens -= before->copied_tokens;
    work.prompt_tokens -= before->prompt_tokens;
    work.output_tokens -= before->output_tokens;
    work.prefill_s -= before->prefill_s;
    work.decode_s -= before->decode_s;
    return work;
}

enum cm_status cm_bench_run(struct cm_engine *engine, const struct cm_bench_shape *shape,
                            uint32_t round, struct cm_bench_pass *pass, struct cm_error *error)
{
    struct cm_engine_info info;
    struct cm_engine_counters before;
    struct cm_engine_counters after;
    size_t tokens_count;
    if (cm_size_mul(shape->sequences_count, shape->prompt_tokens, &tokens_count)) {
        return cm_error_set(error, CM_LIMIT, "the prompts are too long");
    }
    int32_t *prompts = cm_alloc(tokens_count, sizeof *prompts);
    if (prompts == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the prompts");
    }
    cm_engine_info(engine, &info);
    for (uint32_t i = 0; i < shape->sequences_count; i++) {
        fill_prompt(shape, round, i, info.n_vocab, prompts + (size_t)i * shape->prompt_tokens);
    }
    cm_engine_counters(engine, &before);
    double start_s = cm_clock_s();
    enum cm_status status = run_sequences(engine, shape, prompts, round, error);
    double wall_s = cm_clock_s() - start_s;
    cm_engine_counters(engine, &after);
    *pass = (struct cm_bench_pass){ shape->sequences_count, wall_s, difference(&after, &before) };
    cm_free(prompts);
    return status;
}

static int compare_passes(const void *a, const void *b)
{
    double left = ((const struct cm_bench_pass *)a)->wall_s;
    double right = ((const struct cm_bench_pass *)b)->wall_s;
    return (left > right) - (left < right);
}

const struct cm_bench_pass *cm_bench_median(struct cm_bench_pass *passes, size_t count)
{
    qsort(passes, count, sizeof *passes, compare_passes);
    return &passes[(count - 1) / 2];
}

/* --- The report --- */

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double peak_rss_mib(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss / 1024 : 0;
}

/* What the products of a precision are made with; on CUDA integers become bfloat16 first. */
static double limit_of(const char *precision, const char *device,
                       const struct cm_engine_limits *limits)
{
    bool is_cuda = strcmp(device, "cuda") == 0;
    if (strcmp(precision, "exact") == 0) {
        return limits->fp32_gflops;
    }
    if (strcmp(precision, "fp8") == 0) {
        return limits->fp8_gflops;
    }
    return strcmp(precision, "int8") == 0 && !is_cuda ? limits->int8_gops : limits->bf16_gflops;
}

/* The variant ends in the precision, or after it in how keys and values are kept or how many
 * devices compute together: "cpu-avx512vnni-int8", "cpu-avx2-int8-kv8",
 * "cuda-sm90-blas130100-bf16-tp2". */
static void choose_limit(const char *variant, const struct cm_engine_limits *limits,
                         struct cm_bench_report *report)
{
    const char *end = strstr(variant, "-kv8");
    end = end != NULL ? end : strstr(variant, "-tp");
    const char *begin = end != NULL ? end : variant + strlen(variant);
    size_t length = 0;
    while (begin > variant && begin[-1] != '-' && length + 1 < sizeof report->precision) {
        begin--;
        length++;
    }
    memcpy(report->precision, begin, length);
    report->machine_limit_gops = limit_of(report->precision, report->device, limits);
}

void cm_bench_report(const struct cm_bench_pass *pass, const struct cm_engine_info *info,
                     const struct cm_engine_limits *limits, struct cm_bench_report *report)
{
    const struct cm_engine_counters *work = &pass->work;
    /* The head runs once for each token written, the layers once for each computed token; a
     * multiplication and an addition are two operations. */
    double operations = 2 * ((double)work->computed_tokens * info->multiply_adds_per_token +
                             (double)work->output_tokens * info->head_multiply_adds_per_token);
    *report = (struct cm_bench_report){
        .copies_per_s = ratio((double)pass->copies_count, pass->wall_s),
        .wall_s = pass->wall_s,
        .prompt_tokens = work->prompt_tokens,
        .prefill_tokens = work->prefill_tokens,
        .cached_tokens = work->shared_tokens,
        .output_tokens = work->output_tokens,
        .prefill_tokens_per_s = ratio((double)work->prefill_tokens, work->prefill_s),
        .decode_tokens_per_s = ratio((double)work->decode_tokens, work->decode_s),
        .output_tokens_per_s = ratio((double)work->output_tokens, pass->wall_s),
        .peak_rss_mib = peak_rss_mib(),
        .device = strncmp(info->variant, "cuda", 4) == 0 ? "cuda" : "cpu",
        .threads = info->threads,
        .batch = info->batch,
        .machine_bandwidth_gbs = limits->bandwidth_gbs,
        .prefill = { .measured_s = work->prefill_s },
        .decode = { .measured_s = work->decode_s },
    };
    choose_limit(info->variant, limits, report);
    report->fraction_of_limit = ratio(operations, report->machine_limit_gops * 1e9 * pass->wall_s);
}

static void print_count(FILE *stream, const char *name, uint64_t count)
{
    char digits[40];
    cm_display_count(count, digits);
    fprintf(stream, "%-22s %14s\n", name, digits);
}

static void print_limit(FILE *stream, const char *name, double gops)
{
    if (gops > 0) {
        fprintf(stream, " %s %.0f Gop/s,", name, gops);
    }
}

static void print_phase(FILE *stream, const char *name, const struct cm_bench_phase *phase)
{
    fprintf(stream, "%-22s %14.2f %12.2f %12.2f %11.0f%% %11.0f%%\n", name, 1e3 * phase->roofline_s,
            1e3 * phase->designed_s, 1e3 * phase->measured_s,
            100 * ratio(phase->roofline_s, phase->measured_s),
            100 * ratio(phase->designed_s, phase->measured_s));
}

static void print_plan(FILE *stream, const struct cm_bench_report *report)
{
    fprintf(stream, "\n%-22s %14s %12s %12s %12s %12s\n", "at these limits, ms", "roofline",
            "designed", "measured", "of roofline", "of designed");
    print_phase(stream, "prefill", &report->prefill);
    print_phase(stream, "decode", &report->decode);
    fprintf(stream, "Op by op: copymill bench --plan, and selftest --only timing.\n");
}

void cm_bench_print_table(FILE *stream, const struct cm_bench_report *report,
                          const struct cm_engine_limits *limits)
{
    fprintf(stream, "%-22s %14.2f\n", "copies/s", report->copies_per_s);
    fprintf(stream, "%-22s %14.3f\n", "time, s", report->wall_s);
    print_count(stream, "prompt tokens", report->prompt_tokens);
    print_count(stream, "  computed", report->prefill_tokens);
    print_count(stream, "  shared", report->cached_tokens);
    print_count(stream, "tokens written", report->output_tokens);
    fprintf(stream, "%-22s %14.1f\n", "prefill, tok/s", report->prefill_tokens_per_s);
    fprintf(stream, "%-22s %14.1f\n", "decode, tok/s", report->decode_tokens_per_s);
    fprintf(stream, "%-22s %14.1f\n", "written, tok/s", report->output_tokens_per_s);
    fprintf(stream, "%-22s %14.0f\n", "peak memory, MiB", report->peak_rss_mib);
    bool limits_are_known = report->machine_limit_gops > 0;
    if (limits_are_known) {
        fprintf(stream, "%-22s %13.1f%%   of %.0f Gop/s (%s)\n", "share of the limit",
                100 * report->fraction_of_limit, report->machine_limit_gops, report->precision);
    }
    fprintf(stream, "\n%s, %u thread%s, %s, batch %u\n", report->device, report->threads,
            report->threads == 1 ? "" : "s", report->precision, report->batch);
    if (limits_are_known) {
        fprintf(stream, "machine limits:");
        print_limit(stream, "int8", limits->int8_gops);
        print_limit(stream, "bf16", limits->bf16_gflops);
        print_limit(stream, "fp8", limits->fp8_gflops);
        print_limit(stream, "fp32", limits->fp32_gflops);
        fprintf(stream, " memory %.1f GB/s\n", limits->bandwidth_gbs);
    }
    if (report->is_planned) {
        print_plan(stream, report);
    }
}

static json_t *json_of_phase(const struct cm_bench_phase *phase)
{
    return json_pack("{s:f, s:f, s:f}", "measured_s", phase->measured_s, "roofline_s",
                     phase->roofline_s, "designed_s", phase->designed_s);
}

static bool add_plan(json_t *object, const struct cm_bench_report *report)
{
    json_t *plan = json_pack("{s:o, s:o}", "prefill", json_of_phase(&report->prefill), "decode",
                             json_of_phase(&report->decode));
    return json_object_set_new(object, "plan", plan) == 0;
}

enum cm_status cm_bench_print_json(FILE *stream, const struct cm_bench_report *report)
{
    cm_json_memory_begin();
    json_t *object = json_pack(
        "{s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:s, s:I, s:s, s:I, s:f, s:f, s:f}",
        "copies_per_s", report->copies_per_s, "wall_s", report->wall_s, "prompt_tokens",
        (json_int_t)report->prompt_tokens, "prefill_tokens", (json_int_t)report->prefill_tokens,
        "cached_tokens", (json_int_t)report->cached_tokens, "output_tokens",
        (json_int_t)report->output_tokens, "prefill_tokens_per_s", report->prefill_tokens_per_s,
        "decode_tokens_per_s", report->decode_tokens_per_s, "output_tokens_per_s",
        report->output_tokens_per_s, "peak_rss_mib", report->peak_rss_mib, "device", report->device,
        "threads", (json_int_t)report->threads, "precision", report->precision, "batch",
        (json_int_t)report->batch, "machine_limit_gops", report->machine_limit_gops,
        "machine_bandwidth_gbs", report->machine_bandwidth_gbs, "fraction_of_limit",
        report->fraction_of_limit);
    if (object == NULL || (report->is_planned && !add_plan(object, report))) {
        json_decref(object);
        return CM_OUT_OF_MEMORY;
    }
    int failed = json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(object);
    return failed != 0 || fputc('\n', stream) == EOF ? CM_IO : CM_OK;
}
