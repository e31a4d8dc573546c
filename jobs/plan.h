/* The plan of a job: its rows one after the other, items in catalog order, within an item the
 * segments in theirs and within those the item's questions in theirs, each row with its key and,
 * when asked for, its prompt. Where there are questions, an item without any has no rows.
 *
 * `cached_tokens` of a row is the longest beginning of its prompt, in tokens, that any earlier row
 * of the same item or any row of the item before it in the catalog has too; 0 for the very first
 * row. It is a property of the whole job's plan: neither --only nor a resumed run nor the batch
 * changes it, so the neighbours' prompts are rendered for it even where their rows are not wanted.
 * Damaged items have no prompts and are passed over. Beginnings are compared up to
 * CM_PROMPT_SET_TOKENS_MAX tokens.
 *
 * Prompts are rendered on demand, so rows that a ledger holds already cost no tokenising. One
 * thread uses a plan; an item it hands out may be read by others until its references are gone. */
#ifndef CM_JOBS_PLAN_H
#define CM_JOBS_PLAN_H

#include "base/status.h"
#include "host/constraint.h"
#include "host/tokenizer.h"
#include "jobs/prompt.h"
#include "jobs/row_key.h"
#include "jobs/run_options.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

#include <stdatomic.h>

struct cm_plan_item {
    struct cm_item item;
    struct cm_content_digest digest;
    uint32_t nth;                      /* among identical items */
    struct cm_constraint **fact_locks; /* made by the pipeline when a row needs them */
    size_t fact_locks_count;
    int64_t ledger_number; /* see row_sources.h, which alone uses it; 0: none yet */
    atomic_uint references;
};

struct cm_plan_item *cm_plan_item_share(struct cm_plan_item *item);
void cm_plan_item_release(struct cm_plan_item *item); /* NULL is fine */

struct cm_planned_row {
    uint64_t position; /* in the output of the whole job */
    struct cm_row_key key;
    struct cm_plan_item *item; /* borrowed until the next row; share it to keep it */
    const struct cm_segment *segment;
    size_t segment_index;
    const struct cm_content_digest *segment_digest; /* of the plan */
    const struct cm_question *question;             /* NULL: none */
    size_t facts_index; /* in the item's fact_locks; the same for rows with the same facts */
    char language[CM_LANGUAGE_BYTES];
    uint64_t neighbours; /* names what cached_tokens is counted against: where it is the same as in
                            an earlier run, so is the count */
};

struct cm_plan;

struct cm_plan_inputs { /* borrowed */
    const struct cm_run_options *options;
    const struct cm_segments *segments;
    const struct cm_questions *questions; /* NULL: rows are item x segment */
    const struct cm_prompts *prompts;
    struct cm_row_keys *keys; /* used by nobody else meanwhile */
};

/* Opens the catalog. Errors of the catalog and of --only. */
enum cm_status cm_plan_open(const struct cm_plan_inputs *inputs, struct cm_plan **plan,
                            struct cm_error *error) CM_MUST_CHECK;
void cm_plan_close(struct cm_plan *plan);

const char *cm_plan_describe(const struct cm_plan *plan); /* of the catalog, for a person */

/* The next wanted row. CM_END after the last, with a warning for each question whose item was never
 * met, unless --limit kept part of the catalog unread; CM_NOT_FOUND there when --only named
 * something that was never met; errors of the catalog. */
enum cm_status cm_plan_next(struct cm_plan *plan, struct cm_planned_row *row,
                            struct cm_error *error) CM_MUST_CHECK;

struct cm_planned_prompt {
    const int32_t *ids; /* valid until the next call on the plan */
    size_t count;
    uint32_t cached_tokens;
};

/* The prompt of the row that came last. An error is that of the row alone; CM_OUT_OF_MEMORY too.
 * Not for a damaged item. */
enum cm_status cm_plan_prompt(struct cm_plan *plan, struct cm_planned_prompt *prompt,
                              struct cm_error *error) CM_MUST_CHECK;

#endif
