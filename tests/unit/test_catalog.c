#include "base/log.h"
#include "base/memory.h"
#include "loaders/catalog.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

#include "temp_file.h"

struct shop {
    char path[TEMP_PATH_BYTES];
    struct cm_catalog *catalog;
    struct cm_item item;
    struct cm_error error;
};

static enum cm_status open_mapped(struct shop *shop, const char *text, const char *const *maps,
                                  size_t maps_count)
{
    *shop = (struct shop){ .catalog = NULL };
    temp_file_write_text(shop->path, text);
    struct cm_catalog_options options = { shop->path, maps, maps_count, false, false };
    enum cm_status status = cm_catalog_open(&options, &shop->catalog, &shop->error);
    temp_file_remove(shop->path);
    return status;
}

static void open_text(struct shop *shop, const char *text)
{
    if (open_mapped(shop, text, NULL, 0) != CM_OK) {
        fail_msg("%s", shop->error.message);
    }
}

static enum cm_status next(struct shop *shop)
{
    cm_item_deinit(&shop->item);
    return cm_catalog_next(shop->catalog, &shop->item, &shop->error);
}

static void close_shop(struct shop *shop)
{
    cm_item_deinit(&shop->item);
    cm_catalog_close(shop->catalog);
}

/* A field or attribute of the item in hand; NULL: there is none. */
static void expect(const struct shop *shop, const char *name, const char *value)
{
    const char *found = cm_item_find(&shop->item, name);
    if (value == NULL) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_string_equal(found, value);
    }
}

static void expect_item(struct shop *shop, const char *id, const char *title)
{
    assert_int_equal(next(shop), CM_OK);
    assert_false(shop->item.damaged);
    expect(shop, "id", id);
    expect(shop, "title", title);
}

static void shopify_variants_are_one_item(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "Title,URL handle,Description,Vendor,Product category,Option1 name,"
                     "Option1 value,SKU,Price,Product image URL,SEO title\n"
                     "Tee,tee,<p>Soft &amp; light</p>,Acme,Clothing,Color,Red,T-R,10,u,s\n"
                     ",tee,,,,,Blue,T-B,12,,\n"
                     ",tee,,,,,,,,https://x/y.jpg,\n"
                     "Mug,mug,Holds tea,Acme,Kitchen,Title,Default Title,M,5,,\n"
                     "Tee 2,tee,,,,,,,,,\n");
    assert_string_equal(cm_catalog_describe(shop.catalog), "Shopify CSV, comma, UTF-8, 11 columns");
    expect_item(&shop, "tee", "Tee");
    assert_int_equal(shop.item.line, 2);
    expect(&shop, "brand", "Acme");
    expect(&shop, "category", "Clothing");
    expect(&shop, "description", "Soft & light");
    expect(&shop, "price", "10");
    expect(&shop, "Color", "Red, Blue");
    assert_int_equal(shop.item.attributes_count, 1);
    expect_item(&shop, "mug", "Mug");
    assert_int_equal(shop.item.line, 5);
    assert_int_equal(shop.item.attributes_count, 0);
    assert_int_equal(shop.item.index, 1);
    /* The handle of the last row had its item already. */
    assert_int_equal(next(&shop), CM_END);
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
}

static void a_damaged_row_marks_its_group(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "Handle,Title,Vendor,Option1 Name,Option1 Value\ntee,Tee,A,Size,S\n"
                     "tee,,,,\"M\"x\ntee,,,,L\nmug,Mug,B,,\n");
    assert_int_equal(next(&shop), CM_OK);
    assert_true(shop.item.damaged);
    assert_non_null(strstr(shop.item.problem, "line 3"));
    expect(&shop, "Size", "S, L");
    expect_item(&shop, "mug", "Mug");
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
}

static void woocommerce_variations_are_left_out(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "ID,Type,SKU,Name,\"Regular price\",Parent,\"Attribute 1 name\",\"Attribute 1 "
                     "value(s)\",\"Weight (lbs)\"\n"
                     "44,variable,v,V-Neck,,,Color,\"Blue, Red\",.5\n"
                     "76,variation,v-r,V-Neck - Red,20,v,Color,Red,\n45,simple,m,Mug,3,,,,\n");
    expect_item(&shop, "44", "V-Neck");
    expect(&shop, "Color", "Blue, Red");
    expect(&shop, "Weight (lbs)", ".5");
    expect(&shop, "Type", NULL);
    expect_item(&shop, "45", "Mug");
    expect(&shop, "price", "3");
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
}

static void magento_options_come_from_the_configurable(void **state)
{
    (void)state;
    struct shop shop;
    open_text(
        &shop,
        "sku,attribute_set_code,product_type,name,visibility,additional_attributes,"
        "configurable_variations,categories\n"
        "H-S,Top,simple,Hoodie-S,Not Visible Individually,\"size=S\",,Default Category\n"
        "H,Top,configurable,Hoodie,\"Catalog, Search\",\"has_options=1,material=Wool, "
        "soft,climate=Cool|Windy\",\"sku=H-S,size=S,color=Red|sku=H-M,size=M,color=Red\",\"Default "
        "Category/Men/Tops,Default Category/Eco,Default Category\"\n");
    expect_item(&shop, "H", "Hoodie");
    expect(&shop, "category", "Men/Tops,Eco");
    expect(&shop, "material", "Wool, soft");
    expect(&shop, "climate", "Cool, Windy");
    expect(&shop, "size", "S, M");
    expect(&shop, "color", "Red");
    assert_int_equal(shop.item.attributes_count, 4);
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
}

static void google_prices_are_split(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "id\ttitle\tlink\timage_link\tprice\tcolor\tgtin\n"
                     "1\tTV 27\" wide\thttps://a/b\thttps://a/c.jpg\t25.00 USD\tblack\t123\n");
    expect_item(&shop, "1", "TV 27\" wide");
    expect(&shop, "price", "25.00");
    expect(&shop, "currency", "USD");
    expect(&shop, "color", "black");
    assert_int_equal(shop.item.attributes_count, 1);
    close_shop(&shop);
}

static void chinese_headers_are_known(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "货号,商品名称,品牌,类目,价格,面料\nA1,阔腿裤,云衣,裤装,199,纯棉\n");
    expect_item(&shop, "A1", "阔腿裤");
    expect(&shop, "brand", "云衣");
    expect(&shop, "category", "裤装");
    expect(&shop, "price", "199");
    expect(&shop, "面料", "纯棉");
    close_shop(&shop);
}

static void maps_override_synonyms(void **state)
{
    (void)state;
    static const char text[] = "id,title,label,maker\n1,internal,Nice mug,Acme\n";
    static const char *const good[] = { "title=Label" };
    static const char *const unknown[] = { "titel=label" };
    static const char *const missing[] = { "title=nowhere" };
    struct shop shop;
    assert_int_equal(open_mapped(&shop, text, good, 1), CM_OK);
    expect_item(&shop, "1", "Nice mug");
    expect(&shop, "brand", "Acme");
    close_shop(&shop);
    assert_int_equal(open_mapped(&shop, text, unknown, 1), CM_INVALID_ARGUMENT);
    assert_non_null(strstr(shop.error.message, "FIELD is one of"));
    assert_int_equal(open_mapped(&shop, text, missing, 1), CM_INVALID_ARGUMENT);
    assert_non_null(strstr(shop.error.message, "id, title, label, maker"));
}

static void maps_reach_into_json(void **state)
{
    (void)state;
    static const char *const maps[] = { "title=names.en" };
    struct shop shop;
    assert_int_equal(
        open_mapped(&shop,
                    "{\"code\": \"c1\", \"names\": {\"en\": \"Mug\"}, \"name\": \"x\"}\n"
                    "{\"code\": \"c2\", \"names\": {\"en\": \"Cup\"}}\n",
                    maps, 1),
        CM_OK);
    assert_string_equal(cm_catalog_describe(shop.catalog), "JSON lines, UTF-8");
    expect_item(&shop, "c1", "Mug");
    expect_item(&shop, "c2", "Cup");
    assert_int_equal(shop.item.line, 2);
    close_shop(&shop);
}

static void files_without_items(void **state)
{
    (void)state;
    struct shop shop;
    assert_int_equal(open_mapped(&shop, "", NULL, 0), CM_INVALID_DATA);
    assert_non_null(strstr(shop.error.message, "is empty"));
    assert_int_equal(open_mapped(&shop, "qty,colour\n1,red\n", NULL, 0), CM_INVALID_DATA);
    assert_non_null(strstr(shop.error.message, "--map title=COLUMN. Columns: qty, colour"));
    open_text(&shop, "id,title\n");
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
    assert_int_equal(open_mapped(&shop, "{\"products\": [{\"title\": \"A\"}], \"n\": 1}", NULL, 0),
                     CM_INVALID_DATA);
    assert_non_null(strstr(shop.error.message, "save their array"));
    open_text(&shop, "{}\n{\"title\": \"A\", \"id\": 2}\n");
    assert_int_equal(next(&shop), CM_OK);
    assert_true(shop.item.damaged);
    expect_item(&shop, "2", "A");
    close_shop(&shop);
    open_text(&shop, "[]");
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
}

static void a_bad_row_never_stops_the_rest(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "id,title,color\n1,Mug,red\n2,\"Cup\"x,blue\n3,Pot, with lid,green\n4,\t,\n"
                     ",,\n5,Pan\n6,Jug,\"open\n");
    expect_item(&shop, "1", "Mug");
    static const char *const problems[] = { "line 3 has text behind", "line 4 has 4 cells",
                                            "neither a title" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(next(&shop), CM_OK);
        assert_true(shop.item.damaged);
        assert_int_equal(shop.item.line, i + 3);
        assert_non_null(strstr(shop.item.problem, problems[i]));
    }
    expect_item(&shop, "5", "Pan");
    assert_int_equal(next(&shop), CM_INVALID_DATA);
    assert_non_null(strstr(shop.error.message, ":8: the quote"));
    close_shop(&shop);
}

static void duplicate_columns_keep_both_values(void **state)
{
    (void)state;
    struct shop shop;
    open_text(&shop, "id,title,color,color,title\n1,Mug,red,blue,Big mug\n2,Cup,red,red,\n");
    expect_item(&shop, "1", "Mug");
    expect(&shop, "color", "red, blue");
    expect_item(&shop, "2", "Cup");
    expect(&shop, "color", "red");
    close_shop(&shop);
}

static void ids_are_made_from_the_content(void **state)
{
    (void)state;
    char first[64];
    struct shop shop;
    open_text(&shop, "title,color\nMug,red\nMug,blue\nMug,red\n");
    assert_int_equal(next(&shop), CM_OK);
    assert_int_equal(strlen(shop.item.fields[CM_ITEM_ID]), 20);
    assert_memory_equal(shop.item.fields[CM_ITEM_ID], "row-", 4);
    snprintf(first, sizeof first, "%s", shop.item.fields[CM_ITEM_ID]);
    assert_int_equal(next(&shop), CM_OK);
    assert_string_not_equal(shop.item.fields[CM_ITEM_ID], first);
    assert_int_equal(next(&shop), CM_OK);
    assert_string_equal(shop.item.fields[CM_ITEM_ID], first);
    close_shop(&shop);
}

/* Valid UTF-8 and no control characters but the line end and tab. */
static void assert_clean(const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (*at != 0) {
        utf8proc_int32_t character;
        utf8proc_ssize_t used = utf8proc_iterate(at, -1, &character);
        assert_true(used > 0);
        bool control = character < 0x20 || (character >= 0x7F && character < 0xA0);
        assert_true(!control || character == '\n' || character == '\t');
        at += used;
    }
}

static void naughty_strings_are_items(void **state)
{
    (void)state;
    enum { TABLE_BYTES_MAX = 1 << 20 };
    struct cm_text table = CM_TEXT_INIT(TABLE_BYTES_MAX);
    struct shop shop;
    json_error_t reason;
    json_t *strings = json_load_file(TEST_DATA_DIR "/data/torture/blns.json", 0, &reason);
    assert_non_null(strings);
    assert_int_equal(cm_text_append_string(&table, "id,title,description,note\n"), CM_OK);
    for (size_t i = 0; i < json_array_size(strings); i++) {
        assert_int_equal(cm_text_printf(&table, "%zu,Mug,\"", i), CM_OK);
        for (size_t twice = 0; twice < 2; twice++) {
            const char *at = json_string_value(json_array_get(strings, i));
            for (; *at != '\0'; at++) {
                assert_int_equal(
                    cm_text_append(&table, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1), CM_OK);
            }
            assert_int_equal(cm_text_append_string(&table, twice == 0 ? "\",\"" : "\"\n"), CM_OK);
        }
    }
    open_text(&shop, table.data);
    for (size_t i = 0; i < json_array_size(strings); i++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", i);
        expect_item(&shop, id, "Mug");
        assert_clean(shop.item.fields[CM_ITEM_DESCRIPTION]);
        for (size_t k = 0; k < shop.item.attributes_count; k++) {
            assert_clean(shop.item.attributes[k].value);
        }
    }
    assert_int_equal(next(&shop), CM_END);
    close_shop(&shop);
    json_decref(strings);
    cm_text_deinit(&table);
}

/* Reads a whole file while the nth allocation fails; false once there is no nth any more. */
static bool survives(const char *path, uint64_t nth, size_t items_count)
{
    static const char *const maps[] = { "brand=vendor" };
    struct cm_catalog_options options = { path, maps, 1, false, false };
    struct cm_catalog *catalog = NULL;
    struct cm_error error = { CM_OK, "" };
    struct cm_item item;
    size_t count = 0;
    uint64_t before = cm_memory_allocations();
    cm_memory_fail_at(nth);
    enum cm_status status = cm_catalog_open(&options, &catalog, &error);
    while (status == CM_OK) {
        status = cm_catalog_next(catalog, &item, &error);
        if (status == CM_OK) {
            assert_false(item.damaged);
            count++;
            cm_item_deinit(&item);
        }
    }
    cm_memory_fail_at(0);
    cm_catalog_close(catalog);
    bool failed = cm_memory_allocations() - before >= nth;
    /* libcsv tries again with less, so a failure need not show. */
    if (status != CM_END) {
        assert_true(failed);
        assert_int_equal(status, CM_OUT_OF_MEMORY);
        assert_non_null(strstr(error.message, "memory"));
    } else {
        assert_int_equal(count, items_count);
    }
    return failed;
}

static void every_failed_allocation_is_clean(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Handle,Title,Vendor,Option1 Name,Option1 Value,Size\na,A,V,Color,red,\"1\n2\"\n"
        "a,,,,blue,\nb,B,V,,,3\n",
        "[{\"title\": \"A\", \"vendor\": \"V\", \"x\": {\"y\": [1, 2]}}, {\"title\": \"B\"}]",
        "title;vendor\nCr\xE8me;V\nBr\xFBl\xE9;W\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char path[TEMP_PATH_BYTES];
        uint64_t nth = 1;
        temp_file_write_text(path, texts[i]);
        while (survives(path, nth, 2)) {
            nth++;
        }
        assert_true(nth > 20);
        temp_file_remove(path);
    }
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shopify_variants_are_one_item),
        cmocka_unit_test(a_damaged_row_marks_its_group),
        cmocka_unit_test(woocommerce_variations_are_left_out),
        cmocka_unit_test(magento_options_come_from_the_configurable),
        cmocka_unit_test(google_prices_are_split),
        cmocka_unit_test(chinese_headers_are_known),
        cmocka_unit_test(maps_override_synonyms),
        cmocka_unit_test(maps_reach_into_json),
        cmocka_unit_test(files_without_items),
        cmocka_unit_test(a_bad_row_never_stops_the_rest),
        cmocka_unit_test(duplicate_columns_keep_both_values),
        cmocka_unit_test(ids_are_made_from_the_content),
        cmocka_unit_test(naughty_strings_are_items),
        cmocka_unit_test(every_failed_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
