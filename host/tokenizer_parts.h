/* What the files of the tokenizer share: tokenizer.c opens and encodes, detokenize.c turns ids into
 * text, chat.c lays out conversations. */
#ifndef CM_HOST_TOKENIZER_PARTS_H
#define CM_HOST_TOKENIZER_PARTS_H

#include "host/byte_bpe.h"
#include "host/pre_tokenizer.h"
#include "host/sentencepiece.h"
#include "host/span_table.h"
#include "host/text_parts.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

struct cm_tokenizer {
    const struct cm_tokenizer_data *data;
    struct cm_span_table names;      /* ids by the names in the file */
    struct cm_span *bytes;           /* [n_tokens] what each token stands for */
    char *bytes_store;               /* where those lie that are not names of the file */
    struct cm_text_parts parts;      /* user-defined tokens */
    struct cm_word_pattern *pattern; /* with `bpe`: byte level */
    struct cm_byte_bpe *bpe;
    struct cm_sentencepiece *sentencepiece; /* NULL: byte level */
    enum cm_chat_format chat_format;
    int32_t turn_start; /* ids of the markers of the conversation, -1: none */
    int32_t turn_end;
};

/* Sets the format and the markers from the vocabulary and the template's source. */
void cm_chat_recognise(struct cm_tokenizer *tokenizer);

#endif
