#include "jobs/export/exporter.h"

#include "base/memory.h"
#include "jobs/export/edited_fields.h"
#include "jobs/export/export_row.h"
#include "jobs/export/origin.h"
#include "loaders/json_memory.h"

#include <errno.h>
#include <string.h>

const char *const CM_EXPORT_FORMATS[] = { "csv",     "jsonl",           "pairs",
                                          "shopify", "google-merchant", NULL };
const char *const CM_EXPORT_ORIGINS[] = { "none", "metadata", "mark", "both", NULL };

const char *cm_export_ending(enum cm_export_format format)
{
    static const char *const endings[CM_EXPORT_FORMAT_COUNT] = {
        [CM_EXPORT_CSV] = ".csv",
        [CM_EXPORT_JSONL] = ".jsonl",
        [CM_EXPORT_PAIRS] = ".jsonl",
        [CM_EXPORT_SHOPIFY] = ".csv",
        [CM_EXPORT_GOOGLE_MERCHANT] = ".txt",
    };
    return endings[format];
}

const char *cm_export_field(const struct cm_export_copy *copy, const char *name)
{
    const char *value = json_string_value(json_object_get(copy->fields, name));
    return value != NULL && value[0] != '\0' ? value : NULL;
}

void cm_export_refuse(struct cm_export *exported, const struct cm_ledger_entry *entry,
                      const char *reason)
{
    struct cm_export_counts *counts = exported->counts;
    if (counts->refused++ == 0) {
        snprintf(counts->refusal, sizeof counts->refusal, "item \"%.80s\", segment \"%.80s\": %s",
                 entry->row.item_id, entry->row.segment_id, reason);
    }
}

/* --- Rows --- */

static bool is_wanted(const struct cm_export *exported, const struct cm_ledger_entry *entry)
{
    if (cm_ledger_entry_is_approved(entry)) {
        return true;
    }
    return exported->options->everything && entry->decision.state == CM_DECISION_OPEN &&
           entry->row.text[0] != '\0';
}

/* Leaves the text with its mark in exported->text. */
static enum cm_status write_mark(struct cm_export *exported, const char *text, const char *mark)
{
    const char *gap = strchr(text, '\n') != NULL ? "\n" : " ";
    cm_text_clear(&exported->text);
    return cm_text_printf(&exported->text, "%s%s%s", text, gap, mark);
}

const char *cm_export_marked(struct cm_export *exported, const struct cm_export_copy *copy,
                             const char *name)
{
    const char *part = cm_export_field(copy, name);
    if (part == NULL || copy->mark == NULL) {
        return part != NULL ? part : copy->text;
    }
    return write_mark(exported, part, copy->mark) == CM_OK ? cm_text_string(&exported->text) : NULL;
}

/* The parts of the text as it is to be published. */
static enum cm_status read_fields(const struct cm_ledger_entry *entry, struct cm_export_copy *copy)
{
    if (entry->row.fields[0] == '\0') {
        return CM_OK;
    }
    copy->fields = json_loads(entry->row.fields, 0, NULL);
    if (copy->fields == NULL) {
        return CM_OUT_OF_MEMORY; /* the ledger holds no JSON that is wrong */
    }
    if (entry->decision.state != CM_DECISION_EDITED) {
        return CM_OK;
    }
    enum cm_status status =
        cm_edited_fields_apply(copy->fields, entry->row.text, entry->decision.text);
    if (status == CM_NOT_FOUND) {
        const char *name;
        json_t *value;
        json_object_foreach(copy->fields, name, value)
        {
            copy->lost_parts = copy->lost_parts || cm_edited_fields_is_part(name);
        }
    }
    if (copy->lost_parts) {
        json_decref(copy->fields);
        copy->fields = NULL;
    }
    return status == CM_NOT_FOUND ? CM_OK : status;
}

/* The text and its labels, as every format takes them. */
static enum cm_status prepare(struct cm_export *exported, const struct cm_ledger_entry *entry,
                              struct cm_export_copy *copy)
{
    const struct cm_export_options *options = exported->options;
    bool mark =
        options->origin == CM_EXPORT_ORIGIN_MARK || options->origin == CM_EXPORT_ORIGIN_BOTH;
    bool metadata =
        options->origin == CM_EXPORT_ORIGIN_METADATA || options->origin == CM_EXPORT_ORIGIN_BOTH;
    *copy = (struct cm_export_copy){ .entry = entry, .text = cm_ledger_entry_text(entry) };
    enum cm_status status = read_fields(entry, copy);
    if (status == CM_OK && mark) {
        copy->mark = cm_origin_mark(entry->row.language);
        status = write_mark(exported, copy->text, copy->mark);
        copy->text = cm_text_string(&exported->text);
    }
    if (status == CM_OK && metadata) {
        const char *producer = options->producer != NULL ? options->producer : "copymill";
        cm_text_clear(&exported->aigc);
        status = cm_origin_append_metadata(&exported->aigc, producer, entry->row.key);
        copy->aigc = cm_text_string(&exported->aigc);
    }
    return status;
}

static enum cm_status write_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                struct cm_error *error)
{
    switch (exported->options->format) {
    case CM_EXPORT_CSV:
        return cm_export_csv_row(exported, copy, error);
    case CM_EXPORT_JSONL:
        return cm_export_json_row(exported, copy, error);
    case CM_EXPORT_PAIRS:
        return cm_export_pair(exported, copy, error);
    case CM_EXPORT_SHOPIFY:
        return cm_export_shopify_row(exported, copy, error);
    case CM_EXPORT_GOOGLE_MERCHANT:
        return cm_export_google_row(exported, copy, error);
    case CM_EXPORT_FORMAT_COUNT:
        break;
    }
    return cm_error_set(error, CM_INTERNAL, "no such format");
}

static enum cm_status visit(const struct cm_ledger_entry *entry, void *context,
                            struct cm_error *error)
{
    struct cm_export *exported = context;
    struct cm_export_copy copy;
    if (!is_wanted(exported, entry)) {
        exported->counts->waiting += entry->decision.state == CM_DECISION_OPEN;
        return CM_OK;
    }
    enum cm_status status = prepare(exported, entry, &copy);
    if (status != CM_OK) {
        cm_error_set(error, status, "%s: out of memory", exported->name);
    } else {
        errno = 0;
        status = write_row(exported, &copy, error);
    }
    json_decref(copy.fields);
    if (status == CM_OK && ferror(exported->stream)) {
        status =
            cm_error_set(error, CM_IO, "%s: cannot write: %s", exported->name, strerror(errno));
    }
    return status;
}

/* --- Before the rows --- */

/* What a look over the rows finds. */
struct overview {
    uint64_t rows_count;
    char first[128];  /* segment of a row */
    char second[128]; /* another one; "": none */
};

static enum cm_status look_over(const struct cm_ledger_entry *entry, void *context,
                                struct cm_error *error)
{
    (void)error;
    struct overview *overview = context;
    if (overview->rows_count++ == 0) {
        snprintf(overview->first, sizeof overview->first, "%s", entry->row.segment_id);
    } else if (overview->second[0] == '\0' &&
               strncmp(overview->first, entry->row.segment_id, sizeof overview->first - 1) != 0) {
        snprintf(overview->second, sizeof overview->second, "%s", entry->row.segment_id);
    }
    return CM_OK;
}

/* A shop has one description for a product, so one segment has to be chosen. */
static enum cm_status check_segment(struct cm_ledger *ledger,
                                    const struct cm_export_options *options, struct cm_error *error)
{
    struct overview overview = { 0 };
    bool one_each =
        options->format == CM_EXPORT_SHOPIFY || options->format == CM_EXPORT_GOOGLE_MERCHANT;
    if (options->segment == NULL && !one_each) {
        return CM_OK;
    }
    enum cm_status status = cm_ledger_visit(ledger, options->segment, look_over, &overview, error);
    if (status == CM_OK && options->segment != NULL && overview.rows_count == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--segment %.100s: the job has no rows for such a segment",
                            options->segment);
    }
    if (status == CM_OK && overview.second[0] != '\0') {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%s takes one text for each product, and the job has several segments "
                            "(%.100s, %.100s ...): choose one with --segment",
                            CM_EXPORT_FORMATS[options->format], overview.first, overview.second);
    }
    return status;
}

static enum cm_status open_table(struct cm_export *exported, const char **columns,
                                 const char *const *source, struct cm_error *error)
{
    size_t count = 0;
    for (; source[count] != NULL; count++) {
        columns[count] = source[count];
    }
    if (exported->options->origin == CM_EXPORT_ORIGIN_METADATA ||
        exported->options->origin == CM_EXPORT_ORIGIN_BOTH) {
        columns[count++] = "AIGC";
    }
    struct cm_copy_writer_options options = {
        .format = CM_COPY_CSV,
        .excel = exported->options->excel,
    };
    return cm_table_writer_open(exported->stream, exported->name, columns, count, &options,
                                &exported->table, error);
}

static enum cm_status begin(struct cm_export *exported, const char **columns,
                            struct cm_error *error)
{
    if (cm_digest_count_open(&exported->handles) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", exported->name);
    }
    switch (exported->options->format) {
    case CM_EXPORT_CSV:
        return open_table(exported, columns, CM_EXPORT_COLUMNS, error);
    case CM_EXPORT_SHOPIFY:
        return open_table(exported, columns, CM_SHOPIFY_COLUMNS, error);
    case CM_EXPORT_GOOGLE_MERCHANT:
        cm_export_google_header(exported);
        return CM_OK;
    default:
        return CM_OK;
    }
}

enum cm_status cm_export_write(struct cm_ledger *ledger, const struct cm_export_options *options,
                               FILE *stream, const char *name, struct cm_export_counts *counts,
                               struct cm_error *error)
{
    const char *columns[CM_EXPORT_COLUMNS_MAX];
    struct cm_export exported = {
        .options = options,
        .stream = stream,
        .name = name,
        .text = CM_TEXT_INIT(CM_EXPORT_CELL_BYTES_MAX),
        .html = CM_TEXT_INIT(CM_EXPORT_CELL_BYTES_MAX),
        .aigc = CM_TEXT_INIT(CM_EXPORT_CELL_BYTES_MAX),
        .title = CM_TEXT_INIT(CM_EXPORT_CELL_BYTES_MAX),
        .counts = counts,
    };
    *counts = (struct cm_export_counts){ 0 };
    cm_json_memory_begin();
    enum cm_status status = check_segment(ledger, options, error);
    if (status == CM_OK) {
        status = begin(&exported, columns, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit(ledger, options->segment, visit, &exported, error);
    }
    cm_table_writer_close(exported.table);
    cm_digest_count_close(exported.handles);
    cm_text_deinit(&exported.text);
    cm_text_deinit(&exported.html);
    cm_text_deinit(&exported.aigc);
    cm_text_deinit(&exported.title);
    return status;
}
