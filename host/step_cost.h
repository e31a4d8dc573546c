/* A step of the engine as a list of ops with what each moves and computes: the time at the roofline
 * and the time that the CUDA kernels are designed for, on a device of a data sheet. Nothing runs.
 */
#ifndef CM_HOST_STEP_COST_H
#define CM_HOST_STEP_COST_H

#include "host/engine.h"
#include "loaders/model_file.h"

#include <stdbool.h>

enum { CM_STEP_OPS_MAX = 24 };

/* A device of a data sheet, or as it was measured. */
struct cm_cost_device {
    const char *sheet; /* "h100", "h200" or "a100"; NULL: measured */
    struct cm_engine_limits measured;
};

struct cm_step_shape {
    enum cm_engine_precision precision;
    bool drawn;            /* tokens are drawn with top-k and top-p; else greedy */
    uint32_t rows_max;     /* of any step */
    uint32_t n_rows;       /* tokens that are computed */
    uint32_t texts_count;  /* that they belong to, an equal share each */
    uint32_t logits_rows;  /* rows whose next token is wanted */
    double context_tokens; /* that each row sees, the mean */
    double shared_tokens;  /* of these, common to all texts */
};

struct cm_step_op {
    const char *name;
    uint32_t count; /* in a step; the sizes are of all of them */
    double bytes;
    double flops;
    double kernel_bytes;
    double kernel_flops;
    double blocks; /* of one; the next two, too: see kernels/roofline.h */
    double covered;
    double imbalance;
    double roofline_s;
    double designed_s;
    const char *bound;
};

struct cm_step_cost {
    struct cm_step_op ops[CM_STEP_OPS_MAX];
    uint32_t ops_count;
    double bytes;
    double flops;
    double roofline_s;
    double designed_s;
};

/* Of a file without tensors the weights are taken to be bfloat16. CM_INVALID_ARGUMENT for a device
 * that is not known, CM_UNSUPPORTED for a family without a decoder and for a precision that the
 * device lacks. */
enum cm_status cm_step_cost(const struct cm_model_file *file, const struct cm_cost_device *device,
                            const struct cm_step_shape *shape, struct cm_step_cost *cost,
                            struct cm_error *error) CM_MUST_CHECK;

/* What the arithmetic takes of a device, for a heading. CM_INVALID_ARGUMENT as above. */
struct cm_cost_sheet {
    char title[64];
    double bandwidth_gbs;
    double tensor_gflops;
    double fp32_gflops;
    double fp8_gflops; /* 0: none */
    uint32_t sm_count;
    double copy_share;
    double mma_share;
    double blas_share;
    double latency_us;
    double launch_us;
};
enum cm_status cm_cost_sheet(const struct cm_cost_device *device, struct cm_cost_sheet *sheet,
                             struct cm_error *error) CM_MUST_CHECK;

#endif
