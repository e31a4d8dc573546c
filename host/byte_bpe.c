#include "host/byte_bpe.h"

#include "base/checked.h"
#include "base/memory.h"
#include "host/byte_alphabet.h"

#include <string.h>

enum { SHORT_WORD_BYTES = 48 };

#define NO_RANK UINT32_MAX
#define NO_TOKEN (-1)

/* The pair of tokens, its place in the list of merges and the token it becomes. */
struct merge {
    int32_t left; /* NO_TOKEN: a free slot */
    int32_t right;
    uint32_t rank;
    int32_t joined;
};

struct cm_byte_bpe {
    struct merge *merges; /* open addressing */
    size_t merges_mask;
    struct cm_span_table words; /* words that are one token */
    int32_t byte_ids[256];      /* NO_TOKEN: not in the vocabulary */
    int32_t unknown;
};

static const struct merge no_merge = { NO_TOKEN, NO_TOKEN, NO_RANK, NO_TOKEN };

static struct merge *slot_of(const struct cm_byte_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = (hash >> 32) & bpe->merges_mask;; i = (i + 1) & bpe->merges_mask) {
        struct merge *slot = &bpe->merges[i];
        if ((slot->left == left && slot->right == right) || slot->left == NO_TOKEN) {
            return slot;
        }
    }
}

static const struct merge *find_merge(const struct cm_byte_bpe *bpe, int32_t left, int32_t right)
{
    return left < 0 || right < 0 ? &no_merge : slot_of(bpe, left, right);
}

/* --- Encoding ------------------------------------------------------------------------------------
 */

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
    const struct merge *pairs[SHORT_WORD_BYTES]; /* of each id and the one after it */
    size_t count = word.length;
    for (size_t i = 0; i < count; i++) {
        ids[i] = bpe->byte_ids[(uint8_t)word.data[i]];
    }
    for (size_t i = 0; i + 1 < count; i++) {
        pairs[i] = find_merge(bpe, ids[i], ids[i + 1]);
    }
    for (;;) {
        size_t best = 0;
        uint32_t best_rank = NO_RANK;
        for (size_t i = 0; i + 1 < count; i++) {
            if (pairs[i]->rank < best_rank) {
                best_rank = pairs[i]->rank;
                best = i;
            }
        }
        if (best_rank == NO_RANK) {
            break;
        }
        ids[best] = pairs[best]->joined;
        count--;
        memmove(&ids[best + 1], &ids[best + 2], (count - best - 1) * sizeof ids[0]);
        if (best + 1 < count) {
            memmove(&pairs[best + 1], &pairs[best + 2], (count - best - 2) * sizeof pairs[0]);
            pairs[best] = find_merge(bpe, ids[best], ids[best + 1]);
        }
        if (best > 0) {
            pairs[best - 1] = find_merge(bpe, ids[best - 1], ids[best]);
        }
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < count && status == CM_OK; i++) {
        status = append(bpe, ids[i], list);
    }
    return status;
}

/* A long word is a linked list of its tokens and a heap of the pairs that could be joined. A pair
 * whose tokens have changed since it was pushed is skipped when it comes up. */
struct symbol {
    int32_t id;
    uint32_t before; /* NO_SYMBOL at the ends */
    uint32_t after;
};

struct candidate {
    uint32_t rank;
    uint32_t at; /* the left symbol */
    int32_t left;
    int32_t right;
    int32_t joined;
};

#define NO_SYMBOL UINT32_MAX

struct long_word {
    const struct cm_byte_bpe *bpe;
    struct symbol *symbols;
    struct candidate *heap;
    size_t heap_count;
    size_t heap_capacity;
};

/* Of equal pairs the leftmost is joined first. */
static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static enum cm_status push_pair(struct long_word *word, uint32_t at)
{
    uint32_t after = at == NO_SYMBOL ? NO_SYMBOL : word->symbols[at].after;
    if (after == NO_SYMBOL) {
        return CM_OK;
    }
    int32_t left = word->symbols[at].id;
    int32_t right = word->symbols[after].id;
    const struct merge *merge = find_merge(word->bpe, left, right);
    if (merge->rank == NO_RANK) {
        return CM_OK;
    }
    void *block = word->heap;
    enum cm_status status =
        cm_grow(&block, &word->heap_capacity, word->heap_count + 1, sizeof *word->heap);
    word->heap = block;
    if (status != CM_OK) {
        return status;
    }
    struct candidate pushed = { merge->rank, at, left, right, merge->joined };
    size_t i = word->heap_count++;
    while (i > 0 && comes_before(&pushed, &word->heap[(i - 1) / 2])) {
        word->heap[i] = word->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    word->heap[i] = pushed;
    return CM_OK;
}

static struct candidate pop_pair(struct long_word *word)
{
    struct candidate top = word->heap[0];
    struct candidate last = word->heap[--word->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= word->heap_count) {
            break;
        }
        if (child + 1 < word->heap_count &&
            comes_before(&word->heap[child + 1], &word->heap[child])) {
            child++;
        }
        if (!comes_before(&word->heap[child], &last)) {
            break;
        }
        word->heap[i] = word->heap[child];
        i = child;
    }
    word->heap[i] = last;
    return top;
}

/* Joins the pair if it still stands; CM_OK either way. */
static enum cm_status join_pair(struct long_word *word, const struct candidate *pair)
{
    struct symbol *left = &word->symbols[pair->at];
    if (left->id != pair->left || left->after == NO_SYMBOL ||
        word->symbols[left->after].id != pair->right) {
        return CM_OK;
    }
    struct symbol *right = &word->symbols[left->after];
    left->id = pair->joined;
    left->after = right->after;
    right->id = NO_TOKEN; /* so that pairs which began here no longer stand */
    right->before = NO_SYMBOL;
    if (left->after != NO_SYMBOL) {
        word->symbols[left->after].before = pair->at;
    }
    enum cm_status status = push_pair(word, left->before);
    return status == CM_OK ? push_pair(word, pair->at) : status;
}

static enum cm_status encode_long(const struct cm_byte_bpe *bpe, struct cm_span text,
                                  struct cm_token_list *list)
{
    struct long_word word = { .bpe = bpe };
    enum cm_status status = CM_OUT_OF_MEMORY;
    word.symbols = cm_alloc(text.length, sizeof *word.symbols);
    if (word.symbols == NULL) {
        goto end;
    }
    for (uint32_t i = 0; i < text.length; i++) {
        word.symbols[i] = (struct symbol){ .id = bpe->byte_ids[(uint8_t)text.data[i]],
                                           .before = i == 0 ? NO_SYMBOL : i - 1,
                                           .after = i + 1 == text.length ? NO_SYMBOL : i + 1 };
    }
    status = CM_OK;
    for (uint32_t i = 0; i < text.length && status == CM_OK; i++) {
        status = push_pair(&word, i);
    }
    while (word.heap_count > 0 && status == CM_OK) {
        struct candidate pair = pop_pair(&word);
        status = join_pair(&word, &pair);
    }
    for (uint32_t i = 0; i != NO_SYMBOL && status == CM_OK; i = word.symbols[i].after) {
        status = append(bpe, word.symbols[i].id, list);
    }
end:
    cm_free(word.symbols);
    cm_free(word.heap);
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

/* --- Opening -------------------------------------------------------------------------------------
 */

/* Markers of a conversation are never made of text, whatever a file's merges say. */
static bool may_come_from_text(const struct cm_tokenizer_data *data, int32_t id)
{
    return id >= 0 && (uint32_t)id < data->n_tokens && data->kinds[id] != CM_TOKEN_CONTROL;
}

static enum cm_status unknown_part(uint32_t rank, struct cm_span left, struct cm_span right,
                                   struct cm_error *error)
{
    return cm_error_set(error, CM_INVALID_DATA,
                        "Merge %u of the tokenizer (\"%.*s\" + \"%.*s\") names a token that its "
                        "vocabulary lacks: the file is damaged or incomplete.",
                        rank + 1, (int)(left.length < 64 ? left.length : 64), left.data,
                        (int)(right.length < 64 ? right.length : 64), right.data);
}

/* Fills the table of merges. `joined_name` is scratch. */
static enum cm_status add_merges(struct cm_byte_bpe *bpe, const struct cm_tokenizer_data *data,
                                 const struct cm_span_table *names, struct cm_text *joined_name,
                                 struct cm_error *error)
{
    for (uint32_t rank = 0; rank < data->n_merges; rank++) {
        struct cm_span left = data->merges_left[rank];
        struct cm_span right = data->merges_right[rank];
        cm_text_clear(joined_name);
        enum cm_status status = cm_text_append_span(joined_name, left);
        if (status == CM_OK) {
            status = cm_text_append_span(joined_name, right);
        }
        if (status != CM_OK) {
            return cm_error_set(error, status, "No memory for the tokenizer's merges.");
        }
        int32_t left_id = cm_span_table_find(names, left);
        int32_t right_id = cm_span_table_find(names, right);
        int32_t joined_id = cm_span_table_find(names, cm_text_span(joined_name));
        if (left_id < 0 || right_id < 0 || joined_id < 0) {
            return unknown_part(rank, left, right, error);
        }
        struct merge *slot = slot_of(bpe, left_id, right_id);
        /* The better rank of a pair that is listed twice stands. */
        if (slot->left == NO_TOKEN && may_come_from_text(data, joined_id)) {
            *slot = (struct merge){ left_id, right_id, rank, joined_id };
        }
    }
    return CM_OK;
}

static enum cm_status open_merges(struct cm_byte_bpe *bpe, const struct cm_tokenizer_data *data,
                                  const struct cm_span_table *names, struct cm_error *error)
{
    size_t slots_count = 16;
    while (slots_count < (size_t)data->n_merges * 2) {
        slots_count *= 2;
    }
    bpe->merges = cm_alloc(slots_count, sizeof *bpe->merges);
    if (bpe->merges == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer's merges.");
    }
    bpe->merges_mask = slots_count - 1;
    for (size_t i = 0; i < slots_count; i++) {
        bpe->merges[i] = no_merge;
    }
    struct cm_text joined_name = CM_TEXT_INIT(SIZE_MAX / 2);
    enum cm_status status = add_merges(bpe, data, names, &joined_name, error);
    cm_text_deinit(&joined_name);
    return status;
}

static void find_byte_ids(struct cm_byte_bpe *bpe, const struct cm_tokenizer_data *data,
                          const struct cm_span *bytes)
{
    for (size_t i = 0; i < 256; i++) {
        bpe->byte_ids[i] = NO_TOKEN;
    }
    for (uint32_t i = data->n_tokens; i-- > 0;) {
        if (bytes[i].length == 1 && may_come_from_text(data, (int32_t)i)) {
            bpe->byte_ids[(uint8_t)bytes[i].data[0]] = (int32_t)i;
        }
    }
}

/* Collects the words that the merges turn into one token, so that the common words need no merges
 * at all. Llama 3 takes a word that is in the vocabulary even where the merges do not lead to it.
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
        bool is_reached = data->pre_tokenizer == CM_PRE_LLAMA3;
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
    opened->unknown = may_come_from_text(data, data->unknown) ? data->unknown : NO_TOKEN;
    find_byte_ids(opened, data, bytes);
    enum cm_status status = open_merges(opened, data, names, error);
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
        cm_free(bpe->merges);
        cm_span_table_deinit(&bpe->words);
        cm_free(bpe);
    }
}
