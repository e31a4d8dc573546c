/* The order of work. Requests wait in the order they came, are admitted when all the pages they can
 * ever need are free, prefill in chunks, decode one token a step, and stay until they are released.
 *
 * Each step fills one budget of rows: decode rows first, then prefill chunks of admitted requests,
 * oldest first. A request whose prompt begins like another's waits for the pages that the other is
 * computing instead of computing them again; the oldest never waits, so there is always progress.
 *
 *     plan -> (the engine copies pages, runs the step, samples) -> complete
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

/* What the engine is to do. Arrays belong to the scheduler and last until the next plan. The
 * branches of a sequence stand together. */
struct cm_step_work {
    struct cm_step_sequence *rows;  /* [sequences_count] */
    struct cm_sequence **sequences; /* [sequences_count] whose rows they are, */
    uint32_t *branches;             /* [sequences_count] and of which branch */
    uint32_t sequences_count;
    struct cm_page_copy *copies;
    uint32_t copies_count;
    uint32_t prefill_rows;
    uint32_t decode_rows;
};

/* What was sampled, by index of the work's sequences: only where the last row wanted logits. */
struct cm_step_samples {
    int32_t *tokens; /* without beam search */
    float *logprobs;

    /* With beam search, see cm_op_beam. */
    uint32_t candidates_max;   /* room of each sequence */
    int32_t *candidate_tokens; /* [sequences_count, candidates_max] */
    float *candidate_scores;
    float *candidate_logprobs;
    float *log_masses; /* [sequences_count] */
};

struct cm_scheduler;

struct cm_scheduler_options {
    uint32_t batch;    /* most texts in flight; a beam search has as many as beams */
    uint32_t rows_max; /* rows of a step; at least `batch` */
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

/* Admits what fits and lays out the next step. CM_END: nothing is left to compute. */
enum cm_status cm_scheduler_plan(struct cm_scheduler *scheduler,
                                 struct cm_step_work *work) CM_MUST_CHECK;

/* The step ran. */
void cm_scheduler_complete(struct cm_scheduler *scheduler, const struct cm_step_work *work,
                           const struct cm_step_samples *samples);

/* Fills the counters that the scheduler knows of. */
void cm_scheduler_counters(const struct cm_scheduler *scheduler,
                           struct cm_engine_counters *counters);

#endif
