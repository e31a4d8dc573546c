/* One step of the device, laid out: which tokens stand in which row, and which pages each row
 * visits.
 *
 * Sequences are put in the order of their page tables, so that those with common pages stand
 * together; the plan then finds shared pages by comparing neighbours and needs no tree. The order
 * cannot change a result: rows do not see each other except through pages.
 */
#ifndef CM_HOST_STEP_PLAN_H
#define CM_HOST_STEP_PLAN_H

#include "base/status.h"
#include "kernels/backend.h"

#include <stdbool.h>
#include <stdint.h>

/* One sequence's rows in a step: consecutive positions. */
struct cm_step_sequence {
    const int32_t *tokens; /* [rows_count] */
    uint32_t first_position;
    uint32_t rows_count;
    const int32_t *pages; /* its page table, by position / CM_PAGE_TOKENS */
    bool want_logits;     /* of its last row */
    uint32_t row_begin;   /* out: its first row in the step */
};

/* The tables of a step. */
struct cm_step_tables {
    int32_t *tokens;                   /* [rows_max] */
    int32_t *positions;                /* [rows_max] */
    int32_t *row_pages;                /* [rows_max] page that takes the row's key and value */
    int32_t *logits_rows;              /* [rows_max] rows that want logits, filled by the sampler */
    struct cm_attention_chunk *chunks; /* [chunks_max] */
    struct cm_visit *visits;           /* [visits_max] */
};

struct cm_step_plan {
    struct cm_backend *backend;
    uint32_t rows_max;
    uint32_t visits_max;
    uint32_t chunks_max;

    uint32_t n_rows;
    uint32_t n_logits;
    uint32_t n_chunks;
    uint32_t n_visits;
    uint32_t positions_end;       /* every position is below it */
    uint32_t rows_per_visit;      /* on average, rounded down */
    struct cm_step_tables host;   /* filled here */
    struct cm_step_tables device; /* and sent there, in one block, the visits last */
    unsigned char *host_block;
    unsigned char *device_block;

    uint32_t *order; /* [rows_max] scratch: sequences in row order */
};

/* Sized for any step of up to `rows_max` rows of up to `sequences_max` sequences with contexts of
 * up to `context_tokens`. Borrows the back end. */
enum cm_status cm_step_plan_open(struct cm_backend *backend, uint32_t rows_max,
                                 uint32_t sequences_max, uint32_t context_tokens,
                                 struct cm_step_plan **plan) CM_MUST_CHECK;
void cm_step_plan_close(struct cm_step_plan *plan);

/* Fills the host's tables; the sequences' rows together are at most rows_max. Not while the device
 * may still read what was sent before. */
void cm_step_plan_build(struct cm_step_plan *plan, struct cm_step_sequence *sequences,
                        uint32_t sequences_count);

/* Adds rows that nobody reads, up to `rows_count`, so that steps of nearly the same size are of one
 * size. They want logits, visit no page and write into pages from `spare_page` on, which belong to
 * nobody, a slot of its own for each of up to CM_PADDING_ROWS_MAX. */
enum { CM_PADDING_ROWS_MAX = 2 * CM_PAGE_TOKENS };
void cm_step_plan_pad(struct cm_step_plan *plan, uint32_t rows_count, uint32_t spare_page);

/* Sends the tables to the device, without waiting (see cm_backend_send). */
void cm_step_plan_send(struct cm_step_plan *plan);

#endif
