#include "loaders/catalog.h"

#include "base/memory.h"

#include <string.h>

static const char *const field_names[CM_ITEM_FIELD_COUNT] = {
    [CM_ITEM_ID] = "id",
    [CM_ITEM_TITLE] = "title",
    [CM_ITEM_BRAND] = "brand",
    [CM_ITEM_CATEGORY] = "category",
    [CM_ITEM_DESCRIPTION] = "description",
    [CM_ITEM_PRICE] = "price",
    [CM_ITEM_CURRENCY] = "currency",
    [CM_ITEM_LANGUAGE] = "language",
};

const char *cm_item_field_name(enum cm_item_field field)
{
    CM_ASSERT((unsigned)field < CM_ITEM_FIELD_COUNT);
    return field_names[field];
}

void cm_item_deinit(struct cm_item *item)
{
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        cm_free(item->fields[i]);
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        cm_free(item->attributes[i].name);
        cm_free(item->attributes[i].value);
    }
    cm_free(item->attributes);
    *item = (struct cm_item){ .index = 0 };
}

const char *cm_item_find(const struct cm_item *item, const char *name)
{
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        if (strcasecmp(name, field_names[i]) == 0) {
            return item->fields[i];
        }
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        if (strcasecmp(name, item->attributes[i].name) == 0) {
            return item->attributes[i].value;
        }
    }
    return NULL;
}
