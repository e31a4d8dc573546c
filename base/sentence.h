/* Where sentences end, in the scripts of the world: Latin, CJK, Arabic, Devanagari, Armenian (Thai
 * writes no mark). One table for everybody who asks: decoding that closes a text, tidying that cuts
 * it, and the judge. */
#ifndef CM_BASE_SENTENCE_H
#define CM_BASE_SENTENCE_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the mark that ends a sentence at byte `at`, with a closing quote or bracket behind it;
 * 0: none ends here. A point between digits or before a letter ends nothing. */
size_t cm_sentence_end_at(struct cm_span text, size_t at);

/* Whether the text ends with such a mark, quotes and brackets behind it allowed. */
bool cm_sentence_ended(struct cm_span text);

#endif
