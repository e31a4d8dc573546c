/* Normalisation and addition.
 *
 *     RMS       out = x * f * w              f = 1 / sqrt(mean(x^2) + epsilon)
 *     RMS_PLUS  out = x * f * (1 + w)
 *     LAYER     out = (x - m) * f * w + b    m = mean(x), f = 1 / sqrt(mean((x - m)^2) + epsilon)
 *
 * x, residual, out [n_rows, dim] float32, any alignment. Sums are float32 in four vectors of 16
 * running sums that are added as a tree, the same for every row; compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"

#include <math.h>

enum { SUM_VECTORS = 4 };

struct sums {
    v16 part[SUM_VECTORS];
};

static inline float total(const struct sums *sums)
{
    return v16_sum(
        v16_add(v16_add(sums->part[0], sums->part[1]), v16_add(sums->part[2], sums->part[3])));
}

static float mean_of(const float *x, uint32_t dim)
{
    struct sums sums = { { v16_zero(), v16_zero(), v16_zero(), v16_zero() } };
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        v16 *part = &sums.part[i / V16_LANES % SUM_VECTORS];
        *part = v16_add(*part, v16_load_tail(x + i, dim - i));
    }
    return total(&sums) / (float)dim;
}

/* The mean of (x - centre)^2. Lanes past the end of a tail are put back to zero. */
static float mean_square_of(const float *x, uint32_t dim, float centre)
{
    struct sums sums = { { v16_zero(), v16_zero(), v16_zero(), v16_zero() } };
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        v16 *part = &sums.part[i / V16_LANES % SUM_VECTORS];
        v16 value = v16_sub(v16_load_tail(x + i, dim - i), v16_set(centre));
        if (dim - i < V16_LANES) {
            value = v16_keep(value, 0, (int)(dim - i), 0.0f);
        }
        *part = v16_fma(value, value, *part);
    }
    return total(&sums) / (float)dim;
}

static void add_row(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += V16_LANES) {
        v16 sum = v16_add(v16_load_tail(x + i, n - i), v16_load_tail(y + i, n - i));
        v16_store_tail(x + i, sum, n - i);
    }
}

static void norm_row(const struct cm_norm_args *args, const float *x, float *out)
{
    uint32_t dim = args->dim;
    float mean = args->kind == CM_NORM_LAYER ? mean_of(x, dim) : 0.0f;
    float factor = 1.0f / sqrtf(mean_square_of(x, dim, mean) + args->epsilon);
    v16 plus = v16_set(args->kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f);
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        v16 value = v16_sub(v16_load_tail(x + i, dim - i), v16_set(mean));
        v16 weight = v16_add(plus, v16_load_tail(args->weight + i, dim - i));
        value = v16_mul(v16_mul(value, v16_set(factor)), weight);
        if (args->bias != NULL) {
            value = v16_add(value, v16_load_tail(args->bias + i, dim - i));
        }
        v16_store_tail(out + i, value, dim - i);
    }
}

void cm_norm_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct cm_norm_args *args = context;
    for (size_t row = begin; row < end; row++) {
        size_t first = row * args->dim;
        if (args->residual != NULL) {
            add_row(args->x + first, args->residual + first, args->dim);
        }
        norm_row(args, args->x + first, args->out + first);
    }
}

void cm_op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    CM_ASSERT(args->residual == NULL || args->out != args->x);
    cm_rows_run(backend, cm_norm_rows, args, args->n_rows, 3 * (size_t)args->dim);
}

struct add_args {
    float *x;
    const float *y;
    uint32_t dim;
};

static void add_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct add_args *args = context;
    size_t first = (size_t)begin * args->dim;
    add_row(args->x + first, args->y + first, (size_t)(end - begin) * args->dim);
}

void cm_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim)
{
    struct add_args args = { .x = x, .y = y, .dim = dim };
    cm_rows_run(backend, add_rows, &args, n_rows, dim);
}

void cm_op_norm_matmul(struct cm_backend *backend, const struct cm_norm_args *norm,
                       struct cm_matrix *matrix, float *y)
{
    CM_ASSERT(norm->residual == NULL || norm->out != norm->x);
    CM_ASSERT(norm->dim == cm_cpu_matrix_n_in(matrix));
    cm_cpu_matmul_made(backend, matrix, norm->out, &(struct cm_rows_maker){ cm_norm_rows, norm },
                       norm->n_rows, y);
}
