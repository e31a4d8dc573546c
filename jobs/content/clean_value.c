#include "jobs/content/clean_value.h"

#include "base/sentence.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

bool cm_is_emoji(uint32_t character)
{
    return (character >= 0x1F000 && character <= 0x1FAFF) ||
           (character >= 0x2600 && character <= 0x27BF) || character == 0xFE0F ||
           character == 0x200D || (character >= 0x2B00 && character <= 0x2BFF) ||
           (character >= 0xE0020 && character <= 0xE007F);
}

static size_t character_bytes(const char *text, uint32_t *character)
{
    utf8proc_int32_t value;
    utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &value);
    *character = bytes > 0 ? (uint32_t)value : 0xFFFD;
    return bytes > 0 ? (size_t)bytes : 1;
}

static bool holds_character(const char *characters, const char *at, size_t bytes)
{
    for (const char *place = characters; *place != '\0';) {
        uint32_t character;
        size_t length = character_bytes(place, &character);
        if (length == bytes && memcmp(place, at, bytes) == 0) {
            return true;
        }
        place += length;
    }
    return false;
}

/* An exclamation that may not be one still ends its sentence. */
static const char *substitute(const char *at, size_t bytes, bool is_inside)
{
    if (bytes == 1 && (*at == '!' || *at == '?')) {
        return is_inside ? "." : "";
    }
    return bytes == 1 && (*at == '_' || *at == '/') ? " " : "";
}

static bool drop_banned(char *text, const struct cm_channel *channel)
{
    size_t kept = 0;
    bool dropped = false;
    for (const char *at = text; *at != '\0';) {
        uint32_t character;
        size_t bytes = character_bytes(at, &character);
        bool is_banned = holds_character(channel->bans.characters, at, bytes) ||
                         (channel->bans.emoji && cm_is_emoji(character));
        if (is_banned) {
            const char *other = substitute(at, bytes, at[bytes] != '\0');
            size_t length = strlen(other); /* at most the bytes that are left out */
            memcpy(text + kept, other, length);
            kept += length;
            dropped = true;
        } else {
            memmove(text + kept, at, bytes);
            kept += bytes;
        }
        at += bytes;
    }
    text[kept] = '\0';
    return dropped;
}

static void unwrap(char *text)
{
    static const char *const pairs[][2] = { { "\"", "\"" }, { "“", "”" }, { "**", "**" },
                                            { "「", "」" }, { "*", "*" }, { "<", ">" },
                                            { "[", "]" },   { "'", "'" }, { "《", "》" } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        size_t length = strlen(text);
        size_t left = strlen(pairs[i][0]);
        size_t right = strlen(pairs[i][1]);
        if (length > left + right && strncmp(text, pairs[i][0], left) == 0 &&
            strcmp(text + length - right, pairs[i][1]) == 0) {
            memmove(text, text + left, length - left - right);
            text[length - left - right] = '\0';
        }
    }
    /* What is left of "<a short headline>", with which the prompt asks. */
    size_t length = strlen(text);
    if (length > 0 && text[length - 1] == '>') {
        text[length - 1] = '\0';
    }
    if (text[0] == '<') {
        memmove(text, text + 1, strlen(text));
    }
    static const char *const labels[] = { "Name: ", "Product: ", "Product name: ", "名称：",
                                          "商品：" };
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        size_t bytes = strlen(labels[i]);
        if (strncasecmp(text, labels[i], bytes) == 0) {
            memmove(text, text + bytes, strlen(text + bytes) + 1);
        }
    }
    for (char *star; (star = strstr(text, "**")) != NULL;) {
        memmove(star, star + 2, strlen(star + 2) + 1);
    }
}

/* "SALE NOW": words of four capitals or more become words with one; shorter ones may be LED or USB.
 */
static bool calm(char *text)
{
    enum { SHOUT_LETTERS = 5 };
    bool changed = false;
    for (char *at = text; *at != '\0';) {
        size_t length = 0;
        while (isupper((unsigned char)at[length])) {
            length++;
        }
        bool ends = !isalnum((unsigned char)at[length]);
        for (size_t i = 1; length >= SHOUT_LETTERS && ends && i < length; i++) {
            at[i] = (char)tolower((unsigned char)at[i]);
            changed = true;
        }
        at += length > 0 ? length : 1;
    }
    return changed;
}

/* ASCII phrases only where they are whole words: "sale" is not in "wholesale". */
const char *cm_find_phrase(const char *text, const char *phrase)
{
    size_t length = strlen(phrase);
    for (const char *at = text; length > 0 && (at = strcasestr(at, phrase)) != NULL; at++) {
        bool left =
            at == text || !isalnum((unsigned char)phrase[0]) || !isalnum((unsigned char)at[-1]);
        bool right =
            !isalnum((unsigned char)phrase[length - 1]) || !isalnum((unsigned char)at[length]);
        if (left && right) {
            return at;
        }
    }
    return NULL;
}

static bool drop_phrase(char *text, const char *phrase)
{
    bool dropped = false;
    size_t length = strlen(phrase);
    for (const char *found; (found = cm_find_phrase(text, phrase)) != NULL;) {
        char *place = text + (found - text);
        memmove(place, place + length, strlen(place + length) + 1);
        dropped = true;
    }
    return dropped;
}

static bool same_word(const char *a, size_t a_length, const char *b, size_t b_length)
{
    return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

/* Drops each word that came `repeats` times before; short ones join words and may. */
static bool drop_repeats(char *text, uint32_t repeats)
{
    enum { JOINING_LETTERS = 3 };
    bool dropped = false;
    for (char *at = text; repeats > 0 && *at != '\0';) {
        size_t length = strcspn(at, " ,");
        uint32_t before = 0;
        for (const char *other = text; other < at;) {
            size_t other_length = strcspn(other, " ,");
            before += same_word(other, other_length, at, length);
            other += other_length + strspn(other + other_length, " ,");
        }
        size_t gap = strspn(at + length, " ,");
        if (length > JOINING_LETTERS && before >= repeats) {
            memmove(at, at + length + gap, strlen(at + length + gap) + 1);
            dropped = true;
        } else {
            at += length + gap;
        }
    }
    return dropped;
}

/* Single spaces, none at the ends, no comma left over there. */
static void tidy(char *text)
{
    size_t kept = 0;
    for (const char *at = text; *at != '\0'; at++) {
        bool is_space = *at == ' ' || *at == '\n' || *at == '\t' || *at == '\r';
        if (!is_space) {
            text[kept++] = *at;
        } else if (kept > 0 && text[kept - 1] != ' ') {
            text[kept++] = ' ';
        }
    }
    while (kept > 0 && strchr(" ,;:-", text[kept - 1]) != NULL) {
        kept--;
    }
    text[kept] = '\0';
    size_t start = strspn(text, " ,;:.-");
    memmove(text, text + start, kept - start + 1);
}

/* Whether the word at the end of a text leads on. */
static bool leads_on(const char *word, size_t length)
{
    static const char *const words[] = {
        "a",  "an",  "the", "and", "or",   "but",  "with", "for",  "of",   "to",   "in",
        "on", "at",  "by",  "as",  "from", "into", "that", "this", "your", "our",  "its",
        "is", "are", "be",  "it",  "you",  "who",  "when", "so",   "than", "very", "&",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (same_word(word, length, words[i], strlen(words[i]))) {
            return true;
        }
    }
    return false;
}

void cm_trim_dangling(char *text)
{
    size_t end = strlen(text);
    for (;;) {
        while (end > 0 && strchr(" ,;:-(\n", text[end - 1]) != NULL) {
            end--;
        }
        size_t word = end;
        while (word > 0 && text[word - 1] != ' ') {
            word--;
        }
        if (word == 0 || !leads_on(text + word, end - word)) {
            break; /* a text of one word stays */
        }
        end = word;
    }
    text[end] = '\0';
}

static size_t bytes_within(struct cm_span text, enum cm_channel_unit unit, uint32_t limit)
{
    size_t end = 0;
    for (size_t at = 0; at < text.length;) {
        size_t next = at + 1;
        while (next < text.length && ((unsigned char)text.data[next] & 0xC0) == 0x80) {
            next++;
        }
        if (cm_channel_measure(unit, (struct cm_span){ text.data, next }) > limit) {
            break;
        }
        end = next;
        at = next;
    }
    return end;
}

void cm_cut_value(char *text, enum cm_channel_unit unit, uint32_t limit, bool sentences)
{
    struct cm_span span = cm_span_of(text);
    if (limit == 0 || cm_channel_measure(unit, span) <= limit) {
        return;
    }
    size_t room = bytes_within(span, unit, limit);
    size_t sentence = 0;
    size_t word = 0;
    for (size_t at = 0; at < room; at++) {
        size_t end = cm_sentence_end_at(span, at);
        sentence = end > 0 && at + end <= room ? at + end : sentence;
        bool is_border = text[at] == ' ' || text[at] == '\n';
        word = is_border ? at : word;
    }
    if (text[room] == ' ' || text[room] == '\0' || (unsigned char)text[room] >= 0xE0) {
        word = room; /* the room ends between words, or in writing without spaces */
    }
    size_t end = sentences && 2 * sentence >= room ? sentence : word > 0 ? word : room;
    text[end] = '\0';
    cm_trim_dangling(text);
}

bool cm_clean_value(char *text, const struct cm_channel *channel,
                    const struct cm_channel_field *field, const struct cm_item *item)
{
    bool dropped = false;
    tidy(text);
    unwrap(text);
    if (channel->bans.brand) {
        dropped = drop_phrase(text, item->fields[CM_ITEM_BRAND]) || dropped;
    }
    dropped = drop_banned(text, channel) || dropped;
    for (size_t i = 0; i < channel->bans.words_count; i++) {
        dropped = drop_phrase(text, channel->bans.words[i]) || dropped;
    }
    if (channel->bans.capitals) {
        dropped = calm(text) || dropped;
    }
    dropped = drop_repeats(text, field->repeats) || dropped;
    tidy(text);
    return dropped;
}
