/* A request of a batch file on its way: its prompts as ids, how to decode them, and the answers so
 * far. Owns everything, so that the file can be read on. */
#ifndef CM_JOBS_BATCH_BATCH_TASK_H
#define CM_JOBS_BATCH_BATCH_TASK_H

#include "host/engine.h"
#include "jobs/copy_row.h"
#include "loaders/batch_requests.h"

#include <stdbool.h>

struct cm_batch_choice {
    char *text; /* NULL: not finished */
    uint32_t output_tokens;
    enum cm_finish_reason finish_reason;
};

struct cm_batch_prompt {
    int32_t *ids;
    uint32_t count;
};

struct cm_batch_task {
    uint64_t position; /* among all requests of the file, from 0 */
    char key[CM_ROW_KEY_HEX_BYTES];
    char *custom_id;
    enum cm_batch_endpoint endpoint;
    struct cm_sampling sampling;
    uint64_t seed[2];
    uint32_t tokens_max; /* 0: not said */
    struct cm_batch_prompt *prompts;
    size_t prompts_count;
    char *stops; /* NUL-terminated, one after the other */
    const char *stop_list[CM_BATCH_STOPS_MAX];
    uint32_t stops_count;

    uint32_t choices_per_prompt;
    uint32_t choices_count; /* prompts times n: choice / n is the prompt */
    uint32_t submitted;
    uint32_t finished;
    bool lost; /* devices failed while one of the answers was written */
    struct cm_batch_choice *choices;
};

/* From a good request. CM_INVALID_DATA with a message where a prompt cannot be made;
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_batch_task_create(const struct cm_batch_request *request,
                                    const struct cm_tokenizer *tokenizer,
                                    struct cm_batch_task **task,
                                    struct cm_error *error) CM_MUST_CHECK;
void cm_batch_task_free(struct cm_batch_task *task); /* NULL is fine */

/* Takes an answer: text of the ids, cut where a stop text begins. CM_OUT_OF_MEMORY. */
enum cm_status cm_batch_task_take(struct cm_batch_task *task, uint32_t choice,
                                  const struct cm_result *result,
                                  const struct cm_tokenizer *tokenizer) CM_MUST_CHECK;

#endif
