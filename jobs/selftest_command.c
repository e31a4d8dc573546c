#include "jobs/selftest_command.h"

#include "base/clock.h"
#include "base/log.h"
#include "host/selftest.h"
#include "jobs/cli.h"
#include "jobs/selftest_model.h"
#include "jobs/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct selftest_options {
    const char *device;
    const char *only;
};

static const struct cm_option OPTIONS[] = {
    { "device", "NAME", "cpu, cuda or cuda:0,1,...: each of them is tested (auto: all there are)",
      CM_OPTION_STRING, .offset = offsetof(struct selftest_options, device) },
    { "only", "TEXT",
      "only what has this text in its group or name: wrapper, fp8, matmul, timing, link, ...",
      CM_OPTION_STRING, .offset = offsetof(struct selftest_options, only) },
};
enum { OPTIONS_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

/* What has been seen, over all devices. */
struct tally {
    uint32_t passed_count;
    uint32_t failed_count;
    uint32_t skipped_count;
    uint32_t timed_count;
};

static void print_line(struct tally *tally, enum cm_check_outcome outcome, const char *group,
                       const char *name, const char *detail)
{
    static const char *const words[] = { "ok", "FAILED", "skipped" };
    tally->passed_count += outcome == CM_CHECK_PASSED;
    tally->failed_count += outcome == CM_CHECK_FAILED;
    tally->skipped_count += outcome == CM_CHECK_SKIPPED;
    printf("%-8s %-22s %-30s %s\n", words[outcome], group, name, detail);
    fflush(stdout); /* a device that hangs leaves what was known before */
}

static void print_check(void *context, const struct cm_device_check *check)
{
    print_line(context, check->outcome, check->group, check->name, check->detail);
}

/* --- The model --- */

static void check_model(struct tally *tally, const char *device, uint32_t tp,
                        enum cm_engine_precision precision, const char *only, const char *name)
{
    struct cm_engine_check check;
    struct cm_error error = { 0 };
    bool is_good = false;
    char detail[512];
    if (only != NULL && strstr("model", only) == NULL && strstr(name, only) == NULL) {
        return;
    }
    enum cm_status status = cm_selftest_model(device, tp, precision, &check, &is_good, &error);
    if (status == CM_UNSUPPORTED) {
        print_line(tally, CM_CHECK_SKIPPED, "model", name, error.message);
        return;
    }
    if (status != CM_OK) {
        print_line(tally, CM_CHECK_FAILED, "model", name, error.message);
        return;
    }
    snprintf(detail, sizeof detail,
             "logits within %.2g, first choices %" PRIu64 "/%" PRIu64
             ", greedy %zu/%zu, cuts of the text with the same bytes %zu/%zu",
             check.agreement.difference_max, check.agreement.choices_same,
             check.agreement.choices_count, check.greedy_same, check.greedy_count, check.cuts_same,
             check.cuts_count);
    print_line(tally, is_good ? CM_CHECK_PASSED : CM_CHECK_FAILED, "model", name, detail);
}

/* --- Timings --- */

static void begin_timings(void *context, const struct cm_engine_limits *limits, const char *model,
                          bool is_emulated)
{
    (void)context;
    printf("\nlimits, measured now: memory %.1f GB/s", limits->bandwidth_gbs);
    const struct {
        const char *name;
        double gops;
    } peaks[] = { { "float32", limits->fp32_gflops },
                  { "bf16", limits->bf16_gflops },
                  { "fp8", limits->fp8_gflops },
                  { "int8", limits->int8_gops } };
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++) {
        if (peaks[i].gops > 0) {
            printf(", %s %.1f Gflop/s", peaks[i].name, peaks[i].gops);
        }
    }
    printf("\ntimes at the sizes of %s: the roofline is the longer of bytes / memory and flops / "
           "peak\n",
           model);
    if (is_emulated) {
        printf("AN EMULATED DEVICE: none of these figures says anything about a real one\n");
    }
    printf("%-8s %-14s %-19s %-30s %9s %8s %9s %11s %8s%s\n", "", "", "op", "shape", "us", "GB/s",
           "Gflop/s", "roofline us", "reached", limits->sm_count > 0 ? " designed" : "");
}

static void print_timing(void *context, const struct cm_device_timing *timing)
{
    struct tally *tally = context;
    if (timing->failure != NULL) {
        print_line(tally, CM_CHECK_FAILED, timing->group, timing->name, timing->failure);
        return;
    }
    tally->timed_count++;
    printf("%-8s %-14s %-19s %-30s %9.1f %8.1f %9.1f %11.1f %7.0f%%", "time", timing->group,
           timing->name, timing->shape, timing->seconds * 1e6,
           timing->bytes / timing->seconds / 1e9, timing->flops / timing->seconds / 1e9,
           timing->roofline_s * 1e6, 100 * timing->roofline_s / timing->seconds);
    if (timing->designed_s > 0) {
        printf(" %8.0f%%", 100 * timing->roofline_s / timing->designed_s);
    }
    printf("\n");
    fflush(stdout);
}

/* --- One device --- */

static const struct {
    enum cm_engine_precision precision;
    const char *name;
} models[] = {
    { CM_ENGINE_EXACT, "golden logits, exact" }, { CM_ENGINE_BF16, "golden logits, bf16" },
    { CM_ENGINE_FP16, "golden logits, fp16" },   { CM_ENGINE_INT8, "golden logits, int8" },
    { CM_ENGINE_FP8, "golden logits, fp8" },
};

static enum cm_status test_device(struct tally *tally, const char *device, const char *only,
                                  struct cm_error *error)
{
    char description[CM_DEVICE_DESCRIPTION_BYTES];
    enum cm_status status = cm_device_describe(device, description, error);
    if (status != CM_OK) {
        return status;
    }
    double start_s = cm_clock_s();
    const struct cm_device_timings_sink timings = { begin_timings, print_timing, tally };
    printf("copymill %s\n%s\n", cm_version(), description);
    status = cm_device_selftest(device, only, print_check, tally, error);
    if (status != CM_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        check_model(tally, device, 1, models[i].precision, only, models[i].name);
    }
    status = cm_device_timings(device, only, &timings, error);
    if (status != CM_OK) {
        return status;
    }
    printf("\n%s: %.0f s\n\n", device, cm_clock_s() - start_s);
    return CM_OK;
}

/* --- Several devices --- */

static enum cm_status test_links(struct tally *tally, const char *devices, const char *only,
                                 struct cm_error *error)
{
    char first[CM_DEVICE_NAME_BYTES];
    char second[CM_DEVICE_NAME_BYTES];
    char both[2 * CM_DEVICE_NAME_BYTES];
    enum cm_status status = cm_device_links(devices, only, print_check, tally, error);
    if (status == CM_OK) {
        status = cm_device_name(devices, 0, first, error);
    }
    if (status == CM_OK) {
        status = cm_device_name(devices, 1, second, error);
    }
    if (status == CM_OK) { /* "cuda:0" and "cuda:1" are "cuda:0,1" */
        snprintf(both, sizeof both, "%s,%s", first, strchr(second, ':') + 1);
        check_model(tally, both, 2, CM_ENGINE_EXACT, only, "golden logits, exact, tp 2");
        check_model(tally, both, 2, CM_ENGINE_BF16, only, "golden logits, bf16, tp 2");
    }
    return status == CM_END ? CM_OK : status;
}

static enum cm_exit report(const struct tally *tally)
{
    printf("%u passed, %u failed, %u skipped\n", tally->passed_count, tally->failed_count,
           tally->skipped_count);
    if (tally->failed_count == 0) {
        return CM_EXIT_OK;
    }
    printf("\nThis device does not compute what it should, or copymill has a fault. Please report "
           "it\nwith all of the output above, what nvidia-smi prints, and the output of a second "
           "run:\na different one points to hardware.\n");
    return CM_EXIT_FAILED;
}

static void print_help(void)
{
    printf(
        "Usage: copymill selftest [--device NAME] [--only TEXT]\n\n"
        "First contact with a device, in this order:\n"
        "  wrapper           instructions against known answers\n"
        "  op, graph         each op against plain C, by itself and in a CUDA graph\n"
        "  model             a tiny model against reference logits\n"
        "  timing            each op beside the roofline of this device, measured just before\n"
        "  link              of several devices: collectives, copies, the model on two together\n"
        "A line each, \"ok\", \"FAILED\" or \"skipped\" with the reason first. Takes minutes. The "
        "exit status\nis 1 where anything failed; times do not count.\n");
    cm_cli_print_options(stdout, OPTIONS, OPTIONS_COUNT);
}

static enum cm_exit fail(enum cm_status status, const struct cm_error *error)
{
    cm_log(CM_LOG_ERROR, "%s", error->message);
    return status == CM_DEVICE_FAILED || status == CM_OUT_OF_MEMORY ? CM_EXIT_FAILED
                                                                    : CM_EXIT_USAGE;
}

enum cm_exit cm_selftest_command(int argc, char **argv)
{
    struct selftest_options options = { 0 };
    struct tally tally = { 0 };
    struct cm_error error = { 0 };
    char device[CM_DEVICE_NAME_BYTES];
    enum cm_status status = cm_cli_parse(OPTIONS, OPTIONS_COUNT, &options, argc, argv, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    for (uint32_t i = 0; status == CM_OK; i++) {
        status = cm_device_name(options.device, i, device, &error);
        if (status == CM_OK) {
            status = test_device(&tally, device, options.only, &error);
        }
    }
    if (status == CM_END) {
        status = test_links(&tally, options.device, options.only, &error);
    }
    if (status == CM_OK &&
        tally.passed_count + tally.failed_count + tally.skipped_count + tally.timed_count == 0) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "--only %.60s: no test of that name; leave it out to see all",
                              options.only);
    }
    return status == CM_OK ? report(&tally) : fail(status, &error);
}
