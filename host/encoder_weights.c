#include "host/encoder_weights.h"

#include "base/memory.h"

#include <stdio.h>

enum { NAME_BYTES = 192 };

struct loading {
    struct cm_encoder_weights *weights;
    const struct cm_model_file *file;
    const struct cm_model_config *config;
    int layer; /* -1: outside the layers */
    struct cm_error *error;
};

/* Checkpoints with a head on top have "bert." before every name. */
static const struct cm_tensor *find(const struct loading *loading, const char *name,
                                    const char *kind)
{
    char full[NAME_BYTES];
    char place[64] = "";
    if (loading->layer >= 0) {
        snprintf(place, sizeof place, "encoder.layer.%d.", loading->layer);
    }
    snprintf(full, sizeof full, "bert.%s%s.%s", place, name, kind);
    const struct cm_tensor *tensor = cm_model_file_find(loading->file, full + sizeof "bert." - 1);
    return tensor != NULL ? tensor : cm_model_file_find(loading->file, full);
}

/* `columns` 0: a vector. */
static enum cm_status take(const struct loading *loading, const char *name, const char *kind,
                           uint64_t rows, uint64_t columns, const struct cm_tensor **tensor)
{
    *tensor = find(loading, name, kind);
    if (*tensor == NULL) {
        char where[32] = "";
        if (loading->layer >= 0) {
            snprintf(where, sizeof where, " of layer %d", loading->layer);
        }
        return cm_error_set(loading->error, CM_INVALID_DATA, "the model has no tensor \"%s.%s\"%s",
                            name, kind, where);
    }
    bool fits = (*tensor)->dims[0] == rows && (*tensor)->n_dims == (columns == 0 ? 1 : 2) &&
                (columns == 0 || (*tensor)->dims[1] == columns);
    return fits ? CM_OK
                : cm_error_set(loading->error, CM_INVALID_DATA,
                               "tensor \"%s\" has another shape than [%llu, %llu], which the "
                               "configuration asks for",
                               (*tensor)->name, (unsigned long long)rows,
                               (unsigned long long)columns);
}

static enum cm_status load_table(const struct loading *loading, const char *name, uint64_t rows,
                                 struct cm_table **table)
{
    const struct cm_tensor *tensor = NULL;
    enum cm_status status = take(loading, name, "weight", rows, loading->config->n_embd, &tensor);
    return status == CM_OK
               ? cm_table_create(loading->weights->backend, tensor, table, loading->error)
               : status;
}

static enum cm_status load_norm(const struct loading *loading, const char *name,
                                struct cm_norm_weights *norm)
{
    struct cm_backend *backend = loading->weights->backend;
    const struct cm_tensor *weight = NULL;
    const struct cm_tensor *bias = NULL;
    enum cm_status status = take(loading, name, "weight", loading->config->n_embd, 0, &weight);
    if (status == CM_OK) {
        status = take(loading, name, "bias", loading->config->n_embd, 0, &bias);
    }
    if (status == CM_OK) {
        status = cm_vector_create(backend, weight, &norm->weight, loading->error);
    }
    return status == CM_OK ? cm_vector_create(backend, bias, &norm->bias, loading->error) : status;
}

static enum cm_status load_matrix(const struct loading *loading, const char *const *names,
                                  size_t names_count, uint64_t n_out, uint64_t n_in,
                                  struct cm_matrix **matrix)
{
    struct cm_matrix_source sources[3] = { { .weight = NULL } };
    enum cm_status status = CM_OK;
    CM_ASSERT(names_count <= 3);
    for (size_t i = 0; status == CM_OK && i < names_count; i++) {
        status = take(loading, names[i], "weight", n_out, n_in, &sources[i].weight);
        if (status == CM_OK) {
            status = take(loading, names[i], "bias", n_out, 0, &sources[i].bias);
        }
    }
    return status == CM_OK ? cm_matrix_create(loading->weights->backend, sources, names_count,
                                              matrix, loading->error)
                           : status;
}

static enum cm_status load_layer(const struct loading *loading, struct cm_encoder_layer *layer)
{
    static const char *const qkv[] = { "attention.self.query", "attention.self.key",
                                       "attention.self.value" };
    static const char *const out[] = { "attention.output.dense" };
    static const char *const up[] = { "intermediate.dense" };
    static const char *const down[] = { "output.dense" };
    uint64_t n_embd = loading->config->n_embd;
    uint64_t n_ff = loading->config->n_ff;
    enum cm_status status = load_matrix(loading, qkv, 3, n_embd, n_embd, &layer->qkv);
    if (status == CM_OK) {
        status = load_matrix(loading, out, 1, n_embd, n_embd, &layer->attention_out);
    }
    if (status == CM_OK) {
        status = load_norm(loading, "attention.output.LayerNorm", &layer->attention_norm);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, up, 1, n_ff, n_embd, &layer->up);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, down, 1, n_embd, n_ff, &layer->down);
    }
    return status == CM_OK ? load_norm(loading, "output.LayerNorm", &layer->output_norm) : status;
}

static enum cm_status load_all(struct loading *loading)
{
    struct cm_encoder_weights *weights = loading->weights;
    const struct cm_model_config *config = loading->config;
    enum cm_status status =
        load_table(loading, "embeddings.word_embeddings", config->n_vocab, &weights->words);
    if (status == CM_OK) {
        status = load_table(loading, "embeddings.position_embeddings", config->n_positions,
                            &weights->positions);
    }
    if (status == CM_OK) {
        status = load_table(loading, "embeddings.token_type_embeddings", config->n_token_types,
                            &weights->types);
    }
    if (status == CM_OK) {
        status = load_norm(loading, "embeddings.LayerNorm", &weights->embedding_norm);
    }
    for (uint32_t i = 0; status == CM_OK && i < weights->n_layers; i++) {
        loading->layer = (int)i;
        status = load_layer(loading, &weights->layers[i]);
    }
    return status;
}

enum cm_status cm_encoder_weights_open(struct cm_backend *backend, const struct cm_model_file *file,
                                       struct cm_encoder_weights **weights, struct cm_error *error)
{
    const struct cm_model_config *config = cm_model_file_config(file);
    struct cm_encoder_weights *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the weights");
    }
    opened->backend = backend;
    opened->n_layers = config->n_layers;
    opened->layers = cm_alloc(config->n_layers, sizeof *opened->layers);
    struct loading loading = { opened, file, config, -1, error };
    enum cm_status status = opened->layers == NULL ? cm_error_set(error, CM_OUT_OF_MEMORY,
                                                                  "out of memory for the weights")
                                                   : load_all(&loading);
    if (status != CM_OK) {
        cm_encoder_weights_close(opened);
        return status;
    }
    *weights = opened;
    return CM_OK;
}

static void free_norm(struct cm_backend *backend, struct cm_norm_weights *norm)
{
    cm_backend_free(backend, norm->weight);
    cm_backend_free(backend, norm->bias);
}

void cm_encoder_weights_close(struct cm_encoder_weights *weights)
{
    if (weights == NULL) {
        return;
    }
    for (uint32_t i = 0; weights->layers != NULL && i < weights->n_layers; i++) {
        struct cm_encoder_layer *layer = &weights->layers[i];
        cm_matrix_close(layer->qkv);
        cm_matrix_close(layer->attention_out);
        cm_matrix_close(layer->up);
        cm_matrix_close(layer->down);
        free_norm(weights->backend, &layer->attention_norm);
        free_norm(weights->backend, &layer->output_norm);
    }
    free_norm(weights->backend, &weights->embedding_norm);
    cm_table_close(weights->words);
    cm_table_close(weights->positions);
    cm_table_close(weights->types);
    cm_free(weights->layers);
    cm_free(weights);
}
