/* What the readers of tokenizer files fill in; private to tokenizer_*.c. */
#ifndef CM_LOADERS_TOKENIZER_STORAGE_H
#define CM_LOADERS_TOKENIZER_STORAGE_H

#include "loaders/tokenizer_file.h"

struct cm_tokenizer_file {
    struct cm_tokenizer_data data;
    struct cm_span *tokens;
    uint8_t *kinds;
    float *scores;
    struct cm_span *merges_left;
    struct cm_span *merges_right;
    void **documents; /* parsed JSON that spans point into */
    size_t documents_count;
    char *chat_template; /* owned where the template has a file of its own */
};

/* Tokens (empty, CM_TOKEN_UNUSED) and, if wanted, scores. */
enum cm_status cm_tokenizer_storage_tokens(struct cm_tokenizer_file *file, uint32_t n_tokens,
                                           bool with_scores, const char *path,
                                           struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_tokenizer_storage_merges(struct cm_tokenizer_file *file, uint64_t n_merges,
                                           const char *path, struct cm_error *error) CM_MUST_CHECK;

/* Checks and sets one token. `field` names the vocabulary in messages. */
enum cm_status cm_tokenizer_storage_set(struct cm_tokenizer_file *file, uint32_t id,
                                        struct cm_span token, const char *path, const char *field,
                                        struct cm_error *error) CM_MUST_CHECK;

/* Checks and sets one merge. */
enum cm_status cm_tokenizer_storage_set_merge(struct cm_tokenizer_file *file, uint32_t rank,
                                              struct cm_span left, struct cm_span right,
                                              const char *path,
                                              struct cm_error *error) CM_MUST_CHECK;

/* As above from "left right". */
enum cm_status cm_tokenizer_storage_split_merge(struct cm_tokenizer_file *file, uint32_t rank,
                                                struct cm_span merge, const char *path,
                                                struct cm_error *error) CM_MUST_CHECK;

enum cm_status cm_tokenizer_storage_template(struct cm_tokenizer_file *file, struct cm_span source,
                                             const char *path,
                                             struct cm_error *error) CM_MUST_CHECK;

/* Adds a stop token unless it is there already; those past the maximum are left out. */
void cm_tokenizer_storage_stop(struct cm_tokenizer_file *file, int32_t id);

/* Adds the control tokens whose names say that they end a turn or a text. */
void cm_tokenizer_storage_stop_names(struct cm_tokenizer_file *file);

#endif
