/* One step on its way through the device: its work, its tables on both sides, what came out of it.
 *
 *     cm_scheduler_plan(..., cm_wave_work(wave)) -> describe -> submit -> (anything else) -> wait
 * -> complete
 *
 * A replica on a device that computes by itself has two, so that the host's part of one step goes
 * on while the device is at the other. They share the activations, the pages and everything else:
 * all goes to the device in one order.
 *
 * Describing is all that may allocate, fail or wait for a device, and does so only in the first
 * steps, until the lists of ids have their size. Devices that compute together submit when all have
 * described: a driver may let an allocation wait for every device, also for one that waits in a
 * collective for the rank that allocates. */
#ifndef CM_HOST_WAVE_H
#define CM_HOST_WAVE_H

#include "base/status.h"
#include "host/forward.h"
#include "host/sampler.h"
#include "host/scheduler.h"

struct cm_wave;

struct cm_wave_options {
    uint32_t index;    /* of the waves that share the back end */
    uint32_t rows_max; /* of a step */
    bool follows;      /* cm_wave_follow is called */
    bool records;      /* steps of decoding alone are recorded and run again (cm_backend_replay) */
    uint32_t spare_page; /* with `records`: the first of CM_SPARE_PAGES that belong to nobody */
    struct cm_sampler_options sampler;
};

enum { CM_SPARE_PAGES = CM_PADDING_ROWS_MAX / CM_PAGE_TOKENS };

/* Borrows the back end. */
enum cm_status cm_wave_open(struct cm_backend *backend, const struct cm_wave_options *options,
                            struct cm_wave **wave, struct cm_error *error) CM_MUST_CHECK;
void cm_wave_close(struct cm_wave *wave); /* NULL is fine; waits for its step */

/* What the scheduler fills; not while the step is in flight. */
struct cm_step_work *cm_wave_work(struct cm_wave *wave);

/* Takes over another wave's work, for a device that computes the same step. */
void cm_wave_follow(struct cm_wave *wave, const struct cm_step_work *work);

/* Its tables, for who runs rows without the scheduler; not while a step is in flight. */
struct cm_step_plan *cm_wave_plan(struct cm_wave *wave);

bool cm_wave_in_flight(const struct cm_wave *wave);
uint32_t cm_wave_padding_rows(const struct cm_wave *wave); /* of its last step */
double cm_wave_submitted_s(const struct cm_wave *wave);    /* by cm_clock_s */

/* Lays out the step of cm_wave_work in host memory. CM_OUT_OF_MEMORY: its lists of ids are longer
 * than any before, and there is no room. */
enum cm_status cm_wave_describe(struct cm_wave *wave, struct cm_error *error) CM_MUST_CHECK;

/* Hands the step that was described to the device. */
void cm_wave_submit(struct cm_wave *wave, struct cm_forward *forward);

/* Waits for the step's results, valid until the next submission. CM_DEVICE_FAILED. */
enum cm_status cm_wave_wait(struct cm_wave *wave, const struct cm_step_samples **samples,
                            struct cm_error *error) CM_MUST_CHECK;

#endif
