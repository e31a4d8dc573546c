#include "jobs/prepare/duplicates.h"

#include "base/hash.h"
#include "base/memory.h"
#include "jobs/content/near_duplicates.h"
#include "jobs/content/words.h"

#include <string.h>
#include <strings.h>

enum { KEY_BYTES = 12, TEXT_BYTES_MAX = 8 * CM_CATALOG_FIELD_BYTES_MAX };

/* Twelve bytes of a SHA-256 tell contents apart, as in base/digest_count.h. */
struct entry {
    uint8_t key[KEY_BYTES];
    uint32_t index_plus_1; /* 0: free */
};

struct cm_duplicates {
    struct cm_hash *hash;
    struct entry *entries; /* open addressing, at most half full */
    size_t capacity;
    size_t count;
    struct cm_near_duplicates *near;
    size_t *kept_of_text; /* [texts of `near`] the kept item each belongs to */
    size_t kept_of_text_capacity;
    uint8_t digest[CM_SHA256_BYTES]; /* of the item looked for last */
    size_t kept_count;
    struct cm_text text; /* scratch */
};

/* --- Exact --- */

static void digest_item(struct cm_duplicates *duplicates, const struct cm_item *item)
{
    cm_hash_restart(duplicates->hash);
    for (unsigned i = CM_ITEM_ID + 1; i < CM_ITEM_FIELD_COUNT; i++) {
        cm_hash_text(duplicates->hash, item->fields[i]);
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        cm_hash_text(duplicates->hash, item->attributes[i].name);
        cm_hash_text(duplicates->hash, item->attributes[i].value);
    }
    cm_hash_digest(duplicates->hash, duplicates->digest);
}

/* The entry of the key, or the free one where it belongs. */
static struct entry *entry_of(struct entry *entries, size_t capacity, const uint8_t *key)
{
    uint64_t place;
    memcpy(&place, key, sizeof place);
    for (;; place++) {
        struct entry *entry = &entries[place & (capacity - 1)];
        if (entry->index_plus_1 == 0 || memcmp(entry->key, key, KEY_BYTES) == 0) {
            return entry;
        }
    }
}

static enum cm_status grow(struct cm_duplicates *duplicates)
{
    enum { CAPACITY_MIN = 1024 };
    if (2 * (duplicates->count + 1) <= duplicates->capacity) {
        return CM_OK;
    }
    size_t capacity = duplicates->capacity == 0 ? CAPACITY_MIN : 2 * duplicates->capacity;
    struct entry *entries = cm_alloc(capacity, sizeof *entries);
    if (entries == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < duplicates->capacity; i++) {
        if (duplicates->entries[i].index_plus_1 != 0) {
            *entry_of(entries, capacity, duplicates->entries[i].key) = duplicates->entries[i];
        }
    }
    cm_free(duplicates->entries);
    duplicates->entries = entries;
    duplicates->capacity = capacity;
    return CM_OK;
}

/* --- The set --- */

static enum cm_status out_of_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for duplicates");
}

enum cm_status cm_duplicates_open(double similarity, struct cm_duplicates **duplicates,
                                  struct cm_error *error)
{
    struct cm_duplicates *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return out_of_memory(error);
    }
    opened->text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    enum cm_status status = cm_hash_open(&opened->hash);
    if (status != CM_OK) {
        cm_error_set(error, status, "out of memory for duplicates");
    } else {
        status = cm_near_duplicates_open(similarity, &opened->near, error);
    }
    if (status != CM_OK) {
        cm_duplicates_close(opened);
        return status;
    }
    *duplicates = opened;
    return CM_OK;
}

void cm_duplicates_close(struct cm_duplicates *duplicates)
{
    if (duplicates != NULL) {
        cm_hash_close(duplicates->hash);
        cm_near_duplicates_close(duplicates->near);
        cm_text_deinit(&duplicates->text);
        cm_free(duplicates->entries);
        cm_free(duplicates->kept_of_text);
        cm_free(duplicates);
    }
}

/* Title and description; where there is none, the facts stand in for it. */
static enum cm_status describe(const struct cm_item *item, struct cm_text *text)
{
    cm_text_clear(text);
    enum cm_status status = cm_text_printf(text, "%s\n%s\n", item->fields[CM_ITEM_TITLE],
                                           item->fields[CM_ITEM_DESCRIPTION]);
    bool bare = item->fields[CM_ITEM_DESCRIPTION][0] == '\0';
    for (size_t i = 0; status == CM_OK && bare && i < item->attributes_count; i++) {
        status = cm_text_printf(text, "%s\n", item->attributes[i].value);
    }
    return status == CM_LIMIT ? CM_OK : status;
}

enum cm_status cm_duplicates_find(struct cm_duplicates *duplicates, const struct cm_item *item,
                                  struct cm_duplicate *found, struct cm_error *error)
{
    *found = (struct cm_duplicate){ .kind = CM_DUPLICATE_NONE };
    digest_item(duplicates, item);
    if (grow(duplicates) != CM_OK) {
        return out_of_memory(error);
    }
    const struct entry *entry =
        entry_of(duplicates->entries, duplicates->capacity, duplicates->digest);
    if (entry->index_plus_1 != 0) {
        *found = (struct cm_duplicate){ CM_DUPLICATE_EXACT, entry->index_plus_1 - 1, 1.0 };
        return CM_OK;
    }
    if (describe(item, &duplicates->text) != CM_OK) {
        return out_of_memory(error);
    }
    struct cm_near_match match;
    enum cm_status status =
        cm_near_duplicates_add(duplicates->near, cm_text_span(&duplicates->text), &match, error);
    if (status != CM_OK) {
        return status;
    }
    void *kept = duplicates->kept_of_text;
    size_t texts = cm_near_duplicates_count(duplicates->near);
    status = cm_grow(&kept, &duplicates->kept_of_text_capacity, texts, sizeof(size_t));
    duplicates->kept_of_text = kept;
    if (status != CM_OK) {
        return out_of_memory(error);
    }
    /* The first text of a group is always that of a kept item: it was like none before. */
    duplicates->kept_of_text[texts - 1] = duplicates->kept_count;
    if (match.found) {
        *found = (struct cm_duplicate){ CM_DUPLICATE_NEAR, duplicates->kept_of_text[match.index],
                                        match.similarity };
    }
    return CM_OK;
}

enum cm_status cm_duplicates_keep(struct cm_duplicates *duplicates, struct cm_error *error)
{
    if (duplicates->kept_count == UINT32_MAX - 1) {
        return cm_error_set(error, CM_LIMIT, "more than %u items to compare", UINT32_MAX - 1);
    }
    struct entry *entry = entry_of(duplicates->entries, duplicates->capacity, duplicates->digest);
    memcpy(entry->key, duplicates->digest, KEY_BYTES);
    entry->index_plus_1 = (uint32_t)++duplicates->kept_count;
    duplicates->count++;
    return CM_OK;
}

/* --- Agreement --- */

/* The same words, in whatever order. */
static bool same_words(const char *a, const char *b)
{
    uint64_t sums[2] = { 0 };
    const char *const texts[2] = { a, b };
    for (size_t i = 0; i < 2; i++) {
        struct cm_words words = { .text = cm_span_of(texts[i]) };
        for (uint64_t hash; cm_words_next(&words, &hash);) {
            sums[i] += cm_words_mix(hash + 1);
        }
    }
    return sums[0] == sums[1];
}

/* The same words with digits, in whatever order: sizes, model numbers. */
static bool same_numbers(const char *a, const char *b)
{
    uint64_t sums[2] = { 0 };
    const char *const texts[2] = { a, b };
    for (size_t i = 0; i < 2; i++) {
        struct cm_words words = { .text = cm_span_of(texts[i]) };
        for (uint64_t hash; cm_words_next(&words, &hash);) {
            bool has_digit = false;
            for (size_t at = words.begin; at < words.end; at++) {
                has_digit = has_digit || (texts[i][at] >= '0' && texts[i][at] <= '9');
            }
            sums[i] += has_digit ? cm_words_mix(hash + 1) : 0;
        }
    }
    return sums[0] == sums[1];
}

static const struct cm_attribute *find_attribute(const struct cm_item *item, const char *name)
{
    for (size_t i = 0; i < item->attributes_count; i++) {
        if (strcasecmp(item->attributes[i].name, name) == 0) {
            return &item->attributes[i];
        }
    }
    return NULL;
}

bool cm_items_agree(const struct cm_item *a, const struct cm_item *b)
{
    static const enum cm_item_field fields[] = { CM_ITEM_BRAND, CM_ITEM_PRICE, CM_ITEM_CURRENCY,
                                                 CM_ITEM_LANGUAGE };
    const char *first_text = a->fields[CM_ITEM_DESCRIPTION];
    const char *second_text = b->fields[CM_ITEM_DESCRIPTION];
    bool both = first_text[0] != '\0' && second_text[0] != '\0';
    if (!same_words(a->fields[CM_ITEM_TITLE], b->fields[CM_ITEM_TITLE]) ||
        (both && !same_numbers(first_text, second_text))) {
        return false;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const char *first = a->fields[fields[i]];
        const char *second = b->fields[fields[i]];
        if (first[0] != '\0' && second[0] != '\0' && strcasecmp(first, second) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < a->attributes_count; i++) {
        const struct cm_attribute *other = find_attribute(b, a->attributes[i].name);
        if (other != NULL && !same_words(a->attributes[i].value, other->value)) {
            return false;
        }
    }
    return true;
}

static enum cm_status copy_attribute(struct cm_item *kept, const struct cm_attribute *attribute)
{
    struct cm_attribute *attributes =
        cm_realloc(kept->attributes, kept->attributes_count + 1, sizeof *kept->attributes);
    if (attributes == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    kept->attributes = attributes;
    struct cm_attribute copy = { cm_strdup(attribute->name), cm_strdup(attribute->value) };
    if (copy.name == NULL || copy.value == NULL) {
        cm_free(copy.name);
        cm_free(copy.value);
        return CM_OUT_OF_MEMORY;
    }
    attributes[kept->attributes_count++] = copy;
    return CM_OK;
}

enum cm_status cm_items_merge(struct cm_item *kept, const struct cm_item *other, bool *changed)
{
    enum cm_status status = CM_OK;
    *changed = false;
    for (unsigned i = CM_ITEM_ID + 1; i < CM_ITEM_FIELD_COUNT; i++) {
        if (kept->fields[i][0] != '\0' || other->fields[i][0] == '\0') {
            continue;
        }
        char *copy = cm_strdup(other->fields[i]);
        if (copy == NULL) {
            return CM_OUT_OF_MEMORY;
        }
        cm_free(kept->fields[i]);
        kept->fields[i] = copy;
        *changed = true;
    }
    for (size_t i = 0; status == CM_OK && i < other->attributes_count; i++) {
        bool fits = kept->attributes_count < CM_ITEM_ATTRIBUTES_MAX;
        if (fits && find_attribute(kept, other->attributes[i].name) == NULL) {
            status = copy_attribute(kept, &other->attributes[i]);
            *changed = true;
        }
    }
    return status;
}
