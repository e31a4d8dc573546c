/* Rows picked by number.
 *
 *     embed   out[r, :] = scale * table[tokens[r], :]   table rows in the file's own type
 *     gather  out[i, :] = x[rows[i], :]                 float32
 *
 * Element by element and without sums, so the same on every instruction set. A token outside the
 * table is a programmer error: the tokenizer and the model agree on the vocabulary at load. */
#include "kernels/cpu/quants.h"
#include "kernels/cpu/row_work.h"

struct embed_args {
    const struct cm_table *table;
    const int32_t *tokens;
    float scale;
    float *out;
};

static void embed_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct embed_args *args = context;
    const struct cm_table *table = args->table;
    for (size_t row = begin; row < end; row++) {
        int32_t token = args->tokens[row];
        CM_ASSERT(token >= 0 && (uint32_t)token < table->n_rows);
        float *out = args->out + row * table->dim;
        cm_quants_dequantise(table->dtype, table->data + (size_t)token * table->row_bytes,
                             table->dim, out);
        for (uint32_t i = 0; args->scale != 1.0f && i < table->dim; i++) {
            out[i] *= args->scale;
        }
    }
}

void cm_cpu_op_embed(struct cm_backend *backend, const struct cm_table *table,
                     const int32_t *tokens, uint32_t n_rows, float scale, float *out)
{
    struct embed_args args = { .table = table, .tokens = tokens, .scale = scale, .out = out };
    cm_rows_run(backend, embed_rows, &args, n_rows, 4 * (size_t)table->dim);
}

struct gather_args {
    const float *x;
    const int32_t *rows;
    float *out;
    uint32_t dim;
};

static void gather_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct gather_args *args = context;
    for (size_t i = begin; i < end; i++) {
        memcpy(args->out + i * args->dim, args->x + (size_t)args->rows[i] * args->dim,
               args->dim * sizeof *args->out);
    }
}

void cm_cpu_op_gather(struct cm_backend *backend, const float *x, uint32_t dim, const int32_t *rows,
                      uint32_t n_rows, float *out)
{
    struct gather_args args = { .x = x, .rows = rows, .out = out, .dim = dim };
    cm_rows_run(backend, gather_rows, &args, n_rows, dim);
}
