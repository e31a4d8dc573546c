#include "jobs/content/meaning.h"

#include "base/memory.h"
#include "host/encoder.h"
#include "jobs/model_store.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TEXTS_MAX = 256, NAME_BYTES = 96, SEGMENT_BYTES_MAX = 1 << 16 };

/* With MiniLM, of the references of one E2E meaning 44 % of the pairs are this close, of those of
 * two meanings 0.7 %. */
static const double SAME_MEANING = 0.92;

/* A lead of this much over the mean of the other audiences is as good as it gets. */
static const double LEAD_FULL = 0.2;

/* How much of the whole score the aim can take. */
static const double AIM_SHARE = 0.1;

struct cm_meaning {
    struct cm_encoder *encoder;
    uint32_t dim;
    const struct cm_segments *segments;
    float *segment_vectors; /* [segments, dim] */

    /* The texts of the item in hand. */
    char *item_id;
    float *vectors; /* [TEXTS_MAX, dim] */
    char (*names)[NAME_BYTES];
    size_t count;
};

static enum cm_status out_of_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the embedder");
}

/* What a segment is about, in one text. */
static enum cm_status describe_segment(const struct cm_segment *segment, struct cm_text *text)
{
    enum cm_status status = CM_OK;
    cm_text_clear(text);
    for (size_t i = 0; status == CM_OK && i < segment->attributes_count; i++) {
        const struct cm_attribute *attribute = &segment->attributes[i];
        if (strcasecmp(attribute->name, "language") != 0 && attribute->value[0] != '\0') {
            status = cm_text_printf(text, "%s: %s. ", attribute->name, attribute->value);
        }
    }
    return status == CM_LIMIT ? CM_OK : status;
}

static enum cm_status embed_segments(struct cm_meaning *meaning, struct cm_error *error)
{
    struct cm_text text = CM_TEXT_INIT(SEGMENT_BYTES_MAX);
    enum cm_status status = CM_OK;
    meaning->segment_vectors =
        cm_alloc(meaning->segments->count * meaning->dim, sizeof *meaning->segment_vectors);
    if (meaning->segment_vectors == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; status == CM_OK && i < meaning->segments->count; i++) {
        if (describe_segment(&meaning->segments->items[i], &text) != CM_OK) {
            status = out_of_memory(error);
            break;
        }
        struct cm_span span = cm_text_span(&text);
        status = cm_encoder_embed(meaning->encoder, &span, 1,
                                  meaning->segment_vectors + i * meaning->dim, error);
    }
    cm_text_deinit(&text);
    return status;
}

enum cm_status cm_meaning_open(const char *model, const struct cm_segments *segments,
                               struct cm_meaning **meaning, struct cm_error *error)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_encoder_info info;
    struct cm_encoder_options options = { .model_path = path };
    struct cm_meaning *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return out_of_memory(error);
    }
    opened->segments = segments;
    enum cm_status status = cm_model_resolve(model, path, sizeof path, error);
    if (status == CM_OK) {
        status = cm_encoder_open(&options, &opened->encoder, error);
    }
    if (status == CM_OK) {
        cm_encoder_info(opened->encoder, &info);
        opened->dim = info.dim;
        opened->vectors = cm_alloc((size_t)TEXTS_MAX * info.dim, sizeof *opened->vectors);
        opened->names = cm_alloc(TEXTS_MAX, sizeof *opened->names);
        status = opened->vectors == NULL || opened->names == NULL ? out_of_memory(error)
                                                                  : embed_segments(opened, error);
    }
    if (status != CM_OK) {
        cm_meaning_close(opened);
        return status;
    }
    *meaning = opened;
    return CM_OK;
}

void cm_meaning_close(struct cm_meaning *meaning)
{
    if (meaning != NULL) {
        cm_encoder_close(meaning->encoder);
        cm_free(meaning->segment_vectors);
        cm_free(meaning->vectors);
        cm_free(meaning->names);
        cm_free(meaning->item_id);
        cm_free(meaning);
    }
}

/* 0 to 1: how much closer the text is to its own audience than to the others on average. */
static double aim_of(const struct cm_meaning *meaning, const float *vector, size_t own)
{
    double mine = 0.0;
    double others = 0.0;
    for (size_t i = 0; i < meaning->segments->count; i++) {
        double similarity = cm_encoder_similarity(meaning->encoder, vector,
                                                  meaning->segment_vectors + i * meaning->dim);
        *(i == own ? &mine : &others) += similarity;
    }
    double lead = mine - others / (double)(meaning->segments->count - 1);
    double aim = 0.5 + 0.5 * lead / LEAD_FULL;
    return aim < 0 ? 0 : aim > 1 ? 1 : aim;
}

static void judge_aim(const struct cm_meaning *meaning, const struct cm_meaning_row *row,
                      const float *vector, struct cm_judgement *judgement)
{
    if (row->segment == NULL || meaning->segments->count < 2) {
        return;
    }
    size_t own = (size_t)(row->segment - meaning->segments->items);
    double aim = aim_of(meaning, vector, own);
    judgement->scores[CM_TARGETING] = (judgement->scores[CM_TARGETING] + aim) / 2;
    judgement->score *= 1.0 - AIM_SHARE * (1.0 - aim);
}

static void judge_repetition(const struct cm_meaning *meaning, const float *vector,
                             struct cm_judgement *judgement)
{
    if (cm_judgement_has(judgement, "near-duplicate")) {
        return;
    }
    for (size_t i = 0; i < meaning->count; i++) {
        double similarity =
            cm_encoder_similarity(meaning->encoder, vector, meaning->vectors + i * meaning->dim);
        if (similarity >= SAME_MEANING) {
            double factor = cm_rule_find("near-duplicate")->factor;
            cm_judgement_flag(judgement, "near-duplicate", "means the same as %s",
                              meaning->names[i]);
            judgement->scores[CM_CREATIVITY] *= factor;
            judgement->score *= factor;
            return;
        }
    }
}

enum cm_status cm_meaning_judge(struct cm_meaning *meaning, const struct cm_meaning_row *row,
                                struct cm_judgement *judgement, struct cm_error *error)
{
    if (meaning->item_id == NULL || strcmp(meaning->item_id, row->item_id) != 0) {
        char *copy = cm_strdup(row->item_id);
        if (copy == NULL) {
            return out_of_memory(error);
        }
        cm_free(meaning->item_id);
        meaning->item_id = copy;
        meaning->count = 0;
    }
    /* Past the maximum the last place is used again and again. */
    size_t place = meaning->count < TEXTS_MAX - 1 ? meaning->count : TEXTS_MAX - 1;
    float *vector = meaning->vectors + place * meaning->dim;
    enum cm_status status = cm_encoder_embed(meaning->encoder, &row->text, 1, vector, error);
    if (status != CM_OK) {
        return status;
    }
    judge_aim(meaning, row, vector, judgement);
    meaning->count = place;
    judge_repetition(meaning, vector, judgement);
    snprintf(meaning->names[place], NAME_BYTES, "%s", row->name);
    meaning->count = place + 1;
    return CM_OK;
}
