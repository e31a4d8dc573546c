/* From the rows of a step that want logits to their next tokens, or to the candidates of a beam
 * search: the head, then the back end's sampler, for CM_LOGITS_ROWS_MAX rows at a time. A row's
 * random numbers are a pure function of its seed, its attempt, the output position and the beam
 * (philox.h). */
#ifndef CM_HOST_SAMPLER_H
#define CM_HOST_SAMPLER_H

#include "base/status.h"
#include "host/forward.h"
#include "host/scheduler.h"

struct cm_sampler;

/* For steps of up to `batch` texts. */
enum cm_status cm_sampler_open(struct cm_backend *backend, uint32_t n_vocab, uint32_t batch,
                               struct cm_sampler **sampler) CM_MUST_CHECK;
void cm_sampler_close(struct cm_sampler *sampler);

/* Room for texts (prompt and output) of up to `tokens` and, where one of them is a beam search, for
 * its `candidates_count`, so that a step need not allocate. Not between a step and its completion.
 */
enum cm_status cm_sampler_reserve(struct cm_sampler *sampler, uint32_t tokens,
                                  uint32_t candidates_count) CM_MUST_CHECK;

/* `samples` is host memory until the next call. CM_OUT_OF_MEMORY: masks of constraints are the one
 * thing that a step may allocate, since their size shows only then. */
enum cm_status cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                              const struct cm_step_work *work,
                              const struct cm_step_samples **samples) CM_MUST_CHECK;

#endif
