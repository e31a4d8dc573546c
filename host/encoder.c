#include "host/encoder.h"

#include "base/memory.h"
#include "host/encoder_weights.h"
#include "loaders/embedding_config.h"
#include "loaders/model_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    ROWS_MAX = 512,        /* tokens of a step, if no text alone has more */
    ROWS_LIMIT = 1 << 14,  /* tokens of a text, whatever the model says */
    BATCH_TEXTS_MAX = 128, /* texts of a step */
};

/* Texts that are computed together: text i has the rows [begins[i], begins[i + 1]). */
struct batch {
    uint32_t begins[BATCH_TEXTS_MAX + 1];
    size_t texts_count;
};

struct cm_encoder {
    struct cm_model_file *file;
    const struct cm_model_config *config;
    struct cm_embedding_config pooling;
    struct cm_tokenizer *tokenizer;
    struct cm_backend *backend;
    struct cm_encoder_weights *weights;
    struct cm_kv_pool *pool; /* one layer: it is done with before the next begins */
    uint32_t rows_max;
    uint32_t tokens_max;
    struct batch batch;

    /* Steering, in host memory (h_) and the back end's. */
    int32_t *h_tokens; /* [rows] */
    int32_t *h_positions;
    int32_t *h_last_positions; /* of the row's text: what lets it see every token of the text */
    int32_t *h_pages;
    struct cm_visit *h_visits;
    struct cm_attention_chunk *h_chunks;
    float *h_hidden; /* [rows, n_embd] */
    int32_t *tokens;
    int32_t *types; /* all 0: a text is the first of a pair */
    int32_t *positions;
    int32_t *last_positions;
    int32_t *pages;
    struct cm_visit *visits;
    struct cm_attention_chunk *chunks;
    uint32_t visits_max;
    uint32_t chunks_max;
    uint32_t n_rows;
    uint32_t n_visits;
    uint32_t n_chunks;

    float *x; /* [rows, n_embd] */
    float *next;
    float *branch;
    float *qkv;       /* [rows, 3 * n_embd] */
    float *attention; /* [rows, n_embd] */
    float *hidden;    /* [rows, n_ff] */
};

/* --- Opening --- */

static enum cm_precision precision_of(enum cm_engine_precision precision)
{
    switch (precision) {
    case CM_ENGINE_EXACT:
        return CM_PRECISION_EXACT;
    case CM_ENGINE_INT8:
        return CM_PRECISION_INT8;
    default: /* the checkpoints are float32 or float16 */
        return CM_PRECISION_BF16;
    }
}

static void *buffer(struct cm_encoder *encoder, size_t count, size_t element_bytes, bool *failed)
{
    void *memory = cm_backend_alloc(encoder->backend, count * element_bytes);
    *failed = *failed || memory == NULL;
    return memory;
}

static enum cm_status open_buffers(struct cm_encoder *encoder, struct cm_error *error)
{
    size_t rows = encoder->rows_max;
    size_t n_embd = encoder->config->n_embd;
    bool failed = false;
    /* Every chunk of a text visits all of its pages. A text has a page and a chunk that may be part
     * filled. */
    size_t pages = rows / CM_PAGE_TOKENS + BATCH_TEXTS_MAX;
    encoder->chunks_max = (uint32_t)(rows / CM_ATTENTION_CHUNK_ROWS + BATCH_TEXTS_MAX);
    encoder->visits_max =
        (uint32_t)((rows / CM_PAGE_TOKENS + 1) * (rows / CM_ATTENTION_CHUNK_ROWS + 1) + pages);
    encoder->h_tokens = cm_alloc(rows, sizeof(int32_t));
    encoder->h_positions = cm_alloc(rows, sizeof(int32_t));
    encoder->h_last_positions = cm_alloc(rows, sizeof(int32_t));
    encoder->h_pages = cm_alloc(rows, sizeof(int32_t));
    encoder->h_visits = cm_alloc(encoder->visits_max, sizeof *encoder->h_visits);
    encoder->h_chunks = cm_alloc(encoder->chunks_max, sizeof *encoder->h_chunks);
    encoder->h_hidden = cm_alloc(rows * n_embd, sizeof(float));
    encoder->tokens = buffer(encoder, rows, sizeof(int32_t), &failed);
    encoder->types = buffer(encoder, rows, sizeof(int32_t), &failed);
    encoder->positions = buffer(encoder, rows, sizeof(int32_t), &failed);
    encoder->last_positions = buffer(encoder, rows, sizeof(int32_t), &failed);
    encoder->pages = buffer(encoder, rows, sizeof(int32_t), &failed);
    encoder->visits = buffer(encoder, encoder->visits_max, sizeof *encoder->visits, &failed);
    encoder->chunks = buffer(encoder, encoder->chunks_max, sizeof *encoder->chunks, &failed);
    encoder->x = buffer(encoder, rows * n_embd, sizeof(float), &failed);
    encoder->next = buffer(encoder, rows * n_embd, sizeof(float), &failed);
    encoder->branch = buffer(encoder, rows * n_embd, sizeof(float), &failed);
    encoder->qkv = buffer(encoder, rows * 3 * n_embd, sizeof(float), &failed);
    encoder->attention = buffer(encoder, rows * n_embd, sizeof(float), &failed);
    encoder->hidden = buffer(encoder, rows * encoder->config->n_ff, sizeof(float), &failed);
    if (failed || encoder->h_tokens == NULL || encoder->h_positions == NULL ||
        encoder->h_last_positions == NULL || encoder->h_pages == NULL ||
        encoder->h_visits == NULL || encoder->h_chunks == NULL || encoder->h_hidden == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for %zu rows of the encoder",
                            rows);
    }
    const struct cm_kv_shape shape = { 1, encoder->config->n_heads, encoder->config->head_dim };
    return cm_kv_pool_create(encoder->backend, &shape, (uint32_t)pages, &encoder->pool, error);
}

static enum cm_status check_family(const struct cm_encoder *encoder, const char *path,
                                   struct cm_error *error)
{
    const struct cm_model_config *config = encoder->config;
    if (config->family != CM_FAMILY_BERT) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "%s: is no encoder; embeddings need a model of the BERT family", path);
    }
    if (config->head_dim * config->n_heads != config->n_embd ||
        config->n_kv_heads != config->n_heads) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "%s: the attention heads do not make up the width of the model", path);
    }
    return CM_OK;
}

static enum cm_status open_model(struct cm_encoder *encoder,
                                 const struct cm_encoder_options *options, struct cm_error *error)
{
    enum cm_status status = cm_model_file_open(options->model_path, &encoder->file, error);
    if (status != CM_OK) {
        return status;
    }
    encoder->config = cm_model_file_config(encoder->file);
    status = check_family(encoder, options->model_path, error);
    if (status == CM_OK) {
        status = cm_embedding_config_read(options->model_path, &encoder->pooling, error);
    }
    if (status != CM_OK) {
        return status;
    }
    uint32_t wanted = encoder->pooling.tokens_max;
    uint32_t most =
        encoder->config->n_positions < ROWS_LIMIT ? encoder->config->n_positions : ROWS_LIMIT;
    encoder->tokens_max = wanted > 0 && wanted < most ? wanted : most;
    encoder->rows_max = encoder->tokens_max > ROWS_MAX ? encoder->tokens_max : ROWS_MAX;
    const struct cm_backend_options backend = {
        .precision = precision_of(options->precision),
        .threads = options->threads,
        .rows_max = encoder->rows_max,
    };
    status = cm_tokenizer_open(cm_model_file_tokenizer(encoder->file), &encoder->tokenizer, error);
    if (status == CM_OK) {
        status = cm_backend_open(&backend, &encoder->backend, error);
    }
    if (status == CM_OK) {
        status = cm_encoder_weights_open(encoder->backend, encoder->file, &encoder->weights, error);
    }
    return status == CM_OK ? open_buffers(encoder, error) : status;
}

enum cm_status cm_encoder_open(const struct cm_encoder_options *options,
                               struct cm_encoder **encoder, struct cm_error *error)
{
    struct cm_encoder *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the encoder");
    }
    enum cm_status status = open_model(opened, options, error);
    if (status != CM_OK) {
        cm_encoder_close(opened);
        return status;
    }
    *encoder = opened;
    return CM_OK;
}

void cm_encoder_close(struct cm_encoder *encoder)
{
    if (encoder == NULL) {
        return;
    }
    void *const device[] = {
        encoder->tokens, encoder->types,  encoder->positions, encoder->last_positions,
        encoder->pages,  encoder->visits, encoder->chunks,    encoder->x,
        encoder->next,   encoder->branch, encoder->qkv,       encoder->attention,
        encoder->hidden,
    };
    void *const host[] = {
        encoder->h_tokens, encoder->h_positions, encoder->h_last_positions, encoder->h_pages,
        encoder->h_visits, encoder->h_chunks,    encoder->h_hidden,
    };
    for (size_t i = 0; encoder->backend != NULL && i < sizeof device / sizeof device[0]; i++) {
        cm_backend_free(encoder->backend, device[i]);
    }
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) {
        cm_free(host[i]);
    }
    cm_kv_pool_close(encoder->pool);
    cm_encoder_weights_close(encoder->weights);
    cm_backend_close(encoder->backend);
    cm_tokenizer_close(encoder->tokenizer);
    cm_model_file_close(encoder->file);
    cm_free(encoder);
}

void cm_encoder_info(const struct cm_encoder *encoder, struct cm_encoder_info *info)
{
    *info = (struct cm_encoder_info){
        .dim = encoder->config->n_embd,
        .tokens_max = encoder->tokens_max,
    };
    snprintf(info->name, sizeof info->name, "%s", encoder->config->name);
    snprintf(info->variant, sizeof info->variant, "%s", cm_backend_variant(encoder->backend));
}

const struct cm_tokenizer *cm_encoder_tokenizer(const struct cm_encoder *encoder)
{
    return encoder->tokenizer;
}

/* --- A step --- */

static void batch_clear(struct cm_encoder *encoder)
{
    encoder->batch.texts_count = 0;
    encoder->n_rows = 0;
}

static bool batch_has_room(const struct cm_encoder *encoder, size_t ids_count)
{
    return encoder->batch.texts_count < BATCH_TEXTS_MAX &&
           encoder->n_rows + ids_count <= encoder->rows_max;
}

static void batch_add(struct cm_encoder *encoder, const int32_t *ids, size_t ids_count)
{
    memcpy(encoder->h_tokens + encoder->n_rows, ids, ids_count * sizeof *ids);
    encoder->batch.begins[encoder->batch.texts_count++] = encoder->n_rows;
    encoder->n_rows += (uint32_t)ids_count;
    encoder->batch.begins[encoder->batch.texts_count] = encoder->n_rows;
}

/* Chunks of a text's rows, each of which visits all the text's pages. */
static void lay_out_text(struct cm_encoder *encoder, uint32_t begin, uint32_t end,
                         uint32_t first_page)
{
    uint32_t pages = (end - begin + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    for (uint32_t row = begin; row < end; row++) {
        uint32_t position = row - begin;
        encoder->h_positions[row] = (int32_t)position;
        encoder->h_last_positions[row] = (int32_t)(end - begin - 1);
        encoder->h_pages[row] = (int32_t)(first_page + position / CM_PAGE_TOKENS);
    }
    for (uint32_t row = begin; row < end; row += CM_ATTENTION_CHUNK_ROWS) {
        uint32_t last = end - row < CM_ATTENTION_CHUNK_ROWS ? end : row + CM_ATTENTION_CHUNK_ROWS;
        CM_ASSERT(encoder->n_chunks < encoder->chunks_max);
        struct cm_attention_chunk *chunk = &encoder->h_chunks[encoder->n_chunks++];
        *chunk = (struct cm_attention_chunk){ (int32_t)row, (int32_t)last,
                                              (int32_t)encoder->n_visits, 0 };
        for (uint32_t page = 0; page < pages; page++) {
            CM_ASSERT(encoder->n_visits < encoder->visits_max);
            encoder->h_visits[encoder->n_visits++] = (struct cm_visit){
                .page = (int32_t)(first_page + page),
                .first_position = (int32_t)(page * CM_PAGE_TOKENS),
                .row_begin = (int32_t)row,
                .row_end = (int32_t)last,
            };
        }
        chunk->visit_end = (int32_t)encoder->n_visits;
    }
}

static void lay_out(struct cm_encoder *encoder)
{
    struct cm_backend *backend = encoder->backend;
    size_t rows = encoder->n_rows;
    uint32_t page = 0;
    encoder->n_visits = 0;
    encoder->n_chunks = 0;
    for (size_t i = 0; i < encoder->batch.texts_count; i++) {
        uint32_t begin = encoder->batch.begins[i];
        uint32_t end = encoder->batch.begins[i + 1];
        lay_out_text(encoder, begin, end, page);
        page += (end - begin + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    }
    cm_backend_upload(backend, encoder->tokens, encoder->h_tokens, rows * sizeof(int32_t));
    cm_backend_upload(backend, encoder->positions, encoder->h_positions, rows * sizeof(int32_t));
    cm_backend_upload(backend, encoder->last_positions, encoder->h_last_positions,
                      rows * sizeof(int32_t));
    cm_backend_upload(backend, encoder->pages, encoder->h_pages, rows * sizeof(int32_t));
    cm_backend_upload(backend, encoder->visits, encoder->h_visits,
                      encoder->n_visits * sizeof *encoder->visits);
    cm_backend_upload(backend, encoder->chunks, encoder->h_chunks,
                      encoder->n_chunks * sizeof *encoder->chunks);
}

/* x = norm(x + residual): the norm stands behind each block, on the sum. */
static void normalise(struct cm_encoder *encoder, const struct cm_norm_weights *norm,
                      const float *residual)
{
    cm_op_norm(encoder->backend, &(struct cm_norm_args){
                                     .kind = CM_NORM_LAYER,
                                     .epsilon = encoder->config->norm_epsilon,
                                     .n_rows = encoder->n_rows,
                                     .dim = encoder->config->n_embd,
                                     .weight = norm->weight,
                                     .bias = norm->bias,
                                     .x = encoder->x,
                                     .residual = residual,
                                     .out = encoder->next,
                                 });
    float *swap = encoder->x;
    encoder->x = encoder->next;
    encoder->next = swap;
}

/* x = norm(word + position + type) */
static void embed_rows(struct cm_encoder *encoder)
{
    struct cm_backend *backend = encoder->backend;
    const struct cm_encoder_weights *weights = encoder->weights;
    uint32_t rows = encoder->n_rows;
    uint32_t n_embd = encoder->config->n_embd;
    cm_op_embed(backend, weights->words, encoder->tokens, rows, 1.0F, encoder->x);
    cm_op_embed(backend, weights->types, encoder->types, rows, 1.0F, encoder->branch);
    cm_op_add(backend, encoder->x, encoder->branch, rows, n_embd);
    cm_op_embed(backend, weights->positions, encoder->positions, rows, 1.0F, encoder->branch);
    normalise(encoder, &weights->embedding_norm, encoder->branch);
}

/* Every row's query is told to stand at its text's last position, so the causal operation shows it
 * the whole text; its key and value go where the row really stands. */
static void attend(struct cm_encoder *encoder, const struct cm_encoder_layer *layer)
{
    struct cm_backend *backend = encoder->backend;
    const struct cm_model_config *config = encoder->config;
    uint32_t rows = encoder->n_rows;
    cm_op_matmul(backend, layer->qkv, encoder->x, rows, encoder->qkv);
    cm_op_rope_append(backend, &(struct cm_rope_append_args){
                                   .pool = encoder->pool,
                                   .n_rows = rows,
                                   .n_heads = config->n_heads,
                                   .n_kv_heads = config->n_heads,
                                   .head_dim = config->head_dim,
                                   .rope = CM_ROPE_NONE,
                                   .qkv = encoder->qkv,
                                   .positions = encoder->positions,
                                   .pages = encoder->pages,
                               });
    cm_op_attention(backend, &(struct cm_attention_args){
                                 .pool = encoder->pool,
                                 .n_rows = rows,
                                 .n_heads = config->n_heads,
                                 .n_kv_heads = config->n_heads,
                                 .head_dim = config->head_dim,
                                 .scale = config->attention_scale,
                                 .qkv = encoder->qkv,
                                 .positions = encoder->last_positions,
                                 .visits = encoder->visits,
                                 .chunks = encoder->chunks,
                                 .n_chunks = encoder->n_chunks,
                                 .out = encoder->attention,
                             });
    cm_op_matmul(backend, layer->attention_out, encoder->attention, rows, encoder->branch);
    normalise(encoder, &layer->attention_norm, encoder->branch);
}

static void feed_forward(struct cm_encoder *encoder, const struct cm_encoder_layer *layer)
{
    struct cm_backend *backend = encoder->backend;
    uint32_t rows = encoder->n_rows;
    cm_op_matmul(backend, layer->up, encoder->x, rows, encoder->hidden);
    cm_op_activation(backend, CM_ACTIVATION_GELU_ERF, encoder->hidden, rows, encoder->config->n_ff,
                     encoder->hidden);
    cm_op_matmul(backend, layer->down, encoder->hidden, rows, encoder->branch);
    normalise(encoder, &layer->output_norm, encoder->branch);
}

/* The batch through all layers; its output is in h_hidden. */
static enum cm_status step(struct cm_encoder *encoder, struct cm_error *error)
{
    lay_out(encoder);
    embed_rows(encoder);
    for (uint32_t i = 0; i < encoder->weights->n_layers; i++) {
        attend(encoder, &encoder->weights->layers[i]);
        feed_forward(encoder, &encoder->weights->layers[i]);
    }
    cm_backend_download(encoder->backend, encoder->h_hidden, encoder->x,
                        (size_t)encoder->n_rows * encoder->config->n_embd * sizeof(float));
    return cm_backend_status(encoder->backend, error);
}

/* --- Vectors --- */

/* The mean of a text's rows, or its first, brought to length one. */
static void pool_rows(const struct cm_encoder *encoder, size_t text, float *vector)
{
    uint32_t n_embd = encoder->config->n_embd;
    uint32_t begin = encoder->batch.begins[text];
    uint32_t end = encoder->batch.begins[text + 1];
    bool first = encoder->pooling.pooling == CM_POOLING_FIRST;
    end = first ? begin + 1 : end;
    double squares = 0.0;
    for (uint32_t i = 0; i < n_embd; i++) {
        double sum = 0.0;
        for (uint32_t row = begin; row < end; row++) {
            sum += encoder->h_hidden[(size_t)row * n_embd + i];
        }
        vector[i] = (float)(sum / (end - begin));
        squares += (double)vector[i] * vector[i];
    }
    double length = sqrt(squares);
    for (uint32_t i = 0; length > 0 && i < n_embd; i++) {
        vector[i] = (float)(vector[i] / length);
    }
}

/* Ids with the special tokens around them, cut to what the model takes. */
static enum cm_status encode(const struct cm_encoder *encoder, struct cm_span text,
                             struct cm_token_list *list, struct cm_error *error)
{
    const struct cm_tokenizer_data *data = cm_model_file_tokenizer(encoder->file);
    size_t closing = data->closing >= 0;
    list->count = 0;
    enum cm_status status = cm_tokenizer_encode_prompt(encoder->tokenizer, text, list, error);
    if (status != CM_OK) {
        return status;
    }
    if (list->count + closing > encoder->tokens_max) {
        list->count = encoder->tokens_max - closing;
    }
    if (closing > 0) {
        status = cm_token_list_append(list, data->closing);
    } else if (list->count == 0) {
        status = cm_token_list_append(list, data->unknown >= 0 ? data->unknown : 0);
    }
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "out of memory for a text");
}

static enum cm_status flush(struct cm_encoder *encoder, float *vectors, struct cm_error *error)
{
    if (encoder->batch.texts_count == 0) {
        return CM_OK;
    }
    enum cm_status status = step(encoder, error);
    for (size_t i = 0; status == CM_OK && i < encoder->batch.texts_count; i++) {
        pool_rows(encoder, i, vectors + i * encoder->config->n_embd);
    }
    batch_clear(encoder);
    return status;
}

enum cm_status cm_encoder_embed(struct cm_encoder *encoder, const struct cm_span *texts,
                                size_t texts_count, float *vectors, struct cm_error *error)
{
    struct cm_token_list list = { 0 };
    size_t done = 0;
    enum cm_status status = CM_OK;
    batch_clear(encoder);
    for (size_t i = 0; status == CM_OK && i < texts_count; i++) {
        status = encode(encoder, texts[i], &list, error);
        if (status == CM_OK && !batch_has_room(encoder, list.count)) {
            status = flush(encoder, vectors + done * encoder->config->n_embd, error);
            done = i;
        }
        if (status == CM_OK) {
            batch_add(encoder, list.ids, list.count);
        }
    }
    if (status == CM_OK) {
        status = flush(encoder, vectors + done * encoder->config->n_embd, error);
    }
    cm_token_list_deinit(&list);
    return status;
}

double cm_encoder_similarity(const struct cm_encoder *encoder, const float *a, const float *b)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < encoder->config->n_embd; i++) {
        sum += (double)a[i] * b[i];
    }
    return sum;
}

enum cm_status cm_encoder_hidden(struct cm_encoder *encoder, const int32_t *ids, size_t ids_count,
                                 float *hidden, struct cm_error *error)
{
    if (ids_count == 0 || ids_count > encoder->tokens_max) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "%zu ids are not 1 to %u", ids_count,
                            encoder->tokens_max);
    }
    for (size_t i = 0; i < ids_count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= encoder->config->n_vocab) {
            return cm_error_set(error, CM_INVALID_ARGUMENT, "the id %d is in no vocabulary of %u",
                                ids[i], encoder->config->n_vocab);
        }
    }
    batch_clear(encoder);
    batch_add(encoder, ids, ids_count);
    enum cm_status status = step(encoder, error);
    if (status == CM_OK) {
        memcpy(hidden, encoder->h_hidden, ids_count * encoder->config->n_embd * sizeof *hidden);
    }
    batch_clear(encoder);
    return status;
}
