#include "jobs/row_judge.h"

#include "base/memory.h"
#include "jobs/content/answer.h"
#include "jobs/content/copy_fields.h"
#include "jobs/content/reply.h"
#include "jobs/tidy.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { COPY_BYTES_MAX = 1 << 20, JUDGEMENT_BYTES_MAX = 1 << 20 };

struct cm_row_judge {
    const struct cm_run_options *options;
    const struct cm_channel *channel;
    struct cm_judge *judge;
    const struct cm_tokenizer *tokenizer;
    struct cm_text text;
    struct cm_text json;
    struct cm_judgement judgement;
    struct cm_fact_sheet facts; /* for questions */
    struct cm_copy_fields fields;
    char *fields_json; /* of the attempt in work; NULL: none */
};

enum cm_status cm_row_judge_open(const struct cm_run_options *options,
                                 const struct cm_channel *channel, struct cm_judge *judge,
                                 const struct cm_tokenizer *tokenizer,
                                 struct cm_row_judge **row_judge)
{
    *row_judge = cm_alloc(1, sizeof **row_judge);
    if (*row_judge == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    (*row_judge)->options = options;
    (*row_judge)->channel = channel;
    (*row_judge)->judge = judge;
    (*row_judge)->tokenizer = tokenizer;
    (*row_judge)->text = CM_TEXT_INIT(COPY_BYTES_MAX);
    (*row_judge)->json = CM_TEXT_INIT(JUDGEMENT_BYTES_MAX);
    return CM_OK;
}

void cm_row_judge_close(struct cm_row_judge *row_judge)
{
    if (row_judge != NULL) {
        cm_text_deinit(&row_judge->text);
        cm_text_deinit(&row_judge->json);
        cm_fact_sheet_deinit(&row_judge->facts);
        cm_copy_fields_deinit(&row_judge->fields);
        cm_free(row_judge->fields_json);
        cm_free(row_judge);
    }
}

/* A reply about what neither facts nor policy speak of would be made up, however well it reads: the
 * customer gets one that says so instead. */
static enum cm_status refuse_unanswerable(struct cm_row_judge *row_judge,
                                          const struct cm_row_task *task)
{
    struct cm_answer_check check = { 0 };
    struct cm_sheet_sources sources = { .item = &task->item->item,
                                        .segment = task->segment,
                                        .question = task->question };
    enum cm_status status = cm_fact_sheet_fill(&row_judge->facts, &sources);
    if (status == CM_OK) {
        status = cm_answer_examine(task->question, &row_judge->facts,
                                   cm_text_span(&row_judge->text), &check);
    }
    if (status != CM_OK || check.is_held || check.is_refusal_alone) {
        return status;
    }
    struct cm_text reply = CM_TEXT_INIT(COPY_BYTES_MAX);
    status =
        cm_reply_append_refusal(&reply, task->language, task->item->item.fields[CM_ITEM_TITLE]);
    if (status == CM_OK) {
        cm_text_deinit(&row_judge->text);
        row_judge->text = reply;
        return CM_OK;
    }
    cm_text_deinit(&reply);
    return status == CM_OUT_OF_MEMORY ? status : CM_OK; /* the judge flags it */
}

/* The parts of the channel, as JSON, and the text made of them. */
static enum cm_status read_fields(struct cm_row_judge *row_judge, const struct cm_row_task *task)
{
    struct cm_copy_fields_input input = {
        .channel = row_judge->channel,
        .scenario = row_judge->options->scenario,
        .language = task->language,
        .item = &task->item->item,
        .text = cm_text_span(&row_judge->text),
    };
    cm_copy_fields_deinit(&row_judge->fields);
    cm_free(row_judge->fields_json);
    row_judge->fields_json = NULL;
    if (!cm_channel_has_fields(input.channel, input.scenario)) {
        return CM_OK;
    }
    enum cm_status status = cm_copy_fields_read(&input, &row_judge->fields);
    if (status == CM_OK) {
        cm_text_clear(&row_judge->text);
        status = cm_copy_fields_append_text(&row_judge->fields, input.channel, &row_judge->text);
    }
    if (status != CM_OK) {
        return status;
    }
    cm_json_memory_begin();
    json_t *object = json_object();
    bool whole = object != NULL &&
                 cm_copy_fields_describe(&row_judge->fields, input.channel, object) == 0 &&
                 !cm_json_memory_failed();
    row_judge->fields_json = whole ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return row_judge->fields_json != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

/* `row_judge->text` as the model meant it. */
static enum cm_status read_attempt(struct cm_row_judge *row_judge, const struct cm_row_task *task)
{
    const struct cm_result *result = &task->result;
    const struct cm_run_options *options = row_judge->options;
    cm_text_clear(&row_judge->text);
    enum cm_status status = cm_tokenizer_decode(row_judge->tokenizer, result->output,
                                                result->output_tokens, &row_judge->text);
    if (status == CM_OK) {
        cm_tidy(&row_judge->text, options->stops, options->stops_count,
                result->finish_reason == CM_FINISH_LENGTH);
    }
    if (status == CM_OK && task->question != NULL && row_judge->text.length > 0) {
        status = refuse_unanswerable(row_judge, task);
    }
    if (status == CM_OK && row_judge->text.length > 0) {
        status = read_fields(row_judge, task);
    }
    return status;
}

static enum cm_status keep(struct cm_row_judge *row_judge, struct cm_row_task *task, double score)
{
    char flags[CM_FLAGS_BYTES];
    struct cm_judgement *judgement = &row_judge->judgement;
    cm_judgement_flags(judgement, flags);
    cm_text_clear(&row_judge->json);
    enum cm_status status = cm_judgement_json(judgement, &row_judge->json);
    if (status != CM_OK) {
        return status;
    }
    struct cm_task_copy copy = {
        .text = cm_strdup(cm_text_string(&row_judge->text)),
        .fields = row_judge->fields_json,
        .flags = cm_strdup(flags),
        .judgement = cm_strdup(cm_text_string(&row_judge->json)),
        .score = score,
        .output_tokens = task->result.output_tokens,
        .attempt = task->attempt,
        .finish_reason = task->result.finish_reason,
    };
    row_judge->fields_json = NULL; /* it is the copy's now */
    if (copy.text == NULL || copy.flags == NULL || copy.judgement == NULL) {
        cm_task_copy_deinit(&copy);
        return CM_OUT_OF_MEMORY;
    }
    cm_task_copy_deinit(&task->best);
    task->best = copy;
    return CM_OK;
}

enum cm_status cm_row_judge_attempt(struct cm_row_judge *row_judge, struct cm_row_task *task)
{
    enum cm_status status = read_attempt(row_judge, task);
    if (status != CM_OK || row_judge->text.length == 0) {
        return status;
    }
    struct cm_judge_input input = {
        .text = cm_text_span(&row_judge->text),
        .channel = row_judge->channel,
        .scenario = row_judge->options->scenario,
        .fields = cm_span_of(row_judge->fields_json),
        .item = &task->item->item,
        .segment = task->segment,
        .question = task->question,
        .language = task->language,
        .end =
            task->result.finish_reason == CM_FINISH_LENGTH ? CM_TEXT_END_LENGTH : CM_TEXT_END_STOP,
        .mean_logprob = task->result.mean_logprob,
    };
    status = cm_judge_text(row_judge->judge, &input, &row_judge->judgement);
    for (size_t i = 0; status == CM_OK && i < row_judge->fields.repairs_count; i++) {
        cm_judgement_flag(&row_judge->judgement, "repaired", "%s", row_judge->fields.repairs[i]);
    }
    if (row_judge->fields.repairs_count > 0) {
        row_judge->judgement.score *= cm_rule_find("repaired")->factor;
    }
    /* As many decimals as are written. */
    double score = round(row_judge->judgement.score * 10000) / 10000;
    if (status == CM_OK && (task->best.text == NULL || score > task->best.score)) {
        status = keep(row_judge, task, score);
    }
    return status;
}
