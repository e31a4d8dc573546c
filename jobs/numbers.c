#include "jobs/numbers.h"

#include "base/memory.h"

#include <string.h>

#include <utf8proc.h>

enum { GROUPS_MAX = 12, DIGITS_MAX = CM_NUMBER_BYTES - 4 };

/* "1,299.50 %" is three groups, the separators ",." and a percentage. */
struct number {
    struct cm_span span;
    char digits[GROUPS_MAX][DIGITS_MAX];
    size_t groups_count;
    char separators[GROUPS_MAX]; /* before group i */
    bool percent;
};

static utf8proc_int32_t character_at(struct cm_span text, size_t at, size_t *bytes)
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

/* ASCII and full-width digits; -1 for all else. */
static int digit_of(utf8proc_int32_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    return character >= 0xFF10 && character <= 0xFF19 ? character - 0xFF10 : -1;
}

static char separator_of(utf8proc_int32_t character)
{
    switch (character) {
    case '.':
    case 0xFF0E:
        return '.';
    case ',':
    case 0xFF0C:
        return ',';
    case '\'':
    case 0x2019:
        return '\'';
    default:
        return '\0';
    }
}

static bool is_percent(utf8proc_int32_t character)
{
    return character == '%' || character == 0xFF05;
}

/* Reads the digits at `*at` into a group. */
static void read_group(struct cm_span text, size_t *at, char digits[DIGITS_MAX])
{
    size_t count = 0;
    size_t bytes;
    int digit;
    while ((digit = digit_of(character_at(text, *at, &bytes))) >= 0) {
        if (count + 1 < DIGITS_MAX) {
            digits[count++] = (char)('0' + digit);
        }
        *at += bytes;
    }
    digits[count] = '\0';
}

static bool next_number(struct cm_span text, size_t *at, struct number *number)
{
    size_t bytes;
    while (*at < text.length && digit_of(character_at(text, *at, &bytes)) < 0) {
        *at += bytes;
    }
    if (*at >= text.length) {
        return false;
    }
    *number = (struct number){ .span = { text.data + *at, 0 } };
    size_t start = *at;
    char separator = '\0';
    do {
        number->separators[number->groups_count] = separator;
        read_group(text, at, number->digits[number->groups_count++]);
        size_t after = *at;
        separator = separator_of(character_at(text, after, &bytes));
        after += bytes;
        if (separator == '\0' || digit_of(character_at(text, after, &bytes)) < 0 ||
            number->groups_count == GROUPS_MAX) {
            break;
        }
        *at = after;
    } while (true);
    number->span.length = *at - start;
    size_t after = *at;
    if (character_at(text, after, &bytes) == ' ') {
        after += bytes;
    }
    number->percent = is_percent(character_at(text, after, &bytes));
    return true;
}

/* --- Readings --- */

/* "0012" and "50" -> "12.5"; digits past the key's size are cut. */
static void make_key(const char *whole, const char *fraction, char key[CM_NUMBER_BYTES])
{
    while (whole[0] == '0' && whole[1] != '\0') {
        whole++;
    }
    size_t length = strnlen(whole, CM_NUMBER_BYTES - 1);
    memcpy(key, whole, length);
    size_t fraction_length = strlen(fraction);
    while (fraction_length > 0 && fraction[fraction_length - 1] == '0') {
        fraction_length--;
    }
    if (fraction_length > 0 && length + 1 + fraction_length < CM_NUMBER_BYTES) {
        key[length++] = '.';
        memcpy(key + length, fraction, fraction_length);
        length += fraction_length;
    }
    key[length] = '\0';
}

/* Groups [0, count) as one whole number: each after the first must have three digits and the same
 * separator before it. */
static bool join_thousands(const struct number *number, size_t count, char whole[CM_NUMBER_BYTES])
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        size_t digits = strlen(number->digits[i]);
        bool fits = i == 0 ? count == 1 || digits <= 3
                           : digits == 3 && number->separators[i] == number->separators[1];
        if (!fits || length + digits >= CM_NUMBER_BYTES) {
            return false;
        }
        memcpy(whole + length, number->digits[i], digits);
        length += digits;
    }
    whole[length] = '\0';
    return true;
}

enum { READINGS_MAX = 2 };

/* Every way to read the number as one: all groups as thousands, or the last one as the fraction. */
static size_t read_as_one(const struct number *number, char keys[READINGS_MAX][CM_NUMBER_BYTES])
{
    size_t count = 0;
    size_t groups = number->groups_count;
    char whole[CM_NUMBER_BYTES];
    if (join_thousands(number, groups, whole)) {
        make_key(whole, "", keys[count++]);
    }
    bool decimal = groups >= 2 && number->separators[groups - 1] != '\'' &&
                   (groups == 2 || number->separators[groups - 1] != number->separators[1]);
    if (decimal && join_thousands(number, groups - 1, whole)) {
        make_key(whole, number->digits[groups - 1], keys[count++]);
    }
    return count;
}

void cm_numbers_deinit(struct cm_numbers *numbers)
{
    cm_free(numbers->keys);
    *numbers = (struct cm_numbers){ 0 };
}

static bool holds(const struct cm_numbers *numbers, const char *key, bool percent)
{
    for (size_t i = 0; i < numbers->count; i++) {
        size_t length = strlen(key);
        const char *other = numbers->keys[i];
        if (strncmp(other, key, length) == 0 && strcmp(other + length, percent ? "%" : "") == 0) {
            return true;
        }
    }
    return false;
}

static enum cm_status add_key(struct cm_numbers *numbers, const char *key, bool percent)
{
    if (holds(numbers, key, percent)) {
        return CM_OK;
    }
    void *block = numbers->keys;
    enum cm_status status =
        cm_grow(&block, &numbers->capacity, numbers->count + 1, sizeof *numbers->keys);
    numbers->keys = block;
    if (status == CM_OK) {
        char *place = numbers->keys[numbers->count++];
        size_t length = strnlen(key, CM_NUMBER_BYTES - 2);
        memcpy(place, key, length);
        memcpy(place + length, percent ? "%" : "", percent ? 2 : 1);
    }
    return status;
}

/* A fact "50%" also allows a copy to say "50". */
static enum cm_status add_both(struct cm_numbers *numbers, const char *key, bool percent)
{
    enum cm_status status = add_key(numbers, key, false);
    return status == CM_OK && percent ? add_key(numbers, key, true) : status;
}

enum cm_status cm_numbers_add(struct cm_numbers *numbers, struct cm_span fact)
{
    struct number number;
    size_t at = 0;
    enum cm_status status = CM_OK;
    while (status == CM_OK && next_number(fact, &at, &number)) {
        char keys[READINGS_MAX][CM_NUMBER_BYTES];
        size_t count = read_as_one(&number, keys);
        for (size_t i = 0; i < count && status == CM_OK; i++) {
            status = add_both(numbers, keys[i], number.percent);
        }
        /* "38,40,42" is no one number, so it is three. The parts of a price are not facts of their
         * own: "19.99" does not allow "99". */
        for (size_t i = 0; count == 0 && i < number.groups_count && status == CM_OK; i++) {
            make_key(number.digits[i], "", keys[0]);
            status = add_both(numbers, keys[0], number.percent);
        }
    }
    return status;
}

static bool is_known(const struct cm_numbers *numbers, const struct number *number)
{
    char keys[READINGS_MAX][CM_NUMBER_BYTES];
    size_t count = read_as_one(number, keys);
    for (size_t i = 0; i < count; i++) {
        if (holds(numbers, keys[i], number->percent)) {
            return true;
        }
    }
    bool all = count == 0;
    for (size_t i = 0; i < number->groups_count && all; i++) {
        make_key(number->digits[i], "", keys[0]);
        all = holds(numbers, keys[0], number->percent && i + 1 == number->groups_count);
    }
    return all;
}

bool cm_numbers_next_missing(const struct cm_numbers *numbers, struct cm_span text, size_t *at,
                             struct cm_span *missing)
{
    struct number number;
    while (next_number(text, at, &number)) {
        if (!is_known(numbers, &number)) {
            *missing = number.span;
            return true;
        }
    }
    return false;
}
