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
    struct beam_memory {
        float *uniforms; /* [CM_LOGITS_ROWS_MAX, candidates_max], as the next three */
        int32_t *tokens;
        float *scores;
        float *logprobs;
        float *log_masses; /* [CM_LOGITS_ROWS_MAX] */
    } beam;

    /* The same in host memory, to be filled and uploaded. */
    struct cm_sample_row *host_rows;
    int32_t *host_history;
    size_t history_capacity;
    float *host_uniforms; /* [CM_LOGITS_ROWS_MAX, candidates_max] */

    uint32_t batch;
    struct cm_step_samples samples; /* of the last step */

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

enum cm_status cm_sampler_open(struct cm_backend *backend, uint32_t n_vocab, uint32_t batch,
                               struct cm_sampler **sampler)
{
    struct cm_sampler *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    size_t rows = CM_LOGITS_ROWS_MAX;
    opened->backend = backend;
    opened->n_vocab = n_vocab;
    opened->batch = batch;
    opened->rows = cm_backend_alloc(backend, rows * sizeof *opened->rows);
    opened->tokens = cm_backend_alloc(backend, rows * sizeof *opened->tokens);
    opened->logprobs = cm_backend_alloc(backend, rows * sizeof *opened->logprobs);
    opened->host_rows = cm_alloc(rows, sizeof *opened->host_rows);
    opened->samples.tokens = cm_alloc(batch, sizeof *opened->samples.tokens);
    opened->samples.logprobs = cm_alloc(batch, sizeof *opened->samples.logprobs);
    if (opened->rows == NULL || opened->tokens == NULL || opened->logprobs == NULL ||
        opened->host_rows == NULL || opened->samples.tokens == NULL ||
        opened->samples.logprobs == NULL) {
        cm_sampler_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *sampler = opened;
    return CM_OK;
}

static void free_beam_memory(struct cm_sampler *sampler)
{
    cm_backend_free(sampler->backend, sampler->beam.uniforms);
    cm_backend_free(sampler->backend, sampler->beam.tokens);
    cm_backend_free(sampler->backend, sampler->beam.scores);
    cm_backend_free(sampler->backend, sampler->beam.logprobs);
    cm_backend_free(sampler->backend, sampler->beam.log_masses);
    cm_free(sampler->host_uniforms);
    cm_free(sampler->samples.candidate_tokens);
    cm_free(sampler->samples.candidate_scores);
    cm_free(sampler->samples.candidate_logprobs);
    cm_free(sampler->samples.log_masses);
    sampler->beam = (struct beam_memory){ 0 };
    sampler->host_uniforms = NULL;
    sampler->samples = (struct cm_step_samples){
        .tokens = sampler->samples.tokens,
        .logprobs = sampler->samples.logprobs,
    };
}

void cm_sampler_close(struct cm_sampler *sampler)
{
    if (sampler != NULL) {
        free_beam_memory(sampler);
        cm_free(sampler->samples.tokens);
        cm_free(sampler->samples.logprobs);
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

static enum cm_status reserve_beams(struct cm_sampler *sampler, uint32_t candidates_count)
{
    struct cm_backend *backend = sampler->backend;
    struct beam_memory *beam = &sampler->beam;
    struct cm_step_samples *samples = &sampler->samples;
    size_t device_values = (size_t)CM_LOGITS_ROWS_MAX * candidates_count;
    size_t host_values = (size_t)sampler->batch * candidates_count;
    if (candidates_count <= samples->candidates_max) {
        return CM_OK;
    }
    free_beam_memory(sampler);
    beam->uniforms = cm_backend_alloc(backend, device_values * sizeof *beam->uniforms);
    beam->tokens = cm_backend_alloc(backend, device_values * sizeof *beam->tokens);
    beam->scores = cm_backend_alloc(backend, device_values * sizeof *beam->scores);
    beam->logprobs = cm_backend_alloc(backend, device_values * sizeof *beam->logprobs);
    beam->log_masses = cm_backend_alloc(backend, CM_LOGITS_ROWS_MAX * sizeof *beam->log_masses);
    sampler->host_uniforms = cm_alloc(device_values, sizeof *sampler->host_uniforms);
    samples->candidate_tokens = cm_alloc(host_values, sizeof *samples->candidate_tokens);
    samples->candidate_scores = cm_alloc(host_values, sizeof *samples->candidate_scores);
    samples->candidate_logprobs = cm_alloc(host_values, sizeof *samples->candidate_logprobs);
    samples->log_masses = cm_alloc(sampler->batch, sizeof *samples->log_masses);
    if (beam->uniforms == NULL || beam->tokens == NULL || beam->scores == NULL ||
        beam->logprobs == NULL || beam->log_masses == NULL || sampler->host_uniforms == NULL ||
        samples->candidate_tokens == NULL || samples->candidate_scores == NULL ||
        samples->candidate_logprobs == NULL || samples->log_masses == NULL) {
        free_beam_memory(sampler);
        return CM_OUT_OF_MEMORY;
    }
    samples->candidates_max = candidates_count;
    return CM_OK;
}

enum cm_status cm_sampler_reserve(struct cm_sampler *sampler, uint32_t tokens,
                                  uint32_t candidates_count)
{
    enum cm_status status = reserve_beams(sampler, candidates_count);
    if (status != CM_OK) {
        return status;
    }
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
static uint32_t append_history(struct cm_sampler *sampler, const struct cm_request *request,
                               const struct cm_branch *branch, uint32_t end)
{
    uint32_t prompt_tokens = request->prompt_tokens;
    CM_ASSERT(end + prompt_tokens + branch->output_tokens <= sampler->history_capacity);
    memcpy(sampler->host_history + end, request->prompt, prompt_tokens * sizeof(int32_t));
    memcpy(sampler->host_history + end + prompt_tokens, branch->output,
           branch->output_tokens * sizeof(int32_t));
    return end + prompt_tokens + branch->output_tokens;
}

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

static enum cm_status add_constraints(struct cm_sampler *sampler, const struct cm_request *request,
                                      const struct cm_branch *branch, struct cm_sample_row *row)
{
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX && status == CM_OK; i++) {
        struct known_mask found;
        if (request->constraints[i] == NULL) {
            continue;
        }
        status = find_mask(sampler, request->constraints[i], branch->constraint_states[i], &found);
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

/* Some rows of a step that want logits, either all of beam searches or none. */
struct slice {
    const struct cm_step_work *work;
    bool beams;
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
        uint32_t index = slice->indices[i];
        const struct cm_sequence *sequence = slice->work->sequences[index];
        const struct cm_branch *branch = &sequence->branches[slice->work->branches[index]];
        const struct cm_request *request = &sequence->request;
        const struct cm_sampling *sampling = &request->sampling;
        struct cm_sample_row *row = &sampler->host_rows[i];
        *row = sample_row(request, branch);
        row->history_begin = history_end;
        if (sampling->repetition_penalty != 1.0f || sampling->no_repeat_ngram > 0) {
            history_end = append_history(sampler, request, branch, history_end);
        }
        row->history_end = history_end;
        status = add_constraints(sampler, request, branch, row);
        /* Where only a few tokens go on, as inside a number, the rule about n-grams stands back: it
         * could leave none. */
        if (status == CM_OK && sampling->no_repeat_ngram > 0 && !row->only_allowed) {
            status = add_ngram_bans(sampler, row, sampling->no_repeat_ngram);
        }
    }
    return status;
}

/* Describes the rows on the device and computes their logits. */
static enum cm_status prepare_slice(struct cm_sampler *sampler, struct cm_forward *forward,
                                    const struct slice *slice, float **logits)
{
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
    *logits = cm_forward_logits(forward, step_rows, count);
    uint32_t history_end = sampler->host_rows[count - 1].history_end;
    cm_backend_upload(sampler->backend, sampler->rows, sampler->host_rows,
                      count * sizeof *sampler->host_rows);
    if (history_end > 0) {
        cm_backend_upload(sampler->backend, sampler->history, sampler->host_history,
                          history_end * sizeof(int32_t));
    }
    return CM_OK;
}

static void sample_texts(struct cm_sampler *sampler, const struct slice *slice, const float *logits)
{
    struct cm_backend *backend = sampler->backend;
    uint32_t count = slice->count;
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
    int32_t tokens[CM_LOGITS_ROWS_MAX];
    float logprobs[CM_LOGITS_ROWS_MAX];
    cm_backend_download(backend, tokens, sampler->tokens, count * sizeof *tokens);
    cm_backend_download(backend, logprobs, sampler->logprobs, count * sizeof *logprobs);
    for (uint32_t i = 0; i < count; i++) {
        sampler->samples.tokens[slice->indices[i]] = tokens[i];
        sampler->samples.logprobs[slice->indices[i]] = logprobs[i];
    }
}

static void draw_uniforms(struct cm_sampler *sampler, const struct slice *slice)
{
    uint32_t width = sampler->samples.candidates_max;
    for (uint32_t i = 0; i < slice->count; i++) {
        uint32_t index = slice->indices[i];
        uint32_t beam = slice->work->branches[index];
        const struct cm_sequence *sequence = slice->work->sequences[index];
        const struct cm_request *request = &sequence->request;
        for (uint32_t j = 0; request->sampling.temperature > 0.0f && j < width; j++) {
            float uniforms[2];
            cm_philox_uniforms(request->seed, request->attempt,
                               sequence->branches[beam].output_tokens, cm_philox_beam_lane(beam, j),
                               uniforms);
            sampler->host_uniforms[(size_t)i * width + j] = uniforms[0];
        }
    }
    cm_backend_upload(sampler->backend, sampler->beam.uniforms, sampler->host_uniforms,
                      (size_t)slice->count * width * sizeof(float));
}

static void find_candidates(struct cm_sampler *sampler, const struct slice *slice, float *logits)
{
    struct cm_backend *backend = sampler->backend;
    const struct beam_memory *beam = &sampler->beam;
    struct cm_step_samples *samples = &sampler->samples;
    uint32_t width = samples->candidates_max;
    draw_uniforms(sampler, slice);
    cm_op_beam(backend, &(struct cm_beam_args){
                            .logits = logits,
                            .n_rows = slice->count,
                            .n_vocab = sampler->n_vocab,
                            .n_candidates = width,
                            .rows = sampler->rows,
                            .history = sampler->history,
                            .mask_ids = sampler->mask_ids,
                            .uniforms = beam->uniforms,
                            .tokens = beam->tokens,
                            .scores = beam->scores,
                            .logprobs = beam->logprobs,
                            .log_masses = beam->log_masses,
                        });
    for (uint32_t i = 0; i < slice->count; i++) {
        size_t from = (size_t)i * width;
        size_t to = (size_t)slice->indices[i] * width;
        size_t bytes = width * sizeof(float);
        cm_backend_download(backend, samples->candidate_tokens + to, beam->tokens + from, bytes);
        cm_backend_download(backend, samples->candidate_scores + to, beam->scores + from, bytes);
        cm_backend_download(backend, samples->candidate_logprobs + to, beam->logprobs + from,
                            bytes);
        cm_backend_download(backend, samples->log_masses + slice->indices[i], beam->log_masses + i,
                            sizeof(float));
    }
}

/* Handles the slice's rows and empties it. */
static enum cm_status run_slice(struct cm_sampler *sampler, struct cm_forward *forward,
                                struct slice *slice)
{
    float *logits;
    enum cm_status status = prepare_slice(sampler, forward, slice, &logits);
    if (status == CM_OK && slice->beams) {
        find_candidates(sampler, slice, logits);
    } else if (status == CM_OK) {
        sample_texts(sampler, slice, logits);
    }
    slice->count = 0;
    return status;
}

enum cm_status cm_sampler_run(struct cm_sampler *sampler, struct cm_forward *forward,
                              const struct cm_step_work *work,
                              const struct cm_step_samples **samples)
{
    struct slice slices[2] = { { .work = work, .beams = false }, { .work = work, .beams = true } };
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < work->sequences_count && status == CM_OK; i++) {
        struct slice *slice = &slices[work->sequences[i]->beams != NULL];
        if (!work->rows[i].want_logits) {
            continue;
        }
        slice->indices[slice->count++] = i;
        if (slice->count == CM_LOGITS_ROWS_MAX) {
            status = run_slice(sampler, forward, slice);
        }
    }
    for (size_t i = 0; i < 2 && status == CM_OK; i++) {
        if (slices[i].count > 0) {
            status = run_slice(sampler, forward, &slices[i]);
        }
    }
    *samples = &sampler->samples;
    return status;
}
