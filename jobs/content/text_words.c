#include "jobs/content/text_words.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES_MAX = 48 };

/* Words that say nothing about what a text is about, space at both ends. */
static const char COMMON[] =
    " a an the and or but nor so if then than that this these those it its is are was were be been "
    "being am do does did done have has had having can could may might must shall should will "
    "would "
    "of to in on at by for from with without into onto over under up down out off about as not no "
    "yes you your yours we our ours us i my me mine he she his her they their them there here what "
    "which who whom whose when where why how all any both each more most other some such only own "
    "same too very just also even s t re ve ll d m ";

/* Characters of Chinese that say little alone or in pairs with one another. */
static const uint32_t COMMON_IDEOGRAPHS[] = {
    0x7684, /* 的 */ 0x4E86, /* 了 */ 0x662F, /* 是 */ 0x5728, /* 在 */ 0x548C, /* 和 */
    0x4E0E, /* 与 */ 0x4E5F, /* 也 */ 0x90FD, /* 都 */ 0x5417, /* 吗 */ 0x5462, /* 呢 */
    0x5427, /* 吧 */ 0x8FD9, /* 这 */ 0x90A3, /* 那 */ 0x4E00, /* 一 */ 0x4E2A, /* 个 */
    0x60A8, /* 您 */ 0x4F60, /* 你 */ 0x6211, /* 我 */ 0x4EEC, /* 们 */ 0x5C31, /* 就 */
    0x53EF, /* 可 */ 0x4EE5, /* 以 */ 0x6709, /* 有 */ 0x6B3E, /* 款 */ 0x4EF6, /* 件 */
    0x4F1A, /* 会 */ 0x8981, /* 要 */ 0x8BF7, /* 请 */ 0x95EE, /* 问 */ 0x591A, /* 多 */
    0x5C11, /* 少 */ 0x4EC0, /* 什 */ 0x4E48, /* 么 */ 0x600E, /* 怎 */ 0x4E3A, /* 为 */
    0x7740, /* 着 */ 0x4E0D,                                                    /* 不 */
};

static uint64_t hash_bytes(const char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    }
    return hash;
}

static uint64_t hash_pair(uint64_t a, uint64_t b)
{
    return (a ^ (b >> 7) ^ (b << 57)) * 0x9E3779B97F4A7C15 + 1;
}

static bool stands_alone(uint32_t code)
{
    return cm_plain_is_ideograph(code) || (code >= 0x0E00 && code <= 0x0E7F) ||
           (code >= 0x3040 && code <= 0x30FF);
}

static bool is_stop(uint32_t code)
{
    return code == '.' || code == '!' || code == '?' || code == 0x3002 || code == '\n' ||
           code == 0x0964;
}

static bool is_common_ideograph(uint32_t code)
{
    for (size_t i = 0; i < sizeof COMMON_IDEOGRAPHS / sizeof COMMON_IDEOGRAPHS[0]; i++) {
        if (COMMON_IDEOGRAPHS[i] == code) {
            return true;
        }
    }
    return false;
}

/* Bytes of the word without its English ending, of which only the frequent ones are known. Not a
 * stemmer: "cotton" and "cottons" are one, "run" and "ran" are not. */
static size_t stem_bytes(const char *word, size_t length)
{
    static const char *const endings[] = { "ability", "ations", "ation", "ables", "able",
                                           "ness",    "ingly",  "ings",  "ing",   "edly",
                                           "ers",     "ies",    "ely",   "es",    "ed",
                                           "er",      "ly",     "s",     "e",     "y" };
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t bytes = strlen(endings[i]);
        if (length >= bytes + 3 && memcmp(word + length - bytes, endings[i], bytes) == 0) {
            length -= bytes;
            break;
        }
    }
    bool doubled = length > 3 && word[length - 1] == word[length - 2];
    return doubled ? length - 1 : length;
}

static bool is_common(const char *word, size_t length)
{
    char padded[WORD_BYTES_MAX + 3];
    if (length > WORD_BYTES_MAX) {
        return false;
    }
    padded[0] = ' ';
    memcpy(padded + 1, word, length);
    padded[length + 1] = ' ';
    padded[length + 2] = '\0';
    return strstr(COMMON, padded) != NULL;
}

/* The character in some bytes that tell it from all others; UTF-8 is not needed here. */
static size_t encode(uint32_t code, char *bytes)
{
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    bytes[0] = (char)(0x80 | (code & 0x7F));
    bytes[1] = (char)(0x80 | ((code >> 7) & 0x7F));
    bytes[2] = (char)(0x80 | (code >> 14));
    return 3;
}

void cm_text_words_deinit(struct cm_text_words *words)
{
    cm_free(words->items);
    *words = (struct cm_text_words){ 0 };
}

/* Reads the word that begins at character `at`; gives the character behind it. */
static size_t read_word(const struct cm_plain_text *plain, size_t at, struct cm_text_word *word)
{
    char bytes[WORD_BYTES_MAX + 4] = "";
    size_t length = 0;
    const struct cm_plain_character *characters = plain->characters;
    *word = (struct cm_text_word){ .begin = characters[at].begin };
    uint32_t first = characters[at].code;
    word->alone = stands_alone(first);
    do {
        if (length < WORD_BYTES_MAX) {
            length += encode(characters[at].code, bytes + length);
        }
        word->end = characters[at].end;
        at++;
    } while (!word->alone && at < plain->count && cm_plain_is_word(characters[at].code) &&
             !stands_alone(characters[at].code));
    word->hash = hash_bytes(bytes, length);
    word->stem = word->alone ? word->hash : hash_bytes(bytes, stem_bytes(bytes, length));
    word->common = word->alone ? is_common_ideograph(first) : is_common(bytes, length);
    return at;
}

enum cm_status cm_text_words_fill(struct cm_text_words *words, const struct cm_plain_text *plain)
{
    words->count = 0;
    for (size_t at = 0; at < plain->count;) {
        uint32_t code = plain->characters[at].code;
        if (!cm_plain_is_word(code)) {
            if (is_stop(code) && words->count > 0) {
                bool decimal = code == '.' && at + 1 < plain->count &&
                               cm_plain_is_word(plain->characters[at + 1].code);
                words->items[words->count - 1].ends_sentence |= !decimal;
            }
            at++;
            continue;
        }
        void *block = words->items;
        enum cm_status status =
            cm_grow(&block, &words->capacity, words->count + 1, sizeof *words->items);
        words->items = block;
        if (status != CM_OK) {
            return status;
        }
        at = read_word(plain, at, &words->items[words->count++]);
    }
    if (words->count > 0) {
        words->items[words->count - 1].ends_sentence = true;
    }
    return CM_OK;
}

/* --- Units and sets --- */

bool cm_text_unit_next(const struct cm_text_words *words, size_t *at, struct cm_text_unit *unit)
{
    for (; *at < words->count; (*at)++) {
        const struct cm_text_word *word = &words->items[*at];
        if (!word->alone) {
            if (word->common) {
                continue;
            }
            *unit = (struct cm_text_unit){ word->stem, word->begin, word->end };
            (*at)++;
            return true;
        }
        const struct cm_text_word *next = *at + 1 < words->count ? word + 1 : NULL;
        if (next != NULL && next->alone && next->begin == word->end &&
            !(word->common || next->common)) {
            *unit =
                (struct cm_text_unit){ hash_pair(word->hash, next->hash), word->begin, next->end };
            (*at)++;
            return true;
        }
    }
    return false;
}

void cm_word_set_deinit(struct cm_word_set *set)
{
    cm_free(set->hashes);
    *set = (struct cm_word_set){ 0 };
}

void cm_word_set_clear(struct cm_word_set *set)
{
    set->count = 0;
    set->sorted = false;
}

enum cm_status cm_word_set_add(struct cm_word_set *set, const struct cm_text_words *words)
{
    struct cm_text_unit unit;
    enum cm_status status = CM_OK;
    set->sorted = false;
    for (size_t at = 0; status == CM_OK && cm_text_unit_next(words, &at, &unit);) {
        void *block = set->hashes;
        status = cm_grow(&block, &set->capacity, set->count + 1, sizeof *set->hashes);
        set->hashes = block;
        if (status == CM_OK) {
            set->hashes[set->count++] = unit.hash;
        }
    }
    return status;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

void cm_word_set_sort(struct cm_word_set *set)
{
    size_t kept = 0;
    if (set->count > 0) {
        qsort(set->hashes, set->count, sizeof *set->hashes, compare_hashes);
    }
    for (size_t i = 0; i < set->count; i++) {
        if (kept == 0 || set->hashes[kept - 1] != set->hashes[i]) {
            set->hashes[kept++] = set->hashes[i];
        }
    }
    set->count = kept;
    set->sorted = true;
}

bool cm_word_set_holds(const struct cm_word_set *set, uint64_t hash)
{
    CM_ASSERT(set->sorted);
    return set->count > 0 &&
           bsearch(&hash, set->hashes, set->count, sizeof *set->hashes, compare_hashes) != NULL;
}

double cm_word_set_share(const struct cm_word_set *set, const struct cm_text_words *words)
{
    struct cm_text_unit unit;
    size_t units = 0;
    size_t held = 0;
    for (size_t at = 0; cm_text_unit_next(words, &at, &unit);) {
        units++;
        held += cm_word_set_holds(set, unit.hash);
    }
    return units == 0 ? 1 : (double)held / (double)units;
}
