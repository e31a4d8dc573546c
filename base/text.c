#include "base/text.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct cm_span cm_span_of(const char *text)
{
    return (struct cm_span){ text, text == NULL ? 0 : strlen(text) };
}

bool cm_span_equal(struct cm_span a, struct cm_span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool cm_span_equal_text(struct cm_span a, const char *text)
{
    return cm_span_equal(a, cm_span_of(text));
}

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool cm_span_holds(struct cm_span span, const char *phrase)
{
    size_t length = strlen(phrase);
    for (size_t at = 0; at + length <= span.length; at++) {
        if (strncasecmp(span.data + at, phrase, length) == 0) {
            return true;
        }
    }
    return false;
}

struct cm_span cm_span_trim(struct cm_span span)
{
    while (span.length > 0 && is_space(span.data[0])) {
        span.data++;
        span.length--;
    }
    while (span.length > 0 && is_space(span.data[span.length - 1])) {
        span.length--;
    }
    return span;
}

void cm_text_deinit(struct cm_text *text)
{
    cm_free(text->data);
    *text = CM_TEXT_INIT(text->length_max);
}

void cm_text_clear(struct cm_text *text)
{
    text->length = 0;
    if (text->data != NULL) {
        text->data[0] = '\0';
    }
}

/* Room for `more` bytes and the terminator. */
static enum cm_status reserve(struct cm_text *text, size_t more)
{
    size_t needed;
    if (cm_size_add(text->length, more, &needed) || needed > text->length_max) {
        return CM_LIMIT;
    }
    void *block = text->data;
    enum cm_status status = cm_grow(&block, &text->capacity, needed + 1, 1);
    text->data = block;
    return status;
}

enum cm_status cm_text_append(struct cm_text *text, const char *bytes, size_t length)
{
    enum cm_status status = reserve(text, length);
    if (status != CM_OK) {
        return status;
    }
    if (length > 0) {
        memcpy(text->data + text->length, bytes, length);
    }
    text->length += length;
    text->data[text->length] = '\0';
    return CM_OK;
}

enum cm_status cm_text_append_span(struct cm_text *text, struct cm_span span)
{
    return cm_text_append(text, span.data, span.length);
}

enum cm_status cm_text_append_string(struct cm_text *text, const char *string)
{
    return cm_text_append(text, string, strlen(string));
}

enum cm_status cm_text_append_char(struct cm_text *text, char byte)
{
    return cm_text_append(text, &byte, 1);
}

enum cm_status cm_text_printf(struct cm_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    enum cm_status status = length < 0 ? CM_INVALID_ARGUMENT : reserve(text, (size_t)length);
    if (status == CM_OK) {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    return status;
}

struct cm_span cm_text_span(const struct cm_text *text)
{
    return (struct cm_span){ text->data, text->length };
}

const char *cm_text_string(const struct cm_text *text)
{
    return text->data == NULL ? "" : text->data;
}
