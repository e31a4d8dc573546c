#include "host/ngram.h"

#include <string.h>

uint32_t cm_ngram_banned(const int32_t *tokens, uint32_t tokens_count, uint32_t n, int32_t *banned)
{
    uint32_t count = 0;
    if (n == 0 || tokens_count < n) {
        return 0;
    }
    const int32_t *last = tokens + tokens_count - (n - 1);
    for (uint32_t i = 0; i + n <= tokens_count; i++) {
        if (memcmp(tokens + i, last, (n - 1) * sizeof *tokens) == 0) {
            banned[count++] = tokens[i + n - 1];
        }
    }
    return count;
}
