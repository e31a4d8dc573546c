/* The parts of a copy, from what the model wrote to a JSON object: read from its lines, cleaned,
 * completed from the item where a part is missing, and cut to the limits of the channel. A hard
 * limit is never exceeded. */
#ifndef CM_JOBS_CONTENT_COPY_FIELDS_H
#define CM_JOBS_CONTENT_COPY_FIELDS_H

#include "base/status.h"
#include "base/text.h"
#include "jobs/content/channel.h"
#include "loaders/catalog.h"

#include <stdbool.h>
#include <stddef.h>

enum { CM_COPY_VALUES_MAX = 96, CM_COPY_REPAIRS_MAX = 16, CM_COPY_REPAIR_BYTES = 64 };

/* A value of a field; a list has several. */
struct cm_copy_value {
    size_t field; /* of the channel */
    char *text;
};

struct cm_copy_fields {
    struct cm_copy_value values[CM_COPY_VALUES_MAX];
    size_t count;
    char repairs[CM_COPY_REPAIRS_MAX][CM_COPY_REPAIR_BYTES]; /* what was done, for people */
    size_t repairs_count;
};

struct cm_copy_fields_input {
    const struct cm_channel *channel;
    const char *scenario;
    const char *language;
    const struct cm_item *item;
    struct cm_span text; /* what the model wrote */
};

/* Zero-initialise `fields`; release with cm_copy_fields_deinit. CM_OUT_OF_MEMORY only. */
enum cm_status cm_copy_fields_read(const struct cm_copy_fields_input *input,
                                   struct cm_copy_fields *fields) CM_MUST_CHECK;
void cm_copy_fields_deinit(struct cm_copy_fields *fields);

/* The parts as one text, a line each, hashtags together on the last. */
enum cm_status cm_copy_fields_append_text(const struct cm_copy_fields *fields,
                                          const struct cm_channel *channel,
                                          struct cm_text *text) CM_MUST_CHECK;

/* Adds the parts to a JSON object (json_t *): a string, or an array of a list. -1: no memory. */
int cm_copy_fields_describe(const struct cm_copy_fields *fields, const struct cm_channel *channel,
                            void *object);

#endif
