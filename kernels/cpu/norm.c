#include "kernels/backend.h"

#include <math.h>

static void norm_row(const struct cm_norm_args *args, float *x, const float *residual, float *out)
{
    uint32_t dim = args->dim;
    if (residual != NULL) {
        for (uint32_t i = 0; i < dim; i++) {
            x[i] += residual[i];
        }
    }
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        sum += x[i];
    }
    float mean = args->kind == CM_NORM_LAYER ? (float)(sum / dim) : 0.0f;
    double squares = 0;
    for (uint32_t i = 0; i < dim; i++) {
        double centred = x[i] - mean;
        squares += centred * centred;
    }
    float factor = 1.0f / sqrtf((float)(squares / dim) + args->epsilon);
    float plus = args->kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f;
    for (uint32_t i = 0; i < dim; i++) {
        float value = (x[i] - mean) * factor * (plus + args->weight[i]);
        out[i] = args->bias != NULL ? value + args->bias[i] : value;
    }
}

void cm_op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    (void)backend;
    for (size_t r = 0; r < args->n_rows; r++) {
        size_t begin = r * args->dim;
        norm_row(args, args->x + begin, args->residual != NULL ? args->residual + begin : NULL,
                 args->out + begin);
    }
}

void cm_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim)
{
    (void)backend;
    for (size_t i = 0; i < (size_t)n_rows * dim; i++) {
        x[i] += y[i];
    }
}
