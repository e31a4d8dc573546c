/* WordPiece vocabularies (BERT): out of a tokenizer.json, or the older vocab.txt with one token a
 * line, whose place is the id. */
#include "loaders/tokenizer_json_parts.h"

#include "loaders/file_map.h"

#include <inttypes.h>
#include <string.h>

enum { WORD_CHARACTERS_MAX = 100 };

static bool is_true(const json_t *object, const char *key, bool absent)
{
    const json_t *value = cm_json_get(object, key);
    return value == NULL ? absent : json_is_true(value);
}

/* --- tokenizer.json --- */

static enum cm_status read_rules(struct cm_tokenizer_reader *reader, const json_t *document)
{
    struct cm_wordpiece_rules *rules = &reader->file->data.wordpiece;
    const json_t *normalizer = cm_json_get(document, "normalizer");
    const json_t *model = json_object_get(document, "model");
    struct cm_span prefix = cm_json_span(json_object_get(model, "continuing_subword_prefix"));
    if (!cm_tokenizer_json_is(normalizer, "BertNormalizer") ||
        !cm_tokenizer_json_is(cm_json_get(document, "pre_tokenizer"), "BertPreTokenizer")) {
        return cm_tokenizer_json_unsupported(
            reader, "a WordPiece model is only known with BertNormalizer and BertPreTokenizer");
    }
    if (prefix.length >= sizeof rules->prefix) {
        return cm_tokenizer_json_invalid(reader, "model.continuing_subword_prefix is too long");
    }
    memcpy(rules->prefix, prefix.data, prefix.length);
    rules->clean_text = is_true(normalizer, "clean_text", true);
    rules->split_ideographs = is_true(normalizer, "handle_chinese_chars", true);
    rules->lowercase = is_true(normalizer, "lowercase", true);
    rules->strip_accents = is_true(normalizer, "strip_accents", rules->lowercase);
    rules->word_characters_max = WORD_CHARACTERS_MAX;
    if (cm_json_get(model, "max_input_chars_per_word") == NULL) {
        return CM_OK;
    }
    return cm_json_uint(model, reader->path, "max_input_chars_per_word", 1, CM_WORDPIECE_WORD_MAX,
                        &rules->word_characters_max, reader->error);
}

static enum cm_status read_tokens(struct cm_tokenizer_reader *reader, const json_t *vocabulary)
{
    const char *token;
    json_t *id;
    enum cm_status status = CM_OK;
    if (!json_is_object(vocabulary)) {
        return cm_tokenizer_json_invalid(reader, "model.vocab is missing or no object");
    }
    json_object_foreach((json_t *)vocabulary, token, id)
    {
        status = cm_tokenizer_json_check_id(reader, id, token);
        if (status == CM_OK) {
            status = cm_tokenizer_storage_set(reader->file, (uint32_t)json_integer_value(id),
                                              cm_span_of(token), reader->path, "model.vocab",
                                              reader->error);
        }
        if (status != CM_OK) {
            break;
        }
    }
    return status;
}

/* Texts never make these: [CLS], [SEP], [PAD] ... */
static void mark_control(struct cm_tokenizer_file *file)
{
    static const char *const names[] = { "[CLS]", "[SEP]", "[PAD]", "[MASK]" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = cm_tokenizer_json_find(file, cm_span_of(names[i]));
        if (id >= 0) {
            file->kinds[id] = CM_TOKEN_CONTROL;
        }
    }
}

static enum cm_status finish(struct cm_tokenizer_reader *reader, struct cm_span unknown)
{
    struct cm_tokenizer_file *file = reader->file;
    file->data.model = CM_TOKENIZER_WORDPIECE;
    file->data.pre_tokenizer = CM_PRE_NONE;
    file->data.unknown = cm_tokenizer_json_find(file, unknown);
    if (file->data.unknown < 0) {
        return cm_tokenizer_json_invalid(reader, "the vocabulary has no token for unknown words");
    }
    file->kinds[file->data.unknown] = CM_TOKEN_UNKNOWN;
    mark_control(file);
    return CM_OK;
}

enum cm_status cm_tokenizer_json_read_wordpiece(struct cm_tokenizer_reader *reader,
                                                const json_t *document, uint32_t n_vocab)
{
    const json_t *model = json_object_get(document, "model");
    enum cm_status status = read_rules(reader, document);
    if (status == CM_OK) {
        status =
            cm_tokenizer_storage_tokens(reader->file, n_vocab, false, reader->path, reader->error);
    }
    if (status == CM_OK) {
        status = read_tokens(reader, json_object_get(model, "vocab"));
    }
    return status == CM_OK ? finish(reader, cm_json_span(json_object_get(model, "unk_token")))
                           : status;
}

/* --- vocab.txt --- */

/* As a JSON object, which the tokenizer file can keep as it keeps the others. */
static enum cm_status parse_lines(struct cm_tokenizer_reader *reader, struct cm_span text,
                                  json_t *vocabulary)
{
    json_int_t id = 0;
    for (size_t at = 0; at < text.length; id++) {
        const char *end = memchr(text.data + at, '\n', text.length - at);
        size_t length = end == NULL ? text.length - at : (size_t)(end - text.data) - at;
        size_t used = length > 0 && text.data[at + length - 1] == '\r' ? length - 1 : length;
        json_t *number = json_integer(id);
        if (json_object_setn_new(vocabulary, text.data + at, used, number) != 0) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s:%" JSON_INTEGER_FORMAT ": the token is not valid UTF-8",
                                reader->path, id + 1);
        }
        at += length + 1;
    }
    return CM_OK;
}

enum cm_status cm_tokenizer_read_vocab_txt(struct cm_tokenizer_reader *reader, const json_t *config,
                                           json_t *vocabulary, uint32_t n_vocab)
{
    struct cm_wordpiece_rules *rules = &reader->file->data.wordpiece;
    struct cm_tokenizer_data *data = &reader->file->data;
    struct cm_file_map *map = NULL;
    enum cm_status status = cm_file_map_open(reader->path, &map, reader->error);
    if (status == CM_OK) {
        struct cm_span text = { (const char *)cm_file_map_data(map), cm_file_map_bytes(map) };
        status = parse_lines(reader, text, vocabulary);
    }
    cm_file_map_close(map);
    if (status == CM_OK) {
        status =
            cm_tokenizer_storage_tokens(reader->file, n_vocab, false, reader->path, reader->error);
    }
    if (status == CM_OK) {
        status = read_tokens(reader, vocabulary);
    }
    if (status != CM_OK) {
        return status;
    }
    *rules = (struct cm_wordpiece_rules){
        .clean_text = true,
        .split_ideographs = is_true(config, "tokenize_chinese_chars", true),
        .lowercase = is_true(config, "do_lower_case", true),
        .word_characters_max = WORD_CHARACTERS_MAX,
        .prefix = "##",
    };
    rules->strip_accents = is_true(config, "strip_accents", rules->lowercase);
    data->bos = cm_tokenizer_json_find(reader->file, cm_span_of("[CLS]"));
    data->add_bos = data->bos >= 0;
    data->closing = cm_tokenizer_json_find(reader->file, cm_span_of("[SEP]"));
    return finish(reader, cm_span_of("[UNK]"));
}
