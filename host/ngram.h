/* No-repeat n-grams: tokens that would complete a run of n tokens which the text already holds. */
#ifndef CM_HOST_NGRAM_H
#define CM_HOST_NGRAM_H

#include <stdint.h>

/* Appends to `banned` (room for tokens_count) every token that followed the last n - 1 tokens
 * somewhere before; returns how many. In the order met, a token more than once where it was. */
uint32_t cm_ngram_banned(const int32_t *tokens, uint32_t tokens_count, uint32_t n, int32_t *banned);

#endif
