/* Words of a text in any script, and how often it says the same again. A word is a run of letters
 * and digits; where writing has no spaces (Han, kana, Thai) each character stands alone. */
#ifndef CM_JOBS_REPETITION_H
#define CM_JOBS_REPETITION_H

#include "base/status.h"
#include "base/text.h"

#include <stdint.h>

enum { CM_REPETITION_WORDS_MAX = 4096 }; /* of a text; the rest is not looked at */

struct cm_repetition {
    uint32_t sentences_repeated; /* sentences of four words or more that came before */
    uint32_t run_max;            /* longest run of one word */
    uint32_t clause_max;         /* how often the same clause stands there, at most */
    double phrases_repeated;     /* share of n-grams (n = 4) that came before */
};

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_repetition_measure(struct cm_span text,
                                     struct cm_repetition *repetition) CM_MUST_CHECK;

/* Words, two characters of a script without spaces counted as one. */
uint32_t cm_words_count(struct cm_span text);

#endif
