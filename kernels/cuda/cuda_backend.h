/* What the host files of the CUDA back end share: the struct behind `struct cm_backend`, its stream
 * and staging memory, and how a failure is kept. Private to kernels/cuda and its tests.
 *
 * Everything goes to one stream in order. Uploads pass through pinned staging memory, so that they
 * need not wait and the caller may reuse its memory at once; a download waits for the stream. The
 * first failure is kept and makes every later call do nothing; cm_backend_status tells it. */
#ifndef CM_KERNELS_CUDA_CUDA_BACKEND_H
#define CM_KERNELS_CUDA_CUDA_BACKEND_H

#include "kernels/backend_functions.h"
#include "kernels/cuda/launch.h"

#include <cublasLt.h>

enum {
    CM_CUDA_STAGING_BYTES = 8 << 20,
    CM_CUDA_WORKSPACE_BYTES = 32 << 20, /* what cuBLASLt recommends for Hopper */
};

struct cm_backend {
    const struct cm_backend_functions *functions;
    int device;
    enum cm_precision precision; /* never AUTO */
    uint32_t rows_max;
    char variant[48];
    cudaStream_t stream;
    cublasLtHandle_t blas;
    void *workspace; /* [CM_CUDA_WORKSPACE_BYTES] of the products; NULL: no matrix yet */
    void *narrow;    /* [narrow_bytes] a product's x in the type of its weights */
    size_t narrow_bytes;
    struct cm_cuda_choice *choices; /* of the matrices so far */
    unsigned char *staging;         /* [CM_CUDA_STAGING_BYTES] pinned */
    size_t staging_used;            /* what the stream may still read */
    char failure[256];              /* empty: none */
    double timeout_s;               /* 0: the default */
    bool stuck;                     /* it will not answer any more: nothing may wait for it */
    struct cm_comm *comm;           /* the group that it is a rank of, or NULL */
    uint32_t rank;

    struct cm_cuda_recording *recordings; /* [recordings_count] */
    uint32_t recordings_count;
    bool records;     /* between record_begin and record_end */
    bool never_again; /* the driver did not take a recording */
};

/* Ops recorded under a key, see recording.c. */
struct cm_cuda_recording {
    uint64_t key;
    cudaGraphExec_t graph;
    struct cm_cuda_product *products; /* [products_count] to be counted when it runs again */
    uint32_t products_count;
    size_t products_capacity;
};

struct cm_fence {
    const struct cm_backend_functions *functions;
    struct cm_backend *backend;
    cudaEvent_t event;
};

/* Which algorithm of cuBLASLt a product uses for how many rows: see matmul_choice.c. Shared by the
 * matrices of a shape. */
struct cm_cuda_range {
    uint32_t rows_max;
    cublasLtMatmulAlgo_t algorithm;
};

struct cm_cuda_choice {
    struct cm_cuda_choice *next;
    enum cm_cuda_format format;
    uint32_t n_out;
    uint32_t padded;
    bool has_bias;
    cublasLtMatmulAlgo_t first;      /* whose bits all others leave; for rows beyond the ranges */
    struct cm_cuda_range ranges[32]; /* [ranges_count], by rising rows_max */
    uint32_t ranges_count;
};

struct cm_matrix {
    const struct cm_backend_functions *functions;
    struct cm_backend *backend;
    enum cm_cuda_format format;
    uint32_t n_in;
    uint32_t n_out;
    uint32_t padded;                  /* n_in, or the next multiple of what tensor cores want */
    void *weights;                    /* [n_out, padded] of the format's type, or units */
    float *scales;                    /* [n_out] of e4m3, or NULL */
    float *bias;                      /* [n_out] or NULL */
    struct cm_cuda_integers integers; /* what its kernel needs to know of them */
    size_t bytes;
    uint64_t rows_count;
    cublasLtMatmulDesc_t product; /* this and what follows: all formats but integers */
    cublasLtMatrixLayout_t weights_layout;
    cublasLtMatrixLayout_t x_layout;
    cublasLtMatrixLayout_t y_layout;
    struct cm_cuda_choice *choice;
};

struct cm_table {
    const struct cm_backend_functions *functions;
    struct cm_backend *backend;
    enum cm_dtype dtype; /* a plain type */
    uint32_t n_rows;
    uint32_t dim;
    void *data; /* [n_rows, dim] */
};

struct cm_kv_pool {
    const struct cm_backend_functions *functions;
    struct cm_backend *backend;
    struct cm_kv_shape shape;
    uint32_t pages_count;
    size_t element_bytes;
    struct cm_cuda_kv kv;
    struct cm_cuda_parts parts;
};

#define CM_CUDA_DECLARE(name) __typeof__(cm_##name) cm_cuda_##name;
CM_BACKEND_FUNCTIONS(CM_CUDA_DECLARE)

/* Makes the backend's device current for the calling thread; false after a failure, when nothing is
 * to be done any more. */
bool cm_cuda_begin(struct cm_backend *backend);

/* Keep the failure where there is one, with the name of what was tried. */
void cm_cuda_check(struct cm_backend *backend, cudaError_t result, const char *what);
void cm_cuda_check_blas(struct cm_backend *backend, cublasStatus_t result, const char *what);

void cm_cuda_fail(struct cm_backend *backend, const char *what, const char *reason);

/* --- watchdog.c: every wait for the device --- */

/* Until all work of the stream so far is done, or the event has come; a failure is kept, and where
 * the device does not answer in time it is stuck. The caller has made the device current. */
void cm_cuda_wait_stream(struct cm_backend *backend, cudaStream_t stream, const char *what);
void cm_cuda_wait_event(struct cm_backend *backend, cudaEvent_t event, const char *what);

/* Some device of the process is stuck: memory of the host, which all devices can reach, cannot be
 * given back without waiting for it. */
bool cm_cuda_any_stuck(void);

/* For other loops that ask: how long, whether that is over, and a pause after the first few times.
 */
struct cm_cuda_patience {
    double left_s;
    double away_max_s; /* between two looks, what counts */
    double looked_s;
};
double cm_cuda_timeout_s(const struct cm_backend *backend);
struct cm_cuda_patience cm_cuda_patience(double seconds);
bool cm_cuda_patience_ends(struct cm_cuda_patience *patience);
void cm_cuda_pause(uint64_t polls);

/* False: this back end has failed, or another of its group has. Then it has left the group, so that
 * its stream need not wait for the others. */
bool cm_cuda_comm_check(struct cm_backend *backend);

/* --- recording.c --- */

/* A product has been called: it is counted, now and when a recording of it runs again. */
void cm_cuda_count_rows(struct cm_matrix *matrix, uint32_t n_rows);

/* --- matmul_choice.c --- */

/* Sets the algorithms of a matrix whose product and layouts are set; may try some out, which takes
 * the device some hundredths of a second and memory until it returns. */
cublasStatus_t cm_cuda_choose(struct cm_matrix *matrix);

/* The one for so many rows. */
const cublasLtMatmulAlgo_t *cm_cuda_algorithm(const struct cm_matrix *matrix, uint32_t n_rows);

/* y [n_rows, n_out] of weights [n_out, padded] and x [n_rows, padded] in the matrix's format. */
cublasStatus_t cm_cuda_blas_multiply(struct cm_matrix *matrix,
                                     const cublasLtMatmulAlgo_t *algorithm, const void *weights,
                                     const void *x, uint32_t n_rows, float *y);

void cm_cuda_forget_choices(struct cm_backend *backend);

/* --- matmul_pack.c --- */

/* How the matrix that these sources make is to be kept under a precision: its format, and for
 * integers bits, scales, zero and minima. n_in and n_out are set. */
void cm_cuda_matrix_choose_format(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                  size_t sources_count);

/* Of a weight in a format that is not integers. */
size_t cm_cuda_element_bytes(enum cm_cuda_format format);

/* Reserves and fills weights, scales and bias, and sets `padded` and `bytes`. CM_OUT_OF_MEMORY. */
enum cm_status cm_cuda_matrix_pack(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                   size_t sources_count) CM_MUST_CHECK;

/* --- limits.c --- */

typedef void cm_cuda_work(struct cm_backend *backend, void *context);

/* What the device takes for the work that the function queues, by events around it; waits for it. 0
 * after a failure. */
double cm_cuda_time_s(struct cm_backend *backend, cm_cuda_work *work, void *context);

/* Device memory that is not zeroed; NULL when there is no more. */
void *cm_cuda_reserve(struct cm_backend *backend, size_t bytes) CM_MUST_CHECK;

#endif
