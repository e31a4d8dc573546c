/* Tokenizer data out of a model's files: GGUF metadata (tokenizer.ggml.*) or a Hugging Face folder
 * (tokenizer.json, tokenizer_config.json, chat_template.jinja). Every id is checked to be in the
 * vocabulary; nothing is interpreted beyond that. */
#ifndef CM_LOADERS_TOKENIZER_FILE_H
#define CM_LOADERS_TOKENIZER_FILE_H

#include "loaders/gguf.h"
#include "loaders/model_file.h"

enum {
    CM_TOKEN_BYTES_MAX = 4096,
    CM_MERGES_MAX = 1 << 22,
    CM_CHAT_TEMPLATE_BYTES_MAX = 1 << 20,
};

struct cm_tokenizer_file;

/* The vocabulary is filled up to `n_vocab` with empty tokens of the kind CM_TOKEN_UNUSED, as models
 * pad their tables, so that every row of the head has a token. `gguf` must outlive the result. */
enum cm_status cm_tokenizer_file_from_gguf(const struct cm_gguf *gguf, uint32_t n_vocab,
                                           struct cm_tokenizer_file **file,
                                           struct cm_error *error) CM_MUST_CHECK;

/* Also reads the stop tokens of config.json and generation_config.json. */
enum cm_status cm_tokenizer_file_from_folder(const char *folder, uint32_t n_vocab,
                                             struct cm_tokenizer_file **file,
                                             struct cm_error *error) CM_MUST_CHECK;
void cm_tokenizer_file_close(struct cm_tokenizer_file *file);

const struct cm_tokenizer_data *cm_tokenizer_file_data(const struct cm_tokenizer_file *file);

#endif
