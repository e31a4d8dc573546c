#include "jobs/copy_output.h"

#include "jobs/copy_writer.h"
#include "jobs/display_text.h"
#include "jobs/output_file.h"

#include <stdio.h>
#include <string.h>

enum { SAMPLES_COUNT = 6, SAMPLE_LINE_COLUMNS = 92, SAMPLE_LINES_MAX = 12 };

static enum cm_status write_rows(struct cm_ledger *ledger, struct cm_copy_writer *writer,
                                 uint64_t counts[CM_ROW_STATUS_COUNT], struct cm_error *error)
{
    struct cm_copy_row row;
    enum cm_status status = cm_ledger_rewind(ledger, error);
    while (status == CM_OK) {
        status = cm_ledger_next(ledger, &row, error);
        if (status == CM_OK) {
            counts[row.status]++;
            status = cm_copy_writer_add(writer, &row, error);
        }
    }
    return status == CM_END ? CM_OK : status;
}

enum cm_status cm_copy_output_write(const struct cm_run_options *options, struct cm_ledger *ledger,
                                    uint64_t counts[CM_ROW_STATUS_COUNT], struct cm_error *error)
{
    struct cm_output_file *file = NULL;
    struct cm_copy_writer *writer = NULL;
    struct cm_copy_writer_options writer_options = {
        .format = cm_copy_format_of(options->out_path),
        .excel = options->excel,
    };
    enum cm_status status = cm_output_file_open(options->out_path, &file, error);
    if (status == CM_OK) {
        status = cm_copy_writer_open(cm_output_file_stream(file), options->out_path,
                                     &writer_options, &writer, error);
    }
    if (status == CM_OK) {
        status = write_rows(ledger, writer, counts, error);
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(file, ledger, error);
    }
    cm_copy_writer_close(writer);
    cm_output_file_close(file);
    return status;
}

/* --- Samples --- */

/* The next line: up to a line end, or as much as fits, cut at a space where there is one. Text
 * without spaces, as in Chinese, is cut between characters. */
static struct cm_span next_line(struct cm_span text)
{
    const char *line_end = memchr(text.data, '\n', text.length);
    if (line_end != NULL) {
        text.length = (size_t)(line_end - text.data);
    }
    struct cm_span line = cm_display_cut(text, SAMPLE_LINE_COLUMNS);
    if (line.length < text.length && text.data[line.length] != ' ') {
        const char *space = memrchr(line.data, ' ', line.length);
        if (space != NULL && space > line.data) {
            line.length = (size_t)(space - line.data);
        }
    }
    return line;
}

static void show_sample(const struct cm_copy_row *row)
{
    fprintf(stderr, "\n%s · %s · %s · %s %.2f\n", row->item_id, row->segment_id, row->language,
            cm_row_status_name(row->status), row->score);
    struct cm_span rest = cm_span_of(row->text);
    for (int i = 0; rest.length > 0 && i < SAMPLE_LINES_MAX; i++) {
        struct cm_span line = next_line(rest);
        fprintf(stderr, "  %.*s\n", (int)line.length, line.data);
        rest.data += line.length;
        rest.length -= line.length;
        if (rest.length > 0 && (rest.data[0] == ' ' || rest.data[0] == '\n')) {
            rest.data++;
            rest.length--;
        }
    }
    if (rest.length > 0) {
        fputs("  …\n", stderr);
    }
}

enum cm_status cm_copy_output_samples(struct cm_ledger *ledger, uint64_t rows_count,
                                      struct cm_error *error)
{
    struct cm_copy_row row;
    /* One row further each time: a step of whole items would show the same segment again. */
    uint64_t step = rows_count / SAMPLES_COUNT + 1;
    uint64_t next = 0;
    enum cm_status status = cm_ledger_rewind(ledger, error);
    for (uint64_t i = 0; status == CM_OK && next < rows_count; i++) {
        status = cm_ledger_next(ledger, &row, error);
        if (status == CM_OK && i >= next && row.text[0] != '\0') {
            show_sample(&row);
            next = i + step;
        }
    }
    return status == CM_END ? CM_OK : status;
}
