#include "jobs/tidy.h"

#include "base/sentence.h"

#include <string.h>

static void set_length(struct cm_text *text, size_t length)
{
    text->length = length;
    if (text->data != NULL) {
        text->data[length] = '\0';
    }
}

static void drop_control_characters(struct cm_text *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->length; i++) {
        unsigned char byte = (unsigned char)text->data[i];
        if (byte >= 0x20 ? byte != 0x7f : byte == '\n' || byte == '\t') {
            text->data[kept++] = text->data[i];
        }
    }
    set_length(text, kept);
}

static void trim(struct cm_text *text)
{
    struct cm_span span = cm_span_trim(cm_text_span(text));
    if (span.length > 0) {
        memmove(text->data, span.data, span.length);
    }
    set_length(text, span.length);
}

static void cut_at_stops(struct cm_text *text, const char *const *stops, size_t stops_count)
{
    for (size_t i = 0; i < stops_count; i++) {
        const char *found = strstr(cm_text_string(text), stops[i]);
        if (found != NULL) {
            set_length(text, (size_t)(found - text->data));
        }
    }
}

static void cut_unfinished(struct cm_text *text)
{
    size_t end = 0;
    for (size_t at = 0; at < text->length; at++) {
        size_t length = cm_sentence_end_at(cm_text_span(text), at);
        end = length > 0 ? at + length : end;
    }
    if (2 * end >= text->length) {
        set_length(text, end);
    }
}

void cm_tidy(struct cm_text *text, const char *const *stops, size_t stops_count, bool unfinished)
{
    drop_control_characters(text);
    cut_at_stops(text, stops, stops_count);
    trim(text);
    if (unfinished) {
        cut_unfinished(text);
    }
}
