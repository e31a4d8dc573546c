#include "loaders/markup.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A small converter of our own: HTML libraries build a document and repair it, where a cell needs
 * only its words. */

static const char *const block_tags[] = {
    "p",       "br",      "li",         "ul",  "ol",     "div",    "tr",    "h1",    "h2",
    "h3",      "h4",      "h5",         "h6",  "table",  "dl",     "dt",    "dd",    "hr",
    "section", "article", "blockquote", "pre", "header", "footer", "tbody", "thead", "option"
};

/* The entities of HTML 4 that shop texts use; the Latin letters among them in code point order. */
static const struct {
    const char *name;
    uint32_t character;
} entities[] = {
    { "amp", '&' },      { "lt", '<' },        { "gt", '>' },        { "quot", '"' },
    { "apos", '\'' },    { "nbsp", 0xA0 },     { "iexcl", 0xA1 },    { "cent", 0xA2 },
    { "pound", 0xA3 },   { "curren", 0xA4 },   { "yen", 0xA5 },      { "sect", 0xA7 },
    { "copy", 0xA9 },    { "laquo", 0xAB },    { "shy", 0xAD },      { "reg", 0xAE },
    { "deg", 0xB0 },     { "plusmn", 0xB1 },   { "sup2", 0xB2 },     { "sup3", 0xB3 },
    { "acute", 0xB4 },   { "micro", 0xB5 },    { "para", 0xB6 },     { "middot", 0xB7 },
    { "sup1", 0xB9 },    { "ordm", 0xBA },     { "raquo", 0xBB },    { "frac14", 0xBC },
    { "frac12", 0xBD },  { "frac34", 0xBE },   { "iquest", 0xBF },   { "Agrave", 0xC0 },
    { "Aacute", 0xC1 },  { "Acirc", 0xC2 },    { "Atilde", 0xC3 },   { "Auml", 0xC4 },
    { "Aring", 0xC5 },   { "AElig", 0xC6 },    { "Ccedil", 0xC7 },   { "Egrave", 0xC8 },
    { "Eacute", 0xC9 },  { "Ecirc", 0xCA },    { "Euml", 0xCB },     { "Igrave", 0xCC },
    { "Iacute", 0xCD },  { "Icirc", 0xCE },    { "Iuml", 0xCF },     { "Ntilde", 0xD1 },
    { "Ograve", 0xD2 },  { "Oacute", 0xD3 },   { "Ocirc", 0xD4 },    { "Otilde", 0xD5 },
    { "Ouml", 0xD6 },    { "times", 0xD7 },    { "Oslash", 0xD8 },   { "Ugrave", 0xD9 },
    { "Uacute", 0xDA },  { "Ucirc", 0xDB },    { "Uuml", 0xDC },     { "Yacute", 0xDD },
    { "szlig", 0xDF },   { "agrave", 0xE0 },   { "aacute", 0xE1 },   { "acirc", 0xE2 },
    { "atilde", 0xE3 },  { "auml", 0xE4 },     { "aring", 0xE5 },    { "aelig", 0xE6 },
    { "ccedil", 0xE7 },  { "egrave", 0xE8 },   { "eacute", 0xE9 },   { "ecirc", 0xEA },
    { "euml", 0xEB },    { "igrave", 0xEC },   { "iacute", 0xED },   { "icirc", 0xEE },
    { "iuml", 0xEF },    { "ntilde", 0xF1 },   { "ograve", 0xF2 },   { "oacute", 0xF3 },
    { "ocirc", 0xF4 },   { "otilde", 0xF5 },   { "ouml", 0xF6 },     { "divide", 0xF7 },
    { "oslash", 0xF8 },  { "ugrave", 0xF9 },   { "uacute", 0xFA },   { "ucirc", 0xFB },
    { "uuml", 0xFC },    { "yacute", 0xFD },   { "yuml", 0xFF },     { "OElig", 0x152 },
    { "oelig", 0x153 },  { "ensp", 0x2002 },   { "emsp", 0x2003 },   { "thinsp", 0x2009 },
    { "ndash", 0x2013 }, { "mdash", 0x2014 },  { "lsquo", 0x2018 },  { "rsquo", 0x2019 },
    { "sbquo", 0x201A }, { "ldquo", 0x201C },  { "rdquo", 0x201D },  { "bdquo", 0x201E },
    { "bull", 0x2022 },  { "hellip", 0x2026 }, { "permil", 0x2030 }, { "prime", 0x2032 },
    { "Prime", 0x2033 }, { "euro", 0x20AC },   { "trade", 0x2122 },  { "rarr", 0x2192 },
    { "minus", 0x2212 }, { "ne", 0x2260 },     { "le", 0x2264 },     { "ge", 0x2265 },
    { "check", 0x2713 },
};

/* Numbers 128 to 159 mean Windows-1252 in HTML; 0 has no character. */
static const uint16_t windows_1252[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178,
};

struct writer {
    struct cm_text *plain;
    bool space; /* white space is due before the next character */
    bool line;  /* and it is a line end */
};

/* --- Output --- */

static bool is_white(uint32_t character)
{
    return character == ' ' || character == '\t' || character == 0xA0 || character == 0x3000 ||
           (character >= 0x2000 && character <= 0x200A) || character == 0x202F;
}

static bool is_line_end(uint32_t character)
{
    return (character >= '\n' && character <= '\r') || character == 0x85 || character == 0x2028 ||
           character == 0x2029;
}

/* Control characters, the soft hyphen, byte order marks and noncharacters: invisible, and some of
 * them break what reads the text later. */
static bool is_dropped(uint32_t character)
{
    return character < 0x20 || (character >= 0x7F && character < 0xA0) || character == 0xAD ||
           character == 0xFEFF || (character & 0xFFFE) == 0xFFFE ||
           (character >= 0xFDD0 && character <= 0xFDEF);
}

static enum cm_status put(struct writer *writer, uint32_t character)
{
    if (is_line_end(character) || is_white(character)) {
        writer->space = true;
        writer->line = writer->line || is_line_end(character);
        return CM_OK;
    }
    if (is_dropped(character)) {
        return CM_OK;
    }
    enum cm_status status = CM_OK;
    if (writer->space && writer->plain->length > 0) {
        status = cm_text_append_char(writer->plain, writer->line ? '\n' : ' ');
    }
    writer->space = false;
    writer->line = false;
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t length = utf8proc_encode_char((utf8proc_int32_t)character, bytes);
    if (status == CM_OK && length > 0) {
        status = cm_text_append(writer->plain, (const char *)bytes, (size_t)length);
    }
    return status;
}

/* --- Tags --- */

/* Length of the tag or comment that the text begins with; 0 where it is a plain "<". The maxima
 * keep a cell of unclosed tags from taking quadratic time. */
static size_t tag_bytes(struct cm_span text)
{
    enum { TAG_BYTES_MAX = 4096, COMMENT_BYTES_MAX = 64 * 1024 };
    if (text.length < 3) {
        return 0;
    }
    if (text.length >= 4 && memcmp(text.data, "<!--", 4) == 0) {
        text.length = text.length < COMMENT_BYTES_MAX ? text.length : COMMENT_BYTES_MAX;
        const char *end = memmem(text.data + 4, text.length - 4, "-->", 3);
        return end == NULL ? 0 : (size_t)(end - text.data) + 3;
    }
    unsigned char next = (unsigned char)text.data[1];
    bool closing = next == '/' && isalpha((unsigned char)text.data[2]);
    if (!isalpha(next) && next != '!' && next != '?' && !closing) {
        return 0;
    }
    char quote = '\0';
    for (size_t i = 2; i < text.length && i < TAG_BYTES_MAX; i++) {
        char byte = text.data[i];
        if (quote != '\0') {
            quote = byte == quote ? '\0' : quote;
        } else if ((byte == '"' || byte == '\'') && text.data[i - 1] == '=') {
            quote = byte;
        } else if (byte == '>') {
            return i + 1;
        } else if (byte == '<') {
            return 0;
        }
    }
    return 0;
}

static bool tag_is(struct cm_span tag, const char *name)
{
    size_t start = tag.data[1] == '/' ? 2 : 1;
    size_t length = strlen(name);
    return tag.length > start + length && strncasecmp(tag.data + start, name, length) == 0 &&
           !isalnum((unsigned char)tag.data[start + length]);
}

static bool is_block(struct cm_span tag)
{
    for (size_t i = 0; i < sizeof block_tags / sizeof block_tags[0]; i++) {
        if (tag_is(tag, block_tags[i])) {
            return true;
        }
    }
    return false;
}

/* The tag, and for script and style all up to the end of their content: that of the text where they
 * are not closed, as in a browser. */
static size_t element_bytes(struct cm_span text, struct cm_span tag)
{
    static const char *const silent[] = { "script", "style" };
    for (size_t i = 0; tag.data[1] != '/' && i < 2; i++) {
        if (!tag_is(tag, silent[i])) {
            continue;
        }
        for (size_t at = tag.length; at < text.length; at++) {
            struct cm_span rest = { text.data + at, text.length - at };
            size_t bytes = rest.data[0] == '<' ? tag_bytes(rest) : 0;
            if (bytes > 0 && rest.data[1] == '/' &&
                tag_is((struct cm_span){ rest.data, bytes }, silent[i])) {
                return at + bytes;
            }
        }
        return text.length;
    }
    return tag.length;
}

static bool has_block_tags(struct cm_span text)
{
    for (; text.length > 0; text.data++, text.length--) {
        size_t bytes = text.data[0] == '<' ? tag_bytes(text) : 0;
        if (bytes > 0 && is_block((struct cm_span){ text.data, bytes })) {
            return true;
        }
    }
    return false;
}

/* --- Entities --- */

static bool named_entity(struct cm_span name, uint32_t *character)
{
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++) {
        if (cm_span_equal_text(name, entities[i].name)) {
            *character = entities[i].character;
            return true;
        }
    }
    return false;
}

static bool numeric_entity(struct cm_span digits, uint32_t *character)
{
    enum { CODE_POINT_MAX = 0x10FFFF };
    unsigned base = 10;
    if (digits.length > 1 && (digits.data[0] == 'x' || digits.data[0] == 'X')) {
        base = 16;
        digits.data++;
        digits.length--;
    }
    uint32_t value = 0;
    for (size_t i = 0; i < digits.length; i++) {
        unsigned char byte = (unsigned char)digits.data[i];
        if (!(base == 16 ? isxdigit(byte) : isdigit(byte))) {
            return false;
        }
        int digit = isdigit(byte) ? byte - '0' : tolower(byte) - 'a' + 10;
        value = value * base + (uint32_t)digit;
        if (value > CODE_POINT_MAX) {
            return false;
        }
    }
    if (value >= 0x80 && value < 0xA0) {
        value = windows_1252[value - 0x80];
    }
    *character = value;
    return digits.length > 0 && (value < 0xD800 || value > 0xDFFF);
}

/* Length of the entity that the text begins with; 0 where it is a plain "&". */
static size_t entity_bytes(struct cm_span text, uint32_t *character)
{
    enum { ENTITY_BYTES_MAX = 12 };
    for (size_t i = 1; i < text.length && i < ENTITY_BYTES_MAX; i++) {
        if (text.data[i] == ';') {
            struct cm_span name = { text.data + 1, i - 1 };
            bool known =
                name.length > 1 && name.data[0] == '#'
                    ? numeric_entity((struct cm_span){ name.data + 1, name.length - 1 }, character)
                    : named_entity(name, character);
            return known ? i + 1 : 0;
        }
    }
    return 0;
}

/* --- Text --- */

static enum cm_status put_character(struct writer *writer, struct cm_span *text, bool is_html)
{
    utf8proc_int32_t character;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text->data,
                                             (utf8proc_ssize_t)text->length, &character);
    uint32_t value = 0xFFFD;
    if (used <= 0) {
        used = 1;
    } else {
        value = (uint32_t)character;
    }
    text->data += used;
    text->length -= (size_t)used;
    return put(writer, is_html && is_line_end(value) ? ' ' : value);
}

enum cm_status cm_markup_to_text(struct cm_span source, struct cm_text *plain)
{
    struct writer writer = { .plain = plain };
    struct cm_span text = source;
    bool is_html = has_block_tags(source);
    enum cm_status status = CM_OK;
    cm_text_clear(plain);
    while (status == CM_OK && text.length > 0) {
        size_t bytes = 0;
        uint32_t character = 0;
        if (text.data[0] == '<') {
            bytes = tag_bytes(text);
            struct cm_span tag = { text.data, bytes };
            if (bytes > 0) {
                writer.line = writer.line || is_block(tag);
                writer.space = writer.space || is_block(tag) || tag_is(tag, "td");
                bytes = element_bytes(text, tag);
            }
        } else if (text.data[0] == '&') {
            bytes = entity_bytes(text, &character);
            status = bytes > 0 ? put(&writer, character) : CM_OK;
        }
        if (bytes == 0) {
            status = put_character(&writer, &text, is_html);
        }
        text.data += bytes;
        text.length -= bytes;
    }
    return status;
}

enum cm_status cm_markup_join_lines(struct cm_text *plain, const char *separator)
{
    struct cm_text joined = CM_TEXT_INIT(plain->length_max);
    enum cm_status status = CM_OK;
    if (plain->length == 0 || memchr(plain->data, '\n', plain->length) == NULL) {
        return CM_OK;
    }
    for (size_t i = 0; status == CM_OK && i < plain->length; i++) {
        status = plain->data[i] == '\n' ? cm_text_append_string(&joined, separator)
                                        : cm_text_append_char(&joined, plain->data[i]);
    }
    if (status != CM_OK) {
        cm_text_deinit(&joined);
        return status;
    }
    cm_text_deinit(plain);
    *plain = joined;
    return CM_OK;
}
