#include "loaders/catalog.h"

#include "base/digest_count.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "loaders/columns.h"
#include "loaders/csv_reader.h"
#include "loaders/item_builder.h"
#include "loaders/json_reader.h"

#include <stdio.h>
#include <string.h>

enum { DESCRIPTION_BYTES = 128, PROBLEM_BYTES = 256 };

struct cm_catalog {
    struct cm_text_input *input;
    struct cm_csv_reader *csv; /* one of the two */
    struct cm_json_reader *json;
    struct cm_columns columns; /* of the header; for JSON, the names met so far */
    struct cm_cell cells[CM_CATALOG_COLUMNS_MAX]; /* of the row in hand */
    size_t cells_count;
    uint64_t row_line;
    char row_problem[PROBLEM_BYTES]; /* "": none */
    bool has_row;
    bool ended;
    bool told_ragged;
    bool quiet;
    struct cm_item_builder builder;
    struct cm_digest_count *groups; /* of grouped formats: those that had their item */
    struct cm_hash *hash;
    struct cm_catalog_counts counts;
    uint64_t item_rows; /* of the item in hand */
    char **maps;        /* copies of the options, JSON only */
    size_t maps_count;
    char description[DESCRIPTION_BYTES];
};

static const char *name_of(const struct cm_catalog *catalog)
{
    return cm_text_input_name(catalog->input);
}

static enum cm_status out_of_memory(const struct cm_catalog *catalog, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", name_of(catalog));
}

/* --- --map --- */

/* Splits "field=column"; both must be there and the field must be known. */
static enum cm_status parse_map(const char *map, enum cm_item_field *field, struct cm_span *column,
                                struct cm_error *error)
{
    const char *equals = strchr(map, '=');
    if (equals != NULL && equals[1] != '\0') {
        struct cm_span name = { map, (size_t)(equals - map) };
        for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
            *field = (enum cm_item_field)i;
            *column = cm_span_of(equals + 1);
            if (cm_span_equal_text(name, cm_item_field_name(*field))) {
                return CM_OK;
            }
        }
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT,
                        "--map %s: write FIELD=COLUMN, where FIELD is one of id, title, brand, "
                        "category, description, price, currency, language",
                        map);
}

/* The names of the columns for a message, as many as fit. */
static void list_columns(const struct cm_columns *columns, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < columns->count && used + 1 < out_bytes; i++) {
        int length = snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? ", " : "",
                              columns->items[i].name);
        used += length < 0 ? 0 : (size_t)length;
    }
    if (used >= out_bytes) {
        memcpy(out + out_bytes - sizeof "...", "...", sizeof "...");
    }
}

static enum cm_status apply_maps(struct cm_catalog *catalog,
                                 const struct cm_catalog_options *options, struct cm_error *error)
{
    for (size_t i = 0; i < options->maps_count; i++) {
        enum cm_item_field field;
        struct cm_span name;
        enum cm_status status = parse_map(options->maps[i], &field, &name, error);
        if (status != CM_OK) {
            return status;
        }
        size_t column = cm_columns_find(&catalog->columns, name);
        if (column == catalog->columns.count && catalog->csv != NULL) {
            char columns[600];
            list_columns(&catalog->columns, columns, sizeof columns);
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "--map %s: %s has no such column; it has: %s", options->maps[i],
                                name_of(catalog), columns);
        }
        if (column < catalog->columns.count) {
            cm_columns_map(&catalog->columns, field, column);
        }
    }
    return CM_OK;
}

/* --- CSV rows --- */

static bool is_filled(struct cm_span cell)
{
    return cm_span_trim(cell).length > 0;
}

/* Short rows and empty cells too many happen in good exports; a filled cell too many means that the
 * cells do not stand under their columns. */
static void check_width(struct cm_catalog *catalog, const struct cm_csv_record *record)
{
    size_t columns_count = catalog->columns.count;
    for (size_t i = columns_count; i < record->cells_count; i++) {
        if (is_filled(record->cells[i])) {
            snprintf(catalog->row_problem, sizeof catalog->row_problem,
                     "line %llu has %zu cells where the header has %zu; put cells that hold the "
                     "delimiter in quotes",
                     (unsigned long long)record->line, record->cells_count, columns_count);
            return;
        }
    }
    if (record->cells_count != columns_count && !catalog->told_ragged) {
        catalog->told_ragged = true;
        cm_log(CM_LOG_WARNING,
               "%s:%llu: %zu cells where the header has %zu; what is missing counts as empty (said "
               "once)",
               name_of(catalog), (unsigned long long)record->line, record->cells_count,
               columns_count);
    }
}

static bool is_variant_row(const struct cm_catalog *catalog)
{
    const struct cm_table_format *format = catalog->columns.format;
    for (size_t i = 0; i < catalog->cells_count; i++) {
        if (catalog->cells[i].column->is_skip &&
            cm_span_equal_text(cm_span_trim(catalog->cells[i].value), format->skip_value)) {
            return true;
        }
    }
    return false;
}

static enum cm_status read_csv_row(struct cm_catalog *catalog, struct cm_error *error)
{
    for (;;) {
        struct cm_csv_record record;
        enum cm_status status = cm_csv_next(catalog->csv, &record, error);
        if (status != CM_OK) {
            return status;
        }
        bool filled = record.problem != NULL;
        catalog->row_line = record.line;
        catalog->row_problem[0] = '\0';
        catalog->cells_count = 0;
        for (size_t i = 0; i < record.cells_count && i < catalog->columns.count; i++) {
            catalog->cells[catalog->cells_count++] =
                (struct cm_cell){ &catalog->columns.items[i], record.cells[i] };
        }
        for (size_t i = 0; !filled && i < record.cells_count; i++) {
            filled = is_filled(record.cells[i]);
        }
        if (record.problem != NULL) {
            snprintf(catalog->row_problem, sizeof catalog->row_problem, "line %llu %s",
                     (unsigned long long)record.line, record.problem);
        } else if (filled) {
            check_width(catalog, &record);
        }
        if (!filled) {
            continue;
        }
        catalog->counts.rows++;
        if (!is_variant_row(catalog)) {
            return CM_OK;
        }
        catalog->counts.rows_variant++;
    }
}

static enum cm_status open_csv(struct cm_catalog *catalog, struct cm_error *error)
{
    struct cm_csv_record header;
    enum cm_status status = cm_csv_open(catalog->input, '\0', &catalog->csv, error);
    if (status != CM_OK) {
        return status;
    }
    status = cm_csv_next(catalog->csv, &header, error);
    if (status == CM_END) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: is empty; a header line with column names is expected",
                            name_of(catalog));
    }
    if (status == CM_OK && header.problem != NULL) {
        return cm_error_set(error, CM_INVALID_DATA, "%s:%llu: the header %s", name_of(catalog),
                            (unsigned long long)header.line, header.problem);
    }
    if (status != CM_OK) {
        return status;
    }
    catalog->columns.format = cm_table_format_find(header.cells, header.cells_count);
    for (size_t i = 0; i < header.cells_count; i++) {
        if (cm_columns_add(&catalog->columns, header.cells[i]) != CM_OK) {
            return out_of_memory(catalog, error);
        }
    }
    return CM_OK;
}

/* --- JSON rows --- */

/* Index of the column of that name, added where it is new; the number of columns where there is no
 * room for another. */
static enum cm_status learn_column(struct cm_catalog *catalog, struct cm_span name, size_t *column)
{
    struct cm_columns *columns = &catalog->columns;
    for (*column = 0; *column < columns->count; (*column)++) {
        if (cm_span_equal_text(name, columns->items[*column].name)) {
            return CM_OK;
        }
    }
    if (columns->count == CM_CATALOG_COLUMNS_MAX) {
        return CM_OK;
    }
    enum cm_status status = cm_columns_add(columns, name);
    struct cm_catalog_options options = {
        .maps = (const char *const *)catalog->maps,
        .maps_count = catalog->maps_count,
    };
    return status == CM_OK ? apply_maps(catalog, &options, NULL) : status;
}

static enum cm_status read_json_row(struct cm_catalog *catalog, struct cm_error *error)
{
    struct cm_json_record record;
    enum cm_status status = cm_json_reader_next(catalog->json, &record, error);
    if (status != CM_OK) {
        return status;
    }
    catalog->counts.rows++;
    bool is_array = cm_json_reader_is_array(catalog->json);
    catalog->row_line = is_array ? record.element : record.line;
    catalog->row_problem[0] = '\0';
    catalog->cells_count = 0;
    size_t columns[CM_JSON_PAIRS_MAX];
    for (size_t i = 0; i < record.pairs_count && status == CM_OK; i++) {
        status = learn_column(catalog, record.pairs[i].name, &columns[i]);
    }
    /* Only now, since learning a column may move the others. */
    for (size_t i = 0; i < record.pairs_count && status == CM_OK; i++) {
        if (columns[i] < catalog->columns.count) {
            catalog->cells[catalog->cells_count++] =
                (struct cm_cell){ &catalog->columns.items[columns[i]], record.pairs[i].value };
        }
    }
    if (record.problem != NULL) {
        snprintf(catalog->row_problem, sizeof catalog->row_problem, "element %llu (line %llu) %s",
                 (unsigned long long)record.element, (unsigned long long)record.line,
                 record.problem);
    }
    return status == CM_OK ? CM_OK : out_of_memory(catalog, error);
}

static enum cm_status open_json(struct cm_catalog *catalog,
                                const struct cm_catalog_options *options, struct cm_error *error)
{
    catalog->columns.format = cm_table_format_find(NULL, 0);
    catalog->maps = cm_alloc(options->maps_count, sizeof *catalog->maps);
    if (catalog->maps == NULL) {
        return out_of_memory(catalog, error);
    }
    for (size_t i = 0; i < options->maps_count; i++) {
        catalog->maps[i] = cm_strdup(options->maps[i]);
        if (catalog->maps[i] == NULL) {
            return out_of_memory(catalog, error);
        }
        catalog->maps_count = i + 1;
    }
    return cm_json_reader_open(catalog->input, &catalog->json, error);
}

/* --- Items --- */

static enum cm_status read_row(struct cm_catalog *catalog, struct cm_error *error)
{
    if (catalog->has_row) {
        return CM_OK;
    }
    if (catalog->ended) {
        return CM_END;
    }
    enum cm_status status =
        catalog->csv != NULL ? read_csv_row(catalog, error) : read_json_row(catalog, error);
    catalog->has_row = status == CM_OK;
    catalog->ended = status != CM_OK;
    return status;
}

static enum cm_status add_row(struct cm_catalog *catalog)
{
    const char *problem = catalog->row_problem[0] == '\0' ? NULL : catalog->row_problem;
    enum cm_status status = CM_OK;
    if (!catalog->builder.active) {
        catalog->item_rows = 0;
        status = cm_item_builder_begin(&catalog->builder, catalog->row_line, catalog->cells,
                                       catalog->cells_count);
    }
    if (status == CM_OK) {
        status =
            cm_item_builder_add(&catalog->builder, catalog->cells, catalog->cells_count, problem);
    }
    catalog->has_row = false;
    catalog->item_rows++;
    return status;
}

/* Whether the item in hand has all its rows, given the row in hand. */
static bool is_complete(const struct cm_catalog *catalog)
{
    return !catalog->has_row || catalog->columns.format->group == NULL ||
           !cm_item_builder_continues(&catalog->builder, catalog->cells, catalog->cells_count);
}

static bool is_left_out(const struct cm_catalog *catalog)
{
    return catalog->columns.format->group_needs_title && !catalog->builder.item.damaged &&
           !cm_item_builder_has_title(&catalog->builder);
}

/* Whether the item's group had an item before, further up in the file: it can only be said. */
static enum cm_status check_repeated(struct cm_catalog *catalog, bool *repeated)
{
    uint8_t digest[CM_SHA256_BYTES];
    uint32_t nth = 0;
    struct cm_span group = cm_text_span(&catalog->builder.group);
    *repeated = false;
    if (catalog->groups == NULL || group.length == 0) {
        return CM_OK;
    }
    cm_hash_restart(catalog->hash);
    cm_hash_field(catalog->hash, group);
    cm_hash_field(catalog->hash, cm_text_span(&catalog->builder.language));
    cm_hash_digest(catalog->hash, digest);
    enum cm_status status = cm_digest_count_add(catalog->groups, digest, &nth);
    *repeated = nth > 0;
    if (*repeated && !catalog->quiet) {
        cm_log(
            CM_LOG_WARNING,
            "%s:%llu: the %s \"%s\" stood further up already and rows of one %s are one item, so "
            "these rows are left out; put them together, or give the product its own %s",
            name_of(catalog), (unsigned long long)catalog->builder.item.line,
            catalog->columns.format->group, cm_text_string(&catalog->builder.group),
            catalog->columns.format->group, catalog->columns.format->group);
    }
    return status;
}

/* Gathers rows until an item is complete; the first row of the next one stays in hand. */
static enum cm_status gather(struct cm_catalog *catalog, struct cm_error *error)
{
    for (;;) {
        enum cm_status status = CM_OK;
        bool grouped = catalog->columns.format->group != NULL;
        if (grouped || !catalog->builder.active) {
            status = read_row(catalog, error);
        }
        if (status != CM_OK && (status != CM_END || !catalog->builder.active)) {
            return status;
        }
        if (catalog->builder.active && is_complete(catalog)) {
            bool repeated = false;
            bool untitled = is_left_out(catalog);
            if (!untitled) {
                status = check_repeated(catalog, &repeated);
                if (status != CM_OK || !repeated) {
                    return status == CM_OK ? CM_OK : out_of_memory(catalog, error);
                }
            }
            *(untitled ? &catalog->counts.rows_untitled : &catalog->counts.rows_repeated) +=
                catalog->item_rows;
            cm_item_builder_drop(&catalog->builder);
        } else if (add_row(catalog) != CM_OK) {
            return out_of_memory(catalog, error);
        }
    }
}

enum cm_status cm_catalog_next(struct cm_catalog *catalog, struct cm_item *item,
                               struct cm_error *error)
{
    enum cm_status status = gather(catalog, error);
    if (status != CM_OK) {
        return status;
    }
    if (cm_item_builder_take(&catalog->builder, item) != CM_OK) {
        return out_of_memory(catalog, error);
    }
    item->index = catalog->counts.items++;
    catalog->counts.rows_joined += catalog->item_rows - 1;
    return CM_OK;
}

/* --- Opening --- */

static bool ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text);
    size_t end_length = strlen(end);
    return text_length >= end_length && strcasecmp(text + text_length - end_length, end) == 0;
}

static bool is_json(const struct cm_catalog *catalog)
{
    const char *name = name_of(catalog);
    struct cm_span text = cm_span_trim(cm_text_input_peek(catalog->input));
    return ends_with(name, ".json") || ends_with(name, ".jsonl") || ends_with(name, ".ndjson") ||
           (text.length > 0 && (text.data[0] == '[' || text.data[0] == '{'));
}

/* Without a title or description there is nothing to write about. */
static enum cm_status check_usable(const struct cm_catalog *catalog, struct cm_error *error)
{
    for (size_t i = 0; i < catalog->columns.count; i++) {
        const struct cm_column *column = &catalog->columns.items[i];
        if (column->kind == CM_COLUMN_FIELD &&
            (column->field == CM_ITEM_TITLE || column->field == CM_ITEM_DESCRIPTION)) {
            return CM_OK;
        }
    }
    char columns[600];
    list_columns(&catalog->columns, columns, sizeof columns);
    return cm_error_set(error, CM_INVALID_DATA,
                        "%s: no column is known to be the title; say which with --map "
                        "title=COLUMN. Columns: %s%s",
                        name_of(catalog), columns,
                        catalog->json == NULL
                            ? ""
                            : ". Items inside another object are not searched for: save their "
                              "array as the file");
}

/* JSON names its columns in the elements: the first is read now and kept. One that is damaged or
 * empty says nothing about the others. */
static enum cm_status check_first_element(struct cm_catalog *catalog, struct cm_error *error)
{
    enum cm_status status = read_row(catalog, error);
    if (status == CM_OK && catalog->row_problem[0] == '\0' && catalog->cells_count > 0) {
        return check_usable(catalog, error);
    }
    return status == CM_END ? CM_OK : status;
}

static void describe(struct cm_catalog *catalog)
{
    const char *encoding = cm_encoding_name(cm_text_input_encoding(catalog->input));
    if (catalog->json != NULL) {
        snprintf(catalog->description, sizeof catalog->description, "%s, %s",
                 cm_json_reader_is_array(catalog->json) ? "JSON array" : "JSON lines", encoding);
        return;
    }
    char delimiter = cm_csv_delimiter(catalog->csv);
    const char *delimiter_name = delimiter == '\t'  ? "tab"
                                 : delimiter == ';' ? "semicolon"
                                 : delimiter == '|' ? "bar"
                                                    : "comma";
    snprintf(catalog->description, sizeof catalog->description, "%s CSV, %s, %s, %zu columns",
             catalog->columns.format->name, delimiter_name, encoding, catalog->columns.count);
}

static enum cm_status open_table(struct cm_catalog *catalog,
                                 const struct cm_catalog_options *options, struct cm_error *error)
{
    enum cm_status status =
        is_json(catalog) ? open_json(catalog, options, error) : open_csv(catalog, error);
    if (status == CM_OK) {
        status = apply_maps(catalog, options, error);
    }
    if (status == CM_OK) {
        status = catalog->json != NULL ? check_first_element(catalog, error)
                                       : check_usable(catalog, error);
    }
    if (status == CM_OK && catalog->columns.format->group != NULL &&
        (cm_digest_count_open(&catalog->groups) != CM_OK ||
         cm_hash_open(&catalog->hash) != CM_OK)) {
        return out_of_memory(catalog, error);
    }
    return status;
}

enum cm_status cm_catalog_open(const struct cm_catalog_options *options,
                               struct cm_catalog **catalog, struct cm_error *error)
{
    struct cm_catalog *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", options->path);
    }
    opened->quiet = options->quiet;
    opened->told_ragged = options->quiet;
    opened->columns.keeps_reputation = options->keeps_reputation;
    enum cm_status status = cm_item_builder_init(&opened->builder);
    if (status != CM_OK) {
        cm_error_set(error, status, "%s: out of memory", options->path);
    }
    if (status == CM_OK) {
        status = cm_text_input_open(options->path, &opened->input, error);
    }
    if (status == CM_OK) {
        status = open_table(opened, options, error);
    }
    if (status != CM_OK) {
        cm_catalog_close(opened);
        return status;
    }
    describe(opened);
    *catalog = opened;
    return CM_OK;
}

void cm_catalog_close(struct cm_catalog *catalog)
{
    if (catalog == NULL) {
        return;
    }
    cm_item_builder_deinit(&catalog->builder);
    cm_columns_deinit(&catalog->columns);
    cm_csv_close(catalog->csv);
    cm_json_reader_close(catalog->json);
    cm_text_input_close(catalog->input);
    cm_digest_count_close(catalog->groups);
    cm_hash_close(catalog->hash);
    for (size_t i = 0; i < catalog->maps_count; i++) {
        cm_free(catalog->maps[i]);
    }
    cm_free(catalog->maps);
    cm_free(catalog);
}

struct cm_catalog_counts cm_catalog_counts(const struct cm_catalog *catalog)
{
    struct cm_catalog_counts counts = catalog->counts;
    counts.rows -= catalog->has_row; /* it is read, but no item has it yet */
    return counts;
}

const char *cm_catalog_describe(const struct cm_catalog *catalog)
{
    return catalog->description;
}
