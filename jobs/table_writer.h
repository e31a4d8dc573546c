/* A table of texts with any columns, as CSV (RFC 4180, UTF-8) or JSON lines: cleaned catalogs,
 * segments, reports. `copy_writer` writes the copy itself. */
#ifndef CM_JOBS_TABLE_WRITER_H
#define CM_JOBS_TABLE_WRITER_H

#include "base/status.h"
#include "jobs/copy_writer.h"

#include <stddef.h>
#include <stdio.h>

struct cm_table_writer;

/* Writes the header. `stream`, `name` (for messages) and the columns are borrowed. */
enum cm_status cm_table_writer_open(FILE *stream, const char *name, const char *const *columns,
                                    size_t columns_count,
                                    const struct cm_copy_writer_options *options,
                                    struct cm_table_writer **writer,
                                    struct cm_error *error) CM_MUST_CHECK;
void cm_table_writer_close(struct cm_table_writer *writer);

/* A row: one valid UTF-8 text per column. NULL is an empty cell of a CSV file and no key at all of
 * a JSON line. CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_table_writer_add(struct cm_table_writer *writer, const char *const *values,
                                   struct cm_error *error) CM_MUST_CHECK;

#endif
