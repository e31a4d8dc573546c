#include "base/utf8.h"

#include <string.h>

enum cm_utf8_step cm_utf8_step(const uint8_t *bytes, size_t count, size_t *length)
{
    uint8_t first = bytes[0];
    *length = 1;
    if (first < 0x80) {
        return CM_UTF8_VALID;
    }
    if (first < 0xC2 || first > 0xF4) {
        return CM_UTF8_INVALID;
    }
    /* The second byte's range shuts out overlong forms, surrogates and what lies past U+10FFFF. */
    size_t wanted = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    for (; *length < wanted; (*length)++) {
        if (*length == count) {
            return CM_UTF8_CUT;
        }
        if (bytes[*length] < low || bytes[*length] > high) {
            return CM_UTF8_INVALID;
        }
        low = 0x80;
        high = 0xBF;
    }
    return CM_UTF8_VALID;
}

size_t cm_utf8_valid_bytes(const uint8_t *bytes, size_t count)
{
    size_t position = 0;
    while (position < count) {
        uint64_t eight;
        if (count - position >= sizeof eight) {
            memcpy(&eight, bytes + position, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                position += sizeof eight;
                continue;
            }
        }
        size_t length;
        if (cm_utf8_step(bytes + position, count - position, &length) != CM_UTF8_VALID) {
            break;
        }
        position += length;
    }
    return position;
}

bool cm_utf8_valid(struct cm_span text)
{
    return cm_utf8_valid_bytes((const uint8_t *)text.data, text.length) == text.length;
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

void cm_utf8_clean(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t length;
        if (cm_utf8_step((const uint8_t *)text, left, &length) != CM_UTF8_VALID) {
            *text = '?';
            length = 1;
        } else if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = ' ';
        }
        text += length;
        left -= length;
    }
}
