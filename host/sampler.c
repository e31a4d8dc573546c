#include "host/sampler.h"

#include "base/memory.h"
#include "host/ngram.h"
#include "host/philox.h"

#include <string.h>

struct cm_sampler {
    struct cm_backend *backend;
    uint32_t n_vocab;

    /* In back-end memory. */
    struct cm_sample_row *rows; /* [CM_LOGITS_ROWS_MAX] */
    int32_t *tokens;            /* [CM_LOGITS_ROWS_MAX] */
    float *logprobs;            /* [CM_LOGITS_ROWS_MAX] */
    int32_t *history;           /* [history_capacity] */

    /* The same in host memory, to be filled and uploaded. */
    struct cm_sample_row *host_rows;
    int32_t *host_history;
    size_t history_capacity;

    /* Tokens that rows may or may not draw, for one slice; grows. */
    int32_t *mask_ids; /* in back-end memory */
    size_t mask_ids_capacity;
    int32_t *host_mask_ids;
    size_t host_mask_ids_capacity;
    uint32_t mask_ids_count;

    /* Rows in the same state of the same constraint share one list. */
    struct known_mask {
        const struct cm_constraint *constraint;
        uint32_t state;
        bool only;
        struct cm_id_range ids;
    } known_masks[CM_LOGITS_ROWS_MAX * CM_CONSTRAINTS_MAX];
    uint32_t known_masks_count;
};

enum cm_status cm_sampler_open(struct cm_backend *backend, uint32_t n_vocab,
                               struct cm_sampler **sampler)
{
    struct cm_sampler *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    size_t rows = CM_LOGITS_ROWS_MAX;
    opened->backend = backend;
    opened->n_vocab = n_vocab;
    opened->rows = cm_backend_alloc(backend, rows * sizeof *opened->rows);
    opened->tokens = cm_backend_alloc(backend, rows * sizeof *opened->tokens);
    opened->logprobs = cm_backend_alloc(backend, rows * sizeof *opened->logprobs);
    opened->host_rows = cm_alloc(rows, sizeof *opened->host_rows);
    if (opened->rows == NULL || opened->tokens == NULL || opened->logprobs == NULL ||
        opened->host_rows == NULL) {
        cm_sampler_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *sampler = opened;
    return CM_OK;
}

void cm_sampler_close(struct cm_sampler *sampler)
{
    if (sampler != NULL) {
        cm_backend_free(sampler->backend, sampler->rows);
        cm_backend_free(sampler->backend, sampler->tokens);
        cm_backend_free(sampler->backend, sampler->logprobs);
        cm_backend_free(sampler->backend, sampler->history);
        cm_backend_free(sampler->backend, sampler->mask_ids);
        cm_free(sampler->host_mask_ids);
        cm_free(sampler->host_rows);
        cm_free(sampler->host_history);
        cm_free(sampler);
    }
}

enum cm_status cm_sampler_reserve(struct cm_sampler *sampler, uint32_t tokens)
{
    size_t needed = (size_t)tokens * CM_LOGITS_ROWS_MAX;
    if (needed <= sampler->history_capacity) {
        return CM_OK;
    }
    needed *= 2; /* so that slowly growing texts do not come here each time */
    int32_t *host = cm_realloc(sampler->host_history, needed, sizeof *host);
    if (host == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    sampler->host_history = host;
    int32_t *history = cm_backend_alloc(sampler->backend, needed * sizeof *history);
    if (history == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_backend_free(sampler->backend, sampler->history);
    sampler->history = history;
    sampler->history_capacity = needed;
    return CM_OK;
}

/* Appends the row's text so far; returns the new end of the history. */
static uint32_t append_history(struct cm_sampler *sampler, const struct cm_sequence *sequence,
                               uint32_t end)
{
    uint32_t prompt_tokens = sequence->request.prompt_tokens;
    CM_ASSERT(end + prompt_tokens + sequence->output_tokens <= sampler->history_capacity);
    memcpy(sampler->host_history + end, sequence->prompt, prompt_tokens * sizeof(int32_t));
    memcpy(sampler->host_history + end + prompt_tokens, sequence->output,
           sequence->output_tokens * sizeof(int32_t));
    return end + prompt_tokens + sequence->output_tokens;
}

static struct cm_sample_row sample_row(const struct cm_sequence *sequence)
{
    const struct cm_request *request = &sequence->request;
    return (struct cm_sample_row){
        .temperature = request->sampling.temperature,
        .top_p = request->sampling.top_p,
        .min_p = request->sampling.min_p,
        .repetition_penalty = request->sampling.repetition_penalty,
        .top_k = request->sampling.top_k,
        .uniform = cm_philox_uniform(request->seed, request->attempt, sequence->output_tokens),
        .want_logprob = true,
    };
}

/* --- Masks --- */

/* Room for `more` ids behind those there. */
static enum cm_status reserve_mask_ids(struct cm_sampler *sampler, uint32_t more)
{
    void *block = sampler->host_mask_ids;
    enum cm_status status = cm_grow(&block, &sampler->host_mask_ids_capacity,
                                    (size_t)sampler->mask_ids_count + more, sizeof(int32_t));
    sampler->host_mask_ids = block;
    return status;
}

/* The list of the constraint's state in this slice. */
static enum cm_status find_mask(struct cm_sampler *sampler, struct cm_constraint *constraint,
                                uint32_t state, struct known_mask *found)
{
    for (uint32_t i = 0; i < sampler->known_masks_count; i++) {
        *found = sampler->known_masks[i];
        if (found->constraint == constraint && found->state == state) {
            return CM_OK;
        }
    }
    struct cm_token_mask mask;
    enum cm_status status = cm_constraint_mask(constraint, state, &mask);
    if (status == CM_OK) {
        status = reserve_mask_ids(sampler, mask.count);
    }
    if (status != CM_OK) {
        return status;
    }
    uint32_t begin = sampler->mask_ids_count;
    if (mask.count > 0) {
        memcpy(sampler->host_mask_ids + begin, mask.ids, mask.count * sizeof *mask.ids);
    }
    sampler->mask_ids_count += mask.count;
    *found = (struct known_mask){ constraint, state, mask.only, { begin, begin + mask.count } };
    sampler->known_masks[sampler->known_masks_count++] = *found;
    return CM_OK;
}

/* What both lists hold, as a list of its own. */
static enum cm_status intersect(struct cm_sampler *sampler, struct cm_id_range a,
                                struct cm_id_range b, struct cm_id_range *both)
{
    enum cm_status status = reserve_mask_ids(sampler, a.end - a.begin);
    if (status != CM_OK) {
        return status;
    }
    int32_t *ids = sampler->host_mask_ids;
    both->begin = sampler->mask_ids_count;
    for (uint32_t i = a.begin, j = b.begin; i < a.end && j < b.end;) {
        if (ids[i] == ids[j]) {
            ids[sampler->mask_ids_count++] = ids[i];
        }
        bool step_a = ids[i] <= ids[j];
        bool step_b = ids[j] <= ids[i];
        i += step_a;
        j += step_b;
    }
    both->end = sampler->mask_ids_count;
    return CM_OK;
}

static enum cm_status add_constraints(struct cm_sampler *sampler,
                                      const struct cm_sequence *sequence, struct cm_sample_row *row)
{
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX && status == CM_OK; i++) {
        struct known_mask found;
        if (sequence->request.constraints[i] == NULL) {
            continue;
        }
        status = find_mask(sampler, sequence->request.constraints[i],
                           sequence->constraint_states[i], &found);
        if (status != CM_OK) {
            break;
        }
        if (!found.only) {
            row->banned[i] = found.ids;
        } else if (!row->only_allowed) {
            row->allowed = found.ids;
        } else {
            status = intersect(sampler, row->allowed, found.ids, &row->allowed);
        }
        row->only_allowed = row->only_allowed || found.only;
    }
    return status;
}

static enum cm_status add_ngram_bans(struct cm_sampler *sampler, struct cm_sample_row *row,
                                     uint32_t n)
{
    _Static_assert(CM_SAMPLE_BANS_MAX == CM_CONSTRAINTS_MAX + 1,
                   "one list beside the constraints'");
    uint32_t tokens_count = row->history_end - row->history_begin;
    enum cm_status status = reserve_mask_ids(sampler, tokens_count);
    if (status == CM_OK) {
        uint32_t begin = sampler->mask_ids_count;
        sampler->mask_ids_count += cm_ngram_banned(sampler->host_history + row->history_begin,
                                                   tokens_count, n, sampler->host_mask_ids + begin);
        row->banned[CM_CONSTRAINTS_MAX] = (struct cm_id_range){ begin, sampler->mask_ids_count };
    }
    return status;
}

static enum cm_status upload_masks(struct cm_sampler *sampler)
{
    if (sampler->mask_ids_count > sampler->mask_ids_capacity) {
        size_t capacity = 2 * (size_t)sampler->mask_ids_count;
        int32_t *ids = cm_backend_alloc(sampler->backend, capacity * sizeof *ids);
        if (ids == NULL) {
            return CM_OUT_OF_MEMORY;
        }
        cm_backend_free(sampler->backend, sampler->mask_ids);
        sampler->mask_ids = ids;
        sampler->mask_ids_capacity = capacity;
    }
    if (sampler->mask_ids_count > 0) {
        cm_backend_upload(sampler->backend, sampler->mask_ids, sampler->host_mask_ids,
                          sampler->mask_ids_count * sizeof(int32_t));
    }
    return CM_OK;
}

/* --- A step --- */

/* Some rows of a step that want logits. */
struct slice {
    const struct cm_step_work *work;
    uint32_t indices[CM_LOGITS_ROWS_MAX]; /* into work */
    uint32_t count;
};

/* What each row of the slice wants, in host memory. */
static enum cm_status describe_rows(struct cm_sampler *sampler, const struct slice *slice)
{
    uint32_t history_end = 0;
    enum cm_status status = CM_OK;
    sampler->mask_ids_count = 0;
    sampler->known_masks_count = 0;
    for (uint32_t i = 0; i < slice->count && status == CM_OK; i++) {
        const struct cm_sequence *sequence = slice->work->sequences[slice->indices[i]];
        const struct cm_sampling *sampling = &sequence->request.sampling;
        struct cm_sample_row *row = &sampler->host_rows[i];
        *row = sample_row(sequence);
        row->history_begin = history_end;
        if (sampling->repetition_penalty != 1.0f || sampling->no_repeat_ngram > 0) {
            history_end = append_history(sampler, sequence, history_end);
        }
        row->history_end = history_end;
        status = add_constraints(sampler, sequence, row);
        /* Where only a few tokens go on, as inside a number, the rule about n-grams stands back: it
         * could leave none. */
        if (status == CM_OK && sampling->no_repeat_ngram > 0 && !row->only_allowed) {
            status = add_ngram_bans(sampler, row, sampling->no_repeat_ngram);
        }
    }
    return status;
}

static enum cm_status run_slice(struct cm_sampler *sampler, struct cm_forward *forward,
                                const struct slice *slice, int32_t *tokens, float *logprobs)
{
    struct cm_backend *backend = sampler->backend;
    int32_t step_rows[CM_LOGITS_ROWS_MAX] = { 0 };
    uint32_t count = slice->count;
    enum cm_status status = describe_rows(sampler, slice);
    if (status == CM_OK) {
        status = upload_masks(sampler);
    }
    if (status != CM_OK) {
        return status;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct cm_step_sequence *step = &slice->work->rows[slice->indices[i]];
        step_rows[i] = (int32_t)(step->row_begin + step->rows_count - 1);
    }
    float *logits = cm_forward_logits(forward, step_rows, count);
    uint32_t history_end = sampler->host_rows[count - 1].history_end;
    cm_backend_upload(backend, sampler->rows, sampler->host_rows,
                      count * sizeof *sampler->host_rows);
    if (history_end > 0) {
        cm_backend_upload(backend, sampler->history, sampler->host_history,
                          history_end * sizeof(int32_t));
    }
    cm_op_sample(backend, &(struct cm_sample_args){
                              .logits = logits,
                              .n_rows = count,
                              .n_vocab = sampler->n_vocab,
                              .rows = sampler->rows,
                              .history = sampler->history,
                              .mask_ids = sampler->mask_ids,
                              .tokens = sampler->tokens,
                              .logprobs = sampler->logprobs,
                          });
    int32_t slice_tokens[CM_LOGITS_ROWS_MAX];
    float slice_logprobs[CM_LOGITS_ROWS_MAX];
    cm_backend_download(backend, slice_tokens, sampler->tokens, count * sizeof *slice_tokens);
    cm_backend_download(backend, slice_logprobs, sampler->logprobs, count * sizeof *slice_logprobs);
    for (uint32_t i = 0; i < count; i++) {
        tokens[slice->indices[i]] = slice_tokens[i];
        logprobs[slice->indices[i]] = slice_logprobs[i];
    }
    return CM_OK;
}

enum cm_status cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                              const struct cm_step_work *work, int32_t *tokens, float *logprobs)
{
    struct slice slice = { .work = work };
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < work->sequences_count && status == CM_OK; i++) {
        if (!work->rows[i].want_logits) {
            continue;
        }
        slice.indices[slice.count++] = i;
        if (slice.count == CM_LOGITS_ROWS_MAX) {
            status = run_slice(sampler, forward, &slice, tokens, logprobs);
            slice.count = 0;
        }
    }
    if (status == CM_OK && slice.count > 0) {
        status = run_slice(sampler, forward, &slice, tokens, logprobs);
    }
    return status;
}
