/* Shared by the targets for CSV and JSON catalogs, which one reader takes. */
#include "fuzz.h"

#include "base/utf8.h"
#include "loaders/catalog.h"

static void expect_clean_string(const char *text)
{
    CM_ASSERT(text != NULL);
    fuzz_expect_clean(cm_span_of(text), true);
}

static void check_item(const struct cm_item *item, uint64_t index)
{
    CM_ASSERT(item->index == index);
    CM_ASSERT(item->line >= 1);
    for (size_t i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        expect_clean_string(item->fields[i]);
    }
    CM_ASSERT(item->attributes_count <= CM_ITEM_ATTRIBUTES_MAX);
    for (size_t i = 0; i < item->attributes_count; i++) {
        expect_clean_string(item->attributes[i].name);
        expect_clean_string(item->attributes[i].value);
        CM_ASSERT(item->attributes[i].value[0] != '\0');
    }
    CM_ASSERT(!item->damaged || item->problem[0] != '\0');
    CM_ASSERT(cm_utf8_valid(cm_span_of(item->problem)));
}

void fuzz_read_catalog(const uint8_t *data, size_t size)
{
    struct cm_catalog_options options = { .path = fuzz_file(data, size), .quiet = true };
    struct cm_catalog *catalog = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_catalog_open(&options, &catalog, &error);
    if (status == CM_OK) {
        CM_ASSERT(cm_catalog_describe(catalog)[0] != '\0');
        struct cm_item item = { 0 };
        for (uint64_t index = 0; (status = cm_catalog_next(catalog, &item, &error)) == CM_OK;
             index++) {
            check_item(&item, index);
            cm_item_deinit(&item);
        }
    }
    CM_ASSERT(status == CM_END || error.message[0] != '\0');
    cm_catalog_close(catalog);
}
