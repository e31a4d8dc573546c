#include "jobs/job.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct cm_catalog_options catalog_options_of(const struct cm_run_options *options)
{
    return (struct cm_catalog_options){
        .path = options->catalog_path,
        .maps = options->maps,
        .maps_count = options->maps_count,
    };
}

/* A catalog that cannot be read should say so before a large model is loaded. */
static enum cm_status try_catalog(const struct cm_run_options *options, struct cm_error *error)
{
    struct cm_catalog_options catalog_options = catalog_options_of(options);
    struct cm_catalog *catalog = NULL;
    if (strcmp(options->catalog_path, "-") == 0) {
        return CM_OK; /* can be read only once */
    }
    enum cm_status status = cm_catalog_open(&catalog_options, &catalog, error);
    if (status == CM_OK) {
        cm_catalog_close(catalog);
    }
    return status;
}

/* Items that the job can have, as far as `most`. */
static uint64_t count_items(const struct cm_run_options *options, uint64_t most)
{
    struct cm_catalog_options catalog_options = catalog_options_of(options);
    struct cm_catalog *catalog = NULL;
    struct cm_item item;
    uint64_t count = 0;
    most = options->limit > 0 && options->limit < most ? options->limit : most;
    if (options->only != NULL) {
        uint64_t named = 1;
        for (const char *at = options->only; *at != '\0'; at++) {
            named += *at == ',';
        }
        return named < most ? named : most;
    }
    catalog_options.quiet = true;
    if (strcmp(options->catalog_path, "-") == 0 ||
        cm_catalog_open(&catalog_options, &catalog, NULL) != CM_OK) {
        return most;
    }
    while (count < most && cm_catalog_next(catalog, &item, NULL) == CM_OK) {
        cm_item_deinit(&item);
        count++;
    }
    cm_catalog_close(catalog);
    return count;
}

/* A small job's threads had better compute its few texts together. */
static uint32_t count_texts(const struct cm_job *job)
{
    const struct cm_run_options *options = job->options;
    uint64_t per_item = job->segments.count > 0 ? job->segments.count : 1;
    per_item *= options->questions_path != NULL ? job->questions.count : 1;
    per_item *= (uint64_t)options->sampling.beams * (options->best_of > 1 ? options->best_of : 1);
    uint64_t most = per_item > 0 ? CM_ENGINE_BATCH_MAX / per_item + 1 : 0;
    uint64_t count = count_items(options, most) * per_item;
    return count < CM_ENGINE_BATCH_MAX ? (uint32_t)count : CM_ENGINE_BATCH_MAX;
}

static enum cm_status open_engine(struct cm_job *job, struct cm_error *error)
{
    const struct cm_run_options *options = job->options;
    struct cm_engine_options engine_options = {
        .model_path = job->model_path,
        .precision = options->precision,
        .kv = options->kv,
        .device = options->device,
        .tp = options->tp,
        .device_timeout_s = options->device_timeout_s,
        .threads = options->threads,
        .batch = options->batch,
        .texts_max = options->batch == 0 ? count_texts(job) : 0,
        .memory_bytes = (uint64_t)(options->memory_gib * 0x1p30),
        .context_tokens = options->max_length,
    };
    enum cm_status status =
        cm_model_resolve(options->model, job->model_path, sizeof job->model_path, error);
    if (status == CM_OK) {
        status = cm_engine_open(&engine_options, &job->engine, error);
    }
    if (status == CM_OK) {
        cm_engine_info(job->engine, &job->model);
        status = cm_engine_model_digest(job->engine, job->model_digest, error);
    }
    return status;
}

static enum cm_status open_controls(struct cm_job *job, struct cm_error *error)
{
    enum { FORBIDDEN_BYTES_MAX = 4 << 20 };
    struct cm_text forbidden = CM_TEXT_INIT(FORBIDDEN_BYTES_MAX);
    enum cm_status status = cm_judge_append_forbidden(job->judge, &forbidden);
    if (status == CM_OK) {
        status = cm_controls_open(job->options, cm_prompts_channel(job->prompts),
                                  cm_engine_tokenizer(job->engine), cm_text_span(&forbidden),
                                  &job->controls, error);
    } else {
        cm_error_set(error, status, "out of memory");
    }
    cm_text_deinit(&forbidden);
    return status;
}

static enum cm_status open_keys(struct cm_job *job, struct cm_error *error)
{
    struct cm_row_key_job key_job = {
        .seed = job->options->seed,
        .scenario = job->options->scenario,
        .channel = job->options->channel,
        .prompts = job->prompts,
        .model_digest = job->model_digest,
        .variant = job->model.variant,
        .sampling = &job->options->sampling,
        .max_tokens = job->options->max_tokens,
        .max_length = job->options->max_length,
        .controls = job->controls,
    };
    enum cm_status status = cm_row_keys_open(&key_job, &job->keys);
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "out of memory");
}

/* Says what was found. */
static void announce(const struct cm_job *job)
{
    const struct cm_engine_info *model = &job->model;
    char where[64];
    if (model->devices > 1) {
        snprintf(where, sizeof where, "%" PRIu32 " devices", model->devices);
    } else if (model->replicas > 1) {
        snprintf(where, sizeof where, "%" PRIu32 " threads in %" PRIu32 " groups", model->threads,
                 model->replicas);
    } else {
        snprintf(where, sizeof where, "%" PRIu32 " thread%s", model->threads,
                 model->threads == 1 ? "" : "s");
    }
    cm_log(CM_LOG_INFO, "catalog: %s; %zu %s", cm_plan_describe(job->plan), job->segments.count,
           job->segments.count == 1 ? "segment" : "segments");
    cm_log(CM_LOG_INFO,
           "model: %s, %.0f million parameters, %s, %s, up to %" PRIu32 " copies at once",
           model->name, (double)model->parameters_count / 1e6, model->variant, where, model->batch);
}

enum cm_status cm_job_open(struct cm_job *job, const struct cm_run_options *options,
                           struct cm_error *error)
{
    *job = (struct cm_job){ .options = options };
    enum cm_status status = try_catalog(options, error);
    if (status == CM_OK) {
        status = cm_segments_open(options->segments_path, &job->segments, error);
    }
    if (status == CM_OK && options->questions_path != NULL) {
        status = cm_questions_open(options->questions_path, &job->questions, error);
    }
    if (status == CM_OK) {
        status = open_engine(job, error);
    }
    if (status == CM_OK) {
        status = cm_prompts_open(options->scenario, options->channel, options->template_path,
                                 cm_engine_tokenizer(job->engine), &job->prompts, error);
    }
    if (status == CM_OK) {
        struct cm_judge_options judge_options = { 0 };
        status = cm_judge_open(&judge_options, &job->judge, error);
    }
    if (status == CM_OK) {
        status = open_controls(job, error);
    }
    if (status == CM_OK) {
        status = open_keys(job, error);
    }
    if (status == CM_OK) {
        struct cm_plan_inputs inputs = {
            .options = options,
            .segments = &job->segments,
            .questions = cm_job_questions(job),
            .prompts = job->prompts,
            .keys = job->keys,
        };
        status = cm_plan_open(&inputs, &job->plan, error);
    }
    if (status == CM_OK) {
        announce(job);
    }
    return status;
}

void cm_job_deinit(struct cm_job *job)
{
    cm_plan_close(job->plan);
    cm_row_keys_close(job->keys);
    cm_judge_close(job->judge);
    cm_controls_close(job->controls);
    cm_prompts_close(job->prompts);
    cm_engine_close(job->engine);
    cm_questions_deinit(&job->questions);
    cm_segments_deinit(&job->segments);
}

const struct cm_questions *cm_job_questions(const struct cm_job *job)
{
    return job->options->questions_path != NULL ? &job->questions : NULL;
}

enum cm_status cm_job_no_rows(const struct cm_job *job, struct cm_error *error)
{
    const struct cm_run_options *options = job->options;
    if (options->questions_path != NULL) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: no question is for a chosen item of %s; item_id must be an id of "
                            "the catalog, or empty for every item",
                            options->questions_path, options->catalog_path);
    }
    return cm_error_set(error, CM_INVALID_DATA, "%s: there are no items in the catalog",
                        options->catalog_path);
}

enum cm_exit cm_job_exit_of(enum cm_status status)
{
    switch (status) {
    case CM_OUT_OF_MEMORY:
    case CM_DEVICE_FAILED:
    case CM_INTERNAL:
        return CM_EXIT_FAILED;
    case CM_INTERRUPTED:
        return CM_EXIT_INTERRUPTED;
    default:
        return CM_EXIT_USAGE;
    }
}
