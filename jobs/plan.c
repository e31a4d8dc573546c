#include "jobs/plan.h"

#include "base/digest_count.h"
#include "base/log.h"
#include "base/memory.h"
#include "jobs/fact_numbers.h"
#include "jobs/prompt_set.h"
#include "jobs/selection.h"

#include <inttypes.h>
#include <string.h>

/* An item with the prompts of its first rows. */
struct side {
    struct cm_plan_item *item; /* NULL: none */
    size_t *questions;         /* [rows_per_segment] indices; unused where the job has none */
    size_t questions_capacity;
    size_t rows_per_segment;
    uint64_t questions_name; /* of all of them, in order */
    size_t rendered_count;   /* rows whose prompts were rendered, in order */
    struct cm_prompt_set prompts;
};

struct cm_plan {
    const struct cm_run_options *options;
    const struct cm_segments *segments;
    const struct cm_questions *questions; /* NULL: none */
    const struct cm_prompts *prompts;
    struct cm_row_keys *keys;
    struct cm_catalog *catalog;
    struct cm_digest_count *duplicates;
    struct cm_selection *selection;
    struct cm_content_digest *segment_digests;  /* [segments->count] */
    uint64_t segments_name;                     /* of all of them, in order */
    struct cm_content_digest *question_digests; /* [questions->count] */
    bool *questions_met;                        /* [questions->count] */
    bool has_offers; /* facts differ between segments, not only between questions */
    const char *language;
    uint64_t items_max; /* 0: all */
    uint64_t items_count;
    struct side before; /* the last item that was not damaged */
    struct side current;
    uint64_t neighbours;
    uint64_t first_position; /* of the current item's rows */
    size_t row_index;        /* of the next row of the current item */
    struct cm_token_list ids;
};

struct cm_plan_item *cm_plan_item_share(struct cm_plan_item *item)
{
    atomic_fetch_add_explicit(&item->references, 1, memory_order_relaxed);
    return item;
}

void cm_plan_item_release(struct cm_plan_item *item)
{
    if (item != NULL &&
        atomic_fetch_sub_explicit(&item->references, 1, memory_order_acq_rel) == 1) {
        cm_item_deinit(&item->item);
        for (size_t i = 0; i < item->fact_locks_count; i++) {
            cm_constraint_release(item->fact_locks[i]);
        }
        cm_free(item->fact_locks);
        cm_free(item);
    }
}

/* What segments and questions are called in keys. */
static enum cm_status name_parts(struct cm_plan *plan)
{
    const struct cm_segments *segments = plan->segments;
    const struct cm_questions *questions = plan->questions;
    plan->segment_digests = cm_alloc(segments->count, sizeof *plan->segment_digests);
    if (plan->segment_digests == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < segments->count; i++) {
        plan->segment_digests[i] = cm_row_keys_segment(plan->keys, &segments->items[i]);
        plan->has_offers = plan->has_offers || cm_fact_numbers_has_offer(&segments->items[i]);
    }
    plan->segments_name = cm_row_keys_surroundings(plan->keys, plan->segment_digests,
                                                   segments->count, plan->language);
    if (questions == NULL) {
        return CM_OK;
    }
    plan->question_digests = cm_alloc(questions->count, sizeof *plan->question_digests);
    plan->questions_met = cm_alloc(questions->count, sizeof *plan->questions_met);
    if (plan->question_digests == NULL || plan->questions_met == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < questions->count; i++) {
        plan->question_digests[i] = cm_row_keys_question(plan->keys, &questions->items[i]);
    }
    return CM_OK;
}

enum cm_status cm_plan_open(const struct cm_plan_inputs *inputs, struct cm_plan **plan,
                            struct cm_error *error)
{
    const struct cm_run_options *options = inputs->options;
    struct cm_catalog_options catalog_options = {
        .path = options->catalog_path,
        .maps = options->maps,
        .maps_count = options->maps_count,
    };
    struct cm_plan *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    *opened = (struct cm_plan){
        .options = options,
        .segments = inputs->segments,
        .questions = inputs->questions,
        .prompts = inputs->prompts,
        .keys = inputs->keys,
        .language = options->language,
        .items_max = options->limit,
    };
    enum cm_status status = cm_catalog_open(&catalog_options, &opened->catalog, error);
    if (status == CM_OK) {
        status = cm_selection_open(options->only, inputs->segments, &opened->selection, error);
    }
    if (status == CM_OK) {
        status = name_parts(opened);
        if (status == CM_OK) {
            status = cm_digest_count_open(&opened->duplicates);
        }
        if (status != CM_OK) {
            cm_error_set(error, status, "out of memory");
        }
    }
    if (status != CM_OK) {
        cm_plan_close(opened);
        return status;
    }
    *plan = opened;
    return CM_OK;
}

static void side_deinit(struct side *side)
{
    cm_plan_item_release(side->item);
    cm_free(side->questions);
    cm_prompt_set_deinit(&side->prompts);
}

void cm_plan_close(struct cm_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    side_deinit(&plan->before);
    side_deinit(&plan->current);
    cm_catalog_close(plan->catalog);
    cm_digest_count_close(plan->duplicates);
    cm_selection_close(plan->selection);
    cm_free(plan->segment_digests);
    cm_free(plan->question_digests);
    cm_free(plan->questions_met);
    cm_token_list_deinit(&plan->ids);
    cm_free(plan);
}

const char *cm_plan_describe(const struct cm_plan *plan)
{
    return cm_catalog_describe(plan->catalog);
}

/* --- Rows --- */

static size_t rows_of(const struct cm_plan *plan, const struct side *side)
{
    return side->item != NULL ? plan->segments->count * side->rows_per_segment : 0;
}

/* The finished item becomes the one before, unless it had no prompts; its memory is used again. */
static void turn_page(struct cm_plan *plan)
{
    size_t rows_count = rows_of(plan, &plan->current);
    plan->first_position += rows_count;
    if (rows_count > 0 && !plan->current.item->item.damaged) {
        struct side oldest = plan->before;
        plan->before = plan->current;
        plan->current = oldest;
    }
    cm_plan_item_release(plan->current.item);
    plan->current.item = NULL;
    plan->current.rows_per_segment = 0;
    plan->current.rendered_count = 0;
    cm_prompt_set_clear(&plan->current.prompts);
}

/* The item's questions; without any in the whole job an item is one row for each segment. */
static enum cm_status find_questions(struct cm_plan *plan, struct side *side)
{
    side->questions_name = 0;
    if (plan->questions == NULL) {
        side->rows_per_segment = 1;
        return CM_OK;
    }
    const char *item_id = side->item->item.fields[CM_ITEM_ID];
    struct cm_question_cursor cursor = cm_questions_seek(plan->questions, item_id);
    size_t count = cm_question_cursor_count(&cursor);
    void *block = side->questions;
    enum cm_status status =
        cm_grow(&block, &side->questions_capacity, count, sizeof *side->questions);
    side->questions = block;
    struct cm_content_digest *digests = cm_alloc(count + 1, sizeof *digests);
    if (status != CM_OK || digests == NULL) {
        cm_free(digests);
        return CM_OUT_OF_MEMORY;
    }
    side->rows_per_segment = count;
    for (size_t i = 0; i < count; i++) {
        (void)cm_questions_next(plan->questions, &cursor, &side->questions[i]);
        plan->questions_met[side->questions[i]] = true;
        digests[i] = plan->question_digests[side->questions[i]];
    }
    side->questions_name = cm_row_keys_surroundings(plan->keys, digests, count, "questions");
    cm_free(digests);
    return CM_OK;
}

static uint64_t name_neighbours(struct cm_plan *plan)
{
    const struct cm_plan_item *before = plan->before.item;
    struct cm_content_digest parts[3] = { 0 };
    uint64_t names[2] = { plan->segments_name, plan->current.questions_name };
    memcpy(parts[0].bytes, names, sizeof names);
    if (before != NULL) {
        parts[1] = before->digest;
        memcpy(parts[2].bytes, &plan->before.questions_name, sizeof plan->before.questions_name);
    }
    return cm_row_keys_surroundings(plan->keys, parts, 3, before != NULL ? "after" : "first");
}

static enum cm_status prepare_rows(struct cm_plan *plan)
{
    struct side *side = &plan->current;
    struct cm_plan_item *item = side->item;
    enum cm_status status = cm_digest_count_add(plan->duplicates, item->digest.bytes, &item->nth);
    if (status == CM_OK) {
        status = find_questions(plan, side);
    }
    if (status != CM_OK) {
        return status;
    }
    size_t locks_count = plan->has_offers ? rows_of(plan, side) : side->rows_per_segment;
    item->fact_locks = cm_alloc(locks_count + 1, sizeof(struct cm_constraint *));
    item->fact_locks_count = item->fact_locks != NULL ? locks_count : 0;
    return item->fact_locks != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

static enum cm_status next_item(struct cm_plan *plan, struct cm_error *error)
{
    turn_page(plan);
    if (plan->items_max > 0 && plan->items_count == plan->items_max) {
        return CM_END;
    }
    struct cm_plan_item *item = cm_alloc(1, sizeof *item);
    if (item == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = cm_catalog_next(plan->catalog, &item->item, error);
    if (status != CM_OK) {
        cm_free(item);
        return status;
    }
    atomic_init(&item->references, 1);
    plan->current.item = item; /* from here on released with the plan */
    plan->items_count++;
    plan->row_index = 0;
    item->digest = cm_row_keys_item(plan->keys, &item->item);
    if (prepare_rows(plan) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    if (plan->current.rows_per_segment == 0) {
        cm_selection_meet(plan->selection, item->item.fields[CM_ITEM_ID]);
    }
    plan->neighbours = name_neighbours(plan);
    return CM_OK;
}

/* Of a row of a side: rows_per_segment rows for each segment. */
static const struct cm_question *question_of(const struct cm_plan *plan, const struct side *side,
                                             size_t row_index)
{
    return plan->questions == NULL
               ? NULL
               : &plan->questions->items[side->questions[row_index % side->rows_per_segment]];
}

/* Everything that the prompt of a row shows. */
static struct cm_template_data data_of(const struct cm_plan *plan, const struct side *side,
                                       size_t row_index, char language[CM_LANGUAGE_BYTES])
{
    struct cm_template_data data = {
        .item = &side->item->item,
        .segment = &plan->segments->items[row_index / side->rows_per_segment],
        .language = language,
        .question = question_of(plan, side, row_index),
    };
    cm_prompts_language(plan->language, &data, language);
    return data;
}

static void describe_row(struct cm_plan *plan, struct cm_planned_row *row)
{
    const struct side *side = &plan->current;
    size_t question_index = plan->row_index % side->rows_per_segment;
    struct cm_template_data data = data_of(plan, side, plan->row_index, row->language);
    row->position = plan->first_position + plan->row_index;
    row->item = side->item;
    row->segment = data.segment;
    row->segment_index = plan->row_index / side->rows_per_segment;
    row->segment_digest = &plan->segment_digests[row->segment_index];
    row->question = data.question;
    row->facts_index = plan->has_offers ? plan->row_index : question_index;
    row->neighbours = plan->neighbours;
    struct cm_row_identity identity = {
        .item = side->item->digest,
        .nth = side->item->nth,
        .segment = *row->segment_digest,
        .language = row->language,
        .question =
            data.question != NULL ? &plan->question_digests[side->questions[question_index]] : NULL,
    };
    row->key = cm_row_keys_row(plan->keys, &identity);
}

/* Questions for items that the whole catalog does not have. */
static void warn_of_lost_questions(const struct cm_plan *plan)
{
    enum { SHOWN_MAX = 10 };
    bool whole_catalog = plan->items_max == 0;
    size_t lost_count = 0;
    for (size_t i = 0; whole_catalog && plan->questions != NULL && i < plan->questions->count;
         i++) {
        const struct cm_question *question = &plan->questions->items[i];
        bool lost = question->item_id[0] != '\0' && !plan->questions_met[i];
        lost_count += lost;
        if (lost && lost_count <= SHOWN_MAX) {
            cm_log(CM_LOG_WARNING,
                   "%s:%" PRIu64 ": question \"%.80s\" is for item \"%.80s\", which the catalog "
                   "does not have; it gets no answer",
                   plan->options->questions_path, question->line, question->id, question->item_id);
        }
    }
    if (lost_count > SHOWN_MAX) {
        cm_log(CM_LOG_WARNING, "%s: %zu more questions are for items that the catalog lacks",
               plan->options->questions_path, lost_count - SHOWN_MAX);
    }
}

static enum cm_status finish(struct cm_plan *plan, struct cm_error *error)
{
    warn_of_lost_questions(plan);
    enum cm_status status = cm_selection_check(plan->selection, error);
    return status == CM_OK ? CM_END : status;
}

enum cm_status cm_plan_next(struct cm_plan *plan, struct cm_planned_row *row,
                            struct cm_error *error)
{
    for (;;) {
        while (plan->row_index == rows_of(plan, &plan->current)) {
            enum cm_status status = next_item(plan, error);
            if (status == CM_END) {
                return finish(plan, error);
            }
            if (status != CM_OK) {
                return status;
            }
        }
        size_t segment_index = plan->row_index / plan->current.rows_per_segment;
        const char *item_id = plan->current.item->item.fields[CM_ITEM_ID];
        bool wanted = cm_selection_wants(plan->selection, item_id, segment_index);
        if (wanted) {
            describe_row(plan, row);
        }
        plan->row_index++;
        if (wanted) {
            return CM_OK;
        }
    }
}

/* --- Prompts --- */

/* Leaves the prompt of one row in plan->ids. */
static enum cm_status render(struct cm_plan *plan, const struct side *side, size_t row_index,
                             struct cm_error *error)
{
    char language[CM_LANGUAGE_BYTES];
    struct cm_template_data data = data_of(plan, side, row_index, language);
    plan->ids.count = 0;
    return cm_prompts_render(plan->prompts, &data, &plan->ids, error);
}

/* Renders and keeps the prompts of the rows before `end` that are not there yet. One that
 * cannot be rendered shares nothing with anybody; its own row says why. */
static enum cm_status render_before(struct cm_plan *plan, struct side *side, size_t end,
                                    struct cm_error *error)
{
    for (; side->item != NULL && side->rendered_count < end; side->rendered_count++) {
        enum cm_status status = render(plan, side, side->rendered_count, error);
        if (status == CM_OK) {
            status = cm_prompt_set_add(&side->prompts, plan->ids.ids, plan->ids.count);
        }
        if (status == CM_OUT_OF_MEMORY) {
            return cm_error_set(error, status, "out of memory for the prompts of an item");
        }
    }
    return CM_OK;
}

enum cm_status cm_plan_prompt(struct cm_plan *plan, struct cm_planned_prompt *prompt,
                              struct cm_error *error)
{
    CM_ASSERT(plan->current.item != NULL && !plan->current.item->item.damaged);
    size_t row_index = plan->row_index - 1;
    enum cm_status status = render_before(plan, &plan->before, rows_of(plan, &plan->before), error);
    if (status == CM_OK) {
        status = render_before(plan, &plan->current, row_index, error);
    }
    if (status == CM_OK) {
        status = render(plan, &plan->current, row_index, error);
    }
    if (status != CM_OK) {
        return status;
    }
    const int32_t *ids = plan->ids.ids;
    size_t count = plan->ids.count;
    size_t from_before = cm_prompt_set_shared(&plan->before.prompts, ids, count);
    size_t from_current = cm_prompt_set_shared(&plan->current.prompts, ids, count);
    if (cm_prompt_set_add(&plan->current.prompts, ids, count) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the prompts of an item");
    }
    plan->current.rendered_count = row_index + 1;
    prompt->ids = ids;
    prompt->count = count;
    prompt->cached_tokens = (uint32_t)(from_before > from_current ? from_before : from_current);
    return CM_OK;
}
