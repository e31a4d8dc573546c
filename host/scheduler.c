#include "host/scheduler.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

/* Requests beyond those in flight that may be in the window: enough to see what the next ones
 * share. */
enum { WINDOW_AHEAD_MIN = 64 };

/* Fewer texts than this are one wave: two would each take nearly as long as both together. */
enum { WAVES_TEXTS_MIN = 16 };

/* Copies of a step: a request settles at most two donors, and a beam gets one page of its own. */
enum { COPIES_PER_TEXT = 2 };

struct wave {
    bool in_flight;                 /* its step is planned and not complete */
    uint32_t texts;                 /* of its requests in flight, every beam counted */
    uint64_t unit;                  /* of the request that joined last */
    struct cm_step_sequence *rows;  /* [batch] */
    struct cm_sequence **sequences; /* [batch] */
    uint32_t *branches;             /* [batch] */
    struct cm_page_copy *copies;    /* [COPIES_PER_TEXT * batch] */
};

struct cm_scheduler {
    struct cm_scheduler_options options;
    struct cm_kv_pages *pages;
    struct cm_prefix_tree *tree;
    struct cm_sequence_list waiting;  /* first come, first served; retries go to the front */
    struct cm_sequence_list active;   /* in order of admission */
    uint32_t active_texts;            /* of those active, every beam counted */
    struct cm_sequence_list finished; /* in order of ending */
    struct cm_sequence_list taken;

    /* The last submitted prompt stays referenced, so that a producer slower than the engine does
     * not lose what the next prompt shares with it. */
    struct cm_node **recent_path;
    uint32_t recent_length;

    uint32_t stop_tokens_count;
    struct wave waves[CM_WAVES_MAX];

    uint64_t prompt_tokens;
    uint64_t output_tokens;
    uint64_t shared_tokens;
    uint64_t copied_tokens;
};

static struct cm_sequence *find_taken(const struct cm_scheduler *scheduler, uint64_t id)
{
    for (struct cm_sequence *i = scheduler->taken.first; i != NULL; i = i->next) {
        if (i->request.id == id) {
            return i;
        }
    }
    return NULL;
}

static uint32_t min_count(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* --- Opening and closing --- */

static bool open_wave(struct wave *wave, uint32_t batch)
{
    wave->rows = cm_alloc(batch, sizeof *wave->rows);
    wave->sequences = cm_alloc(batch, sizeof *wave->sequences);
    wave->branches = cm_alloc(batch, sizeof *wave->branches);
    wave->copies = cm_alloc(COPIES_PER_TEXT * (size_t)batch, sizeof *wave->copies);
    return wave->rows != NULL && wave->sequences != NULL && wave->branches != NULL &&
           wave->copies != NULL;
}

static void close_wave(struct wave *wave)
{
    cm_free(wave->rows);
    cm_free(wave->sequences);
    cm_free(wave->branches);
    cm_free(wave->copies);
}

enum cm_status cm_scheduler_open(const struct cm_scheduler_options *options,
                                 struct cm_kv_pages *pages, struct cm_scheduler **scheduler)
{
    CM_ASSERT(options->batch > 0 && options->rows_max >= options->batch);
    CM_ASSERT(options->waves <= CM_WAVES_MAX);
    struct cm_scheduler *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->options = *options;
    opened->pages = pages;
    opened->options.waves = options->waves > 0 ? options->waves : 1;
    bool ok = cm_prefix_tree_open(pages, &opened->tree) == CM_OK;
    for (uint32_t i = 0; i < opened->options.waves && ok; i++) {
        ok = open_wave(&opened->waves[i], options->batch);
    }
    if (!ok) {
        cm_scheduler_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    if (options->tokenizer != NULL) {
        opened->stop_tokens_count = cm_tokenizer_stops_count(options->tokenizer);
    }
    *scheduler = opened;
    return CM_OK;
}

/* Gives back the pages beyond the prompt and leaves the path to the others. */
static void leave_flight(struct cm_scheduler *scheduler, struct cm_sequence *sequence)
{
    int32_t *pages = sequence->branches[0].pages;
    if (sequence->beams != NULL) {
        cm_beam_search_give_back_pages(sequence, scheduler->pages);
    }
    for (uint32_t i = sequence->path_length; i < sequence->pages_count; i++) {
        cm_kv_pages_give_back(scheduler->pages, pages[i]);
        pages[i] = CM_NO_PAGE;
    }
    scheduler->active_texts -= sequence->branches_max;
    scheduler->waves[sequence->wave].texts -= sequence->branches_max;
    for (uint32_t i = 0; i < sequence->path_length; i++) {
        struct cm_node *node = sequence->path[i];
        node->active_count--;
        if (node->owner == sequence) {
            node->owner = NULL;
        }
    }
}

static void drop_list(struct cm_scheduler *scheduler, struct cm_sequence_list *list, bool in_flight)
{
    while (list->first != NULL) {
        struct cm_sequence *sequence = list->first;
        cm_sequence_remove(list, sequence);
        if (in_flight) {
            leave_flight(scheduler, sequence);
        }
        cm_prefix_tree_release(scheduler->tree, sequence->path, sequence->path_length);
        cm_sequence_free(sequence);
    }
}

void cm_scheduler_close(struct cm_scheduler *scheduler)
{
    if (scheduler == NULL) {
        return;
    }
    drop_list(scheduler, &scheduler->active, true);
    drop_list(scheduler, &scheduler->waiting, false);
    drop_list(scheduler, &scheduler->finished, false);
    drop_list(scheduler, &scheduler->taken, false);
    if (scheduler->tree != NULL) {
        cm_prefix_tree_release(scheduler->tree, scheduler->recent_path, scheduler->recent_length);
        cm_prefix_tree_close(scheduler->tree);
    }
    cm_free(scheduler->recent_path);
    for (uint32_t i = 0; i < CM_WAVES_MAX; i++) {
        close_wave(&scheduler->waves[i]);
    }
    cm_free(scheduler);
}

/* --- Submitting --- */

enum cm_status cm_scheduler_check(const struct cm_scheduler *scheduler,
                                  const struct cm_request *request, struct cm_error *error)
{
    if (request->prompt_tokens == 0 || request->output_tokens_max == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "a request needs at least one prompt token and one output token");
    }
    for (uint32_t i = 0; i < request->prompt_tokens; i++) {
        if (request->prompt[i] < 0 || (uint32_t)request->prompt[i] >= scheduler->options.n_vocab) {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "prompt token %d at position %u is not in the vocabulary of %u",
                                request->prompt[i], i, scheduler->options.n_vocab);
        }
    }
    uint32_t beams = request->sampling.beams > 1 ? request->sampling.beams : 1;
    uint32_t beams_max = min_count(scheduler->options.batch, CM_BEAMS_MAX);
    if (beams > beams_max) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "%u beams are over the maximum of %u%s",
                            beams, beams_max,
                            beams <= CM_BEAMS_MAX ? "; a larger --batch allows them" : "");
    }
    /* Of a beam search, each beam may need pages for all but the prompt's full pages. */
    uint64_t needed = (uint64_t)request->prompt_tokens + request->output_tokens_max;
    uint64_t own_tokens = needed - request->prompt_tokens / CM_PAGE_TOKENS * CM_PAGE_TOKENS;
    uint64_t more_tokens = beams > 1 ? beams * (own_tokens + CM_PAGE_TOKENS) : 0;
    uint64_t pages_tokens = (uint64_t)cm_kv_pages_count(scheduler->pages) * CM_PAGE_TOKENS;
    pages_tokens = pages_tokens > more_tokens ? pages_tokens - more_tokens : 0;
    uint64_t room = scheduler->options.context_tokens;
    room = room < pages_tokens ? room : pages_tokens;
    if (needed > room) {
        return cm_error_set(
            error, CM_LIMIT,
            "the prompt has %u tokens and asks for up to %u more, %" PRIu64
            " too many for a context of %" PRIu64 "; shorten the item's text or lower --max-tokens",
            request->prompt_tokens, request->output_tokens_max, needed - room, room);
    }
    return CM_OK;
}

/* Remembers the path of the newest prompt in place of the one before. */
static enum cm_status keep_recent(struct cm_scheduler *scheduler,
                                  const struct cm_sequence *sequence)
{
    struct cm_node **path = cm_alloc(sequence->path_length, sizeof(struct cm_node *));
    if (path == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    memcpy(path, sequence->path, sequence->path_length * sizeof(struct cm_node *));
    cm_prefix_tree_hold(path, sequence->path_length);
    cm_prefix_tree_release(scheduler->tree, scheduler->recent_path, scheduler->recent_length);
    cm_free(scheduler->recent_path);
    scheduler->recent_path = path;
    scheduler->recent_length = sequence->path_length;
    return CM_OK;
}

enum cm_status cm_scheduler_submit(struct cm_scheduler *scheduler, const struct cm_request *request,
                                   struct cm_error *error)
{
    enum cm_status status = cm_scheduler_check(scheduler, request, error);
    if (status != CM_OK) {
        return status;
    }
    uint32_t window = scheduler->waiting.count + scheduler->active.count +
                      scheduler->finished.count + scheduler->taken.count;
    if (window >= 2 * scheduler->options.batch + WINDOW_AHEAD_MIN) {
        return CM_FULL;
    }
    struct cm_sequence *sequence = cm_sequence_create(request);
    if (sequence == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a request");
    }
    status = cm_prefix_tree_insert(scheduler->tree, sequence->prompt, request->prompt_tokens,
                                   sequence->path);
    if (status == CM_OK) {
        status = keep_recent(scheduler, sequence);
        if (status != CM_OK) {
            cm_prefix_tree_release(scheduler->tree, sequence->path, sequence->path_length);
        }
    }
    if (status != CM_OK) {
        cm_sequence_free(sequence);
        return cm_error_set(error, status, "out of memory for a request");
    }
    cm_sequence_push_back(&scheduler->waiting, sequence);
    return CM_OK;
}

/* --- Results --- */

enum cm_status cm_scheduler_finished(struct cm_scheduler *scheduler, struct cm_result *result)
{
    struct cm_sequence *sequence = scheduler->finished.first;
    if (sequence == NULL) {
        return CM_END;
    }
    cm_sequence_remove(&scheduler->finished, sequence);
    cm_sequence_push_back(&scheduler->taken, sequence);
    sequence->state = CM_SEQUENCE_TAKEN;
    const struct cm_branch *text = cm_sequence_text(sequence);
    *result = (struct cm_result){
        .id = sequence->request.id,
        .output = text->output,
        .output_tokens = text->output_tokens,
        .prompt_tokens = sequence->request.prompt_tokens,
        .finish_reason = sequence->finish_reason,
        .mean_logprob = text->output_tokens > 0 ? text->logprob_sum / text->output_tokens : 0.0,
    };
    return CM_OK;
}

const struct cm_beam_text *cm_scheduler_beam(const struct cm_scheduler *scheduler, uint64_t id,
                                             uint32_t index)
{
    const struct cm_sequence *sequence = find_taken(scheduler, id);
    return sequence != NULL && sequence->beams != NULL ? cm_beam_search_best(sequence->beams, index)
                                                       : NULL;
}

void cm_scheduler_release(struct cm_scheduler *scheduler, uint64_t id)
{
    struct cm_sequence *sequence = find_taken(scheduler, id);
    CM_ASSERT(sequence != NULL);
    cm_sequence_remove(&scheduler->taken, sequence);
    cm_prefix_tree_release(scheduler->tree, sequence->path, sequence->path_length);
    cm_sequence_free(sequence);
}

enum cm_status cm_scheduler_retry(struct cm_scheduler *scheduler, uint64_t id,
                                  const struct cm_retry *retry, struct cm_error *error)
{
    struct cm_sequence *sequence = find_taken(scheduler, id);
    if (sequence == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "request %" PRIu64 " is not there to be retried", id);
    }
    cm_sequence_remove(&scheduler->taken, sequence);
    cm_request_retry(&sequence->request, retry);
    cm_sequence_restart(sequence);
    sequence->state = CM_SEQUENCE_WAITING;
    cm_sequence_push_front(&scheduler->waiting, sequence);
    return CM_OK;
}

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
        const struct wave *wave = &scheduler->waves[i];
        if (wave->texts > 0 && wave->unit == sequence->request.unit &&
            wave->texts + sequence->branches_max <= half) {
            chosen = i;
        }
    }
    sequence->wave = chosen;
    scheduler->waves[chosen].texts += sequence->branches_max;
    scheduler->waves[chosen].unit = sequence->request.unit;
}

/* Makes all texts the planned wave's where they are few; false: others are in flight. */
static bool join_few(struct cm_scheduler *scheduler, uint32_t wave)
{
    bool few = scheduler->options.waves > 1 && scheduler->active_texts < WAVES_TEXTS_MIN;
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
    struct wave *planned = &scheduler->waves[wave];
    CM_ASSERT(wave < scheduler->options.waves && !planned->in_flight);
    *work = (struct cm_step_work){
        .wave = wave,
        .rows = planned->rows,
        .sequences = planned->sequences,
        .branches = planned->branches,
        .copies = planned->copies,
    };
    admit(scheduler);
    if (scheduler->active.count == 0) {
        return CM_END;
    }
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

/* --- After a step --- */

static void finish(struct cm_scheduler *scheduler, struct cm_sequence *sequence,
                   enum cm_finish_reason reason)
{
    sequence->finish_reason = reason;
    sequence->state = CM_SEQUENCE_FINISHED;
    leave_flight(scheduler, sequence);
    cm_sequence_remove(&scheduler->active, sequence);
    cm_sequence_push_back(&scheduler->finished, sequence);
}

/* Moves a beam search on by the step's rows from `index`, one for each branch. */
static void complete_beams(struct cm_scheduler *scheduler, struct cm_sequence *sequence,
                           uint32_t index, const struct cm_step_samples *samples)
{
    struct cm_beam_choices choices[CM_BEAMS_MAX];
    for (uint32_t i = 0; i < sequence->branches_count; i++) {
        size_t place = samples->places[index + i];
        size_t first = place * samples->candidates_max;
        choices[i] = (struct cm_beam_choices){
            .tokens = samples->candidate_tokens + first,
            .scores = samples->candidate_scores + first,
            .logprobs = samples->candidate_logprobs + first,
            .log_mass = samples->log_masses[place],
        };
    }
    uint32_t candidates_count =
        cm_beam_search_candidates(sequence->branches_max, scheduler->stop_tokens_count);
    if (cm_beam_search_advance(sequence, scheduler->options.tokenizer, choices, candidates_count)) {
        finish(scheduler, sequence, cm_beam_search_best(sequence->beams, 0)->reason);
    }
}

static void complete_text(struct cm_scheduler *scheduler, struct cm_sequence *sequence,
                          uint32_t index, const struct cm_step_samples *samples)
{
    enum cm_finish_reason reason;
    uint32_t place = samples->places[index];
    if (cm_branch_accept(&sequence->branches[0], &sequence->request, scheduler->options.tokenizer,
                         samples->tokens[place], samples->logprobs[place], &reason)) {
        finish(scheduler, sequence, reason);
    }
}

void cm_scheduler_complete(struct cm_scheduler *scheduler, const struct cm_step_work *work,
                           const struct cm_step_samples *samples)
{
    CM_ASSERT(scheduler->waves[work->wave].in_flight);
    scheduler->waves[work->wave].in_flight = false;
    for (uint32_t i = 0; i < work->sequences_count;) {
        struct cm_sequence *sequence = work->sequences[i];
        uint32_t rows_count = sequence->branches_count;
        if (work->rows[i].want_logits) {
            scheduler->output_tokens += rows_count;
            if (sequence->beams != NULL) {
                complete_beams(scheduler, sequence, i, samples);
            } else {
                complete_text(scheduler, sequence, i, samples);
            }
        }
        i += rows_count;
    }
}

void cm_scheduler_counters(const struct cm_scheduler *scheduler,
                           struct cm_engine_counters *counters)
{
    counters->prompt_tokens = scheduler->prompt_tokens;
    counters->output_tokens = scheduler->output_tokens;
    counters->shared_tokens = scheduler->shared_tokens;
    counters->copied_tokens = scheduler->copied_tokens;
    counters->active = scheduler->active.count;
    counters->waiting = scheduler->waiting.count;
    counters->pages_used =
        cm_kv_pages_count(scheduler->pages) - cm_kv_pages_free_count(scheduler->pages);
    counters->pages_used_max = cm_kv_pages_used_max(scheduler->pages);
}
