#include "jobs/row_sources.h"

#include "base/hash.h"
#include "base/memory.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <stdio.h>

struct cm_row_sources {
    struct cm_ledger *ledger;
    int64_t *segments; /* [segments_count], 0: not stored yet */
};

enum cm_status cm_row_sources_open(struct cm_ledger *ledger, size_t segments_count,
                                   struct cm_row_sources **sources)
{
    struct cm_row_sources *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->ledger = ledger;
    opened->segments = cm_alloc(segments_count, sizeof *opened->segments);
    if (opened->segments == NULL) {
        cm_row_sources_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *sources = opened;
    return CM_OK;
}

void cm_row_sources_close(struct cm_row_sources *sources)
{
    if (sources != NULL) {
        cm_free(sources->segments);
        cm_free(sources);
    }
}

/* --- JSON --- */

/* An attribute may have the name of a field, or of another attribute; none of them is lost. */
static int add(json_t *object, const char *name, const char *value)
{
    enum { NAME_BYTES = 256, SAME_MAX = 100 };
    char other[NAME_BYTES];
    if (value[0] == '\0') {
        return 0;
    }
    const char *key = name;
    for (int i = 2; json_object_get(object, key) != NULL && i < SAME_MAX; i++) {
        snprintf(other, sizeof other, "%.200s (%d)", name, i);
        key = other;
    }
    /* A name that was cut inside a character is not UTF-8, and refused. */
    return json_object_set_new(object, key, json_string(value)) == 0 || key != name ? 0 : -1;
}

static int add_attributes(json_t *object, const struct cm_attribute *attributes, size_t count)
{
    int outcome = 0;
    for (size_t i = 0; outcome == 0 && i < count; i++) {
        outcome = add(object, attributes[i].name, attributes[i].value);
    }
    return outcome;
}

static int add_fields(json_t *object, const struct cm_item *item)
{
    int outcome = 0;
    for (int i = 0; outcome == 0 && i < CM_ITEM_FIELD_COUNT; i++) {
        const char *name = cm_item_field_name((enum cm_item_field)i);
        outcome = i == CM_ITEM_ID ? 0 : add(object, name, item->fields[i]);
    }
    return outcome;
}

/* NULL: out of memory. */
static char *describe(const struct cm_item *item, const struct cm_segment *segment)
{
    cm_json_memory_begin();
    json_t *object = json_object();
    int outcome = object != NULL ? 0 : -1;
    if (outcome == 0 && item != NULL) {
        outcome = add_fields(object, item);
    }
    if (outcome == 0) {
        outcome = item != NULL
                      ? add_attributes(object, item->attributes, item->attributes_count)
                      : add_attributes(object, segment->attributes, segment->attributes_count);
    }
    char *text = outcome == 0 && !cm_json_memory_failed() ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* --- Storing --- */

static enum cm_status store(struct cm_row_sources *sources, const struct cm_row_task *task,
                            bool is_item, int64_t *number, struct cm_error *error)
{
    char digest[2 * CM_CONTENT_DIGEST_BYTES + 1];
    cm_hex(is_item ? task->item->digest.bytes : task->segment_digest->bytes,
           CM_CONTENT_DIGEST_BYTES, digest);
    char *text = describe(is_item ? &task->item->item : NULL, task->segment);
    if (text == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    struct cm_ledger_source source = {
        .digest = digest,
        .title = is_item ? task->item->item.fields[CM_ITEM_TITLE] : "",
        .attributes = text,
    };
    enum cm_status status = is_item
                                ? cm_ledger_put_item(sources->ledger, &source, number, error)
                                : cm_ledger_put_segment(sources->ledger, &source, number, error);
    cm_free(text);
    return status;
}

enum cm_status cm_row_sources_store(struct cm_row_sources *sources, struct cm_row_task *task,
                                    struct cm_error *error)
{
    int64_t *segment = &sources->segments[task->segment_index];
    enum cm_status status = CM_OK;
    if (task->item->ledger_number == 0) {
        status = store(sources, task, true, &task->item->ledger_number, error);
    }
    if (status == CM_OK && *segment == 0) {
        status = store(sources, task, false, segment, error);
    }
    task->place.item = task->item->ledger_number;
    task->place.segment = *segment;
    return status;
}
