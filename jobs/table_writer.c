#include "jobs/table_writer.h"

#include "base/memory.h"
#include "jobs/csv_cell.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

struct cm_table_writer {
    FILE *stream;
    const char *name;
    const char *const *columns;
    size_t columns_count;
    struct cm_copy_writer_options options;
    struct cm_text cell; /* scratch */
};

static enum cm_status write_csv_row(struct cm_table_writer *writer, const char *const *values)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < writer->columns_count; i++) {
        if (i > 0) {
            fputc(',', writer->stream);
        }
        status = cm_csv_cell_write(writer->stream, values[i] == NULL ? "" : values[i],
                                   writer->options.excel, &writer->cell);
    }
    fputs(writer->options.excel ? "\r\n" : "\n", writer->stream);
    return status;
}

static enum cm_status write_json_row(struct cm_table_writer *writer, const char *const *values)
{
    json_t *object = json_object();
    bool whole = object != NULL;
    for (size_t i = 0; whole && i < writer->columns_count; i++) {
        whole = values[i] == NULL ||
                json_object_set_new(object, writer->columns[i], json_string(values[i])) == 0;
    }
    whole =
        whole && (json_dumpf(object, writer->stream, JSON_COMPACT) == 0 || ferror(writer->stream));
    fputc('\n', writer->stream);
    json_decref(object);
    return whole ? CM_OK : CM_OUT_OF_MEMORY;
}

static enum cm_status finish(struct cm_table_writer *writer, enum cm_status status,
                             struct cm_error *error)
{
    if (status != CM_OK) {
        return cm_error_set(error, status, "%s: out of memory for a row", writer->name);
    }
    if (ferror(writer->stream)) {
        return cm_error_set(error, CM_IO, "%s: cannot write: %s", writer->name, strerror(errno));
    }
    return CM_OK;
}

enum cm_status cm_table_writer_open(FILE *stream, const char *name, const char *const *columns,
                                    size_t columns_count,
                                    const struct cm_copy_writer_options *options,
                                    struct cm_table_writer **writer, struct cm_error *error)
{
    struct cm_table_writer *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", name);
    }
    *opened = (struct cm_table_writer){
        .stream = stream,
        .name = name,
        .columns = columns,
        .columns_count = columns_count,
        .options = *options,
        .cell = CM_TEXT_INIT(CM_CSV_CELL_WRITTEN_BYTES_MAX),
    };
    enum cm_status status = CM_OK;
    if (options->format == CM_COPY_CSV) {
        if (options->excel) {
            fputs("\xEF\xBB\xBF", stream);
        }
        status = write_csv_row(opened, columns);
    }
    status = finish(opened, status, error);
    if (status != CM_OK) {
        cm_table_writer_close(opened);
        return status;
    }
    *writer = opened;
    return CM_OK;
}

void cm_table_writer_close(struct cm_table_writer *writer)
{
    if (writer != NULL) {
        cm_text_deinit(&writer->cell);
        cm_free(writer);
    }
}

enum cm_status cm_table_writer_add(struct cm_table_writer *writer, const char *const *values,
                                   struct cm_error *error)
{
    errno = 0;
    bool is_csv = writer->options.format == CM_COPY_CSV;
    return finish(writer, is_csv ? write_csv_row(writer, values) : write_json_row(writer, values),
                  error);
}
