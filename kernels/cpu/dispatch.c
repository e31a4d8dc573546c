/* The ops that have variants: each call goes to the one for the back end's instruction set. */
#include "kernels/cpu/cpu_backend.h"

struct ops {
    __typeof__(cm_op_activation) *activation;
    __typeof__(cm_op_add) *add;
    __typeof__(cm_op_attention) *attention;
    __typeof__(cm_op_gated) *gated;
    __typeof__(cm_op_norm) *norm;
    __typeof__(cm_op_rope_append) *rope_append;
    __typeof__(cm_op_sample) *sample;
    __typeof__(cm_op_sample_probabilities) *sample_probabilities;
};

#define DECLARE_VARIANT(isa)                                                 \
    __typeof__(cm_op_activation) cm_op_activation_##isa;                     \
    __typeof__(cm_op_add) cm_op_add_##isa;                                   \
    __typeof__(cm_op_attention) cm_op_attention_##isa;                       \
    __typeof__(cm_op_gated) cm_op_gated_##isa;                               \
    __typeof__(cm_op_norm) cm_op_norm_##isa;                                 \
    __typeof__(cm_op_rope_append) cm_op_rope_append_##isa;                   \
    __typeof__(cm_op_sample) cm_op_sample_##isa;                             \
    __typeof__(cm_op_sample_probabilities) cm_op_sample_probabilities_##isa; \
    static const struct ops ops_##isa = {                                    \
        cm_op_activation_##isa, cm_op_add_##isa,                             \
        cm_op_attention_##isa,  cm_op_gated_##isa,                           \
        cm_op_norm_##isa,       cm_op_rope_append_##isa,                     \
        cm_op_sample_##isa,     cm_op_sample_probabilities_##isa,            \
    }

DECLARE_VARIANT(portable);
#if defined(__x86_64__)
DECLARE_VARIANT(avx2);
DECLARE_VARIANT(avx512);
#endif

static const struct ops *ops_of(const struct cm_backend *backend)
{
#if defined(__x86_64__)
    if (backend->isa >= CM_CPU_AVX512VNNI) {
        return &ops_avx512;
    }
    if (backend->isa == CM_CPU_AVX2) {
        return &ops_avx2;
    }
#endif
    (void)backend;
    return &ops_portable;
}

void cm_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out)
{
    ops_of(backend)->activation(backend, kind, x, n_rows, dim, out);
}

void cm_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim)
{
    ops_of(backend)->add(backend, x, y, n_rows, dim);
}

void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    ops_of(backend)->attention(backend, args);
}

void cm_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                 uint32_t n_rows, uint32_t dim, float *out)
{
    ops_of(backend)->gated(backend, kind, x, n_rows, dim, out);
}

void cm_op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    ops_of(backend)->norm(backend, args);
}

void cm_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    ops_of(backend)->rope_append(backend, args);
}

void cm_op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    ops_of(backend)->sample(backend, args);
}

void cm_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                float *probabilities)
{
    ops_of(backend)->sample_probabilities(backend, args, probabilities);
}
