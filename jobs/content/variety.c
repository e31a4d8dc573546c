#include "jobs/content/variety.h"

#include "base/memory.h"
#include "jobs/content/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 4, WORDS_MAX = 1024 /* of a text in the sample */ };

/* Hashes that were seen, open addressing; 0 is a free place. */
struct seen {
    uint64_t *hashes;
    size_t capacity;
    size_t distinct;
    size_t total;
};

struct sampled {
    uint64_t *words;
    size_t count;
};

struct cm_variety {
    struct seen words;
    struct seen pairs;
    uint64_t *text; /* the words of the text in hand */
    size_t text_capacity;
    struct sampled sample[CM_VARIETY_SAMPLE_MAX];
    size_t sample_count;
    uint64_t texts;
    uint64_t step; /* every step-th text is in the sample */
};

enum cm_status cm_variety_open(struct cm_variety **variety)
{
    *variety = cm_alloc(1, sizeof **variety);
    if (*variety == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    (*variety)->step = 1;
    return CM_OK;
}

void cm_variety_close(struct cm_variety *variety)
{
    if (variety != NULL) {
        for (size_t i = 0; i < variety->sample_count; i++) {
            cm_free(variety->sample[i].words);
        }
        cm_free(variety->text);
        cm_free(variety->words.hashes);
        cm_free(variety->pairs.hashes);
        cm_free(variety);
    }
}

/* --- distinct-n --- */

static bool insert(uint64_t *hashes, size_t capacity, uint64_t hash)
{
    size_t place = hash & (capacity - 1);
    while (hashes[place] != 0 && hashes[place] != hash) {
        place = (place + 1) & (capacity - 1);
    }
    bool is_new = hashes[place] == 0;
    hashes[place] = hash;
    return is_new;
}

static enum cm_status count_once(struct seen *seen, uint64_t hash)
{
    enum { CAPACITY_MIN = 1024 };
    if (2 * (seen->distinct + 1) > seen->capacity) {
        size_t capacity = seen->capacity == 0 ? CAPACITY_MIN : 2 * seen->capacity;
        uint64_t *hashes = cm_alloc(capacity, sizeof *hashes);
        if (hashes == NULL) {
            return CM_OUT_OF_MEMORY;
        }
        for (size_t i = 0; i < seen->capacity; i++) {
            if (seen->hashes[i] != 0) {
                insert(hashes, capacity, seen->hashes[i]);
            }
        }
        cm_free(seen->hashes);
        seen->hashes = hashes;
        seen->capacity = capacity;
    }
    seen->total++;
    seen->distinct += insert(seen->hashes, seen->capacity, hash | 1);
    return CM_OK;
}

static double distinct(const struct seen *seen)
{
    return seen->total == 0 ? 1 : (double)seen->distinct / (double)seen->total;
}

/* --- The sample --- */

/* Leaves every second text in it. */
static void thin_out(struct cm_variety *variety)
{
    for (size_t i = 0; i < variety->sample_count; i++) {
        if (i % 2 == 0) {
            variety->sample[i / 2] = variety->sample[i];
        } else {
            cm_free(variety->sample[i].words);
        }
    }
    variety->sample_count = (variety->sample_count + 1) / 2;
    variety->step *= 2;
}

static enum cm_status keep(struct cm_variety *variety, size_t count)
{
    if (variety->texts % variety->step != 0) {
        return CM_OK;
    }
    if (variety->sample_count == CM_VARIETY_SAMPLE_MAX) {
        thin_out(variety);
        if (variety->texts % variety->step != 0) {
            return CM_OK;
        }
    }
    struct sampled *text = &variety->sample[variety->sample_count];
    text->count = count < WORDS_MAX ? count : WORDS_MAX;
    text->words = cm_alloc(text->count, sizeof *text->words);
    if (text->words == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    if (text->count > 0) {
        memcpy(text->words, variety->text, text->count * sizeof *text->words);
    }
    variety->sample_count++;
    return CM_OK;
}

enum cm_status cm_variety_add(struct cm_variety *variety, struct cm_span text)
{
    struct cm_words words = { .text = text };
    uint64_t hash;
    size_t count = 0;
    enum cm_status status = CM_OK;
    while (status == CM_OK && cm_words_next(&words, &hash)) {
        void *block = variety->text;
        status = cm_grow(&block, &variety->text_capacity, count + 1, sizeof *variety->text);
        variety->text = block;
        if (status == CM_OK) {
            variety->text[count++] = hash;
            status = count_once(&variety->words, cm_words_mix(hash));
        }
        if (status == CM_OK && count > 1) {
            uint64_t before = variety->text[count - 2];
            status = count_once(&variety->pairs, cm_words_mix(hash ^ cm_words_mix(before | 1)));
        }
    }
    if (status == CM_OK) {
        status = keep(variety, count);
        variety->texts++;
    }
    return status;
}

/* --- self-BLEU --- */

/* How often a text of the sample has a phrase. */
struct phrase {
    uint64_t hash;
    uint32_t text;
    uint32_t count;
};

static int by_hash_and_text(const void *a, const void *b)
{
    const struct phrase *left = a;
    const struct phrase *right = b;
    if (left->hash != right->hash) {
        return left->hash < right->hash ? -1 : 1;
    }
    return (left->text > right->text) - (left->text < right->text);
}

/* The phrases of `order` words, each once a text, sorted. Returns how many. */
static size_t list_phrases(const struct cm_variety *variety, size_t order, struct phrase *phrases)
{
    size_t count = 0;
    for (size_t i = 0; i < variety->sample_count; i++) {
        const struct sampled *text = &variety->sample[i];
        for (size_t at = 0; at + order <= text->count; at++) {
            uint64_t hash = 0;
            for (size_t j = 0; j < order; j++) {
                hash = cm_words_mix(hash ^ text->words[at + j]);
            }
            phrases[count++] = (struct phrase){ hash, (uint32_t)i, 1 };
        }
    }
    qsort(phrases, count, sizeof *phrases, by_hash_and_text);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && by_hash_and_text(&phrases[kept - 1], &phrases[i]) == 0) {
            phrases[kept - 1].count++;
        } else {
            phrases[kept++] = phrases[i];
        }
    }
    return kept;
}

/* Adds to `matched[text]` how many of its phrases another text has, each at most as often as the
 * text that has it most often. */
static void match_phrases(const struct phrase *phrases, size_t count, double *matched)
{
    for (size_t begin = 0; begin < count;) {
        size_t end = begin;
        size_t most = begin;
        uint32_t second = 0;
        while (end < count && phrases[end].hash == phrases[begin].hash) {
            if (end > begin && phrases[end].count > phrases[most].count) {
                second = phrases[most].count;
                most = end;
            } else if (end > begin && phrases[end].count > second) {
                second = phrases[end].count;
            }
            end++;
        }
        for (size_t i = begin; i < end; i++) {
            uint32_t others = i == most ? second : phrases[most].count;
            matched[phrases[i].text] += phrases[i].count < others ? phrases[i].count : others;
        }
        begin = end;
    }
}

/* The penalty for texts that are shorter than the other of the closest length. */
static double brevity(const struct cm_variety *variety, size_t text)
{
    size_t length = variety->sample[text].count;
    size_t closest = 0;
    size_t distance = SIZE_MAX;
    for (size_t i = 0; i < variety->sample_count; i++) {
        size_t other = variety->sample[i].count;
        size_t apart = other > length ? other - length : length - other;
        if (i != text && (apart < distance || (apart == distance && other < closest))) {
            distance = apart;
            closest = other;
        }
    }
    return length >= closest ? 1 : exp(1 - (double)closest / (double)length);
}

static double mean_bleu(const struct cm_variety *variety,
                        double matched[ORDERS][CM_VARIETY_SAMPLE_MAX])
{
    const double nearly_none = 0.1; /* instead of no match (Chen and Cherry 2014, method 1) */
    double sum = 0;
    for (size_t i = 0; i < variety->sample_count; i++) {
        size_t words = variety->sample[i].count;
        double logs = 0;
        size_t orders = 0;
        for (size_t n = 0; n < ORDERS && n < words; n++, orders++) {
            logs += log(fmax(matched[n][i], nearly_none) / (double)(words - n));
        }
        sum += orders == 0 ? 0 : brevity(variety, i) * exp(logs / (double)orders);
    }
    return sum / (double)variety->sample_count;
}

enum cm_status cm_variety_measure(const struct cm_variety *variety,
                                  struct cm_variety_figures *figures)
{
    double matched[ORDERS][CM_VARIETY_SAMPLE_MAX] = { 0 };
    size_t words = 0;
    for (size_t i = 0; i < variety->sample_count; i++) {
        words += variety->sample[i].count;
    }
    *figures = (struct cm_variety_figures){ .distinct_1 = distinct(&variety->words),
                                            .distinct_2 = distinct(&variety->pairs),
                                            .sample = variety->sample_count };
    if (variety->sample_count < 2) {
        return CM_OK;
    }
    struct phrase *phrases = cm_alloc(words, sizeof *phrases);
    if (phrases == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t n = 0; n < ORDERS; n++) {
        match_phrases(phrases, list_phrases(variety, n + 1, phrases), matched[n]);
    }
    cm_free(phrases);
    figures->self_bleu = mean_bleu(variety, matched);
    return CM_OK;
}
