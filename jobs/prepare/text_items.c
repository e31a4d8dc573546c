#include "jobs/prepare/text_items.h"

#include "base/hash.h"
#include "base/memory.h"
#include "loaders/line_reader.h"
#include "loaders/markup.h"

#include <stdio.h>
#include <string.h>

enum { ID_HASH_BYTES = 6 };

struct cm_text_items {
    struct cm_line_reader *lines;
    struct cm_hash *hash;
    struct cm_text plain;
    uint64_t count;
};

enum cm_status cm_text_items_open(const char *path, struct cm_text_items **items,
                                  struct cm_error *error)
{
    struct cm_text_items *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL || cm_hash_open(&opened->hash) != CM_OK) {
        cm_free(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->plain = CM_TEXT_INIT(2 * CM_LINE_BYTES_MAX);
    enum cm_status status = cm_line_reader_open(path, &opened->lines, error);
    if (status != CM_OK) {
        cm_text_items_close(opened);
        return status;
    }
    *items = opened;
    return CM_OK;
}

void cm_text_items_close(struct cm_text_items *items)
{
    if (items != NULL) {
        cm_line_reader_close(items->lines);
        cm_hash_close(items->hash);
        cm_text_deinit(&items->plain);
        cm_free(items);
    }
}

static enum cm_status fill(struct cm_text_items *items, const struct cm_line *line,
                           struct cm_item *item)
{
    uint8_t digest[CM_SHA256_BYTES];
    char hex[2 * ID_HASH_BYTES + 1];
    char id[sizeof "text-" + sizeof hex];
    enum cm_status status = cm_markup_to_text(line->text, &items->plain);
    cm_hash_restart(items->hash);
    cm_hash_field(items->hash, cm_text_span(&items->plain));
    cm_hash_digest(items->hash, digest);
    cm_hex(digest, ID_HASH_BYTES, hex);
    snprintf(id, sizeof id, "text-%s", hex);
    for (unsigned i = 0; status == CM_OK && i < CM_ITEM_FIELD_COUNT; i++) {
        const char *value = i == CM_ITEM_ID            ? id
                            : i == CM_ITEM_DESCRIPTION ? cm_text_string(&items->plain)
                                                       : "";
        item->fields[i] = cm_strdup(value);
        status = item->fields[i] == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    }
    if (!cm_span_equal(line->text, cm_text_span(&items->plain))) {
        bool has_markup = memchr(line->text.data, '<', line->text.length) != NULL ||
                          memchr(line->text.data, '&', line->text.length) != NULL;
        item->cleaned[CM_ITEM_DESCRIPTION] = has_markup ? CM_CLEANED_MARKUP : CM_CLEANED_SPACE;
    }
    if (line->problem != NULL) {
        item->damaged = true;
        snprintf(item->problem, sizeof item->problem, "%.200s", line->problem);
    }
    return status;
}

enum cm_status cm_text_items_next(struct cm_text_items *items, struct cm_item *item,
                                  struct cm_error *error)
{
    struct cm_line line;
    enum cm_status status = cm_line_reader_next(items->lines, &line, error);
    if (status != CM_OK) {
        return status;
    }
    *item = (struct cm_item){ .index = items->count++, .line = line.number };
    if (fill(items, &line, item) != CM_OK) {
        cm_item_deinit(item);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory",
                            cm_line_reader_name(items->lines));
    }
    return CM_OK;
}
