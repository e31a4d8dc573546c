#include "host/weights.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { TENSOR_NAME_MAX = 192 };

/* What the loading functions share. */
struct loading {
    struct cm_weights *weights;
    const struct cm_model_file *file;
    const struct cm_model_config *config;
    const struct cm_weight_names *names;
    int layer; /* -1: outside the layers */
    struct cm_error *error;
};

/* A tensor that may be missing; `kind` is "weight" or "bias". */
static const struct cm_tensor *find_tensor(const struct loading *loading, const char *name,
                                           const char *kind)
{
    char full[TENSOR_NAME_MAX];
    if (loading->layer >= 0) {
        snprintf(full, sizeof full, "%s%d.%s.%s", loading->names->layer_prefix, loading->layer,
                 name, kind);
    } else {
        snprintf(full, sizeof full, "%s.%s", name, kind);
    }
    const struct cm_tensor *tensor = cm_model_file_find(loading->file, full);
    /* Some GPT-2 checkpoints were saved without the outer module's name. */
    static const char outer[] = "transformer.";
    if (tensor == NULL && strncmp(full, outer, sizeof outer - 1) == 0) {
        tensor = cm_model_file_find(loading->file, full + sizeof outer - 1);
    }
    return tensor;
}

static enum cm_status missing(const struct loading *loading, const char *name)
{
    char where[32] = "";
    if (loading->layer >= 0) {
        snprintf(where, sizeof where, " of layer %d", loading->layer);
    }
    return cm_error_set(loading->error, CM_INVALID_DATA, "the model has no tensor \"%s.weight\"%s",
                        name, where);
}

static enum cm_status check_shape(const struct loading *loading, const struct cm_tensor *tensor,
                                  uint64_t rows, uint64_t columns)
{
    bool fits = columns == 0
                    ? tensor->n_dims == 1 && tensor->dims[0] == rows
                    : tensor->n_dims == 2 && tensor->dims[0] == rows && tensor->dims[1] == columns;
    if (!fits) {
        return cm_error_set(
            loading->error, CM_INVALID_DATA,
            "tensor \"%s\" has the shape [%llu, %llu]; the configuration asks for [%llu, %llu]",
            tensor->name, (unsigned long long)tensor->dims[0],
            (unsigned long long)(tensor->n_dims > 1 ? tensor->dims[1] : 0),
            (unsigned long long)rows, (unsigned long long)columns);
    }
    return CM_OK;
}

/* An optional norm stays NULL when the spec names none; a named one must be there unless
 * `optional`. */
static enum cm_status load_norm(const struct loading *loading, const char *name, uint32_t dim,
                                bool optional, struct cm_norm_weights *norm)
{
    const struct cm_tensor *weight = name == NULL ? NULL : find_tensor(loading, name, "weight");
    if (weight == NULL) {
        return name == NULL || optional ? CM_OK : missing(loading, name);
    }
    enum cm_status status = check_shape(loading, weight, dim, 0);
    if (status == CM_OK) {
        status = cm_vector_create(loading->weights->backend, weight, &norm->weight, loading->error);
    }
    const struct cm_tensor *bias = find_tensor(loading, name, "bias");
    if (status == CM_OK && bias != NULL) {
        status = check_shape(loading, bias, dim, 0);
        if (status == CM_OK) {
            status = cm_vector_create(loading->weights->backend, bias, &norm->bias, loading->error);
        }
        loading->weights->parameters_count += dim;
    }
    loading->weights->parameters_count += dim;
    return status;
}

struct matrix_part {
    const char *name;
    uint64_t n_out;
};

/* Stacks the named linear layers, [n_out, n_in] each, into one packed matrix. */
static enum cm_status load_matrix(const struct loading *loading, const struct matrix_part *parts,
                                  size_t parts_count, uint64_t n_in, struct cm_matrix **matrix)
{
    struct cm_matrix_source sources[3];
    CM_ASSERT(parts_count <= 3);
    bool transposed = loading->weights->spec->linear_transposed && loading->layer >= 0;
    for (size_t i = 0; i < parts_count; i++) {
        const struct cm_tensor *weight = find_tensor(loading, parts[i].name, "weight");
        if (weight == NULL) {
            return missing(loading, parts[i].name);
        }
        enum cm_status status = transposed ? check_shape(loading, weight, n_in, parts[i].n_out)
                                           : check_shape(loading, weight, parts[i].n_out, n_in);
        const struct cm_tensor *bias = find_tensor(loading, parts[i].name, "bias");
        if (status == CM_OK && bias != NULL) {
            status = check_shape(loading, bias, parts[i].n_out, 0);
            loading->weights->parameters_count += parts[i].n_out;
        }
        if (status != CM_OK) {
            return status;
        }
        sources[i] = (struct cm_matrix_source){ weight, bias, transposed };
        loading->weights->parameters_count += parts[i].n_out * n_in;
    }
    enum cm_status status =
        cm_matrix_create(loading->weights->backend, sources, parts_count, matrix, loading->error);
    if (status == CM_OK) {
        loading->weights->packed_bytes += cm_matrix_bytes(*matrix);
    }
    return status;
}

static enum cm_status load_attention(const struct loading *loading, struct cm_layer_weights *layer)
{
    const struct cm_model_config *config = loading->config;
    const struct cm_weight_names *names = loading->names;
    uint64_t q_out = (uint64_t)config->n_heads * config->head_dim;
    uint64_t kv_out = (uint64_t)config->n_kv_heads * config->head_dim;
    const struct matrix_part separate[3] = { { names->q, q_out },
                                             { names->k, kv_out },
                                             { names->v, kv_out } };
    const struct matrix_part stacked[1] = { { names->qkv, q_out + 2 * kv_out } };
    const struct matrix_part out[1] = { { names->attention_out, config->n_embd } };

    enum cm_status status =
        load_norm(loading, names->attention_norm, config->n_embd, false, &layer->attention_norm);
    if (status == CM_OK) {
        status = names->qkv != NULL
                     ? load_matrix(loading, stacked, 1, config->n_embd, &layer->qkv)
                     : load_matrix(loading, separate, 3, config->n_embd, &layer->qkv);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->q_norm, config->head_dim, true, &layer->q_norm);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->k_norm, config->head_dim, true, &layer->k_norm);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, out, 1, q_out, &layer->attention_out);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->attention_post_norm, config->n_embd, false,
                           &layer->attention_post_norm);
    }
    return status;
}

static enum cm_status load_feed_forward(const struct loading *loading,
                                        struct cm_layer_weights *layer)
{
    const struct cm_model_config *config = loading->config;
    const struct cm_weight_names *names = loading->names;
    const struct matrix_part gated[2] = { { names->gate, config->n_ff },
                                          { names->up, config->n_ff } };
    const struct matrix_part plain[1] = { { names->up, config->n_ff } };
    const struct matrix_part down[1] = { { names->down, config->n_embd } };

    enum cm_status status =
        load_norm(loading, names->ffn_norm, config->n_embd, false, &layer->ffn_norm);
    if (status == CM_OK) {
        status = names->gate != NULL
                     ? load_matrix(loading, gated, 2, config->n_embd, &layer->gate_up)
                     : load_matrix(loading, plain, 1, config->n_embd, &layer->gate_up);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, down, 1, config->n_ff, &layer->down);
    }
    if (status == CM_OK) {
        status =
            load_norm(loading, names->ffn_post_norm, config->n_embd, false, &layer->ffn_post_norm);
    }
    return status;
}

static enum cm_status load_table(const struct loading *loading, const char *name, uint64_t rows,
                                 struct cm_table **table)
{
    const struct cm_tensor *tensor = find_tensor(loading, name, "weight");
    if (tensor == NULL) {
        return missing(loading, name);
    }
    enum cm_status status = check_shape(loading, tensor, rows, loading->config->n_embd);
    if (status == CM_OK) {
        status = cm_table_create(loading->weights->backend, tensor, table, loading->error);
    }
    loading->weights->parameters_count += rows * loading->config->n_embd;
    return status;
}

/* The tensors outside the layers. A head of its own wins over the tied embedding. */
static enum cm_status load_ends(const struct loading *loading)
{
    struct cm_weights *weights = loading->weights;
    const struct cm_model_config *config = loading->config;
    const struct cm_weight_names *names = loading->names;
    enum cm_status status = load_table(loading, names->embed, config->n_vocab, &weights->embed);
    if (status == CM_OK && weights->spec->rope == CM_ROPE_NONE) {
        status = load_table(loading, names->positions, config->n_positions, &weights->positions);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->final_norm, config->n_embd, false, &weights->final_norm);
    }
    if (status != CM_OK) {
        return status;
    }
    bool own_head = !config->tied_embeddings && find_tensor(loading, names->head, "weight") != NULL;
    const struct matrix_part head[1] = { { own_head ? names->head : names->embed,
                                           config->n_vocab } };
    uint64_t counted = weights->parameters_count;
    status = load_matrix(loading, head, 1, config->n_embd, &weights->head);
    if (!own_head) {
        weights->parameters_count = counted; /* the same parameters, packed a second time */
    }
    return status;
}

static enum cm_status load_frequencies(const struct loading *loading)
{
    struct cm_weights *weights = loading->weights;
    const struct cm_model_config *config = loading->config;
    size_t bytes = config->head_dim / 2 * sizeof(float);
    if (weights->spec->rope == CM_ROPE_NONE) {
        return CM_OK;
    }
    const char *factors_name = loading->names->rope_factors;
    const struct cm_tensor *factors =
        factors_name != NULL ? find_tensor(loading, factors_name, "weight") : NULL;
    float *table = cm_alloc(config->head_dim / 2 + 1, sizeof *table);
    weights->frequencies_global = cm_backend_alloc(weights->backend, bytes);
    weights->frequencies_local = cm_backend_alloc(weights->backend, bytes);
    if (table == NULL || weights->frequencies_global == NULL ||
        weights->frequencies_local == NULL) {
        cm_free(table);
        return cm_error_set(loading->error, CM_OUT_OF_MEMORY, "out of memory for the rope tables");
    }
    for (uint32_t i = 0; i < config->n_layers; i++) {
        struct cm_layer_weights *layer = &weights->layers[i];
        layer->window = cm_model_layer_window(config, i);
        float *to = layer->window > 0 ? weights->frequencies_local : weights->frequencies_global;
        cm_model_rope_frequencies(config, i, factors != NULL ? factors->data : NULL, table);
        cm_backend_upload(weights->backend, to, table, bytes);
        layer->inverse_frequencies = to;
    }
    cm_free(table);
    return CM_OK;
}

static enum cm_status load_all(struct loading *loading)
{
    enum cm_status status = load_ends(loading);
    if (status == CM_OK) {
        status = load_frequencies(loading);
    }
    for (uint32_t i = 0; status == CM_OK && i < loading->weights->n_layers; i++) {
        loading->layer = (int)i;
        status = load_attention(loading, &loading->weights->layers[i]);
        if (status == CM_OK) {
            status = load_feed_forward(loading, &loading->weights->layers[i]);
        }
    }
    return status;
}

enum cm_status cm_weights_open(struct cm_backend *backend, const struct cm_model_file *file,
                               struct cm_weights **weights, struct cm_error *error)
{
    const struct cm_model_config *config = cm_model_file_config(file);
    const struct cm_model_spec *spec = NULL;
    enum cm_status status = cm_model_spec_find(config, &spec, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_weights *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->backend = backend;
    opened->spec = spec;
    opened->n_layers = config->n_layers;
    opened->layers = cm_alloc(config->n_layers, sizeof *opened->layers);
    struct loading loading = { opened, file, config, spec->names, -1, error };
    status = opened->layers == NULL ? cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory")
                                    : load_all(&loading);
    if (status != CM_OK) {
        cm_weights_close(opened);
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

void cm_weights_close(struct cm_weights *weights)
{
    if (weights == NULL) {
        return;
    }
    struct cm_backend *backend = weights->backend;
    for (uint32_t i = 0; weights->layers != NULL && i < weights->n_layers; i++) {
        struct cm_layer_weights *layer = &weights->layers[i];
        free_norm(backend, &layer->attention_norm);
        free_norm(backend, &layer->q_norm);
        free_norm(backend, &layer->k_norm);
        free_norm(backend, &layer->attention_post_norm);
        free_norm(backend, &layer->ffn_norm);
        free_norm(backend, &layer->ffn_post_norm);
        cm_matrix_close(layer->qkv);
        cm_matrix_close(layer->attention_out);
        cm_matrix_close(layer->gate_up);
        cm_matrix_close(layer->down);
    }
    free_norm(backend, &weights->final_norm);
    cm_table_close(weights->embed);
    cm_table_close(weights->positions);
    cm_matrix_close(weights->head);
    cm_backend_free(backend, weights->frequencies_global);
    cm_backend_free(backend, weights->frequencies_local);
    cm_free(weights->layers);
    cm_free(weights);
}
