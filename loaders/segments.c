#include "loaders/segments.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/columns.h"
#include "loaders/markup.h"
#include "loaders/sheet.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_TEXT_BYTES_MAX = 1 << 20 };

struct reading {
    struct cm_sheet *sheet;
    struct cm_sheet_record record; /* in hand */
    struct cm_text plain;
    struct cm_segments *segments;
    size_t capacity;
};

/* --- Direct identifiers --- */

static bool is_mail_byte(char byte)
{
    return isalnum((unsigned char)byte) || (byte != '\0' && strchr("._%+-", byte) != NULL);
}

/* Something@something.something. */
static bool has_mail_address(const char *text)
{
    for (const char *at = strchr(text, '@'); at != NULL; at = strchr(at + 1, '@')) {
        if (at == text || !is_mail_byte(at[-1])) {
            continue;
        }
        const char *end = at + 1;
        const char *dot = NULL;
        for (; is_mail_byte(*end); end++) {
            dot = *end == '.' && end > at + 1 ? end : dot;
        }
        if (dot != NULL && isalpha((unsigned char)dot[1]) && isalpha((unsigned char)dot[2])) {
            return true;
        }
    }
    return false;
}

/* The digit at the start of the text, also in its full-width form; -1: none. */
static int digit_at(const char *text, size_t *bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    *bytes = 1;
    if (isdigit(at[0])) {
        return at[0] - '0';
    }
    if (at[0] == 0xEF && at[1] == 0xBC && at[2] >= 0x90 && at[2] <= 0x99) {
        *bytes = 3;
        return at[2] - 0x90;
    }
    return -1;
}

/* As many digits as a phone, card or identity number has, in one group or in several that are held
 * together by one separator each. */
static bool has_long_number(const char *text)
{
    enum { DIGITS_MAX = 9, SEPARATORS_MAX = 2 };
    size_t digits = 0;
    size_t separators = 0;
    while (*text != '\0') {
        size_t bytes;
        if (digit_at(text, &bytes) >= 0) {
            separators = 0;
            if (++digits > DIGITS_MAX) {
                return true;
            }
        } else if (strchr(" -.()/", *text) == NULL || ++separators > SEPARATORS_MAX) {
            digits = 0;
        }
        text += bytes;
    }
    return false;
}

static enum cm_status check_anonymous(const struct reading *reading, const char *name,
                                      const char *value, struct cm_error *error)
{
    const char *kind = has_mail_address(value)  ? "an e-mail address"
                       : has_long_number(value) ? "a phone, card or identity number"
                                                : NULL;
    if (kind == NULL) {
        return CM_OK;
    }
    return cm_error_set(error, CM_INVALID_DATA,
                        "%s:%llu: column %s holds what looks like %s; segments describe groups, "
                        "never persons: remove it",
                        cm_sheet_name(reading->sheet), (unsigned long long)reading->record.line,
                        name, kind);
}

/* --- Rows --- */

/* `segment_id`, else the first column. */
static size_t find_id(const struct reading *reading)
{
    for (size_t i = 0; i < reading->record.cells_count; i++) {
        if (cm_sheet_cell_is(&reading->record.cells[i], "segment_id")) {
            return i;
        }
    }
    return 0;
}

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        *text = (char)tolower((unsigned char)*text);
    }
}

static void segment_deinit(struct cm_segment *segment)
{
    cm_free(segment->id);
    cm_free(segment->language);
    for (size_t i = 0; i < segment->attributes_count; i++) {
        cm_free(segment->attributes[i].name);
        cm_free(segment->attributes[i].value);
    }
    cm_free(segment->attributes);
}

/* The value as plain text in reading->plain, checked. */
static enum cm_status clean(struct reading *reading, const struct cm_sheet_cell *cell,
                            struct cm_error *error)
{
    enum cm_status status = cm_markup_to_text(cell->value, &reading->plain);
    if (status != CM_OK) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    char name[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(cell->name, name);
    return check_anonymous(reading, name, cm_text_string(&reading->plain), error);
}

static enum cm_status fill_segment(struct reading *reading, struct cm_segment *segment,
                                   struct cm_error *error)
{
    size_t id = find_id(reading);
    segment->line = reading->record.line;
    segment->language = cm_strdup("");
    segment->attributes = cm_alloc(reading->record.cells_count, sizeof *segment->attributes);
    if (segment->language == NULL || segment->attributes == NULL) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    for (size_t i = 0; i < reading->record.cells_count; i++) {
        const struct cm_sheet_cell *cell = &reading->record.cells[i];
        enum cm_status status = clean(reading, cell, error);
        if (status != CM_OK) {
            return status;
        }
        char *value = cm_strdup(cm_text_string(&reading->plain));
        if (value == NULL) {
            return cm_sheet_out_of_memory(reading->sheet, error);
        }
        if (i == id) {
            segment->id = value;
            continue;
        }
        struct cm_attribute *attribute = &segment->attributes[segment->attributes_count++];
        attribute->value = value;
        attribute->name = cm_strndup(cell->name.data, cell->name.length);
        if (attribute->name == NULL) {
            return cm_sheet_out_of_memory(reading->sheet, error);
        }
        cm_utf8_clean(attribute->name);
        if (cm_sheet_cell_is(cell, "language") || cm_sheet_cell_is(cell, "lang")) {
            cm_free(segment->language);
            segment->language = cm_strdup(value);
            if (segment->language == NULL) {
                return cm_sheet_out_of_memory(reading->sheet, error);
            }
            lower(segment->language);
        }
    }
    return CM_OK;
}

/* --- The file --- */

static enum cm_status add_segment(struct reading *reading, struct cm_error *error)
{
    struct cm_segments *segments = reading->segments;
    if (reading->record.problem != NULL) {
        return cm_sheet_refuse(reading->sheet, &reading->record, error, reading->record.problem);
    }
    if (segments->count == CM_SEGMENTS_MAX) {
        return cm_error_set(error, CM_LIMIT,
                            "%s:%llu: more than %d segments; merge them into fewer groups",
                            cm_sheet_name(reading->sheet), (unsigned long long)reading->record.line,
                            CM_SEGMENTS_MAX);
    }
    void *items = segments->items;
    enum cm_status status =
        cm_grow(&items, &reading->capacity, segments->count + 1, sizeof *segments->items);
    segments->items = items;
    if (status != CM_OK) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    struct cm_segment segment = { .line = reading->record.line };
    status = fill_segment(reading, &segment, error);
    if (status == CM_OK && (segment.id == NULL || segment.id[0] == '\0')) {
        status = cm_sheet_refuse(reading->sheet, &reading->record, error,
                                 "the segment has no id; fill in its first column");
    }
    if (status != CM_OK) {
        segment_deinit(&segment);
        return status;
    }
    segments->items[segments->count++] = segment;
    return CM_OK;
}

static int compare_ids(const void *left, const void *right)
{
    const struct cm_segment *const *a = left;
    const struct cm_segment *const *b = right;
    int order = strcmp((*a)->id, (*b)->id);
    return order != 0 ? order : ((*a)->line > (*b)->line) - ((*a)->line < (*b)->line);
}

static enum cm_status check_unique(const struct reading *reading, struct cm_error *error)
{
    const struct cm_segments *segments = reading->segments;
    const struct cm_segment **sorted = cm_alloc(segments->count, sizeof *sorted);
    enum cm_status status = CM_OK;
    if (sorted == NULL) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    for (size_t i = 0; i < segments->count; i++) {
        sorted[i] = &segments->items[i];
    }
    qsort(sorted, segments->count, sizeof *sorted, compare_ids);
    for (size_t i = 1; status == CM_OK && i < segments->count; i++) {
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0) {
            status =
                cm_error_set(error, CM_INVALID_DATA,
                             "%s:%llu: the segment id %.60s is already on line %llu; give "
                             "each segment its own",
                             cm_sheet_name(reading->sheet), (unsigned long long)sorted[i]->line,
                             sorted[i]->id, (unsigned long long)sorted[i - 1]->line);
        }
    }
    cm_free(sorted);
    return status;
}

static enum cm_status read_segments(struct reading *reading, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        status = cm_sheet_next(reading->sheet, &reading->record, error);
        if (status == CM_OK) {
            status = add_segment(reading, error);
        }
    }
    if (status != CM_END) {
        return status;
    }
    if (reading->segments->count == 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: holds no segment; add one, or leave --segments out",
                            cm_sheet_name(reading->sheet));
    }
    return check_unique(reading, error);
}

static enum cm_status make_neutral(struct cm_segments *segments, struct cm_error *error)
{
    segments->items = cm_alloc(1, sizeof *segments->items);
    if (segments->items == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "segments: out of memory");
    }
    segments->count = 1;
    segments->items[0].id = cm_strdup("all");
    segments->items[0].language = cm_strdup("");
    if (segments->items[0].id == NULL || segments->items[0].language == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "segments: out of memory");
    }
    return CM_OK;
}

enum cm_status cm_segments_open(const char *path, struct cm_segments *segments,
                                struct cm_error *error)
{
    *segments = (struct cm_segments){ .count = 0 };
    struct reading reading = {
        .segments = segments,
        .plain = CM_TEXT_INIT(SEGMENT_TEXT_BYTES_MAX),
    };
    enum cm_status status;
    if (path == NULL) {
        status = make_neutral(segments, error);
    } else {
        status = cm_sheet_open(path, "segment_id", &reading.sheet, error);
        if (status == CM_OK) {
            status = read_segments(&reading, error);
        }
        cm_sheet_close(reading.sheet);
        cm_text_deinit(&reading.plain);
    }
    if (status != CM_OK) {
        cm_segments_deinit(segments);
    }
    return status;
}

void cm_segments_deinit(struct cm_segments *segments)
{
    for (size_t i = 0; i < segments->count; i++) {
        segment_deinit(&segments->items[i]);
    }
    cm_free(segments->items);
    *segments = (struct cm_segments){ .count = 0 };
}

const char *cm_segment_find(const struct cm_segment *segment, const char *name)
{
    if (strcasecmp(name, "id") == 0 || strcasecmp(name, "segment_id") == 0) {
        return segment->id;
    }
    for (size_t i = 0; i < segment->attributes_count; i++) {
        if (strcasecmp(name, segment->attributes[i].name) == 0) {
            return segment->attributes[i].value;
        }
    }
    return NULL;
}
