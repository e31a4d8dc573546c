/* What the files that read tokenizer.json share; private to tokenizer_json*.c. */
#ifndef CM_LOADERS_TOKENIZER_JSON_PARTS_H
#define CM_LOADERS_TOKENIZER_JSON_PARTS_H

#include "loaders/folder.h"
#include "loaders/json_file.h"
#include "loaders/tokenizer_storage.h"

struct cm_tokenizer_reader {
    struct cm_tokenizer_file *file;
    const char *folder;
    char path[CM_PATH_BYTES_MAX]; /* of the file being read */
    struct cm_error *error;
};

/* CM_UNSUPPORTED and CM_INVALID_DATA with the file's name before `what`. */
enum cm_status cm_tokenizer_json_unsupported(const struct cm_tokenizer_reader *reader,
                                             const char *what) CM_MUST_CHECK;
enum cm_status cm_tokenizer_json_invalid(const struct cm_tokenizer_reader *reader,
                                         const char *what) CM_MUST_CHECK;

/* Whether an object's "type" is this one. */
bool cm_tokenizer_json_is(const json_t *object, const char *type);

/* An id that is in the vocabulary; `token` says of what in the message. */
enum cm_status cm_tokenizer_json_check_id(const struct cm_tokenizer_reader *reader,
                                          const json_t *id, const char *token) CM_MUST_CHECK;

/* The id of a token by its name, or -1; the first of two. */
int32_t cm_tokenizer_json_find(const struct cm_tokenizer_file *file, struct cm_span name);

/* "normalizer" and "pre_tokenizer": how the text is prepared and cut. Sets the kind of tokenizer
 * (from these and model.type) and all that belongs to it. */
enum cm_status cm_tokenizer_json_read_text(struct cm_tokenizer_reader *reader,
                                           const json_t *document) CM_MUST_CHECK;

/* All of the above for a file whose model.type is WordPiece. */
enum cm_status cm_tokenizer_json_read_wordpiece(struct cm_tokenizer_reader *reader,
                                                const json_t *document,
                                                uint32_t n_vocab) CM_MUST_CHECK;

/* The vocab.txt at reader->path; `config` is tokenizer_config.json, or NULL. Fills `vocabulary`, an
 * empty object that lives as long as the tokenizer file. */
enum cm_status cm_tokenizer_read_vocab_txt(struct cm_tokenizer_reader *reader, const json_t *config,
                                           json_t *vocabulary, uint32_t n_vocab) CM_MUST_CHECK;

/* "model" and "added_tokens": vocabulary, merges or scores, kinds of tokens. After the text's. */
enum cm_status cm_tokenizer_json_read_model(struct cm_tokenizer_reader *reader,
                                            const json_t *document, uint32_t n_vocab) CM_MUST_CHECK;

#endif
