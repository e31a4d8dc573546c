#include "jobs/content/near_duplicates.h"

#include "base/memory.h"
#include "jobs/content/words.h"

#include <stdint.h>
#include <string.h>

enum {
    HASHES = 128,
    SHINGLE_WORDS = 3,
    BANDS_MAX = HASHES / 2,
    CANDIDATES_MAX = 512, /* looked at for one text: boilerplate makes all texts candidates */
    NONE = -1,
};

typedef struct {
    uint16_t minima[HASHES]; /* the low bits of each minimum: chance hits are one in 65,536 */
} signature;

struct cm_near_duplicates {
    double threshold;
    uint32_t band_rows; /* hashes that must agree in one band */
    uint32_t bands;

    uint32_t *groups; /* [count] group of each text */
    size_t count;
    size_t groups_capacity;

    /* Groups: their first text, its signature, and per band the next group of the same bucket. */
    uint32_t *firsts;
    signature *signatures;
    int32_t *nexts; /* [groups_count, bands] */
    size_t groups_count;
    size_t firsts_capacity;
    size_t signatures_capacity;
    size_t nexts_capacity;
    uint32_t *looked_at; /* [groups_count] text that last compared itself with the group, plus 1 */
    size_t looked_at_capacity;

    int32_t *heads; /* [bands, buckets] newest group of a bucket */
    size_t buckets; /* a power of two, more than groups */
};

/* --- Shingles --- */

static void add_shingle(uint32_t minima[HASHES], uint64_t shingle)
{
    uint32_t low = (uint32_t)shingle;
    uint32_t high = (uint32_t)(shingle >> 32) | 1;
    /* Hash i of a shingle is low + i * high, stirred: double hashing in place of 128 tables. */
    for (uint32_t i = 0; i < HASHES; i++) {
        uint32_t x = low + i * high;
        x = (x ^ (x >> 16)) * 0x85EBCA6BU;
        x = (x ^ (x >> 13)) * 0xC2B2AE35U;
        x ^= x >> 16;
        minima[i] = x < minima[i] ? x : minima[i];
    }
}

/* False for a text without words. */
static bool sign(struct cm_span text, signature *result)
{
    uint32_t minima[HASHES];
    uint64_t recent[SHINGLE_WORDS] = { 0 };
    size_t count = 0;
    struct cm_words words = { .text = text };
    memset(minima, 0xFF, sizeof minima);
    for (uint64_t hash; cm_words_next(&words, &hash); count++) {
        memmove(recent, recent + 1, sizeof recent - sizeof recent[0]);
        recent[SHINGLE_WORDS - 1] = hash;
        if (count + 1 >= SHINGLE_WORDS) {
            add_shingle(minima, cm_words_mix(recent[0] ^
                                             cm_words_mix(recent[1] ^ cm_words_mix(recent[2]))));
        }
    }
    if (count > 0 && count < SHINGLE_WORDS) {
        add_shingle(minima, cm_words_mix(recent[1] ^ cm_words_mix(recent[2])));
    }
    for (size_t i = 0; i < HASHES; i++) {
        result->minima[i] = (uint16_t)minima[i];
    }
    return count > 0;
}

static double similarity_of(const signature *a, const signature *b)
{
    uint32_t equal = 0;
    for (size_t i = 0; i < HASHES; i++) {
        equal += a->minima[i] == b->minima[i];
    }
    return (double)equal / HASHES;
}

/* --- Buckets --- */

static size_t bucket_of(const struct cm_near_duplicates *set, const signature *text, uint32_t band)
{
    uint64_t hash = band + 1;
    for (uint32_t i = 0; i < set->band_rows; i++) {
        hash = cm_words_mix(hash ^ text->minima[band * set->band_rows + i]);
    }
    return band * set->buckets + (size_t)(hash & (set->buckets - 1));
}

static void link_group(struct cm_near_duplicates *set, size_t group)
{
    for (uint32_t band = 0; band < set->bands; band++) {
        size_t bucket = bucket_of(set, &set->signatures[group], band);
        set->nexts[group * set->bands + band] = set->heads[bucket];
        set->heads[bucket] = (int32_t)group;
    }
}

static enum cm_status grow_buckets(struct cm_near_duplicates *set)
{
    enum { BUCKETS_MIN = 1024 };
    if (set->groups_count + 1 < set->buckets) {
        return CM_OK;
    }
    size_t wanted = set->buckets == 0 ? BUCKETS_MIN : set->buckets * 4;
    int32_t *heads = cm_alloc(wanted * set->bands, sizeof *heads);
    if (heads == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    memset(heads, 0xFF, wanted * set->bands * sizeof *heads); /* NONE */
    cm_free(set->heads);
    set->heads = heads;
    set->buckets = wanted;
    for (size_t group = 0; group < set->groups_count; group++) {
        link_group(set, group);
    }
    return CM_OK;
}

static enum cm_status reserve_group(struct cm_near_duplicates *set)
{
    size_t needed = set->groups_count + 1;
    void *firsts = set->firsts;
    void *signatures = set->signatures;
    void *nexts = set->nexts;
    void *looked_at = set->looked_at;
    enum cm_status status = cm_grow(&firsts, &set->firsts_capacity, needed, sizeof *set->firsts);
    set->firsts = firsts;
    if (status == CM_OK) {
        status = cm_grow(&signatures, &set->signatures_capacity, needed, sizeof *set->signatures);
        set->signatures = signatures;
    }
    if (status == CM_OK) {
        status = cm_grow(&nexts, &set->nexts_capacity, needed * set->bands, sizeof *set->nexts);
        set->nexts = nexts;
    }
    if (status == CM_OK) {
        status = cm_grow(&looked_at, &set->looked_at_capacity, needed, sizeof *set->looked_at);
        set->looked_at = looked_at;
    }
    return status == CM_OK ? grow_buckets(set) : status;
}

/* The most similar group at the threshold, the earlier of equals. */
static int32_t find_group(struct cm_near_duplicates *set, const signature *text, double *similarity)
{
    int32_t best = NONE;
    uint32_t mark = (uint32_t)set->count + 1;
    uint32_t looked_at = 0;
    *similarity = 0.0;
    for (uint32_t band = 0; band < set->bands; band++) {
        int32_t group = set->buckets == 0 ? NONE : set->heads[bucket_of(set, text, band)];
        for (; group != NONE && looked_at < CANDIDATES_MAX;
             group = set->nexts[(size_t)group * set->bands + band]) {
            if (set->looked_at[group] == mark) {
                continue;
            }
            set->looked_at[group] = mark;
            looked_at++;
            double found = similarity_of(text, &set->signatures[group]);
            bool better = found > *similarity || (found == *similarity && group < best);
            if (found >= set->threshold && better) {
                best = group;
                *similarity = found;
            }
        }
    }
    return best;
}

/* --- The set --- */

enum cm_status cm_near_duplicates_open(double threshold, struct cm_near_duplicates **set,
                                       struct cm_error *error)
{
    CM_ASSERT(threshold >= 0.3 && threshold <= 1.0);
    struct cm_near_duplicates *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for near duplicates");
    }
    opened->threshold = threshold;
    /* At the threshold t a pair shares a band with probability 1 - (1 - t^rows)^bands: over
     * 0.9998 for each of these. */
    opened->band_rows = threshold >= 0.9 ? 8 : threshold >= 0.7 ? 4 : 2;
    opened->bands = HASHES / opened->band_rows;
    *set = opened;
    return CM_OK;
}

void cm_near_duplicates_close(struct cm_near_duplicates *set)
{
    if (set != NULL) {
        cm_free(set->groups);
        cm_free(set->firsts);
        cm_free(set->signatures);
        cm_free(set->nexts);
        cm_free(set->looked_at);
        cm_free(set->heads);
        cm_free(set);
    }
}

enum cm_status cm_near_duplicates_add(struct cm_near_duplicates *set, struct cm_span text,
                                      struct cm_near_match *match, struct cm_error *error)
{
    signature signed_text;
    *match = (struct cm_near_match){ .found = false };
    if (set->count == INT32_MAX) {
        return cm_error_set(error, CM_LIMIT, "more than %d texts to compare", INT32_MAX);
    }
    void *groups = set->groups;
    enum cm_status status =
        cm_grow(&groups, &set->groups_capacity, set->count + 1, sizeof *set->groups);
    set->groups = groups;
    if (status == CM_OK) {
        status = reserve_group(set);
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory for near duplicates");
    }
    bool has_words = sign(text, &signed_text);
    int32_t group = has_words ? find_group(set, &signed_text, &match->similarity) : NONE;
    if (group != NONE) {
        match->found = true;
        match->index = set->firsts[group];
    } else {
        group = (int32_t)set->groups_count++;
        set->firsts[group] = (uint32_t)set->count;
        set->signatures[group] = signed_text;
        set->looked_at[group] = 0;
        if (has_words) {
            link_group(set, (size_t)group);
        }
    }
    set->groups[set->count++] = (uint32_t)group;
    return CM_OK;
}

size_t cm_near_duplicates_count(const struct cm_near_duplicates *set)
{
    return set->count;
}

size_t cm_near_duplicates_group(const struct cm_near_duplicates *set, size_t index)
{
    CM_ASSERT(index < set->count);
    return set->firsts[set->groups[index]];
}
