#include "host/merge_table.h"

#include "base/memory.h"

#define NO_TOKEN (-1)

static const struct cm_merge_slot free_slot = { NO_TOKEN, NO_TOKEN, { CM_NO_RANK, NO_TOKEN } };

static struct cm_merge_slot *slot_of(const struct cm_merge_table *table, int32_t left,
                                     int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = (hash >> 32) & table->mask;; i = (i + 1) & table->mask) {
        struct cm_merge_slot *slot = &table->slots[i];
        if ((slot->left == left && slot->right == right) || slot->left == NO_TOKEN) {
            return slot;
        }
    }
}

const struct cm_merge *cm_merge_table_find(const struct cm_merge_table *table, int32_t left,
                                           int32_t right)
{
    return left < 0 || right < 0 ? &free_slot.merge : &slot_of(table, left, right)->merge;
}

bool cm_token_may_come_from_text(const struct cm_tokenizer_data *data, int32_t id)
{
    return id >= 0 && (uint32_t)id < data->n_tokens && data->kinds[id] != CM_TOKEN_CONTROL;
}

static enum cm_status unknown_part(uint32_t rank, struct cm_span left, struct cm_span right,
                                   struct cm_error *error)
{
    return cm_error_set(error, CM_INVALID_DATA,
                        "Merge %u of the tokenizer (\"%.*s\" + \"%.*s\") names a token that its "
                        "vocabulary lacks: the file is damaged or incomplete.",
                        rank + 1, (int)(left.length < 64 ? left.length : 64), left.data,
                        (int)(right.length < 64 ? right.length : 64), right.data);
}

/* Fills the table. `joined_name` is scratch. */
static enum cm_status add_merges(struct cm_merge_table *table, const struct cm_tokenizer_data *data,
                                 const struct cm_span_table *names, struct cm_text *joined_name,
                                 struct cm_error *error)
{
    for (uint32_t rank = 0; rank < data->n_merges; rank++) {
        struct cm_span left = data->merges_left[rank];
        struct cm_span right = data->merges_right[rank];
        cm_text_clear(joined_name);
        enum cm_status status = cm_text_append_span(joined_name, left);
        if (status == CM_OK) {
            status = cm_text_append_span(joined_name, right);
        }
        if (status != CM_OK) {
            return cm_error_set(error, status, "No memory for the tokenizer's merges.");
        }
        int32_t left_id = cm_span_table_find(names, left);
        int32_t right_id = cm_span_table_find(names, right);
        int32_t joined_id = cm_span_table_find(names, cm_text_span(joined_name));
        if (left_id < 0 || right_id < 0 || joined_id < 0) {
            return unknown_part(rank, left, right, error);
        }
        struct cm_merge_slot *slot = slot_of(table, left_id, right_id);
        /* The better rank of a pair that is listed twice stands. */
        if (slot->left == NO_TOKEN && cm_token_may_come_from_text(data, joined_id)) {
            *slot = (struct cm_merge_slot){ left_id, right_id, { rank, joined_id } };
        }
    }
    return CM_OK;
}

enum cm_status cm_merge_table_init(struct cm_merge_table *table,
                                   const struct cm_tokenizer_data *data,
                                   const struct cm_span_table *names, struct cm_error *error)
{
    size_t slots_count = 16;
    while (slots_count < (size_t)data->n_merges * 2) {
        slots_count *= 2;
    }
    table->slots = cm_alloc(slots_count, sizeof *table->slots);
    if (table->slots == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer's merges.");
    }
    table->mask = slots_count - 1;
    for (size_t i = 0; i < slots_count; i++) {
        table->slots[i] = free_slot;
    }
    struct cm_text joined_name = CM_TEXT_INIT(SIZE_MAX / 2);
    enum cm_status status = add_merges(table, data, names, &joined_name, error);
    cm_text_deinit(&joined_name);
    return status;
}

void cm_merge_table_deinit(struct cm_merge_table *table)
{
    cm_free(table->slots);
    *table = (struct cm_merge_table){ 0 };
}
