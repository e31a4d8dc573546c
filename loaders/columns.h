/* What the columns of a catalog mean: recognition by name, from tables in columns.c.
 *
 * Names are compared in a normal form: lower case, words joined by "_", so that "Body (HTML)",
 * "body_html" and "bodyHtml" are one name. Characters outside ASCII stay as they are.
 */
#ifndef CM_LOADERS_COLUMNS_H
#define CM_LOADERS_COLUMNS_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/catalog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_COLUMN_NAME_BYTES = 128 };

enum cm_column_kind {
    CM_COLUMN_ATTRIBUTE,
    CM_COLUMN_FIELD,        /* `field`; of several the lowest `rank` that is not empty counts */
    CM_COLUMN_IGNORED,      /* says nothing that copy could use */
    CM_COLUMN_OPTION_NAME,  /* "Color", for the values in the columns of the same `option` */
    CM_COLUMN_OPTION_VALUE, /* "red" */
    CM_COLUMN_PACKED,       /* "material=Wool,climate=Cool|Indoor" */
    CM_COLUMN_VARIANTS,     /* "sku=A-1,size=S|sku=A-2,size=M" */
};

struct cm_column {
    char *name;  /* as in the file, for --map and messages */
    char *label; /* as an attribute: "Feature:Height" is "Height" */
    enum cm_column_kind kind;
    enum cm_item_field field;
    unsigned rank;
    unsigned option; /* number of the option, from 1 */
    bool is_group;   /* rows with the same value here, one after the other, are one item */
    bool is_skip;    /* rows with the format's skip value here only repeat a variant */
};

/* A known export format, chosen by the columns it must have. */
struct cm_table_format {
    const char *name;
    const char *required[5];
    const char *group;       /* NULL: every row is an item */
    bool group_needs_title;  /* rows of a group that begins without one belong to an item far
                              * above (Spree's prices in other currencies) and are left out */
    const char *id;          /* NULL: by synonym */
    const char *skip_column; /* NULL: none */
    const char *skip_value;
    const char *ignored[6]; /* columns that mean something else here than elsewhere */
};

struct cm_columns {
    struct cm_column *items;
    size_t count;
    size_t capacity;
    const struct cm_table_format *format;
    bool keeps_reputation; /* ratings and price ranges are attributes */
};

/* Writes the normal form of `name`, shortened to the room there is. */
void cm_column_normalize(struct cm_span name, char normal[CM_COLUMN_NAME_BYTES]);

/* The format with these columns; never NULL ("generic"). */
const struct cm_table_format *cm_table_format_find(const struct cm_span *names, size_t count);

/* Appends a column and says what it is under `columns->format`. */
enum cm_status cm_columns_add(struct cm_columns *columns, struct cm_span name) CM_MUST_CHECK;

/* Index of the first column of that name (compared in normal form), or `count`. */
size_t cm_columns_find(const struct cm_columns *columns, struct cm_span name);

/* Makes `column` the only one for `field`: what --map asks for. */
void cm_columns_map(struct cm_columns *columns, enum cm_item_field field, size_t column);

/* Whether the value of a field that lost to a better column is still worth an attribute. */
bool cm_column_keeps_loser(enum cm_item_field field);

void cm_columns_deinit(struct cm_columns *columns);

#endif
