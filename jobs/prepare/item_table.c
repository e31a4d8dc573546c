#include "jobs/prepare/item_table.h"

#include "base/memory.h"
#include "jobs/table_writer.h"

#include <string.h>
#include <strings.h>

enum { MORE_BYTES_MAX = 16 << 20 };

struct table {
    const char **columns; /* fields, attributes, what has no column of its own */
    const char **values;
    size_t count;
    struct cm_text more;
};

static enum cm_status name_columns(const struct cm_item_store *store, struct table *table)
{
    size_t names_count;
    const char *const *names = cm_item_store_names(store, &names_count);
    table->more = CM_TEXT_INIT(MORE_BYTES_MAX);
    table->count = CM_ITEM_FIELD_COUNT + names_count;
    table->columns = cm_alloc(table->count + 1, sizeof *table->columns);
    table->values = cm_alloc(table->count + 1, sizeof *table->values);
    if (table->columns == NULL || table->values == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        table->columns[i] = cm_item_field_name((enum cm_item_field)i);
    }
    for (size_t i = 0; i < names_count; i++) {
        table->columns[CM_ITEM_FIELD_COUNT + i] = names[i];
    }
    if (names_count == CM_STORE_NAMES_MAX) {
        table->columns[table->count++] = "more_facts";
    }
    return CM_OK;
}

static size_t column_of(const struct table *table, const char *name)
{
    size_t column = CM_ITEM_FIELD_COUNT;
    while (column < table->count && strcasecmp(table->columns[column], name) != 0) {
        column++;
    }
    return column;
}

static enum cm_status fill_row(struct table *table, const struct cm_item *item)
{
    enum cm_status status = CM_OK;
    memset(table->values, 0, table->count * sizeof *table->values);
    cm_text_clear(&table->more);
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        table->values[i] = item->fields[i][0] == '\0' ? NULL : item->fields[i];
    }
    for (size_t i = 0; status == CM_OK && i < item->attributes_count; i++) {
        size_t column = column_of(table, item->attributes[i].name);
        if (column < table->count && table->values[column] == NULL) {
            table->values[column] = item->attributes[i].value;
        } else {
            status = cm_text_printf(&table->more, "%s%s: %s", table->more.length > 0 ? "; " : "",
                                    item->attributes[i].name, item->attributes[i].value);
        }
    }
    if (status == CM_OK && table->more.length > 0) {
        table->values[table->count - 1] = cm_text_string(&table->more);
    }
    return status;
}

static enum cm_status write_items(struct cm_item_store *store, struct table *table,
                                  struct cm_table_writer *writer, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < cm_item_store_count(store); i++) {
        struct cm_item item;
        status = cm_item_store_read(store, i, &item, error);
        if (status == CM_OK) {
            status = fill_row(table, &item) == CM_OK
                         ? cm_table_writer_add(writer, table->values, error)
                         : cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for an item");
            cm_item_deinit(&item);
        }
    }
    return status;
}

enum cm_status cm_item_table_write(struct cm_item_store *store, FILE *stream, const char *path,
                                   bool excel, struct cm_error *error)
{
    struct cm_copy_writer_options options = { cm_copy_format_of(path), excel };
    struct table table = { 0 };
    struct cm_table_writer *writer = NULL;
    enum cm_status status = name_columns(store, &table);
    if (status != CM_OK) {
        cm_error_set(error, status, "%s: out of memory", path);
    } else {
        status = cm_table_writer_open(stream, path, table.columns, table.count, &options, &writer,
                                      error);
    }
    if (status == CM_OK) {
        status = write_items(store, &table, writer, error);
    }
    cm_table_writer_close(writer);
    cm_text_deinit(&table.more);
    cm_free(table.columns);
    cm_free(table.values);
    return status;
}
