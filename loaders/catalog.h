/* A product catalog as a stream of items, whatever shop system wrote it: CSV or TSV (header
 * recognised), a JSON array, or JSONL. One item at a time, constant memory, file order.
 *
 * Known headers: Shopify (current and legacy; the rows of one handle are one item: option values
 * gather, of everything else the first counts; rows of a handle that comes back further down are
 * left out with a warning), Spree (the same by slug),
 * WooCommerce and Magento (rows that only repeat a variant are left out), PrestaShop, Google
 * Merchant, and generic (synonyms such as name/title/product, sku/id/slug/handle, brand/vendor).
 * Fields that no synonym claims are kept as attributes under their column names, unless they say
 * nothing about the product (pictures, stock, SEO, dates, ...): the tables in columns.c are the
 * last word.
 */
#ifndef CM_LOADERS_CATALOG_H
#define CM_LOADERS_CATALOG_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_CATALOG_COLUMNS_MAX = 1024,
    CM_CATALOG_FIELD_BYTES_MAX = 1 << 20,
    CM_ITEM_ATTRIBUTES_MAX = 1024,
};

/* Well-known fields; `cm_item_field_name` gives the name that templates and --map use. */
enum cm_item_field {
    CM_ITEM_ID,
    CM_ITEM_TITLE,
    CM_ITEM_BRAND,
    CM_ITEM_CATEGORY,
    CM_ITEM_DESCRIPTION, /* existing copy, HTML removed */
    CM_ITEM_PRICE,
    CM_ITEM_CURRENCY,
    CM_ITEM_LANGUAGE,
    CM_ITEM_FIELD_COUNT
};

const char *cm_item_field_name(enum cm_item_field field); /* "id", "title", ... */

struct cm_attribute {
    char *name;
    char *value; /* UTF-8, one line; several values are joined with ", " */
};

/* What was removed to make a text plain; bits. */
enum { CM_CLEANED_MARKUP = 1, CM_CLEANED_SPACE = 2 };

/* Owned by the caller of cm_catalog_next; cm_item_deinit releases it. All text is valid UTF-8
 * without control characters other than \n and \t. Fields are never NULL (absent: ""). */
struct cm_item {
    uint64_t index; /* 0-based, in catalog order */
    uint64_t line;  /* 1-based line (or JSON element) where the item starts */
    char *fields[CM_ITEM_FIELD_COUNT];
    struct cm_attribute *attributes; /* in column order; empty values are left out */
    size_t attributes_count;
    uint8_t cleaned[CM_ITEM_FIELD_COUNT]; /* CM_CLEANED_... of each field */
    uint8_t cleaned_attributes;           /* of any attribute */
    bool damaged; /* could be read only in part: `problem` says why; it becomes a failed row */
    char problem[256];
};

void cm_item_deinit(struct cm_item *item);

/* NULL where there is no such field or attribute (compared without case). */
const char *cm_item_find(const struct cm_item *item, const char *name);

struct cm_catalog;

struct cm_catalog_options {
    const char *path;        /* "-": standard input */
    const char *const *maps; /* "field=column" from --map */
    size_t maps_count;
    bool quiet;            /* no warnings: another pass over the file gives them */
    bool keeps_reputation; /* ratings and price ranges too, which copy is not written from */
};

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA (no usable column, with the columns found and the --map that
 * would help), CM_INVALID_ARGUMENT (a wrong --map), CM_OUT_OF_MEMORY. */
enum cm_status cm_catalog_open(const struct cm_catalog_options *options,
                               struct cm_catalog **catalog, struct cm_error *error) CM_MUST_CHECK;
void cm_catalog_close(struct cm_catalog *catalog);

/* Next item, or CM_END. A bad record is an item with `damaged` set, never the end of the job; only
 * CM_IO, CM_OUT_OF_MEMORY and a structure that cannot be followed any further (an unclosed quote,
 * with the line where it opened) are errors. An item without an id column or cell gets "row-" and a
 * hash of its content; an id met before gets its own nth (see cm_plan), not a new id. */
enum cm_status cm_catalog_next(struct cm_catalog *catalog, struct cm_item *item,
                               struct cm_error *error) CM_MUST_CHECK;

/* Where the rows of the file went so far: rows = items + all the others. Blank lines are no rows.
 */
struct cm_catalog_counts {
    uint64_t rows;
    uint64_t items;
    uint64_t rows_joined;   /* further rows of an item: its variants, its pictures */
    uint64_t rows_variant;  /* left out: they only repeat a variant */
    uint64_t rows_repeated; /* left out: the item of their handle stood further up */
    uint64_t rows_untitled; /* left out: rows of a group that never gets a title */
};
struct cm_catalog_counts cm_catalog_counts(const struct cm_catalog *catalog);

/* What was recognised, for a person: "Shopify CSV, comma, UTF-8, 27 columns". */
const char *cm_catalog_describe(const struct cm_catalog *catalog);

#endif
