#include "jobs/row_task.h"

#include "base/memory.h"
#include "loaders/json_memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* There is no column for the question of a row, so it goes where parts of a row go. */
static enum cm_status describe_question(struct cm_row_task *task)
{
    cm_json_memory_begin();
    json_t *object = json_pack("{s:s, s:s}", "question_id", task->question->id, "question",
                               task->question->text);
    task->fields = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return task->fields != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

struct cm_row_task *cm_row_task_create(const struct cm_planned_row *row)
{
    struct cm_row_task *task = cm_alloc(1, sizeof *task);
    if (task == NULL) {
        return NULL;
    }
    task->place.position = row->position;
    task->place.neighbours = row->neighbours;
    task->key = row->key;
    task->item = cm_plan_item_share(row->item);
    task->segment = row->segment;
    task->segment_index = row->segment_index;
    task->segment_digest = row->segment_digest;
    task->question = row->question;
    task->facts_index = row->facts_index;
    memcpy(task->language, row->language, sizeof task->language);
    task->attempt = 1;
    if (task->question != NULL && describe_question(task) != CM_OK) {
        cm_row_task_free(task);
        return NULL;
    }
    return task;
}

void cm_task_copy_deinit(struct cm_task_copy *copy)
{
    cm_free(copy->text);
    cm_free(copy->fields);
    cm_free(copy->flags);
    cm_free(copy->judgement);
    *copy = (struct cm_task_copy){ 0 };
}

void cm_row_task_free(struct cm_row_task *task)
{
    if (task != NULL) {
        cm_plan_item_release(task->item);
        cm_free(task->fields);
        cm_free(task->problem);
        cm_free(task->prompt);
        cm_task_copy_deinit(&task->best);
        cm_free(task);
    }
}

void cm_row_task_fail(struct cm_row_task *task, const char *catalog_path, const char *reason)
{
    struct cm_error place;
    char question[128] = "";
    if (task->question != NULL) {
        snprintf(question, sizeof question, ", question \"%.80s\"", task->question->id);
    }
    cm_error_set(&place, CM_INVALID_DATA, "%s:%" PRIu64 ": item \"%.80s\", segment \"%.80s\"%s: %s",
                 strcmp(catalog_path, "-") == 0 ? "standard input" : catalog_path,
                 task->item->item.line, task->item->item.fields[CM_ITEM_ID], task->segment->id,
                 question, reason);
    task->kind = CM_TASK_FAIL;
    cm_free(task->problem);
    task->problem = cm_strdup(place.message);
}
