/* A row on its way through the pipeline. One stage at a time owns it. */
#ifndef CM_JOBS_ROW_TASK_H
#define CM_JOBS_ROW_TASK_H

#include "host/engine.h"
#include "jobs/copy_row.h"
#include "jobs/ledger.h"
#include "jobs/plan.h"

enum cm_task_kind {
    CM_TASK_GENERATE, /* for the engine */
    CM_TASK_REUSE,    /* the ledger has it */
    CM_TASK_FAIL,     /* it can have no text; `problem` says why */
};

/* The best text so far. */
struct cm_task_copy {
    char *text;   /* NULL: none yet */
    double score; /* four decimals, as it is written */
    char *fields; /* JSON; NULL: none */
    char *flags;
    char *judgement; /* JSON */
    uint32_t output_tokens;
    uint32_t attempt;
    enum cm_finish_reason finish_reason;
};

struct cm_row_task {
    enum cm_task_kind kind;
    struct cm_ledger_place place;
    struct cm_row_key key;
    struct cm_plan_item *item; /* shared */
    const struct cm_segment *segment;
    size_t segment_index;
    const struct cm_content_digest *segment_digest;
    const struct cm_question *question; /* NULL: none */
    size_t facts_index;                 /* see cm_planned_row */
    struct cm_constraint *fact_lock;    /* of the item; NULL: none */
    char *fields;                       /* JSON; NULL: none */
    char language[CM_LANGUAGE_BYTES];

    uint32_t cached_tokens;
    int64_t stored_row_id;            /* reuse: in the ledger */
    enum cm_row_status stored_status; /* reuse */
    bool stored_update;               /* reuse: cached_tokens changed */
    bool stored_sources;              /* reuse: the ledger knows its item and segment */
    char *problem;                    /* fail; NULL: no memory was left even for the reason */

    int32_t *prompt; /* generate */
    uint32_t prompt_tokens;
    uint32_t output_tokens_max;
    uint32_t attempt;        /* under way, from 1 */
    struct cm_result result; /* of this attempt; its output belongs to the engine */
    bool again;              /* verdict: retry, else done with */
    struct cm_task_copy best;
};

void cm_task_copy_deinit(struct cm_task_copy *copy);

/* Takes a share of the row's item. NULL: no memory. */
struct cm_row_task *cm_row_task_create(const struct cm_planned_row *row) CM_MUST_CHECK;
void cm_row_task_free(struct cm_row_task *task); /* NULL is fine */

/* Makes it a failed row: "FILE:line: ... reason". */
void cm_row_task_fail(struct cm_row_task *task, const char *catalog_path, const char *reason);

#endif
