/* From the rows of a step that want logits to their next tokens: the head, then the back end's
 * sampler, for CM_LOGITS_ROWS_MAX rows at a time. A row's random number is a pure function of its
 * seed, its attempt and the output position (philox.h). */
#ifndef CM_HOST_SAMPLER_H
#define CM_HOST_SAMPLER_H

#include "base/status.h"
#include "host/forward.h"
#include "host/scheduler.h"

struct cm_sampler;

enum cm_status cm_sampler_open(struct cm_backend *backend, uint32_t n_vocab,
                               struct cm_sampler **sampler) CM_MUST_CHECK;
void cm_sampler_close(struct cm_sampler *sampler);

/* Room for texts (prompt and output) of up to `tokens`, so that a step need not allocate. */
enum cm_status cm_sampler_reserve(struct cm_sampler *sampler, uint32_t tokens) CM_MUST_CHECK;

/* `tokens` and `logprobs` are host memory by index of work->sequences; only those whose row wants
 * logits are written. CM_OUT_OF_MEMORY: masks of constraints are the one thing that a step may
 * allocate, since their size shows only then. */
enum cm_status cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                              const struct cm_step_work *work, int32_t *tokens,
                              float *logprobs) CM_MUST_CHECK;

#endif
