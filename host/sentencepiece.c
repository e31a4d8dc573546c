#include "host/sentencepiece.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "host/merge_queue.h"
#include "host/merge_table.h"
#include "host/unigram.h"

#include <string.h>

#define NO_TOKEN (-1)
#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

enum { SPACE_MARK_BYTES = sizeof SPACE_MARK - 1, BYTE_NAME_LENGTH = 6 };

struct cm_sentencepiece {
    const float *scores; /* NULL: the merges count */
    struct cm_merge_table merges;
    struct cm_unigram *unigram;  /* NULL: pairs are joined */
    struct cm_span_table pieces; /* normal tokens by what they stand for */
    size_t piece_bytes_max;
    int32_t byte_ids[256]; /* NO_TOKEN: not in the vocabulary */
    int32_t unknown;
    bool split_at_spaces;
};

/* --- Bytes of tokens --- */

static bool is_space_mark(struct cm_span text, size_t at)
{
    return text.length - at >= SPACE_MARK_BYTES &&
           memcmp(text.data + at, SPACE_MARK, SPACE_MARK_BYTES) == 0;
}

static size_t marks_to_spaces(struct cm_span text, char *bytes)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length;) {
        bool is_mark = is_space_mark(text, i);
        bytes[length++] = is_mark ? ' ' : text.data[i];
        i += is_mark ? SPACE_MARK_BYTES : 1;
    }
    return length;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum cm_status cm_sentencepiece_token_bytes(enum cm_token_kind kind, struct cm_span name,
                                            char *bytes, size_t *length)
{
    *length = 0;
    if (kind == CM_TOKEN_NORMAL || kind == CM_TOKEN_USER_DEFINED) {
        *length = marks_to_spaces(name, bytes);
    } else if (kind == CM_TOKEN_BYTE) {
        if (name.length != BYTE_NAME_LENGTH || memcmp(name.data, "<0x", 3) != 0 ||
            name.data[5] != '>' || hex_digit(name.data[3]) < 0 || hex_digit(name.data[4]) < 0) {
            return CM_INVALID_DATA;
        }
        bytes[0] = (char)(hex_digit(name.data[3]) * 16 + hex_digit(name.data[4]));
        *length = 1;
    }
    return CM_OK;
}

/* --- Encoding --- */

struct work {
    const struct cm_sentencepiece *encoder;
    struct cm_span text; /* cut in one go */
    struct cm_merge_queue queue;
    struct cm_token_list *list;
    bool was_unknown; /* the last token */
};

/* A higher score is a lower rank: the bits of floats in their order, counted from the top. */
static uint32_t rank_of(float score)
{
    uint32_t bits;
    score += 0.0F; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return (bits & 0x80000000U) != 0 ? bits : ~(bits | 0x80000000U);
}

static struct cm_merge find_by_score(const void *context, const struct cm_symbol *left,
                                     const struct cm_symbol *right)
{
    const struct work *work = context;
    struct cm_span joined = { work->text.data + left->begin, (size_t)left->bytes + right->bytes };
    int32_t id = NO_TOKEN;
    if (joined.length <= work->encoder->piece_bytes_max) {
        id = cm_span_table_find(&work->encoder->pieces, joined);
    }
    return id < 0 ? (struct cm_merge){ CM_NO_RANK, NO_TOKEN }
                  : (struct cm_merge){ rank_of(work->encoder->scores[id]), id };
}

static struct cm_merge find_by_merges(const void *context, const struct cm_symbol *left,
                                      const struct cm_symbol *right)
{
    const struct work *work = context;
    return *cm_merge_table_find(&work->encoder->merges, left->id, right->id);
}

/* Every character, and every byte that belongs to none, is a symbol. */
static uint32_t split_characters(struct work *work)
{
    struct cm_span text = work->text;
    uint32_t count = 0;
    for (size_t i = 0; i < text.length;) {
        size_t length;
        if (cm_utf8_step((const uint8_t *)text.data + i, text.length - i, &length) !=
            CM_UTF8_VALID) {
            length = 1;
        }
        struct cm_span character = { text.data + i, length };
        work->queue.symbols[count++] =
            (struct cm_symbol){ .id = cm_span_table_find(&work->encoder->pieces, character),
                                .begin = (uint32_t)i,
                                .bytes = (uint32_t)length };
        i += length;
    }
    return count;
}

static enum cm_status append_id(struct work *work, int32_t id)
{
    bool is_unknown = id == work->encoder->unknown;
    if (id < 0 || (is_unknown && work->was_unknown)) {
        return CM_OK;
    }
    work->was_unknown = is_unknown;
    return cm_token_list_append(work->list, id);
}

static enum cm_status append_symbol(struct work *work, const struct cm_symbol *symbol)
{
    const uint8_t *bytes = (const uint8_t *)work->text.data + symbol->begin;
    if (symbol->id >= 0) {
        return append_id(work, symbol->id);
    }
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < symbol->bytes && status == CM_OK; i++) {
        int32_t id = work->encoder->byte_ids[bytes[i]];
        status = append_id(work, id >= 0 ? id : work->encoder->unknown);
    }
    return status;
}

static enum cm_status cut(struct work *work)
{
    if (work->encoder->unigram != NULL) {
        return cm_unigram_cut(work->encoder->unigram, work->text, &work->queue);
    }
    enum cm_status status = cm_merge_queue_reserve(&work->queue, work->text.length);
    bool by_score = work->encoder->scores != NULL;
    return status == CM_OK ? cm_merge_queue_run(&work->queue, split_characters(work),
                                                by_score ? find_by_score : find_by_merges, work)
                           : status;
}

static enum cm_status encode_piece(struct work *work, struct cm_span text)
{
    work->text = text;
    work->was_unknown = false;
    enum cm_status status = cut(work);
    for (uint32_t i = 0; i != CM_NO_SYMBOL && status == CM_OK; i = work->queue.symbols[i].after) {
        status = append_symbol(work, &work->queue.symbols[i]);
    }
    return status;
}

/* Bytes up to the next space that is not the first byte, or all of them. */
static size_t word_bytes(const struct work *work, struct cm_span text)
{
    const char *space =
        work->encoder->split_at_spaces ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
    return space != NULL ? (size_t)(space - text.data) : text.length;
}

enum cm_status cm_sentencepiece_encode(const struct cm_sentencepiece *encoder, struct cm_span text,
                                       struct cm_token_list *list)
{
    struct work work = { .encoder = encoder, .list = list };
    struct cm_text unmarked = CM_TEXT_INIT(SIZE_MAX / 2);
    enum cm_status status = CM_OK;
    if (text.length > 0 && memmem(text.data, text.length, SPACE_MARK, SPACE_MARK_BYTES) != NULL) {
        status = cm_text_append_span(&unmarked, text);
        if (status == CM_OK) {
            text = (struct cm_span){ unmarked.data, marks_to_spaces(text, unmarked.data) };
        }
    }
    while (text.length > 0 && status == CM_OK) {
        size_t taken = word_bytes(&work, text);
        status = encode_piece(&work, (struct cm_span){ text.data, taken });
        text = (struct cm_span){ text.data + taken, text.length - taken };
    }
    cm_text_deinit(&unmarked);
    cm_merge_queue_deinit(&work.queue);
    return status;
}

/* --- Opening --- */

static enum cm_status open_pieces(struct cm_sentencepiece *encoder,
                                  const struct cm_tokenizer_data *data, const struct cm_span *bytes)
{
    enum cm_status status = cm_span_table_init(&encoder->pieces, data->n_tokens);
    for (uint32_t i = 0; i < data->n_tokens && status == CM_OK; i++) {
        if (data->kinds[i] == CM_TOKEN_NORMAL && bytes[i].length > 0) {
            cm_span_table_insert(&encoder->pieces, bytes[i], (int32_t)i);
            if (bytes[i].length > encoder->piece_bytes_max) {
                encoder->piece_bytes_max = bytes[i].length;
            }
        } else if (data->kinds[i] == CM_TOKEN_BYTE) {
            int32_t *id = &encoder->byte_ids[(uint8_t)bytes[i].data[0]];
            *id = *id == NO_TOKEN ? (int32_t)i : *id;
        }
    }
    return status;
}

enum cm_status cm_sentencepiece_open(const struct cm_tokenizer_data *data,
                                     const struct cm_span_table *names, const struct cm_span *bytes,
                                     struct cm_sentencepiece **encoder, struct cm_error *error)
{
    struct cm_sentencepiece *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer.");
    }
    opened->scores = data->scores;
    opened->split_at_spaces = data->split_at_spaces;
    opened->unknown = cm_token_may_come_from_text(data, data->unknown) ? data->unknown : NO_TOKEN;
    for (size_t i = 0; i < 256; i++) {
        opened->byte_ids[i] = NO_TOKEN;
    }
    bool is_unigram = data->model == CM_TOKENIZER_UNIGRAM;
    enum cm_status status = open_pieces(opened, data, bytes);
    if (status == CM_OK && is_unigram) {
        status = cm_unigram_open(data, bytes, &opened->unigram);
    }
    if (status != CM_OK) {
        cm_error_set(error, status, "No memory for the tokenizer's vocabulary.");
    }
    if (status == CM_OK && !is_unigram && data->scores == NULL) {
        status = cm_merge_table_init(&opened->merges, data, names, error);
    }
    if (status != CM_OK) {
        cm_sentencepiece_close(opened);
        return status;
    }
    *encoder = opened;
    return CM_OK;
}

void cm_sentencepiece_close(struct cm_sentencepiece *encoder)
{
    if (encoder != NULL) {
        cm_unigram_close(encoder->unigram);
        cm_span_table_deinit(&encoder->pieces);
        cm_merge_table_deinit(&encoder->merges);
        cm_free(encoder);
    }
}
