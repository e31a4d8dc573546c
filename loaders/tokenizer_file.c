#include "loaders/tokenizer_file.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/json_file.h"
#include "loaders/model_config.h"
#include "loaders/tokenizer_storage.h"

#include <inttypes.h>
#include <string.h>

static enum cm_status fail_memory(const char *path, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory for the vocabulary", path);
}

enum cm_status cm_tokenizer_storage_tokens(struct cm_tokenizer_file *file, uint32_t n_tokens,
                                           bool with_scores, const char *path,
                                           struct cm_error *error)
{
    if (n_tokens == 0 || n_tokens > CM_VOCAB_MAX) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the vocabulary has %" PRIu32 " tokens; expected 1 to %d", path,
                            n_tokens, CM_VOCAB_MAX);
    }
    file->tokens = cm_alloc(n_tokens, sizeof *file->tokens);
    file->kinds = cm_alloc(n_tokens, sizeof *file->kinds);
    file->scores = with_scores ? cm_alloc(n_tokens, sizeof *file->scores) : NULL;
    if (file->tokens == NULL || file->kinds == NULL || (with_scores && file->scores == NULL)) {
        return fail_memory(path, error);
    }
    for (uint32_t i = 0; i < n_tokens; i++) {
        file->tokens[i].data = "";
    }
    memset(file->kinds, CM_TOKEN_UNUSED, n_tokens);
    file->data.n_tokens = n_tokens;
    file->data.tokens = file->tokens;
    file->data.kinds = file->kinds;
    file->data.scores = file->scores;
    return CM_OK;
}

enum cm_status cm_tokenizer_storage_merges(struct cm_tokenizer_file *file, uint64_t n_merges,
                                           const char *path, struct cm_error *error)
{
    if (n_merges > CM_MERGES_MAX) {
        return cm_error_set(error, CM_LIMIT, "%s: there are %" PRIu64 " merges; the limit is %d",
                            path, n_merges, CM_MERGES_MAX);
    }
    file->merges_left = cm_alloc((size_t)n_merges, sizeof *file->merges_left);
    file->merges_right = cm_alloc((size_t)n_merges, sizeof *file->merges_right);
    if (file->merges_left == NULL || file->merges_right == NULL) {
        return fail_memory(path, error);
    }
    file->data.n_merges = (uint32_t)n_merges;
    file->data.merges_left = file->merges_left;
    file->data.merges_right = file->merges_right;
    return CM_OK;
}

enum cm_status cm_tokenizer_storage_set(struct cm_tokenizer_file *file, uint32_t id,
                                        struct cm_span token, const char *path, const char *field,
                                        struct cm_error *error)
{
    CM_ASSERT(id < file->data.n_tokens);
    if (token.length > CM_TOKEN_BYTES_MAX || !cm_utf8_valid(token)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: token %" PRIu32 " of %s is not valid UTF-8 of at most %d bytes",
                            path, id, field, CM_TOKEN_BYTES_MAX);
    }
    file->tokens[id] = token;
    file->kinds[id] = CM_TOKEN_NORMAL;
    return CM_OK;
}

enum cm_status cm_tokenizer_storage_set_merge(struct cm_tokenizer_file *file, uint32_t rank,
                                              struct cm_span left, struct cm_span right,
                                              const char *path, struct cm_error *error)
{
    CM_ASSERT(rank < file->data.n_merges);
    if (left.length == 0 || right.length == 0 || left.length > CM_TOKEN_BYTES_MAX ||
        right.length > CM_TOKEN_BYTES_MAX || !cm_utf8_valid(left) || !cm_utf8_valid(right)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: merge %" PRIu32 " is no pair of valid UTF-8 tokens", path, rank);
    }
    file->merges_left[rank] = left;
    file->merges_right[rank] = right;
    return CM_OK;
}

enum cm_status cm_tokenizer_storage_split_merge(struct cm_tokenizer_file *file, uint32_t rank,
                                                struct cm_span merge, const char *path,
                                                struct cm_error *error)
{
    const char *space = merge.length > 0 ? memchr(merge.data, ' ', merge.length) : NULL;
    size_t left_bytes = space == NULL ? merge.length : (size_t)(space - merge.data);
    size_t right_begin = space == NULL ? merge.length : left_bytes + 1;
    struct cm_span left = { merge.data, left_bytes };
    struct cm_span right = { merge.data + right_begin, merge.length - right_begin };
    return cm_tokenizer_storage_set_merge(file, rank, left, right, path, error);
}

enum cm_status cm_tokenizer_storage_template(struct cm_tokenizer_file *file, struct cm_span source,
                                             const char *path, struct cm_error *error)
{
    if (source.length > CM_CHAT_TEMPLATE_BYTES_MAX || !cm_utf8_valid(source)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: the chat template is not valid UTF-8 of at most %d bytes", path,
                            CM_CHAT_TEMPLATE_BYTES_MAX);
    }
    file->data.chat_template = source;
    return CM_OK;
}

void cm_tokenizer_storage_stop(struct cm_tokenizer_file *file, int32_t id)
{
    struct cm_tokenizer_data *data = &file->data;
    CM_ASSERT(id >= 0 && (uint32_t)id < data->n_tokens);
    for (uint32_t i = 0; i < data->n_stop; i++) {
        if (data->stop[i] == id) {
            return;
        }
    }
    if (data->n_stop < CM_STOP_TOKENS_MAX) {
        data->stop[data->n_stop++] = id;
    }
}

void cm_tokenizer_storage_stop_names(struct cm_tokenizer_file *file)
{
    static const char *const names[] = { "<|im_end|>", "<|endoftext|>", "<end_of_turn>",
                                         "<|eot_id|>", "<|end_of_text|>" };
    for (uint32_t id = 0; id < file->data.n_tokens; id++) {
        if (file->kinds[id] != CM_TOKEN_CONTROL) {
            continue;
        }
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (cm_span_equal_text(file->tokens[id], names[i])) {
                cm_tokenizer_storage_stop(file, (int32_t)id);
            }
        }
    }
}

void cm_tokenizer_file_close(struct cm_tokenizer_file *file)
{
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < file->documents_count; i++) {
        cm_json_close(file->documents[i]);
    }
    cm_free(file->documents);
    cm_free(file->chat_template);
    cm_free(file->merges_right);
    cm_free(file->merges_left);
    cm_free(file->scores);
    cm_free(file->kinds);
    cm_free(file->tokens);
    cm_free(file);
}

const struct cm_tokenizer_data *cm_tokenizer_file_data(const struct cm_tokenizer_file *file)
{
    return &file->data;
}
