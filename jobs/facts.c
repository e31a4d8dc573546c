#include "jobs/facts.h"

#include "jobs/language.h"
#include "jobs/prompt.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

enum { ZERO_WIDTH_NON_JOINER = 0x200C, ZERO_WIDTH_JOINER = 0x200D };

enum class_of_character { KEEP, SPACE, DROP };

/* The two joiners shape Persian words and emoji; other formatting characters can only hide or
 * reorder text. */
static enum class_of_character classify(utf8proc_int32_t character)
{
    if (character == ZERO_WIDTH_JOINER || character == ZERO_WIDTH_NON_JOINER) {
        return KEEP;
    }
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SPACE;
    case UTF8PROC_CATEGORY_CC:
        return character == '\n' || character == '\t' || character == '\r' ? SPACE : DROP;
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return DROP;
    default:
        return KEEP;
    }
}

enum cm_status cm_facts_append_value(struct cm_text *text, struct cm_span value,
                                     size_t characters_max)
{
    size_t start = text->length;
    size_t characters = 0;
    bool space_waits = false;
    enum cm_status status = CM_OK;
    for (size_t at = 0; at < value.length && status == CM_OK;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)value.data + at,
                             (utf8proc_ssize_t)(value.length - at), &character);
        if (bytes <= 0) { /* no UTF-8 here */
            at++;
            continue;
        }
        enum class_of_character class = classify(character);
        if (class == SPACE) {
            space_waits = text->length > start;
        } else if (class == KEEP) {
            characters += space_waits ? 2 : 1;
            if (characters > characters_max) {
                break;
            }
            if (space_waits) {
                status = cm_text_append_char(text, ' ');
                space_waits = false;
            }
            if (status == CM_OK) {
                status = cm_text_append(text, value.data + at, (size_t)bytes);
            }
        }
        at += (size_t)bytes;
    }
    return status;
}

/* Words of column names that mark what only machines read. */
static const char *const MACHINE_WORDS[] = {
    "id",        "ids",        "sku",         "skus",      "handle", "slug",         "url",
    "link",      "href",       "image",       "images",    "img",    "src",          "thumbnail",
    "photo",     "barcode",    "gtin",        "ean",       "upc",    "mpn",          "asin",
    "published", "visible",    "status",      "inventory", "stock",  "qty",          "quantity",
    "policy",    "tax",        "taxable",     "seo",       "meta",   "google",       "position",
    "created",   "updated",    "parent",      "children",  "cost",   "compare",      "visibility",
    "grams",     "backorders", "fulfillment", "requires",  "gift",   "reviews",      "rating",
    "upsells",   "grouped",    "download",    "swatch",    "qrcode", "availability",
};

static bool is_machine_word(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof MACHINE_WORDS / sizeof MACHINE_WORDS[0]; i++) {
        if (strlen(MACHINE_WORDS[i]) == length &&
            strncasecmp(MACHINE_WORDS[i], word, length) == 0) {
            return true;
        }
    }
    return false;
}

bool cm_facts_is_readable(const struct cm_attribute *attribute)
{
    const char *value = attribute->value;
    if (strncasecmp(value, "http://", 7) == 0 || strncasecmp(value, "https://", 8) == 0 ||
        value[0] == '{' || value[0] == '[') {
        return false;
    }
    for (const char *word = attribute->name; *word != '\0';) {
        size_t length = 0;
        while (isalpha((unsigned char)word[length])) {
            length++;
        }
        if (is_machine_word(word, length)) {
            return false;
        }
        word += length == 0 ? 1 : length;
    }
    return true;
}

/* One "name: value" line, with a line end before it where the list has begun at `start`. Nothing is
 * added for a fact without a value or past the size of the whole list. */
static enum cm_status append_line(struct cm_text *text, size_t start, struct cm_span name,
                                  struct cm_span value)
{
    struct cm_text line = CM_TEXT_INIT(16 * CM_PROMPT_FIELD_CHARACTERS_MAX);
    enum cm_status status = cm_facts_append_value(&line, name, CM_PROMPT_FIELD_CHARACTERS_MAX);
    for (size_t i = 0; i < line.length; i++) {
        line.data[i] = line.data[i] == '_' ? ' ' : line.data[i];
    }
    if (status == CM_OK) {
        status = cm_text_append_string(&line, ": ");
    }
    size_t before_value = line.length;
    if (status == CM_OK) {
        status = cm_facts_append_value(&line, value, CM_PROMPT_FIELD_CHARACTERS_MAX);
    }
    bool fits = text->length - start + line.length <= CM_FACTS_CHARACTERS_MAX;
    if (status == CM_OK && line.length > before_value && fits) {
        if (text->length > start) {
            status = cm_text_append_char(text, '\n');
        }
        if (status == CM_OK) {
            status = cm_text_append_span(text, cm_text_span(&line));
        }
    }
    cm_text_deinit(&line);
    return status;
}

enum cm_status cm_facts_append_item(struct cm_text *text, const struct cm_item *item,
                                    const char *language)
{
    bool chinese = cm_language_is(language, "zh");
    size_t start = text->length;
    enum cm_status status = append_line(text, start, cm_span_of(chinese ? "品牌" : "Brand"),
                                        cm_span_of(item->fields[CM_ITEM_BRAND]));
    if (status == CM_OK) {
        status = append_line(text, start, cm_span_of(chinese ? "类别" : "Category"),
                             cm_span_of(item->fields[CM_ITEM_CATEGORY]));
    }
    for (size_t i = 0; i < item->attributes_count && status == CM_OK; i++) {
        const struct cm_attribute *attribute = &item->attributes[i];
        if (cm_facts_is_readable(attribute)) {
            status =
                append_line(text, start, cm_span_of(attribute->name), cm_span_of(attribute->value));
        }
    }
    return status;
}

enum cm_status cm_facts_append_segment(struct cm_text *text, const struct cm_segment *segment)
{
    size_t start = text->length;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < segment->attributes_count && status == CM_OK; i++) {
        const struct cm_attribute *attribute = &segment->attributes[i];
        if (strcasecmp(attribute->name, "language") != 0 &&
            strcasecmp(attribute->name, "lang") != 0) {
            status =
                append_line(text, start, cm_span_of(attribute->name), cm_span_of(attribute->value));
        }
    }
    return status;
}
