/* From what the model wrote to a judged copy: decoded, tidied, put into the fields of its channel,
 * judged, and kept where it is the best of the row's attempts so far. */
#ifndef CM_JOBS_ROW_JUDGE_H
#define CM_JOBS_ROW_JUDGE_H

#include "host/tokenizer.h"
#include "jobs/content/judge.h"
#include "jobs/row_task.h"
#include "jobs/run_options.h"

struct cm_row_judge;

/* All arguments outlive it. CM_OUT_OF_MEMORY only. */
enum cm_status cm_row_judge_open(const struct cm_run_options *options,
                                 const struct cm_channel *channel, struct cm_judge *judge,
                                 const struct cm_tokenizer *tokenizer,
                                 struct cm_row_judge **row_judge) CM_MUST_CHECK;
void cm_row_judge_close(struct cm_row_judge *row_judge); /* NULL is fine */

/* Judges the attempt that `task->result` holds. An empty text is never kept. CM_OUT_OF_MEMORY. */
enum cm_status cm_row_judge_attempt(struct cm_row_judge *row_judge,
                                    struct cm_row_task *task) CM_MUST_CHECK;

#endif
