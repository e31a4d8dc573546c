/* The parts of `prepare` that decide about texts: measures, taxonomy, duplicates, stored items. */
#include "jobs/prepare/duplicates.h"
#include "jobs/prepare/item_store.h"
#include "jobs/prepare/taxonomy.h"
#include "jobs/prepare/units.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

static void assert_units(const char *value, bool chinese, bool is_measure, const char *expected)
{
    struct cm_text text = CM_TEXT_INIT(1 << 16);
    assert_int_equal(cm_units_append(&text, cm_span_of(value), chinese, is_measure), CM_OK);
    assert_string_equal(cm_text_string(&text), expected);
    cm_text_deinit(&text);
}

static void measures_are_written_one_way(void **state)
{
    (void)state;
    assert_units("500ML", false, false, "500 ml");
    assert_units("500 milliliters", false, false, "500 ml");
    assert_units("５００ｍｌ", false, false, "500 ml");
    assert_units("1.5 KGS, 2,5 kilograms", false, false, "1.5 kg, 2,5 kg");
    assert_units("10 inches x 12inch", false, false, "10 in x 12 in");
    assert_units("8GB", false, false, "8 GB");
    assert_units("500毫升", true, false, "500毫升");
    assert_units("５００ 毫升", true, false, "500毫升");
    assert_units("20公分", true, false, "20厘米");
    assert_units("500 ML", true, false, "500ml");
    assert_units("60W", false, true, "60 W");
    assert_units("250g", false, true, "250 g");
    /* A shade, a size, a model, a number without a unit, a word that begins like one. */
    assert_units("200W", false, false, "200W");
    assert_units("10M", false, true, "10M");
    assert_units("A4mm", false, true, "A4mm");
    assert_units("12, 5 ink pens, 3 insects, 4 game", false, true,
                 "12, 5 ink pens, 3 insects, 4 game");
    assert_units("2 in 1", false, false, "2 in 1");
    assert_units("", false, true, "");
    assert_true(cm_units_is_measure("Net Weight"));
    assert_true(cm_units_is_measure("电池容量"));
    assert_false(cm_units_is_measure("shade"));
}

/* --- Items --- */

static struct cm_item make_item(const char *id, const char *title, const char *description)
{
    struct cm_item item = { .line = 7 };
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        const char *value = i == CM_ITEM_ID            ? id
                            : i == CM_ITEM_TITLE       ? title
                            : i == CM_ITEM_DESCRIPTION ? description
                                                       : "";
        item.fields[i] = cm_strdup(value);
    }
    return item;
}

static void set_field(struct cm_item *item, enum cm_item_field field, const char *value)
{
    cm_free(item->fields[field]);
    item->fields[field] = cm_strdup(value);
}

static void add_attribute(struct cm_item *item, const char *name, const char *value)
{
    item->attributes =
        cm_realloc(item->attributes, item->attributes_count + 1, sizeof *item->attributes);
    item->attributes[item->attributes_count++] =
        (struct cm_attribute){ cm_strdup(name), cm_strdup(value) };
}

static void categories_are_found(void **state)
{
    (void)state;
    char path[TEMP_PATH_BYTES];
    temp_file_write_text(path, "category,keywords\n"
                               "Home > Kitchen > Mugs,\"mug, coffee cup\"\n"
                               "Home > Kitchen > Knives,\n"
                               "Sports > Shoes,running shoe; trainers\n"
                               "家居 > 杯子,马克杯、保温杯\n");
    struct cm_taxonomy *taxonomy = NULL;
    struct cm_error error;
    assert_int_equal(cm_taxonomy_open(path, &taxonomy, &error), CM_OK);
    static const struct {
        const char *own;
        const char *title;
        const char *description;
        const char *expected;
    } cases[] = {
        { "", "Blue MUGS, set of four", "", "Home > Kitchen > Mugs" },
        { "", "Big coffee cup", "", "Home > Kitchen > Mugs" },
        { "", "Chef's knives", "", "Home > Kitchen > Knives" },
        { "kitchen/knives", "Chef's blade", "", "Home > Kitchen > Knives" },
        { "Home>Kitchen>Mugs", "Knives", "", "Home > Kitchen > Mugs" },
        { "", "Light running shoes", "", "Sports > Shoes" },
        { "", "便携保温杯500ml", "", "家居 > 杯子" },
        { "", "Scarf", "goes well with a mug", NULL }, /* said in passing */
        { "", "A mug and knives", "", NULL },          /* either */
        { "Garden", "Rake", "", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_item item = make_item("1", cases[i].title, cases[i].description);
        struct cm_taxonomy_match match;
        set_field(&item, CM_ITEM_CATEGORY, cases[i].own);
        cm_taxonomy_find(taxonomy, &item, &match);
        if (cases[i].expected == NULL) {
            assert_null(match.path);
        } else {
            assert_non_null(match.path);
            assert_string_equal(match.path, cases[i].expected);
        }
        cm_item_deinit(&item);
    }
    cm_taxonomy_close(taxonomy);
    temp_file_remove(path);
    temp_file_write_text(path, "category\n\"\"\n");
    assert_int_not_equal(cm_taxonomy_open(path, &taxonomy, &error), CM_OK);
    temp_file_remove(path);
}

static void duplicates_are_told_from_variants(void **state)
{
    (void)state;
    static const char text[] = "A light canvas bag with two long handles and an inner pocket for "
                               "keys, woven from organic cotton, made to carry 20 l of shopping.";
    struct cm_item a = make_item("1", "Canvas Bag", text);
    struct cm_item b = make_item("2", "canvas bag!", text);
    assert_true(cm_items_agree(&a, &b));
    add_attribute(&a, "color", "Red");
    add_attribute(&b, "material", "cotton");
    assert_true(cm_items_agree(&a, &b));
    bool changed = false;
    assert_int_equal(cm_items_merge(&a, &b, &changed), CM_OK);
    assert_true(changed);
    assert_string_equal(cm_item_find(&a, "material"), "cotton");
    assert_int_equal(cm_items_merge(&a, &b, &changed), CM_OK);
    assert_false(changed);
    add_attribute(&b, "Color", "Blue");
    assert_false(cm_items_agree(&a, &b));
    struct cm_item c = make_item("3", "Canvas Bag XL", text);
    assert_false(cm_items_agree(&a, &c));
    struct cm_item d = make_item("4", "Canvas Bag",
                                 "A light canvas bag with two long handles and an inner pocket for "
                                 "keys, woven from organic cotton, made to carry 30 l of "
                                 "shopping.");
    assert_false(cm_items_agree(&a, &d));
    set_field(&b, CM_ITEM_PRICE, "9.90");
    struct cm_item e = make_item("5", "Canvas Bag", text);
    set_field(&e, CM_ITEM_PRICE, "12.00");
    assert_false(cm_items_agree(&b, &e));

    struct cm_duplicates *duplicates = NULL;
    struct cm_error error;
    struct cm_duplicate found;
    assert_int_equal(cm_duplicates_open(0.8, &duplicates, &error), CM_OK);
    assert_int_equal(cm_duplicates_find(duplicates, &a, &found, &error), CM_OK);
    assert_int_equal(found.kind, CM_DUPLICATE_NONE);
    assert_int_equal(cm_duplicates_keep(duplicates, &error), CM_OK);
    set_field(&a, CM_ITEM_ID, "another");
    assert_int_equal(cm_duplicates_find(duplicates, &a, &found, &error), CM_OK);
    assert_int_equal(found.kind, CM_DUPLICATE_EXACT);
    assert_int_equal(cm_duplicates_find(duplicates, &d, &found, &error), CM_OK);
    assert_int_equal(found.kind, CM_DUPLICATE_NEAR);
    assert_int_equal(found.index, 0);
    cm_duplicates_close(duplicates);
    cm_item_deinit(&a);
    cm_item_deinit(&b);
    cm_item_deinit(&c);
    cm_item_deinit(&d);
    cm_item_deinit(&e);
}

static void stored_items_come_back(void **state)
{
    (void)state;
    struct cm_item_store *store = NULL;
    struct cm_error error;
    assert_int_equal(cm_item_store_open(&store, &error), CM_OK);
    struct cm_item a = make_item("1", "Tee", "");
    struct cm_item b = make_item("2", "产品", "line one\nline two");
    add_attribute(&b, "Size", "M");
    add_attribute(&a, "size", "L");
    assert_int_equal(cm_item_store_add(store, &a, &error), CM_OK);
    assert_int_equal(cm_item_store_add(store, &b, &error), CM_OK);
    set_field(&a, CM_ITEM_BRAND, "Acme");
    assert_int_equal(cm_item_store_replace(store, 0, &a, &error), CM_OK);
    struct cm_item read;
    assert_int_equal(cm_item_store_read(store, 1, &read, &error), CM_OK);
    assert_string_equal(read.fields[CM_ITEM_DESCRIPTION], "line one\nline two");
    assert_string_equal(cm_item_find(&read, "Size"), "M");
    cm_item_deinit(&read);
    assert_int_equal(cm_item_store_read(store, 0, &read, &error), CM_OK);
    assert_string_equal(read.fields[CM_ITEM_BRAND], "Acme");
    assert_int_equal(read.line, 7);
    cm_item_deinit(&read);
    size_t names;
    assert_string_equal(cm_item_store_names(store, &names)[0], "size");
    assert_int_equal(names, 1);
    cm_item_store_close(store);
    cm_item_deinit(&a);
    cm_item_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_are_written_one_way),
        cmocka_unit_test(categories_are_found),
        cmocka_unit_test(duplicates_are_told_from_variants),
        cmocka_unit_test(stored_items_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
