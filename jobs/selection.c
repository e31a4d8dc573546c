#include "jobs/selection.h"

#include "base/memory.h"
#include "base/text.h"

#include <string.h>

struct entry {
    struct cm_span item_id;
    const struct cm_segment *segment; /* NULL: all */
    bool met;
};

struct cm_selection {
    char *text; /* what the entries point into; NULL: everything is wanted */
    const struct cm_segments *segments;
    struct entry *entries;
    size_t entries_count;
};

static const struct cm_segment *find_segment(const struct cm_segments *segments, const char *id,
                                             size_t length)
{
    for (size_t i = 0; i < segments->count; i++) {
        if (cm_span_equal_text((struct cm_span){ id, length }, segments->items[i].id)) {
            return &segments->items[i];
        }
    }
    return NULL;
}

static struct entry parse_entry(struct cm_span whole, const struct cm_segments *segments)
{
    struct entry entry = { .item_id = whole };
    const char *colon = memrchr(whole.data, ':', whole.length);
    if (colon != NULL) {
        size_t item_length = (size_t)(colon - whole.data);
        entry.segment = find_segment(segments, colon + 1, whole.length - item_length - 1);
        if (entry.segment != NULL) {
            entry.item_id.length = item_length;
        }
    }
    return entry;
}

static enum cm_status parse(struct cm_selection *selection, struct cm_error *error)
{
    const char *at = selection->text;
    for (bool more = true; more;) {
        size_t length = strcspn(at, ",");
        struct cm_span whole = cm_span_trim((struct cm_span){ at, length });
        struct entry entry = parse_entry(whole, selection->segments);
        if (entry.item_id.length == 0) {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "--only %s: an entry without an item; write ITEM or ITEM:SEGMENT, "
                                "separated by commas",
                                selection->text);
        }
        if (selection->entries_count == CM_SELECTION_MAX) {
            return cm_error_set(error, CM_LIMIT, "--only: more than %d entries", CM_SELECTION_MAX);
        }
        selection->entries[selection->entries_count++] = entry;
        more = at[length] == ',';
        at += length + more;
    }
    return CM_OK;
}

enum cm_status cm_selection_open(const char *text, const struct cm_segments *segments,
                                 struct cm_selection **selection, struct cm_error *error)
{
    struct cm_selection *opened = cm_alloc(1, sizeof *opened);
    enum cm_status status = opened != NULL ? CM_OK : CM_OUT_OF_MEMORY;
    if (status == CM_OK && text != NULL) {
        opened->segments = segments;
        opened->text = cm_strdup(text);
        opened->entries = cm_alloc(CM_SELECTION_MAX, sizeof *opened->entries);
        bool complete = opened->text != NULL && opened->entries != NULL;
        status = complete ? parse(opened, error) : CM_OUT_OF_MEMORY;
    }
    if (status == CM_OUT_OF_MEMORY) {
        cm_error_set(error, status, "out of memory");
    }
    if (status != CM_OK) {
        cm_selection_close(opened);
        return status;
    }
    *selection = opened;
    return CM_OK;
}

void cm_selection_close(struct cm_selection *selection)
{
    if (selection != NULL) {
        cm_free(selection->text);
        cm_free(selection->entries);
        cm_free(selection);
    }
}

bool cm_selection_wants(struct cm_selection *selection, const char *item_id, size_t segment_index)
{
    if (selection->text == NULL) {
        return true;
    }
    bool wanted = false;
    for (size_t i = 0; i < selection->entries_count; i++) {
        struct entry *entry = &selection->entries[i];
        if (cm_span_equal_text(entry->item_id, item_id)) {
            entry->met = true;
            wanted = wanted || entry->segment == NULL ||
                     entry->segment == &selection->segments->items[segment_index];
        }
    }
    return wanted;
}

void cm_selection_meet(struct cm_selection *selection, const char *item_id)
{
    for (size_t i = 0; i < selection->entries_count; i++) {
        struct entry *entry = &selection->entries[i];
        entry->met = entry->met || cm_span_equal_text(entry->item_id, item_id);
    }
}

enum cm_status cm_selection_check(const struct cm_selection *selection, struct cm_error *error)
{
    for (size_t i = 0; i < selection->entries_count; i++) {
        const struct entry *entry = &selection->entries[i];
        const char *colon = memrchr(entry->item_id.data, ':', entry->item_id.length);
        if (!entry->met) {
            return cm_error_set(error, CM_NOT_FOUND, "--only: the catalog has no item \"%.*s\"%s",
                                (int)entry->item_id.length, entry->item_id.data,
                                colon != NULL && entry->segment == NULL
                                    ? ", and what follows the last colon is no segment"
                                    : "");
        }
    }
    return CM_OK;
}
