/* WordPiece (BERT; Wu et al. 2016): a text is cleaned, cut at spaces and punctuation, and each word
 * split into the longest pieces of the vocabulary from its beginning on. As Hugging Face's
 * BertNormalizer, BertPreTokenizer and WordPiece do it, but for special tokens in the text, which
 * are text here. */
#ifndef CM_HOST_WORDPIECE_H
#define CM_HOST_WORDPIECE_H

#include "host/span_table.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

/* Appends the ids of `text`; bytes that are no UTF-8 are left out. CM_OUT_OF_MEMORY. */
enum cm_status cm_wordpiece_encode(const struct cm_tokenizer_data *data,
                                   const struct cm_span_table *names, struct cm_span text,
                                   struct cm_token_list *list) CM_MUST_CHECK;

#endif
