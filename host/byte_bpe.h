/* Byte-pair encoding of one word (Sennrich et al., 2016, over bytes as in GPT-2): the word begins
 * as single bytes, and the pair that comes first in the list of merges is joined until none is
 * left. */
#ifndef CM_HOST_BYTE_BPE_H
#define CM_HOST_BYTE_BPE_H

#include "base/status.h"
#include "base/text.h"
#include "host/span_table.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

struct cm_byte_bpe; /* read-only after opening: any thread may use it */

/* `names` finds a token by its name in the file, `bytes` holds what each token stands for; both
 * outlive the encoder. CM_INVALID_DATA where a merge names a token that is not there. */
enum cm_status cm_byte_bpe_open(const struct cm_tokenizer_data *data,
                                const struct cm_span_table *names, const struct cm_span *bytes,
                                struct cm_byte_bpe **bpe, struct cm_error *error) CM_MUST_CHECK;
void cm_byte_bpe_close(struct cm_byte_bpe *bpe);

/* Appends the ids of `word`; O(n log n) for words of any length. A byte that the vocabulary lacks
 * becomes its unknown token or, without one, nothing. */
enum cm_status cm_byte_bpe_encode(const struct cm_byte_bpe *bpe, struct cm_span word,
                                  struct cm_token_list *list) CM_MUST_CHECK;

#endif
