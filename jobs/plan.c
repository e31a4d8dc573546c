#include "jobs/plan.h"

#include "base/digest_count.h"
#include "base/memory.h"
#include "jobs/prompt_set.h"
#include "jobs/selection.h"

#include <string.h>

/* An item with the prompts of its first segments. */
struct side {
    struct cm_plan_item *item; /* NULL: none */
    size_t rendered_count;     /* segments whose prompts were rendered, in order */
    struct cm_prompt_set prompts;
};

struct cm_plan {
    const struct cm_segments *segments;
    const struct cm_prompts *prompts;
    struct cm_row_keys *keys;
    struct cm_catalog *catalog;
    struct cm_digest_count *duplicates;
    struct cm_selection *selection;
    struct cm_content_digest *segment_digests; /* [segments->count] */
    uint64_t segments_name;                    /* of all of them, in order */
    const char *language;
    uint64_t items_max; /* 0: all */
    uint64_t items_count;
    struct side before; /* the last item that was not damaged */
    struct side current;
    uint64_t neighbours;
    size_t segment_index; /* of the next row of the current item */
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
        cm_constraint_release(item->fact_lock);
        cm_free(item);
    }
}

enum cm_status cm_plan_open(const struct cm_run_options *options,
                            const struct cm_segments *segments, const struct cm_prompts *prompts,
                            struct cm_row_keys *keys, struct cm_plan **plan, struct cm_error *error)
{
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
        .segments = segments,
        .prompts = prompts,
        .keys = keys,
        .language = options->language,
        .items_max = options->limit,
        .segment_index = segments->count,
    };
    enum cm_status status = cm_catalog_open(&catalog_options, &opened->catalog, error);
    if (status == CM_OK) {
        status = cm_selection_open(options->only, segments, &opened->selection, error);
    }
    if (status == CM_OK) {
        opened->segment_digests = cm_alloc(segments->count, sizeof *opened->segment_digests);
        if (opened->segment_digests == NULL || cm_digest_count_open(&opened->duplicates) != CM_OK) {
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
        }
    }
    if (status != CM_OK) {
        cm_plan_close(opened);
        return status;
    }
    for (size_t i = 0; i < segments->count; i++) {
        opened->segment_digests[i] = cm_row_keys_segment(keys, &segments->items[i]);
    }
    opened->segments_name =
        cm_row_keys_surroundings(keys, opened->segment_digests, segments->count, options->language);
    *plan = opened;
    return CM_OK;
}

static void side_deinit(struct side *side)
{
    cm_plan_item_release(side->item);
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
    cm_token_list_deinit(&plan->ids);
    cm_free(plan);
}

const char *cm_plan_describe(const struct cm_plan *plan)
{
    return cm_catalog_describe(plan->catalog);
}

/* --- Rows --- */

/* The finished item becomes the one before, unless it was damaged; its memory is used again. */
static void turn_page(struct cm_plan *plan)
{
    if (plan->current.item != NULL && !plan->current.item->item.damaged) {
        struct side oldest = plan->before;
        plan->before = plan->current;
        plan->current = oldest;
    }
    cm_plan_item_release(plan->current.item);
    plan->current.item = NULL;
    plan->current.rendered_count = 0;
    cm_prompt_set_clear(&plan->current.prompts);
}

static uint64_t name_neighbours(struct cm_plan *plan)
{
    const struct cm_plan_item *before = plan->before.item;
    struct cm_content_digest parts[2] = { 0 };
    memcpy(parts[0].bytes, &plan->segments_name, sizeof plan->segments_name);
    if (before != NULL) {
        parts[1] = before->digest;
    }
    return cm_row_keys_surroundings(plan->keys, parts, 2, before != NULL ? "after" : "first");
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
    item->digest = cm_row_keys_item(plan->keys, &item->item);
    if (cm_digest_count_add(plan->duplicates, item->digest.bytes, &item->nth) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    plan->neighbours = name_neighbours(plan);
    plan->segment_index = 0;
    return CM_OK;
}

static void describe_row(struct cm_plan *plan, struct cm_planned_row *row)
{
    struct cm_plan_item *item = plan->current.item;
    const struct cm_segment *segment = &plan->segments->items[plan->segment_index];
    row->position = item->item.index * plan->segments->count + plan->segment_index;
    row->item = item;
    row->segment = segment;
    row->neighbours = plan->neighbours;
    cm_prompts_language(plan->language, &item->item, segment, row->language);
    struct cm_row_identity identity = {
        .item = item->digest,
        .nth = item->nth,
        .segment = plan->segment_digests[plan->segment_index],
        .language = row->language,
    };
    row->key = cm_row_keys_row(plan->keys, &identity);
}

enum cm_status cm_plan_next(struct cm_plan *plan, struct cm_planned_row *row,
                            struct cm_error *error)
{
    for (;;) {
        if (plan->segment_index == plan->segments->count) {
            enum cm_status status = next_item(plan, error);
            if (status == CM_END) {
                status = cm_selection_check(plan->selection, error);
                return status == CM_OK ? CM_END : status;
            }
            if (status != CM_OK) {
                return status;
            }
        }
        const char *item_id = plan->current.item->item.fields[CM_ITEM_ID];
        bool wanted = cm_selection_wants(plan->selection, item_id, plan->segment_index);
        if (wanted) {
            describe_row(plan, row);
        }
        plan->segment_index++;
        if (wanted) {
            return CM_OK;
        }
    }
}

/* --- Prompts --- */

/* Leaves the prompt of one segment in plan->ids. */
static enum cm_status render(struct cm_plan *plan, const struct cm_plan_item *item,
                             size_t segment_index, struct cm_error *error)
{
    const struct cm_segment *segment = &plan->segments->items[segment_index];
    char language[CM_LANGUAGE_BYTES];
    cm_prompts_language(plan->language, &item->item, segment, language);
    plan->ids.count = 0;
    return cm_prompts_render(plan->prompts, &item->item, segment, language, &plan->ids, error);
}

/* Renders and keeps the prompts of the segments before `end` that are not there yet. One that
 * cannot be rendered shares nothing with anybody; its own row says why. */
static enum cm_status render_before(struct cm_plan *plan, struct side *side, size_t end,
                                    struct cm_error *error)
{
    for (; side->item != NULL && side->rendered_count < end; side->rendered_count++) {
        enum cm_status status = render(plan, side->item, side->rendered_count, error);
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
    size_t segment_index = plan->segment_index - 1;
    enum cm_status status = render_before(plan, &plan->before, plan->segments->count, error);
    if (status == CM_OK) {
        status = render_before(plan, &plan->current, segment_index, error);
    }
    if (status == CM_OK) {
        status = render(plan, plan->current.item, segment_index, error);
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
    plan->current.rendered_count = segment_index + 1;
    prompt->ids = ids;
    prompt->count = count;
    prompt->cached_tokens = (uint32_t)(from_before > from_current ? from_before : from_current);
    return CM_OK;
}
