#include "loaders/columns.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* --- Data: export formats --- */

/* The first whose required columns are all there. */
static const struct cm_table_format formats[] = {
    { .name = "Shopify",
      .required = { "title", "url_handle" },
      .group = "url_handle",
      .id = "url_handle" },
    { .name = "Shopify (legacy)",
      .required = { "handle", "title", "vendor" },
      .group = "handle",
      .id = "handle" },
    { .name = "Spree",
      .required = { "slug", "sku", "option1_name" },
      .group = "slug",
      .group_needs_title = true,
      .id = "slug" },
    { .name = "WooCommerce",
      .required = { "type", "sku", "name", "regular_price" },
      .skip_column = "type",
      .skip_value = "variation",
      .ignored = { "type" } },
    { .name = "Magento",
      .required = { "sku", "product_type", "attribute_set_code" },
      .id = "sku",
      .skip_column = "visibility",
      .skip_value = "Not Visible Individually",
      .ignored = { "product_type", "visibility" } },
    { .name = "Magento", .required = { "sku", "name", "attribute_set" }, .id = "sku" },
    { .name = "PrestaShop", .required = { "name", "categories_x_y_z" } },
    { .name = "Google Merchant", .required = { "id", "title", "link" } },
};

static const struct cm_table_format generic = { .name = "generic" };

/* --- Data: columns that are a well-known field, best first --- */

static const char *const ids[] = {
    "id",          "item_id",        "product_id",   "productid", "sku",      "item_sku",
    "variant_sku", "handle",         "url_handle",   "slug",      "asin",     "parent_asin",
    "item_number", "article_number", "product_code", "code",      "商品编号", "商品id",
    "商品编码",    "产品编号",       "货号",         "编号",      NULL
};
static const char *const titles[] = { "product_title", "product_name", "productname", "item_name",
                                      "item_title",    "title",        "product",     "name",
                                      "商品名称",      "商品标题",     "产品名称",    "标题",
                                      "名称",          "品名",         NULL };
static const char *const brands[] = { "brand", "brand_name", "vendor", "manufacturer",
                                      "maker", "store",      "品牌",   NULL };
static const char *const categories[] = { "category",
                                          "categories",
                                          "product_category",
                                          "category1",
                                          "category_path",
                                          "categories_x_y_z",
                                          "product_type",
                                          "type",
                                          "google_product_category",
                                          "google_shopping_google_product_category",
                                          "main_category",
                                          "department",
                                          "类目",
                                          "分类",
                                          "品类",
                                          "类别",
                                          "商品类目",
                                          NULL };
static const char *const descriptions[] = { "description",
                                            "body_html",
                                            "body",
                                            "product_description",
                                            "long_description",
                                            "short_description",
                                            "summary",
                                            "商品描述",
                                            "商品详情",
                                            "产品描述",
                                            "描述",
                                            "详情",
                                            "简介",
                                            NULL };
static const char *const prices[] = { "price",     "variant_price",  "regular_price", "list_price",
                                      "listprice", "price_tax_excl", "unit_price",    "sale_price",
                                      "价格",      "售价",           "单价",          NULL };
static const char *const currencies[] = { "currency", "currency_code", "price_currency",
                                          "币种",     "货币",          NULL };
static const char *const languages[] = { "language",         "lang", "locale",
                                         "content_language", "语言", NULL };

static const char *const *const synonyms[CM_ITEM_FIELD_COUNT] = {
    [CM_ITEM_ID] = ids,
    [CM_ITEM_TITLE] = titles,
    [CM_ITEM_BRAND] = brands,
    [CM_ITEM_CATEGORY] = categories,
    [CM_ITEM_DESCRIPTION] = descriptions,
    [CM_ITEM_PRICE] = prices,
    [CM_ITEM_CURRENCY] = currencies,
    [CM_ITEM_LANGUAGE] = languages,
};

/* --- Data: columns that are no facts about the product --- */

static const char *const ignored_patterns[] = {
    /* pictures and addresses */
    "image",
    "images",
    "image*",
    "*_image",
    "*_images",
    "*_image_*",
    "img*",
    "thumbnail*",
    "picture*",
    "photos",
    "video*",
    "*alt_text",
    "url",
    "urls",
    "url_*",
    "*_url",
    "*_urls",
    "*_url_*",
    "link",
    "*_link",
    "links",
    "permalink",
    "handle",
    "*_handle",
    "slug",
    "qr_code",
    "button_text",
    /* what search engines see */
    "seo_*",
    "meta_*",
    "*_meta_title",
    "*_meta_description",
    "*adwords*",
    "*custom_label*",
    "*custom_product",
    "template_suffix",
    /* numbers of things */
    "id",
    "*_id",
    "*_ids",
    "sku",
    "*_sku",
    "*_skus",
    "*barcode",
    "ean",
    "ean13",
    "upc",
    "gtin*",
    "isbn",
    "mpn",
    "*_mpn",
    "asin",
    "*_asin",
    "reference",
    "supplier*",
    "index",
    "position",
    "*_position",
    "menu_order",
    "parent",
    "*linked_to",
    "unnamed*",
    /* stock and shipping */
    "*inventory*",
    "stock",
    "stock_*",
    "*_stock",
    "in_stock*",
    "*_stock_*",
    "qty",
    "qty_*",
    "*_qty",
    "*_qty_*",
    "quantity",
    "*order_quantity",
    "*backorder*",
    "*back_order*",
    "*availability*",
    "available_*",
    "discontinue_on",
    "only_available_online",
    "text_when*",
    "*fulfillment*",
    "*fullfilment*",
    "*requires_shipping",
    "shipping_class",
    "variant_grams",
    "variant_weight_unit",
    "sold_individually",
    "is_decimal*",
    "*_increments",
    "*decimal*divided",
    "download*",
    "grouped_products",
    /* money beside the price */
    "*tax",
    "tax_*",
    "*_tax_*",
    "*taxable",
    "cost*",
    "wholesale_price",
    "*compare_at*",
    "special_price*",
    "sale_price*",
    "price_*",
    "included_*",
    "msrp*",
    "map_*",
    "discount*",
    "on_sale*",
    "sale",
    "ecotax",
    "unit_price_*",
    "show_price",
    "gift_*",
    "charge_*",
    /* the life of the record */
    "status",
    "published*",
    "active*",
    "product_online",
    "visibility*",
    "*_visible",
    "*_global",
    "new",
    "is_featured",
    "featured",
    "*date",
    "date_*",
    "*_date_*",
    "created*",
    "updated*",
    "*_created_at",
    "*_updated_at",
    "delete_existing*",
    "command",
    "has_options",
    "required_options",
    /* opinions of customers */
    "rating*",
    "review*",
    "allow_customer_reviews",
    "popularity",
    "*_rating",
    "*_reviews",
    "purchase_note",
    /* the insides of Magento and WooCommerce */
    "use_config_*",
    "manage_stock",
    "notify_*",
    "website*",
    "*_websites",
    "attribute_set*",
    "store_view_code",
    "custom_design*",
    "custom_layout*",
    "page_layout",
    "*options_container",
    "*price_type",
    "display_product_options_in",
    "related_*",
    "cross*sell*",
    "up*sell*",
    "bundle_*",
    "associated_*",
    "configurable_variation_labels",
    "erin_recommends",
    "grouped_*",
    /* what `prepare` says about other items */
    "near_duplicate_of",
};

/* What stands before or behind the name that a person would use. */
static const char *const label_prefixes[] = { "custom_field.custom.", "Feature:",
                                              "Google Shopping / ",   "Google shopping ",
                                              "attribute:pa_",        "attribute:" };
static const char *const label_suffixes[] = { " (product.metafields.", " (x,y,z" };

/* --- Names --- */

static bool is_word_byte(unsigned char byte)
{
    return isalnum(byte) || byte >= 0x80;
}

/* A capital starts a word after a small letter or digit ("bodyHtml"), and as the last of several
 * before a small letter ("SKUCode"), but not in "IDs". */
static bool starts_word(struct cm_span name, size_t at)
{
    if (at == 0 || !isupper((unsigned char)name.data[at])) {
        return false;
    }
    unsigned char before = (unsigned char)name.data[at - 1];
    if (islower(before) || isdigit(before)) {
        return true;
    }
    return isupper(before) && at + 2 < name.length && islower((unsigned char)name.data[at + 1]) &&
           is_word_byte((unsigned char)name.data[at + 2]);
}

void cm_column_normalize(struct cm_span name, char normal[CM_COLUMN_NAME_BYTES])
{
    size_t length = 0;
    bool gap = false;
    for (size_t i = 0; i < name.length && length + 2 < CM_COLUMN_NAME_BYTES; i++) {
        unsigned char byte = (unsigned char)name.data[i];
        if (!is_word_byte(byte)) {
            gap = true;
            continue;
        }
        if (length > 0 && (gap || starts_word(name, i))) {
            normal[length++] = '_';
        }
        gap = false;
        normal[length++] = (char)tolower(byte);
    }
    normal[length] = '\0';
}

static bool is_one_of(const char *normal, const char *const *names, size_t names_max)
{
    for (size_t i = 0; i < names_max && names[i] != NULL; i++) {
        if (strcmp(normal, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* --- Formats --- */

static bool has_column(const struct cm_span *names, size_t count, const char *wanted)
{
    for (size_t i = 0; i < count; i++) {
        char normal[CM_COLUMN_NAME_BYTES];
        cm_column_normalize(names[i], normal);
        if (strcmp(normal, wanted) == 0) {
            return true;
        }
    }
    return false;
}

const struct cm_table_format *cm_table_format_find(const struct cm_span *names, size_t count)
{
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        bool complete = true;
        for (const char *const *required = formats[i].required; complete && *required != NULL;
             required++) {
            complete = has_column(names, count, *required);
        }
        if (complete) {
            return &formats[i];
        }
    }
    return &generic;
}

/* --- Columns --- */

/* "option1_name", "option_2_value", "attribute_1_value_s". */
static bool recognize_option(const char *normal, struct cm_column *column)
{
    unsigned number = 0;
    char what[16] = "";
    if (sscanf(normal, "option%u_%15s", &number, what) != 2 &&
        sscanf(normal, "option_%u_%15s", &number, what) != 2 &&
        sscanf(normal, "attribute_%u_%15s", &number, what) != 2) {
        return false;
    }
    bool is_name = strcmp(what, "name") == 0;
    bool is_value = strcmp(what, "value") == 0 || strcmp(what, "value_s") == 0;
    if (number == 0 || (!is_name && !is_value)) {
        return false;
    }
    column->kind = is_name ? CM_COLUMN_OPTION_NAME : CM_COLUMN_OPTION_VALUE;
    column->option = number;
    return true;
}

static bool recognize_field(const char *normal, const struct cm_table_format *format,
                            struct cm_column *column)
{
    if (format->id != NULL && strcmp(normal, format->id) == 0) {
        column->kind = CM_COLUMN_FIELD;
        column->field = CM_ITEM_ID;
        column->rank = 0;
        return true;
    }
    for (unsigned field = 0; field < CM_ITEM_FIELD_COUNT; field++) {
        for (unsigned rank = 0; synonyms[field][rank] != NULL; rank++) {
            if (strcmp(normal, synonyms[field][rank]) == 0) {
                column->kind = CM_COLUMN_FIELD;
                column->field = (enum cm_item_field)field;
                column->rank = rank + 1;
                return true;
            }
        }
    }
    return false;
}

static bool is_ignored(const char *normal)
{
    for (size_t i = 0; i < COUNT_OF(ignored_patterns); i++) {
        if (fnmatch(ignored_patterns[i], normal, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* What a shop measures about a product rather than what the product is. A copy that is written here
 * does without, because it is soon out of date; one that is judged may well say it. */
static bool is_reputation(const char *normal)
{
    static const char *const patterns[] = { "rating*", "*_rating", "price_range", "pricerange" };
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        if (fnmatch(patterns[i], normal, 0) == 0) {
            return true;
        }
    }
    return false;
}

static void recognize(const char *normal, const struct cm_columns *columns,
                      struct cm_column *column)
{
    const struct cm_table_format *format = columns->format;
    column->is_group = format->group != NULL && strcmp(normal, format->group) == 0;
    column->is_skip = format->skip_column != NULL && strcmp(normal, format->skip_column) == 0;
    if (normal[0] == '\0' || is_one_of(normal, format->ignored, COUNT_OF(format->ignored))) {
        column->kind = CM_COLUMN_IGNORED;
    } else if (recognize_option(normal, column) || recognize_field(normal, format, column)) {
        return;
    } else if (strcmp(normal, "additional_attributes") == 0) {
        column->kind = CM_COLUMN_PACKED;
    } else if (strcmp(normal, "configurable_variations") == 0) {
        column->kind = CM_COLUMN_VARIANTS;
    } else {
        bool kept = columns->keeps_reputation && is_reputation(normal);
        column->kind = is_ignored(normal) && !kept ? CM_COLUMN_IGNORED : CM_COLUMN_ATTRIBUTE;
    }
}

static struct cm_span label_of(struct cm_span name)
{
    for (size_t i = 0; i < COUNT_OF(label_prefixes); i++) {
        size_t length = strlen(label_prefixes[i]);
        if (name.length > length && strncasecmp(name.data, label_prefixes[i], length) == 0) {
            name.data += length;
            name.length -= length;
            break;
        }
    }
    for (size_t i = 0; i < COUNT_OF(label_suffixes); i++) {
        const char *found =
            memmem(name.data, name.length, label_suffixes[i], strlen(label_suffixes[i]));
        if (found != NULL && found != name.data) {
            name.length = (size_t)(found - name.data);
        }
    }
    return cm_span_trim(name);
}

enum cm_status cm_columns_add(struct cm_columns *columns, struct cm_span name)
{
    void *items = columns->items;
    enum cm_status status =
        cm_grow(&items, &columns->capacity, columns->count + 1, sizeof *columns->items);
    columns->items = items;
    if (status != CM_OK) {
        return status;
    }
    struct cm_column column = { .kind = CM_COLUMN_ATTRIBUTE };
    char normal[CM_COLUMN_NAME_BYTES];
    name = cm_span_trim(name);
    struct cm_span label = label_of(name);
    cm_column_normalize(name, normal);
    recognize(normal, columns, &column);
    column.name = cm_strndup(name.data, name.length);
    column.label = cm_strndup(label.data, label.length);
    if (column.name == NULL || column.label == NULL) {
        cm_free(column.name);
        cm_free(column.label);
        return CM_OUT_OF_MEMORY;
    }
    cm_utf8_clean(column.name);
    cm_utf8_clean(column.label);
    columns->items[columns->count++] = column;
    return CM_OK;
}

size_t cm_columns_find(const struct cm_columns *columns, struct cm_span name)
{
    char wanted[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(name, wanted);
    for (size_t i = 0; i < columns->count; i++) {
        char normal[CM_COLUMN_NAME_BYTES];
        cm_column_normalize(cm_span_of(columns->items[i].name), normal);
        if (strcmp(normal, wanted) == 0) {
            return i;
        }
    }
    return columns->count;
}

void cm_columns_map(struct cm_columns *columns, enum cm_item_field field, size_t column)
{
    for (size_t i = 0; i < columns->count; i++) {
        struct cm_column *other = &columns->items[i];
        if (i != column && other->kind == CM_COLUMN_FIELD && other->field == field) {
            other->kind = cm_column_keeps_loser(field) ? CM_COLUMN_ATTRIBUTE : CM_COLUMN_IGNORED;
        }
    }
    columns->items[column].kind = CM_COLUMN_FIELD;
    columns->items[column].field = field;
    columns->items[column].rank = 0;
}

bool cm_column_keeps_loser(enum cm_item_field field)
{
    return field == CM_ITEM_TITLE || field == CM_ITEM_BRAND || field == CM_ITEM_CATEGORY;
}

void cm_columns_deinit(struct cm_columns *columns)
{
    for (size_t i = 0; i < columns->count; i++) {
        cm_free(columns->items[i].name);
        cm_free(columns->items[i].label);
    }
    cm_free(columns->items);
    *columns = (struct cm_columns){ .format = columns->format };
}
