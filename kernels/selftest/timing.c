/* How long ops take, beside the roofline of their contracts (kernels/roofline.h) at the limits that
 * were measured just before. */
#include "kernels/selftest/timing.h"

#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if defined(COPYMILL_CUDA)
#include "kernels/cuda/selftest.h"
#endif

/* Sizes of models that are run on such devices; and a toy for the emulated one. */
static const struct cm_timing_model LARGE = { "Llama-3.1-8B", 4096,   32, 8,   128,
                                              14336,          128256, 64, 1024 };
static const struct cm_timing_model SMALL = { "SmolLM2-135M", 576, 9, 3, 64, 1536, 49152, 64, 256 };
static const struct cm_timing_model TOY = { "a toy", 64, 4, 2, 32, 96, 500, 5, 48 };

enum {
    CALLS_MAX = 20,
    CACHE_BYTES = 64 << 20, /* enough to push all else out of the caches */
    CACHE_BYTES_CUDA = 256 << 20,
    CACHE_BYTES_TOY = 1 << 16,
};

static const double CALLS_S = 0.1; /* of one op, after the first calls */

/* Which scopes are timed under a precision. */
static const struct precision {
    enum cm_precision precision;
    const char *name;
    bool once;
    bool by_cache;
} precisions[] = {
    { CM_PRECISION_EXACT, "exact", true, true }, { CM_PRECISION_BF16, "bf16", false, true },
    { CM_PRECISION_FP16, "fp16", false, false }, { CM_PRECISION_INT8, "int8", false, false },
    { CM_PRECISION_INT4, "int4", false, false }, { CM_PRECISION_FP8, "fp8", false, true },
};
enum { PRECISIONS_COUNT = sizeof precisions / sizeof precisions[0] };

struct stand {
    const struct cm_selftest_options *options;
    const struct cm_timing_model *model;
    struct cm_backend *backend;
    struct cm_roofline_device device; /* its limits */
    void *cache;                      /* [cache_bytes] written before each call */
    size_t cache_bytes;
    const struct cm_selftest_timing_sink *sink;
};

bool cm_selftest_is_emulated(enum cm_device device)
{
#if defined(COPYMILL_CUDA_EMULATED)
    return device == CM_DEVICE_CUDA;
#else
    (void)device;
    return false;
#endif
}

/* --- One op --- */

static void call_op(struct cm_backend *backend, void *context)
{
    struct cm_timed_op *op = context;
    op->call(backend, op);
}

static double time_once_s(const struct stand *stand, struct cm_timed_op *op)
{
#if defined(COPYMILL_CUDA)
    if (stand->options->device == CM_DEVICE_CUDA) {
        return cm_cuda_time_cold_s(stand->backend, call_op, op, stand->cache, stand->cache_bytes);
    }
#endif
    memset(stand->cache, 1, stand->cache_bytes);
    double start_s = cm_clock_s();
    call_op(stand->backend, op);
    return cm_clock_s() - start_s;
}

/* The least of some calls; the first one only warms up. */
static double time_s(const struct stand *stand, struct cm_timed_op *op)
{
    double least = INFINITY;
    time_once_s(stand, op);
    double end_s = cm_clock_s() + CALLS_S;
    for (int i = 0; i < CALLS_MAX && (i < 2 || cm_clock_s() < end_s); i++) {
        least = fmin(least, time_once_s(stand, op));
    }
    return least;
}

static void close_op(struct cm_timed_op *op)
{
    cm_matrix_close(op->matrix);
    cm_kv_pool_close(op->pool);
    cm_trial_deinit(&op->trial);
}

static void time_shape(const struct stand *stand, const struct cm_timing_case *one, uint32_t shape,
                       const char *group)
{
    struct cm_timed_op op = { .trial = { .backend = stand->backend },
                              .model = stand->model,
                              .sm_count = stand->device.sm_count };
    struct cm_selftest_timing timing = { .group = group, .name = one->name, .shape = op.shape };
    struct cm_error error = { 0 };
    one->prepare(&op, shape);
    if (stand->options->device == CM_DEVICE_CPU && op.pool != NULL) {
        op.work.unit = CM_UNIT_FP32; /* attention */
    }
    if (!cm_trial_failed(&op.trial)) {
        timing.seconds = time_s(stand, &op);
        struct cm_roofline_time time = cm_roofline_time(&stand->device, &op.work);
        timing.bytes = op.work.bytes;
        timing.flops = op.work.flops;
        timing.roofline_s = time.roofline_s;
        timing.designed_s = stand->options->device == CM_DEVICE_CUDA ? time.designed_s : 0;
    }
    if (cm_backend_status(stand->backend, &error) != CM_OK) {
        cm_trial_fail(&op.trial, "%.200s", error.message);
    }
    timing.failure = cm_trial_failed(&op.trial) ? op.trial.failure : NULL;
    stand->sink->timed(stand->sink->context, &timing);
    close_op(&op);
}

enum { GROUP_BYTES = 32 };

/* Whether the op is timed under the precision, and in which group. */
static bool is_due(const struct stand *stand, const struct cm_timing_case *one,
                   const struct precision *precision, char group[GROUP_BYTES])
{
    const char *only = stand->options->only;
    bool is_timed = one->scope == CM_TIMING_BY_WEIGHTS ||
                    (one->scope == CM_TIMING_BY_CACHE ? precision->by_cache : precision->once);
    snprintf(group, GROUP_BYTES, one->scope == CM_TIMING_ONCE ? "timing" : "timing %s",
             precision->name);
    return is_timed &&
           (only == NULL || strstr(group, only) != NULL || strstr(one->name, only) != NULL);
}

/* --- One precision --- */

/* The roofline of the CPU: its products have the units of the precision, all else float32. */
static struct cm_roofline_device cpu_limits(const struct cm_machine_limits *limits,
                                            enum cm_precision precision)
{
    double gops = precision == CM_PRECISION_INT8   ? limits->int8_gops
                  : precision == CM_PRECISION_BF16 ? limits->bf16_gflops
                                                   : limits->fp32_gflops;
    struct cm_roofline_device device = cm_roofline_measured(limits);
    device.bandwidth_gbs = limits->bandwidth_gbs;
    device.fp32_gflops = limits->fp32_gflops;
    device.tensor_gflops = gops > 0 ? gops : limits->fp32_gflops;
    return device;
}

static void time_precision(struct stand *stand, const struct cm_machine_limits *limits,
                           const struct precision *precision)
{
    char group[GROUP_BYTES];
    stand->device = stand->options->device == CM_DEVICE_CPU
                        ? cpu_limits(limits, precision->precision)
                        : cm_roofline_measured(limits);
    for (const struct cm_timing_case *one = CM_TIMING_CASES; one->name != NULL; one++) {
        for (uint32_t i = 0; i < one->shapes_count && is_due(stand, one, precision, group); i++) {
            if (cm_backend_status(stand->backend, NULL) == CM_OK) {
                time_shape(stand, one, i, group);
            }
        }
    }
}

static enum cm_status open_backend(struct stand *stand, enum cm_precision precision,
                                   struct cm_error *error)
{
    const struct cm_backend_options options = { .precision = precision,
                                                .rows_max = stand->model->context,
                                                .device = stand->options->device,
                                                .device_index = stand->options->device_index };
    enum cm_status status = cm_backend_open(&options, &stand->backend, error);
    if (status == CM_OK) {
        stand->cache = cm_backend_alloc(stand->backend, stand->cache_bytes);
        if (stand->cache == NULL) {
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for timings");
        }
    }
    return status;
}

static void close_backend(struct stand *stand)
{
    if (stand->backend != NULL) {
        cm_backend_free(stand->backend, stand->cache);
    }
    cm_backend_close(stand->backend);
    stand->backend = NULL;
    stand->cache = NULL;
}

static bool is_any_due(const struct stand *stand, const struct precision *precision)
{
    char group[GROUP_BYTES];
    for (const struct cm_timing_case *one = CM_TIMING_CASES; one->name != NULL; one++) {
        if (is_due(stand, one, precision, group)) {
            return true;
        }
    }
    return false;
}

enum cm_status cm_selftest_timings(const struct cm_selftest_options *options,
                                   const struct cm_selftest_timing_sink *sink,
                                   struct cm_error *error)
{
    bool emulated = cm_selftest_is_emulated(options->device);
    bool cuda = options->device == CM_DEVICE_CUDA;
    struct stand stand = { .options = options,
                           .model = emulated ? &TOY
                                    : cuda   ? &LARGE
                                             : &SMALL,
                           .cache_bytes = emulated ? CACHE_BYTES_TOY
                                          : cuda   ? CACHE_BYTES_CUDA
                                                   : CACHE_BYTES,
                           .sink = sink };
    struct cm_selftest_stand found = { .model = stand.model->name, .is_emulated = emulated };
    enum cm_status status = CM_OK;
    bool is_measured = false;
    for (size_t i = 0; i < PRECISIONS_COUNT && (status == CM_OK || status == CM_UNSUPPORTED); i++) {
        if (!is_any_due(&stand, &precisions[i])) {
            continue;
        }
        status = open_backend(&stand, precisions[i].precision, error);
        if (status == CM_OK && !is_measured) {
            cm_backend_measure_limits(stand.backend, true, &found.limits);
            sink->begin(sink->context, &found);
            is_measured = true;
        }
        if (status == CM_OK) {
            time_precision(&stand, &found.limits, &precisions[i]);
        }
        close_backend(&stand);
    }
    return status == CM_UNSUPPORTED ? CM_OK : status;
}
