#include "loaders/line_reader.h"

#include "base/memory.h"
#include "loaders/encoding.h"

#include <string.h>

struct cm_line_reader {
    struct cm_text_input *input;
    struct cm_span unread;
    bool piece_replaced;
    struct cm_text text;
    uint64_t number;
};

enum cm_status cm_line_reader_open(const char *path, struct cm_line_reader **reader,
                                   struct cm_error *error)
{
    struct cm_line_reader *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->text = CM_TEXT_INIT(CM_LINE_BYTES_MAX);
    enum cm_status status = cm_text_input_open(path, &opened->input, error);
    if (status != CM_OK) {
        cm_line_reader_close(opened);
        return status;
    }
    *reader = opened;
    return CM_OK;
}

void cm_line_reader_close(struct cm_line_reader *reader)
{
    if (reader != NULL) {
        cm_text_input_close(reader->input);
        cm_text_deinit(&reader->text);
        cm_free(reader);
    }
}

const char *cm_line_reader_name(const struct cm_line_reader *reader)
{
    return cm_text_input_name(reader->input);
}

/* Adds bytes up to the end of the line or of what was read. `ended`: the line is complete. */
static enum cm_status take_bytes(struct cm_line_reader *reader, struct cm_line *line, bool *ended)
{
    const char *end = memchr(reader->unread.data, '\n', reader->unread.length);
    size_t length = end == NULL ? reader->unread.length : (size_t)(end - reader->unread.data);
    enum cm_status status = CM_OK;
    if (line->problem == NULL) {
        status = cm_text_append(&reader->text, reader->unread.data, length);
        if (status == CM_LIMIT) {
            line->problem = "is longer than 16 MiB";
            status = CM_OK;
        }
        if (reader->piece_replaced && length > 0) {
            line->problem = "holds bytes that are no text; write it as UTF-8";
        }
    }
    *ended = end != NULL;
    length += *ended;
    reader->unread.data += length;
    reader->unread.length -= length;
    return status;
}

static enum cm_status read_line(struct cm_line_reader *reader, struct cm_line *line,
                                struct cm_error *error)
{
    bool ended = false;
    bool started = false;
    cm_text_clear(&reader->text);
    *line = (struct cm_line){ .number = reader->number + 1 };
    while (!ended) {
        if (reader->unread.length == 0) {
            struct cm_text_piece piece;
            enum cm_status status = cm_text_input_read(reader->input, &piece, error);
            if (status == CM_END && started) {
                break;
            }
            if (status != CM_OK) {
                return status;
            }
            reader->unread = piece.text;
            reader->piece_replaced = piece.replaced;
        }
        started = true;
        if (take_bytes(reader, line, &ended) != CM_OK) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "%s:%llu: out of memory",
                                cm_line_reader_name(reader), (unsigned long long)line->number);
        }
    }
    reader->number++;
    line->text = cm_span_trim(cm_text_span(&reader->text));
    return CM_OK;
}

enum cm_status cm_line_reader_next(struct cm_line_reader *reader, struct cm_line *line,
                                   struct cm_error *error)
{
    enum cm_status status = CM_OK;
    do {
        status = read_line(reader, line, error);
    } while (status == CM_OK && line->text.length == 0 && line->problem == NULL);
    return status;
}
