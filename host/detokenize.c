#include "host/tokenizer_parts.h"

#include "base/utf8.h"

#include <string.h>

/* Turns a stream of bytes into valid UTF-8. A character may be spread over several tokens, so up to
 * three bytes wait for their rest; and what is wrong is only replaced once valid text follows, so
 * that a damaged end is dropped. */
struct utf8_repair {
    struct cm_text *text;
    uint8_t waiting[4];
    size_t waiting_bytes;
    size_t replacements_due;
};

static enum cm_status put_valid(struct utf8_repair *repair, const uint8_t *bytes, size_t count)
{
    enum cm_status status = CM_OK;
    for (; repair->replacements_due > 0 && status == CM_OK; repair->replacements_due--) {
        status = cm_text_append_string(repair->text, "\xEF\xBF\xBD");
    }
    return status == CM_OK ? cm_text_append(repair->text, (const char *)bytes, count) : status;
}

static enum cm_status put_byte(struct utf8_repair *repair, uint8_t byte)
{
    repair->waiting[repair->waiting_bytes++] = byte;
    while (repair->waiting_bytes > 0) {
        size_t length;
        enum cm_utf8_step step = cm_utf8_step(repair->waiting, repair->waiting_bytes, &length);
        if (step == CM_UTF8_CUT) {
            break;
        }
        if (step == CM_UTF8_INVALID) {
            repair->replacements_due++;
        } else {
            enum cm_status status = put_valid(repair, repair->waiting, length);
            if (status != CM_OK) {
                return status;
            }
        }
        repair->waiting_bytes -= length;
        memmove(repair->waiting, repair->waiting + length, repair->waiting_bytes);
    }
    return CM_OK;
}

static enum cm_status put_bytes(struct utf8_repair *repair, struct cm_span span)
{
    const uint8_t *bytes = (const uint8_t *)span.data;
    size_t i = 0;
    while (i < span.length) {
        size_t valid =
            repair->waiting_bytes > 0 ? 0 : cm_utf8_valid_bytes(bytes + i, span.length - i);
        enum cm_status status =
            valid > 0 ? put_valid(repair, bytes + i, valid) : put_byte(repair, bytes[i]);
        if (status != CM_OK) {
            return status;
        }
        i += valid > 0 ? valid : 1;
    }
    return CM_OK;
}

struct cm_span cm_tokenizer_token_bytes(const struct cm_tokenizer *tokenizer, int32_t token)
{
    if (token < 0 || (uint32_t)token >= tokenizer->data->n_tokens) {
        return (struct cm_span){ 0 };
    }
    return tokenizer->bytes[token];
}

enum cm_status cm_tokenizer_decode(const struct cm_tokenizer *tokenizer, const int32_t *ids,
                                   size_t count, struct cm_text *text)
{
    struct utf8_repair repair = { .text = text };
    for (size_t i = 0; i < count; i++) {
        enum cm_status status = put_bytes(&repair, cm_tokenizer_token_bytes(tokenizer, ids[i]));
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}
