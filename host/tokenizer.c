#include "host/tokenizer.h"

#include "base/checked.h"
#include "base/memory.h"
#include "host/byte_alphabet.h"
#include "host/compose.h"
#include "host/tokenizer_parts.h"
#include "host/wordpiece.h"

#include <string.h>

/* Bytes of one text. Far past any model's context; the limit keeps positions in 32 bits. */
enum { TEXT_BYTES_MAX = 64 << 20 };

#define REPLACEMENT_CHARACTER "\xEF\xBF\xBD"
#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

void cm_token_list_deinit(struct cm_token_list *list)
{
    cm_free(list->ids);
    *list = (struct cm_token_list){ 0 };
}

enum cm_status cm_token_list_append(struct cm_token_list *list, int32_t id)
{
    if (list->count == list->capacity) {
        void *block = list->ids;
        enum cm_status status =
            cm_grow(&block, &list->capacity, list->count + 1, sizeof *list->ids);
        list->ids = block;
        if (status != CM_OK) {
            return status;
        }
    }
    list->ids[list->count++] = id;
    return CM_OK;
}

static enum cm_status out_of_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer's vocabulary.");
}

static enum cm_status open_names(struct cm_tokenizer *tokenizer, struct cm_error *error)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    if (cm_span_table_init(&tokenizer->names, data->n_tokens) != CM_OK) {
        return out_of_memory(error);
    }
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        cm_span_table_insert(&tokenizer->names, data->tokens[i], (int32_t)i);
    }
    return CM_OK;
}

/* Byte level: normal tokens are written in the byte alphabet, the others as the text they are. */
static enum cm_status token_bytes(const struct cm_tokenizer_data *data, uint32_t id, char *store,
                                  struct cm_span *bytes)
{
    struct cm_span name = data->tokens[id];
    enum cm_token_kind kind = data->kinds[id];
    *bytes = (struct cm_span){ store, 0 };
    if (data->model == CM_TOKENIZER_WORDPIECE) {
        *bytes = kind == CM_TOKEN_CONTROL ? *bytes : name;
        return CM_OK;
    }
    if (data->model != CM_TOKENIZER_BYTE_BPE) {
        if (kind == CM_TOKEN_UNKNOWN) {
            *bytes = cm_span_of(REPLACEMENT_CHARACTER);
            return CM_OK;
        }
        return cm_sentencepiece_token_bytes(kind, name, store, &bytes->length);
    }
    if (kind == CM_TOKEN_NORMAL) {
        bytes->length = cm_byte_alphabet_decode(name, store);
    } else if (kind != CM_TOKEN_CONTROL) {
        *bytes = name;
    }
    return CM_OK;
}

static enum cm_status open_bytes(struct cm_tokenizer *tokenizer, struct cm_error *error)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    size_t store_bytes = 0;
    bool is_too_large = false;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        is_too_large |= cm_size_add(store_bytes, data->tokens[i].length, &store_bytes);
    }
    if (!is_too_large) {
        tokenizer->bytes = cm_alloc(data->n_tokens, sizeof *tokenizer->bytes);
        tokenizer->bytes_store = cm_alloc(store_bytes, 1);
    }
    if (tokenizer->bytes == NULL || tokenizer->bytes_store == NULL) {
        return out_of_memory(error);
    }
    char *next = tokenizer->bytes_store;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        struct cm_span name = data->tokens[i];
        if (token_bytes(data, i, next, &tokenizer->bytes[i]) != CM_OK) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "Token %u of the tokenizer is marked as that of a byte, but its "
                                "name is \"%.*s\"; expected the like of <0x41>.",
                                i, (int)(name.length < 64 ? name.length : 64), name.data);
        }
        next += name.length;
    }
    return CM_OK;
}

/* Opens what cuts a text and joins the parts. */
static enum cm_status open_model(struct cm_tokenizer *tokenizer, struct cm_error *error)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    if (cm_text_parts_init(&tokenizer->parts, data) != CM_OK) {
        return out_of_memory(error);
    }
    if (data->model == CM_TOKENIZER_WORDPIECE) {
        return data->unknown >= 0
                   ? CM_OK
                   : cm_error_set(error, CM_INVALID_DATA,
                                  "The WordPiece vocabulary has no token for unknown words.");
    }
    if (data->model != CM_TOKENIZER_BYTE_BPE) {
        return cm_sentencepiece_open(data, &tokenizer->names, tokenizer->bytes,
                                     &tokenizer->sentencepiece, error);
    }
    enum cm_status status = cm_word_pattern_open(data->pre_tokenizer, &tokenizer->pattern, error);
    return status == CM_OK
               ? cm_byte_bpe_open(data, &tokenizer->names, tokenizer->bytes, &tokenizer->bpe, error)
               : status;
}

enum cm_status cm_tokenizer_open(const struct cm_tokenizer_data *data,
                                 struct cm_tokenizer **tokenizer, struct cm_error *error)
{
    struct cm_tokenizer *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer.");
    }
    opened->data = data;
    enum cm_status status = open_names(opened, error);
    if (status == CM_OK) {
        status = open_bytes(opened, error);
    }
    if (status == CM_OK) {
        status = open_model(opened, error);
    }
    if (status != CM_OK) {
        cm_tokenizer_close(opened);
        return status;
    }
    cm_chat_recognise(opened);
    *tokenizer = opened;
    return CM_OK;
}

void cm_tokenizer_close(struct cm_tokenizer *tokenizer)
{
    if (tokenizer != NULL) {
        cm_sentencepiece_close(tokenizer->sentencepiece);
        cm_byte_bpe_close(tokenizer->bpe);
        cm_word_pattern_close(tokenizer->pattern);
        cm_free(tokenizer->bytes_store);
        cm_free(tokenizer->bytes);
        cm_text_parts_deinit(&tokenizer->parts);
        cm_span_table_deinit(&tokenizer->names);
        cm_free(tokenizer);
    }
}

uint32_t cm_tokenizer_size(const struct cm_tokenizer *tokenizer)
{
    return tokenizer->data->n_tokens;
}

uint32_t cm_tokenizer_stops_count(const struct cm_tokenizer *tokenizer)
{
    return tokenizer->data->n_stop;
}

bool cm_tokenizer_is_stop(const struct cm_tokenizer *tokenizer, int32_t token)
{
    for (uint32_t i = 0; i < tokenizer->data->n_stop; i++) {
        if (tokenizer->data->stop[i] == token) {
            return true;
        }
    }
    return false;
}

int32_t cm_tokenizer_find(const struct cm_tokenizer *tokenizer, const char *name)
{
    return cm_span_table_find(&tokenizer->names, cm_span_of(name));
}

static enum cm_status encode_words(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                   struct cm_token_list *list)
{
    struct cm_word_cursor cursor;
    struct cm_span word;
    enum cm_status status = cm_word_cursor_init(&cursor, tokenizer->pattern, text);
    while (status == CM_OK && cm_word_cursor_next(&cursor, &word)) {
        status = cm_byte_bpe_encode(tokenizer->bpe, word, list);
    }
    cm_word_cursor_deinit(&cursor);
    return status;
}

static bool begins_with(struct cm_span text, const char *start)
{
    struct cm_span wanted = cm_span_of(start);
    return text.length >= wanted.length && memcmp(text.data, wanted.data, wanted.length) == 0;
}

/* Whether a space goes before a part of a text. */
static bool wants_space(const struct cm_tokenizer *tokenizer, struct cm_span part, bool is_first)
{
    bool has_space = begins_with(part, " ") ||
                     (tokenizer->sentencepiece != NULL && begins_with(part, SPACE_MARK));
    switch (tokenizer->data->space_prefix) {
    case CM_SPACE_PREFIX_NONE:
        return false;
    case CM_SPACE_PREFIX_TEXT:
        return is_first;
    case CM_SPACE_PREFIX_PARTS:
        return part.length > 0;
    case CM_SPACE_PREFIX_TEXT_MISSING:
        return is_first && part.length > 0 && !has_space;
    case CM_SPACE_PREFIX_PARTS_MISSING:
        return part.length > 0 && !has_space;
    }
    return false;
}

/* `changed` is scratch for a part that is not taken as it is. */
static enum cm_status encode_part(const struct cm_tokenizer *tokenizer, struct cm_span part,
                                  bool is_first, struct cm_text *changed,
                                  struct cm_token_list *list)
{
    bool with_space = wants_space(tokenizer, part, is_first);
    enum cm_status status = CM_OK;
    if (with_space || tokenizer->data->normalize_nfc) {
        cm_text_clear(changed);
        status = cm_text_append_string(changed, with_space ? " " : "");
        if (status == CM_OK) {
            status = tokenizer->data->normalize_nfc ? cm_compose(part, changed)
                                                    : cm_text_append_span(changed, part);
        }
        part = cm_text_span(changed);
    }
    if (status != CM_OK) {
        return status;
    }
    return tokenizer->sentencepiece != NULL
               ? cm_sentencepiece_encode(tokenizer->sentencepiece, part, list)
               : encode_words(tokenizer, part, list);
}

static enum cm_status encode(const struct cm_tokenizer *tokenizer, struct cm_span text,
                             struct cm_token_list *list)
{
    struct cm_text changed = CM_TEXT_INIT(SIZE_MAX / 2);
    enum cm_status status = CM_OK;
    if (tokenizer->data->model == CM_TOKENIZER_WORDPIECE) {
        return cm_wordpiece_encode(tokenizer->data, &tokenizer->names, text, list);
    }
    for (bool is_first = true; text.length > 0 && status == CM_OK; is_first = false) {
        struct cm_text_part part = cm_text_parts_take(&tokenizer->parts, &text);
        status = encode_part(tokenizer, part.text, is_first, &changed, list);
        if (status == CM_OK && part.token >= 0) {
            status = cm_token_list_append(list, part.token);
        }
    }
    cm_text_deinit(&changed);
    return status;
}

enum cm_status cm_tokenizer_encode(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                   struct cm_token_list *list, struct cm_error *error)
{
    if (text.length > TEXT_BYTES_MAX) {
        return cm_error_set(error, CM_LIMIT,
                            "A text of %zu bytes is over the %d that can be tokenised at once.",
                            text.length, TEXT_BYTES_MAX);
    }
    size_t count_before = list->count;
    enum cm_status status = encode(tokenizer, text, list);
    if (status != CM_OK) {
        list->count = count_before;
        return cm_error_set(error, status, "No memory to tokenise a text of %zu bytes.",
                            text.length);
    }
    return CM_OK;
}
