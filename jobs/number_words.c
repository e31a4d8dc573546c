#include "jobs/number_words.h"

#include "jobs/number_signs.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_MAX = 99999, NUMERALS_MAX = 10 };

/* --- English --- */

/* Sorted; "one" is only read inside of others ("one hundred"). */
#define WORDS(X)             \
    X("billion", 1000000000) \
    X("dozen", 12)           \
    X("dozens", 12)          \
    X("eight", 8)            \
    X("eighteen", 18)        \
    X("eighty", 80)          \
    X("eleven", 11)          \
    X("fifteen", 15)         \
    X("fifty", 50)           \
    X("five", 5)             \
    X("forty", 40)           \
    X("four", 4)             \
    X("fourteen", 14)        \
    X("hundred", 100)        \
    X("hundreds", 100)       \
    X("million", 1000000)    \
    X("millions", 1000000)   \
    X("nine", 9)             \
    X("nineteen", 19)        \
    X("ninety", 90)          \
    X("seven", 7)            \
    X("seventeen", 17)       \
    X("seventy", 70)         \
    X("six", 6)              \
    X("sixteen", 16)         \
    X("sixty", 60)           \
    X("ten", 10)             \
    X("thirteen", 13)        \
    X("thirty", 30)          \
    X("thousand", 1000)      \
    X("thousands", 1000)     \
    X("three", 3)            \
    X("twelve", 12)          \
    X("twenty", 20)          \
    X("two", 2)

#define WORD(word, value) word,
#define VALUE(word, value) value,

static const char *const words[] = { WORDS(WORD) };
static const uint64_t values[] = { WORDS(VALUE) };

enum { WORDS_COUNT = sizeof words / sizeof words[0] };
_Static_assert(WORDS_COUNT <= 64, "a set of words is a number of 64 bits");

const struct cm_word_list cm_number_words = { words, WORDS_COUNT };

static uint64_t words_of_value(uint64_t value)
{
    uint64_t set = 0;
    for (int i = 0; i < WORDS_COUNT; i++) {
        set |= values[i] == value ? UINT64_C(1) << i : 0;
    }
    return set;
}

uint64_t cm_number_words_of(uint64_t number)
{
    static const uint64_t scales[] = { 1000000000, 1000000, 1000, 100 };
    uint64_t set = words_of_value(number);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        if (number >= scales[i]) {
            set |= words_of_value(scales[i]) | cm_number_words_of(number / scales[i] % 1000);
            number %= scales[i];
        }
    }
    if (number > 20) {
        set |= words_of_value(number - number % 10);
        number %= 10;
    }
    return set | words_of_value(number);
}

/* One word of letters; empty where none begins at `at`. */
static struct cm_span letters_at(struct cm_span text, size_t at)
{
    size_t end = at;
    size_t bytes;
    while (cm_is_word_letter(cm_character_at(text, end, &bytes))) {
        end += bytes;
    }
    return (struct cm_span){ text.data + at, end - at };
}

/* 0 where it is no word of a number. */
static uint64_t value_of(struct cm_span word)
{
    uint32_t state = 0;
    if (word.length == 3 && strncasecmp(word.data, "one", 3) == 0) {
        return 1;
    }
    for (size_t i = 0; i < word.length; i++) {
        int32_t letter = cm_lower_ascii((unsigned char)word.data[i]);
        if (!cm_walk_next(&cm_number_words, &state, letter)) {
            return 0;
        }
    }
    int32_t index = cm_walk_word(&cm_number_words, state);
    return index >= 0 ? values[index] : 0;
}

struct sum {
    uint64_t done;
    uint64_t current;
};

/* "two hundred" multiplies, "twenty five" adds. */
static void add_word(struct sum *sum, uint64_t value)
{
    enum { CURRENT_MAX = 1000000 };
    if (sum->current > CURRENT_MAX) {
        sum->current = 0; /* no number that anybody writes */
    }
    if (value >= 1000) {
        sum->done += (sum->current > 0 ? sum->current : 1) * value;
        sum->current = 0;
    } else if (value == 100 || value == 12) {
        sum->current = (sum->current > 0 ? sum->current : 1) * value;
    } else {
        sum->current += value;
    }
}

/* A number in words that begins at `*at`; 0: none. */
static uint64_t read_english(struct cm_span text, size_t *at)
{
    struct sum sum = { 0 };
    size_t next = *at;
    for (;;) {
        struct cm_span word = letters_at(text, next);
        uint64_t value = value_of(word);
        if (value == 0) {
            break;
        }
        add_word(&sum, value);
        *at = next + word.length;
        size_t bytes;
        int32_t between = cm_character_at(text, *at, &bytes);
        if (between != ' ' && between != '-') {
            break;
        }
        next = *at + bytes;
    }
    return sum.done + sum.current;
}

/* --- Chinese --- */

static const int32_t digits[] = { 0x96F6, 0x4E00, 0x4E8C, 0x4E09, 0x56DB,   /* 零一二三四 */
                                  0x4E94, 0x516D, 0x4E03, 0x516B, 0x4E5D }; /* 五六七八九 */

static const struct {
    int32_t character;
    uint64_t value;
    const char *text;
} scales[] = {
    { 0x4E07, 10000, "万" }, { 0x5343, 1000, "千" }, { 0x767E, 100, "百" }, { 0x5341, 10, "十" }
};

enum { SCALES_COUNT = sizeof scales / sizeof scales[0], LIANG = 0x4E24 /* 两 */ };

/* -1: no digit. */
static int digit_of(int32_t character)
{
    for (int i = 0; i < 10; i++) {
        if (digits[i] == character) {
            return i;
        }
    }
    return character == LIANG ? 2 : -1;
}

static uint64_t scale_of(int32_t character)
{
    for (int i = 0; i < SCALES_COUNT; i++) {
        if (scales[i].character == character) {
            return scales[i].value;
        }
    }
    return 0;
}

bool cm_is_chinese_numeral(int32_t character)
{
    return digit_of(character) >= 0 || scale_of(character) > 0;
}

bool cm_is_measure_word(int32_t character)
{
    /* Those that follow a count in copy; sorted by nothing but use. */
    static const char measures[] =
        "个件款条只双套块片支瓶盒包袋元折年月天倍层色档级寸枚颗粒台把张本页杯碗"
        "罐桶箱组排串根匹码岁周种位人步秒小斤吨度瓦伏米厘毫克升英公盎磅加像赫";
    struct cm_span rest = { measures, sizeof measures - 1 };
    size_t bytes;
    for (size_t at = 0; at < rest.length; at += bytes) {
        if (cm_character_at(rest, at, &bytes) == character) {
            return true;
        }
    }
    return false;
}

/* Without 零 between, which is not said after it all the same: 250 is 二百五十. */
static void spell(uint64_t number, const char *two, char out[CM_WALK_BYTES])
{
    static const char *const names[] = { "", "一", "二", "三", "四", "五", "六", "七", "八", "九" };
    size_t length = 0;
    bool skipped = false;
    uint64_t whole = number;
    for (int i = 0; i < SCALES_COUNT; i++) {
        uint64_t digit = number / scales[i].value;
        number %= scales[i].value;
        if (digit == 0) {
            skipped = length > 0;
            continue;
        }
        const char *name = digit == 2 && scales[i].value >= 100 ? two : names[digit];
        bool is_ten = whole < 20; /* 十五, not 一十五 */
        length += (size_t)snprintf(out + length, CM_WALK_BYTES - length, "%s%s%s",
                                   skipped ? "零" : "", is_ten ? "" : name, scales[i].text);
        skipped = false;
    }
    if (number > 0 && length < CM_WALK_BYTES) {
        const char *name = number == 2 && whole == 2 ? two : names[number % 10];
        snprintf(out + length, CM_WALK_BYTES - length, "%s%s", skipped ? "零" : "", name);
    }
}

size_t cm_chinese_spellings(uint64_t number, char out[CM_CHINESE_SPELLINGS][CM_WALK_BYTES])
{
    if (number == 0 || number > NUMBER_MAX) {
        return 0;
    }
    spell(number, "二", out[0]);
    spell(number, "两", out[1]);
    return strcmp(out[0], out[1]) == 0 ? 1 : 2;
}

/* Numerals before a measure word; 0: none, or no number. */
static uint64_t read_chinese(struct cm_span text, size_t *at)
{
    struct sum sum = { 0 };
    uint64_t digit = 0;
    size_t bytes;
    for (int read = 0; read < NUMERALS_MAX; read++) {
        int32_t character = cm_character_at(text, *at, &bytes);
        if (!cm_is_chinese_numeral(character)) {
            return cm_is_measure_word(character) ? sum.done + sum.current + digit : 0;
        }
        uint64_t scale = scale_of(character);
        if (scale == 10000) {
            sum.done += (sum.current + digit) * scale;
            sum.current = 0;
        } else if (scale > 0) {
            sum.current += (digit > 0 ? digit : 1) * scale;
        }
        digit = scale > 0 ? 0 : (uint64_t)digit_of(character);
        *at += bytes;
    }
    return 0;
}

bool cm_number_words_next(struct cm_span text, size_t *at, uint64_t *number)
{
    bool in_word = false;
    while (*at < text.length) {
        size_t bytes;
        int32_t character = cm_character_at(text, *at, &bytes);
        size_t end = *at;
        *number = 0;
        if (cm_is_chinese_numeral(character)) {
            *number = read_chinese(text, &end);
        } else if (!in_word) {
            *number = read_english(text, &end);
        }
        in_word = cm_is_word_letter(character);
        *at = end > *at ? end : *at + bytes;
        if (*number > 1) { /* "one" and 一 mean "a" more often */
            return true;
        }
    }
    return false;
}
