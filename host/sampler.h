/* From the rows of a step that want logits to their next tokens, or to the candidates of a beam
 * search: the head, then the back end's sampler, for CM_LOGITS_ROWS_MAX rows at a time. A row's
 * random numbers are a pure function of its seed, its attempt, the output position and the beam
 * (philox.h).
 *
 *     describe -> send -> run -> fetch -> (a fence) -> samples
 *
 * One sampler belongs to one step in flight. */
#ifndef CM_HOST_SAMPLER_H
#define CM_HOST_SAMPLER_H

#include "base/status.h"
#include "host/forward.h"
#include "host/scheduler.h"

struct cm_sampler;

struct cm_sampler_options {
    uint32_t n_vocab;
    uint32_t batch;             /* most rows of a step that want logits */
    uint32_t context_tokens;    /* of one text */
    uint32_t stop_tokens_count; /* that a beam search has to think of */
};

enum cm_status cm_sampler_open(struct cm_backend *backend, const struct cm_sampler_options *options,
                               struct cm_sampler **sampler) CM_MUST_CHECK;
void cm_sampler_close(struct cm_sampler *sampler);

/* What each row that wants logits asks for, in host memory; completes plan->logits_rows.
 * CM_OUT_OF_MEMORY: the lists of the step are longer than any before. */
enum cm_status cm_sampler_describe(struct cm_sampler *sampler, const struct cm_step_work *work,
                                   struct cm_step_plan *plan) CM_MUST_CHECK;

/* What the ops of the described step depend on besides the number of rows: candidates of each row
 * of beam searches, 0: there is none. CM_SAMPLER_MIXED: beam searches stand beside other texts. */
enum { CM_SAMPLER_MIXED = UINT16_MAX };
uint32_t cm_sampler_width(const struct cm_sampler *sampler);

/* Adds greedy rows that nobody reads, for those of cm_step_plan_pad; not to a mixed step. */
void cm_sampler_pad(struct cm_sampler *sampler, uint32_t rows_count);

/* Sends what was described to the device, without waiting (see cm_backend_send). */
void cm_sampler_send(struct cm_sampler *sampler);

/* Logits and tokens of the step that `forward` has just run: ops only. */
void cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                    const struct cm_step_plan *plan);

/* Where several devices share the vocabulary they exchange candidates, which may leave a row
 * undecided (see cm_op_sample_split). True: there is one; then all rows were sampled again, from
 * the whole vocabulary, and have to be fetched once more. The results must be there. */
bool cm_sampler_settle(struct cm_sampler *sampler, struct cm_forward *forward,
                       const struct cm_step_plan *plan) CM_MUST_CHECK;

/* Brings the results to the host, without waiting (see cm_backend_fetch). */
void cm_sampler_fetch(struct cm_sampler *sampler);

/* The results, once they are there; valid until the next step is described. */
const struct cm_step_samples *cm_sampler_samples(const struct cm_sampler *sampler);

#endif
