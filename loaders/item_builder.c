#include "loaders/item_builder.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/markup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 1024, TEXT_BYTES_MAX = 2 * CM_CATALOG_FIELD_BYTES_MAX };

enum cm_status cm_item_builder_init(struct cm_item_builder *builder)
{
    *builder = (struct cm_item_builder){
        .group = CM_TEXT_INIT(CM_CATALOG_FIELD_BYTES_MAX),
        .language = CM_TEXT_INIT(CM_CATALOG_FIELD_BYTES_MAX),
        .plain = CM_TEXT_INIT(TEXT_BYTES_MAX),
        .label = CM_TEXT_INIT(TEXT_BYTES_MAX),
    };
    for (size_t i = 0; i < CM_ITEM_OPTIONS_MAX; i++) {
        builder->options[i] = CM_TEXT_INIT(NAME_BYTES_MAX);
    }
    return cm_hash_open(&builder->hash);
}

void cm_item_builder_deinit(struct cm_item_builder *builder)
{
    cm_item_deinit(&builder->item);
    cm_text_deinit(&builder->group);
    cm_text_deinit(&builder->language);
    cm_text_deinit(&builder->plain);
    cm_text_deinit(&builder->label);
    for (size_t i = 0; i < CM_ITEM_OPTIONS_MAX; i++) {
        cm_text_deinit(&builder->options[i]);
    }
    cm_hash_close(builder->hash);
    builder->hash = NULL;
}

/* --- Groups --- */

static struct cm_span group_of(const struct cm_cell *cells, size_t cells_count)
{
    for (size_t i = 0; i < cells_count; i++) {
        if (cells[i].column->is_group) {
            return cm_span_trim(cells[i].value);
        }
    }
    return (struct cm_span){ NULL, 0 };
}

static struct cm_span language_of(const struct cm_cell *cells, size_t cells_count)
{
    for (size_t i = 0; i < cells_count; i++) {
        const struct cm_column *column = cells[i].column;
        if (column->kind == CM_COLUMN_FIELD && column->field == CM_ITEM_LANGUAGE) {
            return cm_span_trim(cells[i].value);
        }
    }
    return (struct cm_span){ NULL, 0 };
}

bool cm_item_builder_continues(const struct cm_item_builder *builder, const struct cm_cell *cells,
                               size_t cells_count)
{
    struct cm_span group = group_of(cells, cells_count);
    struct cm_span language = language_of(cells, cells_count);
    return builder->active && group.length > 0 &&
           cm_span_equal(group, cm_text_span(&builder->group)) &&
           (language.length == 0 || cm_span_equal(language, cm_text_span(&builder->language)));
}

static enum cm_status set_text(struct cm_text *text, struct cm_span value)
{
    cm_text_clear(text);
    return cm_text_append_span(text, value);
}

/* --- Values --- */

static enum cm_status copy_text(const struct cm_text *text, char **copy)
{
    char *made = cm_strndup(cm_text_string(text), text->length);
    if (made == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_free(*copy);
    *copy = made;
    return CM_OK;
}

/* The cell as plain text in builder->plain; lists on several lines become "a, b". */
static enum cm_status clean(struct cm_item_builder *builder, struct cm_span value,
                            const char *line_separator)
{
    enum cm_status status = cm_markup_to_text(value, &builder->plain);
    builder->cleaned = 0;
    if (!cm_span_equal(cm_span_trim(value), cm_text_span(&builder->plain))) {
        bool has_markup = memchr(value.data, '<', value.length) != NULL ||
                          memchr(value.data, '&', value.length) != NULL;
        builder->cleaned = has_markup ? CM_CLEANED_MARKUP : CM_CLEANED_SPACE;
    }
    if (status == CM_OK && line_separator != NULL) {
        status = cm_markup_join_lines(&builder->plain, line_separator);
    }
    return status;
}

/* "25.00 USD" is an amount and a currency. */
static enum cm_status split_price(struct cm_item *item)
{
    char *price = item->fields[CM_ITEM_PRICE];
    size_t length = price == NULL ? 0 : strlen(price);
    enum { CODE_LENGTH = 3 };
    if (length < CODE_LENGTH + 2 || price[length - CODE_LENGTH - 1] != ' ') {
        return CM_OK;
    }
    const char *code = price + length - CODE_LENGTH;
    for (size_t i = 0; i < CODE_LENGTH; i++) {
        if (!isupper((unsigned char)code[i])) {
            return CM_OK;
        }
    }
    if (item->fields[CM_ITEM_CURRENCY] == NULL) {
        item->fields[CM_ITEM_CURRENCY] = cm_strdup(code);
        if (item->fields[CM_ITEM_CURRENCY] == NULL) {
            return CM_OUT_OF_MEMORY;
        }
    }
    price[length - CODE_LENGTH - 1] = '\0';
    return CM_OK;
}

/* Shops write 0 where the price is that of a variant or not known. */
static bool is_zero_price(struct cm_span value)
{
    for (size_t i = 0; i < value.length; i++) {
        if (value.data[i] != '0' && value.data[i] != '.') {
            return false;
        }
    }
    return true;
}

/* Magento's tree hangs on a root that says nothing: "Default Category/Men/Tops,Default Category".
 */
static void drop_root_category(struct cm_text *plain)
{
    static const char root[] = "Default Category";
    enum { ROOT_LENGTH = sizeof root - 1 };
    size_t kept = 0;
    for (size_t at = 0; at < plain->length;) {
        bool starts = at == 0 || plain->data[at - 1] == ',';
        const char *end = plain->data + at + ROOT_LENGTH;
        if (starts && plain->length - at >= ROOT_LENGTH &&
            memcmp(plain->data + at, root, ROOT_LENGTH) == 0 &&
            (*end == '/' || *end == ',' || *end == '\0')) {
            at += ROOT_LENGTH + (*end != '\0');
            continue;
        }
        plain->data[kept++] = plain->data[at++];
    }
    while (kept > 0 && plain->data[kept - 1] == ',') {
        kept--;
    }
    if (plain->data != NULL) {
        plain->data[kept] = '\0';
    }
    plain->length = kept;
}

static bool is_address(const struct cm_text *text)
{
    const char *value = cm_text_string(text);
    return strchr(value, ' ') == NULL &&
           (strncmp(value, "http://", 7) == 0 || strncmp(value, "https://", 8) == 0 ||
            strncmp(value, "//", 2) == 0);
}

/* --- Attributes --- */

/* Whether `value` is one of the parts of "a, b, c". */
static bool list_has(const char *list, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = list; (at = strstr(at, value)) != NULL; at++) {
        bool starts = at == list || (at >= list + 2 && memcmp(at - 2, ", ", 2) == 0);
        bool ends = at[length] == '\0' || strncmp(at + length, ", ", 2) == 0;
        if (starts && ends) {
            return true;
        }
    }
    return false;
}

static enum cm_status join_value(struct cm_attribute *attribute, const struct cm_text *value)
{
    size_t length = strlen(attribute->value);
    size_t joined_length = length + 2 + value->length;
    if (list_has(attribute->value, cm_text_string(value)) ||
        joined_length > CM_CATALOG_FIELD_BYTES_MAX) {
        return CM_OK;
    }
    char *joined = cm_realloc(attribute->value, joined_length + 1, 1);
    if (joined == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    attribute->value = joined;
    memcpy(joined + length, ", ", 2);
    memcpy(joined + length + 2, cm_text_string(value), value->length + 1);
    return CM_OK;
}

static void mark_damaged(struct cm_item *item, const char *problem)
{
    if (!item->damaged) {
        item->damaged = true;
        snprintf(item->problem, sizeof item->problem, "%s", problem);
        cm_utf8_clean(item->problem);
    }
}

/* Adds builder->plain under the name. Values for a name that an earlier row gave are left out,
 * unless they are `gathered`: the options of variants. */
static enum cm_status add_attribute(struct cm_item_builder *builder, struct cm_span name,
                                    bool gathered)
{
    struct cm_item *item = &builder->item;
    if (builder->plain.length == 0 || name.length == 0 || is_address(&builder->plain)) {
        return CM_OK;
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        if (cm_span_equal_text(name, item->attributes[i].name)) {
            return gathered || i >= builder->first_row_attributes
                       ? join_value(&item->attributes[i], &builder->plain)
                       : CM_OK;
        }
    }
    if (item->attributes_count == CM_ITEM_ATTRIBUTES_MAX) {
        mark_damaged(item, "has more than 1024 attributes");
        return CM_OK;
    }
    void *attributes = item->attributes;
    enum cm_status status = cm_grow(&attributes, &builder->attributes_capacity,
                                    item->attributes_count + 1, sizeof *item->attributes);
    item->attributes = attributes;
    if (status != CM_OK) {
        return status;
    }
    struct cm_attribute attribute = { cm_strndup(name.data, name.length), NULL };
    status = copy_text(&builder->plain, &attribute.value);
    if (attribute.name == NULL || status != CM_OK) {
        cm_free(attribute.name);
        cm_free(attribute.value);
        return CM_OUT_OF_MEMORY;
    }
    item->attributes[item->attributes_count++] = attribute;
    return CM_OK;
}

static enum cm_status add_value(struct cm_item_builder *builder, struct cm_span name,
                                struct cm_span value, bool gathered)
{
    enum cm_status status = clean(builder, value, ", ");
    builder->item.cleaned_attributes |= builder->cleaned;
    return status == CM_OK ? add_attribute(builder, name, gathered) : status;
}

/* --- Options and packed attributes --- */

/* Shopify's "Title: Default Title" stands for a product without options. */
static bool is_no_option(struct cm_span name, struct cm_span value)
{
    return cm_span_equal_text(name, "Title") && cm_span_equal_text(value, "Default Title");
}

static enum cm_status add_option(struct cm_item_builder *builder, const struct cm_cell *cell)
{
    const struct cm_column *column = cell->column;
    if (column->option > CM_ITEM_OPTIONS_MAX) {
        return CM_OK;
    }
    struct cm_text *name = &builder->options[column->option - 1];
    struct cm_span value = cm_span_trim(cell->value);
    if (column->kind == CM_COLUMN_OPTION_NAME) {
        if (value.length == 0) {
            return CM_OK;
        }
        enum cm_status status = clean(builder, value, " ");
        if (status == CM_OK && builder->plain.length < NAME_BYTES_MAX) {
            status = set_text(name, cm_text_span(&builder->plain));
        }
        return status;
    }
    if (is_no_option(cm_text_span(name), value)) {
        return CM_OK;
    }
    struct cm_span label = cm_text_span(name);
    return add_value(builder, label.length > 0 ? label : cm_span_of("Option"), value, true);
}

/* An attribute called "color" beside a column with that meaning would say the same twice. */
static enum cm_status add_named(struct cm_item_builder *builder, struct cm_span name,
                                struct cm_span value, bool gathered)
{
    struct cm_columns columns = { .format = cm_table_format_find(NULL, 0) };
    enum cm_status status = cm_columns_add(&columns, name);
    if (status == CM_OK && columns.items[0].kind == CM_COLUMN_ATTRIBUTE) {
        status = add_value(builder, cm_span_of(columns.items[0].label), value, gathered);
    }
    cm_columns_deinit(&columns);
    return status;
}

static struct cm_span cut_at(struct cm_span *rest, const char *end)
{
    struct cm_span part = { rest->data, (size_t)(end - rest->data) };
    size_t used = part.length < rest->length ? part.length + 1 : part.length;
    rest->data += used;
    rest->length -= used;
    return part;
}

/* The end of a "key=value" in a list of them: the comma before the next "key=", since values may
 * hold commas too. */
static const char *packed_end(struct cm_span list)
{
    const char *end = list.data + list.length;
    const char *comma = NULL;
    bool past_key = false;
    for (const char *at = list.data; at < end; at++) {
        if (*at == ',') {
            comma = at;
        } else if (*at == '=') {
            if (past_key && comma != NULL) {
                return comma;
            }
            past_key = true;
        }
    }
    return end;
}

static enum cm_status add_packed(struct cm_item_builder *builder, struct cm_span list,
                                 bool gathered)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK && list.length > 0) {
        struct cm_span value = cut_at(&list, packed_end(list));
        const char *equals = memchr(value.data, '=', value.length);
        if (equals == NULL) {
            continue;
        }
        struct cm_span key = cut_at(&value, equals);
        while (status == CM_OK && value.length > 0) {
            const char *bar = memchr(value.data, '|', value.length);
            struct cm_span part = cut_at(&value, bar != NULL ? bar : value.data + value.length);
            status = add_named(builder, key, part, gathered);
        }
    }
    return status;
}

static enum cm_status add_variants(struct cm_item_builder *builder, struct cm_span list)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK && list.length > 0) {
        const char *bar = memchr(list.data, '|', list.length);
        struct cm_span variant = cut_at(&list, bar != NULL ? bar : list.data + list.length);
        status = add_packed(builder, variant, true);
    }
    return status;
}

/* --- Rows --- */

static bool is_better(const struct cm_cell *cell, const struct cm_cell *best)
{
    struct cm_span value = cm_span_trim(cell->value);
    bool empty =
        value.length == 0 || (cell->column->field == CM_ITEM_PRICE && is_zero_price(value));
    return !empty && (best == NULL || cell->column->rank < best->column->rank);
}

static enum cm_status set_field(struct cm_item_builder *builder, const struct cm_cell *cell)
{
    static const char *const separators[CM_ITEM_FIELD_COUNT] = {
        [CM_ITEM_ID] = " ",        [CM_ITEM_TITLE] = " ", [CM_ITEM_BRAND] = " ",
        [CM_ITEM_CATEGORY] = ", ", [CM_ITEM_PRICE] = " ", [CM_ITEM_CURRENCY] = " ",
        [CM_ITEM_LANGUAGE] = " ",
    };
    enum cm_item_field field = cell->column->field;
    if (builder->item.fields[field] != NULL) {
        return CM_OK;
    }
    enum cm_status status = clean(builder, cell->value, separators[field]);
    if (status == CM_OK && field == CM_ITEM_CATEGORY) {
        drop_root_category(&builder->plain);
    }
    if (status == CM_OK && builder->plain.length > 0) {
        builder->item.cleaned[field] = builder->cleaned;
        status = copy_text(&builder->plain, &builder->item.fields[field]);
    }
    return status;
}

static enum cm_status add_other(struct cm_item_builder *builder, const struct cm_cell *cell,
                                const struct cm_cell *const *best)
{
    const struct cm_column *column = cell->column;
    switch (column->kind) {
    case CM_COLUMN_ATTRIBUTE:
        return add_value(builder, cm_span_of(column->label), cell->value, false);
    case CM_COLUMN_OPTION_NAME:
    case CM_COLUMN_OPTION_VALUE:
        return add_option(builder, cell);
    case CM_COLUMN_PACKED:
        return add_packed(builder, cell->value, false);
    case CM_COLUMN_VARIANTS:
        return add_variants(builder, cell->value);
    case CM_COLUMN_FIELD:
        /* None is best where all are blank. */
        if (best[column->field] == NULL || best[column->field] == cell ||
            !cm_column_keeps_loser(column->field) ||
            cm_span_equal(cell->value, best[column->field]->value)) {
            return CM_OK;
        }
        return add_value(builder, cm_span_of(column->label), cell->value, false);
    case CM_COLUMN_IGNORED:
        return CM_OK;
    }
    return CM_OK;
}

enum cm_status cm_item_builder_add(struct cm_item_builder *builder, const struct cm_cell *cells,
                                   size_t cells_count, const char *problem)
{
    const struct cm_cell *best[CM_ITEM_FIELD_COUNT] = { NULL };
    enum cm_status status = CM_OK;
    builder->first_row_attributes = builder->item.attributes_count;
    for (size_t i = 0; i < cells_count; i++) {
        const struct cm_column *column = cells[i].column;
        if (column->kind == CM_COLUMN_FIELD && is_better(&cells[i], best[column->field])) {
            best[column->field] = &cells[i];
        }
    }
    for (size_t i = 0; status == CM_OK && i < CM_ITEM_FIELD_COUNT; i++) {
        status = best[i] == NULL ? CM_OK : set_field(builder, best[i]);
    }
    for (size_t i = 0; status == CM_OK && i < cells_count; i++) {
        if (cells[i].value.length > 0) {
            status = add_other(builder, &cells[i], best);
        }
    }
    if (problem != NULL) {
        mark_damaged(&builder->item, problem);
    }
    return status;
}

enum cm_status cm_item_builder_begin(struct cm_item_builder *builder, uint64_t line,
                                     const struct cm_cell *cells, size_t cells_count)
{
    CM_ASSERT(!builder->active);
    cm_item_deinit(&builder->item);
    builder->attributes_capacity = 0;
    builder->item.line = line;
    for (size_t i = 0; i < CM_ITEM_OPTIONS_MAX; i++) {
        cm_text_clear(&builder->options[i]);
    }
    enum cm_status status = set_text(&builder->group, group_of(cells, cells_count));
    if (status == CM_OK) {
        status = set_text(&builder->language, language_of(cells, cells_count));
    }
    builder->active = status == CM_OK;
    return status;
}

bool cm_item_builder_has_title(const struct cm_item_builder *builder)
{
    return builder->item.fields[CM_ITEM_TITLE] != NULL;
}

void cm_item_builder_drop(struct cm_item_builder *builder)
{
    cm_item_deinit(&builder->item);
    builder->attributes_capacity = 0;
    builder->active = false;
}

/* --- Completion --- */

/* "row-" and a hash of the content: the same row has the same id in every run. */
static enum cm_status make_id(struct cm_item_builder *builder)
{
    enum { ID_HASH_BYTES = 8 };
    struct cm_item *item = &builder->item;
    uint8_t digest[CM_SHA256_BYTES];
    char hex[2 * ID_HASH_BYTES + 1];
    cm_hash_restart(builder->hash);
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        cm_hash_text(builder->hash, item->fields[i]);
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        cm_hash_text(builder->hash, item->attributes[i].name);
        cm_hash_text(builder->hash, item->attributes[i].value);
    }
    cm_hash_digest(builder->hash, digest);
    cm_hex(digest, ID_HASH_BYTES, hex);
    cm_text_clear(&builder->plain);
    enum cm_status status = cm_text_printf(&builder->plain, "row-%s", hex);
    return status == CM_OK ? copy_text(&builder->plain, &item->fields[CM_ITEM_ID]) : status;
}

enum cm_status cm_item_builder_take(struct cm_item_builder *builder, struct cm_item *item)
{
    struct cm_item *made = &builder->item;
    enum cm_status status = split_price(made);
    if (status == CM_OK && made->fields[CM_ITEM_TITLE] == NULL &&
        made->fields[CM_ITEM_DESCRIPTION] == NULL) {
        mark_damaged(made, "has neither a title nor a description; fill one in, or name its "
                           "column with --map title=COLUMN");
    }
    if (status == CM_OK && made->fields[CM_ITEM_ID] == NULL) {
        status = make_id(builder);
    }
    for (unsigned i = 0; status == CM_OK && i < CM_ITEM_FIELD_COUNT; i++) {
        if (made->fields[i] == NULL) {
            made->fields[i] = cm_strdup("");
            status = made->fields[i] == NULL ? CM_OUT_OF_MEMORY : CM_OK;
        }
    }
    builder->active = false;
    if (status != CM_OK) {
        return status;
    }
    *item = *made;
    *made = (struct cm_item){ .index = 0 };
    builder->attributes_capacity = 0;
    return CM_OK;
}
