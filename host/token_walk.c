#include "host/token_walk.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* --- Order --- */

struct entry {
    uint64_t head; /* the first bytes, the first of all the highest: settles most comparisons */
    struct cm_span bytes;
    int32_t token;
};

static uint64_t head_of(struct cm_span bytes)
{
    uint64_t head = 0;
    for (size_t i = 0; i < sizeof head; i++) {
        head = head << 8 | (i < bytes.length ? (uint8_t)bytes.data[i] : 0);
    }
    return head;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    if (left->head != right->head) {
        return left->head < right->head ? -1 : 1;
    }
    size_t length =
        left->bytes.length < right->bytes.length ? left->bytes.length : right->bytes.length;
    int order = length > 0 ? memcmp(left->bytes.data, right->bytes.data, length) : 0;
    if (order != 0) {
        return order;
    }
    if (left->bytes.length != right->bytes.length) {
        return left->bytes.length < right->bytes.length ? -1 : 1;
    }
    return left->token < right->token ? -1 : left->token > right->token;
}

enum cm_status cm_token_walk_sort(const struct cm_tokenizer *tokenizer, int32_t *tokens,
                                  uint32_t count)
{
    struct entry *entries = cm_alloc(count, sizeof *entries);
    if (entries == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, tokens[i]);
        entries[i] = (struct entry){ head_of(bytes), bytes, tokens[i] };
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = entries[i].token;
    }
    cm_free(entries);
    return CM_OK;
}

/* --- Walks --- */

static uint8_t common_bytes(struct cm_span a, struct cm_span b)
{
    uint8_t common = 0;
    while (common < CM_WALK_BYTES_MAX && common < a.length && common < b.length &&
           a.data[common] == b.data[common]) {
        common++;
    }
    return common;
}

static size_t sum_of_bytes(const struct cm_tokenizer *tokenizer, const int32_t *tokens,
                           uint32_t count)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += cm_tokenizer_token_bytes(tokenizer, tokens[i]).length;
    }
    return sum;
}

enum cm_status cm_token_walk_init(struct cm_token_walk *walk, const struct cm_tokenizer *tokenizer,
                                  const int32_t *sorted, uint32_t count, const uint8_t *ranks,
                                  uint8_t rank_min)
{
    size_t bytes_max = sum_of_bytes(tokenizer, sorted, count);
    *walk = (struct cm_token_walk){
        .tokens = cm_alloc(count, sizeof *walk->tokens),
        .common = cm_alloc(count, sizeof *walk->common),
        .ends = cm_alloc(count, sizeof *walk->ends),
        .bytes = bytes_max <= UINT32_MAX ? cm_alloc(bytes_max, 1) : NULL,
    };
    if (walk->tokens == NULL || walk->common == NULL || walk->ends == NULL || walk->bytes == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    struct cm_span before = { 0 };
    uint32_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ranks[sorted[i]] < rank_min) {
            continue;
        }
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, sorted[i]);
        uint8_t common = common_bytes(before, bytes);
        memcpy(walk->bytes + end, bytes.data + common, bytes.length - common);
        end += (uint32_t)bytes.length - common;
        walk->tokens[walk->count] = sorted[i];
        walk->common[walk->count] = common;
        walk->ends[walk->count++] = end;
        before = bytes;
    }
    return CM_OK;
}

void cm_token_walk_deinit(struct cm_token_walk *walk)
{
    cm_free(walk->tokens);
    cm_free(walk->common);
    cm_free(walk->ends);
    cm_free(walk->bytes);
}
