#include "host/weights.h"

#include "base/memory.h"
#include "host/tensor_slice.h"

#include <stdio.h>
#include <string.h>

enum { TENSOR_NAME_MAX = 192, SOURCES_MAX = 3, FF_UNIT_MAX = 32 };

/* What the loading functions share. */
struct loading {
    struct cm_weights *weights;
    const struct cm_model_file *file;
    const struct cm_model_config *config; /* of the whole model */
    const struct cm_model_part *part;
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

/* A linear layer [n_out, n_in] of the file, and which of its rows go into the matrix. */
struct matrix_part {
    const char *name;
    uint64_t n_out;
    struct cm_slice_range rows[SOURCES_MAX];
    size_t rows_count;
};

/* What cm_matrix_create gets, and the slices it stands on. */
struct matrix_sources {
    struct cm_matrix_source sources[SOURCES_MAX];
    struct cm_tensor_slice weights[SOURCES_MAX];
    struct cm_tensor_slice biases[SOURCES_MAX];
    size_t count;
    bool skewed_inputs;
};

static enum cm_status add_source(const struct loading *loading, const struct cm_tensor *weight,
                                 const struct cm_tensor *bias, struct cm_slice_range rows,
                                 struct cm_slice_range columns, struct matrix_sources *sources)
{
    size_t i = sources->count++;
    bool transposed = loading->weights->spec->linear_transposed && loading->layer >= 0;
    CM_ASSERT(i < SOURCES_MAX);
    sources->sources[i].weight = &sources->weights[i].tensor;
    sources->sources[i].transposed = transposed;
    sources->sources[i].skewed_inputs = sources->skewed_inputs;
    enum cm_status status =
        cm_tensor_slice_init(&sources->weights[i], weight, transposed ? columns : rows,
                             transposed ? rows : columns, loading->error);
    /* The ranks add up their products where the columns are shared, so one of them adds the bias.
     */
    if (status == CM_OK && bias != NULL && columns.begin == 0) {
        sources->sources[i].bias = &sources->biases[i].tensor;
        status = cm_tensor_slice_init(&sources->biases[i], bias, rows, columns, loading->error);
    }
    return status;
}

static enum cm_status add_part(const struct loading *loading, const struct matrix_part *part,
                               uint64_t n_in, struct cm_slice_range columns,
                               struct matrix_sources *sources)
{
    const struct cm_tensor *weight = find_tensor(loading, part->name, "weight");
    const struct cm_tensor *bias = find_tensor(loading, part->name, "bias");
    bool transposed = loading->weights->spec->linear_transposed && loading->layer >= 0;
    if (weight == NULL) {
        return missing(loading, part->name);
    }
    enum cm_status status = transposed ? check_shape(loading, weight, n_in, part->n_out)
                                       : check_shape(loading, weight, part->n_out, n_in);
    loading->weights->parameters_count += part->n_out * n_in;
    if (status == CM_OK && bias != NULL) {
        status = check_shape(loading, bias, part->n_out, 0);
        loading->weights->parameters_count += part->n_out;
    }
    for (size_t i = 0; i < part->rows_count && status == CM_OK; i++) {
        status = add_source(loading, weight, bias, part->rows[i], columns, sources);
    }
    return status;
}

/* Stacks rows of the named linear layers, [n_out, n_in] each, into one packed matrix, as far as
 * `columns` of their n_in. */
static enum cm_status load_matrix(const struct loading *loading, const struct matrix_part *parts,
                                  size_t parts_count, uint64_t n_in, struct cm_slice_range columns,
                                  struct cm_matrix **matrix)
{
    /* What the norm before attention lets through of the residual stream has outliers, and errors
     * of queries and keys pass through the softmax. */
    struct matrix_sources sources = {
        .skewed_inputs = parts->name == loading->names->q || parts->name == loading->names->qkv,
    };
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < parts_count && status == CM_OK; i++) {
        status = add_part(loading, &parts[i], n_in, columns, &sources);
    }
    if (status == CM_OK) {
        status = cm_matrix_create(loading->weights->backend, sources.sources, sources.count, matrix,
                                  loading->error);
    }
    if (status == CM_OK) {
        loading->weights->packed_bytes += cm_matrix_bytes(*matrix);
    }
    for (size_t i = 0; i < sources.count; i++) {
        cm_tensor_slice_deinit(&sources.weights[i]);
        cm_tensor_slice_deinit(&sources.biases[i]);
    }
    return status;
}

/* All of a dimension. */
static struct cm_slice_range whole(uint64_t count)
{
    return (struct cm_slice_range){ 0, count };
}

static enum cm_status load_qkv(const struct loading *loading, struct cm_matrix **matrix)
{
    const struct cm_model_config *config = loading->config;
    const struct cm_model_part *own = loading->part;
    const struct cm_weight_names *names = loading->names;
    uint64_t dim = config->head_dim;
    uint64_t q_out = config->n_heads * dim;
    uint64_t kv_out = config->n_kv_heads * dim;
    struct cm_slice_range q = { own->first_head * dim, own->config.n_heads * dim };
    struct cm_slice_range kv = { own->first_kv_head * dim, own->config.n_kv_heads * dim };
    const struct matrix_part separate[3] = { { names->q, q_out, { q }, 1 },
                                             { names->k, kv_out, { kv }, 1 },
                                             { names->v, kv_out, { kv }, 1 } };
    struct matrix_part stacked = { names->qkv, q_out + 2 * kv_out, { q, kv, kv }, 3 };
    stacked.rows[1].begin += q_out;
    stacked.rows[2].begin += q_out + kv_out;
    const char *keys_name = names->qkv != NULL ? names->qkv : names->k;
    loading->weights->has_key_bias = find_tensor(loading, keys_name, "bias") != NULL;
    return names->qkv != NULL
               ? load_matrix(loading, &stacked, 1, config->n_embd, whole(config->n_embd), matrix)
               : load_matrix(loading, separate, 3, config->n_embd, whole(config->n_embd), matrix);
}

static enum cm_status load_attention(const struct loading *loading, struct cm_layer_weights *layer)
{
    const struct cm_model_config *config = loading->config;
    const struct cm_weight_names *names = loading->names;
    const struct cm_model_part *own = loading->part;
    uint64_t dim = config->head_dim;
    struct cm_slice_range heads = { own->first_head * dim, own->config.n_heads * dim };
    const struct matrix_part out = {
        names->attention_out, config->n_embd, { whole(config->n_embd) }, 1
    };

    enum cm_status status =
        load_norm(loading, names->attention_norm, config->n_embd, false, &layer->attention_norm);
    if (status == CM_OK) {
        status = load_qkv(loading, &layer->qkv);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->q_norm, config->head_dim, true, &layer->q_norm);
    }
    if (status == CM_OK) {
        status = load_norm(loading, names->k_norm, config->head_dim, true, &layer->k_norm);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, &out, 1, config->n_heads * dim, heads, &layer->attention_out);
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
    struct cm_slice_range own = { loading->part->first_ff, loading->part->config.n_ff };
    const struct matrix_part gated[2] = { { names->gate, config->n_ff, { own }, 1 },
                                          { names->up, config->n_ff, { own }, 1 } };
    const struct matrix_part down = { names->down, config->n_embd, { whole(config->n_embd) }, 1 };
    size_t first = names->gate != NULL ? 0 : 1;

    enum cm_status status =
        load_norm(loading, names->ffn_norm, config->n_embd, false, &layer->ffn_norm);
    if (status == CM_OK) {
        status = load_matrix(loading, gated + first, 2 - first, config->n_embd,
                             whole(config->n_embd), &layer->gate_up);
    }
    if (status == CM_OK) {
        status = load_matrix(loading, &down, 1, config->n_ff, own, &layer->down);
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
    loading->weights->tables_bytes += tensor->bytes;
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
    const struct matrix_part head = {
        own_head ? names->head : names->embed,
        config->n_vocab,
        { { loading->part->first_token, loading->part->config.n_vocab } },
        1,
    };
    uint64_t counted = weights->parameters_count;
    status = load_matrix(loading, &head, 1, config->n_embd, whole(config->n_embd), &weights->head);
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
        cm_model_file_forget(loading->file); /* weights are in memory once, not in two forms */
    }
    return status;
}

/* Where the feed-forward block can be cut: at blocks of the type in which its second matrix stands
 * in the file, whose rows are as long as the block is wide. */
static uint32_t find_ff_unit(const struct loading *loading)
{
    struct loading at = *loading;
    uint32_t unit = 1;
    while (unit < FF_UNIT_MAX && loading->config->n_ff % (2 * unit) == 0) {
        unit *= 2;
    }
    for (at.layer = 0; at.layer < (int)loading->config->n_layers; at.layer++) {
        const struct cm_tensor *down = find_tensor(&at, loading->names->down, "weight");
        uint32_t block = down != NULL ? cm_dtype_info(down->dtype)->block_elements : 1;
        unit = block > unit ? block : unit;
    }
    return loading->config->n_ff % unit == 0 ? unit : 1; /* the file's shapes are checked later */
}

static enum cm_status open_part(struct loading *loading, uint32_t ranks_count, uint32_t rank)
{
    struct cm_weights *weights = loading->weights;
    enum cm_status status = cm_model_part_init(
        &weights->part, loading->config, find_ff_unit(loading), ranks_count, rank, loading->error);
    if (status != CM_OK) {
        return status;
    }
    weights->layers = cm_alloc(loading->config->n_layers, sizeof *weights->layers);
    return weights->layers != NULL
               ? load_all(loading)
               : cm_error_set(loading->error, CM_OUT_OF_MEMORY, "out of memory");
}

enum cm_status cm_weights_open(struct cm_backend *backend, const struct cm_model_file *file,
                               uint32_t ranks_count, uint32_t rank, struct cm_weights **weights,
                               struct cm_error *error)
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
    struct loading loading = { opened, file, config, &opened->part, spec->names, -1, error };
    status = open_part(&loading, ranks_count, rank);
    if (status != CM_OK) {
        cm_weights_close(opened);
        return status;
    }
    *weights = opened;
    return CM_OK;
}

enum { LAYER_MATRICES = 4 };

static void matrices_of(struct cm_layer_weights *layer, struct cm_matrix **matrices[LAYER_MATRICES])
{
    matrices[0] = &layer->qkv;
    matrices[1] = &layer->attention_out;
    matrices[2] = &layer->gate_up;
    matrices[3] = &layer->down;
}

/* Puts a share of `*matrix` in its place, or NULL. */
static enum cm_status share_matrix(struct cm_backend *backend, struct cm_matrix **matrix,
                                   struct cm_error *error)
{
    const struct cm_matrix *owned = *matrix;
    *matrix = NULL;
    return cm_cpu_matrix_share(backend, owned, matrix, error);
}

/* A layer whose matrices are the owner's. Those that are not shared are NULL. */
static enum cm_status share_layer(struct cm_backend *backend, struct cm_layer_weights *layer,
                                  struct cm_error *error)
{
    struct cm_matrix **matrices[LAYER_MATRICES];
    enum cm_status status = CM_OK;
    matrices_of(layer, matrices);
    for (size_t i = 0; i < LAYER_MATRICES; i++) {
        if (status == CM_OK) {
            status = share_matrix(backend, matrices[i], error);
        } else {
            *matrices[i] = NULL;
        }
    }
    return status;
}

enum cm_status cm_weights_share(const struct cm_weights *owner, struct cm_backend *backend,
                                struct cm_weights **weights, struct cm_error *error)
{
    struct cm_weights *opened = cm_alloc(1, sizeof *opened);
    struct cm_layer_weights *layers = cm_alloc(owner->n_layers, sizeof *layers);
    if (opened == NULL || layers == NULL) {
        cm_free(opened);
        cm_free(layers);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    *opened = *owner;
    opened->backend = backend;
    opened->packed_bytes = 0;
    opened->is_shared = true;
    opened->layers = layers;
    enum cm_status status = share_matrix(backend, &opened->head, error);
    for (uint32_t i = 0; i < owner->n_layers && status == CM_OK; i++) {
        layers[i] = owner->layers[i];
        status = share_layer(backend, &layers[i], error);
    }
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

static void close_matrices(struct cm_weights *weights)
{
    for (uint32_t i = 0; weights->layers != NULL && i < weights->n_layers; i++) {
        struct cm_matrix **matrices[LAYER_MATRICES];
        matrices_of(&weights->layers[i], matrices);
        for (size_t j = 0; j < LAYER_MATRICES; j++) {
            cm_matrix_close(*matrices[j]);
        }
    }
    cm_matrix_close(weights->head);
}

static void close_rest(struct cm_weights *weights)
{
    struct cm_backend *backend = weights->backend;
    for (uint32_t i = 0; weights->layers != NULL && i < weights->n_layers; i++) {
        struct cm_layer_weights *layer = &weights->layers[i];
        free_norm(backend, &layer->attention_norm);
        free_norm(backend, &layer->q_norm);
        free_norm(backend, &layer->k_norm);
        free_norm(backend, &layer->attention_post_norm);
        free_norm(backend, &layer->ffn_norm);
        free_norm(backend, &layer->ffn_post_norm);
    }
    free_norm(backend, &weights->final_norm);
    cm_table_close(weights->embed);
    cm_table_close(weights->positions);
    cm_backend_free(backend, weights->frequencies_global);
    cm_backend_free(backend, weights->frequencies_local);
}

void cm_weights_close(struct cm_weights *weights)
{
    if (weights == NULL) {
        return;
    }
    close_matrices(weights);
    if (!weights->is_shared) {
        close_rest(weights);
    }
    cm_free(weights->layers);
    cm_free(weights);
}
