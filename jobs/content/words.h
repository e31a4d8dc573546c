/* The words of a text as numbers, to compare texts by: without case, width and punctuation; every
 * ideograph, kana and hangul syllable is a word of its own. */
#ifndef CM_JOBS_CONTENT_WORDS_H
#define CM_JOBS_CONTENT_WORDS_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set `text` (UTF-8), leave the rest zero. */
struct cm_words {
    struct cm_span text;
    bool singular; /* an s at the end of a word of four letters or more does not count */
    size_t at;     /* bytes read */
    size_t begin;  /* of the word that was returned last */
    size_t end;
};

/* The hash of the next word; false at the end of the text. */
bool cm_words_next(struct cm_words *words, uint64_t *hash);

/* Every bit of the result depends on every bit of `x`. */
uint64_t cm_words_mix(uint64_t x);

#endif
