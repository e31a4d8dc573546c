/* The planning half of the scheduler: who is admitted, into which wave, and what a step computes.
 */
#include "host/scheduler_parts.h"

/* --- Admission --- */

static uint32_t pages_missing(const struct cm_sequence *sequence)
{
    uint32_t missing = sequence->beams != NULL ? cm_beam_search_pages_count(sequence)
                                               : sequence->pages_count - sequence->path_length;
    for (uint32_t i = 0; i < sequence->path_length; i++) {
        missing += sequence->path[i]->page == CM_NO_PAGE;
    }
    return missing;
}

/* Takes every page that the request can need and claims the nodes that nobody has computed. */
static void take_pages(struct cm_scheduler *scheduler, struct cm_sequence *sequence)
{
    int32_t *pages = sequence->branches[0].pages;
    for (uint32_t i = 0; i < sequence->path_length; i++) {
        struct cm_node *node = sequence->path[i];
        if (node->page == CM_NO_PAGE) {
            node->page = cm_kv_pages_take(scheduler->pages);
        }
        if (node->owner == NULL && (node->leaf || node->computed_tokens < node->tokens_count)) {
            node->owner = sequence;
        }
        node->active_count++;
        pages[i] = node->page;
    }
    if (sequence->beams != NULL) {
        cm_beam_search_take_pages(sequence, scheduler->pages);
    } else {
        for (uint32_t i = sequence->path_length; i < sequence->pages_count; i++) {
            pages[i] = cm_kv_pages_take(scheduler->pages);
        }
    }
    scheduler->active_texts += sequence->branches_max;
    sequence->prefilled_tokens = 0;
    sequence->computed_tokens = 0;
    sequence->copied_tokens = 0;
    sequence->state = CM_SEQUENCE_PREFILL;
}

/* Makes room for the request by forgetting pages that are only kept for later, its own path
 * excepted. */
static void evict_for(struct cm_scheduler *scheduler, const struct cm_sequence *sequence)
{
    for (uint32_t i = 0; i < sequence->path_length; i++) {
        sequence->path[i]->active_count++;
    }
    cm_prefix_tree_evict(scheduler->tree, pages_missing(sequence));
    for (uint32_t i = 0; i < sequence->path_length; i++) {
        sequence->path[i]->active_count--;
    }
}

/* Relatives go together as long as the waves do not get uneven: they visit their common pages
 * once for all of a step. */
static void join_wave(struct cm_scheduler *scheduler, struct cm_sequence *sequence)
{
    uint32_t half = (scheduler->options.batch + 1) / 2;
    uint32_t chosen = 0;
    for (uint32_t i = 1; i < scheduler->options.waves; i++) {
        chosen = scheduler->waves[i].texts < scheduler->waves[chosen].texts ? i : chosen;
    }
    for (uint32_t i = 0; i < scheduler->options.waves; i++) {
        const struct cm_scheduler_wave *wave = &scheduler->waves[i];
        if (wave->texts > 0 && wave->unit == sequence->request.unit &&
            wave->texts + sequence->branches_max <= half) {
            chosen = i;
        }
    }
    sequence->wave = chosen;
    scheduler->waves[chosen].texts += sequence->branches_max;
    scheduler->waves[chosen].unit = sequence->request.unit;
}

/* Makes all texts the planned wave's where they are few, since two waves would each take nearly as
 * long as both together; false: others are in flight. */
static bool join_few(struct cm_scheduler *scheduler, uint32_t wave)
{
    bool few = scheduler->options.waves > 1 && scheduler->active_texts < CM_WAVES_TEXTS_MIN;
    for (struct cm_sequence *i = scheduler->active.first; i != NULL && few; i = i->next) {
        if (scheduler->waves[i->wave].in_flight) {
            return false;
        }
    }
    for (struct cm_sequence *i = scheduler->active.first; i != NULL && few; i = i->next) {
        scheduler->waves[i->wave].texts -= i->branches_max;
        i->wave = wave;
        scheduler->waves[i->wave].texts += i->branches_max;
    }
    return true;
}

static void admit(struct cm_scheduler *scheduler)
{
    while (scheduler->waiting.first != NULL) {
        struct cm_sequence *sequence = scheduler->waiting.first;
        if (scheduler->active_texts + sequence->branches_max > scheduler->options.batch) {
            return;
        }
        if (pages_missing(sequence) > cm_kv_pages_free_count(scheduler->pages)) {
            if (scheduler->active.count > 0) {
                return; /* pages come back as the others end */
            }
            evict_for(scheduler, sequence);
        }
        CM_ASSERT(pages_missing(sequence) <= cm_kv_pages_free_count(scheduler->pages));
        cm_sequence_remove(&scheduler->waiting, sequence);
        take_pages(scheduler, sequence);
        join_wave(scheduler, sequence);
        cm_sequence_push_back(&scheduler->active, sequence);
        scheduler->prompt_tokens += sequence->request.prompt_tokens;
    }
}

/* --- Planning a step --- */

/* Settles where a node's first tokens come from. False: the donor's page is not ready, wait. */
static bool settle_donor(struct cm_scheduler *scheduler, struct cm_step_work *work,
                         struct cm_sequence *sequence, struct cm_node *node)
{
    struct cm_node *donor = node->donor;
    if (donor == NULL) {
        return true;
    }
    if (node->computed_tokens == 0 && donor->computed_tokens >= node->donor_tokens) {
        CM_ASSERT(work->copies_count < COPIES_PER_TEXT * scheduler->options.batch);
        work->copies[work->copies_count++] =
            (struct cm_page_copy){ donor->page, node->page, node->donor_tokens };
        node->computed_tokens = node->donor_tokens;
        sequence->copied_tokens += node->donor_tokens;
        scheduler->copied_tokens += node->donor_tokens;
        if (node->computed_tokens == node->tokens_count) {
            node->owner = NULL; /* nothing is left to compute: others need not wait */
        }
    } else if (node->computed_tokens == 0 && donor->owner != NULL) {
        return false;
    }
    cm_prefix_tree_drop_donor(scheduler->tree, node);
    return true;
}

/* Tokens of the node that need no computing; of a leaf all but the last, which gives the logits. */
static uint32_t settled_tokens(const struct cm_node *node)
{
    uint32_t most = node->leaf ? node->tokens_count - 1 : node->tokens_count;
    return min_count(node->computed_tokens, most);
}

/* The next run of consecutive prompt tokens to compute, at most `budget`: [*begin, *begin + count).
 * Zero: the request waits for others. Only pages of steps planned before count as there. */
static uint32_t next_chunk(struct cm_scheduler *scheduler, struct cm_step_work *work,
                           struct cm_sequence *sequence, uint32_t budget, uint32_t *begin)
{
    uint32_t count = 0;
    uint32_t position = sequence->prefilled_tokens;
    while (count < budget && position < sequence->request.prompt_tokens) {
        uint32_t index = position / CM_PAGE_TOKENS;
        uint32_t base = index * CM_PAGE_TOKENS;
        struct cm_node *node = sequence->path[index];
        if (node->owner != NULL && node->owner != sequence) {
            break;
        }
        if (node->owner == sequence && position == base &&
            !settle_donor(scheduler, work, sequence, node)) {
            break;
        }
        uint32_t start = base + settled_tokens(node);
        start = start > position ? start : position;
        if (count > 0 && start != position) {
            break; /* a step takes consecutive tokens of a request; the rest comes with the next */
        }
        uint32_t rows = min_count(base + node->tokens_count - start, budget - count);
        if (count == 0) {
            *begin = start;
        }
        count += rows;
        position = start + rows;
        if (count == 0) {
            sequence->prefilled_tokens = position; /* the whole page was there */
        }
    }
    return count;
}

static void add_rows(struct cm_step_work *work, struct cm_sequence *sequence, uint32_t branch,
                     const int32_t *tokens, uint32_t first_position, uint32_t rows_count,
                     bool want_logits)
{
    uint32_t index = work->sequences_count++;
    work->sequences[index] = sequence;
    work->branches[index] = branch;
    work->rows[index] = (struct cm_step_sequence){
        .tokens = tokens,
        .first_position = first_position,
        .rows_count = rows_count,
        .pages = sequence->branches[branch].pages,
        .want_logits = want_logits,
    };
}

static void plan_branch(struct cm_step_work *work, struct cm_sequence *sequence, uint32_t index)
{
    const struct cm_branch *branch = &sequence->branches[index];
    uint32_t last = branch->output_tokens - 1;
    uint32_t position = sequence->request.prompt_tokens + last;
    if (sequence->beams != NULL &&
        cm_beam_search_own_page(sequence, index, position, &work->copies[work->copies_count])) {
        work->copies_count++;
    }
    add_rows(work, sequence, index, &branch->output[last], position, 1, true);
    work->decode_rows++;
}

static void plan_decode(struct cm_scheduler *scheduler, struct cm_step_work *work)
{
    for (struct cm_sequence *i = scheduler->active.first; i != NULL; i = i->next) {
        bool decodes = i->wave == work->wave && i->state == CM_SEQUENCE_DECODE;
        for (uint32_t j = 0; decodes && j < i->branches_count; j++) {
            plan_branch(work, i, j);
        }
    }
}

static void plan_prefill(struct cm_scheduler *scheduler, struct cm_step_work *work)
{
    uint32_t budget = scheduler->options.rows_max - work->decode_rows;
    for (struct cm_sequence *i = scheduler->active.first; i != NULL && budget > 0; i = i->next) {
        if (i->wave != work->wave || i->state != CM_SEQUENCE_PREFILL) {
            continue;
        }
        uint32_t begin = 0;
        uint32_t count = next_chunk(scheduler, work, i, budget, &begin);
        if (count > 0) {
            bool last = begin + count == i->request.prompt_tokens;
            add_rows(work, i, 0, i->prompt + begin, begin, count, last);
            work->prefill_rows += count;
            budget -= count;
        }
    }
}

/* Marks the step's prompt tokens as present in their pages: whatever is planned from now on comes
 * after them. */
static void settle_prefill(struct cm_scheduler *scheduler, struct cm_sequence *sequence,
                           const struct cm_step_sequence *rows)
{
    uint32_t end = rows->first_position + rows->rows_count;
    for (uint32_t position = rows->first_position; position < end;) {
        uint32_t index = position / CM_PAGE_TOKENS;
        struct cm_node *node = sequence->path[index];
        uint32_t node_end = index * CM_PAGE_TOKENS + node->tokens_count;
        position = min_count(end, node_end);
        uint32_t computed = position - index * CM_PAGE_TOKENS;
        node->computed_tokens = computed > node->computed_tokens ? computed : node->computed_tokens;
        if (node->computed_tokens == node->tokens_count) {
            node->owner = NULL;
        }
    }
    sequence->prefilled_tokens = end;
    sequence->computed_tokens += rows->rows_count;
    if (end == sequence->request.prompt_tokens) {
        scheduler->shared_tokens += sequence->request.prompt_tokens - sequence->computed_tokens;
        sequence->state = CM_SEQUENCE_DECODE;
    }
}

enum cm_status cm_scheduler_plan(struct cm_scheduler *scheduler, uint32_t wave,
                                 struct cm_step_work *work)
{
    struct cm_scheduler_wave *planned = &scheduler->waves[wave];
    CM_ASSERT(wave < scheduler->options.waves && !planned->in_flight);
    *work = (struct cm_step_work){
        .wave = wave,
        .rows = planned->rows,
        .sequences = planned->sequences,
        .branches = planned->branches,
        .copies = planned->copies,
        .discarded = planned->discarded,
    };
    admit(scheduler);
    if (scheduler->active.count == 0) {
        return CM_END;
    }
    /* Here, between two that give pages back: those that admission has evicted may be written by
     * this step, those of donors that are dropped below are copied first. */
    work->discarded_count = cm_kv_pages_discarded(scheduler->pages, work->discarded);
    if (!join_few(scheduler, wave)) {
        return CM_OK;
    }
    plan_decode(scheduler, work);
    plan_prefill(scheduler, work);
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        if (work->sequences[i]->state == CM_SEQUENCE_PREFILL) {
            settle_prefill(scheduler, work->sequences[i], &work->rows[i]);
        }
    }
    planned->in_flight = work->sequences_count > 0;
    CM_ASSERT(planned->in_flight || scheduler->options.waves > 1);
    return CM_OK;
}
