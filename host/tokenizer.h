/* Text to token ids and back.
 *
 * Encoding never recognises special tokens in text: catalog text is data, so "<|im_end|>" in a
 * product name becomes ordinary bytes. Markers of a conversation are ids that
 * cm_tokenizer_encode_chat puts between runs of text. Read-only after opening: any thread may use
 * it with its own cm_token_list.
 */
#ifndef CM_HOST_TOKENIZER_H
#define CM_HOST_TOKENIZER_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_tokenizer;
struct cm_tokenizer_data; /* loaders/model_file.h */

/* `data` must outlive the tokenizer. */
enum cm_status cm_tokenizer_open(const struct cm_tokenizer_data *data,
                                 struct cm_tokenizer **tokenizer,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_tokenizer_close(struct cm_tokenizer *tokenizer);

uint32_t cm_tokenizer_size(const struct cm_tokenizer *tokenizer);
bool cm_tokenizer_is_stop(const struct cm_tokenizer *tokenizer, int32_t token);
uint32_t cm_tokenizer_stops_count(const struct cm_tokenizer *tokenizer);

/* The id of a token by its exact name in the vocabulary (markers too), or -1. */
int32_t cm_tokenizer_find(const struct cm_tokenizer *tokenizer, const char *name);

/* A growing list of ids; zero-initialise, release with cm_token_list_deinit. */
struct cm_token_list {
    int32_t *ids;
    size_t count;
    size_t capacity;
};

void cm_token_list_deinit(struct cm_token_list *list);
enum cm_status cm_token_list_append(struct cm_token_list *list, int32_t id) CM_MUST_CHECK;

/* Appends the ids of `text` (any bytes; invalid UTF-8 is encoded as the bytes it is). */
enum cm_status cm_tokenizer_encode(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                   struct cm_token_list *list,
                                   struct cm_error *error) CM_MUST_CHECK;

/* As a prompt that stands for itself: what the model's texts begin with, then the text. */
enum cm_status cm_tokenizer_encode_prompt(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                          struct cm_token_list *list,
                                          struct cm_error *error) CM_MUST_CHECK;

/* The bytes of one token; control tokens give none. Valid as long as the tokenizer. */
struct cm_span cm_tokenizer_token_bytes(const struct cm_tokenizer *tokenizer, int32_t token);

/* Appends the text of `ids`. Bytes that are no valid UTF-8 at the end of the list (a character cut
 * by the length limit) are dropped; elsewhere they become U+FFFD. */
enum cm_status cm_tokenizer_decode(const struct cm_tokenizer *tokenizer, const int32_t *ids,
                                   size_t count, struct cm_text *text) CM_MUST_CHECK;

/* --- Conversations --- */

enum cm_chat_format {
    CM_CHAT_NONE,   /* a base model: the texts are joined by blank lines */
    CM_CHAT_CHATML, /* <|im_start|>role\n ... <|im_end|>\n : SmolLM2, Qwen */
    CM_CHAT_GEMMA,  /* <start_of_turn>role\n ... <end_of_turn>\n, no system role: Gemma */
};

/* Recognised from the template's known shape and the markers in the vocabulary; never executed. */
enum cm_chat_format cm_tokenizer_chat_format(const struct cm_tokenizer *tokenizer);

struct cm_chat_message {
    struct cm_span role; /* "system", "user", "assistant" */
    struct cm_span content;
};

/* Appends the ids of the conversation and the opening of the assistant's turn. */
enum cm_status cm_tokenizer_encode_chat(const struct cm_tokenizer *tokenizer,
                                        const struct cm_chat_message *messages,
                                        size_t messages_count, struct cm_token_list *list,
                                        struct cm_error *error) CM_MUST_CHECK;

#endif
