/* A text as a reader takes it, for looking words up in it however they are written: full-width
 * forms become ordinary ones, letters lower case, traditional characters simplified ones, invisible
 * characters go, and so does what was put between the characters of a word to hide it ("第 一",
 * "国-家-级", "b.e.s.t"). Every character knows the bytes that it stands for.
 */
#ifndef CM_JOBS_CONTENT_PLAIN_TEXT_H
#define CM_JOBS_CONTENT_PLAIN_TEXT_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM_PLAIN_CHARACTERS_MAX = 1 << 20 }; /* of a text; the rest is not looked at */

struct cm_plain_character {
    uint32_t code;  /* Unicode code point */
    uint32_t begin; /* bytes in the text */
    uint32_t end;
};

/* Zero-initialise; release with cm_plain_text_deinit. Can be filled again and again. */
struct cm_plain_text {
    struct cm_plain_character *characters;
    size_t count;
    size_t capacity;
};

void cm_plain_text_deinit(struct cm_plain_text *plain);

/* CM_OUT_OF_MEMORY only; bytes that are no UTF-8 are left out. */
enum cm_status cm_plain_text_fill(struct cm_plain_text *plain, struct cm_span text) CM_MUST_CHECK;

/* One character as it stands in a plain text; 0 for one that is left out. */
uint32_t cm_plain_code(uint32_t code);

/* Whether the characters from `at` are these. */
bool cm_plain_is_at(const struct cm_plain_text *plain, size_t at, const uint32_t *codes,
                    size_t count);

bool cm_plain_is_ideograph(uint32_t code);
bool cm_plain_is_word(uint32_t code); /* a letter, mark or digit of any script */

#endif
