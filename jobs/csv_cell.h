/* One cell of a CSV file (RFC 4180); what the writers share. */
#ifndef CM_JOBS_CSV_CELL_H
#define CM_JOBS_CSV_CELL_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdio.h>

enum { CM_CSV_CELL_WRITTEN_BYTES_MAX = 1 << 28 };

/* Writes `text`, quoted where a reader could misread it. `excel`: a cell that a spreadsheet would
 * execute gets an apostrophe before the sign that starts a formula; `scratch` holds it meanwhile.
 * Errors of the stream stay set in it. CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_csv_cell_write(FILE *stream, const char *text, bool excel,
                                 struct cm_text *scratch) CM_MUST_CHECK;

#endif
