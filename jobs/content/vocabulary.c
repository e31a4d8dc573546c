#include "jobs/content/vocabulary.h"

#include "base/memory.h"
#include "jobs/content/plain_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    VALUE_CHARACTERS_MAX = 64,
    VALUE_WORDS_MAX = 8,
    LATIN_CHARACTERS_MIN = 3,
    NAMES_MAX = 16,
    NAMES_OF_ITEMS_MAX = 20000,
};

static const char BRAND_COLUMN[] = "brand";
static const char TITLE_COLUMN[] = "title";

/* A spelling of a value. Values of one kind with the same meaning are spellings of one. */
struct spelling {
    uint32_t first; /* of its codes in the pool */
    uint32_t count;
    uint32_t column;
    uint32_t meaning; /* within the column */
};

struct column {
    char *names[NAMES_MAX]; /* normal form */
    size_t names_count;
    uint32_t meanings_count;
    bool is_brand;
    bool is_name; /* of an item or its brand: may have any number of values */
    bool is_open; /* too many values: tells nothing */
};

struct cm_vocabulary {
    uint32_t *codes;
    size_t codes_count;
    size_t codes_capacity;
    struct spelling *spellings; /* once sealed: by their codes */
    size_t spellings_count;
    size_t spellings_capacity;
    struct column columns[CM_VOCABULARY_COLUMNS_MAX];
    size_t columns_count;
    size_t built_in_count; /* columns that the lists gave */
    uint64_t *known;       /* open-addressed set of (column, value), to leave doubles out */
    size_t known_capacity;
    size_t known_count;
    struct cm_plain_text scratch;
    struct cm_text_words scratch_words;
};

enum cm_status cm_vocabulary_open(struct cm_vocabulary **vocabulary)
{
    *vocabulary = cm_alloc(1, sizeof **vocabulary);
    return *vocabulary != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

void cm_vocabulary_close(struct cm_vocabulary *vocabulary)
{
    if (vocabulary == NULL) {
        return;
    }
    for (size_t i = 0; i < vocabulary->columns_count; i++) {
        for (size_t j = 0; j < vocabulary->columns[i].names_count; j++) {
            cm_free(vocabulary->columns[i].names[j]);
        }
    }
    cm_free(vocabulary->codes);
    cm_free(vocabulary->spellings);
    cm_free(vocabulary->known);
    cm_plain_text_deinit(&vocabulary->scratch);
    cm_text_words_deinit(&vocabulary->scratch_words);
    cm_free(vocabulary);
}

/* --- Columns --- */

static size_t find_column(const struct cm_vocabulary *vocabulary, const char *name, size_t from)
{
    for (size_t i = from; i < vocabulary->columns_count; i++) {
        for (size_t j = 0; j < vocabulary->columns[i].names_count; j++) {
            if (strcasecmp(vocabulary->columns[i].names[j], name) == 0) {
                return i;
            }
        }
    }
    return vocabulary->columns_count;
}

static enum cm_status add_name(struct column *column, struct cm_span name)
{
    if (column->names_count == NAMES_MAX) {
        return CM_LIMIT;
    }
    column->names[column->names_count] = cm_strndup(name.data, name.length);
    return column->names[column->names_count++] != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

static enum cm_status new_column(struct cm_vocabulary *vocabulary, struct column **column)
{
    if (vocabulary->columns_count == CM_VOCABULARY_COLUMNS_MAX) {
        return CM_LIMIT;
    }
    *column = &vocabulary->columns[vocabulary->columns_count++];
    return CM_OK;
}

/* --- Values --- */

static enum cm_status remember(struct cm_vocabulary *vocabulary, uint64_t hash, bool *is_new)
{
    if (2 * (vocabulary->known_count + 1) > vocabulary->known_capacity) {
        size_t capacity = vocabulary->known_capacity == 0 ? 256 : 2 * vocabulary->known_capacity;
        uint64_t *table = cm_alloc(capacity, sizeof *table);
        if (table == NULL) {
            return CM_OUT_OF_MEMORY;
        }
        for (size_t i = 0; i < vocabulary->known_capacity; i++) {
            uint64_t value = vocabulary->known[i];
            size_t place = value & (capacity - 1);
            while (value != 0 && table[place] != 0) {
                place = (place + 1) & (capacity - 1);
            }
            if (value != 0) {
                table[place] = value;
            }
        }
        cm_free(vocabulary->known);
        vocabulary->known = table;
        vocabulary->known_capacity = capacity;
    }
    hash |= 1;
    size_t place = hash & (vocabulary->known_capacity - 1);
    while (vocabulary->known[place] != 0 && vocabulary->known[place] != hash) {
        place = (place + 1) & (vocabulary->known_capacity - 1);
    }
    *is_new = vocabulary->known[place] == 0;
    vocabulary->known_count += *is_new;
    vocabulary->known[place] = hash;
    return CM_OK;
}

/* Values that a text would not say by chance: not too short, no bare number, no yes and no. */
static bool is_telling(const struct cm_vocabulary *vocabulary)
{
    static const char *const vague[] = {
        "yes", "no", "true", "false", "none", "n/a", "new", "all"
    };
    const struct cm_plain_text *plain = &vocabulary->scratch;
    bool letters = false;
    bool ideographs = false;
    char ascii[8] = "";
    for (size_t i = 0; i < plain->count; i++) {
        uint32_t code = plain->characters[i].code;
        letters = letters || (cm_plain_is_word(code) && !(code >= '0' && code <= '9'));
        ideographs = ideographs || cm_plain_is_ideograph(code);
        if (i + 1 < sizeof ascii && code < 0x80) {
            ascii[i] = (char)code;
        }
    }
    for (size_t i = 0; i < sizeof vague / sizeof vague[0]; i++) {
        if (plain->count < sizeof ascii && strcmp(ascii, vague[i]) == 0) {
            return false;
        }
    }
    return letters && plain->count <= VALUE_CHARACTERS_MAX &&
           plain->count >= (ideographs ? 2 : LATIN_CHARACTERS_MIN) &&
           (ideographs || vocabulary->scratch_words.count <= VALUE_WORDS_MAX);
}

static enum cm_status add_spelling(struct cm_vocabulary *vocabulary, struct cm_span value,
                                   uint32_t column, uint32_t meaning, bool *added)
{
    *added = false;
    enum cm_status status = cm_plain_text_fill(&vocabulary->scratch, cm_span_trim(value));
    if (status == CM_OK) {
        status = cm_text_words_fill(&vocabulary->scratch_words, &vocabulary->scratch);
    }
    if (status != CM_OK || !is_telling(vocabulary)) {
        return status;
    }
    const struct cm_plain_text *plain = &vocabulary->scratch;
    uint64_t hash = 0xcbf29ce484222325 + column;
    for (size_t i = 0; i < plain->count; i++) {
        hash = (hash ^ plain->characters[i].code) * 0x100000001b3;
    }
    bool is_new;
    status = remember(vocabulary, hash ^ (hash >> 31), &is_new);
    if (status != CM_OK || !is_new) {
        return status;
    }
    void *block = vocabulary->codes;
    status = cm_grow(&block, &vocabulary->codes_capacity, vocabulary->codes_count + plain->count,
                     sizeof *vocabulary->codes);
    vocabulary->codes = block;
    block = vocabulary->spellings;
    if (status == CM_OK) {
        status = cm_grow(&block, &vocabulary->spellings_capacity, vocabulary->spellings_count + 1,
                         sizeof *vocabulary->spellings);
        vocabulary->spellings = block;
    }
    if (status != CM_OK) {
        return status;
    }
    vocabulary->spellings[vocabulary->spellings_count++] =
        (struct spelling){ (uint32_t)vocabulary->codes_count, (uint32_t)plain->count, column,
                           meaning };
    for (size_t i = 0; i < plain->count; i++) {
        vocabulary->codes[vocabulary->codes_count++] = plain->characters[i].code;
    }
    *added = true;
    return CM_OK;
}

/* --- Lists --- */

static struct cm_span next_part(struct cm_span *rest, char delimiter)
{
    const char *end = memchr(rest->data, delimiter, rest->length);
    size_t length = end != NULL ? (size_t)(end - rest->data) : rest->length;
    struct cm_span part = { rest->data, length };
    length += end != NULL;
    *rest = (struct cm_span){ rest->data + length, rest->length - length };
    return cm_span_trim(part);
}

static enum cm_status read_kind(struct cm_vocabulary *vocabulary, struct cm_span line)
{
    struct column *column = NULL;
    enum cm_status status = new_column(vocabulary, &column);
    struct cm_span rest = { line.data + 1, line.length - 2 };
    (void)next_part(&rest, ':');
    while (rest.length > 0 && status == CM_OK) {
        status = add_name(column, next_part(&rest, ','));
    }
    vocabulary->built_in_count = vocabulary->columns_count;
    return status;
}

static enum cm_status read_value(struct cm_vocabulary *vocabulary, struct cm_span line)
{
    bool added;
    uint32_t index = (uint32_t)vocabulary->columns_count - 1;
    uint32_t meaning = vocabulary->columns[index].meanings_count++;
    struct cm_span rest = line;
    (void)next_part(&rest, '=');
    enum cm_status status = rest.length > 0 ? CM_OK : CM_INVALID_DATA;
    while (rest.length > 0 && status == CM_OK) {
        status = add_spelling(vocabulary, next_part(&rest, ','), index, meaning, &added);
    }
    return status;
}

enum cm_status cm_vocabulary_add_list(struct cm_vocabulary *vocabulary, struct cm_span text,
                                      const char *name, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (unsigned long line_number = 1; text.length > 0 && status == CM_OK; line_number++) {
        struct cm_span line = next_part(&text, '\n');
        if (line.length == 0 || line.data[0] == '#') {
            continue;
        }
        if (line.data[0] == '[') {
            status =
                line.data[line.length - 1] == ']' ? read_kind(vocabulary, line) : CM_INVALID_DATA;
        } else {
            status = vocabulary->columns_count > 0 ? read_value(vocabulary, line) : CM_INVALID_DATA;
        }
        if (status == CM_INVALID_DATA || status == CM_LIMIT) {
            return cm_error_set(error, status,
                                "%s:%lu: expected [kind : columns] or value = spellings", name,
                                line_number);
        }
    }
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "%s: out of memory", name);
}

/* --- The catalog's own values --- */

/* Columns that say what a text is about rather than what is true: their values exclude nothing. */
static bool is_topic(const char *name)
{
    static const char *const topics[] = { "tag",         "categor", "keyword", "collection",
                                          "description", "title",   "name",    "feature",
                                          "type",        "summary", "content", "类型",
                                          "类目",        "类别",    "分类",    "标签" };
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        if (strcasestr(name, topics[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static enum cm_status add_value(struct cm_vocabulary *vocabulary, const char *name,
                                const char *value)
{
    struct column *column;
    enum cm_status status = CM_OK;
    size_t index = find_column(vocabulary, name, vocabulary->built_in_count);
    if (index == vocabulary->columns_count) {
        status = new_column(vocabulary, &column);
        if (status != CM_OK) {
            return status == CM_LIMIT ? CM_OK
                                      : status; /* of so many columns the rest is left out */
        }
        status = add_name(column, cm_span_of(name));
        column->is_brand = strcmp(name, BRAND_COLUMN) == 0;
        column->is_name = column->is_brand || strcmp(name, TITLE_COLUMN) == 0;
    }
    column = &vocabulary->columns[index];
    uint32_t limit = column->is_name ? NAMES_OF_ITEMS_MAX : CM_VOCABULARY_VALUES_MAX;
    if (status != CM_OK || column->is_open) {
        return status;
    }
    bool added;
    status = add_spelling(vocabulary, cm_span_of(value), (uint32_t)index, column->meanings_count,
                          &added);
    column->meanings_count += added;
    column->is_open = column->meanings_count > limit;
    return status;
}

enum cm_status cm_vocabulary_add_item(struct cm_vocabulary *vocabulary, const struct cm_item *item)
{
    enum cm_status status = CM_OK;
    if (item->fields[CM_ITEM_BRAND][0] != '\0') {
        status = add_value(vocabulary, BRAND_COLUMN, item->fields[CM_ITEM_BRAND]);
    }
    if (status == CM_OK && strchr(item->fields[CM_ITEM_TITLE], ' ') != NULL) {
        status = add_value(vocabulary, TITLE_COLUMN, item->fields[CM_ITEM_TITLE]);
    }
    for (size_t i = 0; i < item->attributes_count && status == CM_OK; i++) {
        const struct cm_attribute *attribute = &item->attributes[i];
        if (!is_topic(attribute->name)) {
            status = add_value(vocabulary, attribute->name, attribute->value);
        }
    }
    return status;
}

static int compare_spellings(const void *a, const void *b, void *context)
{
    const uint32_t *codes = context;
    const struct spelling *left = a;
    const struct spelling *right = b;
    for (uint32_t i = 0; i < left->count && i < right->count; i++) {
        uint32_t x = codes[left->first + i];
        uint32_t y = codes[right->first + i];
        if (x != y) {
            return x < y ? -1 : 1;
        }
    }
    if (left->count != right->count) {
        return left->count < right->count ? -1 : 1;
    }
    return (left->column > right->column) - (left->column < right->column);
}

void cm_vocabulary_seal(struct cm_vocabulary *vocabulary)
{
    size_t kept = 0;
    for (size_t i = 0; i < vocabulary->spellings_count; i++) {
        if (!vocabulary->columns[vocabulary->spellings[i].column].is_open) {
            vocabulary->spellings[kept++] = vocabulary->spellings[i];
        }
    }
    vocabulary->spellings_count = kept;
    if (kept > 0) {
        qsort_r(vocabulary->spellings, kept, sizeof *vocabulary->spellings, compare_spellings,
                vocabulary->codes);
    }
}

/* --- Finding --- */

static bool needs_border(uint32_t code)
{
    return cm_plain_is_word(code) && !cm_plain_is_ideograph(code);
}

static bool stands_free(const struct cm_plain_text *plain, size_t at, size_t count)
{
    const struct cm_plain_character *characters = plain->characters;
    bool left =
        at == 0 || !needs_border(characters[at].code) || !needs_border(characters[at - 1].code);
    bool right = at + count >= plain->count || !needs_border(characters[at + count - 1].code) ||
                 !needs_border(characters[at + count].code);
    return left && right;
}

static size_t first_spelling(const struct cm_vocabulary *vocabulary, uint32_t code)
{
    size_t first = 0;
    size_t last = vocabulary->spellings_count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        if (vocabulary->codes[vocabulary->spellings[middle].first] < code) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

/* Calls `visit` for every spelling at every place of the text. */
static void scan(const struct cm_vocabulary *vocabulary, const struct cm_plain_text *plain,
                 void (*visit)(void *context, const struct spelling *spelling, size_t at),
                 void *context)
{
    for (size_t at = 0; at < plain->count; at++) {
        uint32_t code = plain->characters[at].code;
        bool inside = at > 0 && needs_border(code) && needs_border(plain->characters[at - 1].code);
        if (inside || !cm_plain_is_word(code)) {
            continue;
        }
        for (size_t i = first_spelling(vocabulary, code); i < vocabulary->spellings_count; i++) {
            const struct spelling *spelling = &vocabulary->spellings[i];
            const uint32_t *codes = vocabulary->codes + spelling->first;
            if (codes[0] != code) {
                break;
            }
            if (cm_plain_is_at(plain, at, codes, spelling->count) &&
                stands_free(plain, at, spelling->count)) {
                visit(context, spelling, at);
            }
        }
    }
}

enum { OWN_MAX = 512 };

/* A value that stands in the facts or in the text. */
struct mention {
    uint32_t column;
    uint32_t meaning;
    uint32_t at;
    uint32_t count;
};

struct mentions {
    struct mention items[OWN_MAX];
    size_t count;
};

static void note(void *context, const struct spelling *spelling, size_t at)
{
    struct mentions *mentions = context;
    if (mentions->count < OWN_MAX) {
        mentions->items[mentions->count++] =
            (struct mention){ spelling->column, spelling->meaning, (uint32_t)at, spelling->count };
    }
}

static bool mentions_hold(const struct mentions *mentions, uint32_t column, uint32_t meaning)
{
    for (size_t i = 0; i < mentions->count; i++) {
        if (mentions->items[i].column == column && mentions->items[i].meaning == meaning) {
            return true;
        }
    }
    return false;
}

/* Whether the text also says what the facts say about this column: then it is not a mix-up. */
static bool says_own(const struct mentions *said, const struct mentions *own, uint32_t column)
{
    for (size_t i = 0; i < own->count; i++) {
        if (own->items[i].column == column && mentions_hold(said, column, own->items[i].meaning)) {
            return true;
        }
    }
    return false;
}

/* Part of a longer value that is said at the same place. */
static bool is_inside(const struct mentions *said, const struct mention *mention)
{
    for (size_t i = 0; i < said->count; i++) {
        const struct mention *other = &said->items[i];
        if (other->count > mention->count && other->at <= mention->at &&
            other->at + other->count >= mention->at + mention->count) {
            return true;
        }
    }
    return false;
}

static bool facts_hold(const struct cm_plain_text *facts, const struct cm_plain_text *plain,
                       const struct mention *mention)
{
    uint32_t codes[VALUE_CHARACTERS_MAX];
    for (uint32_t i = 0; i < mention->count; i++) {
        codes[i] = plain->characters[mention->at + i].code;
    }
    for (size_t at = 0; at + mention->count <= facts->count; at++) {
        if (cm_plain_is_at(facts, at, codes, mention->count)) {
            return true;
        }
    }
    return false;
}

/* "Outside the city centre", "not cotton": the words before a value that turn it round. */
static bool is_denied(const struct cm_plain_text *plain, const struct mention *mention)
{
    enum { BEFORE = 24 };
    static const char *const words[] = {
        "outside",   "not",  "far from", "non",      "without",  "no",      "unlike", "instead",
        "away from", "like", "isn't",    "north of", "south of", "east of", "west of"
    };
    char before[BEFORE + 2] = " ";
    size_t length = 1;
    size_t first = mention->at > BEFORE ? mention->at - BEFORE : 0;
    for (size_t i = first; i < mention->at; i++) {
        uint32_t code = plain->characters[i].code;
        if (code == 0x4E0D || code == 0x975E || code == 0x65E0 || code == 0x6CA1) {
            return i + 4 >= mention->at; /* 不 非 无 没 */
        }
        bool ends = code == '.' || code == '!' || code == '?' || code == ',';
        length = ends ? 0 : length;
        before[length++] = code < 0x80 ? (char)code : ' ';
    }
    before[length] = '\0';
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *found = strstr(before, words[i]);
        size_t bytes = strlen(words[i]);
        if (found != NULL && (found == before || found[-1] == ' ') &&
            (found[bytes] == ' ' || found[bytes] == '-' || found[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Words that many things can be: they speak of a column only where its name is near. */
static bool is_vague(const char *word)
{
    static const char vague[] =
        " high low average medium moderate good bad cheap expensive small large big new old long "
        "short light heavy soft hard fast slow easy strong simple classic modern casual regular "
        "standard basic premium normal special full free open warm cold hot cool dry wet fresh "
        "clear dark bright wide narrow thin thick deep natural other mixed multi single double ";
    char padded[VALUE_CHARACTERS_MAX + 3];
    snprintf(padded, sizeof padded, " %s ", word);
    return strstr(vague, padded) != NULL;
}

/* The mention as a string; what is not ASCII becomes a question mark. */
static void spell(const struct cm_plain_text *plain, const struct mention *mention,
                  char word[VALUE_CHARACTERS_MAX + 1])
{
    for (uint32_t i = 0; i < mention->count; i++) {
        uint32_t code = plain->characters[mention->at + i].code;
        word[i] = code < 0x80 ? (char)code : '?';
    }
    word[mention->count] = '\0';
}

static bool says_bytes(struct cm_span text, const char *value, size_t length)
{
    for (size_t at = 0; length > 0 && at + length <= text.length; at++) {
        if (strncasecmp(text.data + at, value, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the text says a value, or a part of one that lists several. */
static bool says(struct cm_span text, const char *value)
{
    static const char *const marks[] = { ",", ";", "|", "/", "、", "；", "，" };
    const char *part = value;
    for (const char *at = value; *at != '\0'; at++) {
        for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
            size_t bytes = strlen(marks[i]);
            if (strncmp(at, marks[i], bytes) == 0) {
                struct cm_span trimmed =
                    cm_span_trim((struct cm_span){ part, (size_t)(at - part) });
                if (says_bytes(text, trimmed.data, trimmed.length)) {
                    return true;
                }
                part = at + bytes;
            }
        }
    }
    struct cm_span last = cm_span_trim(cm_span_of(part));
    return says_bytes(text, last.data, last.length);
}

/* Whether a word of the column's name stands within some words of the mention. */
static bool is_name_near(const struct cm_plain_text *plain, const struct mention *mention,
                         const char *name)
{
    enum { NEAR = 24, PREFIX = 3 };
    size_t first = mention->at > NEAR ? mention->at - NEAR : 0;
    size_t last = mention->at + mention->count + NEAR;
    for (const char *word = name; *word != '\0';) {
        size_t length = strcspn(word, " _-");
        size_t prefix = length < PREFIX ? length : PREFIX; /* "rating" and "rated" */
        for (size_t at = first; prefix > 2 && at + prefix <= last && at + prefix <= plain->count;
             at++) {
            size_t i = 0;
            while (i < prefix && plain->characters[at + i].code == (uint32_t)(word[i] | 0x20)) {
                i++;
            }
            bool starts = at == 0 || !cm_plain_is_word(plain->characters[at - 1].code);
            if (i == prefix && starts) {
                return true;
            }
        }
        word += length + (word[length] != '\0');
    }
    return false;
}

/* The item's own fact of this column. */
static const struct cm_fact_slot *own_slot(const struct cm_fact_sheet *facts,
                                           const struct column *column)
{
    for (size_t i = 0; i < facts->slots_count; i++) {
        for (size_t j = 0; j < column->names_count; j++) {
            if (strcasecmp(facts->slots[i].name, column->names[j]) == 0) {
                return &facts->slots[i];
            }
        }
    }
    return NULL;
}

size_t cm_vocabulary_contradictions(const struct cm_vocabulary *vocabulary,
                                    const struct cm_fact_sheet *facts,
                                    const struct cm_plain_text *plain, struct cm_span text,
                                    struct cm_contradiction *found, size_t limit)
{
    struct mentions said = { .count = 0 };
    struct mentions own = { .count = 0 };
    size_t count = 0;
    scan(vocabulary, plain, note, &said);
    if (said.count > 0) {
        scan(vocabulary, &facts->plain, note, &own);
    }
    for (size_t i = 0; i < said.count && count < limit; i++) {
        const struct mention *mention = &said.items[i];
        const struct column *column = &vocabulary->columns[mention->column];
        const struct cm_fact_slot *slot = own_slot(facts, column);
        char word[VALUE_CHARACTERS_MAX + 1];
        spell(plain, mention, word);
        if (slot == NULL || is_inside(&said, mention) || is_denied(plain, mention)) {
            continue;
        }
        size_t first = plain->characters[mention->at].begin;
        if (column->is_name && text.data[first] >= 'a' && text.data[first] <= 'z') {
            continue; /* a name like Essence, used as the word that it is */
        }
        bool excluded;
        if (is_vague(word)) {
            /* "5 out of 5" may be said as "high". */
            excluded = strpbrk(slot->value, "0123456789") == NULL &&
                       is_name_near(plain, mention, slot->name) && !says(text, slot->value);
        } else {
            bool is_built_in = mention->column < vocabulary->built_in_count;
            bool says_right = is_built_in ? !says_own(&own, &own, mention->column) ||
                                                says_own(&said, &own, mention->column)
                                          : says(text, slot->value);
            excluded = !says_right && !mentions_hold(&own, mention->column, mention->meaning) &&
                       !facts_hold(&facts->plain, plain, mention);
        }
        if (!excluded) {
            continue;
        }
        const struct cm_plain_character *characters = plain->characters + mention->at;
        size_t begin = characters[0].begin;
        found[count++] = (struct cm_contradiction){
            .slot = slot,
            .said = { text.data + begin, characters[mention->count - 1].end - begin },
            .is_brand = column->is_brand,
        };
    }
    return count;
}
