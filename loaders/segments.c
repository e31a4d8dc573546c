#include "loaders/segments.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/columns.h"
#include "loaders/csv_reader.h"
#include "loaders/encoding.h"
#include "loaders/json_reader.h"
#include "loaders/markup.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_TEXT_BYTES_MAX = 1 << 20 };

/* A name and a value of the row in hand, from either kind of file. */
struct pair {
    struct cm_span name;
    struct cm_span value;
};

struct table {
    struct cm_text_input *input;
    struct cm_csv_reader *csv; /* one of the two */
    struct cm_json_reader *json;
    struct cm_columns header; /* CSV only */
    struct pair pairs[CM_CATALOG_COLUMNS_MAX];
    size_t pairs_count;
    uint64_t line;
    const char *problem; /* NULL: none */
    struct cm_text plain;
    struct cm_segments *segments;
    size_t capacity;
};

static enum cm_status out_of_memory(const struct table *table, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory",
                        table->input == NULL ? "segments" : cm_text_input_name(table->input));
}

static enum cm_status refuse(const struct table *table, struct cm_error *error, const char *what)
{
    return cm_error_set(error, CM_INVALID_DATA, "%s:%llu: %s", cm_text_input_name(table->input),
                        (unsigned long long)table->line, what);
}

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

static enum cm_status check_anonymous(const struct table *table, const char *name,
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
                        cm_text_input_name(table->input), (unsigned long long)table->line, name,
                        kind);
}

/* --- Rows --- */

static enum cm_status read_csv_row(struct table *table, struct cm_error *error)
{
    struct cm_csv_record record;
    enum cm_status status = cm_csv_next(table->csv, &record, error);
    if (status != CM_OK) {
        return status;
    }
    table->line = record.line;
    table->problem = record.problem;
    table->pairs_count = 0;
    bool is_wide = record.cells_count > table->header.count;
    for (size_t i = 0; i < record.cells_count && i < table->header.count; i++) {
        struct cm_span name = cm_span_of(table->header.items[i].name);
        table->pairs[table->pairs_count++] = (struct pair){ name, record.cells[i] };
    }
    if (table->problem == NULL && is_wide &&
        cm_span_trim(record.cells[table->header.count]).length > 0) {
        table->problem = "has more cells than the header; put cells with the delimiter in quotes";
    }
    return CM_OK;
}

static enum cm_status read_json_row(struct table *table, struct cm_error *error)
{
    struct cm_json_record record;
    enum cm_status status = cm_json_reader_next(table->json, &record, error);
    if (status != CM_OK) {
        return status;
    }
    table->line = record.line;
    table->problem = record.problem;
    table->pairs_count = record.pairs_count;
    for (size_t i = 0; i < record.pairs_count; i++) {
        table->pairs[i] = (struct pair){ record.pairs[i].name, record.pairs[i].value };
    }
    return CM_OK;
}

static bool is_named(struct cm_span name, const char *wanted)
{
    char normal[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(name, normal);
    return strcmp(normal, wanted) == 0;
}

/* `segment_id`, else the first column. */
static size_t find_id(const struct table *table)
{
    for (size_t i = 0; i < table->pairs_count; i++) {
        if (is_named(table->pairs[i].name, "segment_id")) {
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

/* The value as plain text in table->plain, checked. */
static enum cm_status clean(struct table *table, const struct pair *pair, struct cm_error *error)
{
    enum cm_status status = cm_markup_to_text(pair->value, &table->plain);
    if (status != CM_OK) {
        return out_of_memory(table, error);
    }
    char name[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(pair->name, name);
    return check_anonymous(table, name, cm_text_string(&table->plain), error);
}

static enum cm_status fill_segment(struct table *table, struct cm_segment *segment,
                                   struct cm_error *error)
{
    size_t id = find_id(table);
    segment->line = table->line;
    segment->language = cm_strdup("");
    segment->attributes = cm_alloc(table->pairs_count, sizeof *segment->attributes);
    if (segment->language == NULL || segment->attributes == NULL) {
        return out_of_memory(table, error);
    }
    for (size_t i = 0; i < table->pairs_count; i++) {
        const struct pair *pair = &table->pairs[i];
        enum cm_status status = clean(table, pair, error);
        if (status != CM_OK) {
            return status;
        }
        char *value = cm_strdup(cm_text_string(&table->plain));
        if (value == NULL) {
            return out_of_memory(table, error);
        }
        if (i == id) {
            segment->id = value;
            continue;
        }
        struct cm_attribute *attribute = &segment->attributes[segment->attributes_count++];
        attribute->value = value;
        attribute->name = cm_strndup(pair->name.data, pair->name.length);
        if (attribute->name == NULL) {
            return out_of_memory(table, error);
        }
        cm_utf8_clean(attribute->name);
        if (is_named(pair->name, "language") || is_named(pair->name, "lang")) {
            cm_free(segment->language);
            segment->language = cm_strdup(value);
            if (segment->language == NULL) {
                return out_of_memory(table, error);
            }
            lower(segment->language);
        }
    }
    return CM_OK;
}

/* --- The file --- */

static enum cm_status add_segment(struct table *table, struct cm_error *error)
{
    struct cm_segments *segments = table->segments;
    if (table->problem != NULL) {
        return refuse(table, error, table->problem);
    }
    if (segments->count == CM_SEGMENTS_MAX) {
        return cm_error_set(
            error, CM_LIMIT, "%s:%llu: more than %d segments; merge them into fewer groups",
            cm_text_input_name(table->input), (unsigned long long)table->line, CM_SEGMENTS_MAX);
    }
    void *items = segments->items;
    enum cm_status status =
        cm_grow(&items, &table->capacity, segments->count + 1, sizeof *segments->items);
    segments->items = items;
    if (status != CM_OK) {
        return out_of_memory(table, error);
    }
    struct cm_segment segment = { .line = table->line };
    status = fill_segment(table, &segment, error);
    if (status == CM_OK && (segment.id == NULL || segment.id[0] == '\0')) {
        status = refuse(table, error, "the segment has no id; fill in its first column");
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

static enum cm_status check_unique(const struct table *table, struct cm_error *error)
{
    const struct cm_segments *segments = table->segments;
    const struct cm_segment **sorted = cm_alloc(segments->count, sizeof *sorted);
    enum cm_status status = CM_OK;
    if (sorted == NULL) {
        return out_of_memory(table, error);
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
                             cm_text_input_name(table->input), (unsigned long long)sorted[i]->line,
                             sorted[i]->id, (unsigned long long)sorted[i - 1]->line);
        }
    }
    cm_free(sorted);
    return status;
}

static enum cm_status read_header(struct table *table, struct cm_error *error)
{
    struct cm_csv_record record;
    table->header.format = cm_table_format_find(NULL, 0);
    enum cm_status status = cm_csv_next(table->csv, &record, error);
    if (status == CM_END) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: is empty; a header line with segment_id is expected",
                            cm_text_input_name(table->input));
    }
    if (status == CM_OK && record.problem != NULL) {
        table->line = record.line;
        return refuse(table, error, record.problem);
    }
    for (size_t i = 0; status == CM_OK && i < record.cells_count; i++) {
        status = cm_columns_add(&table->header, record.cells[i]);
        if (status != CM_OK) {
            return out_of_memory(table, error);
        }
    }
    return status;
}

static enum cm_status open_table(struct table *table, const char *path, struct cm_error *error)
{
    enum cm_status status = cm_text_input_open(path, &table->input, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_span text = cm_span_trim(cm_text_input_peek(table->input));
    if (text.length > 0 && (text.data[0] == '[' || text.data[0] == '{')) {
        return cm_json_reader_open(table->input, &table->json, error);
    }
    status = cm_csv_open(table->input, '\0', &table->csv, error);
    return status == CM_OK ? read_header(table, error) : status;
}

static enum cm_status read_table(struct table *table, const char *path, struct cm_error *error)
{
    enum cm_status status = open_table(table, path, error);
    while (status == CM_OK) {
        status = table->csv != NULL ? read_csv_row(table, error) : read_json_row(table, error);
        if (status == CM_OK) {
            status = add_segment(table, error);
        }
    }
    if (status != CM_END) {
        return status;
    }
    if (table->segments->count == 0) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: holds no segment; add one, or leave --segments out", path);
    }
    return check_unique(table, error);
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
    struct table *table = NULL;
    enum cm_status status;
    if (path == NULL) {
        status = make_neutral(segments, error);
        goto done;
    }
    table = cm_alloc(1, sizeof *table);
    if (table == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
        goto done;
    }
    table->segments = segments;
    table->plain = CM_TEXT_INIT(SEGMENT_TEXT_BYTES_MAX);
    status = read_table(table, path, error);
    cm_csv_close(table->csv);
    cm_json_reader_close(table->json);
    cm_text_input_close(table->input);
    cm_columns_deinit(&table->header);
    cm_text_deinit(&table->plain);
done:
    cm_free(table);
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
