/* Answers and errors in OpenAI's words (API reference, Batch output and Chat/Completions objects):
 * what is stored in the ledger for each request, and the two files that are made of it. */
#ifndef CM_JOBS_BATCH_BATCH_ANSWER_H
#define CM_JOBS_BATCH_BATCH_ANSWER_H

#include "jobs/batch/batch_task.h"
#include "jobs/ledger.h"

#include <stdio.h>

/* The body of the response: a chat.completion or text_completion object as JSON. NULL: out of
 * memory; the caller frees it. `created_s` is Unix time. */
char *cm_batch_answer_body(const struct cm_batch_task *task, const char *model, const char *variant,
                           int64_t created_s) CM_MUST_CHECK;

/* A line of the output file for a row that is ok, of the error file for one that failed (code in
 * `flags`, message in `error`). CM_OUT_OF_MEMORY; errors of the stream stay set in it. */
enum cm_status cm_batch_answer_write(FILE *stream, const struct cm_copy_row *row) CM_MUST_CHECK;

#endif
