#include "host/scheduler_parts.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

/* Requests beyond those in flight that may be in the window: enough to see what the next ones
 * share. */
enum { WINDOW_AHEAD_MIN = 64 };

static struct cm_sequence *find_taken(const struct cm_scheduler *scheduler, uint64_t id)
{
    for (struct cm_sequence *i = scheduler->taken.first; i != NULL; i = i->next) {
        if (i->request.id == id) {
            return i;
        }
    }
    return NULL;
}

/* --- Opening and closing --- */

static bool open_wave(struct cm_scheduler_wave *wave, uint32_t batch, uint32_t pages_count)
{
    wave->rows = cm_alloc(batch, sizeof *wave->rows);
    wave->sequences = cm_alloc(batch, sizeof *wave->sequences);
    wave->branches = cm_alloc(batch, sizeof *wave->branches);
    wave->copies = cm_alloc(COPIES_PER_TEXT * (size_t)batch, sizeof *wave->copies);
    wave->discarded = cm_alloc(pages_count, sizeof *wave->discarded);
    return wave->rows != NULL && wave->sequences != NULL && wave->branches != NULL &&
           wave->copies != NULL && wave->discarded != NULL;
}

static void close_wave(struct cm_scheduler_wave *wave)
{
    cm_free(wave->rows);
    cm_free(wave->sequences);
    cm_free(wave->branches);
    cm_free(wave->copies);
    cm_free(wave->discarded);
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
        ok = open_wave(&opened->waves[i], options->batch, cm_kv_pages_count(pages));
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
    if (cm_beam_search_advance(sequence, scheduler->options.tokenizer, choices, candidates_count,
                               scheduler->pages)) {
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
