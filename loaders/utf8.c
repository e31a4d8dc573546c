#include "loaders/utf8.h"

#include <utf8proc.h>

bool cm_utf8_valid(struct cm_span text)
{
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text.data;
    size_t position = 0;
    while (position < text.length) {
        utf8proc_int32_t code_point;
        utf8proc_ssize_t length = utf8proc_iterate(
            bytes + position, (utf8proc_ssize_t)(text.length - position), &code_point);
        if (length <= 0) {
            return false;
        }
        position += (size_t)length;
    }
    return true;
}

bool cm_utf8_valid_name(struct cm_span name)
{
    for (size_t i = 0; i < name.length; i++) {
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f) {
            return false;
        }
    }
    return name.length > 0 && cm_utf8_valid(name);
}
