#include "host/byte_alphabet.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_printable(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The byte that a character stands for, or -1. The 68 unprintable bytes are numbered from U+0100.
 */
static int byte_of(unsigned character)
{
    if (character < 0x100) {
        return is_printable(character) ? (int)character : -1;
    }
    unsigned number = character - 0x100;
    if (number <= 0x20) {
        return (int)number;
    }
    return number <= 0x42 ? (int)(number - 0x21 + 0x7F) : number == 0x43 ? 0xAD : -1;
}

size_t cm_byte_alphabet_decode(struct cm_span name, char *out)
{
    size_t count = 0;
    for (size_t i = 0; i < name.length; i++) {
        uint8_t first = (uint8_t)name.data[i];
        bool has_second = i + 1 < name.length && ((uint8_t)name.data[i + 1] & 0xC0) == 0x80;
        if (first >= 0xC2 && first <= 0xC5 && has_second) {
            unsigned character = (first & 0x1FU) << 6 | ((uint8_t)name.data[i + 1] & 0x3FU);
            int byte = byte_of(character);
            if (byte >= 0) {
                out[count++] = (char)byte;
                i++;
                continue;
            }
        }
        out[count++] = name.data[i];
    }
    return count;
}
