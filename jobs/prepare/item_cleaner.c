#include "jobs/prepare/item_cleaner.h"

#include "base/memory.h"
#include "jobs/content/words.h"
#include "jobs/language.h"
#include "jobs/prepare/units.h"
#include "loaders/personal_data.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

enum { TEXT_BYTES_MAX = 4 * CM_CATALOG_FIELD_BYTES_MAX, DETAIL_BYTES = 160 };

static const char *const MASKS[CM_PERSONAL_KIND_COUNT] = {
    [CM_PERSONAL_MAIL] = "[e-mail]",
    [CM_PERSONAL_PHONE] = "[phone]",
    [CM_PERSONAL_ID_NUMBER] = "[id number]",
    [CM_PERSONAL_CARD] = "[card number]",
};

void cm_item_cleaner_init(struct cm_item_cleaner *cleaner)
{
    *cleaner = (struct cm_item_cleaner){
        .text = CM_TEXT_INIT(TEXT_BYTES_MAX),
        .other = CM_TEXT_INIT(TEXT_BYTES_MAX),
    };
}

void cm_item_cleaner_deinit(struct cm_item_cleaner *cleaner)
{
    cm_text_deinit(&cleaner->text);
    cm_text_deinit(&cleaner->other);
}

static enum cm_status tell(struct cm_item_cleaner *cleaner, const struct cm_item *item,
                           const char *field, const char *reason, const char *detail)
{
    return cleaner->listener == NULL
               ? CM_OK
               : cleaner->listener(cleaner->context, item, field, reason, detail);
}

static enum cm_status set(char **value, const char *text)
{
    char *copy = cm_strdup(text);
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_free(*value);
    *value = copy;
    return CM_OK;
}

/* --- Characters --- */

/* Formatting characters that only hide or reorder text; the joiners shape words and emoji. */
static bool is_invisible(utf8proc_int32_t character)
{
    enum { ZERO_WIDTH_NON_JOINER = 0x200C, ZERO_WIDTH_JOINER = 0x200D, REPLACEMENT = 0xFFFD };
    if (character == ZERO_WIDTH_NON_JOINER || character == ZERO_WIDTH_JOINER) {
        return false;
    }
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return true;
    default:
        return character == REPLACEMENT;
    }
}

static enum cm_status remove_invisible(struct cm_span value, struct cm_text *text)
{
    enum cm_status status = CM_OK;
    cm_text_clear(text);
    for (size_t at = 0; status == CM_OK && at < value.length;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)value.data + at,
                             (utf8proc_ssize_t)(value.length - at), &character);
        size_t step = bytes > 0 ? (size_t)bytes : 1;
        if (bytes > 0 && !is_invisible(character)) {
            status = cm_text_append(text, value.data + at, step);
        }
        at += step;
    }
    return status;
}

/* --- Identifiers of persons --- */

static enum cm_status mask_personal(struct cm_item_cleaner *cleaner, const struct cm_item *item,
                                    const char *field, char **value)
{
    struct cm_span text = cm_span_of(*value);
    struct cm_personal_match match;
    size_t at = 0;
    size_t done = 0;
    uint32_t counts[CM_PERSONAL_KIND_COUNT] = { 0 };
    enum cm_status status = CM_OK;
    cm_text_clear(&cleaner->text);
    while (status == CM_OK && cm_personal_data_next(text, &at, &match)) {
        counts[match.kind]++;
        cleaner->personal_count++;
        status = cm_text_append(&cleaner->text, text.data + done, match.begin - done);
        if (status == CM_OK) {
            status = cm_text_append_string(&cleaner->text, MASKS[match.kind]);
        }
        done = match.end;
    }
    if (status != CM_OK || done == 0) {
        return status;
    }
    status = cm_text_append(&cleaner->text, text.data + done, text.length - done);
    if (status == CM_OK) {
        status = set(value, cm_text_string(&cleaner->text));
    }
    for (unsigned kind = 0; status == CM_OK && kind < CM_PERSONAL_KIND_COUNT; kind++) {
        if (counts[kind] > 0) {
            char detail[DETAIL_BYTES];
            snprintf(detail, sizeof detail, "%u", counts[kind]);
            char reason[DETAIL_BYTES];
            snprintf(reason, sizeof reason, "%s masked",
                     cm_personal_kind_name((enum cm_personal_kind)kind));
            status = tell(cleaner, item, field, reason, detail);
        }
    }
    return status;
}

/* --- Values --- */

static enum cm_status clean_value(struct cm_item_cleaner *cleaner, const struct cm_item *item,
                                  const char *field, char **value)
{
    enum cm_status status = remove_invisible(cm_span_of(*value), &cleaner->text);
    if (status == CM_OK && cleaner->text.length != strlen(*value)) {
        status = set(value, cm_text_string(&cleaner->text));
        if (status == CM_OK) {
            status = tell(cleaner, item, field, "invisible characters removed", "");
        }
    }
    return status == CM_OK ? mask_personal(cleaner, item, field, value) : status;
}

static enum cm_status clean_units(struct cm_item_cleaner *cleaner, const struct cm_item *item,
                                  struct cm_attribute *attribute)
{
    bool chinese = cm_language_is(item->fields[CM_ITEM_LANGUAGE], "zh");
    cm_text_clear(&cleaner->text);
    enum cm_status status = cm_units_append(&cleaner->text, cm_span_of(attribute->value), chinese,
                                            cm_units_is_measure(attribute->name));
    if (status != CM_OK || strcmp(cm_text_string(&cleaner->text), attribute->value) == 0) {
        return status;
    }
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail, "%.60s -> %.60s", attribute->value,
             cm_text_string(&cleaner->text));
    status = set(&attribute->value, cm_text_string(&cleaner->text));
    return status == CM_OK ? tell(cleaner, item, attribute->name, "measure", detail) : status;
}

static enum cm_status tell_markup(struct cm_item_cleaner *cleaner, const struct cm_item *item)
{
    enum cm_status status = CM_OK;
    for (unsigned i = 0; status == CM_OK && i <= CM_ITEM_FIELD_COUNT; i++) {
        bool is_field = i < CM_ITEM_FIELD_COUNT;
        uint8_t cleaned = is_field ? item->cleaned[i] : item->cleaned_attributes;
        const char *name = is_field ? cm_item_field_name((enum cm_item_field)i) : "attributes";
        if (cleaned != 0) {
            bool markup = (cleaned & CM_CLEANED_MARKUP) != 0;
            status = tell(cleaner, item, name,
                          markup ? "HTML and entities to text" : "white space made regular", "");
        }
    }
    return status;
}

/* What designers put where a text is still to be written; as a fact it would be nonsense. */
static enum cm_status remove_placeholder(struct cm_item_cleaner *cleaner, struct cm_item *item)
{
    static const char *const beginnings[] = { "lorem ipsum", "pellentesque habitant morbi" };
    char **description = &item->fields[CM_ITEM_DESCRIPTION];
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        if (strncasecmp(*description, beginnings[i], strlen(beginnings[i])) == 0) {
            enum cm_status status = set(description, "");
            return status == CM_OK ? tell(cleaner, item, "description", "placeholder text removed",
                                          beginnings[i])
                                   : status;
        }
    }
    return CM_OK;
}

/* --- Language --- */

/* Latin letters tell their language by common words only, so a few words tell nothing. */
static bool is_certain(const char *language, struct cm_span text)
{
    static const char *const by_script[] = { "zh", "ja", "ko", "ru", "uk",
                                             "el", "ar", "he", "hi", "th" };
    enum { WORDS_MIN = 8 };
    struct cm_words words = { .text = text };
    size_t count = 0;
    for (size_t i = 0; i < sizeof by_script / sizeof by_script[0]; i++) {
        if (strcmp(language, by_script[i]) == 0) {
            return true;
        }
    }
    for (uint64_t hash; count < WORDS_MIN && cm_words_next(&words, &hash);) {
        count++;
    }
    return count == WORDS_MIN;
}

static enum cm_status label_language(struct cm_item_cleaner *cleaner, struct cm_item *item)
{
    char **language = &item->fields[CM_ITEM_LANGUAGE];
    enum cm_status status = CM_OK;
    cm_text_clear(&cleaner->text);
    status = cm_text_printf(&cleaner->text, "%s\n%s", item->fields[CM_ITEM_TITLE],
                            item->fields[CM_ITEM_DESCRIPTION]);
    if (status != CM_OK) {
        return status;
    }
    struct cm_span text = cm_text_span(&cleaner->text);
    const char *found = cm_language_detect(text);
    found = found != NULL && is_certain(found, text) ? found : NULL;
    bool declared = cm_language_is_code(*language);
    if (declared && (found == NULL || cm_language_matches(text, *language))) {
        return CM_OK;
    }
    if (found == NULL || (!declared && (*language)[0] != '\0' && strcmp(*language, found) == 0)) {
        return CM_OK;
    }
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail, "%.40s%s%s", *language, (*language)[0] != '\0' ? " -> " : "",
             found);
    status = set(language, found);
    return status == CM_OK ? tell(cleaner, item, "language",
                                  declared ? "the text is in another language than declared"
                                           : "found in the text",
                                  detail)
                           : status;
}

/* --- Category --- */

/* "Men/Tops/Shirts,Men/Tops,Men" are three depths of one place (Magento): the deepest says all. The
 * list is taken for such where a part begins another. */
static struct cm_span deepest_of(struct cm_span list)
{
    struct cm_span best = list;
    bool nested = false;
    for (size_t at = 0; at < list.length;) {
        const char *comma = memchr(list.data + at, ',', list.length - at);
        size_t end = comma == NULL ? list.length : (size_t)(comma - list.data);
        struct cm_span part = cm_span_trim((struct cm_span){ list.data + at, end - at });
        bool deeper = nested || at > 0;
        if (at == 0) {
            best = part;
        } else if (part.length > best.length && memcmp(part.data, best.data, best.length) == 0 &&
                   part.data[best.length] == '/') {
            best = part;
            nested = true;
        } else if (deeper && part.length < best.length &&
                   memcmp(part.data, best.data, part.length) == 0 &&
                   best.data[part.length] == '/') {
            nested = true;
        }
        at = end + 1;
    }
    return nested ? best : list;
}

/* A path with " > " between its parts. */
static enum cm_status append_path(struct cm_text *text, struct cm_span own)
{
    struct cm_span path = deepest_of(own);
    bool slashes = path.length != own.length;
    enum cm_status status = CM_OK;
    size_t begin = 0;
    for (size_t at = 0; status == CM_OK && at <= path.length; at++) {
        bool ends = at == path.length || path.data[at] == '>' || (slashes && path.data[at] == '/');
        if (!ends) {
            continue;
        }
        struct cm_span part = cm_span_trim((struct cm_span){ path.data + begin, at - begin });
        if (part.length > 0) {
            status = cm_text_append_string(text, text->length > 0 ? " > " : "");
            if (status == CM_OK) {
                status = cm_text_append_span(text, part);
            }
        }
        begin = at + 1;
    }
    return status;
}

/* Attributes that can stand for a category where the catalog has none. */
static const char *const STAND_INS[] = { "subcategory",  "sub_category",  "sub category",
                                         "collection",   "product_group", "product group",
                                         "product line", "product_line",  "class",
                                         "系列",         "产品线" };

static const char *stand_in(const struct cm_item *item)
{
    for (size_t i = 0; i < sizeof STAND_INS / sizeof STAND_INS[0]; i++) {
        const char *value = cm_item_find(item, STAND_INS[i]);
        if (value != NULL && value[0] != '\0') {
            return value;
        }
    }
    return NULL;
}

static enum cm_status label_category(struct cm_item_cleaner *cleaner, struct cm_item *item)
{
    char **category = &item->fields[CM_ITEM_CATEGORY];
    const char *reason = "path written one way";
    struct cm_taxonomy_match match = { .path = NULL };
    enum cm_status status = CM_OK;
    cm_text_clear(&cleaner->other);
    if (cleaner->taxonomy != NULL) {
        cm_taxonomy_find(cleaner->taxonomy, item, &match);
    }
    if (match.path != NULL) {
        reason = match.keyword.length > 0 ? "taxonomy, by keyword" : "taxonomy, by own category";
        status = cm_text_append_string(&cleaner->other, match.path);
    } else if ((*category)[0] != '\0') {
        status = append_path(&cleaner->other, cm_span_of(*category));
    } else if (stand_in(item) != NULL) {
        reason = "from another column";
        status = cm_text_append_string(&cleaner->other, stand_in(item));
    }
    if (status != CM_OK || cleaner->other.length == 0 ||
        strcmp(*category, cm_text_string(&cleaner->other)) == 0) {
        return status;
    }
    char detail[2 * DETAIL_BYTES];
    snprintf(detail, sizeof detail, "%.80s -> %.80s%s%.*s%s", *category,
             cm_text_string(&cleaner->other), match.keyword.length > 0 ? " (" : "",
             (int)(match.keyword.length < 60 ? match.keyword.length : 60),
             match.keyword.length > 0 ? match.keyword.data : "",
             match.keyword.length > 0 ? ")" : "");
    status = set(category, cm_text_string(&cleaner->other));
    return status == CM_OK ? tell(cleaner, item, "category", reason, detail) : status;
}

/* --- The item --- */

enum cm_status cm_item_clean(struct cm_item_cleaner *cleaner, struct cm_item *item)
{
    static const enum cm_item_field texts[] = { CM_ITEM_TITLE, CM_ITEM_BRAND, CM_ITEM_CATEGORY,
                                                CM_ITEM_DESCRIPTION };
    cleaner->personal_count = 0;
    enum cm_status status = tell_markup(cleaner, item);
    for (size_t i = 0; status == CM_OK && i < sizeof texts / sizeof texts[0]; i++) {
        status = clean_value(cleaner, item, cm_item_field_name(texts[i]), &item->fields[texts[i]]);
    }
    for (size_t i = 0; status == CM_OK && i < item->attributes_count; i++) {
        status = clean_value(cleaner, item, item->attributes[i].name, &item->attributes[i].value);
    }
    if (status == CM_OK) {
        status = remove_placeholder(cleaner, item);
    }
    if (status == CM_OK) {
        status = label_language(cleaner, item);
    }
    for (size_t i = 0; status == CM_OK && i < item->attributes_count; i++) {
        status = clean_units(cleaner, item, &item->attributes[i]);
    }
    return status == CM_OK ? label_category(cleaner, item) : status;
}
