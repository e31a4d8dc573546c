/* The vocabulary of a tokenizer.json: tokens, merges or scores, and the tokens added to them. */
#include "loaders/model_config.h"
#include "loaders/tokenizer_json_parts.h"

#include <inttypes.h>
#include <string.h>

enum { BYTES_COUNT = 256, BYTE_NAME_LENGTH = 6 };

/* --- Vocabulary --- */

static enum cm_status set_new_token(struct cm_tokenizer_reader *reader, uint32_t id,
                                    struct cm_span token)
{
    if (reader->file->kinds[id] != CM_TOKEN_UNUSED) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: model.vocab gives id %" PRIu32 " to two tokens", reader->path, id);
    }
    return cm_tokenizer_storage_set(reader->file, id, token, reader->path, "model.vocab",
                                    reader->error);
}

static enum cm_status read_bpe_vocabulary(struct cm_tokenizer_reader *reader,
                                          const json_t *vocabulary)
{
    const char *token;
    json_t *value;
    if (!json_is_object(vocabulary)) {
        return cm_tokenizer_json_invalid(reader, "model.vocab is missing or no object");
    }
    json_object_foreach((json_t *)vocabulary, token, value)
    {
        enum cm_status status = cm_tokenizer_json_check_id(reader, value, token);
        if (status == CM_OK) {
            status = set_new_token(reader, (uint32_t)json_integer_value(value), cm_span_of(token));
        }
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

/* A list of [token, score]; the place in it is the id. */
static enum cm_status read_unigram_vocabulary(struct cm_tokenizer_reader *reader,
                                              const json_t *vocabulary)
{
    struct cm_tokenizer_file *file = reader->file;
    size_t count = json_array_size(vocabulary);
    if (!json_is_array(vocabulary) || count > file->data.n_tokens) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: model.vocab is no list of at most %" PRIu32
                            " tokens, the vocabulary size of config.json",
                            reader->path, file->data.n_tokens);
    }
    for (uint32_t id = 0; id < count; id++) {
        const json_t *pair = json_array_get(vocabulary, id);
        const json_t *score = json_array_get(pair, 1);
        double number = json_number_value(score);
        if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0)) ||
            !json_is_number(score) || !(number > -1e30 && number < 1e30)) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: model.vocab[%" PRIu32
                                "] is no pair of a token and its finite score",
                                reader->path, id);
        }
        enum cm_status status = set_new_token(reader, id, cm_json_span(json_array_get(pair, 0)));
        if (status != CM_OK) {
            return status;
        }
        file->scores[id] = (float)number;
    }
    return CM_OK;
}

/* "a b" in older files, ["a", "b"] in newer ones. */
static enum cm_status read_merges(struct cm_tokenizer_reader *reader, const json_t *merges)
{
    struct cm_tokenizer_file *file = reader->file;
    if (!json_is_array(merges)) {
        return cm_tokenizer_json_invalid(reader, "model.merges is missing or no array");
    }
    enum cm_status status =
        cm_tokenizer_storage_merges(file, json_array_size(merges), reader->path, reader->error);
    for (uint32_t i = 0; i < file->data.n_merges && status == CM_OK; i++) {
        const json_t *merge = json_array_get(merges, i);
        if (json_is_array(merge)) {
            /* A third element makes the pair invalid, a missing one is the empty span. */
            bool pair = json_array_size(merge) == 2;
            struct cm_span left = cm_json_span(json_array_get(merge, 0));
            struct cm_span right = cm_json_span(pair ? json_array_get(merge, 1) : NULL);
            status =
                cm_tokenizer_storage_set_merge(file, i, left, right, reader->path, reader->error);
        } else {
            status = cm_tokenizer_storage_split_merge(file, i, cm_json_span(merge), reader->path,
                                                      reader->error);
        }
    }
    return status;
}

/* --- Added tokens --- */

/* "<|fim_prefix|>": a marker, though some files do not call it special. */
static bool looks_like_marker(struct cm_span name)
{
    return name.length > 4 && memcmp(name.data, "<|", 2) == 0 &&
           memcmp(name.data + name.length - 2, "|>", 2) == 0;
}

/* A token that is text is found wherever it stands; files can ask for more. */
static enum cm_status check_user_defined(const struct cm_tokenizer_reader *reader,
                                         const json_t *added, struct cm_span content)
{
    static const char *const flags[] = { "single_word", "lstrip", "rstrip" };
    const struct cm_tokenizer_data *data = &reader->file->data;
    bool is_asked = false;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        is_asked |= json_is_true(json_object_get(added, flags[i]));
    }
    bool is_changed = data->normalize_nfc || data->space_prefix == CM_SPACE_PREFIX_PARTS ||
                      memchr(content.data, ' ', content.length) != NULL;
    if (json_is_true(json_object_get(added, "normalized")) && is_changed &&
        data->model != CM_TOKENIZER_BYTE_BPE) {
        is_asked = true;
    }
    if (!is_asked) {
        return CM_OK;
    }
    return cm_error_set(reader->error, CM_UNSUPPORTED,
                        "%s: the added token \"%.*s\" is to be found in text with single_word, "
                        "lstrip, rstrip or normalized, which is not supported",
                        reader->path, (int)(content.length < 64 ? content.length : 64),
                        content.data);
}

static enum cm_status read_added_token(struct cm_tokenizer_reader *reader, const json_t *added)
{
    struct cm_tokenizer_file *file = reader->file;
    struct cm_span content = cm_json_span(json_object_get(added, "content"));
    const json_t *value = json_object_get(added, "id");
    if (content.length == 0) {
        return cm_tokenizer_json_invalid(reader, "an element of added_tokens has no content");
    }
    enum cm_status status = cm_tokenizer_json_check_id(reader, value, content.data);
    if (status != CM_OK) {
        return status;
    }
    uint32_t id = (uint32_t)json_integer_value(value);
    if (file->kinds[id] != CM_TOKEN_UNUSED && !cm_span_equal(file->tokens[id], content)) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: added_tokens gives id %" PRIu32 " to another token than vocab",
                            reader->path, id);
    }
    status =
        cm_tokenizer_storage_set(file, id, content, reader->path, "added_tokens", reader->error);
    if (status != CM_OK) {
        return status;
    }
    if (json_is_true(json_object_get(added, "special")) || looks_like_marker(content)) {
        file->kinds[id] = CM_TOKEN_CONTROL;
        return CM_OK;
    }
    file->kinds[id] = CM_TOKEN_USER_DEFINED;
    return check_user_defined(reader, added, content);
}

static enum cm_status read_added_tokens(struct cm_tokenizer_reader *reader, const json_t *tokens)
{
    if (tokens != NULL && !json_is_array(tokens)) {
        return cm_tokenizer_json_invalid(reader, "added_tokens is no array");
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < json_array_size(tokens) && status == CM_OK; i++) {
        status = read_added_token(reader, json_array_get(tokens, i));
    }
    return status;
}

/* --- Byte fall-back --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of a token named like <0x41>, or -1. */
static int byte_of_name(struct cm_span name)
{
    if (name.length != BYTE_NAME_LENGTH || memcmp(name.data, "<0x", 3) != 0 ||
        name.data[5] != '>') {
        return -1;
    }
    int high = hex_digit(name.data[3]);
    int low = hex_digit(name.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Text that the vocabulary lacks is written in bytes: all of them must be there. */
static enum cm_status mark_bytes(struct cm_tokenizer_reader *reader)
{
    struct cm_tokenizer_file *file = reader->file;
    bool is_there[BYTES_COUNT] = { false };
    for (uint32_t id = 0; id < file->data.n_tokens; id++) {
        int byte = byte_of_name(file->tokens[id]);
        if (byte >= 0 && file->kinds[id] == CM_TOKEN_NORMAL) {
            file->kinds[id] = CM_TOKEN_BYTE;
            is_there[byte] = true;
        }
    }
    for (int byte = 0; byte < BYTES_COUNT; byte++) {
        if (!is_there[byte]) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: model.byte_fallback is true, but model.vocab has no token "
                                "<0x%02X>",
                                reader->path, (unsigned)byte);
        }
    }
    return CM_OK;
}

/* The unknown token: by name in BPE, by number in unigram. It is no marker, although files add it
 * as a special token. */
static enum cm_status read_unknown(struct cm_tokenizer_reader *reader, const json_t *model)
{
    struct cm_tokenizer_file *file = reader->file;
    struct cm_tokenizer_data *data = &file->data;
    const json_t *id = cm_json_get(model, "unk_id");
    if (data->model == CM_TOKENIZER_UNIGRAM && id != NULL) {
        enum cm_status status = cm_tokenizer_json_check_id(reader, id, "unk_id");
        if (status != CM_OK) {
            return status;
        }
        data->unknown = (int32_t)json_integer_value(id);
    } else {
        data->unknown =
            cm_tokenizer_json_find(file, cm_json_span(json_object_get(model, "unk_token")));
    }
    if (data->model != CM_TOKENIZER_BYTE_BPE && data->unknown >= 0) {
        file->kinds[data->unknown] = CM_TOKEN_UNKNOWN;
    }
    return CM_OK;
}

/* --- The model --- */

static bool absent_or_empty(const json_t *object, const char *key)
{
    return cm_json_get(object, key) == NULL || (json_is_string(cm_json_get(object, key)) &&
                                                cm_json_span(cm_json_get(object, key)).length == 0);
}

static enum cm_status check_bpe(const struct cm_tokenizer_reader *reader, const json_t *model)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    bool has_bytes = json_is_true(json_object_get(model, "byte_fallback"));
    data->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    if (!absent_or_empty(model, "continuing_subword_prefix") ||
        !absent_or_empty(model, "end_of_word_suffix")) {
        return cm_tokenizer_json_unsupported(reader,
                                             "word prefixes and suffixes in model are not known");
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0) {
        return cm_tokenizer_json_unsupported(reader, "model.dropout is not 0: a text would have "
                                                     "other tokens every time");
    }
    if (data->model == CM_TOKENIZER_BYTE_BPE && has_bytes) {
        return cm_tokenizer_json_unsupported(reader, "model.byte_fallback with a ByteLevel "
                                                     "pre_tokenizer is not known");
    }
    if (data->model == CM_TOKENIZER_SENTENCEPIECE && (!has_bytes || data->ignore_merges)) {
        return cm_tokenizer_json_unsupported(reader, "a model of the kind of SentencePiece is only "
                                                     "known with byte_fallback and without "
                                                     "ignore_merges");
    }
    return CM_OK;
}

static enum cm_status check_model(const struct cm_tokenizer_reader *reader, const json_t *model)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    if (cm_tokenizer_json_is(model, "BPE")) {
        return check_bpe(reader, model);
    }
    if (cm_tokenizer_json_is(model, "Unigram") && data->model == CM_TOKENIZER_SENTENCEPIECE) {
        data->model = CM_TOKENIZER_UNIGRAM;
        return CM_OK;
    }
    return cm_tokenizer_json_unsupported(reader, "model.type is neither BPE nor, without a "
                                                 "ByteLevel pre_tokenizer, Unigram");
}

enum cm_status cm_tokenizer_json_read_model(struct cm_tokenizer_reader *reader,
                                            const json_t *document, uint32_t n_vocab)
{
    const json_t *model = json_object_get(document, "model");
    const json_t *vocabulary = json_object_get(model, "vocab");
    enum cm_status status = check_model(reader, model);
    bool is_unigram = reader->file->data.model == CM_TOKENIZER_UNIGRAM;
    if (status == CM_OK) {
        status = cm_tokenizer_storage_tokens(reader->file, n_vocab, is_unigram, reader->path,
                                             reader->error);
    }
    if (status == CM_OK) {
        status = is_unigram ? read_unigram_vocabulary(reader, vocabulary)
                            : read_bpe_vocabulary(reader, vocabulary);
    }
    if (status == CM_OK) {
        status = read_added_tokens(reader, cm_json_get(document, "added_tokens"));
    }
    if (status == CM_OK && json_is_true(json_object_get(model, "byte_fallback"))) {
        status = mark_bytes(reader);
    }
    if (status == CM_OK && !is_unigram) {
        status = read_merges(reader, json_object_get(model, "merges"));
    }
    return status == CM_OK ? read_unknown(reader, model) : status;
}
