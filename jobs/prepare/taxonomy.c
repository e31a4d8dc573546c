#include "jobs/prepare/taxonomy.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "jobs/content/words.h"
#include "loaders/sheet.h"

#include <stdint.h>
#include <string.h>

enum { KEYWORD_WORDS_MAX = 8, NONE = -1, SCORE_MIN = 2, WEIGHT_TITLE = 3, WEIGHT_CATEGORY = 2 };

struct category {
    char *path;
    char *keywords;     /* as in the file, what spans point into; NULL: none */
    uint64_t path_hash; /* of all words */
    uint64_t leaf_hash; /* of the words of the last part */
};

struct keyword {
    uint32_t category;
    uint32_t words_count;
    uint64_t words[KEYWORD_WORDS_MAX];
    struct cm_span text;
    int32_t next; /* of the same first word */
};

struct cm_taxonomy {
    struct category *categories;
    size_t categories_count;
    size_t categories_capacity;
    struct keyword *keywords;
    size_t keywords_count;
    size_t keywords_capacity;
    int32_t *buckets; /* first keyword by the hash of its first word */
    size_t buckets_count;
    uint32_t *scores; /* [categories], zero between calls */
    uint32_t *best_weights;
    int32_t *best_keywords;
    uint32_t *touched; /* categories with a score */
};

/* --- Paths --- */

static bool is_separator(char byte)
{
    return byte == '>' || byte == '/';
}

static uint64_t hash_of_words(struct cm_span text)
{
    struct cm_words words = { .text = text, .singular = true };
    uint64_t all = 0;
    for (uint64_t hash; cm_words_next(&words, &hash);) {
        all = cm_words_mix(all ^ hash);
    }
    return all;
}

static struct cm_span leaf_of(struct cm_span path)
{
    size_t begin = path.length;
    while (begin > 0 && !is_separator(path.data[begin - 1])) {
        begin--;
    }
    return cm_span_trim((struct cm_span){ path.data + begin, path.length - begin });
}

/* --- Reading --- */

static enum cm_status add_keyword(struct cm_taxonomy *taxonomy, uint32_t category,
                                  struct cm_span text)
{
    struct keyword keyword = { .category = category, .text = cm_span_trim(text), .next = NONE };
    struct cm_words words = { .text = keyword.text, .singular = true };
    uint64_t hash;
    while (keyword.words_count < KEYWORD_WORDS_MAX && cm_words_next(&words, &hash)) {
        keyword.words[keyword.words_count++] = hash;
    }
    if (keyword.words_count == 0) {
        return CM_OK;
    }
    void *keywords = taxonomy->keywords;
    enum cm_status status = cm_grow(&keywords, &taxonomy->keywords_capacity,
                                    taxonomy->keywords_count + 1, sizeof *taxonomy->keywords);
    taxonomy->keywords = keywords;
    if (status == CM_OK) {
        taxonomy->keywords[taxonomy->keywords_count++] = keyword;
    }
    return status;
}

/* "，、；" separate as their ASCII forms do. */
static size_t separator_bytes(const char *at)
{
    static const char *const separators[] = { ",", ";", "|", "，", "、", "；" };
    for (size_t i = 0; i < sizeof separators / sizeof separators[0]; i++) {
        size_t length = strlen(separators[i]);
        if (strncmp(at, separators[i], length) == 0) {
            return length;
        }
    }
    return 0;
}

static enum cm_status add_keywords(struct cm_taxonomy *taxonomy, uint32_t category,
                                   const char *list)
{
    enum cm_status status = CM_OK;
    const char *begin = list;
    for (const char *at = list; status == CM_OK; at++) {
        size_t separator = *at == '\0' ? 0 : separator_bytes(at);
        if (*at != '\0' && separator == 0) {
            continue;
        }
        status = add_keyword(taxonomy, category, (struct cm_span){ begin, (size_t)(at - begin) });
        if (*at == '\0') {
            break;
        }
        begin = at + separator;
        at = begin - 1;
    }
    return status;
}

static enum cm_status add_category(struct cm_taxonomy *taxonomy, struct cm_span path,
                                   struct cm_span keywords)
{
    void *categories = taxonomy->categories;
    enum cm_status status = cm_grow(&categories, &taxonomy->categories_capacity,
                                    taxonomy->categories_count + 1, sizeof *taxonomy->categories);
    taxonomy->categories = categories;
    if (status != CM_OK) {
        return status;
    }
    struct category *category = &taxonomy->categories[taxonomy->categories_count];
    *category = (struct category){
        .path = cm_strndup(path.data, path.length),
        .keywords = keywords.length > 0 ? cm_strndup(keywords.data, keywords.length) : NULL,
        .path_hash = hash_of_words(path),
        .leaf_hash = hash_of_words(leaf_of(path)),
    };
    uint32_t index = (uint32_t)taxonomy->categories_count++;
    if (category->path == NULL || (keywords.length > 0 && category->keywords == NULL)) {
        return CM_OUT_OF_MEMORY;
    }
    return category->keywords != NULL
               ? add_keywords(taxonomy, index, category->keywords)
               : add_keyword(taxonomy, index, leaf_of(cm_span_of(category->path)));
}

static enum cm_status read_record(struct cm_taxonomy *taxonomy, struct cm_sheet *sheet,
                                  const struct cm_sheet_record *record, struct cm_error *error)
{
    struct cm_span path = { 0 };
    struct cm_span keywords = { 0 };
    if (record->problem != NULL) {
        return cm_sheet_refuse(sheet, record, error, record->problem);
    }
    for (size_t i = 0; i < record->cells_count; i++) {
        const struct cm_sheet_cell *cell = &record->cells[i];
        if (cm_sheet_cell_is(cell, "category") || (i == 0 && path.length == 0)) {
            path = cm_span_trim(cell->value);
        } else if (cm_sheet_cell_is(cell, "keywords") || cm_sheet_cell_is(cell, "synonyms")) {
            keywords = cm_span_trim(cell->value);
        }
    }
    if (path.length == 0 || !cm_utf8_valid(path) || !cm_utf8_valid(keywords)) {
        return cm_sheet_refuse(sheet, record, error,
                               "the category is empty or no text; fill in the column category");
    }
    if (taxonomy->categories_count == CM_TAXONOMY_CATEGORIES_MAX) {
        return cm_sheet_refuse(sheet, record, error, "more than 100000 categories");
    }
    return add_category(taxonomy, path, keywords) == CM_OK ? CM_OK
                                                           : cm_sheet_out_of_memory(sheet, error);
}

static enum cm_status build_index(struct cm_taxonomy *taxonomy)
{
    size_t count = taxonomy->categories_count;
    taxonomy->buckets_count = 16;
    while (taxonomy->buckets_count < 2 * taxonomy->keywords_count) {
        taxonomy->buckets_count *= 2;
    }
    taxonomy->buckets = cm_alloc(taxonomy->buckets_count, sizeof *taxonomy->buckets);
    taxonomy->scores = cm_alloc(count, sizeof *taxonomy->scores);
    taxonomy->best_weights = cm_alloc(count, sizeof *taxonomy->best_weights);
    taxonomy->best_keywords = cm_alloc(count, sizeof *taxonomy->best_keywords);
    taxonomy->touched = cm_alloc(count, sizeof *taxonomy->touched);
    if (taxonomy->buckets == NULL || taxonomy->scores == NULL || taxonomy->best_weights == NULL ||
        taxonomy->best_keywords == NULL || taxonomy->touched == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    memset(taxonomy->buckets, 0xFF, taxonomy->buckets_count * sizeof *taxonomy->buckets);
    for (size_t i = taxonomy->keywords_count; i-- > 0;) {
        struct keyword *keyword = &taxonomy->keywords[i];
        int32_t *bucket = &taxonomy->buckets[keyword->words[0] & (taxonomy->buckets_count - 1)];
        keyword->next = *bucket;
        *bucket = (int32_t)i;
    }
    return CM_OK;
}

enum cm_status cm_taxonomy_open(const char *path, struct cm_taxonomy **taxonomy,
                                struct cm_error *error)
{
    struct cm_sheet *sheet = NULL;
    enum cm_status status = cm_sheet_open(path, "category", &sheet, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_taxonomy *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        status = cm_sheet_out_of_memory(sheet, error);
        cm_sheet_close(sheet);
        return status;
    }
    while (status == CM_OK) {
        struct cm_sheet_record record;
        status = cm_sheet_next(sheet, &record, error);
        if (status == CM_OK) {
            status = read_record(opened, sheet, &record, error);
        }
    }
    if (status == CM_END && opened->categories_count == 0) {
        status = cm_error_set(error, CM_INVALID_DATA, "%s: holds no category", path);
    } else if (status == CM_END) {
        status = build_index(opened) == CM_OK ? CM_OK : cm_sheet_out_of_memory(sheet, error);
    }
    cm_sheet_close(sheet);
    if (status != CM_OK) {
        cm_taxonomy_close(opened);
        return status;
    }
    *taxonomy = opened;
    return CM_OK;
}

void cm_taxonomy_close(struct cm_taxonomy *taxonomy)
{
    if (taxonomy == NULL) {
        return;
    }
    for (size_t i = 0; i < taxonomy->categories_count; i++) {
        cm_free(taxonomy->categories[i].path);
        cm_free(taxonomy->categories[i].keywords);
    }
    cm_free(taxonomy->categories);
    cm_free(taxonomy->keywords);
    cm_free(taxonomy->buckets);
    cm_free(taxonomy->scores);
    cm_free(taxonomy->best_weights);
    cm_free(taxonomy->best_keywords);
    cm_free(taxonomy->touched);
    cm_free(taxonomy);
}

/* --- Finding --- */

/* The category whose whole path, or as the only one whose last part, has the words of `own`. */
static int32_t find_own(const struct cm_taxonomy *taxonomy, const char *own)
{
    uint64_t hash = hash_of_words(cm_span_of(own));
    uint64_t leaf = hash_of_words(leaf_of(cm_span_of(own)));
    int32_t by_leaf = NONE;
    size_t leaves = 0;
    if (hash == 0) {
        return NONE;
    }
    for (size_t i = 0; i < taxonomy->categories_count; i++) {
        if (taxonomy->categories[i].path_hash == hash) {
            return (int32_t)i;
        }
        if (taxonomy->categories[i].leaf_hash == leaf) {
            by_leaf = (int32_t)i;
            leaves++;
        }
    }
    return leaves == 1 ? by_leaf : NONE;
}

/* Whether the rest of the keyword follows. */
static bool follows(struct cm_words words, const struct keyword *keyword)
{
    for (uint32_t i = 1; i < keyword->words_count; i++) {
        uint64_t hash;
        if (!cm_words_next(&words, &hash) || hash != keyword->words[i]) {
            return false;
        }
    }
    return true;
}

/* Every keyword of the text counts for its category, longer ones more. */
static size_t count_keywords(const struct cm_taxonomy *taxonomy, const char *text, uint32_t weight,
                             size_t touched_count)
{
    struct cm_words words = { .text = cm_span_of(text), .singular = true };
    for (uint64_t hash; cm_words_next(&words, &hash);) {
        int32_t at = taxonomy->buckets[hash & (taxonomy->buckets_count - 1)];
        for (; at != NONE; at = taxonomy->keywords[at].next) {
            const struct keyword *keyword = &taxonomy->keywords[at];
            if (keyword->words[0] != hash || !follows(words, keyword)) {
                continue;
            }
            uint32_t category = keyword->category;
            uint32_t gain = weight * keyword->words_count;
            if (taxonomy->scores[category] == 0) {
                taxonomy->touched[touched_count++] = category;
                taxonomy->best_weights[category] = 0;
            }
            taxonomy->scores[category] += gain;
            if (gain > taxonomy->best_weights[category]) {
                taxonomy->best_weights[category] = gain;
                taxonomy->best_keywords[category] = at;
            }
        }
    }
    return touched_count;
}

void cm_taxonomy_find(const struct cm_taxonomy *taxonomy, const struct cm_item *item,
                      struct cm_taxonomy_match *match)
{
    *match = (struct cm_taxonomy_match){ .path = NULL };
    int32_t own = find_own(taxonomy, item->fields[CM_ITEM_CATEGORY]);
    if (own != NONE) {
        match->path = taxonomy->categories[own].path;
        match->reason = "own category";
        return;
    }
    size_t touched = count_keywords(taxonomy, item->fields[CM_ITEM_TITLE], WEIGHT_TITLE, 0);
    touched = count_keywords(taxonomy, item->fields[CM_ITEM_CATEGORY], WEIGHT_CATEGORY, touched);
    touched = count_keywords(taxonomy, item->fields[CM_ITEM_DESCRIPTION], 1, touched);
    for (size_t i = 0; i < item->attributes_count; i++) {
        touched = count_keywords(taxonomy, item->attributes[i].value, 1, touched);
    }
    uint32_t best = NONE;
    uint32_t best_score = SCORE_MIN - 1;
    bool tied = false;
    for (size_t i = 0; i < touched; i++) {
        uint32_t category = taxonomy->touched[i];
        uint32_t score = taxonomy->scores[category];
        tied = score == best_score ? true : score > best_score ? false : tied;
        best = score > best_score ? category : best;
        best_score = score > best_score ? score : best_score;
        taxonomy->scores[category] = 0;
    }
    if (best != (uint32_t)NONE && !tied) {
        match->path = taxonomy->categories[best].path;
        match->reason = "keyword";
        match->keyword = taxonomy->keywords[taxonomy->best_keywords[best]].text;
    }
}
