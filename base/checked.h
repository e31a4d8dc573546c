/* Arithmetic on sizes that come from files or options: true means the result overflowed and is not
 * to be used. Sizes are bytes or counts in size_t. */
#ifndef CM_BASE_CHECKED_H
#define CM_BASE_CHECKED_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline CM_MUST_CHECK bool cm_size_mul(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

static inline CM_MUST_CHECK bool cm_size_add(size_t a, size_t b, size_t *sum)
{
    return __builtin_add_overflow(a, b, sum);
}

/* Rounds `size` up to a multiple of `alignment`, a power of two. */
static inline CM_MUST_CHECK bool cm_size_align(size_t size, size_t alignment, size_t *aligned)
{
    size_t sum;
    if (cm_size_add(size, alignment - 1, &sum)) {
        return true;
    }
    *aligned = sum & ~(alignment - 1);
    return false;
}

#endif
