/* The next token: the greatest of a row of logits, and a draw with top-p.
 *
 * Bound by memory on paper: 4 bytes a logit, once. A draw with top-p looks at the row four
 * times, all but the first out of the second-level cache. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "profiling/gpu/ladder.h"

enum { THREADS = 256 };

/* 1: a thread walks over a row. */
static __global__ void thread_a_row(struct cm_sample_args args)
{
    uint32_t row = blockIdx.x * THREADS + threadIdx.x;
    if (row >= args.n_rows) {
        return;
    }
    const float *x = args.logits + (size_t)row * args.n_vocab;
    uint32_t best = 0;
    for (uint32_t i = 1; i < args.n_vocab; i++) {
        best = x[i] > x[best] ? i : best;
    }
    args.tokens[row] = (int32_t)best;
}

/* 2: a block a row, then a tree over pairs of value and id. */
static __global__ void block_a_row(struct cm_sample_args args)
{
    __shared__ float values[THREADS];
    __shared__ uint32_t ids[THREADS];
    const float *x = args.logits + (size_t)blockIdx.x * args.n_vocab;
    float value = -INFINITY;
    uint32_t id = 0;
    for (uint32_t i = threadIdx.x; i < args.n_vocab; i += THREADS) {
        id = x[i] > value ? i : id;
        value = x[i] > value ? x[i] : value;
    }
    values[threadIdx.x] = value;
    ids[threadIdx.x] = id;
    __syncthreads();
    for (uint32_t half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            uint32_t other = threadIdx.x + half;
            bool better = values[other] > values[threadIdx.x] ||
                          (values[other] == values[threadIdx.x] && ids[other] < ids[threadIdx.x]);
            values[threadIdx.x] = better ? values[other] : values[threadIdx.x];
            ids[threadIdx.x] = better ? ids[other] : ids[threadIdx.x];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        args.tokens[blockIdx.x] = (int32_t)ids[0];
    }
}

/* Rows whose token is not the greatest; of a draw, those whose token is far from it. */
static double wrong_rows(struct ladder *ladder, const struct cm_sample_args *args,
                         const float *logits, float distance_max)
{
    int32_t *tokens = (int32_t *)malloc(args->n_rows * sizeof *tokens);
    double wrong = 0;
    check(ladder,
          cudaMemcpy(tokens, args->tokens, args->n_rows * sizeof *tokens, cudaMemcpyDeviceToHost),
          "result");
    for (uint32_t row = 0; row < args->n_rows; row++) {
        const float *x = logits + (size_t)row * args->n_vocab;
        float best = x[0];
        for (uint32_t i = 1; i < args->n_vocab; i++) {
            best = fmaxf(best, x[i]);
        }
        bool is_token = tokens[row] >= 0 && (uint32_t)tokens[row] < args->n_vocab;
        wrong += !is_token || x[tokens[row]] < best - distance_max;
    }
    free(tokens);
    return wrong;
}

int main(int argc, char **argv)
{
    struct ladder ladder;
    if (is_help(argc, argv, "ladder_sample [--rows 64] [--vocabulary 128256] [--calls 20]\n")) {
        return 0;
    }
    if (!ladder_open(&ladder, argc, argv)) {
        return 77;
    }
    struct cm_sample_args args = {};
    args.n_rows = option_of(argc, argv, "--rows", 64);
    args.n_vocab = option_of(argc, argv, "--vocabulary", 128256);
    size_t n = (size_t)args.n_rows * args.n_vocab;
    float *logits = numbers(1, n);
    for (size_t i = 0; i < n; i++) {
        logits[i] *= 8.0f;
    }
    size_t rows_bytes = args.n_rows * sizeof(struct cm_sample_row);
    struct cm_sample_row *rows = (struct cm_sample_row *)calloc(args.n_rows, sizeof *rows);
    for (uint32_t i = 0; i < args.n_rows; i++) {
        rows[i].top_p = 1.0f;
        rows[i].repetition_penalty = 1.0f;
    }
    args.logits = (float *)device_copy(&ladder, logits, n * sizeof *logits);
    args.rows = (struct cm_sample_row *)device_copy(&ladder, rows, rows_bytes);
    args.tokens = (int32_t *)device_copy(&ladder, NULL, args.n_rows * sizeof *args.tokens);
    double bytes = 4.0 * (double)n;
    auto error = [&] { return wrong_rows(&ladder, &args, logits, 0.0f); };
    rung(
        &ladder, "1 thread a row, greedy", bytes, (double)n, 0,
        [&] {
            return CM_LAUNCH(thread_a_row, dim3((args.n_rows + THREADS - 1) / THREADS),
                             dim3(THREADS), 0, ladder.stream, args);
        },
        error);
    rung(
        &ladder, "2 block a row, greedy", bytes, (double)n, 0,
        [&] {
            return CM_LAUNCH(block_a_row, dim3(args.n_rows), dim3(THREADS), 0, ladder.stream, args);
        },
        error);
    rung(
        &ladder, "3 sample.cu, greedy", bytes, (double)n, 0,
        [&] { return cm_cuda_sample(&args, NULL, ladder.stream); }, error);
    for (uint32_t i = 0; i < args.n_rows; i++) {
        rows[i].temperature = 0.7f;
        rows[i].top_p = 0.9f;
        rows[i].uniform = ((float)i + 0.5f) / (float)args.n_rows;
    }
    check(&ladder, cudaMemcpy((void *)args.rows, rows, rows_bytes, cudaMemcpyHostToDevice),
          "controls");
    /* A draw leaves weights where the logits were: they are copied before each call. */
    void *again = device_copy(&ladder, logits, n * sizeof *logits);
    rung(
        &ladder, "4 a copy and top-p", 3 * bytes, (double)n, 0,
        [&] {
            check(&ladder,
                  cudaMemcpyAsync((void *)args.logits, again, n * sizeof *logits,
                                  cudaMemcpyDeviceToDevice, ladder.stream),
                  "logits");
            return cm_cuda_sample(&args, NULL, ladder.stream);
        },
        [&] { return wrong_rows(&ladder, &args, logits, 6.0f); });
    cudaFree(again);
    cudaFree((void *)args.logits);
    cudaFree((void *)args.rows);
    cudaFree(args.tokens);
    free(logits);
    free(rows);
    return ladder_close(&ladder);
}
