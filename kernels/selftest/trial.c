#include "kernels/selftest/trial.h"

#include "base/memory.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- Failures --- */

bool cm_trial_failed(const struct cm_trial *trial)
{
    return trial->failure[0] != '\0';
}

void cm_trial_fail(struct cm_trial *trial, const char *format, ...)
{
    va_list arguments;
    if (cm_trial_failed(trial)) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(trial->failure, sizeof trial->failure, format, arguments);
    va_end(arguments);
}

/* --- Memory --- */

/* splitmix64 */
static float random_number(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t mixed = *state;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return (float)((mixed ^ mixed >> 31) >> 40) * 0x1p-23f - 1.0f;
}

void cm_trial_numbers(uint64_t seed, size_t count, float scale, float *numbers)
{
    for (size_t i = 0; i < count; i++) {
        numbers[i] = scale * random_number(&seed);
    }
}

/* The float16 fields of a block: 2^-7 to 2^-6, or less by up to 8. */
static void set_scales(enum cm_dtype dtype, uint8_t *block)
{
    uint8_t *scale = dtype == CM_Q6_K ? block + 208 : block;
    scale[1] = 0x20 | (scale[1] & 7);
    if (cm_quants_has_offset(dtype)) {
        block[3] = 0x20 | (block[3] & 7);
    }
}

void *cm_trial_weights(enum cm_dtype dtype, size_t bytes, uint64_t seed)
{
    const struct cm_dtype_info *info = cm_dtype_info(dtype);
    uint8_t *weights = cm_alloc(bytes, 1);
    for (size_t i = 0; weights != NULL && i < bytes; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        weights[i] = (uint8_t)(seed >> 56);
    }
    for (size_t at = 0; weights != NULL && at < bytes; at += info->block_bytes) {
        uint8_t *block = weights + at;
        uint8_t *last = &block[info->block_bytes - 1];
        if (cm_quants_is_block_type(dtype)) {
            set_scales(dtype, block);
        } else if (dtype == CM_F16) {
            *last = (*last & 0x83) | 0x3c;
        } else { /* the exponent of 1 */
            last[-1] |= 0x80;
            *last = (*last & 0x80) | 0x3f;
        }
    }
    return weights;
}

static void *reserve(struct cm_trial *trial, size_t bytes)
{
    CM_ASSERT(trial->buffers_count < CM_TRIAL_BUFFERS_MAX);
    void *memory = cm_backend_alloc(trial->backend, bytes);
    if (memory == NULL) {
        struct cm_error error = { 0 };
        if (cm_backend_status(trial->backend, &error) == CM_OK) {
            cm_trial_fail(trial, "no memory for %zu bytes", bytes);
        } else {
            cm_trial_fail(trial, "%.200s", error.message);
        }
        return NULL;
    }
    trial->buffers[trial->buffers_count++] = memory;
    return memory;
}

void *cm_trial_input(struct cm_trial *trial, const void *host, size_t bytes)
{
    void *memory = reserve(trial, bytes);
    if (memory != NULL) {
        cm_backend_upload(trial->backend, memory, host, bytes);
    }
    return memory;
}

float *cm_trial_random(struct cm_trial *trial, uint64_t seed, size_t count, float scale)
{
    float *numbers = cm_alloc(count, sizeof *numbers);
    if (numbers == NULL) {
        cm_trial_fail(trial, "out of memory");
        return NULL;
    }
    cm_trial_numbers(seed, count, scale, numbers);
    float *memory = cm_trial_input(trial, numbers, count * sizeof *numbers);
    cm_free(numbers);
    return memory;
}

/* --- Results --- */

static void add_result(struct cm_trial *trial, const struct cm_trial_result *result)
{
    CM_ASSERT(trial->results_count < CM_TRIAL_RESULTS_MAX);
    trial->results[trial->results_count++] = *result;
}

/* Four bytes of ones are NaN and -1. */
static void *reserve_unset(struct cm_trial *trial, size_t count)
{
    unsigned char *ones = cm_alloc(count, sizeof(float));
    if (ones == NULL) {
        cm_trial_fail(trial, "out of memory");
        return NULL;
    }
    memset(ones, 0xFF, count * sizeof(float));
    void *memory = cm_trial_input(trial, ones, count * sizeof(float));
    cm_free(ones);
    return memory;
}

float *cm_trial_floats(struct cm_trial *trial, const char *name, size_t count, double absolute,
                       double relative)
{
    float *memory = reserve_unset(trial, count);
    cm_trial_expose(trial, name, memory, count, absolute, relative);
    return memory;
}

int32_t *cm_trial_ids(struct cm_trial *trial, const char *name, size_t count)
{
    int32_t *memory = reserve_unset(trial, count);
    add_result(trial, &(struct cm_trial_result){ .name = name, .device = memory, .count = count });
    return memory;
}

void cm_trial_expose(struct cm_trial *trial, const char *name, const float *device, size_t count,
                     double absolute, double relative)
{
    add_result(trial, &(struct cm_trial_result){ .name = name,
                                                 .device = device,
                                                 .count = count,
                                                 .is_float = true,
                                                 .absolute = absolute,
                                                 .relative = relative });
}

void cm_trial_begin(struct cm_trial *trial)
{
    if (trial->mode != NULL) {
        trial->mode->begin(trial);
    }
}

/* Waits for the device, so that a case may give back what its ops use. */
void cm_trial_end(struct cm_trial *trial)
{
    float word;
    if (trial->mode != NULL) {
        trial->mode->end(trial);
    }
    cm_backend_download(trial->backend, &word, trial->buffers[0], sizeof word);
}

void cm_trial_same(struct cm_trial *trial, const char *what, const float *left, const float *right,
                   size_t count)
{
    float *both = cm_alloc(2 * count, sizeof *both);
    if (both == NULL) {
        cm_trial_fail(trial, "out of memory");
        return;
    }
    cm_backend_download(trial->backend, both, left, count * sizeof *both);
    cm_backend_download(trial->backend, both + count, right, count * sizeof *both);
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&both[i], &both[count + i], sizeof *both) != 0) {
            cm_trial_fail(trial, "%s: element %zu is %.9g in company and %.9g alone", what, i,
                          (double)both[count + i], (double)both[i]);
            break;
        }
    }
    cm_free(both);
}

void cm_trial_collect(struct cm_trial *trial)
{
    for (uint32_t i = 0; i < trial->results_count && !cm_trial_failed(trial); i++) {
        struct cm_trial_result *result = &trial->results[i];
        result->host = cm_alloc(result->count, sizeof(float));
        if (result->host == NULL) {
            cm_trial_fail(trial, "out of memory");
            return;
        }
        cm_backend_download(trial->backend, result->host, result->device,
                            result->count * sizeof(float));
    }
    struct cm_error error = { 0 };
    if (cm_backend_status(trial->backend, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
}

static double error_of(const struct cm_trial_result *actual, const struct cm_trial_result *expected,
                       size_t i)
{
    if (!actual->is_float) {
        return ((const int32_t *)actual->host)[i] == ((const int32_t *)expected->host)[i]
                   ? 0.0
                   : INFINITY;
    }
    double value = ((const float *)actual->host)[i];
    double wanted = ((const float *)expected->host)[i];
    if (isnan(wanted) || isinf(wanted)) {
        return (isnan(value) && isnan(wanted)) || value == wanted ? 0.0 : INFINITY;
    }
    double error = fabs(value - wanted) / (actual->absolute + actual->relative * fabs(wanted));
    return isnan(error) ? INFINITY : error;
}

double cm_trial_compare(const struct cm_trial *trial, const struct cm_trial *oracle, char *detail,
                        size_t detail_bytes)
{
    double worst = 0;
    CM_ASSERT(trial->results_count == oracle->results_count);
    for (uint32_t r = 0; r < trial->results_count; r++) {
        const struct cm_trial_result *actual = &trial->results[r];
        const struct cm_trial_result *expected = &oracle->results[r];
        for (size_t i = 0; i < actual->count; i++) {
            double error = error_of(actual, expected, i);
            if (error > worst) {
                worst = error;
                if (actual->is_float) {
                    snprintf(detail, detail_bytes, "%s[%zu] is %.7g, on the CPU %.7g", actual->name,
                             i, (double)((const float *)actual->host)[i],
                             (double)((const float *)expected->host)[i]);
                } else {
                    snprintf(detail, detail_bytes, "%s[%zu] is %d, on the CPU %d", actual->name, i,
                             ((const int32_t *)actual->host)[i],
                             ((const int32_t *)expected->host)[i]);
                }
            }
        }
    }
    return worst;
}

void cm_trial_deinit(struct cm_trial *trial)
{
    for (uint32_t i = 0; i < trial->buffers_count; i++) {
        cm_backend_free(trial->backend, trial->buffers[i]);
    }
    for (uint32_t i = 0; i < trial->results_count; i++) {
        cm_free(trial->results[i].host);
    }
    *trial = (struct cm_trial){ 0 };
}

/* --- The driver --- */

/* One shape on both sides; the error as a share of what is allowed. */
static double run_shape(const struct cm_trial_stand *stand, const struct cm_trial_case *one,
                        uint32_t shape, char *detail)
{
    enum cm_precision precision = cm_backend_precision(stand->backend);
    struct cm_trial expected = { .backend = stand->oracle, .precision = precision };
    struct cm_trial actual = { .backend = stand->backend,
                               .precision = precision,
                               .mode = stand->mode };
    double error = INFINITY;
    one->run(&expected, shape);
    cm_trial_collect(&expected);
    one->run(&actual, shape);
    cm_trial_collect(&actual);
    if (cm_trial_failed(&expected)) {
        snprintf(detail, CM_SELFTEST_TEXT_BYTES, "on the CPU: %.200s", expected.failure);
    } else if (cm_trial_failed(&actual)) {
        snprintf(detail, CM_SELFTEST_TEXT_BYTES, "%s", actual.failure);
    } else {
        error = cm_trial_compare(&actual, &expected, detail, CM_SELFTEST_TEXT_BYTES);
    }
    cm_trial_deinit(&expected);
    cm_trial_deinit(&actual);
    return error;
}

/* Every `step`-th shape, up to the first that is wrong. */
static void run_case(const struct cm_trial_stand *stand, const struct cm_trial_case *one,
                     uint32_t step, struct cm_selftest_answer *answer)
{
    char detail[CM_SELFTEST_TEXT_BYTES] = "";
    double worst = 0;
    uint32_t shapes_count = 0;
    for (uint32_t shape = 0; shape < one->shapes_count; shape += step) {
        double error = run_shape(stand, one, shape, detail);
        worst = error > worst ? error : worst;
        shapes_count++;
        if (worst > 1) {
            answer->outcome = CM_SELFTEST_FAILED;
            snprintf(answer->detail, sizeof answer->detail, "shape %u of %u: %.200s", shape + 1,
                     one->shapes_count, detail);
            return;
        }
    }
    snprintf(answer->detail, sizeof answer->detail,
             "%u shape%s, greatest error %.0f %% of what is allowed", shapes_count,
             shapes_count == 1 ? "" : "s", 100 * worst);
}

bool cm_trial_is_wanted(const struct cm_trial_stand *stand, const char *group, const char *name)
{
    return stand->only == NULL || strstr(group, stand->only) != NULL ||
           strstr(name, stand->only) != NULL;
}

void cm_trial_cases(const struct cm_trial_stand *stand, const char *group,
                    const struct cm_trial_case *cases)
{
    for (const struct cm_trial_case *one = cases; one->name != NULL; one++) {
        struct cm_selftest_answer answer = { .group = group, .name = one->name };
        uint32_t step = stand->mode == NULL ? 1 : one->graph_step;
        step = stand->quick && one->shapes_count > 4 ? 4 * step : step;
        if (step > 0 && cm_trial_is_wanted(stand, group, one->name)) {
            run_case(stand, one, step, &answer);
            stand->sink(stand->context, &answer);
        }
    }
}
