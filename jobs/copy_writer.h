/* Rows into a file for people and programs: CSV (RFC 4180, UTF-8) or JSON lines, chosen by the
 * path's ending, with the columns in the order of the command-line contract. */
#ifndef CM_JOBS_COPY_WRITER_H
#define CM_JOBS_COPY_WRITER_H

#include "base/status.h"
#include "jobs/copy_row.h"

#include <stdbool.h>
#include <stdio.h>

enum cm_copy_format { CM_COPY_CSV, CM_COPY_JSONL };

/* By the ending: .jsonl or .ndjson, else CSV ("-" is CSV). */
enum cm_copy_format cm_copy_format_of(const char *path);

struct cm_copy_writer_options {
    enum cm_copy_format format;
    bool excel; /* CSV only: byte order mark, CRLF, and cells that a spreadsheet would execute get
                   an apostrophe before the sign that starts a formula */
};

struct cm_copy_writer;

/* Writes the header. `stream` is borrowed; `name` is used in messages. */
enum cm_status cm_copy_writer_open(FILE *stream, const char *name,
                                   const struct cm_copy_writer_options *options,
                                   struct cm_copy_writer **writer,
                                   struct cm_error *error) CM_MUST_CHECK;
void cm_copy_writer_close(struct cm_copy_writer *writer);

/* CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_copy_writer_add(struct cm_copy_writer *writer, const struct cm_copy_row *row,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
