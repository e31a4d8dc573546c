#include "host/text_tail.h"

#include "base/sentence.h"

#include <string.h>

static bool ends_with(const struct cm_text_tail *tail, uint32_t length, const char *end)
{
    size_t end_length = strlen(end);
    return end_length > 0 && end_length <= length &&
           memcmp(tail->bytes + length - end_length, end, end_length) == 0;
}

static void append_byte(struct cm_text_tail *tail, char byte)
{
    if (tail->length == sizeof tail->bytes) {
        memmove(tail->bytes, tail->bytes + 1, sizeof tail->bytes - 1);
        tail->length--;
    }
    tail->bytes[tail->length++] = byte;
}

bool cm_text_tail_append(struct cm_text_tail *tail, struct cm_span token,
                         const char *const *stop_strings, uint32_t stop_strings_count)
{
    bool completed = false;
    for (size_t i = 0; i < token.length; i++) {
        append_byte(tail, token.data[i]);
        for (uint32_t j = 0; j < stop_strings_count; j++) {
            completed = completed || ends_with(tail, tail->length, stop_strings[j]);
        }
    }
    return completed;
}

/* "12." may become "12.5" with the next token. */
static bool may_be_a_decimal_point(const struct cm_text_tail *tail)
{
    if (tail->length < 2 || tail->bytes[tail->length - 1] != '.') {
        return false;
    }
    char before = tail->bytes[tail->length - 2];
    return before >= '0' && before <= '9';
}

bool cm_text_tail_ends_sentence(const struct cm_text_tail *tail)
{
    return !may_be_a_decimal_point(tail) &&
           cm_sentence_ended((struct cm_span){ tail->bytes, tail->length });
}
