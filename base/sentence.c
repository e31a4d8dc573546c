#include "base/sentence.h"

#include <string.h>

static const char *const ENDS[] = { ".", "!", "?", "…", "。", "！", "？", "．",
                                    "｡", "؟", "۔", "।", "॥",  "։",  "‼",  "⁇" };
static const char *const CLOSERS[] = { "\"", "'", ")", "”", "’", "」", "』", "）", "»" };

static size_t starts_with_any(struct cm_span text, size_t at, const char *const *marks,
                              size_t marks_count)
{
    for (size_t i = 0; i < marks_count; i++) {
        size_t bytes = strlen(marks[i]);
        if (text.length - at >= bytes && memcmp(text.data + at, marks[i], bytes) == 0) {
            return bytes;
        }
    }
    return 0;
}

static size_t ends_with_any(struct cm_span text, const char *const *marks, size_t marks_count)
{
    for (size_t i = 0; i < marks_count; i++) {
        size_t bytes = strlen(marks[i]);
        if (text.length >= bytes && memcmp(text.data + text.length - bytes, marks[i], bytes) == 0) {
            return bytes;
        }
    }
    return 0;
}

size_t cm_sentence_end_at(struct cm_span text, size_t at)
{
    size_t length = starts_with_any(text, at, ENDS, sizeof ENDS / sizeof ENDS[0]);
    if (length == 0) {
        return 0;
    }
    length += starts_with_any(text, at + length, CLOSERS, sizeof CLOSERS / sizeof CLOSERS[0]);
    bool is_ascii = (unsigned char)text.data[at] < 0x80;
    bool goes_on = at + length < text.length && text.data[at + length] != ' ' &&
                   text.data[at + length] != '\n';
    return is_ascii && goes_on ? 0 : length;
}

bool cm_sentence_ended(struct cm_span text)
{
    size_t closer;
    while ((closer = ends_with_any(text, CLOSERS, sizeof CLOSERS / sizeof CLOSERS[0])) > 0) {
        text.length -= closer;
    }
    return ends_with_any(text, ENDS, sizeof ENDS / sizeof ENDS[0]) > 0;
}
