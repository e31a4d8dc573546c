/* Everything a run or a dry run works with, opened in the order that finds mistakes early. */
#ifndef CM_JOBS_JOB_H
#define CM_JOBS_JOB_H

#include "base/text.h"
#include "host/engine.h"
#include "jobs/content/judge.h"
#include "jobs/controls.h"
#include "jobs/model_store.h"
#include "jobs/plan.h"
#include "jobs/prompt.h"
#include "jobs/row_key.h"
#include "jobs/run_options.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

struct cm_job {
    const struct cm_run_options *options;
    struct cm_segments segments;
    struct cm_questions questions; /* empty without --questions */
    char model_path[CM_MODEL_PATH_BYTES];
    struct cm_engine *engine;
    struct cm_engine_info model;
    char model_digest[CM_SHA256_HEX_BYTES];
    struct cm_prompts *prompts;
    struct cm_controls *controls;
    struct cm_judge *judge;
    struct cm_row_keys *keys;
    struct cm_plan *plan;
};

/* Zero-initialised by open; deinit in every case. Errors are those of the inputs and of the model.
 */
enum cm_status cm_job_open(struct cm_job *job, const struct cm_run_options *options,
                           struct cm_error *error) CM_MUST_CHECK;
void cm_job_deinit(struct cm_job *job);

/* NULL where the job has none. */
const struct cm_questions *cm_job_questions(const struct cm_job *job);

/* The error of a job whose plan was read to its end without a row. */
enum cm_status cm_job_no_rows(const struct cm_job *job, struct cm_error *error) CM_MUST_CHECK;

/* The exit status for an error that came before any work was done. */
enum cm_exit cm_job_exit_of(enum cm_status status);

#endif
