/* Beside the pipeline: counts the catalog ahead of the work, so that the display knows how much is
 * left. It changes nothing else; where counting is not possible, the total stays unknown until the
 * plan has been read. */
#include "jobs/interrupt.h"
#include "jobs/pipeline_state.h"

#include <string.h>

/* Rows of an item for one segment. */
static uint64_t rows_of(const struct cm_questions *questions, const struct cm_item *item)
{
    if (questions == NULL) {
        return 1;
    }
    struct cm_question_cursor cursor = cm_questions_seek(questions, item->fields[CM_ITEM_ID]);
    return cm_question_cursor_count(&cursor);
}

static bool count_rows(struct cm_pipeline *pipeline, uint64_t *rows_count)
{
    uint64_t items_count = 0;
    const struct cm_run_options *options = pipeline->parts.options;
    struct cm_catalog_options catalog_options = {
        .path = options->catalog_path,
        .maps = options->maps,
        .maps_count = options->maps_count,
        .quiet = true,
    };
    struct cm_catalog *catalog = NULL;
    enum cm_status status = cm_catalog_open(&catalog_options, &catalog, NULL);
    if (status != CM_OK) {
        return false;
    }
    while (status == CM_OK && (options->limit == 0 || items_count < options->limit)) {
        struct cm_item item;
        if (atomic_load(&pipeline->stop) || cm_interrupt_requested()) {
            break;
        }
        status = cm_catalog_next(catalog, &item, NULL);
        if (status == CM_OK) {
            items_count++;
            *rows_count += rows_of(pipeline->parts.questions, &item);
            cm_item_deinit(&item);
        }
    }
    cm_catalog_close(catalog);
    return status == CM_END || items_count == options->limit;
}

void *cm_row_counter_main(void *context)
{
    struct cm_pipeline *pipeline = context;
    const struct cm_run_options *options = pipeline->parts.options;
    uint64_t rows_count = 0;
    if (options->only != NULL || strcmp(options->catalog_path, "-") == 0 ||
        !count_rows(pipeline, &rows_count)) {
        return NULL;
    }
    pthread_mutex_lock(&pipeline->lock);
    pipeline->rows_total = rows_count * pipeline->parts.segments_count;
    pthread_mutex_unlock(&pipeline->lock);
    return NULL;
}
