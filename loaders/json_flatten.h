/* One JSON element as names and values; internal to the JSON reader, see there for the rules. */
#ifndef CM_LOADERS_JSON_FLATTEN_H
#define CM_LOADERS_JSON_FLATTEN_H

#include "loaders/json_reader.h"

struct cm_json_flat {
    struct cm_text bytes; /* names and values, one after the other */
    struct cm_text name;  /* of the value in hand: "dimensions.width" */
    size_t ends[2 * CM_JSON_PAIRS_MAX];
    struct cm_json_pair pairs[CM_JSON_PAIRS_MAX];
    size_t pairs_count;
    char problem[200]; /* "": none */
};

void cm_json_flat_init(struct cm_json_flat *flat);
void cm_json_flat_deinit(struct cm_json_flat *flat);

/* Parses `text` and fills the pairs and, where it is damaged or no object, the problem. Only
 * CM_OUT_OF_MEMORY is an error. */
enum cm_status cm_json_flat_parse(struct cm_json_flat *flat, struct cm_span text) CM_MUST_CHECK;

#endif
