#include "host/step_cost.h"

#include "host/forward.h"
#include "host/model_spec.h"
#include "kernels/roofline.h"

#include <stdio.h>

/* A step under way: forward.c's order of ops. */
struct work {
    const struct cm_model_config *config;
    const struct cm_model_spec *spec;
    const struct cm_step_shape *shape;
    struct cm_roofline_device device;
    const struct cm_model_file *file;
    struct cm_step_cost *cost;
};

static enum cm_status find_device(const char *name, const struct cm_roofline_device **device,
                                  struct cm_error *error)
{
    *device = cm_roofline_device(name);
    return *device != NULL
               ? CM_OK
               : cm_error_set(error, CM_INVALID_ARGUMENT,
                              "no data sheet of \"%.40s\": expected h100, h200 or a100", name);
}

enum cm_status cm_cost_sheet(const char *device, struct cm_cost_sheet *sheet,
                             struct cm_error *error)
{
    const struct cm_roofline_device *found = NULL;
    enum cm_status status = find_device(device, &found, error);
    if (status == CM_OK) {
        *sheet = (struct cm_cost_sheet){
            found->title,      found->bandwidth_gbs, found->tensor_gflops, found->fp32_gflops,
            found->sm_count,   found->copy_share,    found->mma_share,     found->blas_share,
            found->latency_us, found->launch_us,
        };
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
        .exact = shape->exact,
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

static struct cm_work product(const struct work *work, uint32_t n_rows, uint32_t n_in,
                              uint32_t n_out)
{
    return cm_work_matmul(&(struct cm_work_matmul){
        .exact = work->shape->exact,
        .n_rows = n_rows,
        .n_in = n_in,
        .n_out = n_out,
        .rows_max = work->shape->rows_max,
        .sm_count = work->device.sm_count,
    });
}

/* Tables keep a plain type of the file; a block type becomes what the products have (tables.c). */
static void add_embedding(struct work *work)
{
    char name[128];
    snprintf(name, sizeof name, "%s.weight", work->spec->names->embed);
    const struct cm_tensor *table = cm_model_file_find(work->file, name);
    uint32_t n_embd = work->config->n_embd;
    uint32_t rows = work->shape->n_rows;
    bool is_wide = table != NULL &&
                   (table->dtype == CM_F32 ||
                    (work->shape->exact && table->dtype != CM_F16 && table->dtype != CM_BF16));
    add(work, "embed", 1, cm_work_embed(rows, n_embd, is_wide ? 4 : 2));
    if (work->spec->rope == CM_ROPE_NONE) {
        add(work, "position embed", 1, cm_work_embed(rows, n_embd, 4));
        add(work, "add", 1, cm_work_add(rows, n_embd));
    }
}

static void add_layers(struct work *work)
{
    const struct cm_model_config *config = work->config;
    const struct cm_weight_names *names = work->spec->names;
    bool exact = work->shape->exact;
    bool gated = names->gate != NULL;
    uint32_t rows = work->shape->n_rows;
    uint32_t layers = config->n_layers;
    uint32_t q_dim = config->n_heads * config->head_dim;
    uint32_t qkv_dim = q_dim + 2 * config->n_kv_heads * config->head_dim;
    uint32_t windowed = 0;
    uint32_t window = 0;
    for (uint32_t i = 0; i < layers; i++) {
        uint32_t own = cm_model_layer_window(config, i);
        windowed += own > 0;
        window = own > 0 ? own : window;
    }
    add(work, "norm + residual", 2 * layers, cm_work_norm(rows, config->n_embd, true));
    add(work, "qkv", layers, product(work, rows, config->n_embd, qkv_dim));
    add(work, "rope, append", layers,
        cm_work_rope(rows, config->n_heads, config->n_kv_heads, config->head_dim, exact ? 4 : 2));
    if (windowed < layers) {
        add(work, "attention", layers - windowed, attention_of(work, 0));
    }
    if (windowed > 0) {
        add(work, "attention, window", windowed, attention_of(work, window));
    }
    add(work, "attention out", layers, product(work, rows, q_dim, config->n_embd));
    if (work->config->family == CM_FAMILY_GEMMA3) {
        add(work, "norm of blocks", 2 * layers, cm_work_norm(rows, config->n_embd, false));
    }
    add(work, gated ? "gate + up" : "up", layers,
        product(work, rows, config->n_embd, (gated ? 2 : 1) * config->n_ff));
    add(work, "activation", layers, cm_work_activation(rows, config->n_ff, gated));
    add(work, "down", layers, product(work, rows, config->n_ff, config->n_embd));
}

/* The head runs over at most CM_LOGITS_ROWS_MAX rows at a time. */
static void add_head(struct work *work)
{
    const struct cm_model_config *config = work->config;
    uint32_t wanted = work->shape->logits_rows;
    uint32_t calls = (wanted + CM_LOGITS_ROWS_MAX - 1) / CM_LOGITS_ROWS_MAX;
    uint32_t rows = wanted < CM_LOGITS_ROWS_MAX ? wanted : CM_LOGITS_ROWS_MAX;
    if (wanted == 0) {
        return;
    }
    add(work, "gather", 2 * calls, cm_work_embed(rows, config->n_embd, 4));
    add(work, "last norm", calls, cm_work_norm(rows, config->n_embd, true));
    add(work, "head", calls, product(work, rows, config->n_embd, config->n_vocab));
    add(work, "sample", calls, cm_work_sample(rows, config->n_vocab, work->shape->drawn));
}

enum cm_status cm_step_cost(const struct cm_model_file *file, const struct cm_cost_device *device,
                            const struct cm_step_shape *shape, struct cm_step_cost *cost,
                            struct cm_error *error)
{
    const struct cm_roofline_device *sheet = NULL;
    struct work work = {
        .config = cm_model_file_config(file), .shape = shape, .file = file, .cost = cost
    };
    *cost = (struct cm_step_cost){ 0 };
    enum cm_status status = find_device(device->name, &sheet, error);
    if (status == CM_OK) {
        status = cm_model_spec_find(work.config, &work.spec, error);
    }
    if (status != CM_OK) {
        return status;
    }
    work.device = *sheet;
    if (device->bandwidth_gbs > 0) {
        work.device.bandwidth_gbs = device->bandwidth_gbs;
    }
    if (device->tensor_gflops > 0) {
        work.device.tensor_gflops = device->tensor_gflops;
    }
    if (device->fp32_gflops > 0) {
        work.device.fp32_gflops = device->fp32_gflops;
    }
    add_embedding(&work);
    add_layers(&work);
    add_head(&work);
    return CM_OK;
}
