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
#include "host/engine.h"
#include "host/kv_pages.h"
#include "host/sequence.h"
#include "host/step_plan.h"

#include <stdbool.h>
#include <stdint.h>

/* Copy the first `tokens` positions of one page to another before the step runs. */
struct cm_page_copy {
    int32_t from;
    int32_t to;
    uint32_t tokens;
};

/* What the engine is to do. Arrays belong to the scheduler and last until the next plan. */
struct cm_step_work {
    struct cm_step_sequence *rows; /* [sequences_count] */
    struct cm_sequence **sequences;
    uint32_t sequences_count;
    struct cm_page_copy *copies;
    uint32_t copies_count;
    uint32_t prefill_rows;
    uint32_t decode_rows;
};

struct cm_scheduler;

struct cm_scheduler_options {
    uint32_t batch;    /* most requests in flight */
    uint32_t rows_max; /* rows of a step; at least `batch` */
    uint32_t n_vocab;
    uint32_t context_tokens;
    const struct cm_tokenizer *tokenizer; /* for the tokens that end a text */
};

/* Borrows `pages`. */
enum cm_status cm_scheduler_open(const struct cm_scheduler_options *options,
                                 struct cm_kv_pages *pages,
                                 struct cm_scheduler **scheduler) CM_MUST_CHECK;
void cm_scheduler_close(struct cm_scheduler *scheduler);

/* As in engine.h. */
enum cm_status cm_scheduler_submit(struct cm_scheduler *scheduler, const struct cm_request *request,
                                   struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_scheduler_finished(struct cm_scheduler *scheduler,
                                     struct cm_result *result) CM_MUST_CHECK;
void cm_scheduler_release(struct cm_scheduler *scheduler, uint64_t id);
enum cm_status cm_scheduler_retry(struct cm_scheduler *scheduler, uint64_t id, uint32_t attempt,
                                  const struct cm_sampling *sampling,
                                  struct cm_error *error) CM_MUST_CHECK;

/* Admits what fits and lays out the next step. CM_END: nothing is left to compute. */
enum cm_status cm_scheduler_plan(struct cm_scheduler *scheduler,
                                 struct cm_step_work *work) CM_MUST_CHECK;

/* The step ran. `tokens[i]` and `logprobs[i]` belong to work->sequences[i] where its last row
 * wanted logits; the others are ignored. */
void cm_scheduler_complete(struct cm_scheduler *scheduler, const struct cm_step_work *work,
                           const int32_t *tokens, const float *logprobs);

/* Fills the counters that the scheduler knows of. */
void cm_scheduler_counters(const struct cm_scheduler *scheduler,
                           struct cm_engine_counters *counters);

#endif
