/* The last bytes of a text that is being written: has a stop string been completed, does a sentence
 * end here? */
#ifndef CM_HOST_TEXT_TAIL_H
#define CM_HOST_TEXT_TAIL_H

#include "base/text.h"
#include "host/engine.h"

#include <stdbool.h>

struct cm_text_tail {
    char bytes[CM_STOP_STRING_BYTES_MAX]; /* the newest last */
    uint32_t length;
};

/* Appends the bytes of a token; true as soon as one of the stop strings is completed. */
bool cm_text_tail_append(struct cm_text_tail *tail, struct cm_span token,
                         const char *const *stop_strings, uint32_t stop_strings_count);

/* See base/sentence.h. A point after a digit ends nothing, since the text goes on. */
bool cm_text_tail_ends_sentence(const struct cm_text_tail *tail);

#endif
