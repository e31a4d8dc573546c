/* The tables of a step as the engine plans it, in host memory: texts that begin with the same
 * tokens, and the visits of their pages. Page `block` of text `t` is t * blocks_max + block; whole
 * pages of shared tokens are those of text 0. Private to kernels/selftest. */
#ifndef CM_KERNELS_SELFTEST_STEP_PLAN_H
#define CM_KERNELS_SELFTEST_STEP_PLAN_H

#include "kernels/backend.h"

struct cm_step_plan {
    uint32_t rows_max;
    uint32_t blocks_max;    /* pages of a text */
    uint32_t shared_tokens; /* that all texts begin with */
    uint32_t n_rows;
    uint32_t n_visits;
    uint32_t n_chunks;
    uint32_t positions_end;
    uint32_t rows_per_visit;
    uint32_t *texts;                   /* [n_rows] */
    int32_t *positions;                /* [n_rows] */
    int32_t *pages;                    /* [n_rows] that receives the row's key and value */
    struct cm_visit *visits;           /* [n_visits] */
    struct cm_attention_chunk *chunks; /* [n_chunks] */
};

/* Without rows. CM_OUT_OF_MEMORY. */
enum cm_status cm_step_plan_init(struct cm_step_plan *plan, uint32_t rows_max, uint32_t blocks_max,
                                 uint32_t shared_tokens) CM_MUST_CHECK;
void cm_step_plan_deinit(struct cm_step_plan *plan);

/* Positions [begin, end) of a text, behind the rows so far. */
void cm_step_plan_add(struct cm_step_plan *plan, uint32_t text, uint32_t begin, uint32_t end);

/* Chunks and visits of all rows; then nothing is added any more. */
void cm_step_plan_finish(struct cm_step_plan *plan);

#endif
