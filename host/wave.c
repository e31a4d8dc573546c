#include "host/wave.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

/* Where a step's attention ends is part of what is recorded: by powers of two, from this on. */
enum { POSITIONS_MIN = 512 };

struct cm_wave {
    struct cm_backend *backend;
    struct cm_wave_options options;
    uint32_t padding_rows;
    uint64_t key; /* of the recording that the described step is or becomes; 0: none */
    struct cm_step_work work;
    struct cm_step_sequence *own_rows; /* [batch] of work that is followed; NULL: none is */
    struct cm_forward *forward;        /* of the step in flight */
    struct cm_step_plan *plan;
    struct cm_sampler *sampler;
    struct cm_fence *fence; /* behind its results */
    bool in_flight;
    double submitted_s;
};

enum cm_status cm_wave_open(struct cm_backend *backend, const struct cm_wave_options *options,
                            struct cm_wave **wave, struct cm_error *error)
{
    struct cm_wave *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->backend = backend;
    opened->options = *options;
    enum cm_status status = cm_step_plan_open(backend, options->rows_max, options->sampler.batch,
                                              options->sampler.context_tokens, &opened->plan);
    if (status == CM_OK) {
        status = cm_sampler_open(backend, &options->sampler, &opened->sampler);
    }
    if (status == CM_OK && options->follows) {
        opened->own_rows = cm_alloc(options->sampler.batch, sizeof *opened->own_rows);
        status = opened->own_rows != NULL ? CM_OK : CM_OUT_OF_MEMORY;
    }
    if (status != CM_OK) {
        cm_wave_close(opened);
        return cm_error_set(error, status,
                            "out of memory for the tables of a step of %u texts; try a smaller "
                            "--batch or --max-length",
                            options->sampler.batch);
    }
    status = cm_fence_create(backend, &opened->fence, error);
    if (status != CM_OK) {
        cm_wave_close(opened);
        return status;
    }
    *wave = opened;
    return CM_OK;
}

void cm_wave_close(struct cm_wave *wave)
{
    if (wave == NULL) {
        return;
    }
    if (wave->in_flight) {
        cm_fence_wait(wave->fence);
    }
    cm_fence_close(wave->fence);
    cm_sampler_close(wave->sampler);
    cm_step_plan_close(wave->plan);
    cm_free(wave->own_rows);
    cm_free(wave);
}

struct cm_step_work *cm_wave_work(struct cm_wave *wave)
{
    return &wave->work;
}

/* The plan notes in the rows where they stand, so they cannot be shared. */
void cm_wave_follow(struct cm_wave *wave, const struct cm_step_work *work)
{
    CM_ASSERT(!wave->in_flight && wave->own_rows != NULL);
    wave->work = *work;
    wave->work.rows = wave->own_rows;
    memcpy(wave->own_rows, work->rows, work->sequences_count * sizeof *work->rows);
}

struct cm_step_plan *cm_wave_plan(struct cm_wave *wave)
{
    CM_ASSERT(!wave->in_flight);
    return wave->plan;
}

bool cm_wave_in_flight(const struct cm_wave *wave)
{
    return wave->in_flight;
}

uint32_t cm_wave_padding_rows(const struct cm_wave *wave)
{
    return wave->padding_rows;
}

double cm_wave_submitted_s(const struct cm_wave *wave)
{
    return wave->submitted_s;
}

/* Rows that a step of `rows` is filled up to: every multiple of a chunk of attention is one of
 * them, and less than CM_PADDING_ROWS_MAX are added. */
static uint32_t bucket_of(uint32_t rows)
{
    uint32_t grain = rows <= 64 ? 8 : rows <= 256 ? 16 : 32;
    if (rows > 4) {
        return (rows + grain - 1) / grain * grain;
    }
    return rows == 3 ? 4 : rows;
}

/* Fills a step of decoding alone up to its bucket; returns the key of its recording, 0: it runs op
 * by op. So do steps with prompt tokens, which are of all sizes and keep the device busy longer
 * than the host needs for their launches, and those where beam searches stand beside other texts,
 * in ever other numbers. */
static uint64_t fit_to_recording(struct cm_wave *wave)
{
    const struct cm_wave_options *options = &wave->options;
    struct cm_step_plan *plan = wave->plan;
    uint32_t rows = bucket_of(plan->n_rows);
    uint32_t width = cm_sampler_width(wave->sampler);
    wave->padding_rows = 0;
    if (!options->records || wave->work.prefill_rows > 0 || width == CM_SAMPLER_MIXED) {
        return 0;
    }
    uint32_t context_tokens = options->sampler.context_tokens;
    uint32_t positions_end = POSITIONS_MIN;
    uint64_t doublings = 0;
    for (; positions_end < plan->positions_end; doublings++) {
        positions_end = positions_end <= context_tokens / 2 ? 2 * positions_end : context_tokens;
    }
    wave->padding_rows = rows - plan->n_rows;
    cm_step_plan_pad(plan, rows, options->spare_page);
    cm_sampler_pad(wave->sampler, rows);
    plan->positions_end = positions_end;
    return (uint64_t)(options->index + 1) << 56 | doublings << 48 | (uint64_t)width << 32 | rows;
}

static void run_ops(struct cm_wave *wave, struct cm_forward *forward)
{
    cm_backend_range_begin(wave->backend, "step");
    cm_forward_step(forward, wave->plan);
    cm_backend_range_end(wave->backend);
    cm_backend_range_begin(wave->backend, "sample");
    cm_sampler_run(wave->sampler, forward, wave->plan);
    cm_backend_range_end(wave->backend);
}

static void run(struct cm_wave *wave, struct cm_forward *forward)
{
    uint64_t key = wave->key;
    if (key != 0 && cm_backend_replay(wave->backend, key)) {
        return;
    }
    bool records = key != 0 && cm_backend_record_begin(wave->backend, key);
    run_ops(wave, forward);
    if (records && !cm_backend_record_end(wave->backend)) {
        run_ops(wave, forward);
    }
}

enum cm_status cm_wave_describe(struct cm_wave *wave, struct cm_error *error)
{
    CM_ASSERT(!wave->in_flight);
    struct cm_step_work *work = &wave->work;
    cm_backend_range_begin(wave->backend, "describe");
    cm_step_plan_build(wave->plan, work->rows, work->sequences_count);
    enum cm_status status = cm_sampler_describe(wave->sampler, work, wave->plan);
    cm_backend_range_end(wave->backend);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory for the constraints of a step");
    }
    wave->key = fit_to_recording(wave);
    return CM_OK;
}

void cm_wave_submit(struct cm_wave *wave, struct cm_forward *forward)
{
    CM_ASSERT(!wave->in_flight);
    wave->submitted_s = cm_clock_s();
    cm_step_plan_send(wave->plan);
    cm_sampler_send(wave->sampler);
    run(wave, forward);
    cm_sampler_fetch(wave->sampler);
    cm_fence_record(wave->fence);
    wave->forward = forward;
    wave->in_flight = true;
}

enum cm_status cm_wave_wait(struct cm_wave *wave, const struct cm_step_samples **samples,
                            struct cm_error *error)
{
    CM_ASSERT(wave->in_flight);
    cm_backend_range_begin(wave->backend, "wait");
    cm_fence_wait(wave->fence);
    cm_backend_range_end(wave->backend);
    enum cm_status status = cm_backend_status(wave->backend, error);
    if (status == CM_OK && cm_sampler_settle(wave->sampler, wave->forward, wave->plan)) {
        cm_sampler_fetch(wave->sampler);
        cm_fence_record(wave->fence);
        cm_fence_wait(wave->fence);
        status = cm_backend_status(wave->backend, error);
    }
    wave->in_flight = false;
    *samples = cm_sampler_samples(wave->sampler);
    return status;
}
