#include "jobs/copy_writer.h"

#include "base/memory.h"
#include "base/text.h"

#include <csv.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

enum { CELL_BYTES_MAX = 1 << 28, NUMBER_BYTES = 32 };

enum column_kind { TEXT, WHOLE, SCORE };

struct cell {
    const char *name;
    enum column_kind kind;
    const char *text;
    uint64_t whole;
    double score;
};

enum { COLUMNS_COUNT = 19 };

struct cm_copy_writer {
    FILE *stream;
    const char *name;
    struct cm_copy_writer_options options;
    struct cm_text cell; /* being neutralised */
};

/* The one place that knows the columns and their order. */
static void fill_cells(const struct cm_copy_row *row, struct cell cells[COLUMNS_COUNT])
{
    const struct cell filled[COLUMNS_COUNT] = {
        { "item_id", TEXT, .text = row->item_id },
        { "segment_id", TEXT, .text = row->segment_id },
        { "scenario", TEXT, .text = row->scenario },
        { "channel", TEXT, .text = row->channel },
        { "language", TEXT, .text = row->language },
        { "status", TEXT, .text = cm_row_status_name(row->status) },
        { "text", TEXT, .text = row->text },
        { "fields", TEXT, .text = row->fields },
        { "score", SCORE, .score = row->score },
        { "flags", TEXT, .text = row->flags },
        { "finish_reason", TEXT, .text = row->finish_reason },
        { "prompt_tokens", WHOLE, .whole = row->prompt_tokens },
        { "cached_tokens", WHOLE, .whole = row->cached_tokens },
        { "output_tokens", WHOLE, .whole = row->output_tokens },
        { "attempt", WHOLE, .whole = row->attempt },
        { "seed", WHOLE, .whole = row->seed },
        { "model", TEXT, .text = row->model },
        { "row_key", TEXT, .text = row->key },
        { "error", TEXT, .text = row->error },
    };
    memcpy(cells, filled, sizeof filled);
}

enum cm_copy_format cm_copy_format_of(const char *path)
{
    const char *ending = strrchr(path, '.');
    bool jsonl =
        ending != NULL && (strcasecmp(ending, ".jsonl") == 0 || strcasecmp(ending, ".ndjson") == 0);
    return jsonl ? CM_COPY_JSONL : CM_COPY_CSV;
}

/* --- CSV --- */

/* The signs that start a formula, with the full-width forms that some spreadsheets take for them.
 */
static bool starts_formula(const char *text)
{
    static const char *const wide[] = { "＝", "＋", "－", "＠" };
    if (text[0] != '\0' && strchr("=+-@\t\r\n", text[0]) != NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        if (strncmp(text, wide[i], strlen(wide[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* A reader that splits at another separator, or ignores quotes, sees a new cell after each of
 * these, so a formula is disarmed there as well as at the start. */
static enum cm_status neutralise(const char *text, struct cm_text *cell)
{
    cm_text_clear(cell);
    bool at_start = true;
    enum cm_status status = CM_OK;
    for (const char *at = text; status == CM_OK && *at != '\0'; at++) {
        if (at_start && starts_formula(at)) {
            status = cm_text_append_char(cell, '\'');
            at_start = false;
        }
        bool separates = strchr(",;|\t\r\n", *at) != NULL;
        bool keeps = *at == ' ' || *at == '"' || *at == '\'';
        at_start = separates || (at_start && keeps);
        if (status == CM_OK) {
            status = cm_text_append_char(cell, *at);
        }
    }
    return status;
}

/* Errors of the stream stay set in it and are looked at once per row. */
static enum cm_status write_csv_text(struct cm_copy_writer *writer, const char *text)
{
    if (writer->options.excel) {
        enum cm_status status = neutralise(text, &writer->cell);
        if (status != CM_OK) {
            return status;
        }
        text = cm_text_string(&writer->cell);
    }
    size_t length = strlen(text);
    bool plain = strpbrk(text, ",\"\r\n;\t|") == NULL &&
                 (length == 0 || (text[0] != ' ' && text[length - 1] != ' '));
    if (plain) {
        fputs(text, writer->stream);
    } else {
        csv_fwrite(writer->stream, text, length);
    }
    return CM_OK;
}

/* Four decimals at most, and always a point: the same characters as in JSON. */
static void format_score(double score, char number[NUMBER_BYTES])
{
    snprintf(number, NUMBER_BYTES, "%.6g", score);
    if (strpbrk(number, ".e") == NULL) {
        strncat(number, ".0", NUMBER_BYTES - strlen(number) - 1);
    }
}

static enum cm_status write_csv_row(struct cm_copy_writer *writer,
                                    const struct cell cells[COLUMNS_COUNT])
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < COLUMNS_COUNT; i++) {
        char number[NUMBER_BYTES];
        if (i > 0) {
            fputc(',', writer->stream);
        }
        switch (cells[i].kind) {
        case TEXT:
            status = write_csv_text(writer, cells[i].text);
            break;
        case WHOLE:
            fprintf(writer->stream, "%" PRIu64, cells[i].whole);
            break;
        case SCORE:
            format_score(cells[i].score, number);
            fputs(number, writer->stream);
            break;
        }
    }
    fputs(writer->options.excel ? "\r\n" : "\n", writer->stream);
    return status;
}

static void write_csv_header(struct cm_copy_writer *writer)
{
    static const struct cm_copy_row nothing = { .status = CM_ROW_OK };
    struct cell cells[COLUMNS_COUNT];
    fill_cells(&nothing, cells);
    if (writer->options.excel) {
        fputs("\xEF\xBB\xBF", writer->stream);
    }
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        fprintf(writer->stream, "%s%s", i > 0 ? "," : "", cells[i].name);
    }
    fputs(writer->options.excel ? "\r\n" : "\n", writer->stream);
}

/* --- JSON lines --- */

static json_t *json_of(const struct cell *cell)
{
    switch (cell->kind) {
    case WHOLE:
        return json_integer((json_int_t)cell->whole);
    case SCORE:
        return json_real(cell->score);
    case TEXT:
        break;
    }
    /* A JSON object of fields goes in as an object, not as text. */
    if (strcmp(cell->name, "fields") == 0 && cell->text[0] == '{') {
        return json_loads(cell->text, JSON_REJECT_DUPLICATES, NULL);
    }
    return json_string(cell->text);
}

static enum cm_status write_json_row(struct cm_copy_writer *writer,
                                     const struct cell cells[COLUMNS_COUNT])
{
    enum cm_status status = CM_OK;
    json_t *object = json_object();
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        if (json_object_set_new(object, cells[i].name, json_of(&cells[i])) != 0) {
            status = CM_OUT_OF_MEMORY;
            goto release;
        }
    }
    if (json_dumpf(object, writer->stream, JSON_COMPACT | JSON_REAL_PRECISION(6)) != 0 &&
        !ferror(writer->stream)) {
        status = CM_OUT_OF_MEMORY;
    }
    fputc('\n', writer->stream);
release:
    json_decref(object);
    return status;
}

/* --- The writer --- */

static enum cm_status stream_status(struct cm_copy_writer *writer, struct cm_error *error)
{
    if (ferror(writer->stream)) {
        return cm_error_set(error, CM_IO, "%s: cannot write: %s", writer->name, strerror(errno));
    }
    return CM_OK;
}

enum cm_status cm_copy_writer_open(FILE *stream, const char *name,
                                   const struct cm_copy_writer_options *options,
                                   struct cm_copy_writer **writer, struct cm_error *error)
{
    struct cm_copy_writer *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", name);
    }
    opened->stream = stream;
    opened->name = name;
    opened->options = *options;
    opened->cell = CM_TEXT_INIT(CELL_BYTES_MAX);
    if (options->format == CM_COPY_CSV) {
        write_csv_header(opened);
    }
    enum cm_status status = stream_status(opened, error);
    if (status != CM_OK) {
        cm_copy_writer_close(opened);
        return status;
    }
    *writer = opened;
    return CM_OK;
}

void cm_copy_writer_close(struct cm_copy_writer *writer)
{
    if (writer != NULL) {
        cm_text_deinit(&writer->cell);
        cm_free(writer);
    }
}

enum cm_status cm_copy_writer_add(struct cm_copy_writer *writer, const struct cm_copy_row *row,
                                  struct cm_error *error)
{
    struct cell cells[COLUMNS_COUNT];
    fill_cells(row, cells);
    errno = 0;
    enum cm_status status = writer->options.format == CM_COPY_CSV ? write_csv_row(writer, cells)
                                                                  : write_json_row(writer, cells);
    if (status != CM_OK) {
        return cm_error_set(error, status, "%s: out of memory for the row of item \"%s\"",
                            writer->name, row->item_id);
    }
    return stream_status(writer, error);
}
