#include "host/sentencepiece.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "host/merge_queue.h"
#include "host/merge_table.h"
#include "host/piece_index.h"

#include <string.h>

#define NO_TOKEN (-1)
#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

enum { SPACE_MARK_BYTES = sizeof SPACE_MARK - 1, BYTE_NAME_LENGTH = 6 };

struct cm_sentencepiece {
    const float *scores; /* NULL: the merges count */
    struct cm_merge_table merges;
    struct cm_span_table pieces; /* normal tokens by what they stand for */
    size_t piece_bytes_max;
    struct cm_piece_index user_defined;
    int32_t byte_ids[256]; /* NO_TOKEN: not in the vocabulary */
    int32_t unknown;
    bool add_space_prefix;
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
    struct cm_span text;     /* between two user-defined tokens */
    struct cm_text unmarked; /* its copy, where it is not taken as it is */
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

/* The text between user-defined tokens. A U+2581 in it is a space like any other. */
static enum cm_status encode_between(struct work *work, struct cm_span text, bool with_prefix)
{
    work->text = text;
    if (with_prefix ||
        (text.length > 0 && memmem(text.data, text.length, SPACE_MARK, SPACE_MARK_BYTES) != NULL)) {
        cm_text_clear(&work->unmarked);
        enum cm_status status = cm_text_append_string(&work->unmarked, with_prefix ? " " : "");
        if (status == CM_OK) {
            status = cm_text_append_span(&work->unmarked, text);
        }
        if (status != CM_OK) {
            return status;
        }
        size_t length = marks_to_spaces(cm_text_span(&work->unmarked), work->unmarked.data);
        work->text = (struct cm_span){ work->unmarked.data, length };
    }
    if (work->text.length == 0) {
        return CM_OK;
    }
    enum cm_status status = cm_merge_queue_reserve(&work->queue, work->text.length);
    if (status == CM_OK) {
        bool by_score = work->encoder->scores != NULL;
        status = cm_merge_queue_run(&work->queue, split_characters(work),
                                    by_score ? find_by_score : find_by_merges, work);
    }
    for (uint32_t i = 0; i != CM_NO_SYMBOL && status == CM_OK; i = work->queue.symbols[i].after) {
        status = append_symbol(work, &work->queue.symbols[i]);
    }
    return status;
}

/* The longest user-defined token that `text` begins with. */
static int32_t find_user_defined(const struct cm_sentencepiece *encoder, struct cm_span text,
                                 size_t *bytes)
{
    struct cm_piece_walk walk = cm_piece_walk_begin(&encoder->user_defined, text);
    struct cm_piece piece = { .id = NO_TOKEN };
    while (cm_piece_walk_next(&walk, &piece)) {
        *bytes = piece.name.length;
    }
    return piece.id;
}

enum cm_status cm_sentencepiece_encode(const struct cm_sentencepiece *encoder, struct cm_span text,
                                       struct cm_token_list *list)
{
    struct work work = { .encoder = encoder, .list = list, .unmarked = CM_TEXT_INIT(SIZE_MAX / 2) };
    bool with_prefix = encoder->add_space_prefix && text.length > 0;
    enum cm_status status = CM_OK;
    size_t begin = 0;
    for (size_t at = 0; at < text.length && status == CM_OK;) {
        size_t bytes = 0;
        struct cm_span rest = { text.data + at, text.length - at };
        int32_t id = find_user_defined(encoder, rest, &bytes);
        if (id < 0) {
            at++;
            continue;
        }
        struct cm_span before = { text.data + begin, at - begin };
        status = encode_between(&work, before, with_prefix);
        if (status == CM_OK) {
            status = append_id(&work, id);
        }
        with_prefix = false;
        at += bytes;
        begin = at;
    }
    if (status == CM_OK) {
        struct cm_span rest = { text.data + begin, text.length - begin };
        status = encode_between(&work, rest, with_prefix);
    }
    cm_text_deinit(&work.unmarked);
    cm_merge_queue_deinit(&work.queue);
    return status;
}

/* --- Opening --- */

static enum cm_status open_pieces(struct cm_sentencepiece *encoder,
                                  const struct cm_tokenizer_data *data, const struct cm_span *bytes)
{
    size_t user_defined_count = 0;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        user_defined_count += data->kinds[i] == CM_TOKEN_USER_DEFINED;
    }
    enum cm_status status = cm_span_table_init(&encoder->pieces, data->n_tokens);
    if (status == CM_OK) {
        status = cm_piece_index_init(&encoder->user_defined, user_defined_count);
    }
    for (uint32_t i = 0; i < data->n_tokens && status == CM_OK; i++) {
        if (data->kinds[i] == CM_TOKEN_NORMAL && bytes[i].length > 0) {
            cm_span_table_insert(&encoder->pieces, bytes[i], (int32_t)i);
            if (bytes[i].length > encoder->piece_bytes_max) {
                encoder->piece_bytes_max = bytes[i].length;
            }
        } else if (data->kinds[i] == CM_TOKEN_USER_DEFINED) {
            cm_piece_index_add(&encoder->user_defined, data->tokens[i], (int32_t)i);
        } else if (data->kinds[i] == CM_TOKEN_BYTE) {
            int32_t *id = &encoder->byte_ids[(uint8_t)bytes[i].data[0]];
            *id = *id == NO_TOKEN ? (int32_t)i : *id;
        }
    }
    if (status == CM_OK) {
        cm_piece_index_sort(&encoder->user_defined);
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
    opened->add_space_prefix = data->add_space_prefix;
    opened->unknown = cm_token_may_come_from_text(data, data->unknown) ? data->unknown : NO_TOKEN;
    for (size_t i = 0; i < 256; i++) {
        opened->byte_ids[i] = NO_TOKEN;
    }
    enum cm_status status = open_pieces(opened, data, bytes);
    if (status != CM_OK) {
        cm_error_set(error, status, "No memory for the tokenizer's vocabulary.");
    }
    if (status == CM_OK && data->scores == NULL) {
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
        cm_piece_index_deinit(&encoder->user_defined);
        cm_span_table_deinit(&encoder->pieces);
        cm_merge_table_deinit(&encoder->merges);
        cm_free(encoder);
    }
}
