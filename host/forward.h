/* The forward pass: one step's rows through all layers. Every family of models, every back end.
 * Reads the spec; knows nothing of requests. */
#ifndef CM_HOST_FORWARD_H
#define CM_HOST_FORWARD_H

#include "base/status.h"
#include "host/step_plan.h"
#include "host/weights.h"

struct cm_forward;

/* Logits are made for at most this many rows at a time: they are the largest activation by far. */
enum { CM_LOGITS_ROWS_MAX = 64 };

/* Allocates all activations for `rows_max` rows. Borrows everything else. The sizes are those of
 * the weights' part of the model. */
enum cm_status cm_forward_open(struct cm_backend *backend, const struct cm_weights *weights,
                               struct cm_kv_pool *pool, uint32_t rows_max,
                               struct cm_forward **forward, struct cm_error *error) CM_MUST_CHECK;
void cm_forward_close(struct cm_forward *forward);

/* Runs the plan's rows through the layers and appends their keys and values to their pages. The
 * tables must have been sent. Only ops, on addresses and counts that the plan holds: nothing is
 * copied, allocated or waited for, here and below. */
void cm_forward_step(struct cm_forward *forward, const struct cm_step_plan *plan);

/* Logits [count, n_vocab] of the rows plan->logits_rows[begin, begin + count) of the step that ran
 * last, in back-end memory until the next call; count is at most CM_LOGITS_ROWS_MAX. May be
 * overwritten by the caller. */
float *cm_forward_logits(struct cm_forward *forward, const struct cm_step_plan *plan,
                         uint32_t begin, uint32_t count);

/* The same without what other devices have: [count, n_vocab of the part]. */
float *cm_forward_own_logits(struct cm_forward *forward, const struct cm_step_plan *plan,
                             uint32_t begin, uint32_t count);

/* What this device computes of the model, and scratch memory as large as its logits. */
const struct cm_model_part *cm_forward_part(const struct cm_forward *forward);
float *cm_forward_scratch(struct cm_forward *forward);

#endif
