#include "op_host.h"

#include "op_common.h"

#include <string.h>

struct cm_backend *op_cuda_backend(enum cm_precision precision, uint32_t rows_max)
{
    static bool said;
    const struct cm_backend_options options = { .precision = precision,
                                                .rows_max = rows_max,
                                                .device = CM_DEVICE_CUDA };
    struct cm_backend *backend = NULL;
    struct cm_error error = { 0 };
    if (cm_devices_count(CM_DEVICE_CUDA) == 0) {
        if (!said) {
            print_message("no CUDA device here: not tested\n");
        }
        said = true;
        return NULL;
    }
    if (cm_backend_open(&options, &backend, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return backend;
}

struct cm_backend *op_backend_at(int which, uint32_t threads, enum cm_precision precision)
{
    return which == OP_CUDA ? op_cuda_backend(precision, OP_ROWS_MAX)
                            : op_backend((enum cm_cpu_isa)which, threads, precision);
}

bool op_is_cuda(const struct cm_backend *backend)
{
    return strncmp(cm_backend_variant(backend), "cuda", 4) == 0;
}

/* New memory of the back end with a copy of the host's; NULL stays NULL. */
static void *put(struct cm_backend *backend, const void *host, size_t bytes)
{
    if (host == NULL) {
        return NULL;
    }
    void *memory = cm_backend_alloc(backend, bytes > 0 ? bytes : 1);
    assert_non_null(memory);
    cm_backend_upload(backend, memory, host, bytes);
    return memory;
}

/* Gives memory back, after its contents where `host` is not NULL. */
static void take(struct cm_backend *backend, void *host, const void *memory, size_t bytes)
{
    struct cm_error error = { 0 };
    if (host != NULL && memory != NULL) {
        cm_backend_download(backend, host, memory, bytes);
    }
    cm_backend_free(backend, (void *)memory);
    if (cm_backend_status(backend, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
}

void op_embed(struct cm_backend *backend, const struct cm_table *table, const int32_t *tokens,
              uint32_t n_rows, uint32_t dim, float scale, float *out)
{
    size_t bytes = (size_t)n_rows * dim * sizeof *out;
    int32_t *device_tokens = put(backend, tokens, n_rows * sizeof *tokens);
    float *device_out = put(backend, out, bytes);
    cm_op_embed(backend, table, device_tokens, n_rows, scale, device_out);
    take(backend, out, device_out, bytes);
    take(backend, NULL, device_tokens, 0);
}

void op_gather(struct cm_backend *backend, const float *x, uint32_t x_rows, uint32_t dim,
               const int32_t *rows, uint32_t n_rows, float *out)
{
    size_t bytes = (size_t)n_rows * dim * sizeof *out;
    float *device_x = put(backend, x, (size_t)x_rows * dim * sizeof *x);
    int32_t *device_rows = put(backend, rows, n_rows * sizeof *rows);
    float *device_out = put(backend, out, bytes);
    cm_op_gather(backend, device_x, dim, device_rows, n_rows, device_out);
    take(backend, out, device_out, bytes);
    take(backend, NULL, device_rows, 0);
    take(backend, NULL, device_x, 0);
}

void op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    size_t bytes = (size_t)args->n_rows * args->dim * sizeof(float);
    struct cm_norm_args device = *args;
    device.weight = put(backend, args->weight, args->dim * sizeof(float));
    device.bias = put(backend, args->bias, args->dim * sizeof(float));
    device.residual = put(backend, args->residual, bytes);
    device.x = put(backend, args->x, bytes);
    device.out = args->out == args->x ? device.x : put(backend, args->out, bytes);
    cm_op_norm(backend, &device);
    if (args->out != args->x) {
        take(backend, args->out, device.out, bytes);
    }
    take(backend, args->x, device.x, bytes);
    take(backend, NULL, device.residual, 0);
    take(backend, NULL, device.bias, 0);
    take(backend, NULL, device.weight, 0);
}

void op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim)
{
    size_t bytes = (size_t)n_rows * dim * sizeof *x;
    float *device_x = put(backend, x, bytes);
    float *device_y = put(backend, y, bytes);
    cm_op_add(backend, device_x, device_y, n_rows, dim);
    take(backend, x, device_x, bytes);
    take(backend, NULL, device_y, 0);
}

void op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
               uint32_t n_rows, float *y)
{
    size_t y_bytes = (size_t)n_rows * cm_matrix_n_out(matrix) * sizeof *y;
    float *device_x = put(backend, x, (size_t)n_rows * cm_matrix_n_in(matrix) * sizeof *x);
    float *device_y = put(backend, y, y_bytes);
    cm_op_matmul(backend, matrix, device_x, n_rows, device_y);
    take(backend, y, device_y, y_bytes);
    take(backend, NULL, device_x, 0);
}

void op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
              uint32_t n_rows, uint32_t dim, float *out)
{
    size_t bytes = (size_t)n_rows * dim * sizeof *out;
    float *device_x = put(backend, x, 2 * bytes);
    float *device_out = put(backend, out, bytes);
    cm_op_gated(backend, kind, device_x, n_rows, dim, device_out);
    take(backend, out, device_out, bytes);
    take(backend, NULL, device_x, 0);
}

void op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                   uint32_t n_rows, uint32_t dim, float *out)
{
    size_t bytes = (size_t)n_rows * dim * sizeof *out;
    float *device_x = put(backend, x, bytes);
    float *device_out = out == x ? device_x : put(backend, out, bytes);
    cm_op_activation(backend, kind, device_x, n_rows, dim, device_out);
    take(backend, out, device_out, bytes);
    if (out != x) {
        take(backend, NULL, device_x, 0);
    }
}

void op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    size_t dim_bytes = args->head_dim * sizeof(float);
    size_t heads = args->n_heads + 2 * (size_t)args->n_kv_heads;
    struct cm_rope_append_args device = *args;
    device.inverse_frequencies = put(backend, args->inverse_frequencies, dim_bytes / 2);
    device.q_norm = put(backend, args->q_norm, dim_bytes);
    device.k_norm = put(backend, args->k_norm, dim_bytes);
    device.positions = put(backend, args->positions, args->n_rows * sizeof(int32_t));
    device.pages = put(backend, args->pages, args->n_rows * sizeof(int32_t));
    device.qkv = put(backend, args->qkv, args->n_rows * heads * dim_bytes);
    cm_op_rope_append(backend, &device);
    take(backend, args->qkv, device.qkv, args->n_rows * heads * dim_bytes);
    take(backend, NULL, device.pages, 0);
    take(backend, NULL, device.positions, 0);
    take(backend, NULL, device.k_norm, 0);
    take(backend, NULL, device.q_norm, 0);
    take(backend, NULL, device.inverse_frequencies, 0);
}

void op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    size_t dim_bytes = args->head_dim * sizeof(float);
    size_t heads = args->n_heads + 2 * (size_t)args->n_kv_heads;
    size_t out_bytes = args->n_rows * (size_t)args->n_heads * dim_bytes;
    size_t visits_count = (size_t)args->chunks[args->n_chunks - 1].visit_end;
    struct cm_attention_args device = *args;
    device.qkv = put(backend, args->qkv, args->n_rows * heads * dim_bytes);
    device.positions = put(backend, args->positions, args->n_rows * sizeof(int32_t));
    device.visits = put(backend, args->visits, visits_count * sizeof *args->visits);
    device.chunks = put(backend, args->chunks, args->n_chunks * sizeof *args->chunks);
    device.out = put(backend, args->out, out_bytes);
    cm_op_attention(backend, &device);
    take(backend, args->out, device.out, out_bytes);
    take(backend, NULL, device.chunks, 0);
    take(backend, NULL, device.visits, 0);
    take(backend, NULL, device.positions, 0);
    take(backend, NULL, device.qkv, 0);
}

/* --- Sampling: the rows say how long the lists are --- */

static uint32_t history_length(const struct cm_sample_row *rows, uint32_t n_rows)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        length = rows[i].history_end > length ? rows[i].history_end : length;
    }
    return length;
}

static uint32_t masks_length(const struct cm_sample_row *rows, uint32_t n_rows)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        length = rows[i].allowed.end > length ? rows[i].allowed.end : length;
        for (uint32_t j = 0; j < CM_SAMPLE_BANS_MAX; j++) {
            length = rows[i].banned[j].end > length ? rows[i].banned[j].end : length;
        }
    }
    return length;
}

static struct cm_sample_args put_sample(struct cm_backend *backend,
                                        const struct cm_sample_args *args)
{
    struct cm_sample_args device = *args;
    device.logits =
        put(backend, args->logits, (size_t)args->n_rows * args->n_vocab * sizeof(float));
    device.rows = put(backend, args->rows, args->n_rows * sizeof *args->rows);
    device.history =
        put(backend, args->history, history_length(args->rows, args->n_rows) * sizeof(int32_t));
    device.mask_ids =
        put(backend, args->mask_ids, masks_length(args->rows, args->n_rows) * sizeof(int32_t));
    device.tokens = put(backend, args->tokens, args->n_rows * sizeof(int32_t));
    device.logprobs = put(backend, args->logprobs, args->n_rows * sizeof(float));
    return device;
}

static void take_sample(struct cm_backend *backend, const struct cm_sample_args *args,
                        const struct cm_sample_args *device)
{
    take(backend, args->logprobs, device->logprobs, args->n_rows * sizeof(float));
    take(backend, args->tokens, device->tokens, args->n_rows * sizeof(int32_t));
    take(backend, NULL, device->mask_ids, 0);
    take(backend, NULL, device->history, 0);
    take(backend, NULL, device->rows, 0);
    take(backend, NULL, device->logits, 0);
}

void op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    struct cm_sample_args device = put_sample(backend, args);
    cm_op_sample(backend, &device);
    take_sample(backend, args, &device);
}

void op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                             float *probabilities)
{
    size_t bytes = (size_t)args->n_rows * args->n_vocab * sizeof *probabilities;
    struct cm_sample_args device = put_sample(backend, args);
    float *device_probabilities = put(backend, probabilities, bytes);
    cm_op_sample_probabilities(backend, &device, device_probabilities);
    take(backend, probabilities, device_probabilities, bytes);
    take_sample(backend, args, &device);
}

void op_beam(struct cm_backend *backend, const struct cm_beam_args *args)
{
    size_t cells = (size_t)args->n_rows * args->n_candidates;
    struct cm_beam_args device = *args;
    device.logits =
        put(backend, args->logits, (size_t)args->n_rows * args->n_vocab * sizeof(float));
    device.rows = put(backend, args->rows, args->n_rows * sizeof *args->rows);
    device.history =
        put(backend, args->history, history_length(args->rows, args->n_rows) * sizeof(int32_t));
    device.mask_ids =
        put(backend, args->mask_ids, masks_length(args->rows, args->n_rows) * sizeof(int32_t));
    device.uniforms = put(backend, args->uniforms, cells * sizeof(float));
    device.tokens = put(backend, args->tokens, cells * sizeof(int32_t));
    device.scores = put(backend, args->scores, cells * sizeof(float));
    device.logprobs = put(backend, args->logprobs, cells * sizeof(float));
    device.log_masses = put(backend, args->log_masses, args->n_rows * sizeof(float));
    cm_op_beam(backend, &device);
    take(backend, args->log_masses, device.log_masses, args->n_rows * sizeof(float));
    take(backend, args->logprobs, device.logprobs, cells * sizeof(float));
    take(backend, args->scores, device.scores, cells * sizeof(float));
    take(backend, args->tokens, device.tokens, cells * sizeof(int32_t));
    take(backend, NULL, device.uniforms, 0);
    take(backend, NULL, device.mask_ids, 0);
    take(backend, NULL, device.history, 0);
    take(backend, NULL, device.rows, 0);
    take(backend, NULL, device.logits, 0);
}
