#include "jobs/review/edit_distance.h"

#include "base/memory.h"

#include <utf8proc.h>

struct characters {
    utf8proc_int32_t *items;
    size_t count;
};

static enum cm_status decode(struct cm_span text, struct characters *characters)
{
    characters->items = cm_alloc(text.length + 1, sizeof *characters->items);
    if (characters->items == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t at = 0; at < text.length;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                                  (utf8proc_ssize_t)(text.length - at), &character);
        characters->items[characters->count++] = bytes > 0 ? character : -1;
        at += bytes > 0 ? (size_t)bytes : 1;
    }
    return CM_OK;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* `row` has room for b_count + 1. */
static uint32_t measure(const utf8proc_int32_t *a, size_t a_count, const utf8proc_int32_t *b,
                        size_t b_count, uint32_t *row)
{
    for (size_t j = 0; j <= b_count; j++) {
        row[j] = (uint32_t)j;
    }
    for (size_t i = 1; i <= a_count; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_count; j++) {
            uint32_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_count];
}

enum cm_status cm_edit_distance(struct cm_span a, struct cm_span b, uint32_t *distance)
{
    struct characters left = { 0 };
    struct characters right = { 0 };
    uint32_t *row = NULL;
    enum cm_status status = decode(a, &left);
    if (status == CM_OK) {
        status = decode(b, &right);
    }
    if (status != CM_OK) {
        goto release;
    }
    size_t begin = 0;
    size_t left_end = left.count;
    size_t right_end = right.count;
    while (begin < left_end && begin < right_end && left.items[begin] == right.items[begin]) {
        begin++;
    }
    while (left_end > begin && right_end > begin &&
           left.items[left_end - 1] == right.items[right_end - 1]) {
        left_end--;
        right_end--;
    }
    size_t left_count = left_end - begin;
    size_t right_count = right_end - begin;
    if (left_count > CM_EDIT_CHARACTERS_MAX && right_count > CM_EDIT_CHARACTERS_MAX) {
        *distance = (uint32_t)(left_count > right_count ? left_count : right_count);
        goto release;
    }
    row = cm_alloc(right_count + 1, sizeof *row);
    if (row == NULL) {
        status = CM_OUT_OF_MEMORY;
        goto release;
    }
    *distance = measure(left.items + begin, left_count, right.items + begin, right_count, row);
release:
    cm_free(row);
    cm_free(left.items);
    cm_free(right.items);
    return status;
}
