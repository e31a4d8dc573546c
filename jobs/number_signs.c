#include "jobs/number_signs.h"

#include <utf8proc.h>

const bool cm_number_sign_leads[256] = {
    ['0'] = true,  ['1'] = true,  ['2'] = true,  ['3'] = true,  ['4'] = true,
    ['5'] = true,  ['6'] = true,  ['7'] = true,  ['8'] = true,  ['9'] = true,
    ['.'] = true,  [','] = true,  ['%'] = true,  ['\''] = true, [0xc2] = true,
    [0xd9] = true, [0xdb] = true, [0xdf] = true, [0xe0] = true, [0xe1] = true,
    [0xe2] = true, [0xe3] = true, [0xea] = true, [0xef] = true, [0xf0] = true,
};

static bool is_digit(int32_t character)
{
    return utf8proc_category(character) == UTF8PROC_CATEGORY_ND;
}

/* Digits stand in runs of ten in Unicode, zero first. */
static enum cm_number_sign digit_of(int32_t character)
{
    enum { MATHEMATICAL_DIGITS = 0x1D7CE }; /* five runs without a gap */
    int32_t zero = character;
    if (character >= MATHEMATICAL_DIGITS && character < MATHEMATICAL_DIGITS + 50) {
        return (enum cm_number_sign)((character - MATHEMATICAL_DIGITS) % 10);
    }
    while (character - zero < 10 && is_digit(zero - 1)) {
        zero--;
    }
    return (enum cm_number_sign)((character - zero) % 10);
}

static bool is_exponent(int32_t character)
{
    return character == 0xB2 || character == 0xB3 || character == 0xB9 ||
           (character >= 0x2070 && character <= 0x209C);
}

static enum cm_number_sign sign_past_ascii(int32_t character)
{
    switch (character) {
    case 0x2019: /* typographic apostrophe */
        return CM_SIGN_APOSTROPHE;
    case 0x066A: /* Arabic */
    case 0xFF05: /* full-width, as below */
        return CM_SIGN_PERCENT;
    case 0x066B:
    case 0xFF0E:
        return CM_SIGN_POINT;
    case 0x066C:
    case 0xFF0C:
        return CM_SIGN_COMMA;
    default:
        break;
    }
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_ND:
        return digit_of(character);
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return is_exponent(character) ? CM_SIGN_OTHER : CM_SIGN_NUMERAL;
    default:
        return CM_SIGN_OTHER;
    }
}

enum cm_number_sign cm_number_sign_of(int32_t character)
{
    if (character >= 0x80) {
        return sign_past_ascii(character);
    }
    switch (character) {
    case '.':
        return CM_SIGN_POINT;
    case ',':
        return CM_SIGN_COMMA;
    case '%':
        return CM_SIGN_PERCENT;
    case '\'':
        return CM_SIGN_APOSTROPHE;
    default:
        return character >= '0' && character <= '9' ? (enum cm_number_sign)(character - '0')
                                                    : CM_SIGN_OTHER;
    }
}

bool cm_is_word_letter(int32_t character)
{
    if (character < 0x80) {
        int32_t lower = cm_lower_ascii(character);
        return lower >= 'a' && lower <= 'z';
    }
    utf8proc_category_t category = utf8proc_category(character);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

bool cm_is_unit_gap(int32_t character)
{
    return character == ' ' || character == '-' || character == 0xA0 || character == 0x202F ||
           character == 0x2009 || character == 0x2011 || character == 0x3000;
}

int32_t cm_lower_ascii(int32_t character)
{
    return character >= 'A' && character <= 'Z' ? character - 'A' + 'a' : character;
}

int32_t cm_character_at(struct cm_span text, size_t at, size_t *bytes)
{
    utf8proc_int32_t character = 0;
    utf8proc_ssize_t length = 0;
    if (at < text.length) {
        length = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                  (utf8proc_ssize_t)(text.length - at), &character);
    }
    *bytes = length > 0 ? (size_t)length : 1;
    return length > 0 ? character : 0;
}
