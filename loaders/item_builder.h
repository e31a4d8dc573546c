/* Items from the rows of a table; internal to the catalog. Rows that belong together (variants of
 * one product) are added one after the other: the first value of a field or attribute stays, option
 * values gather. */
#ifndef CM_LOADERS_ITEM_BUILDER_H
#define CM_LOADERS_ITEM_BUILDER_H

#include "base/hash.h"
#include "loaders/catalog.h"
#include "loaders/columns.h"

enum { CM_ITEM_OPTIONS_MAX = 16 };

struct cm_cell {
    const struct cm_column *column;
    struct cm_span value; /* valid UTF-8 */
};

struct cm_item_builder {
    struct cm_item item;
    size_t attributes_capacity;
    size_t first_row_attributes; /* attributes that the row in hand found already there */
    bool active;
    struct cm_text group;                        /* raw value of the group column */
    struct cm_text language;                     /* raw, of the first row */
    struct cm_text options[CM_ITEM_OPTIONS_MAX]; /* names: "Color" */
    struct cm_text plain;                        /* scratch */
    uint8_t cleaned;                             /* CM_CLEANED_... of what is in it */
    struct cm_text label;                        /* scratch */
    struct cm_hash *hash;
};

enum cm_status cm_item_builder_init(struct cm_item_builder *builder) CM_MUST_CHECK;
void cm_item_builder_deinit(struct cm_item_builder *builder);

/* Whether the row continues the item in hand: same group, same language. */
bool cm_item_builder_continues(const struct cm_item_builder *builder, const struct cm_cell *cells,
                               size_t cells_count);

/* Begins an item; none may be in hand. */
enum cm_status cm_item_builder_begin(struct cm_item_builder *builder, uint64_t line,
                                     const struct cm_cell *cells, size_t cells_count) CM_MUST_CHECK;

/* Adds a row. `problem` (NULL: none) marks the item as damaged. CM_OUT_OF_MEMORY. */
enum cm_status cm_item_builder_add(struct cm_item_builder *builder, const struct cm_cell *cells,
                                   size_t cells_count, const char *problem) CM_MUST_CHECK;

/* Whether the item in hand has a title by now. */
bool cm_item_builder_has_title(const struct cm_item_builder *builder);

/* Forgets the item in hand. */
void cm_item_builder_drop(struct cm_item_builder *builder);

/* Completes the item and gives it to the caller. */
enum cm_status cm_item_builder_take(struct cm_item_builder *builder,
                                    struct cm_item *item) CM_MUST_CHECK;

#endif
