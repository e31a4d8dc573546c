#include "host/compose.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <utf8proc.h>

static enum cm_status compose_valid(struct cm_span text, struct cm_text *composed)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text.data;
    utf8proc_ssize_t length = (utf8proc_ssize_t)text.length;
    utf8proc_ssize_t count = utf8proc_decompose(bytes, length, NULL, 0, options);
    if (count < 0) {
        return cm_text_append_span(composed, text);
    }
    /* Room for one more, which utf8proc_reencode uses. */
    utf8proc_int32_t *characters = cm_alloc((size_t)count + 1, sizeof *characters);
    if (characters == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    count = utf8proc_decompose(bytes, length, characters, count, options);
    utf8proc_ssize_t written = utf8proc_reencode(characters, count, options);
    CM_ASSERT(written >= 0);
    enum cm_status status = cm_text_append(composed, (const char *)characters, (size_t)written);
    cm_free(characters);
    return status;
}

enum cm_status cm_compose(struct cm_span text, struct cm_text *composed)
{
    enum cm_status status = CM_OK;
    while (text.length > 0 && status == CM_OK) {
        size_t bytes = cm_utf8_valid_bytes((const uint8_t *)text.data, text.length);
        if (bytes > 0) {
            status = compose_valid((struct cm_span){ text.data, bytes }, composed);
        } else {
            bytes = 1;
            status = cm_text_append(composed, text.data, 1);
        }
        text = (struct cm_span){ text.data + bytes, text.length - bytes };
    }
    return status;
}
