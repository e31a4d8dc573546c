#include "loaders/personal_data.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { GROUPS_MAX = 8, DIGITS_MAX = 24, CUE_BYTES = 24 };

const char *cm_personal_kind_name(enum cm_personal_kind kind)
{
    static const char *const names[CM_PERSONAL_KIND_COUNT] = {
        [CM_PERSONAL_MAIL] = "e-mail address",
        [CM_PERSONAL_PHONE] = "phone number",
        [CM_PERSONAL_ID_NUMBER] = "identity number",
        [CM_PERSONAL_CARD] = "card number",
    };
    return names[kind];
}

/* --- Characters --- */

/* The character at `at` as ASCII where it is that or a wide form of it, else 0x80 (a letter of
 * another script, a picture); 0 at the end. `bytes` is its length. */
static int character_at(struct cm_span text, size_t at, size_t *bytes)
{
    *bytes = 1;
    if (at >= text.length) {
        return 0;
    }
    const uint8_t *byte = (const uint8_t *)text.data + at;
    size_t left = text.length - at;
    if (byte[0] < 0x80) {
        return byte[0] == 0 ? 1 : byte[0];
    }
    *bytes = byte[0] >= 0xF0 ? 4 : byte[0] >= 0xE0 ? 3 : byte[0] >= 0xC0 ? 2 : 1;
    *bytes = *bytes > left ? left : *bytes;
    if (*bytes == 3 && byte[0] == 0xEF && (byte[1] == 0xBC || byte[1] == 0xBD)) {
        int code = 0xF000 | (byte[1] & 0x3F) << 6 | (byte[2] & 0x3F);
        return code > 0xFF00 && code <= 0xFF5E ? code - 0xFF00 + 0x20 : 0x80;
    }
    if (*bytes == 3 && byte[0] == 0xE2 && byte[1] == 0x80 && byte[2] >= 0x90 && byte[2] <= 0x95) {
        return '-'; /* U+2010 to U+2015, hyphens and dashes */
    }
    bool is_space = (*bytes == 3 && memcmp(byte, "\xE3\x80\x80", 3) == 0) ||
                    (*bytes == 2 && memcmp(byte, "\xC2\xA0", 2) == 0);
    return is_space ? ' ' : 0x80;
}

static bool is_digit(int character)
{
    return character >= '0' && character <= '9';
}

static bool is_letter(int character)
{
    return character < 0x80 && isalpha(character);
}

static bool is_mail_character(int character)
{
    return is_digit(character) || is_letter(character) ||
           (character < 0x80 && character != 0 && strchr("._%+-", character) != NULL);
}

/* --- E-mail addresses --- */

/* The end of "@domain.tld" at `at`, or 0. */
static size_t domain_end(struct cm_span text, size_t at)
{
    size_t bytes;
    size_t end = 0;
    size_t label = 0;   /* characters of the label in hand */
    size_t letters = 0; /* of them */
    size_t labels = 0;  /* before it */
    if (character_at(text, at, &bytes) != '@') {
        return 0;
    }
    for (at += bytes;; at += bytes) {
        int character = character_at(text, at, &bytes);
        if (is_digit(character) || is_letter(character) || (character == '-' && label > 0)) {
            label++;
            letters += is_letter(character);
            if (labels > 0 && letters >= 2 && letters == label) {
                end = at + bytes;
            }
        } else if (character == '.' && label > 0) {
            labels++;
            label = 0;
            letters = 0;
        } else {
            return end;
        }
    }
}

static bool match_mail(struct cm_span text, size_t at, struct cm_personal_match *match)
{
    size_t begin = at;
    size_t bytes;
    while (is_mail_character(character_at(text, at, &bytes))) {
        at += bytes;
    }
    size_t end = at > begin ? domain_end(text, at) : 0;
    *match = (struct cm_personal_match){ CM_PERSONAL_MAIL, begin, end };
    return end > 0;
}

/* --- Numbers --- */

/* Digits in groups with a sign or blank between: "+86 138-0013-8000". */
struct number {
    size_t begin;
    bool has_plus;
    char digits[DIGITS_MAX + 1];
    size_t groups_count;
    size_t group_digits[GROUPS_MAX]; /* digits to the end of each group */
    size_t group_ends[GROUPS_MAX];   /* byte one past it */
    size_t group_begins[GROUPS_MAX];
    bool ends_in_x; /* directly behind the last digit, as in a Chinese ID number */
    size_t x_end;
};

/* Bytes of what may stand between two groups, 0 where the next group does not follow. */
static size_t separator_bytes(struct cm_span text, size_t at)
{
    size_t total = 0;
    for (int signs = 0; signs < 3; signs++) {
        size_t bytes;
        int character = character_at(text, at + total, &bytes);
        if (is_digit(character)) {
            return total;
        }
        bool joins = character == ' ' || character == '-' || character == '.' || character == '(' ||
                     character == ')';
        if (!joins || (signs > 0 && character == '.')) {
            return 0;
        }
        total += bytes;
    }
    size_t bytes;
    return is_digit(character_at(text, at + total, &bytes)) ? total : 0;
}

/* Reads from the first digit at `at`. */
static void read_number(struct cm_span text, size_t at, struct number *number)
{
    size_t count = 0;
    number->groups_count = 0;
    while (number->groups_count < GROUPS_MAX) {
        size_t bytes;
        size_t group = number->groups_count;
        number->group_begins[group] = at;
        int character = character_at(text, at, &bytes);
        for (; is_digit(character); character = character_at(text, at, &bytes)) {
            if (count < DIGITS_MAX) {
                number->digits[count] = (char)character;
            }
            count++;
            at += bytes;
        }
        if (count > DIGITS_MAX) {
            break; /* no identifier is as long; the groups before stay candidates */
        }
        number->group_digits[group] = count;
        number->group_ends[group] = at;
        number->groups_count = group + 1;
        number->ends_in_x = character == 'X' || character == 'x';
        number->x_end = at + bytes;
        size_t gap = separator_bytes(text, at);
        if (gap == 0) {
            break;
        }
        at += gap;
    }
    number->digits[count > DIGITS_MAX ? DIGITS_MAX : count] = '\0';
}

static size_t group_size(const struct number *number, size_t group)
{
    return number->group_digits[group] - (group == 0 ? 0 : number->group_digits[group - 1]);
}

/* Whether the first groups have these sizes, as in "3-4-4". */
static bool has_shape(const struct number *number, size_t first, size_t groups, const char *shape)
{
    for (size_t i = first; i < groups; i++) {
        if (shape[i - first] == '\0' || group_size(number, i) != (size_t)(shape[i - first] - '0')) {
            return false;
        }
    }
    return shape[groups - first] == '\0';
}

static int value_of(const char *digits, size_t count)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value * 10 + (digits[i] - '0');
    }
    return value;
}

static bool passes_luhn(const char *digits, size_t count)
{
    int sum = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = digits[count - 1 - i] - '0';
        digit = i % 2 == 1 ? digit * 2 : digit;
        sum += digit > 9 ? digit - 9 : digit;
    }
    return sum % 10 == 0;
}

/* Number ranges of the issuers in use, with the lengths of each. */
static bool is_issuer(const char *digits, size_t count)
{
    int two = value_of(digits, 2);
    int three = value_of(digits, 3);
    int four = value_of(digits, 4);
    switch (count) {
    case 14:
        return two == 36 || two == 38 || two == 39 || (three >= 300 && three <= 305);
    case 15:
        return two == 34 || two == 37;
    case 16:
        return digits[0] == '4' || (two >= 51 && two <= 55) || (four >= 2221 && four <= 2720) ||
               four == 6011 || two == 62 || two == 65 || (three >= 644 && three <= 649) ||
               (four >= 3528 && four <= 3589);
    case 17:
    case 18:
        return two == 62;
    case 19:
        return two == 62 || digits[0] == '4';
    default:
        return false;
    }
}

static bool is_card(const struct number *number, size_t groups)
{
    static const char *const shapes[] = { "4444", "465", "464", "44443", "68", "69", "66" };
    size_t count = number->group_digits[groups - 1];
    bool shaped = groups == 1 || (groups == 2 && count == 19 && group_size(number, 0) == 6);
    for (size_t i = 0; !shaped && i < sizeof shapes / sizeof shapes[0]; i++) {
        shaped = has_shape(number, 0, groups, shapes[i]);
    }
    return shaped && !number->has_plus && is_issuer(number->digits, count) &&
           passes_luhn(number->digits, count);
}

static bool is_date(const char *digits)
{
    int year = value_of(digits, 4);
    int month = value_of(digits + 4, 2);
    int day = value_of(digits + 6, 2);
    return year >= 1880 && year <= 2099 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* 17 digits and a check character. */
static bool passes_mod_11_2(const char *digits, char check)
{
    static const int weights[17] = { 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2 };
    int sum = 0;
    for (size_t i = 0; i < 17; i++) {
        sum += (digits[i] - '0') * weights[i];
    }
    return "10X98765432"[sum % 11] == check;
}

static bool is_chinese_id(const struct number *number, size_t groups, bool *takes_x)
{
    size_t count = number->group_digits[groups - 1];
    *takes_x = count == 17 && groups == number->groups_count && number->ends_in_x;
    return (count == 18 || *takes_x) && number->digits[0] != '0' && number->digits[0] != '9' &&
           is_date(number->digits + 6) &&
           passes_mod_11_2(number->digits, *takes_x ? 'X' : number->digits[17]);
}

static bool is_social_security(struct cm_span text, const struct number *number, size_t groups)
{
    int area = value_of(number->digits, 3);
    return has_shape(number, 0, groups, "324") && !number->has_plus &&
           text.data[number->group_ends[0]] == '-' && text.data[number->group_ends[1]] == '-' &&
           area != 0 && area != 666 && area < 900 && value_of(number->digits + 3, 2) != 0 &&
           value_of(number->digits + 5, 4) != 0;
}

/* --- Phones --- */

static bool is_chinese_mobile(const struct number *number, size_t groups)
{
    /* The country code, joined or as a group of its own, may stand before it. */
    size_t count = number->group_digits[groups - 1];
    size_t prefix = count > 11 ? count - 11 : 0;
    const char *digits = number->digits + prefix;
    bool known = prefix == 0 || (prefix == 2 && strncmp(number->digits, "86", 2) == 0) ||
                 (prefix == 4 && strncmp(number->digits, "0086", 4) == 0);
    size_t first = prefix > 0 && number->group_digits[0] == prefix ? 1 : 0;
    bool shaped = groups - first == 1 || has_shape(number, first, groups, "344") ||
                  has_shape(number, first, groups, "335") ||
                  has_shape(number, first, groups, "443");
    return count >= 11 && known && shaped && digits[0] == '1' && digits[1] >= '3';
}

static bool is_other_phone(struct cm_span text, const struct number *number, size_t groups)
{
    size_t count = number->group_digits[groups - 1];
    const char *digits = number->digits;
    if (number->has_plus) {
        return count >= 8 && count <= 15 && digits[0] != '0';
    }
    /* North America; 1-800-... too. A decimal point between all of them is a phone as well. */
    size_t first = groups == 4 && group_size(number, 0) == 1 && digits[0] == '1' ? 1 : 0;
    const char *local = digits + first;
    if (has_shape(number, first, groups, "334") && local[0] >= '2' && local[3] >= '2') {
        return true;
    }
    /* China: area code with its 0, and the service numbers. */
    char sign = groups > 1 ? text.data[number->group_ends[0]] : '\0';
    bool joined = sign == '-' || sign == ')' || sign == ' ';
    if (groups == 2 && joined && digits[0] == '0' && digits[1] != '0') {
        size_t area = group_size(number, 0);
        size_t rest = group_size(number, 1);
        return (area == 3 || area == 4) && (rest == 7 || rest == 8);
    }
    bool is_service = strncmp(digits, "400", 3) == 0 || strncmp(digits, "800", 3) == 0;
    return is_service && count == 10 &&
           (groups == 1 || has_shape(number, 0, groups, "334") ||
            has_shape(number, 0, groups, "343") || has_shape(number, 0, groups, "37"));
}

/* A word before the number says that it is one to call. */
static bool has_phone_cue(struct cm_span text, size_t begin)
{
    static const char *const cues[] = { "tel",     "phone",  "mobile",   "fax",  "whatsapp",
                                        "电话",    "手机",   "联系方式", "热线", "致电",
                                        "call us", "wechat", "telefon" };
    size_t length = begin < CUE_BYTES ? begin : CUE_BYTES;
    char before[CUE_BYTES + 1];
    memcpy(before, text.data + begin - length, length);
    before[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        before[i] = (char)tolower((unsigned char)(before[i] == '\0' ? ' ' : before[i]));
    }
    for (size_t i = 0; i < sizeof cues / sizeof cues[0]; i++) {
        const char *found = strstr(before, cues[i]);
        if (found == NULL) {
            continue;
        }
        /* A whole word, not the "tel" of "hotel". */
        bool starts = found == before || !isalpha((unsigned char)found[-1]);
        const char *rest = found + strlen(cues[i]);
        if (starts &&
            strspn(rest, " .:=#()+-\xEF\xBC\x9A\xE4\xB8\xBA\xE6\x98\xAF") == strlen(rest)) {
            return true;
        }
    }
    return false;
}

/* --- Matching --- */

/* Whether the number's first `groups` groups are an identifier. */
static bool judge(struct cm_span text, const struct number *number, size_t groups, bool has_cue,
                  struct cm_personal_match *match)
{
    size_t count = number->group_digits[groups - 1];
    bool takes_x = false;
    match->begin = number->begin;
    match->end = number->group_ends[groups - 1];
    if (is_chinese_id(number, groups, &takes_x)) {
        match->kind = CM_PERSONAL_ID_NUMBER;
        match->end = takes_x ? number->x_end : match->end;
        return true;
    }
    if (is_card(number, groups)) {
        match->kind = CM_PERSONAL_CARD;
        return true;
    }
    if (groups == 3 && is_social_security(text, number, groups)) {
        match->kind = CM_PERSONAL_ID_NUMBER;
        return true;
    }
    match->kind = CM_PERSONAL_PHONE;
    return is_chinese_mobile(number, groups) || is_other_phone(text, number, groups) ||
           (has_cue && count >= 7 && count <= 15);
}

/* A number that begins at `at`, with its plus sign or bracket. */
static bool match_number(struct cm_span text, size_t at, struct cm_personal_match *match)
{
    struct number number = { .begin = at };
    size_t bytes;
    int character = character_at(text, at, &bytes);
    if (character == '+' || character == '(') {
        number.has_plus = character == '+';
        at += bytes;
        if (!is_digit(character_at(text, at, &bytes))) {
            return false;
        }
    } else if (!is_digit(character)) {
        return false;
    }
    read_number(text, at, &number);
    bool has_cue = has_phone_cue(text, number.begin);
    for (size_t groups = number.groups_count; groups > 0; groups--) {
        /* "1380013800Z" is an article number. */
        int next = character_at(text, number.group_ends[groups - 1], &bytes);
        bool glued = is_letter(next) && !(next == 'x' || next == 'X');
        if (!glued && judge(text, &number, groups, has_cue, match)) {
            return true;
        }
    }
    return false;
}

bool cm_personal_data_next(struct cm_span text, size_t *at, struct cm_personal_match *match)
{
    int before = 0; /* the character in front: identifiers begin where a word does */
    if (*at > 0) {
        size_t bytes;
        before = character_at(text, *at - 1, &bytes);
    }
    while (*at < text.length) {
        size_t bytes;
        int character = character_at(text, *at, &bytes);
        bool starts_mail = is_mail_character(character) && !is_mail_character(before);
        bool starts_number = !is_digit(before) && !is_letter(before);
        if ((starts_number && match_number(text, *at, match)) ||
            (starts_mail && match_mail(text, *at, match))) {
            *at = match->end;
            return true;
        }
        before = character;
        *at += bytes;
    }
    return false;
}
