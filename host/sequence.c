#include "host/sequence.h"

#include "base/memory.h"
#include "host/beam_search.h"

#include <string.h>

const struct cm_sampling CM_SAMPLING_GREEDY = {
    .temperature = 0.0f,
    .top_k = 0,
    .top_p = 1.0f,
    .min_p = 0.0f,
    .repetition_penalty = 1.0f,
};

const char *cm_finish_reason_name(enum cm_finish_reason reason)
{
    static const char *const names[] = { "stop", "length", "lost" };
    return names[reason];
}

/* --- Lists --- */

void cm_sequence_push_back(struct cm_sequence_list *list, struct cm_sequence *sequence)
{
    sequence->previous = list->last;
    sequence->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = sequence;
    list->last = sequence;
    list->count++;
}

void cm_sequence_push_front(struct cm_sequence_list *list, struct cm_sequence *sequence)
{
    sequence->previous = NULL;
    sequence->next = list->first;
    *(list->first != NULL ? &list->first->previous : &list->last) = sequence;
    list->first = sequence;
    list->count++;
}

void cm_sequence_remove(struct cm_sequence_list *list, struct cm_sequence *sequence)
{
    *(sequence->previous != NULL ? &sequence->previous->next : &list->first) = sequence->next;
    *(sequence->next != NULL ? &sequence->next->previous : &list->last) = sequence->previous;
    list->count--;
}

/* --- One sequence --- */

bool cm_branch_init(struct cm_branch *branch, uint32_t output_tokens_max, uint32_t pages_count)
{
    branch->output = cm_alloc(output_tokens_max, sizeof *branch->output);
    branch->pages = cm_alloc(pages_count, sizeof *branch->pages);
    if (branch->output == NULL || branch->pages == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < pages_count; i++) {
        branch->pages[i] = CM_NO_PAGE;
    }
    return true;
}

void cm_branch_deinit(struct cm_branch *branch)
{
    cm_free(branch->output);
    cm_free(branch->pages);
}

void cm_request_retry(struct cm_request *request, const struct cm_retry *retry)
{
    request->attempt = retry->attempt;
    request->sampling = retry->sampling;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        struct cm_constraint *before = request->constraints[i];
        request->constraints[i] = retry->constraints[i];
        if (request->constraints[i] != NULL) {
            cm_constraint_share(request->constraints[i]);
        }
        cm_constraint_release(before);
    }
}

void cm_sequence_free(struct cm_sequence *sequence)
{
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        cm_constraint_release(sequence->request.constraints[i]);
    }
    for (uint32_t i = 0; sequence->branches != NULL && i < sequence->branches_max; i++) {
        cm_branch_deinit(&sequence->branches[i]);
    }
    cm_beam_search_close(sequence->beams);
    cm_free(sequence->branches);
    cm_free(sequence->prompt);
    cm_free(sequence->path);
    cm_free(sequence);
}

void cm_sequence_restart(struct cm_sequence *sequence)
{
    struct cm_branch *branch = &sequence->branches[0];
    sequence->branches_count = 1;
    branch->output_tokens = 0;
    branch->endable_tokens = 0;
    branch->logprob_sum = 0.0;
    branch->score = 0.0;
    branch->tail.length = 0;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        const struct cm_constraint *constraint = sequence->request.constraints[i];
        branch->constraint_states[i] = constraint != NULL ? cm_constraint_start(constraint) : 0;
    }
    if (sequence->beams != NULL) {
        cm_beam_search_restart(sequence->beams);
    }
}

const struct cm_branch *cm_sequence_text(const struct cm_sequence *sequence)
{
    return sequence->beams != NULL ? &cm_beam_search_best(sequence->beams, 0)->branch
                                   : &sequence->branches[0];
}

/* Positions whose keys and values are kept: all but the last token generated. */
static uint32_t positions_count(const struct cm_request *request)
{
    return request->prompt_tokens + request->output_tokens_max - 1;
}

static bool allocate(struct cm_sequence *sequence)
{
    const struct cm_request *request = &sequence->request;
    sequence->prompt = cm_alloc(request->prompt_tokens, sizeof *sequence->prompt);
    sequence->path = cm_alloc(sequence->path_length, sizeof(struct cm_node *));
    sequence->branches = cm_alloc(sequence->branches_max, sizeof *sequence->branches);
    if (sequence->prompt == NULL || sequence->path == NULL || sequence->branches == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < sequence->branches_max; i++) {
        if (!cm_branch_init(&sequence->branches[i], request->output_tokens_max,
                            sequence->pages_count)) {
            return false;
        }
    }
    return sequence->branches_max == 1 || cm_beam_search_open(sequence, &sequence->beams) == CM_OK;
}

struct cm_sequence *cm_sequence_create(const struct cm_request *request)
{
    struct cm_sequence *sequence = cm_alloc(1, sizeof *sequence);
    if (sequence == NULL) {
        return NULL;
    }
    sequence->request = *request;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        if (request->constraints[i] != NULL) {
            cm_constraint_share(request->constraints[i]);
        }
    }
    sequence->path_length = cm_prefix_tree_path_length(request->prompt_tokens);
    sequence->pages_count = cm_prefix_tree_path_length(positions_count(request));
    sequence->branches_max = request->sampling.beams > 1 ? request->sampling.beams : 1;
    if (!allocate(sequence)) {
        cm_sequence_free(sequence);
        return NULL;
    }
    memcpy(sequence->prompt, request->prompt, request->prompt_tokens * sizeof *sequence->prompt);
    sequence->request.prompt = sequence->prompt;
    cm_sequence_restart(sequence);
    return sequence;
}

/* --- Output --- */

/* Moves the constraints over the token. False: it must not stand here, which only happens where no
 * token at all was possible. */
static bool advance_constraints(struct cm_branch *branch, const struct cm_request *request,
                                int32_t token)
{
    bool alive = true;
    bool endable = true;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        const struct cm_constraint *constraint = request->constraints[i];
        if (constraint != NULL) {
            uint32_t *state = &branch->constraint_states[i];
            *state = cm_constraint_advance(constraint, *state, token);
            alive = alive && *state != CM_AUTOMATON_DEAD;
            endable = endable && alive && cm_constraint_may_cut(constraint, *state);
        }
    }
    if (endable) {
        branch->endable_tokens = branch->output_tokens + 1;
    }
    return alive;
}

/* Whether the text ends with the token just appended, and why. */
static bool ends_here(struct cm_branch *branch, const struct cm_request *request,
                      const struct cm_tokenizer *tokenizer, int32_t token,
                      enum cm_finish_reason *reason)
{
    uint32_t left = request->output_tokens_max - branch->output_tokens;
    *reason = CM_FINISH_STOP;
    if (request->stop_strings_count > 0 || request->closing_tokens > 0) {
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, token);
        if (cm_text_tail_append(&branch->tail, bytes, request->stop_strings,
                                request->stop_strings_count) ||
            (left < request->closing_tokens && cm_text_tail_ends_sentence(&branch->tail))) {
            return true;
        }
    }
    *reason = CM_FINISH_LENGTH;
    return left == 0;
}

bool cm_branch_accept(struct cm_branch *branch, const struct cm_request *request,
                      const struct cm_tokenizer *tokenizer, int32_t token, float logprob,
                      enum cm_finish_reason *reason)
{
    bool is_stop = !request->sampling.ignore_stop && cm_tokenizer_is_stop(tokenizer, token);
    bool ends = is_stop || !advance_constraints(branch, request, token);
    *reason = CM_FINISH_STOP;
    if (!ends) {
        branch->output[branch->output_tokens++] = token;
        branch->logprob_sum += (double)logprob;
        ends = ends_here(branch, request, tokenizer, token, reason);
    }
    if (ends) {
        branch->output_tokens = branch->endable_tokens;
    }
    return ends;
}
