/* CSV and its relatives as a stream of records, over libcsv, with what libcsv leaves to its caller:
 * line numbers, the number of cells, a size limit, the delimiter, and going on after a bad record.
 *
 * Strict: a quote that opens a cell closes it too, right before the delimiter (RFC 4180). A record
 * that breaks this is handed out with `problem` and what was read of it, and reading goes on at the
 * next line. A quote inside a cell that does not begin with one is an ordinary character (27" TV):
 * that is against the RFC, but frequent and never ambiguous.
 * Blank lines are skipped; spaces around cells are dropped. Memory is bounded by
 * CM_CSV_RECORD_BYTES_MAX.
 */
#ifndef CM_LOADERS_CSV_READER_H
#define CM_LOADERS_CSV_READER_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/encoding.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CM_CSV_CELLS_MAX = 1024,
    CM_CSV_CELL_BYTES_MAX = 1 << 20,
    CM_CSV_RECORD_BYTES_MAX = 64 << 20,
};

struct cm_csv_record {
    uint64_t line;               /* 1-based line where the record starts */
    const struct cm_span *cells; /* UTF-8, quotes removed; valid until the next call */
    size_t cells_count;          /* at most CM_CSV_CELLS_MAX; may differ from the header's */
    const char *problem;         /* NULL: whole. Names the cell, the reason and the remedy */
};

struct cm_csv_reader;

/* Reads from `input`, which stays the caller's and outlives the reader. `delimiter` 0: whichever of
 * , ; tab | fits the first lines best. */
enum cm_status cm_csv_open(struct cm_text_input *input, char delimiter,
                           struct cm_csv_reader **reader, struct cm_error *error) CM_MUST_CHECK;
void cm_csv_close(struct cm_csv_reader *reader);

/* Next record, or CM_END. CM_INVALID_DATA for a quote that is never closed (the message names the
 * line where it opened), CM_LIMIT, CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_csv_next(struct cm_csv_reader *reader, struct cm_csv_record *record,
                           struct cm_error *error) CM_MUST_CHECK;

char cm_csv_delimiter(const struct cm_csv_reader *reader);

/* The delimiter that a text beginning with `prefix` uses; a comma where nothing speaks for another.
 */
char cm_csv_detect_delimiter(struct cm_span prefix);

#endif
