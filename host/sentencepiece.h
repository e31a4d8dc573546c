/* SentencePiece (Kudo and Richardson, 2018) as Llama 2, Gemma and T5 use it. A space is a
 * character, written U+2581 in the vocabulary. A text begins as characters, and the pair that makes
 * the token with the best score, or that comes first in a list of merges, is joined until none is
 * left; a unigram vocabulary is cut by unigram.h instead. What it lacks becomes the tokens of its
 * bytes. */
#ifndef CM_HOST_SENTENCEPIECE_H
#define CM_HOST_SENTENCEPIECE_H

#include "base/status.h"
#include "base/text.h"
#include "host/span_table.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

struct cm_sentencepiece; /* read-only after opening: any thread may use it */

/* Writes what a token stands for to `bytes`, which has room for the length of its name: the text of
 * a normal token, the byte of <0x41>. CM_INVALID_DATA for a byte token of another name. */
enum cm_status cm_sentencepiece_token_bytes(enum cm_token_kind kind, struct cm_span name,
                                            char *bytes, size_t *length) CM_MUST_CHECK;

/* `names` finds a token by its name in the file, `bytes` holds what each token stands for; both
 * outlive the encoder. A vocabulary without scores has merges (tokenizer.json). */
enum cm_status cm_sentencepiece_open(const struct cm_tokenizer_data *data,
                                     const struct cm_span_table *names, const struct cm_span *bytes,
                                     struct cm_sentencepiece **encoder,
                                     struct cm_error *error) CM_MUST_CHECK;
void cm_sentencepiece_close(struct cm_sentencepiece *encoder);

/* Appends the ids of `text`, in which a U+2581 is a space like any other; O(n log n). What the
 * vocabulary has no tokens for, not even of single bytes, becomes one unknown token or, without
 * one, nothing. */
enum cm_status cm_sentencepiece_encode(const struct cm_sentencepiece *encoder, struct cm_span text,
                                       struct cm_token_list *list) CM_MUST_CHECK;

#endif
