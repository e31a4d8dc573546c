#include "loaders/reference.h"

#include "base/checked.h"
#include "base/memory.h"
#include "loaders/file_map.h"
#include "loaders/json_file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096, N_VOCAB_MAX = 1 << 24 };

/* Where the reader is, for messages. */
struct place {
    const char *path;
    size_t case_number; /* from 1 */
    struct cm_error *error;
};

static enum cm_status wrong(const struct place *place, const char *field, const char *expected)
{
    return cm_error_set(place->error, CM_INVALID_DATA, "%s: case %zu: \"%s\" should be %s.",
                        place->path, place->case_number, field, expected);
}

static enum cm_status no_memory(const struct place *place)
{
    return cm_error_set(place->error, CM_OUT_OF_MEMORY, "%s: no memory to read it.", place->path);
}

/* --- Arrays --- */

static enum cm_status read_ids(const struct place *place, const json_t *array, const char *field,
                               int32_t **ids, size_t *count)
{
    if (!json_is_array(array)) {
        return wrong(place, field, "an array of token ids");
    }
    *count = json_array_size(array);
    *ids = cm_alloc(*count, sizeof **ids);
    if (*ids == NULL) {
        return no_memory(place);
    }
    for (size_t i = 0; i < *count; i++) {
        const json_t *id = json_array_get(array, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX) {
            return wrong(place, field, "an array of token ids");
        }
        (*ids)[i] = (int32_t)value;
    }
    return CM_OK;
}

static enum cm_status read_margins(const struct place *place, const json_t *array,
                                   struct cm_reference_case *out)
{
    out->margins = cm_alloc(out->greedy_count, sizeof *out->margins);
    if (out->margins == NULL) {
        return no_memory(place);
    }
    if (json_array_size(array) != out->greedy_count) {
        return wrong(place, "greedy_margin", "as long as \"greedy\"");
    }
    for (size_t i = 0; i < out->greedy_count; i++) {
        out->margins[i] = (float)json_number_value(json_array_get(array, i));
    }
    return CM_OK;
}

static enum cm_status read_top(const struct place *place, const json_t *array,
                               struct cm_reference_case *out)
{
    const char expected[] = "a list of [id, logit] for each token of \"greedy\", highest first";
    out->top_count = json_array_size(json_array_get(array, 0));
    out->margins = cm_alloc(out->greedy_count, sizeof *out->margins);
    size_t count;
    if (cm_size_mul(out->greedy_count, out->top_count, &count)) {
        return no_memory(place);
    }
    out->top = cm_alloc(count, sizeof *out->top);
    if (out->margins == NULL || out->top == NULL) {
        return no_memory(place);
    }
    if (json_array_size(array) != out->greedy_count || out->top_count < 2) {
        return wrong(place, "top20", expected);
    }
    for (size_t i = 0; i < out->greedy_count; i++) {
        const json_t *row = json_array_get(array, i);
        struct cm_reference_top *top = out->top + i * out->top_count;
        if (json_array_size(row) != out->top_count) {
            return wrong(place, "top20", expected);
        }
        for (size_t k = 0; k < out->top_count; k++) {
            const json_t *pair = json_array_get(row, k);
            json_int_t id = json_integer_value(json_array_get(pair, 0));
            top[k] = (struct cm_reference_top){ (int32_t)id,
                                                (float)json_number_value(json_array_get(pair, 1)) };
            if (json_array_size(pair) != 2 || id < 0 || id > INT32_MAX ||
                (k > 0 && top[k].logit > top[k - 1].logit)) {
                return wrong(place, "top20", expected);
            }
        }
        out->margins[i] = top[0].logit - top[1].logit;
    }
    return CM_OK;
}

static enum cm_status read_beams(const struct place *place, const json_t *array,
                                 struct cm_reference_case *out)
{
    size_t count = json_array_size(array); /* 0: there are none */
    out->beams = cm_alloc(count, sizeof *out->beams);
    if (out->beams == NULL) {
        return no_memory(place);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(array, i);
        struct cm_reference_beam *beam = &out->beams[out->beams_count++];
        enum cm_status status = read_ids(place, json_object_get(json, "tokens"), "beams4",
                                         &beam->tokens, &beam->tokens_count);
        if (status != CM_OK) {
            return status;
        }
        beam->score = json_number_value(json_object_get(json, "score"));
        if (beam->tokens_count == 0 || beam->tokens_count != out->beams[0].tokens_count) {
            return wrong(place, "beams4", "texts of one length");
        }
    }
    return CM_OK;
}

/* --- Cases --- */

static enum cm_status read_tokenizer_case(const struct place *place, const json_t *json,
                                          struct cm_reference_case *out)
{
    const json_t *text = json_array_get(json, 0);
    if (json_array_size(json) != 2 || !json_is_string(text)) {
        return wrong(place, "cases", "[text, ids]");
    }
    out->text = (struct cm_span){ json_string_value(text), json_string_length(text) };
    return read_ids(place, json_array_get(json, 1), "ids", &out->ids, &out->ids_count);
}

static enum cm_status read_model_case(const struct place *place, const struct cm_reference *all,
                                      const json_t *json, struct cm_reference_case *out)
{
    const json_t *text = json_object_get(json, "text");
    if (json_is_string(text)) {
        out->text = (struct cm_span){ json_string_value(text), json_string_length(text) };
    }
    enum cm_status status =
        read_ids(place, json_object_get(json, "ids"), "ids", &out->ids, &out->ids_count);
    if (status == CM_OK && out->ids_count == 0) {
        status = wrong(place, "ids", "at least one token");
    }
    if (status == CM_OK && all->kind == CM_REFERENCE_HIDDEN) {
        return CM_OK;
    }
    if (status == CM_OK) {
        status = read_ids(place, json_object_get(json, "greedy"), "greedy", &out->greedy,
                          &out->greedy_count);
    }
    if (status != CM_OK) {
        return status;
    }
    out->mean_logprob = json_number_value(json_object_get(json, "mean_logprob"));
    if (all->kind == CM_REFERENCE_TOP) {
        return read_top(place, json_object_get(json, "top20"), out);
    }
    status = read_ids(place, json_object_get(json, "continuation"), "continuation",
                      &out->continuation, &out->continuation_count);
    if (status == CM_OK) {
        status = read_margins(place, json_object_get(json, "greedy_margin"), out);
    }
    return status == CM_OK ? read_beams(place, json_object_get(json, "beams4"), out) : status;
}

/* Finds the rows of the case in the file of logits. */
static enum cm_status find_logits(const struct place *place, const struct cm_reference *all,
                                  const json_t *json, struct cm_reference_case *out)
{
    json_int_t row = json_integer_value(json_object_get(json, "logits_row"));
    json_int_t rows = json_integer_value(json_object_get(json, "logits_rows"));
    size_t file_rows = cm_file_map_bytes(all->values_map) / sizeof(float) / all->n_vocab;
    size_t wanted = out->ids_count + out->continuation_count;
    if (rows < 0 || (size_t)rows != wanted) {
        return wrong(place, "logits_rows", "the tokens of prompt and continuation");
    }
    if (row < 0 || (size_t)row > file_rows || file_rows - (size_t)row < wanted) {
        return wrong(place, "logits_row", "inside logits.f32");
    }
    const void *bytes = cm_file_map_data(all->values_map);
    out->logits = (const float *)bytes + (size_t)row * all->n_vocab;
    return CM_OK;
}

/* The file of values beside the JSON file. */
static enum cm_status open_values(struct cm_reference *reference, const char *path,
                                  const char *name, struct cm_error *error)
{
    char values_path[PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    int folder_length = slash == NULL ? 0 : (int)(slash - path + 1);
    int length = snprintf(values_path, sizeof values_path, "%.*s%s", folder_length, path, name);
    if (length < 0 || (size_t)length >= sizeof values_path) {
        return cm_error_set(error, CM_LIMIT, "%s: the path is too long.", path);
    }
    return cm_file_map_open(values_path, &reference->values_map, error);
}

static enum cm_status open_logits(struct cm_reference *reference, const json_t *root,
                                  const char *path, struct cm_error *error)
{
    json_int_t n_vocab = json_integer_value(json_object_get(root, "n_vocab"));
    if (n_vocab < 1 || n_vocab > N_VOCAB_MAX) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: \"n_vocab\" is no vocabulary's size.",
                            path);
    }
    reference->n_vocab = (uint32_t)n_vocab;
    return open_values(reference, path, "logits.f32", error);
}

/* The rows of hidden.f32 are those of all cases, one after the other, so its size tells the width.
 */
static enum cm_status find_hidden(struct cm_reference *reference, const struct place *place,
                                  const json_t *cases)
{
    size_t values = cm_file_map_bytes(reference->values_map) / sizeof(float);
    const float *data = (const float *)(const void *)cm_file_map_data(reference->values_map);
    size_t rows = 0;
    for (size_t i = 0; i < reference->cases_count; i++) {
        rows += reference->cases[i].ids_count;
    }
    if (rows == 0 || values == 0 || values % rows != 0 || values / rows > UINT32_MAX) {
        return cm_error_set(place->error, CM_INVALID_DATA,
                            "%s: hidden.f32 does not hold the same number of values for each of "
                            "the %zu tokens.",
                            place->path, rows);
    }
    reference->width = (uint32_t)(values / rows);
    for (size_t i = 0; i < reference->cases_count; i++) {
        struct cm_reference_case *one = &reference->cases[i];
        json_int_t row =
            json_integer_value(json_object_get(json_array_get(cases, i), "hidden_row"));
        struct place where = { place->path, i + 1, place->error };
        if (row < 0 || (size_t)row > rows || rows - (size_t)row < one->ids_count) {
            return wrong(&where, "hidden_row", "inside hidden.f32");
        }
        one->hidden = data + (size_t)row * reference->width;
    }
    return CM_OK;
}

/* The kind is read off the first case. */
static enum cm_status recognise(struct cm_reference *reference, const json_t *root,
                                const char *path, struct cm_error *error)
{
    const json_t *first = json_array_get(json_object_get(root, "cases"), 0);
    if (json_is_array(first)) {
        reference->kind = CM_REFERENCE_TOKENIZER;
        return CM_OK;
    }
    if (json_object_get(first, "top20") != NULL) {
        reference->kind = CM_REFERENCE_TOP;
        return CM_OK;
    }
    if (json_object_get(first, "logits_row") != NULL &&
        json_object_get(first, "continuation") != NULL) {
        reference->kind = CM_REFERENCE_LOGITS;
        return open_logits(reference, root, path, error);
    }
    if (json_object_get(first, "hidden_row") != NULL) {
        reference->kind = CM_REFERENCE_HIDDEN;
        return open_values(reference, path, "hidden.f32", error);
    }
    return cm_error_set(error, CM_INVALID_DATA,
                        "%s: holds no cases of a known shape (tokenizer cases, logits_row with "
                        "continuation, top20, or hidden_row).",
                        path);
}

enum cm_status cm_reference_init(struct cm_reference *reference, const char *path,
                                 struct cm_error *error)
{
    *reference = (struct cm_reference){ 0 };
    json_t *root = NULL;
    enum cm_status status = cm_json_open(path, CM_JSON_INTEGERS, &root, error);
    if (status != CM_OK) {
        return status;
    }
    reference->json = root;
    status = recognise(reference, root, path, error);
    if (status != CM_OK) {
        goto failed;
    }
    const json_t *cases = json_object_get(root, "cases");
    struct place place = { .path = path, .error = error };
    reference->cases = cm_alloc(json_array_size(cases), sizeof *reference->cases);
    if (reference->cases == NULL) {
        status = no_memory(&place);
        goto failed;
    }
    while (status == CM_OK && reference->cases_count < json_array_size(cases)) {
        const json_t *json = json_array_get(cases, reference->cases_count);
        struct cm_reference_case *out = &reference->cases[reference->cases_count++];
        place.case_number = reference->cases_count;
        status = reference->kind == CM_REFERENCE_TOKENIZER
                     ? read_tokenizer_case(&place, json, out)
                     : read_model_case(&place, reference, json, out);
        if (status == CM_OK && reference->kind == CM_REFERENCE_LOGITS) {
            status = find_logits(&place, reference, json, out);
        }
    }
    if (status == CM_OK && reference->kind == CM_REFERENCE_HIDDEN) {
        status = find_hidden(reference, &place, cases);
    }
    if (status == CM_OK) {
        return CM_OK;
    }
failed:
    cm_reference_deinit(reference);
    return status;
}

void cm_reference_deinit(struct cm_reference *reference)
{
    for (size_t i = 0; i < reference->cases_count; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no cases, no count */
        cm_free(reference->cases[i].ids);
        cm_free(reference->cases[i].continuation);
        cm_free(reference->cases[i].greedy);
        cm_free(reference->cases[i].margins);
        cm_free(reference->cases[i].top);
        for (size_t k = 0; k < reference->cases[i].beams_count; k++) {
            cm_free(reference->cases[i].beams[k].tokens);
        }
        cm_free(reference->cases[i].beams);
    }
    cm_free(reference->cases);
    cm_file_map_close(reference->values_map);
    cm_json_close(reference->json);
    *reference = (struct cm_reference){ 0 };
}
