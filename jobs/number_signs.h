/* What single characters mean in a number: digits of every script that has the decimal ten
 * (Unicode's Nd: ASCII, full-width, Arabic, Devanagari, ...), what groups and closes them, and
 * characters that are a number of their own (½, ①, Ⅷ). */
#ifndef CM_JOBS_NUMBER_SIGNS_H
#define CM_JOBS_NUMBER_SIGNS_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum cm_number_sign {
    CM_SIGN_POINT = 10, /* 0 to 9 are the digits */
    CM_SIGN_COMMA,
    CM_SIGN_PERCENT,
    CM_SIGN_COUNT,                      /* of those that a spelled number consists of */
    CM_SIGN_APOSTROPHE = CM_SIGN_COUNT, /* groups thousands in some places */
    CM_SIGN_NUMERAL, /* a number by itself; exponents (m²) do not count as one */
    CM_SIGN_OTHER,
};

enum cm_number_sign cm_number_sign_of(int32_t character);

/* A letter that joins others to a word: Latin, Greek, Cyrillic, ...; not those of scripts that
 * write no spaces. */
bool cm_is_word_letter(int32_t character);

/* What may stand between a number and its unit: spaces and hyphens. */
bool cm_is_unit_gap(int32_t character);

int32_t cm_lower_ascii(int32_t character);

/* The character at `at` and its bytes; 0 and 1 where there is none or the bytes are no UTF-8. */
int32_t cm_character_at(struct cm_span text, size_t at, size_t *bytes);

/* The bytes that characters with a meaning here begin with. */
extern const bool cm_number_sign_leads[256];

#endif
