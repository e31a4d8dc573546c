/* Activations, plain and gated.
 *
 *     SILU       x / (1 + exp(-x))
 *     GELU_TANH  x / (1 + exp(-2u)), u = sqrt(2 / pi) * (x + 0.044715 x^3), which is
 *                x / 2 * (1 + tanh(u)) without its cancellation
 *     GELU_ERF   x / 2 * (1 + erf(x / sqrt(2)))
 *
 * x, out float32, any alignment; element by element, so no order of sums. Errors are those of
 * v16_exp and of the C library's erff: a few ulp. Compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/feed_forward.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"

#include <math.h>

static ALWAYS_INLINE v16 logistic_times(v16 x, v16 minus_u)
{
    return v16_div(x, v16_add(v16_set(1.0f), v16_exp(minus_u)));
}

static inline v16 gelu_tanh(v16 x)
{
    /* -2 sqrt(2 / pi) * (x + 0.044715 x^3) */
    v16 cube = v16_mul(v16_mul(x, x), x);
    v16 inner = v16_fma(cube, v16_set(0.044715f), x);
    return logistic_times(x, v16_mul(inner, v16_set(-1.5957691216057308f)));
}

/* No product of ours runs this often, so the library's scalar erf serves. */
static inline v16 gelu_erf(v16 x)
{
    float lanes[V16_LANES];
    v16_store(lanes, x);
    for (int i = 0; i < V16_LANES; i++) {
        lanes[i] = 0.5f * lanes[i] * (1.0f + erff(lanes[i] * 0.70710678118654752f));
    }
    return v16_load(lanes);
}

static ALWAYS_INLINE v16 activate(enum cm_activation_kind kind, v16 x)
{
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return logistic_times(x, v16_sub(v16_zero(), x));
    case CM_ACTIVATION_GELU_TANH:
        return gelu_tanh(x);
    case CM_ACTIVATION_GELU_ERF:
        return gelu_erf(x);
    }
    return x;
}

struct activation_args {
    enum cm_activation_kind kind;
    bool gated;
    const float *x;
    uint32_t dim;
    float *out;
    size_t out_stride; /* floats between rows */
};

/* The kind and whether it is gated are constants, so that what they need stays in registers. */
static ALWAYS_INLINE void activate_rows_of(enum cm_activation_kind kind, bool gated,
                                           const struct activation_args *args, size_t begin,
                                           size_t end)
{
    const uint32_t dim = args->dim;
    for (size_t row = begin; row < end; row++) {
        const float *x = args->x + row * (gated ? 2 : 1) * dim;
        float *out = args->out + row * args->out_stride;
        for (uint32_t i = 0; i < dim; i += V16_LANES) {
            v16 value = activate(kind, v16_load_tail(x + i, dim - i));
            if (gated) {
                value = v16_mul(value, v16_load_tail(x + dim + i, dim - i));
            }
            v16_store_tail(out + i, value, dim - i);
        }
    }
}

static void activate_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct activation_args *args = context;
    if (args->gated && args->kind == CM_ACTIVATION_SILU) {
        activate_rows_of(CM_ACTIVATION_SILU, true, args, begin, end);
    } else if (args->gated && args->kind == CM_ACTIVATION_GELU_TANH) {
        activate_rows_of(CM_ACTIVATION_GELU_TANH, true, args, begin, end);
    } else {
        activate_rows_of(args->kind, args->gated, args, begin, end);
    }
}

void cm_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                 uint32_t n_rows, uint32_t dim, float *out)
{
    struct activation_args args = { kind, true, x, dim, out, dim };
    cm_rows_run(backend, activate_rows, &args, n_rows, 4 * (size_t)dim);
}

void cm_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out)
{
    struct activation_args args = { kind, false, x, dim, out, dim };
    cm_rows_run(backend, activate_rows, &args, n_rows, 3 * (size_t)dim);
}

void cm_op_gated_matmul(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                        uint32_t n_rows, float *hidden, struct cm_matrix *matrix, float *y)
{
    uint32_t dim = cm_cpu_matrix_n_in(matrix);
    struct activation_args args = { kind, true, x, dim, hidden, dim };
    cm_cpu_matmul_made(backend, matrix, hidden, &(struct cm_rows_maker){ activate_rows, &args },
                       n_rows, y);
}

static void gate_all(enum cm_activation_kind kind, const float *x, uint32_t n_rows, uint32_t dim,
                     float *out, size_t out_stride)
{
    struct activation_args args = { kind, true, x, dim, out, out_stride };
    activate_rows(&args, 0, n_rows);
}

void cm_op_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args)
{
    if (!cm_cpu_feed_forward(backend, args, cm_norm_rows, gate_all)) {
        cm_op_norm_matmul(backend, args->norm, args->gate_up, args->products);
        cm_op_gated_matmul(backend, args->kind, args->products, args->norm->n_rows, args->hidden,
                           args->down, args->y);
    }
}
