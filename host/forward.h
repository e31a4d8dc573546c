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

/* Allocates all activations for `rows_max` rows. Borrows everything else. */
enum cm_status cm_forward_open(struct cm_backend *backend, const struct cm_weights *weights,
                               const struct cm_model_config *config, struct cm_kv_pool *pool,
                               const struct cm_step_plan *sizes, struct cm_forward **forward,
                               struct cm_error *error) CM_MUST_CHECK;
void cm_forward_close(struct cm_forward *forward);

/* Runs the plan's rows through the layers and appends their keys and values to their pages. */
void cm_forward_step(struct cm_forward *forward, const struct cm_step_plan *plan);

/* Logits [rows_count, n_vocab] of some rows of the last step, in back-end memory until the next
 * call; `rows` is host memory, rows_count at most CM_LOGITS_ROWS_MAX. May be overwritten by the
 * caller. */
float *cm_forward_logits(struct cm_forward *forward, const int32_t *rows, uint32_t rows_count);

#endif
