#include "kernels/selftest/selftest.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/selftest/trial.h"

#include <stdio.h>
#include <string.h>

#if defined(COPYMILL_CUDA)
#include "kernels/cuda/selftest.h"
#endif

/* What a precision changes: products, and the type of the cache, which others have too. */
static const struct precision {
    enum cm_precision precision;
    enum cm_precision oracle; /* of the CPU, for a CUDA device */
    const char *group;
    const char *graph_group; /* NULL: the kernels are those of another precision */
    bool has_all;            /* row ops and sampling are run under it */
    bool has_blocks;         /* it holds all block types as plain C does */
    bool has_cache;
} precisions[] = {
    { CM_PRECISION_EXACT, CM_PRECISION_EXACT, "op exact", "graph exact", true, true, true },
    { CM_PRECISION_BF16, CM_PRECISION_BF16, "op bf16", "graph bf16", false, true, true },
    { CM_PRECISION_INT8, CM_PRECISION_EXACT, "op int8", "graph int8", false, true, false },
    { CM_PRECISION_FP16, CM_PRECISION_EXACT, "op fp16", NULL, false, false, false },
    { CM_PRECISION_INT4, CM_PRECISION_EXACT, "op int4", NULL, false, true, false },
    { CM_PRECISION_FP8, CM_PRECISION_EXACT, "op fp8", "graph fp8", false, false, true },
};

enum {
    PRECISIONS_COUNT = sizeof precisions / sizeof precisions[0],
    CPU_PRECISIONS_COUNT = 3,
    ROWS_MAX = 600,
};

static void run_cases(const struct cm_trial_stand *stand, const struct precision *precision,
                      const char *group)
{
    if (precision->has_all) {
        cm_trial_cases(stand, group, CM_ROW_CASES);
        cm_trial_cases(stand, group, CM_SAMPLE_CASES);
    }
    cm_trial_cases(stand, group, CM_MATMUL_CASES);
    if (precision->has_blocks) {
        cm_trial_cases(stand, group, CM_BLOCK_CASES);
    }
    if (precision->has_cache) {
        cm_trial_cases(stand, group, CM_ATTENTION_CASES);
    }
}

static enum cm_status open_oracle(enum cm_precision precision, struct cm_backend **oracle,
                                  struct cm_error *error)
{
    const struct cm_backend_options options = { .precision = precision, .rows_max = ROWS_MAX };
    return cm_cpu_backend_open(&options, CM_CPU_PORTABLE, oracle, error);
}

/* --- The CPU: each instruction set against plain C --- */

static enum cm_status run_set(enum cm_cpu_isa isa, const struct precision *precision,
                              struct cm_trial_stand stand, struct cm_error *error)
{
    const struct cm_backend_options options = { .precision = precision->precision,
                                                .rows_max = ROWS_MAX };
    enum cm_status status = open_oracle(precision->precision, &stand.oracle, error);
    if (status == CM_OK) {
        status = cm_cpu_backend_open(&options, isa, &stand.backend, error);
    }
    /* The best set is for one precision; the others are the set before. */
    if (status == CM_OK && stand.backend->isa == isa) {
        run_cases(&stand, precision, cm_backend_variant(stand.backend));
    }
    cm_backend_close(stand.backend);
    cm_backend_close(stand.oracle);
    return status;
}

static enum cm_status run_on_cpu(const struct cm_trial_stand *stand, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (int isa = CM_CPU_PORTABLE + 1; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (size_t i = 0; i < CPU_PRECISIONS_COUNT && status == CM_OK; i++) {
            status = run_set((enum cm_cpu_isa)isa, &precisions[i], *stand, error);
        }
    }
    return status;
}

/* --- A CUDA device --- */

#if defined(COPYMILL_CUDA)
static enum cm_status run_precision(uint32_t device_index, const struct precision *precision,
                                    struct cm_trial_stand stand, struct cm_error *error)
{
    const struct cm_backend_options options = { .precision = precision->precision,
                                                .rows_max = ROWS_MAX,
                                                .device = CM_DEVICE_CUDA,
                                                .device_index = device_index };
    enum cm_status status = cm_backend_open(&options, &stand.backend, error);
    if (status != CM_OK) {
        return status;
    }
    status = open_oracle(precision->oracle, &stand.oracle, error);
    if (status == CM_OK) {
        run_cases(&stand, precision, precision->group);
        stand.mode = &CM_CUDA_GRAPH_MODE;
    }
    if (status == CM_OK && !stand.quick && precision->graph_group != NULL) {
        run_cases(&stand, precision, precision->graph_group);
    }
    cm_backend_close(stand.oracle);
    cm_backend_close(stand.backend);
    return status;
}

/* What this device lacks is said instead of tested. */
static void skip_precision(const struct precision *precision, const struct cm_trial_stand *stand,
                           const struct cm_error *reason)
{
    struct cm_selftest_answer answer = { .group = precision->group,
                                         .name = "all",
                                         .outcome = CM_SELFTEST_SKIPPED };
    snprintf(answer.detail, sizeof answer.detail, "%.250s", reason->message);
    if (cm_trial_is_wanted(stand, precision->group, "all")) {
        stand->sink(stand->context, &answer);
    }
}

static enum cm_status run_on_cuda(uint32_t device_index, const struct cm_trial_stand *stand,
                                  struct cm_error *error)
{
    enum cm_status status = cm_cuda_selftest_wrappers(device_index, stand, error);
    for (size_t i = 0; i < PRECISIONS_COUNT && status == CM_OK; i++) {
        status = run_precision(device_index, &precisions[i], *stand, error);
        if (status == CM_UNSUPPORTED && i > 0) {
            skip_precision(&precisions[i], stand, error);
            status = CM_OK;
        }
    }
    return status;
}
#endif

enum cm_status cm_selftest_run(const struct cm_selftest_options *options, cm_selftest_sink *sink,
                               void *context, struct cm_error *error)
{
    const struct cm_trial_stand stand = {
        .only = options->only, .quick = options->quick, .sink = sink, .context = context
    };
    if (options->device == CM_DEVICE_CPU) {
        return run_on_cpu(&stand, error);
    }
#if defined(COPYMILL_CUDA)
    return run_on_cuda(options->device_index, &stand, error);
#else
    return cm_error_set(error, CM_UNSUPPORTED,
                        "this copymill was built without CUDA: build the preset cuda");
#endif
}

void cm_selftest_describe(enum cm_device device, uint32_t device_index, char *text,
                          size_t text_bytes)
{
    if (device == CM_DEVICE_CPU) {
        snprintf(text, text_bytes, "instruction set: %s\n", cm_cpu_isa_name(cm_cpu_isa_best()));
        return;
    }
#if defined(COPYMILL_CUDA)
    cm_cuda_describe(device_index, text, text_bytes);
#else
    (void)device_index;
    text[0] = '\0';
#endif
}
