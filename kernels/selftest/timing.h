/* One op at one shape, made ready once and called again and again for its time. Private to
 * kernels/selftest. */
#ifndef CM_KERNELS_SELFTEST_TIMING_H
#define CM_KERNELS_SELFTEST_TIMING_H

#include "kernels/roofline.h"
#include "kernels/selftest/trial.h"

/* What a model asks of the ops. */
struct cm_timing_model {
    const char *name;
    uint32_t n_embd;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t n_vocab;
    uint32_t texts;   /* that decode together */
    uint32_t context; /* tokens that each of them sees; a prefill makes the second half of it */
};

struct cm_timed_op;
typedef void cm_timed_call(struct cm_backend *backend, struct cm_timed_op *op);

struct cm_timed_op {
    struct cm_trial trial; /* its memory, back end and failure */
    const struct cm_timing_model *model;
    uint32_t sm_count; /* of the device */
    cm_timed_call *call;
    struct cm_work work;
    char shape[48];
    struct cm_matrix *matrix; /* this and the next are closed with the op; NULL: none */
    struct cm_kv_pool *pool;
    union {
        struct cm_norm_args norm;
        struct cm_sample_args sample;
        struct cm_beam_args beam;
        struct {
            struct cm_rope_append_args append;
            struct cm_attention_args attention;
        } step;
        struct {
            const float *x;
            const int32_t *ids;
            float *out;
            uint32_t n_rows;
            uint32_t dim;
        } rows;
    } args;
};

/* What of the precision an op knows: nothing, the type of the cache, that of the weights. Where two
 * precisions have the same kernel it is timed once. */
enum cm_timing_scope { CM_TIMING_ONCE, CM_TIMING_BY_CACHE, CM_TIMING_BY_WEIGHTS };

/* Makes its `shape`-th shape ready; the trial fails where it cannot. */
struct cm_timing_case {
    const char *name;
    uint32_t shapes_count;
    void (*prepare)(struct cm_timed_op *op, uint32_t shape);
    enum cm_timing_scope scope;
};

/* Ends with a NULL name. */
extern const struct cm_timing_case CM_TIMING_CASES[];

#endif
