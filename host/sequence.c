#include "host/sequence.h"

#include "base/memory.h"

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
    return reason == CM_FINISH_STOP ? "stop" : "length";
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

void cm_sequence_free(struct cm_sequence *sequence)
{
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        cm_constraint_release(sequence->request.constraints[i]);
    }
    cm_free(sequence->prompt);
    cm_free(sequence->output);
    cm_free(sequence->path);
    cm_free(sequence->pages);
    cm_free(sequence);
}

void cm_sequence_restart(struct cm_sequence *sequence)
{
    sequence->output_tokens = 0;
    sequence->endable_tokens = 0;
    sequence->logprob_sum = 0.0;
    sequence->tail.length = 0;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        const struct cm_constraint *constraint = sequence->request.constraints[i];
        sequence->constraint_states[i] = constraint != NULL ? cm_constraint_start(constraint) : 0;
    }
}

/* Positions whose keys and values are kept: all but the last token generated. */
static uint32_t positions_count(const struct cm_request *request)
{
    return request->prompt_tokens + request->output_tokens_max - 1;
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
    cm_sequence_restart(sequence);
    sequence->path_length = cm_prefix_tree_path_length(request->prompt_tokens);
    sequence->pages_count = cm_prefix_tree_path_length(positions_count(request));
    sequence->prompt = cm_alloc(request->prompt_tokens, sizeof *sequence->prompt);
    sequence->output = cm_alloc(request->output_tokens_max, sizeof *sequence->output);
    sequence->path = cm_alloc(sequence->path_length, sizeof(struct cm_node *));
    sequence->pages = cm_alloc(sequence->pages_count, sizeof *sequence->pages);
    if (sequence->prompt == NULL || sequence->output == NULL || sequence->path == NULL ||
        sequence->pages == NULL) {
        cm_sequence_free(sequence);
        return NULL;
    }
    memcpy(sequence->prompt, request->prompt, request->prompt_tokens * sizeof *sequence->prompt);
    sequence->request.prompt = sequence->prompt;
    for (uint32_t i = 0; i < sequence->pages_count; i++) {
        sequence->pages[i] = CM_NO_PAGE;
    }
    return sequence;
}

/* --- Output --- */

/* Moves the constraints over the token. False: it must not stand here, which only happens where no
 * token at all was possible. */
static bool advance_constraints(struct cm_sequence *sequence, int32_t token)
{
    bool alive = true;
    bool endable = true;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        const struct cm_constraint *constraint = sequence->request.constraints[i];
        if (constraint != NULL) {
            uint32_t *state = &sequence->constraint_states[i];
            *state = cm_constraint_advance(constraint, *state, token);
            alive = alive && *state != CM_AUTOMATON_DEAD;
            endable = endable && alive && cm_constraint_may_end(constraint, *state);
        }
    }
    if (endable) {
        sequence->endable_tokens = sequence->output_tokens + 1;
    }
    return alive;
}

/* Whether the text ends with the token just appended, and why. */
static bool ends_here(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                      int32_t token, enum cm_finish_reason *reason)
{
    const struct cm_request *request = &sequence->request;
    uint32_t left = request->output_tokens_max - sequence->output_tokens;
    *reason = CM_FINISH_STOP;
    if (request->stop_strings_count > 0 || request->closing_tokens > 0) {
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, token);
        if (cm_text_tail_append(&sequence->tail, bytes, request->stop_strings,
                                request->stop_strings_count) ||
            (left < request->closing_tokens && cm_text_tail_ends_sentence(&sequence->tail))) {
            return true;
        }
    }
    *reason = CM_FINISH_LENGTH;
    return left == 0;
}

bool cm_sequence_accept(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                        int32_t token, float logprob, enum cm_finish_reason *reason)
{
    bool is_stop =
        !sequence->request.sampling.ignore_stop && cm_tokenizer_is_stop(tokenizer, token);
    bool ends = is_stop || !advance_constraints(sequence, token);
    *reason = CM_FINISH_STOP;
    if (!ends) {
        sequence->output[sequence->output_tokens++] = token;
        sequence->logprob_sum += (double)logprob;
        ends = ends_here(sequence, tokenizer, token, reason);
    }
    if (ends) {
        sequence->output_tokens = sequence->endable_tokens;
    }
    return ends;
}
