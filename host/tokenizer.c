#include "host/tokenizer.h"

#include "base/checked.h"
#include "base/memory.h"
#include "host/byte_alphabet.h"
#include "host/tokenizer_parts.h"

/* Bytes of one text. Far past any model's context; the limit keeps positions in 32 bits. */
enum { TEXT_BYTES_MAX = 64 << 20 };

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

static enum cm_status open_names(struct cm_tokenizer *tokenizer)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    enum cm_status status = cm_span_table_init(&tokenizer->names, data->n_tokens);
    for (uint32_t i = 0; i < data->n_tokens && status == CM_OK; i++) {
        cm_span_table_insert(&tokenizer->names, data->tokens[i], (int32_t)i);
    }
    return status;
}

/* Normal tokens are written in the byte alphabet, the others as the text they are. */
static enum cm_status open_bytes(struct cm_tokenizer *tokenizer)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    size_t store_bytes = 0;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        if (cm_size_add(store_bytes, data->tokens[i].length, &store_bytes)) {
            return CM_OUT_OF_MEMORY;
        }
    }
    tokenizer->bytes = cm_alloc(data->n_tokens, sizeof *tokenizer->bytes);
    tokenizer->bytes_store = cm_alloc(store_bytes, 1);
    if (tokenizer->bytes == NULL || tokenizer->bytes_store == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    char *next = tokenizer->bytes_store;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        if (data->kinds[i] == CM_TOKEN_NORMAL) {
            size_t length = cm_byte_alphabet_decode(data->tokens[i], next);
            tokenizer->bytes[i] = (struct cm_span){ next, length };
            next += length;
        } else if (data->kinds[i] != CM_TOKEN_CONTROL) {
            tokenizer->bytes[i] = data->tokens[i];
        }
    }
    return CM_OK;
}

enum cm_status cm_tokenizer_open(const struct cm_tokenizer_data *data,
                                 struct cm_tokenizer **tokenizer, struct cm_error *error)
{
    if (data->model != CM_TOKENIZER_BYTE_BPE) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "The model's tokenizer is not of the byte-level BPE kind, the only one "
                            "that is supported so far.");
    }
    struct cm_tokenizer *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer.");
    }
    opened->data = data;
    enum cm_status status = open_names(opened);
    if (status == CM_OK) {
        status = open_bytes(opened);
    }
    if (status != CM_OK) {
        cm_error_set(error, status, "No memory for the tokenizer's vocabulary.");
        goto failed;
    }
    status = cm_word_pattern_open(data->pre_tokenizer, &opened->pattern, error);
    if (status != CM_OK) {
        goto failed;
    }
    status = cm_byte_bpe_open(data, &opened->names, opened->bytes, &opened->bpe, error);
    if (status != CM_OK) {
        goto failed;
    }
    cm_chat_recognise(opened);
    *tokenizer = opened;
    return CM_OK;

failed:
    cm_tokenizer_close(opened);
    return status;
}

void cm_tokenizer_close(struct cm_tokenizer *tokenizer)
{
    if (tokenizer != NULL) {
        cm_byte_bpe_close(tokenizer->bpe);
        cm_word_pattern_close(tokenizer->pattern);
        cm_free(tokenizer->bytes_store);
        cm_free(tokenizer->bytes);
        cm_span_table_deinit(&tokenizer->names);
        cm_free(tokenizer);
    }
}

uint32_t cm_tokenizer_size(const struct cm_tokenizer *tokenizer)
{
    return tokenizer->data->n_tokens;
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

enum cm_status cm_tokenizer_encode(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                   struct cm_token_list *list, struct cm_error *error)
{
    if (text.length > TEXT_BYTES_MAX) {
        return cm_error_set(error, CM_LIMIT,
                            "A text of %zu bytes is over the %d that can be tokenised at once.",
                            text.length, TEXT_BYTES_MAX);
    }
    size_t count_before = list->count;
    struct cm_word_cursor cursor;
    enum cm_status status = cm_word_cursor_init(&cursor, tokenizer->pattern, text);
    struct cm_span word;
    while (status == CM_OK && cm_word_cursor_next(&cursor, &word)) {
        status = cm_byte_bpe_encode(tokenizer->bpe, word, list);
    }
    cm_word_cursor_deinit(&cursor);
    if (status != CM_OK) {
        list->count = count_before;
        return cm_error_set(error, status, "No memory to tokenise a text of %zu bytes.",
                            text.length);
    }
    return CM_OK;
}
