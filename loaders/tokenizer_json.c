#include "base/memory.h"
#include "loaders/json_memory.h"
#include "loaders/tokenizer_file.h"
#include "loaders/tokenizer_json_parts.h"

#include <inttypes.h>
#include <string.h>

enum { DOCUMENTS_MAX = 6, PROCESSORS_MAX = 16 };

enum cm_status cm_tokenizer_json_unsupported(const struct cm_tokenizer_reader *reader,
                                             const char *what)
{
    return cm_error_set(reader->error, CM_UNSUPPORTED, "%s: %s", reader->path, what);
}

enum cm_status cm_tokenizer_json_invalid(const struct cm_tokenizer_reader *reader, const char *what)
{
    return cm_error_set(reader->error, CM_INVALID_DATA, "%s: %s", reader->path, what);
}

bool cm_tokenizer_json_is(const json_t *object, const char *type)
{
    return cm_span_equal_text(cm_json_span(json_object_get(object, "type")), type);
}

int32_t cm_tokenizer_json_find(const struct cm_tokenizer_file *file, struct cm_span name)
{
    for (uint32_t id = 0; id < file->data.n_tokens && name.length > 0; id++) {
        if (cm_span_equal(file->tokens[id], name)) {
            return (int32_t)id;
        }
    }
    return -1;
}

enum cm_status cm_tokenizer_json_check_id(const struct cm_tokenizer_reader *reader,
                                          const json_t *id, const char *token)
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

/* Parses a file of the folder; the tokenizer file keeps the document. NULL where it is absent. */
static enum cm_status open_document(struct cm_tokenizer_reader *reader, const char *name,
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

/* --- Special tokens --- */

/* A TemplateProcessing whose `single` starts with a special token puts BOS before every text. */
static void read_template_processing(struct cm_tokenizer_file *file, const json_t *processor)
{
    const json_t *single = json_object_get(processor, "single");
    size_t count = json_array_size(single);
    const json_t *first = json_array_get(single, 0);
    const json_t *last = count > 1 ? json_array_get(single, count - 1) : NULL;
    struct cm_span name =
        cm_json_span(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    int32_t id = cm_tokenizer_json_find(file, name);
    if (id >= 0) {
        file->data.bos = id;
        file->data.add_bos = true;
    }
    file->data.closing = cm_tokenizer_json_find(
        file, cm_json_span(json_object_get(json_object_get(last, "SpecialToken"), "id")));
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102] */
static void read_bert_processing(struct cm_tokenizer_file *file, const json_t *processor)
{
    const json_t *first = json_array_get(json_object_get(processor, "cls"), 0);
    const json_t *last = json_array_get(json_object_get(processor, "sep"), 0);
    file->data.bos = cm_tokenizer_json_find(file, cm_json_span(first));
    file->data.add_bos = file->data.bos >= 0;
    file->data.closing = cm_tokenizer_json_find(file, cm_json_span(last));
}

static void read_post_processor(struct cm_tokenizer_file *file, const json_t *processor)
{
    if (cm_tokenizer_json_is(processor, "TemplateProcessing")) {
        read_template_processing(file, processor);
    } else if (cm_tokenizer_json_is(processor, "BertProcessing")) {
        read_bert_processing(file, processor);
    }
    const json_t *steps = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(steps) && i < PROCESSORS_MAX; i++) {
        if (cm_tokenizer_json_is(json_array_get(steps, i), "TemplateProcessing")) {
            read_template_processing(file, json_array_get(steps, i));
        }
    }
}

/* "bos_token" and its like: a string, or an added token as an object. */
static int32_t find_named(const struct cm_tokenizer_file *file, const json_t *config,
                          const char *key)
{
    const json_t *value = json_object_get(config, key);
    return cm_tokenizer_json_find(
        file, cm_json_span(json_is_object(value) ? json_object_get(value, "content") : value));
}

/* eos_token_id is one id or a list of them. */
static enum cm_status read_stop_ids(struct cm_tokenizer_reader *reader, const json_t *document)
{
    const json_t *ids = cm_json_get(document, "eos_token_id");
    if (ids == NULL) {
        return CM_OK;
    }
    size_t count = json_is_array(ids) ? json_array_size(ids) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(ids) ? json_array_get(ids, i) : ids;
        enum cm_status status = cm_tokenizer_json_check_id(reader, id, "eos_token_id");
        if (status != CM_OK) {
            return status;
        }
        cm_tokenizer_storage_stop(reader->file, (int32_t)json_integer_value(id));
    }
    return CM_OK;
}

static enum cm_status read_ids(struct cm_tokenizer_reader *reader)
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
        status = cm_tokenizer_json_check_id(reader, bos, "bos_token_id");
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

static enum cm_status read_template_file(struct cm_tokenizer_reader *reader)
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

/* Older folders of BERT have a vocab.txt instead. */
static enum cm_status read_vocabulary(struct cm_tokenizer_reader *reader, uint32_t n_vocab)
{
    struct cm_tokenizer_file *file = reader->file;
    const json_t *config = NULL;
    char missing[CM_PATH_BYTES_MAX];
    memcpy(missing, reader->path, sizeof missing);
    enum cm_status status =
        open_document(reader, "tokenizer_config.json", CM_JSON_INTEGERS_AS_REALS, &config);
    if (status == CM_OK) {
        status = cm_folder_path(reader->folder, "vocab.txt", reader->path, reader->error);
    }
    if (status == CM_OK && !cm_path_exists(reader->path)) {
        status = cm_error_set(reader->error, CM_NOT_FOUND, "%s: is missing", missing);
    }
    if (status != CM_OK) {
        return status;
    }
    cm_json_memory_begin();
    json_t *vocabulary = json_object();
    if (vocabulary == NULL) {
        return cm_error_set(reader->error, CM_OUT_OF_MEMORY, "%s: out of memory", reader->path);
    }
    CM_ASSERT(file->documents_count < DOCUMENTS_MAX);
    file->documents[file->documents_count++] = vocabulary;
    return cm_tokenizer_read_vocab_txt(reader, config, vocabulary, n_vocab);
}

static enum cm_status read_tokenizer(struct cm_tokenizer_reader *reader, uint32_t n_vocab)
{
    const json_t *document;
    enum cm_status status = open_document(reader, "tokenizer.json", CM_JSON_INTEGERS, &document);
    if (status == CM_OK && document == NULL) {
        return read_vocabulary(reader, n_vocab);
    }
    bool is_wordpiece =
        status == CM_OK && cm_tokenizer_json_is(json_object_get(document, "model"), "WordPiece");
    if (is_wordpiece) {
        status = cm_tokenizer_json_read_wordpiece(reader, document, n_vocab);
    } else if (status == CM_OK) {
        status = cm_tokenizer_json_read_text(reader, document);
        if (status == CM_OK) {
            status = cm_tokenizer_json_read_model(reader, document, n_vocab);
        }
    }
    if (status == CM_OK) {
        read_post_processor(reader->file, json_object_get(document, "post_processor"));
    }
    return status;
}

static enum cm_status read_folder(struct cm_tokenizer_reader *reader, uint32_t n_vocab)
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
    struct cm_tokenizer_reader *reader = cm_alloc(1, sizeof *reader);
    enum cm_status status = CM_OK;
    if (opened != NULL) {
        opened->documents = cm_alloc(DOCUMENTS_MAX, sizeof *opened->documents);
        opened->data.bos = -1;
        opened->data.closing = -1;
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
