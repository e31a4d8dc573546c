#include "host/byte_bpe.h"

#include "base/memory.h"
#include "host/merge_queue.h"
#include "host/merge_table.h"

#include <string.h>

enum { SHORT_WORD_BYTES = 48 };

#define NO_TOKEN (-1)

struct cm_byte_bpe {
    struct cm_merge_table merges;
    struct cm_span_table words; /* words that are one token */
    int32_t byte_ids[256];      /* NO_TOKEN: not in the vocabulary */
    int32_t unknown;
};

/* --- Encoding --- */

static enum cm_status append(const struct cm_byte_bpe *bpe, int32_t id, struct cm_token_list *list)
{
    if (id == NO_TOKEN) {
        id = bpe->unknown;
    }
    return id < 0 ? CM_OK : cm_token_list_append(list, id);
}

/* Most words: a scan for the best pair is quicker than keeping a heap. */
static enum cm_status encode_short(const struct cm_byte_bpe *bpe, struct cm_span word,
                                   struct cm_token_list *list)
{
    int32_t ids[SHORT_WORD_BYTES];
    const struct cm_merge *pairs[SHORT_WORD_BYTES]; /* of each id and the one after it */
    size_t count = word.length;
    for (size_t i = 0; i < count; i++) {
        ids[i] = bpe->byte_ids[(uint8_t)word.data[i]];
    }
    for (size_t i = 0; i + 1 < count; i++) {
        pairs[i] = cm_merge_table_find(&bpe->merges, ids[i], ids[i + 1]);
    }
    for (;;) {
        size_t best = 0;
        uint32_t best_rank = CM_NO_RANK;
        for (size_t i = 0; i + 1 < count; i++) {
            if (pairs[i]->rank < best_rank) {
                best_rank = pairs[i]->rank;
                best = i;
            }
        }
        if (best_rank == CM_NO_RANK) {
            break;
        }
        ids[best] = pairs[best]->joined;
        count--;
        memmove(&ids[best + 1], &ids[best + 2], (count - best - 1) * sizeof ids[0]);
        if (best + 1 < count) {
            memmove(&pairs[best + 1], &pairs[best + 2], (count - best - 2) * sizeof pairs[0]);
            pairs[best] = cm_merge_table_find(&bpe->merges, ids[best], ids[best + 1]);
        }
        if (best > 0) {
            pairs[best - 1] = cm_merge_table_find(&bpe->merges, ids[best - 1], ids[best]);
        }
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < count && status == CM_OK; i++) {
        status = append(bpe, ids[i], list);
    }
    return status;
}

static struct cm_merge find_in_table(const void *context, const struct cm_symbol *left,
                                     const struct cm_symbol *right)
{
    const struct cm_byte_bpe *bpe = context;
    return *cm_merge_table_find(&bpe->merges, left->id, right->id);
}

static enum cm_status encode_long(const struct cm_byte_bpe *bpe, struct cm_span word,
                                  struct cm_token_list *list)
{
    struct cm_merge_queue queue = { 0 };
    enum cm_status status = cm_merge_queue_reserve(&queue, word.length);
    if (status != CM_OK) {
        goto end;
    }
    for (uint32_t i = 0; i < word.length; i++) {
        queue.symbols[i] = (struct cm_symbol){ .id = bpe->byte_ids[(uint8_t)word.data[i]],
                                               .begin = i,
                                               .bytes = 1 };
    }
    status = cm_merge_queue_run(&queue, (uint32_t)word.length, find_in_table, bpe);
    for (uint32_t i = 0; i != CM_NO_SYMBOL && status == CM_OK; i = queue.symbols[i].after) {
        status = append(bpe, queue.symbols[i].id, list);
    }
end:
    cm_merge_queue_deinit(&queue);
    return status;
}

static enum cm_status merge_bytes(const struct cm_byte_bpe *bpe, struct cm_span word,
                                  struct cm_token_list *list)
{
    return word.length <= SHORT_WORD_BYTES ? encode_short(bpe, word, list)
                                           : encode_long(bpe, word, list);
}

enum cm_status cm_byte_bpe_encode(const struct cm_byte_bpe *bpe, struct cm_span word,
                                  struct cm_token_list *list)
{
    int32_t whole = cm_span_table_find(&bpe->words, word);
    return whole >= 0 ? cm_token_list_append(list, whole) : merge_bytes(bpe, word, list);
}

/* --- Opening --- */

static void find_byte_ids(struct cm_byte_bpe *bpe, const struct cm_tokenizer_data *data,
                          const struct cm_span *bytes)
{
    for (size_t i = 0; i < 256; i++) {
        bpe->byte_ids[i] = NO_TOKEN;
    }
    for (uint32_t i = data->n_tokens; i-- > 0;) {
        if (bytes[i].length == 1 && cm_token_may_come_from_text(data, (int32_t)i)) {
            bpe->byte_ids[(uint8_t)bytes[i].data[0]] = (int32_t)i;
        }
    }
}

/* Collects the words that the merges turn into one token, so that the common words need no merges
 * at all. Some vocabularies (Llama 3) take a word that is in them even where no merges lead to it.
 */
static enum cm_status find_whole_words(struct cm_byte_bpe *bpe,
                                       const struct cm_tokenizer_data *data,
                                       const struct cm_span *bytes)
{
    struct cm_token_list ids = { 0 };
    enum cm_status status = cm_span_table_init(&bpe->words, data->n_tokens);
    for (uint32_t i = 0; i < data->n_tokens && status == CM_OK; i++) {
        if (bytes[i].length == 0 || data->kinds[i] != CM_TOKEN_NORMAL) {
            continue;
        }
        bool is_reached = data->ignore_merges;
        if (!is_reached) {
            ids.count = 0;
            status = merge_bytes(bpe, bytes[i], &ids);
            is_reached = ids.count == 1 && ids.ids[0] == (int32_t)i;
        }
        if (is_reached && status == CM_OK) {
            cm_span_table_insert(&bpe->words, bytes[i], (int32_t)i);
        }
    }
    cm_token_list_deinit(&ids);
    return status;
}

enum cm_status cm_byte_bpe_open(const struct cm_tokenizer_data *data,
                                const struct cm_span_table *names, const struct cm_span *bytes,
                                struct cm_byte_bpe **bpe, struct cm_error *error)
{
    struct cm_byte_bpe *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer.");
    }
    opened->unknown = cm_token_may_come_from_text(data, data->unknown) ? data->unknown : NO_TOKEN;
    find_byte_ids(opened, data, bytes);
    enum cm_status status = cm_merge_table_init(&opened->merges, data, names, error);
    if (status == CM_OK) {
        status = find_whole_words(opened, data, bytes);
        if (status != CM_OK) {
            cm_error_set(error, status, "No memory for the tokenizer's words.");
        }
    }
    if (status != CM_OK) {
        cm_byte_bpe_close(opened);
        return status;
    }
    *bpe = opened;
    return CM_OK;
}

void cm_byte_bpe_close(struct cm_byte_bpe *bpe)
{
    if (bpe != NULL) {
        cm_merge_table_deinit(&bpe->merges);
        cm_span_table_deinit(&bpe->words);
        cm_free(bpe);
    }
}
