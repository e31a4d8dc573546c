#include "jobs/prepare/item_store.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct cm_item_store {
    FILE *file;
    long *places; /* [count] offset of each item */
    size_t count;
    size_t capacity;
    char **names;
    size_t names_count;
    size_t names_capacity;
};

enum cm_status cm_item_store_open(struct cm_item_store **store, struct cm_error *error)
{
    struct cm_item_store *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the items");
    }
    opened->file = tmpfile();
    if (opened->file == NULL) {
        enum cm_status status =
            cm_error_set(error, CM_IO, "cannot make a temporary file: %s", strerror(errno));
        cm_free(opened);
        return status;
    }
    *store = opened;
    return CM_OK;
}

void cm_item_store_close(struct cm_item_store *store)
{
    if (store == NULL) {
        return;
    }
    fclose(store->file);
    for (size_t i = 0; i < store->names_count; i++) {
        cm_free(store->names[i]);
    }
    cm_free(store->names);
    cm_free(store->places);
    cm_free(store);
}

static enum cm_status learn_name(struct cm_item_store *store, const char *name)
{
    for (size_t i = 0; i < store->names_count; i++) {
        if (strcasecmp(store->names[i], name) == 0) {
            return CM_OK;
        }
    }
    if (store->names_count == CM_STORE_NAMES_MAX) {
        return CM_OK;
    }
    void *names = store->names;
    enum cm_status status =
        cm_grow(&names, &store->names_capacity, store->names_count + 1, sizeof *store->names);
    store->names = names;
    if (status != CM_OK) {
        return status;
    }
    store->names[store->names_count] = cm_strdup(name);
    if (store->names[store->names_count] == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    store->names_count++;
    return CM_OK;
}

/* --- Records: lengths and bytes, in the order of the fields --- */

static void write_text(FILE *file, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    fwrite(&length, sizeof length, 1, file);
    fwrite(text, 1, length, file);
}

static enum cm_status write_item(struct cm_item_store *store, const struct cm_item *item,
                                 long *place, struct cm_error *error)
{
    uint32_t count = (uint32_t)item->attributes_count;
    errno = 0;
    if (fseek(store->file, 0, SEEK_END) == 0) {
        *place = ftell(store->file);
        fwrite(&item->line, sizeof item->line, 1, store->file);
        for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
            write_text(store->file, item->fields[i]);
        }
        fwrite(&count, sizeof count, 1, store->file);
        for (uint32_t i = 0; i < count; i++) {
            write_text(store->file, item->attributes[i].name);
            write_text(store->file, item->attributes[i].value);
        }
    }
    if (errno != 0 || ferror(store->file)) {
        return cm_error_set(error, CM_IO, "cannot write to a temporary file: %s", strerror(errno));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (learn_name(store, item->attributes[i].name) != CM_OK) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the items");
        }
    }
    return CM_OK;
}

/* NULL: the file ended, or there is no memory. */
static char *read_text(FILE *file)
{
    uint32_t length;
    if (fread(&length, sizeof length, 1, file) != 1) {
        return NULL;
    }
    char *text = cm_alloc((size_t)length + 1, 1);
    if (text != NULL && fread(text, 1, length, file) != length) {
        cm_free(text);
        return NULL;
    }
    return text;
}

static bool read_item(FILE *file, struct cm_item *item)
{
    uint32_t count;
    if (fread(&item->line, sizeof item->line, 1, file) != 1) {
        return false;
    }
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        item->fields[i] = read_text(file);
        if (item->fields[i] == NULL) {
            return false;
        }
    }
    if (fread(&count, sizeof count, 1, file) != 1) {
        return false;
    }
    item->attributes = cm_alloc(count, sizeof *item->attributes);
    if (item->attributes == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        item->attributes_count = i + 1;
        item->attributes[i].name = read_text(file);
        item->attributes[i].value = read_text(file);
        if (item->attributes[i].name == NULL || item->attributes[i].value == NULL) {
            return false;
        }
    }
    return true;
}

enum cm_status cm_item_store_add(struct cm_item_store *store, const struct cm_item *item,
                                 struct cm_error *error)
{
    long place = 0;
    void *places = store->places;
    enum cm_status status =
        cm_grow(&places, &store->capacity, store->count + 1, sizeof *store->places);
    store->places = places;
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory for the items");
    }
    status = write_item(store, item, &place, error);
    if (status == CM_OK) {
        store->places[store->count++] = place;
    }
    return status;
}

enum cm_status cm_item_store_replace(struct cm_item_store *store, size_t index,
                                     const struct cm_item *item, struct cm_error *error)
{
    CM_ASSERT(index < store->count);
    return write_item(store, item, &store->places[index], error);
}

enum cm_status cm_item_store_read(struct cm_item_store *store, size_t index, struct cm_item *item,
                                  struct cm_error *error)
{
    CM_ASSERT(index < store->count);
    *item = (struct cm_item){ .index = index };
    errno = 0;
    if (fseek(store->file, store->places[index], SEEK_SET) != 0 || !read_item(store->file, item)) {
        cm_item_deinit(item);
        return cm_error_set(error, CM_IO, "cannot read an item back: %s",
                            errno == 0 ? "out of memory" : strerror(errno));
    }
    return CM_OK;
}

size_t cm_item_store_count(const struct cm_item_store *store)
{
    return store->count;
}

const char *const *cm_item_store_names(const struct cm_item_store *store, size_t *count)
{
    *count = store->names_count;
    return (const char *const *)store->names;
}
