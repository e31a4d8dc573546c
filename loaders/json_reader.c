#include "loaders/json_reader.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/json_flatten.h"

#include <stdio.h>

enum layout {
    LAYOUT_UNKNOWN,
    LAYOUT_ARRAY,    /* [ element, element ] */
    LAYOUT_LINES,    /* a value on each line */
    LAYOUT_SPREAD,   /* values over several lines each */
    LAYOUT_FINISHED, /* the array was closed, or the file has ended */
};

/* Where inside an element the scan is; enough to see where it ends. */
struct extent {
    size_t depth;
    char closing[CM_JSON_DEPTH_MAX]; /* the bracket that each open level waits for */
    bool in_string;
    bool escaped;
    bool too_deep;
    bool too_long;
    bool replaced;
};

struct cm_json_reader {
    struct cm_text_input *input;
    struct cm_span unread;
    bool piece_replaced;
    enum layout layout;
    bool is_array;
    uint64_t line; /* of the next byte */
    uint64_t elements_count;
    struct cm_text element;
    struct cm_json_flat flat;
    char problem[240];
};

static enum cm_status fail(const struct cm_json_reader *reader, enum cm_status status,
                           uint64_t line, const char *what, struct cm_error *error)
{
    return cm_error_set(error, status, "%s:%llu: %s", cm_text_input_name(reader->input),
                        (unsigned long long)line, what);
}

/* The next byte without consuming it; CM_END at the end of the file. */
static enum cm_status peek(struct cm_json_reader *reader, char *byte, struct cm_error *error)
{
    if (reader->unread.length == 0) {
        struct cm_text_piece piece;
        enum cm_status status = cm_text_input_read(reader->input, &piece, error);
        if (status != CM_OK) {
            return status;
        }
        reader->unread = piece.text;
        reader->piece_replaced = piece.replaced;
    }
    *byte = reader->unread.data[0];
    return CM_OK;
}

static void skip(struct cm_json_reader *reader)
{
    reader->line += reader->unread.data[0] == '\n';
    reader->unread.data++;
    reader->unread.length--;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static enum cm_status skip_spaces(struct cm_json_reader *reader, char *byte, struct cm_error *error)
{
    enum cm_status status = peek(reader, byte, error);
    while (status == CM_OK && is_space(*byte)) {
        skip(reader);
        status = peek(reader, byte, error);
    }
    return status;
}

/* --- Extents --- */

static void scan_in_string(struct extent *extent, char byte)
{
    if (extent->escaped) {
        extent->escaped = false;
    } else if (byte == '\\') {
        extent->escaped = true;
    } else if (byte == '"') {
        extent->in_string = false;
    }
}

/* False for a closing bracket that nothing waits for. */
static bool scan(struct extent *extent, char byte)
{
    if (extent->in_string) {
        scan_in_string(extent, byte);
        return true;
    }
    switch (byte) {
    case '"':
        extent->in_string = true;
        return true;
    case '{':
    case '[':
        if (extent->depth < CM_JSON_DEPTH_MAX) {
            extent->closing[extent->depth] = byte == '{' ? '}' : ']';
        } else {
            extent->too_deep = true;
        }
        extent->depth++;
        return true;
    case '}':
    case ']':
        if (extent->depth == 0) {
            return false;
        }
        extent->depth--;
        return extent->depth >= CM_JSON_DEPTH_MAX || extent->closing[extent->depth] == byte;
    default:
        return true;
    }
}

/* Takes one byte into the element; only what fits is kept, the scan goes on. */
static enum cm_status keep(struct cm_json_reader *reader, struct extent *extent, char byte,
                           struct cm_error *error)
{
    extent->replaced = extent->replaced || reader->piece_replaced;
    if (!extent->too_long) {
        enum cm_status status = cm_text_append_char(&reader->element, byte);
        if (status == CM_OUT_OF_MEMORY) {
            return fail(reader, status, reader->line, "out of memory", error);
        }
        extent->too_long = status == CM_LIMIT;
    }
    skip(reader);
    return CM_OK;
}

/* Up to the comma or bracket behind the element, which is consumed too. */
static enum cm_status read_array_element(struct cm_json_reader *reader, struct extent *extent,
                                         struct cm_error *error)
{
    uint64_t line = reader->line;
    for (;;) {
        char byte;
        enum cm_status status = peek(reader, &byte, error);
        if (status == CM_END) {
            return fail(reader, CM_INVALID_DATA, line,
                        "the element that starts here, or the array itself, is never closed; is "
                        "the file complete?",
                        error);
        }
        if (status != CM_OK) {
            return status;
        }
        bool outside = extent->depth == 0 && !extent->in_string;
        if (outside && (byte == ',' || byte == ']')) {
            skip(reader);
            reader->layout = byte == ',' ? LAYOUT_ARRAY : LAYOUT_FINISHED;
            return CM_OK;
        }
        if (!scan(extent, byte)) {
            return fail(reader, CM_INVALID_DATA, reader->line,
                        "a closing bracket that does not match the one that was opened", error);
        }
        status = keep(reader, extent, byte, error);
        if (status != CM_OK) {
            return status;
        }
    }
}

/* Up to the end of the line, or of the line on which the last bracket closes. */
static enum cm_status read_line_element(struct cm_json_reader *reader, struct extent *extent,
                                        struct cm_error *error)
{
    uint64_t line = reader->line;
    bool balanced = true;
    for (;;) {
        char byte;
        enum cm_status status = peek(reader, &byte, error);
        bool ends = status == CM_END || (status == CM_OK && byte == '\n');
        if (!ends && status != CM_OK) {
            return status;
        }
        bool open = balanced && extent->depth > 0 && !extent->in_string;
        if (ends && open && reader->layout == LAYOUT_UNKNOWN) {
            reader->layout = LAYOUT_SPREAD;
        }
        if (status == CM_END && open && reader->layout == LAYOUT_SPREAD) {
            return fail(reader, CM_INVALID_DATA, line,
                        "the value that starts here is never closed; is the file complete?", error);
        }
        if (ends && !(open && reader->layout == LAYOUT_SPREAD)) {
            reader->layout = reader->layout == LAYOUT_SPREAD ? LAYOUT_SPREAD : LAYOUT_LINES;
            return CM_OK;
        }
        balanced = balanced && scan(extent, byte);
        status = keep(reader, extent, byte, error);
        if (status != CM_OK) {
            return status;
        }
    }
}

/* --- Records --- */

/* CM_END after the last element; otherwise the reader stands at the first byte of the next. */
static enum cm_status find_element(struct cm_json_reader *reader, struct cm_error *error)
{
    bool is_first = reader->elements_count == 0;
    char byte;
    enum cm_status status = skip_spaces(reader, &byte, error);
    if (status == CM_END && reader->layout == LAYOUT_UNKNOWN) {
        return fail(reader, CM_INVALID_DATA, reader->line,
                    "the file is empty; a JSON array or JSON lines are expected", error);
    }
    if (status == CM_OK && reader->layout == LAYOUT_UNKNOWN && byte == '[') {
        reader->layout = LAYOUT_ARRAY;
        reader->is_array = true;
        skip(reader);
        status = skip_spaces(reader, &byte, error);
        if (status == CM_OK && byte == ']') {
            skip(reader);
            reader->layout = LAYOUT_FINISHED;
            status = skip_spaces(reader, &byte, error);
        }
    }
    if (status == CM_END && reader->layout == LAYOUT_ARRAY) {
        return fail(reader, CM_INVALID_DATA, reader->line,
                    is_first ? "the array is never closed; is the file complete?"
                             : "the array ends after a comma; is the file complete?",
                    error);
    }
    if (status == CM_OK && reader->layout == LAYOUT_FINISHED) {
        return fail(reader, CM_INVALID_DATA, reader->line,
                    "text behind the end of the array; remove it", error);
    }
    return status;
}

static void judge(struct cm_json_reader *reader, const struct extent *extent)
{
    const char *what = NULL;
    if (extent->too_long) {
        what = "is longer than 16 MiB";
    } else if (extent->too_deep) {
        what = "has more than 64 levels of brackets";
    } else if (cm_span_trim(cm_text_span(&reader->element)).length == 0) {
        what = "is empty: there is a comma too many";
    } else if (reader->flat.problem[0] != '\0') {
        what = reader->flat.problem;
    } else if (extent->replaced) {
        what = "has bytes that are not valid in the file's encoding; save the file as UTF-8";
    }
    snprintf(reader->problem, sizeof reader->problem, "%s", what == NULL ? "" : what);
    cm_utf8_clean(reader->problem); /* jansson quotes the text it stumbled over */
}

enum cm_status cm_json_reader_next(struct cm_json_reader *reader, struct cm_json_record *record,
                                   struct cm_error *error)
{
    enum cm_status status = find_element(reader, error);
    if (status != CM_OK) {
        return status;
    }
    struct extent extent = { .depth = 0 };
    uint64_t line = reader->line;
    cm_text_clear(&reader->element);
    status = reader->layout == LAYOUT_ARRAY ? read_array_element(reader, &extent, error)
                                            : read_line_element(reader, &extent, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_span text = { NULL, 0 };
    if (!extent.too_long && !extent.too_deep) {
        text = cm_text_span(&reader->element);
    }
    status = cm_json_flat_parse(&reader->flat, text);
    if (status != CM_OK) {
        return fail(reader, status, line, "out of memory", error);
    }
    judge(reader, &extent);
    *record = (struct cm_json_record){
        .element = ++reader->elements_count,
        .line = line,
        .pairs = reader->flat.pairs,
        .pairs_count = reader->flat.pairs_count,
        .problem = reader->problem[0] == '\0' ? NULL : reader->problem,
    };
    return CM_OK;
}

enum cm_status cm_json_reader_open(struct cm_text_input *input, struct cm_json_reader **reader,
                                   struct cm_error *error)
{
    struct cm_json_reader *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory",
                            cm_text_input_name(input));
    }
    opened->input = input;
    opened->line = 1;
    opened->element = CM_TEXT_INIT(CM_JSON_ELEMENT_BYTES_MAX);
    cm_json_flat_init(&opened->flat);
    *reader = opened;
    return CM_OK;
}

void cm_json_reader_close(struct cm_json_reader *reader)
{
    if (reader != NULL) {
        cm_text_deinit(&reader->element);
        cm_json_flat_deinit(&reader->flat);
        cm_free(reader);
    }
}

bool cm_json_reader_is_array(const struct cm_json_reader *reader)
{
    return reader->is_array;
}
