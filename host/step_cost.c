#include "host/step_cost.h"

#include "host/device.h"
#include "host/forward.h"
#include "host/model_spec.h"
#include "kernels/roofline.h"

#include <stdio.h>
#include <string.h>

/* A step under way: forward.c's order of ops. */
struct work {
    const struct cm_model_config *config;
    const struct cm_model_spec *spec;
    const struct cm_step_shape *shape;
    enum cm_precision precision;
    struct cm_roofline_device device;
    const struct cm_model_file *file;
    struct cm_step_cost *cost;
};

static enum cm_status find_device(const struct cm_cost_device *wanted,
                                  struct cm_roofline_device *device, struct cm_error *error)
{
    const struct cm_engine_limits *measured = &wanted->measured;
    if (wanted->sheet == NULL) {
        struct cm_machine_limits limits = {
            .bf16_gflops = measured->bf16_gflops,
            .fp32_gflops = measured->fp32_gflops,
            .fp8_gflops = measured->fp8_gflops,
            .bandwidth_gbs = measured->bandwidth_gbs,
            .sm_count = measured->sm_count,
        };
        memcpy(limits.device_name, measured->device_name, sizeof limits.device_name);
        *device = cm_roofline_measured(&limits);
        return CM_OK;
    }
    const struct cm_roofline_device *sheet = cm_roofline_device(wanted->sheet);
    if (sheet == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "no data sheet of \"%.40s\": expected h100, h200 or a100",
                            wanted->sheet);
    }
    *device = *sheet;
    return CM_OK;
}

enum cm_status cm_cost_sheet(const struct cm_cost_device *device, struct cm_cost_sheet *sheet,
                             struct cm_error *error)
{
    struct cm_roofline_device found = { 0 };
    enum cm_status status = find_device(device, &found, error);
    if (status == CM_OK) {
        *sheet = (struct cm_cost_sheet){
            .bandwidth_gbs = found.bandwidth_gbs,
            .tensor_gflops = found.tensor_gflops,
            .fp32_gflops = found.fp32_gflops,
            .fp8_gflops = found.fp8_gflops,
            .sm_count = found.sm_count,
            .copy_share = found.copy_share,
            .mma_share = found.mma_share,
            .blas_share = found.blas_share,
            .latency_us = found.latency_us,
            .launch_us = found.launch_us,
        };
        snprintf(sheet->title, sizeof sheet->title, "%s", found.title);
    }
    return status;
}

/* Adds `count` equal ops. */
static void add(struct work *work, const char *name, uint32_t count, struct cm_work one)
{
    struct cm_step_cost *cost = work->cost;
    CM_ASSERT(cost->ops_count < CM_STEP_OPS_MAX);
    struct cm_roofline_time time = cm_roofline_time(&work->device, &one);
    struct cm_step_op *op = &cost->ops[cost->ops_count++];
    *op = (struct cm_step_op){
        .name = name,
        .count = count,
        .bytes = count * one.bytes,
        .flops = count * one.flops,
        .kernel_bytes = count * one.kernel_bytes,
        .kernel_flops = count * one.kernel_flops,
        .blocks = one.blocks,
        .covered = time.covered,
        .imbalance = time.imbalance,
        .roofline_s = count * time.roofline_s,
        .designed_s = count * time.designed_s,
        .bound = time.bound,
    };
    cost->bytes += op->bytes;
    cost->flops += op->flops;
    cost->roofline_s += op->roofline_s;
    cost->designed_s += op->designed_s;
}

/* Layers with a window see no more than it. */
static struct cm_work attention_of(const struct work *work, uint32_t window)
{
    const struct cm_model_config *config = work->config;
    const struct cm_step_shape *shape = work->shape;
    double context = shape->context_tokens;
    double shared = shape->shared_tokens < context ? shape->shared_tokens : context;
    double rows_of_text = (double)shape->n_rows / shape->texts_count;
    if (window > 0 && context > window) {
        double cut = context - window; /* the oldest go, and those are the shared ones */
        shared = shared > cut ? shared - cut : 0;
        context = window;
    }
    /* Rows of one text see its pages together; a single row sees its own alone. */
    bool has_neighbours = rows_of_text > 1;
    struct cm_work_attention attention = {
        .precision = work->precision,
        .n_rows = shape->n_rows,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .shared_tokens = has_neighbours ? context : shared,
        .private_tokens = has_neighbours ? 0 : context - shared,
        .sm_count = work->device.sm_count,
    };
    /* A text's rows end at different positions: the last sees half of its own more than the mean.
     */
    double of_text = context - shared + (has_neighbours ? rows_of_text / 2 : 0);
    attention.cached_tokens = shared + shape->texts_count * of_text;
    return cm_work_attention(&attention);
}

/* The sources of a matrix, which are stacked. */
enum { SOURCES_MAX = 3 };
struct sources {
    const char *names[SOURCES_MAX]; /* up to the first NULL */
    uint32_t n_outs[SOURCES_MAX];
};

/* Of a layer, or with -1 of the model; bfloat16 where there is no file to look at. */
static enum cm_dtype dtype_of(const struct work *work, int32_t layer, const char *name)
{
    char full[128];
    if (layer >= 0) {
        snprintf(full, sizeof full, "%s%d.%s.weight", work->spec->names->layer_prefix, layer, name);
    } else {
        snprintf(full, sizeof full, "%s.weight", name);
    }
    const struct cm_tensor *tensor = cm_model_file_find(work->file, full);
    return tensor != NULL ? tensor->dtype : CM_BF16;
}

static double weights_bytes(const struct work *work, int32_t layer, const struct sources *sources,
                            enum cm_precision precision, uint32_t n_in, uint32_t n_out)
{
    enum cm_dtype dtypes[SOURCES_MAX];
    uint32_t count = 0;
    while (count < SOURCES_MAX && sources->names[count] != NULL) {
        dtypes[count] = dtype_of(work, layer, sources->names[count]);
        count++;
    }
    return cm_work_weights_bytes(precision, dtypes, count, n_in, n_out);
}

/* The mean of all layers, or of the model's one. */
static struct cm_work product(const struct work *work, bool of_layers,
                              const struct sources *sources, uint32_t n_rows, uint32_t n_in)
{
    uint32_t layers = of_layers ? work->config->n_layers : 1;
    struct cm_work_matmul matmul = {
        .precision = work->precision,
        .n_rows = n_rows,
        .n_in = n_in,
        .sm_count = work->device.sm_count,
    };
    for (uint32_t i = 0; i < SOURCES_MAX; i++) {
        matmul.n_out += sources->n_outs[i];
    }
    if (matmul.precision == CM_PRECISION_FP8 && matmul.n_out % CM_FP8_OUTPUTS_MULTIPLE != 0) {
        matmul.precision = CM_PRECISION_BF16;
    }
    for (uint32_t i = 0; i < layers; i++) {
        matmul.weights_bytes += weights_bytes(work, of_layers ? (int32_t)i : -1, sources,
                                              matmul.precision, n_in, matmul.n_out) /
                                layers;
    }
    return cm_work_matmul(&matmul);
}

/* Tables keep a plain type of the file; a block type becomes what the products have (tables.c). */
static void add_embedding(struct work *work)
{
    enum cm_dtype dtype = dtype_of(work, -1, work->spec->names->embed);
    bool exact = work->precision == CM_PRECISION_EXACT;
    uint32_t n_embd = work->config->n_embd;
    uint32_t rows = work->shape->n_rows;
    bool is_wide = dtype == CM_F32 || (exact && dtype != CM_F16 && dtype != CM_BF16);
    add(work, "embed", 1, cm_work_embed(rows, n_embd, is_wide ? 4 : 2));
    if (work->spec->rope == CM_ROPE_NONE) {
        add(work, "position embed", 1, cm_work_embed(rows, n_embd, 4));
        add(work, "add", 1, cm_work_add(rows, n_embd));
    }
}

static uint32_t kv_element_bytes(enum cm_precision precision)
{
    return precision == CM_PRECISION_EXACT ? 4 : precision == CM_PRECISION_FP8 ? 1 : 2;
}

static void add_attention(struct work *work)
{
    const struct cm_model_config *config = work->config;
    const struct cm_weight_names *names = work->spec->names;
    uint32_t rows = work->shape->n_rows;
    uint32_t layers = config->n_layers;
    uint32_t q_dim = config->n_heads * config->head_dim;
    uint32_t kv_dim = config->n_kv_heads * config->head_dim;
    uint32_t windowed = 0;
    uint32_t window = 0;
    for (uint32_t i = 0; i < layers; i++) {
        uint32_t own = cm_model_layer_window(config, i);
        windowed += own > 0;
        window = own > 0 ? own : window;
    }
    const struct sources stacked = { { names->qkv }, { q_dim + 2 * kv_dim } };
    const struct sources apart = { { names->q, names->k, names->v }, { q_dim, kv_dim, kv_dim } };
    const struct sources out = { { names->attention_out }, { config->n_embd } };
    add(work, "qkv", layers,
        product(work, true, names->qkv != NULL ? &stacked : &apart, rows, config->n_embd));
    add(work, "rope, append", layers,
        cm_work_rope(rows, config->n_heads, config->n_kv_heads, config->head_dim,
                     kv_element_bytes(work->precision)));
    if (windowed < layers) {
        add(work, "attention", layers - windowed, attention_of(work, 0));
    }
    if (windowed > 0) {
        add(work, "attention, window", windowed, attention_of(work, window));
    }
    add(work, "attention out", layers, product(work, true, &out, rows, q_dim));
}

static void add_feed_forward(struct work *work)
{
    const struct cm_model_config *config = work->config;
    const struct cm_weight_names *names = work->spec->names;
    bool gated = names->gate != NULL;
    uint32_t rows = work->shape->n_rows;
    uint32_t layers = config->n_layers;
    const struct sources gate_up = { { names->gate, names->up }, { config->n_ff, config->n_ff } };
    const struct sources up = { { names->up }, { config->n_ff } };
    const struct sources down = { { names->down }, { config->n_embd } };
    add(work, gated ? "gate + up" : "up", layers,
        product(work, true, gated ? &gate_up : &up, rows, config->n_embd));
    add(work, "activation", layers, cm_work_activation(rows, config->n_ff, gated));
    add(work, "down", layers, product(work, true, &down, rows, config->n_ff));
}

static void add_layers(struct work *work)
{
    const struct cm_model_config *config = work->config;
    uint32_t norms = 2 * config->n_layers;
    add(work, "norm + residual", norms, cm_work_norm(work->shape->n_rows, config->n_embd, true));
    add_attention(work);
    if (config->family == CM_FAMILY_GEMMA3) {
        add(work, "norm of blocks", norms,
            cm_work_norm(work->shape->n_rows, config->n_embd, false));
    }
    add_feed_forward(work);
}

/* The head runs over at most CM_LOGITS_ROWS_MAX rows at a time. */
static void add_head(struct work *work)
{
    const struct cm_model_config *config = work->config;
    uint32_t wanted = work->shape->logits_rows;
    uint32_t calls = (wanted + CM_LOGITS_ROWS_MAX - 1) / CM_LOGITS_ROWS_MAX;
    uint32_t rows = wanted < CM_LOGITS_ROWS_MAX ? wanted : CM_LOGITS_ROWS_MAX;
    bool is_tied = config->tied_embeddings || work->spec->names->head == NULL;
    const struct sources head = { { is_tied ? work->spec->names->embed : work->spec->names->head },
                                  { config->n_vocab } };
    if (wanted == 0) {
        return;
    }
    add(work, "gather", 2 * calls, cm_work_embed(rows, config->n_embd, 4));
    add(work, "last norm", calls, cm_work_norm(rows, config->n_embd, true));
    add(work, "head", calls, product(work, false, &head, rows, config->n_embd));
    add(work, "sample", calls,
        cm_work_sample(rows, config->n_vocab, work->shape->drawn ? CM_WORK_TOP_K : CM_WORK_GREEDY));
}

enum cm_status cm_step_cost(const struct cm_model_file *file, const struct cm_cost_device *device,
                            const struct cm_step_shape *shape, struct cm_step_cost *cost,
                            struct cm_error *error)
{
    struct work work = { .config = cm_model_file_config(file),
                         .shape = shape,
                         .precision = cm_device_precision(shape->precision),
                         .file = file,
                         .cost = cost };
    *cost = (struct cm_step_cost){ 0 };
    enum cm_status status = find_device(device, &work.device, error);
    if (status == CM_OK) {
        status = cm_model_spec_find(work.config, &work.spec, error);
    }
    if (status == CM_OK && work.precision == CM_PRECISION_FP8 && work.device.fp8_gflops <= 0) {
        status = cm_error_set(error, CM_UNSUPPORTED,
                              "%s does not compute in FP8, which needs compute capability 8.9. "
                              "Use int8, int4 or bf16",
                              work.device.title);
    }
    if (status != CM_OK) {
        return status;
    }
    add_embedding(&work);
    add_layers(&work);
    add_head(&work);
    return CM_OK;
}
