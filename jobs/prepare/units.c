#include "jobs/prepare/units.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* A spelling and the form for it. Letters are compared without case unless two units differ by it
 * ("mW", "MW"), which then are not in the list. A single letter is a unit only in the case given.
 * Longer spellings come first where one begins with another. */
static const struct {
    const char *spelling;
    const char *unit;
} UNITS[] = {
    { "millimeters", "mm" },
    { "millimetres", "mm" },
    { "millimeter", "mm" },
    { "millimetre", "mm" },
    { "mm", "mm" },
    { "centimeters", "cm" },
    { "centimetres", "cm" },
    { "centimeter", "cm" },
    { "centimetre", "cm" },
    { "cms", "cm" },
    { "cm", "cm" },
    { "kilometers", "km" },
    { "kilometres", "km" },
    { "kilometer", "km" },
    { "kilometre", "km" },
    { "km", "km" },
    { "meters", "m" },
    { "metres", "m" },
    { "meter", "m" },
    { "metre", "m" },
    { "m", "m" },
    { "inches", "in" },
    { "inch", "in" },
    { "feet", "ft" },
    { "foot", "ft" },
    { "ft", "ft" },
    { "yards", "yd" },
    { "yard", "yd" },
    { "kilograms", "kg" },
    { "kilogram", "kg" },
    { "kilos", "kg" },
    { "kgs", "kg" },
    { "kg", "kg" },
    { "milligrams", "mg" },
    { "milligram", "mg" },
    { "mg", "mg" },
    { "grams", "g" },
    { "gram", "g" },
    { "g", "g" },
    { "pounds", "lb" },
    { "lbs", "lb" },
    { "lb", "lb" },
    { "fluid ounces", "fl oz" },
    { "fluid ounce", "fl oz" },
    { "fl. oz", "fl oz" },
    { "fl.oz", "fl oz" },
    { "fl oz", "fl oz" },
    { "ounces", "oz" },
    { "ounce", "oz" },
    { "oz", "oz" },
    { "milliliters", "ml" },
    { "millilitres", "ml" },
    { "milliliter", "ml" },
    { "millilitre", "ml" },
    { "ml", "ml" },
    { "liters", "l" },
    { "litres", "l" },
    { "liter", "l" },
    { "litre", "l" },
    { "L", "l" },
    { "l", "l" },
    { "watts", "W" },
    { "watt", "W" },
    { "W", "W" },
    { "volts", "V" },
    { "volt", "V" },
    { "V", "V" },
    { "mAh", "mAh" },
    { "GHz", "GHz" },
    { "MHz", "MHz" },
    { "kHz", "kHz" },
    { "Hz", "Hz" },
    { "gigabytes", "GB" },
    { "gigabyte", "GB" },
    { "GB", "GB" },
    { "TB", "TB" },
    { "MB", "MB" },
    { "℃", "°C" },
    { "℉", "°F" },
    { "毫米", "毫米" },
    { "厘米", "厘米" },
    { "公分", "厘米" },
    { "千米", "公里" },
    { "公里", "公里" },
    { "米", "米" },
    { "英寸", "英寸" },
    { "英吋", "英寸" },
    { "毫克", "毫克" },
    { "千克", "公斤" },
    { "公斤", "公斤" },
    { "克", "克" },
    { "毫升", "毫升" },
    { "公升", "升" },
    { "升", "升" },
    { "瓦", "瓦" },
    { "毫安时", "毫安时" },
};
enum { UNITS_COUNT = sizeof UNITS / sizeof UNITS[0] };

bool cm_units_is_measure(const char *attribute_name)
{
    static const char *const hints[] = {
        "weight", "volume", "capacity", "power", "wattage", "voltage",   "length", "width",
        "height", "depth",  "diameter", "size",  "content", "dimension", "净含量", "重量",
        "容量",   "功率",   "电压",     "长度",  "宽度",    "高度",      "规格",   "尺寸",
    };
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strcasestr(attribute_name, hints[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* The ASCII character at `at`, also in its full-width form; 0: another, or the end. */
static char narrow_at(struct cm_span text, size_t at, size_t *bytes)
{
    *bytes = 1;
    if (at >= text.length) {
        return '\0';
    }
    const uint8_t *byte = (const uint8_t *)text.data + at;
    if (byte[0] < 0x80) {
        return (char)byte[0];
    }
    if (text.length - at >= 3 && byte[0] == 0xEF && (byte[1] == 0xBC || byte[1] == 0xBD)) {
        int code = 0xF000 | (byte[1] & 0x3F) << 6 | (byte[2] & 0x3F);
        if (code > 0xFF00 && code <= 0xFF5E) {
            *bytes = 3;
            return (char)(code - 0xFF00 + 0x20);
        }
    }
    return '\0';
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Bytes of the spelling at `at`, 0 where it does not stand there as a whole word. */
static size_t spelling_at(struct cm_span text, size_t at, const char *spelling)
{
    size_t begin = at;
    bool exact = spelling[1] == '\0';
    for (const char *letter = spelling; *letter != '\0'; letter++) {
        size_t bytes;
        char narrow = narrow_at(text, at, &bytes);
        if ((uint8_t)*letter >= 0x80) {
            if (at >= text.length || text.data[at] != *letter) {
                return 0;
            }
            at++;
            continue;
        }
        bool same = exact ? narrow == *letter
                          : tolower((unsigned char)narrow) == tolower((unsigned char)*letter);
        if (narrow == '\0' || !same) {
            return 0;
        }
        at += bytes;
    }
    size_t bytes;
    char next = narrow_at(text, at, &bytes);
    bool whole = (uint8_t)spelling[0] >= 0x80 || !isalnum((unsigned char)next);
    return whole ? at - begin : 0;
}

/* The unit at `at`, behind at most one space; `*end` is one past it. NULL: none. */
static const char *unit_at(struct cm_span text, size_t at, bool is_measure, size_t *end)
{
    size_t bytes;
    if (narrow_at(text, at, &bytes) == ' ') {
        at += bytes;
    }
    for (size_t i = 0; i < UNITS_COUNT; i++) {
        size_t length = spelling_at(text, at, UNITS[i].spelling);
        if (length > 0 && (is_measure || UNITS[i].spelling[1] != '\0')) {
            *end = at + length;
            return UNITS[i].unit;
        }
    }
    return NULL;
}

/* Appends the number at `*at` in ASCII and moves past it. */
static enum cm_status append_number(struct cm_text *text, struct cm_span value, size_t *at)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        size_t bytes;
        size_t next_bytes;
        char byte = narrow_at(value, *at, &bytes);
        bool joins =
            (byte == '.' || byte == ',') && is_digit(narrow_at(value, *at + bytes, &next_bytes));
        if (!is_digit(byte) && !joins) {
            break;
        }
        status = cm_text_append_char(text, byte);
        *at += bytes;
    }
    return status;
}

enum cm_status cm_units_append(struct cm_text *text, struct cm_span value, bool chinese,
                               bool is_measure)
{
    enum cm_status status = CM_OK;
    bool inside_word = false; /* "A4g" holds no number */
    for (size_t at = 0; status == CM_OK && at < value.length;) {
        size_t bytes;
        char byte = narrow_at(value, at, &bytes);
        if (!is_digit(byte) || inside_word) {
            inside_word = isalpha((unsigned char)byte) || (inside_word && is_digit(byte));
            status = cm_text_append(text, value.data + at, bytes);
            at += bytes;
            continue;
        }
        status = append_number(text, value, &at);
        size_t end = at;
        const char *unit = unit_at(value, at, is_measure, &end);
        if (status == CM_OK && unit != NULL) {
            bool joined = chinese || (uint8_t)unit[0] >= 0x80;
            status = joined ? CM_OK : cm_text_append_char(text, ' ');
            if (status == CM_OK) {
                status = cm_text_append_string(text, unit);
            }
            at = end;
        }
    }
    return status;
}
