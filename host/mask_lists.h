/* Which tokens the rows of a step may or may not draw, as lists of ids: from the rows' constraints
 * and from the rule that no n tokens come twice. Rows in the same state of the same constraint
 * share one list. */
#ifndef CM_HOST_MASK_LISTS_H
#define CM_HOST_MASK_LISTS_H

#include "base/status.h"
#include "host/sequence.h"
#include "host/step_list.h"
#include "kernels/backend.h"

struct cm_mask_lists;

/* For steps of up to `batch` texts. */
enum cm_status cm_mask_lists_open(struct cm_backend *backend, uint32_t batch,
                                  struct cm_mask_lists **lists) CM_MUST_CHECK;
void cm_mask_lists_close(struct cm_mask_lists *lists); /* NULL is fine */

/* Begins a new step. Not while the device may read the one before. */
void cm_mask_lists_clear(struct cm_mask_lists *lists);

/* What the constraints and the no-repeat rule of the branch's request ask for, as ranges in `row`.
 * `history` is [history_tokens] prompt and output so far; read only where the rule is on. */
enum cm_status cm_mask_lists_add(struct cm_mask_lists *lists, const struct cm_request *request,
                                 const struct cm_branch *branch, const int32_t *history,
                                 uint32_t history_tokens, struct cm_sample_row *row) CM_MUST_CHECK;

/* See cm_backend_send. */
void cm_mask_lists_send(struct cm_mask_lists *lists);

/* The ids that the ranges refer to, in back-end memory. */
const int32_t *cm_mask_lists_ids(const struct cm_mask_lists *lists);

#endif
