#include "loaders/csv_reader.h"

#include "base/memory.h"

#include <csv.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct cm_csv_reader {
    struct cm_text_input *input;
    struct csv_parser parser;
    char delimiter;
    struct cm_span unread; /* of the current piece */
    bool piece_replaced;
    uint64_t line; /* of the next byte */
    bool after_return;
    bool skipping; /* the rest of a line whose record is already given up */
    bool finished;

    bool record_open;
    bool record_done;
    uint64_t record_line;
    uint64_t open_cell_line; /* where the cell that is being read began */
    struct cm_text bytes;    /* of all cells of the record */
    size_t ends[CM_CSV_CELLS_MAX];
    struct cm_span cells[CM_CSV_CELLS_MAX];
    size_t cells_count;
    size_t cells_seen; /* beyond the maximum too */
    enum cm_status status;
    char problem[200];
};

/* --- Delimiter --- */

enum { DETECT_RECORDS_MAX = 8 };

/* Counts `delimiter` outside quotes in each of the first records; returns how many there are. */
static size_t count_delimiters(struct cm_span text, char delimiter, size_t *counts)
{
    size_t records = 0;
    bool quoted = false;
    bool blank = true;
    counts[0] = 0;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.data[i];
        if (byte == '"') {
            quoted = !quoted;
        }
        if (!quoted && (byte == '\n' || byte == '\r')) {
            if (!blank && ++records == DETECT_RECORDS_MAX) {
                return records;
            }
            counts[records] = 0;
            blank = true;
            continue;
        }
        blank = blank && byte == ' ';
        counts[records] += !quoted && byte == delimiter;
    }
    return records + !blank;
}

char cm_csv_detect_delimiter(struct cm_span prefix)
{
    static const char candidates[] = { ',', ';', '\t', '|' };
    char best = ',';
    size_t best_score = 0;
    for (size_t i = 0; i < sizeof candidates; i++) {
        size_t counts[DETECT_RECORDS_MAX];
        size_t records = count_delimiters(prefix, candidates[i], counts);
        size_t agreeing = 0;
        for (size_t record = 0; record < records; record++) {
            agreeing += counts[record] == counts[0];
        }
        size_t score = records == 0 ? 0 : counts[0] * agreeing;
        if (score > best_score) {
            best = candidates[i];
            best_score = score;
        }
    }
    return best;
}

/* --- What libcsv calls --- */

static void *resize(void *block, size_t bytes)
{
    return cm_realloc(block, bytes, 1);
}

static int is_space(unsigned char byte)
{
    return byte == ' ';
}

/* The first problem of a record is the one to tell. */
CM_PRINTF(2, 3)
static void note_problem(struct cm_csv_reader *reader, const char *format, ...)
{
    if (reader->problem[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(reader->problem, sizeof reader->problem, format, arguments);
        va_end(arguments);
    }
}

static void take_cell(void *data, size_t length, void *context)
{
    struct cm_csv_reader *reader = context;
    reader->cells_seen++;
    if (reader->cells_seen > CM_CSV_CELLS_MAX) {
        note_problem(reader, "has more than %d cells", CM_CSV_CELLS_MAX);
        return;
    }
    if (length > CM_CSV_CELL_BYTES_MAX) {
        note_problem(reader, "cell %zu is longer than 1 MiB; shorten it", reader->cells_seen);
        length = 0;
    }
    enum cm_status status = cm_text_append(&reader->bytes, data, length);
    if (status == CM_LIMIT) {
        note_problem(reader, "is longer than 64 MiB from cell %zu on", reader->cells_seen);
    } else if (status != CM_OK) {
        reader->status = status;
        return;
    }
    reader->ends[reader->cells_count++] = reader->bytes.length;
}

static void take_record(int terminator, void *context)
{
    (void)terminator;
    struct cm_csv_reader *reader = context;
    reader->record_done = true;
}

/* --- Records --- */

static void start_parser(struct cm_csv_reader *reader)
{
    /* libcsv grows its cell by a fixed step, whose default makes long cells quadratic. */
    enum { CELL_STEP_BYTES = 64 * 1024 };
    csv_init(&reader->parser, CSV_STRICT | CSV_STRICT_FINI);
    csv_set_delim(&reader->parser, (unsigned char)reader->delimiter);
    csv_set_space_func(&reader->parser, is_space);
    csv_set_blk_size(&reader->parser, CELL_STEP_BYTES);
    csv_set_realloc_func(&reader->parser, resize);
    csv_set_free_func(&reader->parser, cm_free);
}

/* libcsv stops before a quote in an unquoted cell and keeps its state, so the quote can be passed
 * with the rule off. */
static size_t pass_quote(struct cm_csv_reader *reader, struct cm_span text)
{
    csv_set_opts(&reader->parser, CSV_STRICT_FINI);
    size_t used = csv_parse(&reader->parser, text.data, 1, take_cell, take_record, reader);
    csv_set_opts(&reader->parser, CSV_STRICT | CSV_STRICT_FINI);
    return used;
}

/* A record that breaks the rules ends here; libcsv cannot go on in the middle of it. */
static void give_up_record(struct cm_csv_reader *reader)
{
    note_problem(reader,
                 "has text behind the closing quote of cell %zu; double quotes inside a cell",
                 reader->cells_seen + 1);
    csv_free(&reader->parser);
    start_parser(reader);
    reader->record_done = true;
    reader->skipping = true;
}

static enum cm_status parse(struct cm_csv_reader *reader, struct cm_span text,
                            struct cm_error *error)
{
    while (text.length > 0) {
        size_t used =
            csv_parse(&reader->parser, text.data, text.length, take_cell, take_record, reader);
        text.data += used;
        text.length -= used;
        if (text.length == 0 && reader->status == CM_OK) {
            return CM_OK;
        }
        if (reader->status != CM_OK || csv_error(&reader->parser) != CSV_EPARSE) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "%s:%llu: out of memory",
                                cm_text_input_name(reader->input),
                                (unsigned long long)reader->line);
        }
        if (reader->parser.quoted) {
            give_up_record(reader);
            return CM_OK;
        }
        used = pass_quote(reader, text);
        text.data += used;
        text.length -= used;
    }
    return CM_OK;
}

static bool is_blank(struct cm_span text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] != ' ' && text.data[i] != '\n' && text.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The rest of the current line, with its end; at most what the current piece holds. */
static struct cm_span next_slice(struct cm_csv_reader *reader)
{
    size_t length = 0;
    while (length < reader->unread.length) {
        char byte = reader->unread.data[length++];
        if (byte == '\n' || byte == '\r') {
            break;
        }
    }
    struct cm_span slice = { reader->unread.data, length };
    reader->unread.data += length;
    reader->unread.length -= length;
    return slice;
}

/* Counts the line end that a slice may close with; CR LF is one, even across two pieces. */
static bool count_line(struct cm_csv_reader *reader, struct cm_span slice)
{
    char last = slice.data[slice.length - 1];
    bool ends = last == '\n' || last == '\r';
    bool second_half = slice.length == 1 && last == '\n' && reader->after_return;
    reader->after_return = last == '\r';
    reader->line += ends && !second_half;
    return ends;
}

static enum cm_status check_open_cell(const struct cm_csv_reader *reader, struct cm_error *error)
{
    if (reader->parser.entry_pos <= CM_CSV_RECORD_BYTES_MAX) {
        return CM_OK;
    }
    return cm_error_set(error, CM_LIMIT,
                        "%s:%llu: a cell that starts here is longer than 64 MiB; is a quote not "
                        "closed, or is this no table?",
                        cm_text_input_name(reader->input),
                        (unsigned long long)reader->open_cell_line);
}

/* Feeds libcsv with one line or part of a line, so that it is known where a record starts. */
static enum cm_status feed(struct cm_csv_reader *reader, struct cm_span slice,
                           struct cm_error *error)
{
    if (reader->skipping) {
        reader->skipping = !count_line(reader, slice);
        return CM_OK;
    }
    if (!reader->record_open && is_blank(slice)) {
        count_line(reader, slice);
        return CM_OK;
    }
    if (!reader->record_open) {
        reader->record_open = true;
        reader->record_line = reader->line;
        reader->open_cell_line = reader->line;
    }
    if (reader->piece_replaced) {
        note_problem(reader,
                     "has bytes in cell %zu that are not valid in the file's encoding; "
                     "save the file as UTF-8",
                     reader->cells_seen + 1);
    }
    size_t cells_before = reader->cells_seen;
    enum cm_status status = parse(reader, slice, error);
    if (reader->cells_seen != cells_before) {
        reader->open_cell_line = reader->line;
    }
    bool ends = count_line(reader, slice);
    reader->skipping = reader->skipping && !ends;
    return status == CM_OK ? check_open_cell(reader, error) : status;
}

/* At the end of the file: the last record may lack its line end, but not its closing quote. */
static enum cm_status finish(struct cm_csv_reader *reader, struct cm_error *error)
{
    reader->finished = true;
    if (csv_fini(&reader->parser, take_cell, take_record, reader) != 0) {
        bool unclosed = csv_error(&reader->parser) == CSV_EPARSE;
        return cm_error_set(error, unclosed ? CM_INVALID_DATA : CM_OUT_OF_MEMORY,
                            unclosed ? "%s:%llu: the quote that opens a cell on this line is never "
                                       "closed; close it, or double it if it is part of the text"
                                     : "%s:%llu: out of memory",
                            cm_text_input_name(reader->input),
                            (unsigned long long)reader->open_cell_line);
    }
    if (reader->status != CM_OK) {
        return cm_error_set(error, reader->status, "%s: out of memory",
                            cm_text_input_name(reader->input));
    }
    return reader->record_done ? CM_OK : CM_END;
}

static void begin_record(struct cm_csv_reader *reader)
{
    cm_text_clear(&reader->bytes);
    reader->cells_count = 0;
    reader->cells_seen = 0;
    reader->record_open = false;
    reader->record_done = false;
    reader->problem[0] = '\0';
}

static void hand_out(struct cm_csv_reader *reader, struct cm_csv_record *record)
{
    const char *bytes = cm_text_string(&reader->bytes);
    size_t start = 0;
    for (size_t i = 0; i < reader->cells_count; i++) {
        reader->cells[i] = (struct cm_span){ bytes + start, reader->ends[i] - start };
        start = reader->ends[i];
    }
    *record = (struct cm_csv_record){
        .line = reader->record_line,
        .cells = reader->cells,
        .cells_count = reader->cells_count,
        .problem = reader->problem[0] == '\0' ? NULL : reader->problem,
    };
}

enum cm_status cm_csv_next(struct cm_csv_reader *reader, struct cm_csv_record *record,
                           struct cm_error *error)
{
    begin_record(reader);
    while (!reader->record_done) {
        enum cm_status status = CM_OK;
        if (reader->finished) {
            return CM_END;
        }
        if (reader->unread.length == 0) {
            struct cm_text_piece piece;
            status = cm_text_input_read(reader->input, &piece, error);
            if (status == CM_END) {
                status = finish(reader, error);
            } else if (status == CM_OK) {
                reader->unread = piece.text;
                reader->piece_replaced = piece.replaced;
            }
        } else {
            status = feed(reader, next_slice(reader), error);
        }
        if (status != CM_OK) {
            return status;
        }
    }
    hand_out(reader, record);
    return CM_OK;
}

enum cm_status cm_csv_open(struct cm_text_input *input, char delimiter,
                           struct cm_csv_reader **reader, struct cm_error *error)
{
    struct cm_csv_reader *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory",
                            cm_text_input_name(input));
    }
    opened->input = input;
    opened->line = 1;
    opened->delimiter =
        delimiter != '\0' ? delimiter : cm_csv_detect_delimiter(cm_text_input_peek(input));
    opened->bytes = CM_TEXT_INIT(CM_CSV_RECORD_BYTES_MAX);
    start_parser(opened);
    *reader = opened;
    return CM_OK;
}

void cm_csv_close(struct cm_csv_reader *reader)
{
    if (reader != NULL) {
        csv_free(&reader->parser);
        cm_text_deinit(&reader->bytes);
        cm_free(reader);
    }
}

char cm_csv_delimiter(const struct cm_csv_reader *reader)
{
    return reader->delimiter;
}
