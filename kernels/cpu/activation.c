#include "kernels/backend.h"

#include <math.h>

static float activate(enum cm_activation_kind kind, float x)
{
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return x / (1.0f + expf(-x));
    case CM_ACTIVATION_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case CM_ACTIVATION_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    }
    return x;
}

void cm_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                 uint32_t n_rows, uint32_t dim, float *out)
{
    (void)backend;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < dim; i++) {
            out[r * dim + i] = activate(kind, x[2 * r * dim + i]) * x[2 * r * dim + dim + i];
        }
    }
}

void cm_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out)
{
    (void)backend;
    for (size_t i = 0; i < (size_t)n_rows * dim; i++) {
        out[i] = activate(kind, x[i]);
    }
}
