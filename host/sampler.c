#include "host/sampler.h"

#include "base/memory.h"
#include "host/mask_lists.h"
#include "host/philox.h"
#include "host/step_list.h"

#include <string.h>

/* Of a text's history, for the planned size of all; longer ones make the list grow. */
enum { HISTORY_TOKENS_PLANNED = 2048 };

struct cm_sampler {
    struct cm_backend *backend;
    struct cm_sampler_options options;
    uint32_t texts_count; /* rows of the step that want one token; they come first */
    uint32_t beams_count; /* rows of beam searches, behind them */
    uint32_t width;       /* candidates of each of those */
    uint32_t width_max;
    uint32_t *places; /* [batch] see cm_step_samples */

    /* What the rows want, on both sides. */
    struct cm_sample_row *host_rows; /* [batch] */
    struct cm_sample_row *rows;      /* [batch] */
    float *host_uniforms;            /* [batch, width] of beam searches */
    float *uniforms;
    struct cm_step_list history;
    struct cm_mask_lists *masks;

    /* What came out, on both sides. */
    struct results {
        int32_t *tokens;           /* [batch] */
        float *logprobs;           /* [batch] */
        int32_t *candidate_tokens; /* [batch, width], as the next two */
        float *candidate_scores;
        float *candidate_logprobs;
        float *log_masses; /* [batch] */
    } device, host;
    struct cm_step_samples samples;
};

/* --- Opening --- */

/* Sets *failed when there is no memory, so that the caller can list all buffers and look once. */
static void *on_device(struct cm_sampler *sampler, size_t bytes, bool *failed)
{
    void *memory = cm_backend_alloc(sampler->backend, bytes);
    *failed = *failed || memory == NULL;
    return memory;
}

static void *on_host(struct cm_sampler *sampler, size_t bytes, bool *failed)
{
    void *memory = cm_backend_host_alloc(sampler->backend, bytes);
    *failed = *failed || memory == NULL;
    return memory;
}

static void open_results(struct cm_sampler *sampler, struct results *results,
                         void *reserve(struct cm_sampler *, size_t, bool *), bool *failed)
{
    size_t rows = sampler->options.batch;
    size_t values = rows * sampler->width_max;
    results->tokens = reserve(sampler, rows * sizeof *results->tokens, failed);
    results->logprobs = reserve(sampler, rows * sizeof *results->logprobs, failed);
    results->candidate_tokens =
        reserve(sampler, values * sizeof *results->candidate_tokens, failed);
    results->candidate_scores =
        reserve(sampler, values * sizeof *results->candidate_scores, failed);
    results->candidate_logprobs =
        reserve(sampler, values * sizeof *results->candidate_logprobs, failed);
    results->log_masses = reserve(sampler, rows * sizeof *results->log_masses, failed);
}

static void close_results(struct cm_sampler *sampler, struct results *results,
                          void release(struct cm_backend *, void *))
{
    void *const buffers[] = {
        results->tokens,           results->logprobs,           results->candidate_tokens,
        results->candidate_scores, results->candidate_logprobs, results->log_masses
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        release(sampler->backend, buffers[i]);
    }
}

enum cm_status cm_sampler_open(struct cm_backend *backend, const struct cm_sampler_options *options,
                               struct cm_sampler **sampler)
{
    struct cm_sampler *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    bool failed = false;
    size_t rows = options->batch;
    opened->backend = backend;
    opened->options = *options;
    uint32_t beams_max = options->batch < CM_BEAMS_MAX ? options->batch : CM_BEAMS_MAX;
    opened->width_max = cm_beam_search_candidates(beams_max, options->stop_tokens_count);
    opened->places = cm_alloc(rows, sizeof *opened->places);
    opened->host_rows = on_host(opened, rows * sizeof *opened->host_rows, &failed);
    opened->rows = on_device(opened, rows * sizeof *opened->rows, &failed);
    opened->host_uniforms = on_host(opened, rows * opened->width_max * sizeof(float), &failed);
    opened->uniforms = on_device(opened, rows * opened->width_max * sizeof(float), &failed);
    open_results(opened, &opened->device, on_device, &failed);
    open_results(opened, &opened->host, on_host, &failed);
    size_t history_tokens = options->context_tokens < HISTORY_TOKENS_PLANNED
                                ? options->context_tokens
                                : HISTORY_TOKENS_PLANNED;
    if (failed || opened->places == NULL ||
        cm_step_list_init(&opened->history, backend, rows * history_tokens) != CM_OK ||
        cm_mask_lists_open(backend, options->batch, &opened->masks) != CM_OK) {
        cm_sampler_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *sampler = opened;
    return CM_OK;
}

void cm_sampler_close(struct cm_sampler *sampler)
{
    if (sampler != NULL) {
        cm_mask_lists_close(sampler->masks);
        cm_step_list_deinit(&sampler->history);
        close_results(sampler, &sampler->host, cm_backend_host_free);
        close_results(sampler, &sampler->device, cm_backend_free);
        cm_backend_host_free(sampler->backend, sampler->host_rows);
        cm_backend_free(sampler->backend, sampler->rows);
        cm_backend_host_free(sampler->backend, sampler->host_uniforms);
        cm_backend_free(sampler->backend, sampler->uniforms);
        cm_free(sampler->places);
        cm_free(sampler);
    }
}

/* --- What the rows want --- */

static struct cm_sample_row sample_row(const struct cm_request *request,
                                       const struct cm_branch *branch)
{
    return (struct cm_sample_row){
        .temperature = request->sampling.temperature,
        .top_p = request->sampling.top_p,
        .min_p = request->sampling.min_p,
        .repetition_penalty = request->sampling.repetition_penalty,
        .top_k = request->sampling.top_k,
        .uniform = cm_philox_uniform(request->seed, request->attempt, branch->output_tokens),
        .want_logprob = true,
    };
}

/* Appends the row's text so far to the history. */
static enum cm_status append_history(struct cm_step_list *history, const struct cm_request *request,
                                     const struct cm_branch *branch)
{
    uint32_t prompt_tokens = request->prompt_tokens;
    enum cm_status status =
        cm_step_list_reserve(history, (size_t)prompt_tokens + branch->output_tokens);
    if (status == CM_OK) {
        int32_t *to = history->host + history->count;
        memcpy(to, request->prompt, prompt_tokens * sizeof *to);
        memcpy(to + prompt_tokens, branch->output, branch->output_tokens * sizeof *to);
        history->count += prompt_tokens + branch->output_tokens;
    }
    return status;
}

static enum cm_status describe_row(struct cm_sampler *sampler, const struct cm_request *request,
                                   const struct cm_branch *branch, struct cm_sample_row *row)
{
    const struct cm_sampling *sampling = &request->sampling;
    struct cm_step_list *history = &sampler->history;
    enum cm_status status = CM_OK;
    *row = sample_row(request, branch);
    row->history_begin = (uint32_t)history->count;
    if (sampling->repetition_penalty != 1.0f || sampling->no_repeat_ngram > 0) {
        status = append_history(history, request, branch);
    }
    row->history_end = (uint32_t)history->count;
    if (status == CM_OK) {
        status =
            cm_mask_lists_add(sampler->masks, request, branch, history->host + row->history_begin,
                              row->history_end - row->history_begin, row);
    }
    return status;
}

static void draw_uniforms(struct cm_sampler *sampler, const struct cm_sequence *sequence,
                          uint32_t beam, float *uniforms)
{
    const struct cm_request *request = &sequence->request;
    for (uint32_t i = 0; request->sampling.temperature > 0.0f && i < sampler->width; i++) {
        float pair[2];
        cm_philox_uniforms(request->seed, request->attempt, sequence->branches[beam].output_tokens,
                           cm_philox_beam_lane(beam, i), pair);
        uniforms[i] = pair[0];
    }
}

/* The rows of beam searches, or all others. */
static enum cm_status describe_rows(struct cm_sampler *sampler, const struct cm_step_work *work,
                                    bool beams, struct cm_step_plan *plan)
{
    uint32_t first = plan->n_logits;
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < work->sequences_count && status == CM_OK; i++) {
        const struct cm_sequence *sequence = work->sequences[i];
        const struct cm_step_sequence *rows = &work->rows[i];
        if (!rows->want_logits || (sequence->beams != NULL) != beams) {
            continue;
        }
        uint32_t index = plan->n_logits++;
        sampler->places[i] = index - first;
        plan->host.logits_rows[index] = (int32_t)(rows->row_begin + rows->rows_count - 1);
        const struct cm_branch *branch = &sequence->branches[work->branches[i]];
        status = describe_row(sampler, &sequence->request, branch, &sampler->host_rows[index]);
        if (beams) {
            draw_uniforms(sampler, sequence, work->branches[i],
                          sampler->host_uniforms + (size_t)(index - first) * sampler->width);
        }
    }
    return status;
}

/* The most candidates that a beam search of the step looks at. */
static uint32_t widest(const struct cm_sampler *sampler, const struct cm_step_work *work)
{
    uint32_t width = 0;
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        const struct cm_sequence *sequence = work->sequences[i];
        if (sequence->beams != NULL) {
            uint32_t wanted = cm_beam_search_candidates(sequence->branches_max,
                                                        sampler->options.stop_tokens_count);
            width = wanted > width ? wanted : width;
        }
    }
    return width;
}

enum cm_status cm_sampler_describe(struct cm_sampler *sampler, const struct cm_step_work *work,
                                   struct cm_step_plan *plan)
{
    CM_ASSERT(work->sequences_count <= sampler->options.batch);
    cm_mask_lists_clear(sampler->masks);
    sampler->history.count = 0;
    sampler->width = widest(sampler, work);
    CM_ASSERT(sampler->width <= sampler->width_max);
    enum cm_status status = describe_rows(sampler, work, false, plan);
    sampler->texts_count = plan->n_logits;
    if (status == CM_OK) {
        status = describe_rows(sampler, work, true, plan);
    }
    sampler->beams_count = plan->n_logits - sampler->texts_count;
    return status;
}

uint32_t cm_sampler_width(const struct cm_sampler *sampler)
{
    bool is_mixed = sampler->beams_count > 0 && sampler->texts_count > 0;
    return is_mixed ? CM_SAMPLER_MIXED : sampler->beams_count > 0 ? sampler->width : 0;
}

void cm_sampler_pad(struct cm_sampler *sampler, uint32_t rows_count)
{
    CM_ASSERT(sampler->beams_count == 0 || sampler->texts_count == 0);
    CM_ASSERT(rows_count <= sampler->options.batch);
    uint32_t *count = sampler->beams_count > 0 ? &sampler->beams_count : &sampler->texts_count;
    while (*count < rows_count) {
        sampler->host_rows[(*count)++] =
            (struct cm_sample_row){ .top_p = 1.0f, .repetition_penalty = 1.0f };
    }
}

void cm_sampler_send(struct cm_sampler *sampler)
{
    struct cm_backend *backend = sampler->backend;
    uint32_t rows_count = sampler->texts_count + sampler->beams_count;
    cm_backend_send(backend, sampler->rows, sampler->host_rows, rows_count * sizeof *sampler->rows);
    cm_backend_send(backend, sampler->uniforms, sampler->host_uniforms,
                    (size_t)sampler->beams_count * sampler->width * sizeof *sampler->uniforms);
    cm_step_list_send(&sampler->history);
    cm_mask_lists_send(sampler->masks);
}

/* --- The ops --- */

static uint32_t slice_of(uint32_t left)
{
    return left < CM_LOGITS_ROWS_MAX ? left : CM_LOGITS_ROWS_MAX;
}

/* Whether candidates of each device mostly settle what the rows want. */
static bool candidates_suffice(const struct cm_sample_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool few = rows[i].top_k > 0 && rows[i].top_k <= CM_SPLIT_CANDIDATES;
        bool greedy = !(rows[i].temperature > 0.0f);
        if (!greedy && !few && rows[i].top_p >= 1.0f && !(rows[i].min_p > 0.0f)) {
            return false;
        }
    }
    return true;
}

static void sample_texts(struct cm_sampler *sampler, struct cm_forward *forward,
                         const struct cm_step_plan *plan, bool whole)
{
    const struct cm_model_part *part = cm_forward_part(forward);
    for (uint32_t first = 0; first < sampler->texts_count; first += CM_LOGITS_ROWS_MAX) {
        uint32_t count = slice_of(sampler->texts_count - first);
        struct cm_sample_args args = {
            .n_rows = count,
            .n_vocab = sampler->options.n_vocab,
            .rows = sampler->rows + first,
            .history = sampler->history.device,
            .mask_ids = cm_mask_lists_ids(sampler->masks),
            .tokens = sampler->device.tokens + first,
            .logprobs = sampler->device.logprobs + first,
        };
        if (whole || part->ranks_count == 1 ||
            !candidates_suffice(sampler->host_rows + first, count)) {
            args.logits = cm_forward_logits(forward, plan, first, count);
            cm_op_sample(sampler->backend, &args);
        } else {
            args.n_vocab = part->config.n_vocab;
            args.logits = cm_forward_own_logits(forward, plan, first, count);
            cm_op_sample_split(sampler->backend, &args, &part->vocabulary,
                               cm_forward_scratch(forward));
        }
    }
}

static void find_candidates(struct cm_sampler *sampler, float *logits, uint32_t first,
                            uint32_t count)
{
    size_t value = (size_t)first * sampler->width;
    cm_op_beam(sampler->backend, &(struct cm_beam_args){
                                     .logits = logits,
                                     .n_rows = count,
                                     .n_vocab = sampler->options.n_vocab,
                                     .n_candidates = sampler->width,
                                     .rows = sampler->rows + sampler->texts_count + first,
                                     .history = sampler->history.device,
                                     .mask_ids = cm_mask_lists_ids(sampler->masks),
                                     .uniforms = sampler->uniforms + value,
                                     .tokens = sampler->device.candidate_tokens + value,
                                     .scores = sampler->device.candidate_scores + value,
                                     .logprobs = sampler->device.candidate_logprobs + value,
                                     .log_masses = sampler->device.log_masses + first,
                                 });
}

void cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                    const struct cm_step_plan *plan)
{
    sample_texts(sampler, forward, plan, false);
    for (uint32_t i = 0; i < sampler->beams_count; i += CM_LOGITS_ROWS_MAX) {
        uint32_t count = slice_of(sampler->beams_count - i);
        float *logits = cm_forward_logits(forward, plan, sampler->texts_count + i, count);
        find_candidates(sampler, logits, i, count);
    }
}

bool cm_sampler_settle(struct cm_sampler *sampler, struct cm_forward *forward,
                       const struct cm_step_plan *plan)
{
    for (uint32_t i = 0; i < sampler->texts_count; i++) {
        if (sampler->host.tokens[i] < 0) {
            sample_texts(sampler, forward, plan, true);
            return true;
        }
    }
    return false;
}

/* --- What came out --- */

void cm_sampler_fetch(struct cm_sampler *sampler)
{
    struct cm_backend *backend = sampler->backend;
    const struct results *from = &sampler->device;
    const struct results *to = &sampler->host;
    size_t texts_bytes = sampler->texts_count * sizeof(float);
    size_t beams_bytes = sampler->beams_count * sizeof(float);
    size_t values_bytes = beams_bytes * sampler->width;
    cm_backend_fetch(backend, to->tokens, from->tokens, texts_bytes);
    cm_backend_fetch(backend, to->logprobs, from->logprobs, texts_bytes);
    cm_backend_fetch(backend, to->candidate_tokens, from->candidate_tokens, values_bytes);
    cm_backend_fetch(backend, to->candidate_scores, from->candidate_scores, values_bytes);
    cm_backend_fetch(backend, to->candidate_logprobs, from->candidate_logprobs, values_bytes);
    cm_backend_fetch(backend, to->log_masses, from->log_masses, beams_bytes);
    sampler->samples = (struct cm_step_samples){
        .places = sampler->places,
        .tokens = to->tokens,
        .logprobs = to->logprobs,
        .candidates_max = sampler->width,
        .candidate_tokens = to->candidate_tokens,
        .candidate_scores = to->candidate_scores,
        .candidate_logprobs = to->candidate_logprobs,
        .log_masses = to->log_masses,
    };
}

const struct cm_step_samples *cm_sampler_samples(const struct cm_sampler *sampler)
{
    return &sampler->samples;
}
