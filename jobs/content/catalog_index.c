#include "jobs/content/catalog_index.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct cm_catalog_index {
    struct cm_item *items; /* by id, then by place in the catalog */
    size_t count;
    size_t capacity;
};

static int compare_items(const void *a, const void *b)
{
    const struct cm_item *left = a;
    const struct cm_item *right = b;
    int order = strcmp(left->fields[CM_ITEM_ID], right->fields[CM_ITEM_ID]);
    return order != 0 ? order : (left->index > right->index) - (left->index < right->index);
}

static enum cm_status read_items(struct cm_catalog_index *index, struct cm_catalog *catalog,
                                 struct cm_error *error)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        void *block = index->items;
        if (cm_grow(&block, &index->capacity, index->count + 1, sizeof *index->items) != CM_OK) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the catalog");
        }
        index->items = block;
        status = cm_catalog_next(catalog, &index->items[index->count], error);
        index->count += status == CM_OK;
    }
    return status == CM_END ? CM_OK : status;
}

enum cm_status cm_catalog_index_open(const struct cm_catalog_options *options,
                                     struct cm_catalog_index **index, struct cm_error *error)
{
    struct cm_catalog *catalog = NULL;
    struct cm_catalog_index *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = cm_catalog_open(options, &catalog, error);
    if (status == CM_OK) {
        status = read_items(opened, catalog, error);
    }
    cm_catalog_close(catalog);
    if (status != CM_OK) {
        cm_catalog_index_close(opened);
        return status;
    }
    if (opened->count > 0) {
        qsort(opened->items, opened->count, sizeof *opened->items, compare_items);
    }
    *index = opened;
    return CM_OK;
}

void cm_catalog_index_close(struct cm_catalog_index *index)
{
    if (index != NULL) {
        for (size_t i = 0; i < index->count; i++) {
            cm_item_deinit(&index->items[i]);
        }
        cm_free(index->items);
        cm_free(index);
    }
}

size_t cm_catalog_index_count(const struct cm_catalog_index *index)
{
    return index->count;
}

const struct cm_item *cm_catalog_index_at(const struct cm_catalog_index *index, size_t place)
{
    return &index->items[place];
}

const struct cm_item *cm_catalog_index_find(const struct cm_catalog_index *index, const char *id)
{
    size_t first = 0;
    size_t last = index->count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        if (strcmp(index->items[middle].fields[CM_ITEM_ID], id) < 0) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    bool found = first < index->count && strcmp(index->items[first].fields[CM_ITEM_ID], id) == 0;
    return found ? &index->items[first] : NULL;
}
