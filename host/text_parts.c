#include "host/text_parts.h"

enum cm_status cm_text_parts_init(struct cm_text_parts *parts, const struct cm_tokenizer_data *data)
{
    size_t count = 0;
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        count += data->kinds[i] == CM_TOKEN_USER_DEFINED;
    }
    enum cm_status status = cm_piece_index_init(&parts->user_defined, count);
    for (uint32_t i = 0; i < data->n_tokens && status == CM_OK; i++) {
        if (data->kinds[i] == CM_TOKEN_USER_DEFINED) {
            cm_piece_index_add(&parts->user_defined, data->tokens[i], (int32_t)i);
        }
    }
    if (status == CM_OK) {
        cm_piece_index_sort(&parts->user_defined);
    }
    return status;
}

void cm_text_parts_deinit(struct cm_text_parts *parts)
{
    cm_piece_index_deinit(&parts->user_defined);
}

/* The longest user-defined token that `text` begins with. */
static int32_t find_token(const struct cm_text_parts *parts, struct cm_span text, size_t *bytes)
{
    struct cm_piece_walk walk = cm_piece_walk_begin(&parts->user_defined, text);
    struct cm_piece piece = { .id = -1 };
    while (cm_piece_walk_next(&walk, &piece)) {
        *bytes = piece.name.length;
    }
    return piece.id;
}

struct cm_text_part cm_text_parts_take(const struct cm_text_parts *parts, struct cm_span *rest)
{
    struct cm_text_part part = { .text = *rest, .token = -1 };
    size_t at_end = parts->user_defined.count > 0 ? rest->length : 0;
    size_t taken = rest->length;
    for (size_t at = 0; at < at_end; at++) {
        size_t bytes = 0;
        struct cm_span here = { rest->data + at, rest->length - at };
        part.token = find_token(parts, here, &bytes);
        if (part.token >= 0) {
            part.text.length = at;
            taken = at + bytes;
            break;
        }
    }
    *rest = (struct cm_span){ rest->data + taken, rest->length - taken };
    return part;
}
