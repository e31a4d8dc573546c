#include "base/memory.h"
#include "loaders/model_config.h"
#include "loaders/tokenizer_file.h"
#include "loaders/tokenizer_storage.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    enum cm_pre_tokenizer pre_tokenizer;
} pre_tokenizers[] = {
    { "gpt-2", CM_PRE_GPT2 },       { "gpt2", CM_PRE_GPT2 },     { "default", CM_PRE_GPT2 },
    { "llama-bpe", CM_PRE_LLAMA3 }, { "llama3", CM_PRE_LLAMA3 }, { "llama-v3", CM_PRE_LLAMA3 },
    { "qwen2", CM_PRE_QWEN2 },      { "smollm", CM_PRE_SMOLLM },
};

/* Token types of the specification, from 1. */
static const uint8_t kinds[] = { CM_TOKEN_NORMAL,       CM_TOKEN_UNKNOWN, CM_TOKEN_CONTROL,
                                 CM_TOKEN_USER_DEFINED, CM_TOKEN_UNUSED,  CM_TOKEN_BYTE };

static enum cm_status read_pre_tokenizer(const struct cm_gguf *gguf, struct cm_tokenizer_data *data,
                                         struct cm_error *error)
{
    if (cm_gguf_find(gguf, "tokenizer.ggml.pre") == NULL) {
        data->pre_tokenizer = CM_PRE_GPT2;
        return CM_OK;
    }
    struct cm_span name;
    enum cm_status status = cm_gguf_string(gguf, "tokenizer.ggml.pre", &name, error);
    if (status != CM_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof pre_tokenizers[0]; i++) {
        if (cm_span_equal_text(name, pre_tokenizers[i].name)) {
            data->pre_tokenizer = pre_tokenizers[i].pre_tokenizer;
            return CM_OK;
        }
    }
    return cm_error_set(error, CM_UNSUPPORTED,
                        "%s: tokenizer.ggml.pre is \"%.*s\"; expected gpt-2, default, llama-bpe, "
                        "qwen2 or smollm",
                        cm_gguf_path(gguf), (int)(name.length < 64 ? name.length : 64), name.data);
}

static enum cm_status read_model(const struct cm_gguf *gguf, struct cm_tokenizer_data *data,
                                 struct cm_error *error)
{
    struct cm_span model;
    enum cm_status status =
        cm_config_required(cm_gguf_string(gguf, "tokenizer.ggml.model", &model, error), error);
    if (status != CM_OK) {
        return status;
    }
    if (cm_span_equal_text(model, "gpt2")) {
        data->model = CM_TOKENIZER_BYTE_BPE;
        return read_pre_tokenizer(gguf, data, error);
    }
    if (cm_span_equal_text(model, "llama")) {
        data->model = CM_TOKENIZER_SENTENCEPIECE;
        data->pre_tokenizer = CM_PRE_NONE;
        return CM_OK;
    }
    return cm_error_set(
        error, CM_UNSUPPORTED, "%s: tokenizer.ggml.model is \"%.*s\"; expected gpt2 or llama",
        cm_gguf_path(gguf), (int)(model.length < 64 ? model.length : 64), model.data);
}

/* An array that goes with the tokens one to one. NULL entry where it is absent. */
static enum cm_status find_parallel(const struct cm_gguf *gguf, const char *key,
                                    enum cm_gguf_type type, uint64_t n_tokens,
                                    const struct cm_gguf_entry **entry, struct cm_error *error)
{
    *entry = NULL;
    if (cm_gguf_find(gguf, key) == NULL) {
        return CM_OK;
    }
    enum cm_status status = cm_gguf_array(gguf, key, type, entry, error);
    if (status == CM_OK && (*entry)->count != n_tokens) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %s has %" PRIu64 " elements; expected %" PRIu64
                            ", one for each token",
                            cm_gguf_path(gguf), key, (*entry)->count, n_tokens);
    }
    return status;
}

static enum cm_status read_kinds(const struct cm_gguf *gguf, const struct cm_gguf_entry *types,
                                 struct cm_tokenizer_file *file, struct cm_error *error)
{
    for (uint64_t i = 0; i < types->count; i++) {
        int32_t type;
        memcpy(&type, types->data + i * sizeof type, sizeof type);
        if (type < 1 || (size_t)type > sizeof kinds) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: tokenizer.ggml.token_type[%" PRIu64 "] is %" PRId32
                                "; expected 1 to %zu",
                                cm_gguf_path(gguf), i, type, sizeof kinds);
        }
        file->kinds[i] = kinds[type - 1];
    }
    return CM_OK;
}

static enum cm_status read_scores(const struct cm_gguf *gguf, const struct cm_gguf_entry *scores,
                                  struct cm_tokenizer_file *file, struct cm_error *error)
{
    for (uint64_t i = 0; i < scores->count; i++) {
        memcpy(&file->scores[i], scores->data + i * sizeof(float), sizeof(float));
        if (!(file->scores[i] > -1e30F && file->scores[i] < 1e30F)) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: tokenizer.ggml.scores[%" PRIu64 "] is no finite number",
                                cm_gguf_path(gguf), i);
        }
    }
    return CM_OK;
}

static enum cm_status read_tokens(const struct cm_gguf *gguf, uint32_t n_vocab,
                                  struct cm_tokenizer_file *file, struct cm_error *error)
{
    const char *path = cm_gguf_path(gguf);
    const struct cm_gguf_entry *tokens;
    const struct cm_gguf_entry *types;
    const struct cm_gguf_entry *scores;
    enum cm_status status = cm_config_required(
        cm_gguf_array(gguf, "tokenizer.ggml.tokens", CM_GGUF_STRING, &tokens, error), error);
    if (status != CM_OK) {
        return status;
    }
    if (tokens->count > n_vocab) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: tokenizer.ggml.tokens has %" PRIu64
                            " tokens, but the model only %" PRIu32,
                            path, tokens->count, n_vocab);
    }
    bool sentencepiece = file->data.model == CM_TOKENIZER_SENTENCEPIECE;
    status = find_parallel(gguf, "tokenizer.ggml.token_type", CM_GGUF_INT32, tokens->count, &types,
                           error);
    if (status == CM_OK) {
        status = find_parallel(gguf, "tokenizer.ggml.scores", CM_GGUF_FLOAT32, tokens->count,
                               &scores, error);
    }
    if (status == CM_OK && sentencepiece && scores == NULL) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: metadata key tokenizer.ggml.scores is missing", path);
    }
    if (status == CM_OK) {
        status = cm_tokenizer_storage_tokens(file, n_vocab, sentencepiece, path, error);
    }
    const uint8_t *cursor = tokens->data;
    for (uint32_t i = 0; i < tokens->count && status == CM_OK; i++) {
        status = cm_tokenizer_storage_set(file, i, cm_gguf_next_string(&cursor), path,
                                          "tokenizer.ggml.tokens", error);
    }
    if (status == CM_OK && types != NULL) {
        status = read_kinds(gguf, types, file, error);
    }
    if (status == CM_OK && sentencepiece) {
        status = read_scores(gguf, scores, file, error);
    }
    return status;
}

static enum cm_status read_merges(const struct cm_gguf *gguf, struct cm_tokenizer_file *file,
                                  struct cm_error *error)
{
    const char *path = cm_gguf_path(gguf);
    const struct cm_gguf_entry *merges;
    if (file->data.model != CM_TOKENIZER_BYTE_BPE) {
        return CM_OK;
    }
    enum cm_status status = cm_config_required(
        cm_gguf_array(gguf, "tokenizer.ggml.merges", CM_GGUF_STRING, &merges, error), error);
    if (status == CM_OK) {
        status = cm_tokenizer_storage_merges(file, merges->count, path, error);
    }
    if (status != CM_OK) {
        return status;
    }
    const uint8_t *cursor = merges->data;
    for (uint32_t i = 0; i < file->data.n_merges && status == CM_OK; i++) {
        status =
            cm_tokenizer_storage_split_merge(file, i, cm_gguf_next_string(&cursor), path, error);
    }
    return status;
}

/* -1 where the key is absent. */
static enum cm_status read_id(const struct cm_gguf *gguf, const char *key, uint32_t n_tokens,
                              int32_t *id, struct cm_error *error)
{
    *id = -1;
    if (cm_gguf_find(gguf, key) == NULL) {
        return CM_OK;
    }
    uint32_t value;
    enum cm_status status = cm_gguf_uint(gguf, key, 0, n_tokens - 1, &value, error);
    if (status == CM_OK) {
        *id = (int32_t)value;
    }
    return status;
}

static enum cm_status read_special_ids(const struct cm_gguf *gguf, struct cm_tokenizer_file *file,
                                       struct cm_error *error)
{
    static const char *const stop_keys[] = { "tokenizer.ggml.eos_token_id",
                                             "tokenizer.ggml.eot_token_id" };
    struct cm_tokenizer_data *data = &file->data;
    enum cm_status status =
        read_id(gguf, "tokenizer.ggml.bos_token_id", data->n_tokens, &data->bos, error);
    if (status == CM_OK) {
        status =
            read_id(gguf, "tokenizer.ggml.unknown_token_id", data->n_tokens, &data->unknown, error);
    }
    for (size_t i = 0; i < sizeof stop_keys / sizeof stop_keys[0] && status == CM_OK; i++) {
        int32_t id;
        status = read_id(gguf, stop_keys[i], data->n_tokens, &id, error);
        if (status == CM_OK && id >= 0) {
            cm_tokenizer_storage_stop(file, id);
        }
    }
    if (status == CM_OK) {
        cm_tokenizer_storage_stop_names(file);
    }
    return status;
}

/* Absent flags have the values that the tokenizer of that model was trained with. */
static enum cm_status read_flags(const struct cm_gguf *gguf, struct cm_tokenizer_data *data,
                                 struct cm_error *error)
{
    bool sentencepiece = data->model == CM_TOKENIZER_SENTENCEPIECE;
    data->add_bos = sentencepiece || data->pre_tokenizer == CM_PRE_LLAMA3;
    data->ignore_merges = data->pre_tokenizer == CM_PRE_LLAMA3;
    bool has_prefix = sentencepiece;
    enum cm_status status = CM_OK;
    if (cm_gguf_find(gguf, "tokenizer.ggml.add_bos_token") != NULL) {
        status = cm_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &data->add_bos, error);
    }
    if (status == CM_OK && sentencepiece &&
        cm_gguf_find(gguf, "tokenizer.ggml.add_space_prefix") != NULL) {
        status = cm_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", &has_prefix, error);
    }
    data->space_prefix = has_prefix ? CM_SPACE_PREFIX_TEXT : CM_SPACE_PREFIX_NONE;
    if (status == CM_OK && data->bos < 0) {
        data->add_bos = false;
    }
    return status;
}

static enum cm_status read_all(const struct cm_gguf *gguf, uint32_t n_vocab,
                               struct cm_tokenizer_file *file, struct cm_error *error)
{
    enum cm_status status = read_model(gguf, &file->data, error);
    if (status == CM_OK) {
        status = read_tokens(gguf, n_vocab, file, error);
    }
    if (status == CM_OK) {
        status = read_merges(gguf, file, error);
    }
    if (status == CM_OK) {
        status = read_special_ids(gguf, file, error);
    }
    if (status == CM_OK) {
        status = read_flags(gguf, &file->data, error);
    }
    if (status == CM_OK && cm_gguf_find(gguf, "tokenizer.chat_template") != NULL) {
        struct cm_span source;
        status = cm_gguf_string(gguf, "tokenizer.chat_template", &source, error);
        if (status == CM_OK) {
            status = cm_tokenizer_storage_template(file, source, cm_gguf_path(gguf), error);
        }
    }
    return status;
}

enum cm_status cm_tokenizer_file_from_gguf(const struct cm_gguf *gguf, uint32_t n_vocab,
                                           struct cm_tokenizer_file **file, struct cm_error *error)
{
    struct cm_tokenizer_file *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", cm_gguf_path(gguf));
    }
    opened->data.closing = -1;
    enum cm_status status = read_all(gguf, n_vocab, opened, error);
    if (status != CM_OK) {
        cm_tokenizer_file_close(opened);
        return status;
    }
    *file = opened;
    return CM_OK;
}
