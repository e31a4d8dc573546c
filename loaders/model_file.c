#include "loaders/model_file.h"

#include "base/hash.h"
#include "base/memory.h"
#include "loaders/file_map.h"
#include "loaders/folder.h"
#include "loaders/gguf.h"
#include "loaders/gguf_config.h"
#include "loaders/hf_config.h"
#include "loaders/json_file.h"
#include "loaders/model_config.h"
#include "loaders/safetensors.h"
#include "loaders/tokenizer_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct weights {
    char *name; /* within the folder; the path for a GGUF file */
    struct cm_file_map *map;
    struct cm_safetensors *safetensors; /* NULL for GGUF */
};

struct cm_model_file {
    char *path;
    struct cm_model_config config;
    struct cm_tokenizer_file *tokenizer;
    struct cm_gguf *gguf; /* NULL for a folder */
    struct weights *weights;
    size_t weights_count;
    struct cm_tensor *tensors; /* sorted by name */
    size_t tensors_count;
};

static enum cm_status fail_memory(const char *path, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
}

/* --- Tensors --- */

static int compare_tensors(const void *left, const void *right)
{
    const struct cm_tensor *a = left;
    const struct cm_tensor *b = right;
    return strcmp(a->name, b->name);
}

static enum cm_status sort_tensors(struct cm_model_file *file, struct cm_error *error)
{
    qsort(file->tensors, file->tensors_count, sizeof *file->tensors, compare_tensors);
    for (size_t i = 1; i < file->tensors_count; i++) {
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0) {
            return cm_error_set(error, CM_INVALID_DATA, "%s: tensor %s occurs twice", file->path,
                                file->tensors[i].name);
        }
    }
    return CM_OK;
}

static enum cm_status collect_tensors(struct cm_model_file *file, struct cm_error *error)
{
    size_t count = file->gguf != NULL ? cm_gguf_tensors_count(file->gguf) : 0;
    for (size_t i = 0; i < file->weights_count && file->gguf == NULL; i++) {
        count += cm_safetensors_tensors_count(file->weights[i].safetensors);
    }
    file->tensors = cm_alloc(count, sizeof *file->tensors);
    if (file->tensors == NULL) {
        return fail_memory(file->path, error);
    }
    for (size_t i = 0; i < file->weights_count; i++) {
        const struct cm_safetensors *safetensors = file->weights[i].safetensors;
        const struct cm_tensor *part =
            safetensors != NULL ? cm_safetensors_tensors(safetensors) : cm_gguf_tensors(file->gguf);
        size_t part_count = safetensors != NULL ? cm_safetensors_tensors_count(safetensors)
                                                : cm_gguf_tensors_count(file->gguf);
        if (part_count > 0) {
            memcpy(file->tensors + file->tensors_count, part, part_count * sizeof *part);
        }
        file->tensors_count += part_count;
    }
    return sort_tensors(file, error);
}

/* The embedding table is the one tensor that every family has, whatever its name. */
static enum cm_status check_embedding(const struct cm_model_file *file, struct cm_error *error)
{
    static const char *const names[] = { "token_embd.weight", "model.embed_tokens.weight",
                                         "transformer.wte.weight", "wte.weight" };
    const struct cm_model_config *config = &file->config;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct cm_tensor *table = cm_model_file_find(file, names[i]);
        if (table != NULL && (table->n_dims != 2 || table->dims[0] != config->n_vocab ||
                              table->dims[1] != config->n_embd)) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: %s is not [%" PRIu32 ", %" PRIu32
                                "], vocabulary size and width of the configuration",
                                file->path, names[i], config->n_vocab, config->n_embd);
        }
    }
    return CM_OK;
}

/* --- GGUF --- */

/* The scaled rope of Llama 3.1 and later: what each frequency is divided by. */
static enum cm_status check_rope_factors(const struct cm_model_file *file, struct cm_error *error)
{
    const struct cm_model_config *config = &file->config;
    const struct cm_tensor *factors = cm_model_file_find(file, "rope_freqs.weight");
    if (factors == NULL) {
        return CM_OK;
    }
    if (config->family == CM_FAMILY_GPT2 || config->family == CM_FAMILY_GEMMA3) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "%s: rope_freqs.weight is not supported for this architecture",
                            file->path);
    }
    if (factors->dtype != CM_F32 || factors->n_dims != 1 ||
        factors->dims[0] != config->head_dim / 2) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: rope_freqs.weight is not [%" PRIu32 "] of F32, half a head",
                            file->path, config->head_dim / 2);
    }
    for (uint32_t i = 0; i < config->head_dim / 2; i++) {
        float factor;
        memcpy(&factor, (const uint8_t *)factors->data + i * sizeof factor, sizeof factor);
        if (!(factor >= 1e-6F && factor <= 1e6F)) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: rope_freqs.weight[%" PRIu32 "] is %g; expected 1e-6 to 1e6",
                                file->path, i, (double)factor);
        }
    }
    return CM_OK;
}

static enum cm_status open_gguf(struct cm_model_file *file, struct cm_error *error)
{
    enum cm_status status = cm_gguf_open(file->weights[0].map, file->path, &file->gguf, error);
    if (status == CM_OK) {
        status = cm_gguf_config(file->gguf, &file->config, error);
    }
    if (status == CM_OK) {
        status =
            cm_tokenizer_file_from_gguf(file->gguf, file->config.n_vocab, &file->tokenizer, error);
    }
    if (status == CM_OK) {
        status = collect_tensors(file, error);
    }
    if (status != CM_OK) {
        return status;
    }
    file->config.tied_embeddings = cm_model_file_find(file, "output.weight") == NULL;
    return check_rope_factors(file, error);
}

static enum cm_status open_single_file(struct cm_model_file *file, struct cm_error *error)
{
    file->weights = cm_alloc(1, sizeof *file->weights);
    if (file->weights == NULL) {
        return fail_memory(file->path, error);
    }
    enum cm_status status = cm_file_map_open(file->path, &file->weights[0].map, error);
    if (status != CM_OK) {
        return status;
    }
    file->weights_count = 1;
    if (!cm_gguf_recognise(file->weights[0].map)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: is not a GGUF file; expected one, or a folder with config.json "
                            "and model.safetensors",
                            file->path);
    }
    return open_gguf(file, error);
}

/* --- Hugging Face folder --- */

static enum cm_status open_shard(struct cm_model_file *file, const char *name,
                                 struct cm_error *error)
{
    char path[CM_PATH_BYTES_MAX];
    enum cm_status status = cm_folder_path(file->path, name, path, error);
    if (status != CM_OK) {
        return status;
    }
    struct weights *weights = &file->weights[file->weights_count++];
    weights->name = cm_strdup(name);
    if (weights->name == NULL) {
        return fail_memory(path, error);
    }
    status = cm_file_map_open(path, &weights->map, error);
    return status == CM_OK ? cm_safetensors_open(weights->map, path, &weights->safetensors, error)
                           : status;
}

/* Every tensor that the index promises must be in one of its files. */
static enum cm_status check_index(const struct cm_model_file *file, const json_t *index,
                                  const char *path, struct cm_error *error)
{
    const char *name;
    json_t *value;
    json_t *weights = json_object_get(index, "weight_map");
    json_object_foreach(weights, name, value)
    {
        if (cm_model_file_find(file, name) == NULL) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: none of the files holds tensor %s as floating-point values",
                                path, name);
        }
    }
    return CM_OK;
}

static enum cm_status open_indexed(struct cm_model_file *file, const char *path,
                                   struct cm_error *error)
{
    json_t *index = NULL;
    const char **names = NULL;
    size_t names_count = 0;
    enum cm_status status = cm_json_open(path, CM_JSON_INTEGERS, &index, error);
    if (status == CM_OK) {
        status = cm_safetensors_shards(index, path, &names, &names_count, error);
    }
    if (status == CM_OK) {
        file->weights = cm_alloc(names_count, sizeof *file->weights);
        status = file->weights == NULL ? fail_memory(path, error) : CM_OK;
    }
    for (size_t i = 0; i < names_count && status == CM_OK; i++) {
        status = open_shard(file, names[i], error);
    }
    if (status == CM_OK) {
        status = collect_tensors(file, error);
    }
    if (status == CM_OK) {
        status = check_index(file, index, path, error);
    }
    cm_free(names);
    cm_json_close(index);
    return status;
}

static bool has_file(const struct cm_model_file *file, const char *name)
{
    char path[CM_PATH_BYTES_MAX];
    return cm_folder_path(file->path, name, path, NULL) == CM_OK && cm_path_exists(path);
}

static enum cm_status open_weights(struct cm_model_file *file, struct cm_error *error)
{
    char path[CM_PATH_BYTES_MAX];
    if (has_file(file, "model.safetensors.index.json")) {
        enum cm_status status =
            cm_folder_path(file->path, "model.safetensors.index.json", path, error);
        return status == CM_OK ? open_indexed(file, path, error) : status;
    }
    file->weights = cm_alloc(1, sizeof *file->weights);
    if (file->weights == NULL) {
        return fail_memory(file->path, error);
    }
    enum cm_status status = open_shard(file, "model.safetensors", error);
    return status == CM_OK ? collect_tensors(file, error) : status;
}

/* The last part of the path, which is how such folders name their models. */
static void name_after_folder(struct cm_model_file *file)
{
    struct cm_span path = cm_span_of(file->path);
    while (path.length > 1 && path.data[path.length - 1] == '/') {
        path.length--;
    }
    size_t begin = path.length;
    while (begin > 0 && path.data[begin - 1] != '/') {
        begin--;
    }
    cm_model_config_set_name(&file->config,
                             (struct cm_span){ path.data + begin, path.length - begin });
}

static enum cm_status read_config(struct cm_model_file *file, struct cm_error *error)
{
    char path[CM_PATH_BYTES_MAX];
    json_t *document = NULL;
    enum cm_status status = cm_folder_path(file->path, "config.json", path, error);
    if (status == CM_OK) {
        status = cm_json_open(path, CM_JSON_INTEGERS, &document, error);
    }
    if (status == CM_OK) {
        status = cm_hf_config(document, path, &file->config, error);
    }
    cm_json_close(document);
    return status;
}

static enum cm_status check_head(const struct cm_model_file *file, struct cm_error *error)
{
    if (!file->config.tied_embeddings && cm_model_file_find(file, "lm_head.weight") == NULL) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: tensor lm_head.weight is missing, and config.json does not say "
                            "that it is tied to the embedding table",
                            file->path);
    }
    return CM_OK;
}

static enum cm_status open_folder(struct cm_model_file *file, bool only_sizes,
                                  struct cm_error *error)
{
    enum cm_status status = read_config(file, error);
    if (status != CM_OK) {
        return status;
    }
    name_after_folder(file);
    if (only_sizes && !has_file(file, "model.safetensors.index.json") &&
        !has_file(file, "model.safetensors")) {
        return collect_tensors(file, error); /* none */
    }
    if (!only_sizes) {
        status = cm_tokenizer_file_from_folder(file->path, file->config.n_vocab, &file->tokenizer,
                                               error);
    }
    if (status == CM_OK) {
        status = open_weights(file, error);
    }
    return status == CM_OK ? check_head(file, error) : status;
}

/* -------------------------------------------------------------------------------------------------
 */

static enum cm_status open_path(const char *path, bool only_sizes, struct cm_model_file **file,
                                struct cm_error *error)
{
    struct cm_model_file *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return fail_memory(path, error);
    }
    enum cm_status status = CM_OK;
    opened->path = cm_strdup(path);
    if (opened->path == NULL) {
        status = fail_memory(path, error);
    } else if (cm_path_is_folder(path)) {
        status = open_folder(opened, only_sizes, error);
    } else {
        status = open_single_file(opened, error);
    }
    if (status == CM_OK) {
        status = check_embedding(opened, error);
    }
    if (status != CM_OK) {
        cm_model_file_close(opened);
        return status;
    }
    *file = opened;
    return CM_OK;
}

enum cm_status cm_model_file_open(const char *path, struct cm_model_file **file,
                                  struct cm_error *error)
{
    return open_path(path, false, file, error);
}

enum cm_status cm_model_file_open_sizes(const char *path, struct cm_model_file **file,
                                        struct cm_error *error)
{
    return open_path(path, true, file, error);
}

void cm_model_file_close(struct cm_model_file *file)
{
    if (file == NULL) {
        return;
    }
    cm_free(file->tensors);
    cm_tokenizer_file_close(file->tokenizer);
    cm_gguf_close(file->gguf);
    for (size_t i = 0; i < file->weights_count; i++) {
        cm_safetensors_close(file->weights[i].safetensors);
        cm_file_map_close(file->weights[i].map);
        cm_free(file->weights[i].name);
    }
    cm_free(file->weights);
    cm_free(file->path);
    cm_free(file);
}

const struct cm_model_config *cm_model_file_config(const struct cm_model_file *file)
{
    return &file->config;
}

const struct cm_tokenizer_data *cm_model_file_tokenizer(const struct cm_model_file *file)
{
    return cm_tokenizer_file_data(file->tokenizer);
}

size_t cm_model_file_tensors_count(const struct cm_model_file *file)
{
    return file->tensors_count;
}

const struct cm_tensor *cm_model_file_tensor(const struct cm_model_file *file, size_t index)
{
    CM_ASSERT(index < file->tensors_count);
    return &file->tensors[index];
}

const struct cm_tensor *cm_model_file_find(const struct cm_model_file *file, const char *name)
{
    struct cm_tensor wanted = { .name = name };
    return bsearch(&wanted, file->tensors, file->tensors_count, sizeof *file->tensors,
                   compare_tensors);
}

/* --- Digest --- */

void cm_model_file_forget(const struct cm_model_file *file)
{
    for (size_t i = 0; i < file->weights_count; i++) {
        cm_file_map_forget(file->weights[i].map);
    }
}

/* In pieces, so that a large file does not take its size in memory. */
static void hash_map(struct cm_hash *hash, const struct cm_file_map *map)
{
    const size_t piece_bytes = (size_t)16 << 20;
    const uint8_t *data = cm_file_map_data(map);
    size_t bytes = cm_file_map_bytes(map);
    for (size_t at = 0; at < bytes; at += piece_bytes) {
        cm_hash_bytes(hash, data + at, bytes - at < piece_bytes ? bytes - at : piece_bytes);
        cm_file_map_forget(map);
    }
}

static enum cm_status hash_folder(const struct cm_model_file *file, struct cm_hash *hash,
                                  struct cm_error *error)
{
    static const char *const names[] = { "config.json", "generation_config.json", "tokenizer.json",
                                         "tokenizer_config.json", "chat_template.jinja" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[CM_PATH_BYTES_MAX];
        struct cm_file_map *map;
        enum cm_status status = cm_folder_path(file->path, names[i], path, error);
        if (status != CM_OK || !cm_path_exists(path)) {
            continue;
        }
        status = cm_file_map_open(path, &map, error);
        if (status != CM_OK) {
            return status;
        }
        cm_hash_text(hash, names[i]);
        cm_hash_u64(hash, cm_file_map_bytes(map));
        hash_map(hash, map);
        cm_file_map_close(map);
    }
    for (size_t i = 0; i < file->weights_count; i++) {
        cm_hash_text(hash, file->weights[i].name);
        cm_hash_u64(hash, cm_file_map_bytes(file->weights[i].map));
        hash_map(hash, file->weights[i].map);
    }
    return CM_OK;
}

/* A GGUF file's digest is that of the file, so that it can be compared with published ones. */
enum cm_status cm_model_file_digest(const struct cm_model_file *file, char hex[65],
                                    struct cm_error *error)
{
    struct cm_hash *hash;
    enum cm_status status = cm_hash_open(&hash);
    if (status != CM_OK) {
        return fail_memory(file->path, error);
    }
    if (file->gguf != NULL) {
        hash_map(hash, file->weights[0].map);
    } else {
        status = hash_folder(file, hash, error);
    }
    if (status == CM_OK) {
        uint8_t digest[CM_SHA256_BYTES];
        cm_hash_digest(hash, digest);
        cm_hex(digest, sizeof digest, hex);
    }
    cm_hash_close(hash);
    return status;
}
