/* A JSON file as a stream of flat records: the elements of a top-level array, or the values of a
 * JSONL file (one per line; a single object over several lines is read too). Parsed one by one with
 * jansson; the extent of each is found here, so that memory stays constant and a damaged element
 * does not end the file.
 *
 * A record is the element's keys and values: {"a": {"b": 1}} gives "a.b"; scalars in an array are
 * joined with ", "; an array of objects with a name and a value each gives those, other arrays of
 * objects are left out, and so are nulls. Of equal keys the last counts.
 */
#ifndef CM_LOADERS_JSON_READER_H
#define CM_LOADERS_JSON_READER_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/encoding.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CM_JSON_DEPTH_MAX = 64,
    CM_JSON_PAIRS_MAX = 1024,
    CM_JSON_ELEMENT_BYTES_MAX = 16 << 20,
};

struct cm_json_pair {
    struct cm_span name; /* UTF-8, as are values; both may hold NUL */
    struct cm_span value;
};

struct cm_json_record {
    uint64_t element;                 /* 1-based */
    uint64_t line;                    /* 1-based line where the element starts */
    const struct cm_json_pair *pairs; /* valid until the next call */
    size_t pairs_count;
    const char *problem; /* NULL: whole. Reason and place; then pairs may be missing */
};

struct cm_json_reader;

/* Reads from `input`, which stays the caller's and outlives the reader. */
enum cm_status cm_json_reader_open(struct cm_text_input *input, struct cm_json_reader **reader,
                                   struct cm_error *error) CM_MUST_CHECK;
void cm_json_reader_close(struct cm_json_reader *reader);

/* Next record, or CM_END. CM_INVALID_DATA where the structure cannot be followed (an array or
 * object that is never closed, a bracket of the wrong kind, text behind the array, nothing at all),
 * CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_json_reader_next(struct cm_json_reader *reader, struct cm_json_record *record,
                                   struct cm_error *error) CM_MUST_CHECK;

bool cm_json_reader_is_array(const struct cm_json_reader *reader); /* after the first record */

#endif
