/* Lengths in the units of channels. */
#include "jobs/content/channel.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

#include <utf8proc.h>

enum { X_LINK = 23 };

static bool is_wide(utf8proc_int32_t character)
{
    return utf8proc_charwidth(character) == 2 || (character >= 0xFF01 && character <= 0xFF60);
}

/* The ranges whose characters weigh 1 in X's configuration 3; all others weigh 2. */
static bool is_light(utf8proc_int32_t character)
{
    return (character >= 0 && character <= 4351) || (character >= 8192 && character <= 8205) ||
           (character >= 8208 && character <= 8223) || (character >= 8242 && character <= 8247);
}

static utf8proc_int32_t character_at(struct cm_span text, size_t at, size_t *bytes)
{
    utf8proc_int32_t character = 0xFFFD;
    utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                               (utf8proc_ssize_t)(text.length - at), &character);
    *bytes = length > 0 ? (size_t)length : 1;
    return length > 0 ? character : 0xFFFD;
}

/* Bytes of the link at the start of `text`; 0: none. */
static size_t link_bytes(struct cm_span text)
{
    bool is_link = (text.length > 7 && strncasecmp(text.data, "http://", 7) == 0) ||
                   (text.length > 8 && strncasecmp(text.data, "https://", 8) == 0);
    size_t length = 0;
    while (is_link && length < text.length && text.data[length] > ' ' &&
           (unsigned char)text.data[length] < 0x80) {
        length++;
    }
    return length;
}

static uint32_t measure_characters(struct cm_span text, bool wide_is_2)
{
    uint32_t length = 0;
    size_t bytes;
    for (size_t at = 0; at < text.length; at += bytes) {
        utf8proc_int32_t character = character_at(text, at, &bytes);
        length += wide_is_2 && is_wide(character) ? 2 : 1;
    }
    return length;
}

static uint32_t measure_graphemes(struct cm_span text)
{
    uint32_t length = 0;
    size_t bytes;
    utf8proc_int32_t before = 0;
    utf8proc_int32_t state = 0;
    for (size_t at = 0; at < text.length; at += bytes) {
        utf8proc_int32_t character = character_at(text, at, &bytes);
        length += at == 0 || utf8proc_grapheme_break_stateful(before, character, &state);
        before = character;
    }
    return length;
}

/* An emoji sequence is one emoji. A mark that NFC would put into its letter weighs nothing. */
static uint32_t measure_x(struct cm_span text)
{
    uint32_t length = 0;
    size_t bytes;
    utf8proc_int32_t before = 0;
    utf8proc_int32_t state = 0;
    for (size_t at = 0; at < text.length; at += bytes) {
        bytes = link_bytes((struct cm_span){ text.data + at, text.length - at });
        if (bytes > 0) {
            length += X_LINK;
            before = ' ';
            state = 0;
            continue;
        }
        utf8proc_int32_t character = character_at(text, at, &bytes);
        bool begins = at == 0 || utf8proc_grapheme_break_stateful(before, character, &state);
        length += !begins ? 0 : is_light(character) ? 1 : 2;
        before = character;
    }
    return length;
}

uint32_t cm_channel_measure(enum cm_channel_unit unit, struct cm_span text)
{
    switch (unit) {
    case CM_COUNT_CHARACTER:
        return measure_characters(text, false);
    case CM_COUNT_GRAPHEME:
        return measure_graphemes(text);
    case CM_COUNT_HAN_2:
        return measure_characters(text, true);
    case CM_COUNT_X:
        return measure_x(text);
    }
    return 0;
}
