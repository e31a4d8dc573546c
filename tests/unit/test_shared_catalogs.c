/* Real exports of shop systems, with the number of items that each holds. */
#include "loaders/catalog.h"
#include "loaders/segments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    const char *name;
    size_t items_count;
    const char *described; /* as cm_catalog_describe begins */
} catalogs[] = {
    { "adventureworks_products.csv", 295, "generic CSV, comma, UTF-8, 4 columns" },
    { "bestbuy_ecommerce_3291.json", 3291, "JSON array, UTF-8" },
    { "dummyjson_products.json", 194, "JSON array, UTF-8" },
    { "magento_configurable_products.csv", 147, "Magento CSV, comma, UTF-8, 70 columns" },
    { "magento_gear_bags.csv", 14, "Magento CSV, comma, UTF-8, 19 columns" },
    { "magento_gear_fitness_equipment.csv", 9, "Magento CSV, comma, UTF-8, 17 columns" },
    { "magento_gear_fitness_equipment_ball.csv", 9, "Magento CSV, comma, UTF-8, 15 columns" },
    { "magento_gear_fitness_equipment_strap.csv", 3, "Magento CSV, comma, UTF-8, 13 columns" },
    { "magento_gear_watches.csv", 9, "Magento CSV, comma, UTF-8, 17 columns" },
    { "prestashop_products_import.csv", 2, "PrestaShop CSV, semicolon, UTF-8, 39 columns" },
    { "sephora_foundations.csv", 4371, "generic CSV, comma, UTF-8, 8 columns" },
    /* One handle comes back further down: it stays one item. */
    { "shopify_gatsby_example_products.csv", 99, "Shopify (legacy) CSV, comma, UTF-8, 44 columns" },
    { "shopify_product_template_old.csv", 1, "Shopify (legacy) CSV, comma, UTF-8, 47 columns" },
    { "spree_product_translations.csv", 74, "generic CSV, comma, UTF-8, 6 columns" },
    { "spree_products.csv", 37, "Spree CSV, comma, UTF-8, 39 columns" },
    { "woocommerce_sample_products.csv", 18, "WooCommerce CSV, comma, UTF-8, 51 columns" },
};

static void every_catalog_gives_its_items(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof catalogs / sizeof catalogs[0]; i++) {
        char path[512];
        struct cm_error error = { CM_OK, "" };
        struct cm_catalog *catalog = NULL;
        struct cm_item item;
        size_t count = 0;
        snprintf(path, sizeof path, "%s/data/catalog/%s", SHARED_DIR, catalogs[i].name);
        struct cm_catalog_options options = { .path = path };
        assert_int_equal(cm_catalog_open(&options, &catalog, &error), CM_OK);
        assert_string_equal(cm_catalog_describe(catalog), catalogs[i].described);
        while (cm_catalog_next(catalog, &item, &error) == CM_OK) {
            assert_int_equal(item.index, count);
            assert_string_not_equal(item.fields[CM_ITEM_ID], "");
            assert_string_not_equal(item.fields[CM_ITEM_TITLE], "");
            assert_false(item.damaged);
            count++;
            cm_item_deinit(&item);
        }
        assert_string_equal(error.message, "");
        assert_int_equal(count, catalogs[i].items_count);
        cm_catalog_close(catalog);
    }
}

static void combinations_without_products_are_refused(void **state)
{
    (void)state;
    struct cm_error error;
    struct cm_catalog *catalog = NULL;
    struct cm_catalog_options options = { .path = SHARED_DIR
                                          "/data/catalog/prestashop_combinations_import.csv" };
    assert_int_equal(cm_catalog_open(&options, &catalog, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "--map title="));
    assert_non_null(strstr(error.message, "Options (Group:Value)*"));
}

static void customer_tables_serve_as_segments(void **state)
{
    (void)state;
    struct cm_error error;
    struct cm_segments segments;
    assert_int_equal(
        cm_segments_open(SHARED_DIR "/data/segments/mall_customers.csv", &segments, &error), CM_OK);
    assert_int_equal(segments.count, 200);
    assert_string_equal(segments.items[2].id, "3");
    assert_string_equal(cm_segment_find(&segments.items[2], "gender"), "Female");
    cm_segments_deinit(&segments);
}

int main(void)
{
    if (access(SHARED_DIR "/data/catalog", R_OK) != 0) {
        printf("skipped: no real catalogs in %s\n", SHARED_DIR);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_catalog_gives_its_items),
        cmocka_unit_test(combinations_without_products_are_refused),
        cmocka_unit_test(customer_tables_serve_as_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
