#include "jobs/display_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

/* Bytes of the character at the start of `text`, which is U+FFFD where it is no UTF-8. */
static size_t read_character(struct cm_span text, utf8proc_int32_t *character)
{
    utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text.data,
                                              (utf8proc_ssize_t)text.length, character);
    if (bytes <= 0) {
        *character = 0xFFFD;
        return 1;
    }
    return (size_t)bytes;
}

struct cm_span cm_display_cut(struct cm_span text, int columns)
{
    size_t at = 0;
    int width = 0;
    while (at < text.length) {
        utf8proc_int32_t character;
        size_t bytes =
            read_character((struct cm_span){ text.data + at, text.length - at }, &character);
        width += utf8proc_charwidth(character);
        if (width > columns) {
            break;
        }
        at += bytes;
    }
    return (struct cm_span){ text.data, at };
}

int cm_display_width(struct cm_span text)
{
    int width = 0;
    for (size_t at = 0; at < text.length;) {
        utf8proc_int32_t character;
        at += read_character((struct cm_span){ text.data + at, text.length - at }, &character);
        width += utf8proc_charwidth(character);
    }
    return width;
}

void cm_display_one_line(struct cm_span text, char *out, size_t out_bytes)
{
    size_t length = 0;
    for (size_t at = 0; at < text.length;) {
        utf8proc_int32_t character;
        size_t bytes =
            read_character((struct cm_span){ text.data + at, text.length - at }, &character);
        bool space = character == '\n' || character == '\t' || character == '\r';
        utf8proc_category_t category = utf8proc_category(character);
        bool shown = category != UTF8PROC_CATEGORY_CC && category != UTF8PROC_CATEGORY_CF &&
                     character != 0xFFFD;
        if (length + bytes >= out_bytes) {
            break;
        }
        if (space) {
            out[length++] = ' ';
        } else if (shown) {
            memcpy(out + length, text.data + at, bytes);
            length += bytes;
        }
        at += bytes;
    }
    out[length] = '\0';
}

void cm_display_count(uint64_t count, char out[40])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[used++] = ',';
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
}
