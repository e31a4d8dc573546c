#include "host/unigram.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "host/piece_index.h"

#define NO_TOKEN (-1)

/* What a character outside the vocabulary costs beyond the worst piece; SentencePiece's figure. */
static const double UNKNOWN_PENALTY = 10;

struct cm_unigram {
    const float *scores;
    struct cm_piece_index pieces;
    double unknown_score;
};

/* The best way to a place in the text. */
struct way {
    double score;
    uint32_t begin; /* of its last piece */
    int32_t id;
    bool is_known;
};

static void offer(struct way *way, double score, size_t begin, int32_t id)
{
    if (!way->is_known || score > way->score) {
        *way = (struct way){ .score = score, .begin = (uint32_t)begin, .id = id, .is_known = true };
    }
}

/* All pieces that begin at `at`, where the best way has been found. `ways` begins there too. */
static size_t offer_pieces(const struct cm_unigram *unigram, struct cm_span text, size_t at,
                           struct way *ways)
{
    size_t character_bytes;
    struct cm_span rest = { text.data + at, text.length - at };
    if (cm_utf8_step((const uint8_t *)rest.data, rest.length, &character_bytes) != CM_UTF8_VALID) {
        character_bytes = 1;
    }
    struct cm_piece_walk walk = cm_piece_walk_begin(&unigram->pieces, rest);
    struct cm_piece piece;
    bool is_covered = false;
    while (cm_piece_walk_next(&walk, &piece)) {
        double score = ways[0].score + (double)unigram->scores[piece.id];
        offer(&ways[piece.name.length], score, at, piece.id);
        is_covered |= piece.name.length == character_bytes;
    }
    if (!is_covered) {
        offer(&ways[character_bytes], ways[0].score + unigram->unknown_score, at, NO_TOKEN);
    }
    return character_bytes;
}

enum cm_status cm_unigram_cut(const struct cm_unigram *unigram, struct cm_span text,
                              struct cm_merge_queue *queue)
{
    struct way *ways = cm_alloc(text.length + 1, sizeof *ways);
    enum cm_status status = ways == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    if (status == CM_OK) {
        status = cm_merge_queue_reserve(queue, text.length);
    }
    for (size_t at = 0; at < text.length && status == CM_OK;) {
        at += offer_pieces(unigram, text, at, &ways[at]);
    }
    uint32_t after = CM_NO_SYMBOL;
    for (size_t end = text.length; end > 0 && status == CM_OK;) {
        uint32_t begin = ways[end].begin;
        queue->symbols[begin] = (struct cm_symbol){
            .id = ways[end].id, .begin = begin, .bytes = (uint32_t)end - begin, .after = after
        };
        after = begin;
        end = begin;
    }
    cm_free(ways);
    return status;
}

/* --- Opening --- */

enum cm_status cm_unigram_open(const struct cm_tokenizer_data *data, const struct cm_span *bytes,
                               struct cm_unigram **unigram)
{
    struct cm_unigram *opened = cm_alloc(1, sizeof *opened);
    enum cm_status status = opened == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    if (status == CM_OK) {
        status = cm_piece_index_init(&opened->pieces, data->n_tokens);
    }
    if (status != CM_OK) {
        cm_unigram_close(opened);
        return status;
    }
    opened->scores = data->scores;
    double worst = 0;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        worst = data->scores[i] < worst ? data->scores[i] : worst;
        if (data->kinds[i] == CM_TOKEN_NORMAL) {
            cm_piece_index_add(&opened->pieces, bytes[i], (int32_t)i);
        }
    }
    opened->unknown_score = worst - UNKNOWN_PENALTY;
    cm_piece_index_sort(&opened->pieces);
    *unigram = opened;
    return CM_OK;
}

void cm_unigram_close(struct cm_unigram *unigram)
{
    if (unigram != NULL) {
        cm_piece_index_deinit(&unigram->pieces);
        cm_free(unigram);
    }
}
