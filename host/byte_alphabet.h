/* GPT-2's printable alphabet: byte-level vocabularies write each byte as one visible character, the
 * printable bytes of Latin-1 as themselves and the others as U+0100, U+0101, ... in order. */
#ifndef CM_HOST_BYTE_ALPHABET_H
#define CM_HOST_BYTE_ALPHABET_H

#include "base/text.h"

#include <stddef.h>

/* Writes the bytes that `name` stands for to `out`, which has room for name.length; returns how
 * many. Characters outside the alphabet stand for themselves. */
size_t cm_byte_alphabet_decode(struct cm_span name, char *out);

#endif
