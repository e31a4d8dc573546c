/* The order of work. Requests wait in the order they came, are admitted when all the pages they can
 * ever need are free, prefill in chunks, decode one token a step, and stay until they are released.
 *
 * Each step fills one budget of rows: decode rows first, then prefill chunks of admitted requests,
 * oldest first. A request whose prompt begins like another's waits for the pages that the other is
 * computing instead of computing them again; the oldest never waits, so there is always progress.
 *
 *     plan -> (the engine discards and copies pages, runs the step, samples) -> complete
 *
 * Where steps run while the host goes on, the texts in flight are two waves, whose steps alternate:
 * one is on the device while the other's results are taken and its next step is planned. All goes
 * to the device in the order of planning, so what a step will have written counts as there as soon
 * as it is planned, and a page that one wave gives back can be the other's at once: whoever still
 * reads it stands before whoever writes it. A request stays in its wave; few texts are one wave.
 */
#ifndef CM_HOST_SCHEDULER_H
#define CM_HOST_SCHEDULER_H

#include "base/status.h"
#include "host/beam_search.h"
#include "host/engine.h"
#include "host/kv_pages.h"
#include "host/sequence.h"
#include "host/step_plan.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM_WAVES_MAX = 2 };

/* What the engine is to do: discard pages, copy pages, run the rows. Arrays belong to the scheduler
 * and last until the wave's next plan. The branches of a sequence stand together. */
struct cm_step_work {
    uint32_t wave;
    struct cm_step_sequence *rows;  /* [sequences_count] */
    struct cm_sequence **sequences; /* [sequences_count] whose rows they are, */
    uint32_t *branches;             /* [sequences_count] and of which branch */
    uint32_t sequences_count;
    int32_t *discarded; /* [discarded_count] pages whose content nobody may read any more */
    uint32_t discarded_count;
    struct cm_page_copy *copies;
    uint32_t copies_count;
    uint32_t prefill_rows;
    uint32_t decode_rows;
};

/* What was sampled where the last row wanted logits. */
struct cm_step_samples {
    const uint32_t *places; /* [sequences_count] of the work: where its results stand below */

    const int32_t *tokens; /* without beam search */
    const float *logprobs;

    /* With beam search, see cm_op_beam. */
    uint32_t candidates_max;         /* room of each place */
    const int32_t *candidate_tokens; /* [places, candidates_max] */
    const float *candidate_scores;
    const float *candidate_logprobs;
    const float *log_masses; /* [places] */
};

struct cm_scheduler;

struct cm_scheduler_options {
    uint32_t batch;    /* most texts in flight; a beam search has as many as beams */
    uint32_t rows_max; /* rows of a step; at least `batch` */
    uint32_t waves;    /* at most CM_WAVES_MAX; 0: one */
    uint32_t n_vocab;
    uint32_t context_tokens;
    const struct cm_tokenizer *tokenizer; /* for what ends a text; NULL: only its length does */
};

/* Borrows `pages`. */
enum cm_status cm_scheduler_open(const struct cm_scheduler_options *options,
                                 struct cm_kv_pages *pages,
                                 struct cm_scheduler **scheduler) CM_MUST_CHECK;
void cm_scheduler_close(struct cm_scheduler *scheduler);

/* Whether the request can ever be taken: the errors of cm_engine_submit but CM_FULL. */
enum cm_status cm_scheduler_check(const struct cm_scheduler *scheduler,
                                  const struct cm_request *request,
                                  struct cm_error *error) CM_MUST_CHECK;

/* As in engine.h. */
enum cm_status cm_scheduler_submit(struct cm_scheduler *scheduler, const struct cm_request *request,
                                   struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_scheduler_finished(struct cm_scheduler *scheduler,
                                     struct cm_result *result) CM_MUST_CHECK;
const struct cm_beam_text *cm_scheduler_beam(const struct cm_scheduler *scheduler, uint64_t id,
                                             uint32_t index);
void cm_scheduler_release(struct cm_scheduler *scheduler, uint64_t id);
enum cm_status cm_scheduler_retry(struct cm_scheduler *scheduler, uint64_t id,
                                  const struct cm_retry *retry,
                                  struct cm_error *error) CM_MUST_CHECK;

/* Admits what fits and lays out the wave's next step; its last must be complete. CM_END: nothing is
 * left to compute in any wave. Work without rows: for now all waits for the other wave; pages are
 * to be discarded and copied nevertheless, and there is nothing to complete. */
enum cm_status cm_scheduler_plan(struct cm_scheduler *scheduler, uint32_t wave,
                                 struct cm_step_work *work) CM_MUST_CHECK;

/* The step ran. Steps complete in the order of planning. */
void cm_scheduler_complete(struct cm_scheduler *scheduler, const struct cm_step_work *work,
                           const struct cm_step_samples *samples);

/* Fills the counters that the scheduler knows of. */
void cm_scheduler_counters(const struct cm_scheduler *scheduler,
                           struct cm_engine_counters *counters);

#endif
