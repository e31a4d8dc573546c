#include "jobs/numbers.h"

#include "base/memory.h"
#include "jobs/number_signs.h"
#include "jobs/number_words.h"
#include "jobs/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GROUPS_MAX = 12, DIGITS_MAX = CM_NUMBER_BYTES - 4 };

/* "1,299.50 %" is three groups, the separators ",." and a percentage. */
struct number {
    struct cm_span span;
    char digits[GROUPS_MAX][DIGITS_MAX];
    size_t groups_count;         /* 0: one character that is a number by itself */
    char separators[GROUPS_MAX]; /* before group i */
    bool percent;
    uint32_t unit;
};

static enum cm_number_sign sign_at(struct cm_span text, size_t at, size_t *bytes)
{
    return cm_number_sign_of(cm_character_at(text, at, bytes));
}

static bool is_digit(enum cm_number_sign sign)
{
    return sign < CM_SIGN_POINT;
}

static char separator_of(enum cm_number_sign sign)
{
    switch (sign) {
    case CM_SIGN_POINT:
        return '.';
    case CM_SIGN_COMMA:
        return ',';
    case CM_SIGN_APOSTROPHE:
        return '\'';
    default:
        return '\0';
    }
}

/* Reads the digits at `*at` into a group. */
static void read_group(struct cm_span text, size_t *at, char digits[DIGITS_MAX])
{
    size_t count = 0;
    size_t bytes;
    enum cm_number_sign sign;
    while (is_digit(sign = sign_at(text, *at, &bytes))) {
        if (count + 1 < DIGITS_MAX) {
            digits[count++] = (char)('0' + sign);
        }
        *at += bytes;
    }
    digits[count] = '\0';
}

static void read_groups(struct cm_span text, size_t *at, struct number *number)
{
    size_t bytes;
    char separator = '\0';
    for (;;) {
        number->separators[number->groups_count] = separator;
        read_group(text, at, number->digits[number->groups_count++]);
        size_t after = *at;
        separator = separator_of(sign_at(text, after, &bytes));
        after += bytes;
        if (separator == '\0' || !is_digit(sign_at(text, after, &bytes)) ||
            number->groups_count == GROUPS_MAX) {
            return;
        }
        *at = after;
    }
}

/* What stands behind the digits. */
static void read_unit(struct cm_span text, size_t at, struct number *number)
{
    size_t bytes;
    size_t after = at;
    if (cm_character_at(text, after, &bytes) == ' ') {
        after += bytes;
    }
    number->unit = cm_unit_read(text, at);
    number->percent =
        sign_at(text, after, &bytes) == CM_SIGN_PERCENT || number->unit == CM_UNIT_PERCENT;
    if (number->percent) {
        number->unit = CM_UNIT_PERCENT;
    }
}

static bool next_number(struct cm_span text, size_t *at, struct number *number)
{
    for (; *at < text.length;) {
        size_t bytes;
        enum cm_number_sign sign = sign_at(text, *at, &bytes);
        *number = (struct number){ .span = { text.data + *at, bytes } };
        if (is_digit(sign)) {
            size_t start = *at;
            read_groups(text, at, number);
            number->span.length = *at - start;
            read_unit(text, *at, number);
            return true;
        }
        *at += bytes;
        if (sign == CM_SIGN_NUMERAL) {
            return true;
        }
    }
    return false;
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

static uint64_t set_of(uint32_t unit)
{
    return UINT64_C(1) << unit;
}

static struct cm_number_key *find(const struct cm_numbers *numbers, const char *key, bool percent)
{
    for (size_t i = 0; i < numbers->count; i++) {
        size_t length = strlen(key);
        const char *other = numbers->keys[i].text;
        if (strncmp(other, key, length) == 0 && strcmp(other + length, percent ? "%" : "") == 0) {
            return &numbers->keys[i];
        }
    }
    return NULL;
}

static enum cm_status add_key(struct cm_numbers *numbers, const char *key, bool percent,
                              uint32_t unit)
{
    struct cm_number_key *known = find(numbers, key, percent);
    if (known != NULL) {
        known->units |= set_of(unit);
        return CM_OK;
    }
    void *block = numbers->keys;
    enum cm_status status =
        cm_grow(&block, &numbers->capacity, numbers->count + 1, sizeof *numbers->keys);
    numbers->keys = block;
    if (status == CM_OK) {
        struct cm_number_key *added = &numbers->keys[numbers->count++];
        size_t length = strnlen(key, CM_NUMBER_BYTES - 2);
        memcpy(added->text, key, length);
        memcpy(added->text + length, percent ? "%" : "", percent ? 2 : 1);
        added->units = set_of(unit);
    }
    return status;
}

/* A fact "50%" also allows a copy to say "50". */
static enum cm_status add_both(struct cm_numbers *numbers, const char *key,
                               const struct number *number)
{
    enum cm_status status = add_key(numbers, key, false, number->unit);
    return status == CM_OK && number->percent ? add_key(numbers, key, true, CM_UNIT_NONE) : status;
}

static void character_key(const struct number *number, char key[CM_NUMBER_BYTES])
{
    memcpy(key, number->span.data, number->span.length);
    key[number->span.length] = '\0';
}

static enum cm_status add_number(struct cm_numbers *numbers, const struct number *number)
{
    char keys[READINGS_MAX][CM_NUMBER_BYTES];
    if (number->groups_count == 0) {
        character_key(number, keys[0]);
        return add_key(numbers, keys[0], false, CM_UNIT_NONE);
    }
    size_t count = read_as_one(number, keys);
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < count && status == CM_OK; i++) {
        status = add_both(numbers, keys[i], number);
    }
    /* "38,40,42" is no one number, so it is three. The parts of a price are not facts of their own:
     * "19.99" does not allow "99". */
    for (size_t i = 0; count == 0 && i < number->groups_count && status == CM_OK; i++) {
        make_key(number->digits[i], "", keys[0]);
        status = add_both(numbers, keys[0], number);
    }
    return status;
}

enum cm_status cm_numbers_add_untold(struct cm_numbers *numbers, struct cm_span fact)
{
    struct number number;
    size_t at = 0;
    enum cm_status status = CM_OK;
    while (status == CM_OK && next_number(fact, &at, &number)) {
        number.unit = number.unit == CM_UNIT_NONE ? CM_UNIT_UNTOLD : number.unit;
        status = add_number(numbers, &number);
    }
    return status;
}

enum cm_status cm_numbers_add(struct cm_numbers *numbers, struct cm_span fact)
{
    struct number number;
    size_t at = 0;
    enum cm_status status = CM_OK;
    while (status == CM_OK && next_number(fact, &at, &number)) {
        status = add_number(numbers, &number);
    }
    uint64_t value;
    for (at = 0; status == CM_OK && cm_number_words_next(fact, &at, &value);) {
        char key[CM_NUMBER_BYTES];
        snprintf(key, sizeof key, "%" PRIu64, value);
        status = add_key(numbers, key, false, cm_unit_read(fact, at));
    }
    return status;
}

static bool holds(const struct cm_numbers *numbers, const char *key, bool percent, uint32_t unit)
{
    const struct cm_number_key *found = find(numbers, key, percent);
    return found != NULL && (percent || cm_unit_allowed(found->units, unit));
}

static bool is_known(const struct cm_numbers *numbers, const struct number *number)
{
    char keys[READINGS_MAX][CM_NUMBER_BYTES];
    if (number->groups_count == 0) {
        character_key(number, keys[0]);
        return find(numbers, keys[0], false) != NULL;
    }
    size_t count = read_as_one(number, keys);
    for (size_t i = 0; i < count; i++) {
        if (holds(numbers, keys[i], number->percent, number->unit)) {
            return true;
        }
    }
    bool all = count == 0;
    for (size_t i = 0; i < number->groups_count && all; i++) {
        bool is_last = i + 1 == number->groups_count;
        make_key(number->digits[i], "", keys[0]);
        all = holds(numbers, keys[0], number->percent && is_last,
                    is_last ? number->unit : CM_UNIT_NONE);
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
