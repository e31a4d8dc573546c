#include "jobs/row_task.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

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
    memcpy(task->language, row->language, sizeof task->language);
    task->attempt = 1;
    return task;
}

void cm_row_task_free(struct cm_row_task *task)
{
    if (task != NULL) {
        cm_plan_item_release(task->item);
        cm_free(task->problem);
        cm_free(task->prompt);
        cm_free(task->best.text);
        cm_free(task);
    }
}

void cm_row_task_fail(struct cm_row_task *task, const char *catalog_path, const char *reason)
{
    struct cm_error place;
    cm_error_set(&place, CM_INVALID_DATA, "%s:%" PRIu64 ": item \"%.80s\", segment \"%.80s\": %s",
                 strcmp(catalog_path, "-") == 0 ? "standard input" : catalog_path,
                 task->item->item.line, task->item->item.fields[CM_ITEM_ID], task->segment->id,
                 reason);
    task->kind = CM_TASK_FAIL;
    cm_free(task->problem);
    task->problem = cm_strdup(place.message);
}
