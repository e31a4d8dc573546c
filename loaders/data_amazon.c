#include "base/memory.h"
#include "loaders/columns.h"
#include "loaders/data_record.h"
#include "loaders/json_file.h"

#include <stdio.h>
#include <string.h>

enum { JOINED_BYTES_MAX = CM_CATALOG_FIELD_BYTES_MAX };

/* The texts of a list, one after the other; a single text is one too. */
static enum cm_status join(const json_t *list, const char *separator, struct cm_text *joined)
{
    size_t count = json_is_array(list) ? json_array_size(list) : 1;
    enum cm_status status = CM_OK;
    cm_text_clear(joined);
    for (size_t i = 0; status == CM_OK && i < count; i++) {
        struct cm_span part =
            cm_span_trim(cm_json_span(json_is_array(list) ? json_array_get(list, i) : list));
        if (part.length == 0) {
            continue;
        }
        status = cm_text_append_string(joined, joined->length > 0 ? separator : "");
        if (status == CM_OK) {
            status = cm_text_append_span(joined, part);
        }
    }
    return status == CM_LIMIT ? CM_OK : status; /* what fits is enough */
}

/* 12.99, "12.99", "$12.99", "from 12.99", null, "None" */
static enum cm_status set_price(struct cm_data_fill *fill, const json_t *price)
{
    char number[32];
    struct cm_span text = cm_json_span(price);
    if (json_is_number(price)) {
        snprintf(number, sizeof number, "%.10g", json_number_value(price));
        text = cm_span_of(number);
    }
    while (text.length > 0 && (text.data[0] < '0' || text.data[0] > '9')) {
        text.data++;
        text.length--;
    }
    if (text.length == 0) {
        return CM_OK;
    }
    enum cm_status status = cm_data_set_field(fill, CM_ITEM_PRICE, text);
    return status == CM_OK ? cm_data_set_field(fill, CM_ITEM_CURRENCY, cm_span_of("USD")) : status;
}

/* What the shop's table of details says of the product; ranks, dates and numbers of things are left
 * out by the rules for the columns of a catalog. */
static enum cm_status add_detail(struct cm_data_fill *fill, const char *name, const json_t *value)
{
    struct cm_columns columns = { .format = cm_table_format_find(NULL, 0) };
    struct cm_span text = cm_json_span(value);
    enum cm_status status = cm_columns_add(&columns, cm_span_of(name));
    if (status == CM_OK && text.length > 0) {
        const struct cm_column *column = &columns.items[0];
        if (column->kind == CM_COLUMN_ATTRIBUTE) {
            status = cm_data_add_attribute(fill, cm_span_of(column->label), text);
        } else if (column->kind == CM_COLUMN_FIELD && column->field == CM_ITEM_BRAND) {
            status = cm_data_set_field(fill, CM_ITEM_BRAND, text);
        }
    }
    cm_columns_deinit(&columns);
    return status;
}

enum cm_status cm_data_amazon_fill(struct cm_data_fill *fill, const json_t *document)
{
    static const struct {
        const char *key;
        enum cm_item_field field;
    } fields[] = {
        { "parent_asin", CM_ITEM_ID }, { "asin", CM_ITEM_ID },
        { "title", CM_ITEM_TITLE },    { "store", CM_ITEM_BRAND },
        { "brand", CM_ITEM_BRAND },    { "main_category", CM_ITEM_CATEGORY },
    };
    struct cm_text joined = CM_TEXT_INIT(JOINED_BYTES_MAX);
    const json_t *details = cm_json_get(document, "details");
    enum cm_status status = join(cm_json_get(document, "categories"), " > ", &joined);
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_CATEGORY, cm_text_span(&joined));
    }
    for (size_t i = 0; status == CM_OK && i < sizeof fields / sizeof fields[0]; i++) {
        status = cm_data_set_field(fill, fields[i].field,
                                   cm_json_span(cm_json_get(document, fields[i].key)));
    }
    if (status == CM_OK) {
        status = set_price(fill, cm_json_get(document, "price"));
    }
    if (status == CM_OK) {
        status = join(cm_json_get(document, "description"), "\n", &joined);
    }
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_DESCRIPTION, cm_text_span(&joined));
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &fill->record->text, cm_text_span(&joined));
    }
    if (status == CM_OK) {
        status = join(cm_json_get(document, "features"), "; ", &joined);
    }
    if (status == CM_OK) {
        status = cm_data_add_attribute(fill, cm_span_of("features"), cm_text_span(&joined));
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)details, name, value)
    {
        status = status == CM_OK ? add_detail(fill, name, value) : status;
    }
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_LANGUAGE, cm_span_of("en"));
    }
    cm_text_deinit(&joined);
    return status;
}
