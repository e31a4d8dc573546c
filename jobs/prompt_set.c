#include "jobs/prompt_set.h"

#include "base/memory.h"

#include <stdbool.h>
#include <string.h>

void cm_prompt_set_clear(struct cm_prompt_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        cm_free(set->prompts[i].ids);
    }
    set->count = 0;
}

void cm_prompt_set_deinit(struct cm_prompt_set *set)
{
    cm_prompt_set_clear(set);
    cm_free(set->prompts);
    *set = (struct cm_prompt_set){ 0 };
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t common_prefix(const struct cm_prompt_ids *a, const int32_t *ids, size_t count)
{
    size_t limit = smaller(a->count, count);
    size_t i = 0;
    while (i < limit && a->ids[i] == ids[i]) {
        i++;
    }
    return i;
}

/* Where the prompt stands, or would stand, in the order. */
static size_t find_place(const struct cm_prompt_set *set, const int32_t *ids, size_t count)
{
    size_t first = 0;
    size_t last = set->count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        const struct cm_prompt_ids *prompt = &set->prompts[middle];
        size_t shared = common_prefix(prompt, ids, count);
        bool before =
            shared < count && (shared == prompt->count || prompt->ids[shared] < ids[shared]);
        if (before) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

/* In lexicographic order the best match is one of the two neighbours. */
size_t cm_prompt_set_shared(const struct cm_prompt_set *set, const int32_t *ids, size_t count)
{
    count = smaller(count, CM_PROMPT_SET_TOKENS_MAX);
    size_t place = find_place(set, ids, count);
    size_t after = place < set->count ? common_prefix(&set->prompts[place], ids, count) : 0;
    size_t before = place > 0 ? common_prefix(&set->prompts[place - 1], ids, count) : 0;
    return after > before ? after : before;
}

enum cm_status cm_prompt_set_add(struct cm_prompt_set *set, const int32_t *ids, size_t count)
{
    count = smaller(count, CM_PROMPT_SET_TOKENS_MAX);
    enum cm_status status =
        cm_grow((void **)&set->prompts, &set->capacity, set->count + 1, sizeof *set->prompts);
    int32_t *copy = status == CM_OK ? cm_alloc(count, sizeof *copy) : NULL;
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    memcpy(copy, ids, count * sizeof *copy);
    size_t place = find_place(set, ids, count);
    memmove(&set->prompts[place + 1], &set->prompts[place],
            (set->count - place) * sizeof *set->prompts);
    set->prompts[place] = (struct cm_prompt_ids){ copy, count };
    set->count++;
    return CM_OK;
}
