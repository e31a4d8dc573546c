#include "jobs/copy_writer.h"

#include "base/memory.h"
#include "base/text.h"
#include "jobs/csv_cell.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

enum { NUMBER_BYTES = 32 };

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
            status = cm_csv_cell_write(writer->stream, cells[i].text, writer->options.excel,
                                       &writer->cell);
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
    opened->cell = CM_TEXT_INIT(CM_CSV_CELL_WRITTEN_BYTES_MAX);
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
