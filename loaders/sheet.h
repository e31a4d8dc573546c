/* A small table as records of names and values, whichever way it is written: CSV and its relatives
 * with a header line, a JSON array, or JSONL. For files that are read whole, with errors by line.
 */
#ifndef CM_LOADERS_SHEET_H
#define CM_LOADERS_SHEET_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_sheet_cell {
    struct cm_span name; /* as in the file */
    struct cm_span value;
};

struct cm_sheet_record {
    uint64_t line;
    const struct cm_sheet_cell *cells; /* valid until the next call */
    size_t cells_count;
    const char *problem; /* NULL: whole */
};

struct cm_sheet;

/* `wanted` names the column that a header should have, for the message about an empty file.
 * CM_NOT_FOUND, CM_IO, CM_INVALID_DATA, CM_OUT_OF_MEMORY. */
enum cm_status cm_sheet_open(const char *path, const char *wanted, struct cm_sheet **sheet,
                             struct cm_error *error) CM_MUST_CHECK;
void cm_sheet_close(struct cm_sheet *sheet);

/* Next record, or CM_END. CM_INVALID_DATA where the file cannot be followed any further. */
enum cm_status cm_sheet_next(struct cm_sheet *sheet, struct cm_sheet_record *record,
                             struct cm_error *error) CM_MUST_CHECK;

/* Errors in the words of every such file: "FILE:LINE: what", CM_INVALID_DATA; "FILE: out of
 * memory". */
enum cm_status cm_sheet_refuse(const struct cm_sheet *sheet, const struct cm_sheet_record *record,
                               struct cm_error *error, const char *what);
enum cm_status cm_sheet_out_of_memory(const struct cm_sheet *sheet, struct cm_error *error);

const char *cm_sheet_name(const struct cm_sheet *sheet); /* for messages */

/* Whether a column has this name in normal form (see columns.h). */
bool cm_sheet_cell_is(const struct cm_sheet_cell *cell, const char *normal_name);

#endif
