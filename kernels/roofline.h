/* What an op must move and compute at least, what its CUDA kernel moves and computes, and how long
 * both take on a device: the arithmetic behind `bench --plan` and the self-test's timings.
 *
 * Each function restates the contract at the top of the kernel's file; a kernel that changes its
 * tiles or passes changes its function here. The designed time is a model, not a measurement: it
 * knows of padding, passes, blocks and loads in flight, not of clocks under load, bank conflicts or
 * what cuBLASLt chooses. */
#ifndef CM_KERNELS_ROOFLINE_H
#define CM_KERNELS_ROOFLINE_H

#include "kernels/backend.h"

/* Where the flops are made. */
enum cm_roofline_unit {
    CM_UNIT_FP32,     /* float32 pipes */
    CM_UNIT_MMA,      /* tensor cores by mma.sync, bfloat16 or float16: our own kernels */
    CM_UNIT_BLAS,     /* the same through cuBLASLt */
    CM_UNIT_BLAS_FP8, /* tensor cores in e4m3 through cuBLASLt */
};

struct cm_roofline_device {
    const char *name;  /* "h100" */
    const char *title; /* which of its kind */
    double bandwidth_gbs;
    double fp32_gflops;
    double tensor_gflops; /* bfloat16, dense */
    double fp8_gflops;    /* e4m3, dense; 0: it has none */
    uint32_t sm_count;
    double clock_ghz;
    /* Assumed, from what is published of kernels that do nothing else: */
    double copy_share; /* of the bandwidth that a copy reaches */
    double mma_share;  /* of the tensor cores' peak that mma.sync reaches */
    double blas_share; /* and that cuBLASLt reaches with large matrices */
    double latency_us; /* of device memory under load */
    double launch_us;  /* from one kernel of a graph to the next */
};

/* The data sheets: "h100", "h200", "a100". NULL for another name. */
const struct cm_roofline_device *cm_roofline_device(const char *name);

/* A device as it was measured. Bandwidth and peaks are what a copy and cuBLASLt reached, so these
 * shares are 1; what was not measured is that of the sheet of the same name, else H100's. */
struct cm_roofline_device cm_roofline_measured(const struct cm_machine_limits *limits);

struct cm_work {
    /* Every operand once. */
    double bytes;
    double flops;
    enum cm_roofline_unit unit;
    /* As the kernel does it. */
    double kernel_bytes; /* from and to device memory */
    double sm_bytes; /* into and out of the multiprocessors, hits in the second cache included */
    double kernel_flops; /* with what fills up tiles */
    double blocks;
    double flight_bytes; /* that a block asks for before it waits */
    uint32_t sm_blocks;  /* that fit on a multiprocessor */
    uint32_t launches;
};

/* embed, and gather with 4 bytes an element */
struct cm_work cm_work_embed(uint32_t n_rows, uint32_t dim, uint32_t element_bytes);
struct cm_work cm_work_norm(uint32_t n_rows, uint32_t dim, bool with_residual);
struct cm_work cm_work_add(uint32_t n_rows, uint32_t dim);
struct cm_work cm_work_activation(uint32_t n_rows, uint32_t dim, bool gated);
struct cm_work cm_work_rope(uint32_t n_rows, uint32_t n_heads, uint32_t n_kv_heads,
                            uint32_t head_dim, uint32_t kv_bytes);

/* What cuBLASLt wants of the outputs of a product in e4m3; other matrices stay bfloat16. */
enum { CM_FP8_OUTPUTS_MULTIPLE = 16 };

/* Bytes of a matrix [n_out, n_in] as a CUDA device keeps it under a precision (never AUTO), where
 * the file has its sources in these types; at least one. */
double cm_work_weights_bytes(enum cm_precision precision, const enum cm_dtype *dtypes,
                             size_t dtypes_count, uint32_t n_in, uint32_t n_out);

struct cm_work_matmul {
    enum cm_precision precision; /* never AUTO */
    double weights_bytes;
    uint32_t n_rows;
    uint32_t n_in;
    uint32_t n_out;
    uint32_t sm_count;
};
struct cm_work cm_work_matmul(const struct cm_work_matmul *shape);

struct cm_work_attention {
    enum cm_precision precision;
    uint32_t n_rows;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    double shared_tokens;  /* positions that each row sees, and its neighbours with it */
    double private_tokens; /* positions that each row sees alone */
    double cached_tokens;  /* positions that the rows see together, each counted once */
    uint32_t sm_count;     /* of the device: few blocks with long rows are split */
};
struct cm_work cm_work_attention(const struct cm_work_attention *shape);

/* As jobs ask for it, with the log-probability. A draw has top-p, and before it top-k or not. */
enum cm_work_sampling { CM_WORK_GREEDY, CM_WORK_TOP_K, CM_WORK_TOP_P };
struct cm_work cm_work_sample(uint32_t n_rows, uint32_t n_vocab, enum cm_work_sampling sampling);

struct cm_roofline_time {
    double roofline_s;
    double designed_s;
    double covered;    /* share of the bandwidth that the loads in flight can use */
    double imbalance;  /* work of the fullest multiprocessor over the mean */
    const char *bound; /* what the designed time waits for: "memory", "loads in flight",
                          "multiprocessors", "arithmetic", "launches" */
};
struct cm_roofline_time cm_roofline_time(const struct cm_roofline_device *device,
                                         const struct cm_work *work);

#endif
