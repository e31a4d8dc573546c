#include "host/wordpiece.h"

#include "base/memory.h"

#include <string.h>

#include <utf8proc.h>

enum {
    WORD_BYTES_MAX = 4 * CM_WORDPIECE_WORD_MAX,
    DECOMPOSED_MAX = 32, /* characters that one decomposes into: 4 at most today */
};

struct encoding {
    const struct cm_tokenizer_data *data;
    const struct cm_wordpiece_rules *rules;
    const struct cm_span_table *names;
    struct cm_token_list *list;
    char word[WORD_BYTES_MAX]; /* in hand */
    size_t word_bytes;
    size_t word_characters; /* may be more than `word` holds: then it is unknown */
};

/* --- Pieces --- */

static int32_t find_piece(const struct encoding *encoding, size_t begin, size_t end)
{
    char key[CM_WORDPIECE_PREFIX_BYTES + WORD_BYTES_MAX];
    size_t prefix = begin == 0 ? 0 : strlen(encoding->rules->prefix);
    memcpy(key, encoding->rules->prefix, prefix);
    memcpy(key + prefix, encoding->word + begin, end - begin);
    return cm_span_table_find(encoding->names, (struct cm_span){ key, prefix + end - begin });
}

static bool is_inside(const struct encoding *encoding, size_t at)
{
    return at < encoding->word_bytes && ((unsigned char)encoding->word[at] & 0xC0) == 0x80;
}

/* The word in hand as its pieces, or as the unknown token where a part of it is in no piece. */
static enum cm_status finish_word(struct encoding *encoding)
{
    size_t count_before = encoding->list->count;
    bool unknown = encoding->word_characters > encoding->rules->word_characters_max;
    enum cm_status status = CM_OK;
    for (size_t begin = 0; !unknown && status == CM_OK && begin < encoding->word_bytes;) {
        size_t end = encoding->word_bytes;
        int32_t id = find_piece(encoding, begin, end);
        while (id < 0 && end > begin) {
            do {
                end--;
            } while (is_inside(encoding, end));
            id = end > begin ? find_piece(encoding, begin, end) : -1;
        }
        unknown = id < 0;
        if (!unknown) {
            status = cm_token_list_append(encoding->list, id);
        }
        begin = end;
    }
    if (unknown) {
        encoding->list->count = count_before;
        status = cm_token_list_append(encoding->list, encoding->data->unknown);
    }
    encoding->word_bytes = 0;
    encoding->word_characters = 0;
    return status;
}

static void add_to_word(struct encoding *encoding, utf8proc_int32_t character)
{
    if (encoding->word_characters++ < encoding->rules->word_characters_max) {
        encoding->word_bytes += (size_t)utf8proc_encode_char(
            character, (utf8proc_uint8_t *)encoding->word + encoding->word_bytes);
    }
}

/* --- Characters --- */

static bool is_space(utf8proc_int32_t character)
{
    utf8proc_category_t category = utf8proc_category(character);
    return (character >= '\t' && character <= '\r') || character == 0x85 ||
           category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static bool is_control(utf8proc_int32_t character)
{
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return character != '\t' && character != '\n' && character != '\r';
    default:
        return false;
    }
}

static bool is_punctuation(utf8proc_int32_t character)
{
    if (character < 0x80) {
        return (character >= '!' && character <= '/') || (character >= ':' && character <= '@') ||
               (character >= '[' && character <= '`') || (character >= '{' && character <= '~');
    }
    utf8proc_category_t category = utf8proc_category(character);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* The blocks that BERT cut apart, one of which (2B920) is misspelled there and in all that follow.
 */
static bool is_ideograph(utf8proc_int32_t character)
{
    return (character >= 0x4E00 && character <= 0x9FFF) ||
           (character >= 0x3400 && character <= 0x4DBF) ||
           (character >= 0x20000 && character <= 0x2A6DF) ||
           (character >= 0x2A700 && character <= 0x2B73F) ||
           (character >= 0x2B740 && character <= 0x2B81F) ||
           (character >= 0x2B920 && character <= 0x2CEAF) ||
           (character >= 0xF900 && character <= 0xFAFF) ||
           (character >= 0x2F800 && character <= 0x2FA1F);
}

/* A character after cleaning: part of a word, or a word by itself, or the end of one. */
static enum cm_status take_character(struct encoding *encoding, utf8proc_int32_t character)
{
    enum cm_status status = CM_OK;
    if (is_space(character)) {
        return finish_word(encoding);
    }
    if (is_punctuation(character)) {
        status = finish_word(encoding);
        add_to_word(encoding, character);
        return status == CM_OK ? finish_word(encoding) : status;
    }
    add_to_word(encoding, character);
    return status;
}

/* Accents and case go, as the rules say. */
static enum cm_status take_plain(struct encoding *encoding, utf8proc_int32_t character)
{
    utf8proc_int32_t parts[DECOMPOSED_MAX] = { character };
    utf8proc_ssize_t count = 1;
    enum cm_status status = CM_OK;
    if (encoding->rules->strip_accents) {
        int class = 0;
        count =
            utf8proc_decompose_char(character, parts, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, &class);
    }
    for (utf8proc_ssize_t i = 0; status == CM_OK && i < count; i++) {
        if (encoding->rules->strip_accents && utf8proc_category(parts[i]) == UTF8PROC_CATEGORY_MN) {
            continue;
        }
        status = take_character(encoding,
                                encoding->rules->lowercase ? utf8proc_tolower(parts[i]) : parts[i]);
    }
    return status;
}

static enum cm_status take(struct encoding *encoding, utf8proc_int32_t character)
{
    const struct cm_wordpiece_rules *rules = encoding->rules;
    if (rules->clean_text) {
        if (character == 0 || character == 0xFFFD || is_control(character)) {
            return CM_OK;
        }
        character = is_space(character) ? ' ' : character;
    }
    if (!rules->split_ideographs || !is_ideograph(character)) {
        return take_plain(encoding, character);
    }
    enum cm_status status = finish_word(encoding);
    if (status == CM_OK) {
        status = take_plain(encoding, character);
    }
    return status == CM_OK ? finish_word(encoding) : status;
}

enum cm_status cm_wordpiece_encode(const struct cm_tokenizer_data *data,
                                   const struct cm_span_table *names, struct cm_span text,
                                   struct cm_token_list *list)
{
    struct encoding encoding = {
        .data = data,
        .rules = &data->wordpiece,
        .names = names,
        .list = list,
    };
    enum cm_status status = CM_OK;
    for (size_t at = 0; status == CM_OK && at < text.length;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                                  (utf8proc_ssize_t)(text.length - at), &character);
        at += bytes > 0 ? (size_t)bytes : 1;
        if (bytes > 0) {
            status = take(&encoding, character);
        }
    }
    return status == CM_OK ? finish_word(&encoding) : status;
}
