/* A text file line by line, whatever its encoding: what JSON lines are read with where each line
 * stands for itself. */
#ifndef CM_LOADERS_LINE_READER_H
#define CM_LOADERS_LINE_READER_H

#include "base/status.h"
#include "base/text.h"

#include <stdint.h>

enum { CM_LINE_BYTES_MAX = 16 << 20 };

struct cm_line {
    uint64_t number;     /* from 1 */
    struct cm_span text; /* UTF-8, without the line end; valid until the next call */
    const char *problem; /* NULL: whole. Else why it was cut, and by what it would be right */
};

struct cm_line_reader;

/* "-" is standard input. CM_NOT_FOUND, CM_IO, CM_UNSUPPORTED, CM_OUT_OF_MEMORY. */
enum cm_status cm_line_reader_open(const char *path, struct cm_line_reader **reader,
                                   struct cm_error *error) CM_MUST_CHECK;
void cm_line_reader_close(struct cm_line_reader *reader);

/* The next line that is not blank; CM_END after the last. CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_line_reader_next(struct cm_line_reader *reader, struct cm_line *line,
                                   struct cm_error *error) CM_MUST_CHECK;

const char *cm_line_reader_name(const struct cm_line_reader *reader); /* for messages */

#endif
