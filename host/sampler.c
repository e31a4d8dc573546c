#include "host/sampler.h"

#include "base/memory.h"
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

/* `indices` into work, at most CM_LOGITS_ROWS_MAX of them. */
static void run_slice(struct cm_sampler *sampler, struct cm_forward *forward,
                      const struct cm_step_work *work, const uint32_t *indices, uint32_t count,
                      int32_t *tokens, float *logprobs)
{
    int32_t step_rows[CM_LOGITS_ROWS_MAX] = { 0 };
    uint32_t history_end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct cm_step_sequence *step = &work->rows[indices[i]];
        const struct cm_sequence *sequence = work->sequences[indices[i]];
        step_rows[i] = (int32_t)(step->row_begin + step->rows_count - 1);
        sampler->host_rows[i] = sample_row(sequence);
        sampler->host_rows[i].history_begin = history_end;
        if (sequence->request.sampling.repetition_penalty != 1.0f) {
            history_end = append_history(sampler, sequence, history_end);
        }
        sampler->host_rows[i].history_end = history_end;
    }
    struct cm_backend *backend = sampler->backend;
    float *logits = cm_forward_logits(forward, step_rows, count);
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
                              .tokens = sampler->tokens,
                              .logprobs = sampler->logprobs,
                          });
    int32_t slice_tokens[CM_LOGITS_ROWS_MAX];
    float slice_logprobs[CM_LOGITS_ROWS_MAX];
    cm_backend_download(backend, slice_tokens, sampler->tokens, count * sizeof *slice_tokens);
    cm_backend_download(backend, slice_logprobs, sampler->logprobs, count * sizeof *slice_logprobs);
    for (uint32_t i = 0; i < count; i++) {
        tokens[indices[i]] = slice_tokens[i];
        logprobs[indices[i]] = slice_logprobs[i];
    }
}

void cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                    const struct cm_step_work *work, int32_t *tokens, float *logprobs)
{
    uint32_t indices[CM_LOGITS_ROWS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        if (!work->rows[i].want_logits) {
            continue;
        }
        indices[count++] = i;
        if (count == CM_LOGITS_ROWS_MAX) {
            run_slice(sampler, forward, work, indices, count, tokens, logprobs);
            count = 0;
        }
    }
    if (count > 0) {
        run_slice(sampler, forward, work, indices, count, tokens, logprobs);
    }
}
