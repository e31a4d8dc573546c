/* How the readers of data sets fill a record; internal to data_sets and data_amazon. */
#ifndef CM_LOADERS_DATA_RECORD_H
#define CM_LOADERS_DATA_RECORD_H

#include "loaders/data_sets.h"

#include <jansson.h>

/* The reader's scratch. */
struct cm_data_fill {
    struct cm_data_record *record;
    struct cm_text plain;
};

/* All values go through cm_markup_to_text. Empty ones change nothing. CM_OUT_OF_MEMORY. */
enum cm_status cm_data_set_field(struct cm_data_fill *fill, enum cm_item_field field,
                                 struct cm_span value) CM_MUST_CHECK;
enum cm_status cm_data_set_text(struct cm_data_fill *fill, char **target,
                                struct cm_span value) CM_MUST_CHECK;

/* A second value of a name joins the first: "a, b". */
enum cm_status cm_data_add_attribute(struct cm_data_fill *fill, struct cm_span name,
                                     struct cm_span value) CM_MUST_CHECK;

void cm_data_damage(struct cm_data_fill *fill, const char *problem);

/* One line of Amazon's metadata. */
enum cm_status cm_data_amazon_fill(struct cm_data_fill *fill, const json_t *document) CM_MUST_CHECK;

#endif
