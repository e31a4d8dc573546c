#include "base/memory.h"
#include "loaders/folder.h"
#include "loaders/json_file.h"
#include "loaders/model_config.h"
#include "loaders/tokenizer_file.h"
#include "loaders/tokenizer_storage.h"

#include <inttypes.h>
#include <string.h>

enum { DOCUMENTS_MAX = 4, PROCESSORS_MAX = 16 };

/* The patterns of pre-tokenizers of the kind Split that the tokenizer knows, as files spell them.
 */
static const char LLAMA3_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char QWEN2_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct reader {
    struct cm_tokenizer_file *file;
    const char *folder;
    char path[CM_PATH_BYTES_MAX]; /* of the file being read */
    struct cm_error *error;
};

static enum cm_status unsupported(const struct reader *reader, const char *what)
{
    return cm_error_set(reader->error, CM_UNSUPPORTED, "%s: %s", reader->path, what);
}

static enum cm_status invalid(const struct reader *reader, const char *what)
{
    return cm_error_set(reader->error, CM_INVALID_DATA, "%s: %s", reader->path, what);
}

/* Parses a file of the folder; the tokenizer file keeps the document. NULL where it is absent. */
static enum cm_status open_document(struct reader *reader, const char *name,
                                    enum cm_json_integers integers, const json_t **document)
{
    struct cm_tokenizer_file *file = reader->file;
    *document = NULL;
    enum cm_status status = cm_folder_path(reader->folder, name, reader->path, reader->error);
    if (status != CM_OK || !cm_path_exists(reader->path)) {
        return status;
    }
    CM_ASSERT(file->documents_count < DOCUMENTS_MAX);
    json_t *parsed;
    status = cm_json_open(reader->path, integers, &parsed, reader->error);
    if (status == CM_OK) {
        file->documents[file->documents_count++] = parsed;
        *document = parsed;
    }
    return status;
}

static bool has_type(const json_t *object, const char *type)
{
    return cm_span_equal_text(cm_json_span(json_object_get(object, "type")), type);
}

static int32_t find_token(const struct cm_tokenizer_file *file, struct cm_span name)
{
    for (uint32_t id = 0; id < file->data.n_tokens && name.length > 0; id++) {
        if (cm_span_equal(file->tokens[id], name)) {
            return (int32_t)id;
        }
    }
    return -1;
}

/* --- Pre-tokenizer --- */

static enum cm_status read_split(const struct reader *reader, const json_t *split,
                                 enum cm_pre_tokenizer *pre_tokenizer)
{
    struct cm_span pattern =
        cm_json_span(json_object_get(json_object_get(split, "pattern"), "Regex"));
    bool isolated =
        cm_span_equal_text(cm_json_span(json_object_get(split, "behavior")), "Isolated");
    bool inverted = json_is_true(json_object_get(split, "invert"));
    if (isolated && !inverted && cm_span_equal_text(pattern, LLAMA3_PATTERN)) {
        *pre_tokenizer = CM_PRE_LLAMA3;
        return CM_OK;
    }
    if (isolated && !inverted && cm_span_equal_text(pattern, QWEN2_PATTERN)) {
        *pre_tokenizer = CM_PRE_QWEN2;
        return CM_OK;
    }
    return unsupported(reader, "pre_tokenizer splits by a pattern other than those of Llama 3 and "
                               "Qwen 2");
}

/* The known shapes: ByteLevel with its own pattern; Digits one by one before that; Split with a
 * known pattern before ByteLevel without one. */
static enum cm_status read_pre_tokenizer(struct reader *reader, const json_t *pre)
{
    const json_t *steps = has_type(pre, "Sequence") ? json_object_get(pre, "pretokenizers") : NULL;
    size_t steps_count = json_array_size(steps);
    const json_t *first = steps_count == 2 ? json_array_get(steps, 0) : NULL;
    const json_t *last = steps_count > 0 ? json_array_get(steps, steps_count - 1) : pre;
    struct cm_tokenizer_data *data = &reader->file->data;
    if (!has_type(last, "ByteLevel") || steps_count > 2) {
        return unsupported(reader, "pre_tokenizer is not one of ByteLevel, Digits + ByteLevel and "
                                   "Split + ByteLevel");
    }
    bool own_pattern = !json_is_false(json_object_get(last, "use_regex"));
    data->add_space_prefix = json_is_true(json_object_get(last, "add_prefix_space"));
    if (first == NULL) {
        data->pre_tokenizer = own_pattern ? CM_PRE_GPT2 : CM_PRE_NONE;
        return CM_OK;
    }
    if (has_type(first, "Digits") && own_pattern &&
        json_is_true(json_object_get(first, "individual_digits"))) {
        data->pre_tokenizer = CM_PRE_SMOLLM;
        return CM_OK;
    }
    if (has_type(first, "Split") && !own_pattern) {
        return read_split(reader, first, &data->pre_tokenizer);
    }
    return unsupported(reader, "pre_tokenizer is an unknown combination");
}

/* --- Vocabulary and merges --- */

static enum cm_status check_id(const struct reader *reader, const json_t *id, const char *token)
{
    uint32_t n_tokens = reader->file->data.n_tokens;
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= (json_int_t)n_tokens) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: the id of token \"%.64s\" is no whole number below %" PRIu32
                            ", the vocabulary size of config.json",
                            reader->path, token, n_tokens);
    }
    return CM_OK;
}

static enum cm_status read_vocabulary(struct reader *reader, const json_t *vocabulary)
{
    const char *token;
    json_t *value;
    if (!json_is_object(vocabulary)) {
        return invalid(reader, "model.vocab is missing or no object");
    }
    json_object_foreach((json_t *)vocabulary, token, value)
    {
        enum cm_status status = check_id(reader, value, token);
        if (status != CM_OK) {
            return status;
        }
        uint32_t id = (uint32_t)json_integer_value(value);
        if (reader->file->kinds[id] != CM_TOKEN_UNUSED) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: model.vocab gives id %" PRIu32 " to two tokens", reader->path,
                                id);
        }
        status = cm_tokenizer_storage_set(reader->file, id, cm_span_of(token), reader->path,
                                          "model.vocab", reader->error);
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

static enum cm_status read_added_token(struct reader *reader, const json_t *added)
{
    struct cm_tokenizer_file *file = reader->file;
    struct cm_span content = cm_json_span(json_object_get(added, "content"));
    const json_t *value = json_object_get(added, "id");
    if (content.length == 0) {
        return invalid(reader, "an element of added_tokens has no content");
    }
    enum cm_status status = check_id(reader, value, content.data);
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
    if (status == CM_OK) {
        file->kinds[id] = json_is_true(json_object_get(added, "special")) ? CM_TOKEN_CONTROL
                                                                          : CM_TOKEN_USER_DEFINED;
    }
    return status;
}

static enum cm_status read_added_tokens(struct reader *reader, const json_t *tokens)
{
    if (tokens != NULL && !json_is_array(tokens)) {
        return invalid(reader, "added_tokens is no array");
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < json_array_size(tokens) && status == CM_OK; i++) {
        status = read_added_token(reader, json_array_get(tokens, i));
    }
    return status;
}

/* "a b" in older files, ["a", "b"] in newer ones. */
static enum cm_status read_merges(struct reader *reader, const json_t *merges)
{
    struct cm_tokenizer_file *file = reader->file;
    if (!json_is_array(merges)) {
        return invalid(reader, "model.merges is missing or no array");
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

static bool absent_or_empty(const json_t *object, const char *key)
{
    return cm_json_get(object, key) == NULL || (json_is_string(cm_json_get(object, key)) &&
                                                cm_json_span(cm_json_get(object, key)).length == 0);
}

static enum cm_status check_model(const struct reader *reader, const json_t *document,
                                  const json_t *model)
{
    const json_t *normalizer = cm_json_get(document, "normalizer");
    if (!has_type(model, "BPE")) {
        return unsupported(reader, "model.type is not BPE");
    }
    if (json_is_true(json_object_get(model, "byte_fallback"))) {
        return unsupported(reader, "SentencePiece models with byte_fallback are only read from "
                                   "GGUF files; convert the model to GGUF");
    }
    if (!absent_or_empty(model, "continuing_subword_prefix") ||
        !absent_or_empty(model, "end_of_word_suffix")) {
        return unsupported(reader, "word prefixes and suffixes in model are not supported");
    }
    if (normalizer != NULL && !has_type(normalizer, "NFC")) {
        return unsupported(reader, "normalizer is neither null nor NFC");
    }
    return CM_OK;
}

/* --- Special tokens --- */

/* A TemplateProcessing whose `single` starts with a special token puts BOS before every text. */
static void read_template_processing(struct cm_tokenizer_file *file, const json_t *processor)
{
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    struct cm_span name =
        cm_json_span(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    int32_t id = find_token(file, name);
    if (id >= 0) {
        file->data.bos = id;
        file->data.add_bos = true;
    }
}

static void read_post_processor(struct cm_tokenizer_file *file, const json_t *processor)
{
    if (has_type(processor, "TemplateProcessing")) {
        read_template_processing(file, processor);
    }
    const json_t *steps = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(steps) && i < PROCESSORS_MAX; i++) {
        if (has_type(json_array_get(steps, i), "TemplateProcessing")) {
            read_template_processing(file, json_array_get(steps, i));
        }
    }
}

/* "bos_token" and its like: a string, or an added token as an object. */
static int32_t find_named(const struct cm_tokenizer_file *file, const json_t *config,
                          const char *key)
{
    const json_t *value = json_object_get(config, key);
    return find_token(
        file, cm_json_span(json_is_object(value) ? json_object_get(value, "content") : value));
}

/* eos_token_id is one id or a list of them. */
static enum cm_status read_stop_ids(struct reader *reader, const json_t *document)
{
    const json_t *ids = cm_json_get(document, "eos_token_id");
    if (ids == NULL) {
        return CM_OK;
    }
    size_t count = json_is_array(ids) ? json_array_size(ids) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(ids) ? json_array_get(ids, i) : ids;
        enum cm_status status = check_id(reader, id, "eos_token_id");
        if (status != CM_OK) {
            return status;
        }
        cm_tokenizer_storage_stop(reader->file, (int32_t)json_integer_value(id));
    }
    return CM_OK;
}

static enum cm_status read_ids(struct reader *reader)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    const json_t *generation;
    const json_t *config = NULL;
    enum cm_status status =
        open_document(reader, "generation_config.json", CM_JSON_INTEGERS, &generation);
    if (status == CM_OK) {
        status = read_stop_ids(reader, generation);
    }
    if (status == CM_OK) {
        status = open_document(reader, "config.json", CM_JSON_INTEGERS, &config);
    }
    if (status == CM_OK) {
        status = read_stop_ids(reader, config);
    }
    if (status == CM_OK && data->bos < 0 && cm_json_get(config, "bos_token_id") != NULL) {
        const json_t *bos = cm_json_get(config, "bos_token_id");
        status = check_id(reader, bos, "bos_token_id");
        data->bos = status == CM_OK ? (int32_t)json_integer_value(bos) : -1;
    }
    return status;
}

/* --- Chat template --- */

/* chat_template is the source, or a list of named ones of which "default" counts. */
static struct cm_span find_template(const json_t *config)
{
    const json_t *template = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(template); i++) {
        const json_t *entry = json_array_get(template, i);
        if (cm_span_equal_text(cm_json_span(json_object_get(entry, "name")), "default")) {
            return cm_json_span(json_object_get(entry, "template"));
        }
    }
    return cm_json_span(template);
}

static enum cm_status read_template_file(struct reader *reader)
{
    enum cm_status status =
        cm_folder_path(reader->folder, "chat_template.jinja", reader->path, reader->error);
    if (status != CM_OK || !cm_path_exists(reader->path)) {
        return status;
    }
    struct cm_file_map *map;
    status = cm_file_map_open(reader->path, &map, reader->error);
    if (status != CM_OK) {
        return status;
    }
    size_t bytes = cm_file_map_bytes(map);
    struct cm_span source = { (const char *)cm_file_map_data(map), bytes };
    status = cm_tokenizer_storage_template(reader->file, source, reader->path, reader->error);
    if (status == CM_OK) {
        reader->file->chat_template = cm_strndup(source.data, source.length);
        reader->file->data.chat_template.data = reader->file->chat_template;
        if (reader->file->chat_template == NULL) {
            status =
                cm_error_set(reader->error, CM_OUT_OF_MEMORY, "%s: out of memory", reader->path);
        }
    }
    cm_file_map_close(map);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 */

static enum cm_status read_tokenizer(struct reader *reader, uint32_t n_vocab)
{
    const json_t *document;
    enum cm_status status = open_document(reader, "tokenizer.json", CM_JSON_INTEGERS, &document);
    if (status == CM_OK && document == NULL) {
        return cm_error_set(reader->error, CM_NOT_FOUND, "%s: is missing", reader->path);
    }
    const json_t *model = status == CM_OK ? json_object_get(document, "model") : NULL;
    if (status == CM_OK) {
        status = check_model(reader, document, model);
    }
    if (status == CM_OK) {
        status = read_pre_tokenizer(reader, cm_json_get(document, "pre_tokenizer"));
    }
    if (status == CM_OK) {
        status =
            cm_tokenizer_storage_tokens(reader->file, n_vocab, false, reader->path, reader->error);
    }
    if (status == CM_OK) {
        status = read_vocabulary(reader, json_object_get(model, "vocab"));
    }
    if (status == CM_OK) {
        status = read_added_tokens(reader, cm_json_get(document, "added_tokens"));
    }
    if (status == CM_OK) {
        status = read_merges(reader, json_object_get(model, "merges"));
    }
    if (status == CM_OK) {
        reader->file->data.unknown = find_named(reader->file, model, "unk_token");
        read_post_processor(reader->file, json_object_get(document, "post_processor"));
    }
    return status;
}

static enum cm_status read_folder(struct reader *reader, uint32_t n_vocab)
{
    struct cm_tokenizer_file *file = reader->file;
    const json_t *config = NULL;
    enum cm_status status = read_tokenizer(reader, n_vocab);
    if (status == CM_OK) {
        status = open_document(reader, "tokenizer_config.json", CM_JSON_INTEGERS_AS_REALS, &config);
    }
    if (status == CM_OK && config != NULL) {
        status =
            cm_tokenizer_storage_template(file, find_template(config), reader->path, reader->error);
        if (file->data.bos < 0) {
            file->data.bos = find_named(file, config, "bos_token");
        }
    }
    int32_t eos = status == CM_OK ? find_named(file, config, "eos_token") : -1;
    if (eos >= 0) {
        cm_tokenizer_storage_stop(file, eos);
    }
    if (status == CM_OK) {
        status = read_ids(reader);
    }
    if (status == CM_OK) {
        cm_tokenizer_storage_stop_names(file);
        status = read_template_file(reader);
    }
    return status;
}

enum cm_status cm_tokenizer_file_from_folder(const char *folder, uint32_t n_vocab,
                                             struct cm_tokenizer_file **file,
                                             struct cm_error *error)
{
    struct cm_tokenizer_file *opened = cm_alloc(1, sizeof *opened);
    struct reader *reader = cm_alloc(1, sizeof *reader);
    enum cm_status status = CM_OK;
    if (opened != NULL) {
        opened->documents = cm_alloc(DOCUMENTS_MAX, sizeof *opened->documents);
        opened->data.bos = -1;
        opened->data.unknown = -1;
    }
    if (opened == NULL || reader == NULL || opened->documents == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", folder);
        goto done;
    }
    reader->file = opened;
    reader->folder = folder;
    reader->error = error;
    status = read_folder(reader, n_vocab);
done:
    cm_free(reader);
    if (status != CM_OK) {
        cm_tokenizer_file_close(opened);
        return status;
    }
    *file = opened;
    return CM_OK;
}
