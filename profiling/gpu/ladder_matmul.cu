/* y [rows, n_out] = x [rows, n_in] W [n_out, n_in]^T, weights bfloat16.
 *
 * Few rows are bound by reading W, many by the tensor cores. */
extern "C" { /* the op interface is C */
#include "kernels/backend.h"
}
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "profiling/gpu/ladder.h"

enum { TILE = 16 };

struct product {
    const float *x;
    const __nv_bfloat16 *narrow_x; /* the same, rounded */
    const __nv_bfloat16 *w;
    float *y;
    uint32_t rows;
    uint32_t n_in;
    uint32_t n_out;
};

/* 1: a thread an element of y; every element of x and W is read again and again. */
static __global__ void thread_an_output(struct product p)
{
    uint32_t out = blockIdx.x * TILE + threadIdx.x;
    uint32_t row = blockIdx.y * TILE + threadIdx.y;
    if (out >= p.n_out || row >= p.rows) {
        return;
    }
    float sum = 0.0f;
    for (uint32_t k = 0; k < p.n_in; k++) {
        sum += __bfloat162float(p.narrow_x[(size_t)row * p.n_in + k]) *
               __bfloat162float(p.w[(size_t)out * p.n_in + k]);
    }
    p.y[(size_t)row * p.n_out + out] = sum;
}

/* 2: tiles of x and W in shared memory, each used 16 times. */
static __global__ void tile_in_shared_memory(struct product p)
{
    __shared__ float x[TILE][TILE + 1];
    __shared__ float w[TILE][TILE + 1];
    uint32_t out = blockIdx.x * TILE + threadIdx.x;
    uint32_t row = blockIdx.y * TILE + threadIdx.y;
    uint32_t w_row = blockIdx.x * TILE + threadIdx.y;
    float sum = 0.0f;
    for (uint32_t k = 0; k < p.n_in; k += TILE) {
        uint32_t at = k + threadIdx.x;
        bool is_inside = at < p.n_in;
        x[threadIdx.y][threadIdx.x] = is_inside && row < p.rows
                                          ? __bfloat162float(p.narrow_x[(size_t)row * p.n_in + at])
                                          : 0.0f;
        w[threadIdx.y][threadIdx.x] = is_inside && w_row < p.n_out
                                          ? __bfloat162float(p.w[(size_t)w_row * p.n_in + at])
                                          : 0.0f;
        __syncthreads();
        for (uint32_t i = 0; i < TILE; i++) {
            sum += x[threadIdx.y][i] * w[threadIdx.x][i];
        }
        __syncthreads();
    }
    if (out < p.n_out && row < p.rows) {
        p.y[(size_t)row * p.n_out + out] = sum;
    }
}

/* 3: a warp a tile of 16 rows and 8 outputs on tensor cores, fragments straight from memory. Needs
 * n_in in whole sixteens. */
static __global__ void warp_on_tensor_cores(struct product p)
{
    uint32_t g = threadIdx.x / 4;
    uint32_t t = threadIdx.x % 4;
    uint32_t out = blockIdx.x * 8 + g;
    const uint32_t *w = (const uint32_t *)p.w + (size_t)out * p.n_in / 2 + t;
    const uint32_t *x[2];
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t row = blockIdx.y * 16 + g + 8 * r;
        x[r] = row < p.rows ? (const uint32_t *)p.narrow_x + (size_t)row * p.n_in / 2 + t : NULL;
    }
    float sums[4] = { 0 };
    for (uint32_t k = 0; k < p.n_in / 2; k += 8) {
        const uint32_t a[4] = { x[0] != NULL ? x[0][k] : 0, x[1] != NULL ? x[1][k] : 0,
                                x[0] != NULL ? x[0][k + 4] : 0, x[1] != NULL ? x[1][k + 4] : 0 };
        const uint32_t b[2] = { out < p.n_out ? w[k] : 0, out < p.n_out ? w[k + 4] : 0 };
        cm_mma_m16n8k16_bf16(sums, a, b);
    }
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t row = blockIdx.y * 16 + g + i / 2 * 8;
        uint32_t column = blockIdx.x * 8 + t * 2 + i % 2;
        if (row < p.rows && column < p.n_out) {
            p.y[(size_t)row * p.n_out + column] = sums[i];
        }
    }
}

/* The first and the last row against float64; the share of the greatest sum of magnitudes. */
static double error_of_rows(struct ladder *ladder, const struct product *p, const float *x,
                            const float *w)
{
    float *y = (float *)malloc(p->n_out * sizeof *y);
    double error = 0;
    for (uint32_t i = 0; i < 2; i++) {
        size_t row = i * (p->rows - 1);
        check(ladder,
              cudaMemcpy(y, p->y + row * p->n_out, p->n_out * sizeof *y, cudaMemcpyDeviceToHost),
              "result");
        for (uint32_t out = 0; out < p->n_out; out++) {
            double sum = 0;
            double magnitude = 0;
            for (uint32_t k = 0; k < p->n_in; k++) {
                double product = (double)x[row * p->n_in + k] * w[(size_t)out * p->n_in + k];
                sum += product;
                magnitude += fabs(product);
            }
            error = fmax(error, fabs(y[out] - sum) / magnitude);
        }
    }
    free(y);
    return error;
}

/* The product's matrix and the back end that owns it. */
static struct cm_matrix *product_matrix(const struct product *p, const float *w,
                                        struct cm_backend **backend)
{
    struct cm_error error = {};
    struct cm_backend_options options = {};
    options.precision = CM_PRECISION_BF16;
    options.rows_max = p->rows;
    options.device = CM_DEVICE_CUDA;
    struct cm_tensor tensor = {};
    tensor.name = "w";
    tensor.dtype = CM_F32;
    tensor.n_dims = 2;
    tensor.dims[0] = p->n_out;
    tensor.dims[1] = p->n_in;
    tensor.data = w;
    tensor.bytes = (size_t)p->n_out * p->n_in * sizeof *w;
    struct cm_matrix_source source = {};
    source.weight = &tensor;
    struct cm_matrix *matrix = NULL;
    if (cm_backend_open(&options, backend, &error) != CM_OK ||
        cm_matrix_create(*backend, &source, 1, &matrix, &error) != CM_OK) {
        fprintf(stderr, "%s\n", error.message);
    }
    return matrix;
}

int main(int argc, char **argv)
{
    struct ladder ladder;
    if (is_help(argc, argv,
                "ladder_matmul [--rows 64] [--n-in 4096] [--n-out 4096] "
                "[--calls 20]\n")) {
        return 0;
    }
    if (!ladder_open(&ladder, argc, argv)) {
        return 77;
    }
    struct product p = {};
    p.rows = option_of(argc, argv, "--rows", 64);
    p.n_in = option_of(argc, argv, "--n-in", 4096) / 16 * 16;
    p.n_out = option_of(argc, argv, "--n-out", 4096);
    size_t x_count = (size_t)p.rows * p.n_in;
    size_t w_count = (size_t)p.n_out * p.n_in;
    float *x = numbers(1, x_count);
    float *w = numbers(2, w_count);
    uint16_t *halves = (uint16_t *)malloc((x_count + w_count) * sizeof *halves);
    for (size_t i = 0; i < x_count + w_count; i++) { /* numbers that bfloat16 holds */
        float *value = i < x_count ? &x[i] : &w[i - x_count];
        uint32_t bits;
        *value = roundf(*value * 128.0f) / 128.0f;
        memcpy(&bits, value, sizeof bits);
        halves[i] = (uint16_t)(bits >> 16);
    }
    p.x = (float *)device_copy(&ladder, x, x_count * sizeof *x);
    p.narrow_x = (__nv_bfloat16 *)device_copy(&ladder, halves, x_count * 2);
    p.w = (__nv_bfloat16 *)device_copy(&ladder, halves + x_count, w_count * 2);
    p.y = (float *)device_copy(&ladder, NULL, (size_t)p.rows * p.n_out * sizeof *p.y);
    double bytes = 2.0 * (double)w_count + 4.0 * (double)x_count + 4.0 * p.rows * p.n_out;
    double flops = 2.0 * (double)x_count * p.n_out;
    auto error = [&] { return error_of_rows(&ladder, &p, x, w); };
    dim3 grid((p.n_out + TILE - 1) / TILE, (p.rows + TILE - 1) / TILE);
    rung(
        &ladder, "1 thread an output", bytes, flops, 1e-5,
        [&] { return CM_LAUNCH(thread_an_output, grid, dim3(TILE, TILE), 0, ladder.stream, p); },
        error);
    rung(
        &ladder, "2 tile in shared memory", bytes, flops, 1e-5,
        [&] {
            return CM_LAUNCH(tile_in_shared_memory, grid, dim3(TILE, TILE), 0, ladder.stream, p);
        },
        error);
    rung(
        &ladder, "3 warp on tensor cores", bytes, flops, 1e-5,
        [&] {
            return CM_LAUNCH(warp_on_tensor_cores, dim3((p.n_out + 7) / 8, (p.rows + 15) / 16),
                             dim3(32), 0, ladder.stream, p);
        },
        error);
    struct cm_backend *backend = NULL;
    struct cm_matrix *matrix = product_matrix(&p, w, &backend);
    if (matrix != NULL) { /* on the back end's own stream, so the host waits with it */
        rung(
            &ladder, "4 cm_op_matmul", bytes, flops, 1e-5,
            [&] {
                float word;
                cm_op_matmul(backend, matrix, p.x, p.rows, p.y);
                cm_backend_download(backend, &word, p.y, sizeof word);
                return cm_backend_status(backend, NULL) == CM_OK ? cudaSuccess : cudaErrorUnknown;
            },
            error);
        cm_matrix_close(matrix);
    }
    ladder.failed = ladder.failed || matrix == NULL;
    if (backend != NULL) {
        cm_backend_close(backend);
    }
    cudaFree((void *)p.x);
    cudaFree((void *)p.narrow_x);
    cudaFree((void *)p.w);
    cudaFree(p.y);
    free(x);
    free(w);
    free(halves);
    return ladder_close(&ladder);
}
