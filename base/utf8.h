/* UTF-8, one step at a time (Unicode Standard, table 3-7). Own code because utf8proc does not tell
 * a character that is cut at the end from one that is wrong. */
#ifndef CM_BASE_UTF8_H
#define CM_BASE_UTF8_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cm_utf8_step {
    CM_UTF8_VALID,   /* one whole character */
    CM_UTF8_CUT,     /* the bytes end inside a character that is right so far */
    CM_UTF8_INVALID, /* bytes that no character begins with */
};

/* Looks at the start of `bytes` (`count` > 0). `length` becomes the bytes of the character or,
 * where it is cut or wrong, of the part to replace by one U+FFFD. */
enum cm_utf8_step cm_utf8_step(const uint8_t *bytes, size_t count, size_t *length);

/* Bytes at the start that are whole, valid characters. */
size_t cm_utf8_valid_bytes(const uint8_t *bytes, size_t count);

/* Valid UTF-8 (no surrogates, no overlong forms); the empty span is. */
bool cm_utf8_valid(struct cm_span text);

/* A name that can be shown and compared: not empty, valid UTF-8, no control characters. */
bool cm_utf8_valid_name(struct cm_span name);

/* Makes a string one that can be shown: a space for every control character and a question mark for
 * every byte that is not valid UTF-8, such as those of a character that a buffer's end cut. */
void cm_utf8_clean(char *text);

#endif
