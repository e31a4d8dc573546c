#include "kernels/cuda/selftest.h"

#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"
#include "kernels/cuda/answers.h"
#include "kernels/cuda/cuda_backend.h"

#include <math.h>
#include <nccl.h>
#include <stdio.h>
#include <string.h>

/* --- What a report names --- */

void cm_cuda_describe(uint32_t device_index, char *text, size_t text_bytes)
{
    struct cudaDeviceProp properties;
    int driver = 0;
    int runtime = 0;
    int nccl = 0;
    cudaError_t result = cudaGetDeviceProperties(&properties, (int)device_index);
    if (result != cudaSuccess) {
        snprintf(text, text_bytes, "CUDA device %u: %s\n", device_index,
                 cudaGetErrorString(result));
        return;
    }
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    ncclGetVersion(&nccl);
    snprintf(text, text_bytes,
             "device: cuda:%u, %s, compute capability %d.%d, %d multiprocessors\n"
             "memory: %.1f GiB, ECC %s\n"
             "driver: for CUDA %d.%d\n"
             "libraries: CUDA runtime %d.%d, cuBLASLt %zu, NCCL %d\n",
             device_index, properties.name, properties.major, properties.minor,
             properties.multiProcessorCount, (double)properties.totalGlobalMem / 0x1p30,
             properties.ECCEnabled ? "on" : "off", driver / 1000, driver % 1000 / 10,
             runtime / 1000, runtime % 1000 / 10, cublasLtGetVersion(), nccl);
}

/* --- Ops inside a graph --- */

static void begin_graph(struct cm_trial *trial)
{
    cm_cuda_check(trial->backend,
                  cudaStreamBeginCapture(trial->backend->stream, cudaStreamCaptureModeThreadLocal),
                  "capturing a graph");
}

static void end_graph(struct cm_trial *trial)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t program = NULL;
    cudaError_t result = cudaStreamEndCapture(trial->backend->stream, &graph);
    if (result == cudaSuccess) {
        result = cudaGraphInstantiate(&program, graph, 0);
    }
    if (result == cudaSuccess) {
        result = cudaGraphLaunch(program, trial->backend->stream);
    }
    if (result == cudaSuccess) {
        result = cudaStreamSynchronize(trial->backend->stream);
    }
    if (result != cudaSuccess) {
        cm_trial_fail(trial, "in a graph: %s", cudaGetErrorString(result));
    }
    if (program != NULL) {
        cudaGraphExecDestroy(program);
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
}

const struct cm_trial_mode CM_CUDA_GRAPH_MODE = { begin_graph, end_graph };

/* --- Wrappers ---
 *
 * As cases of a trial, whose "CPU" side is the answer: the trial's back end says which side it is.
 */

static bool is_device(const struct cm_trial *trial)
{
    return strncmp(cm_backend_variant(trial->backend), "cuda", 4) == 0;
}

static void check(struct cm_trial *trial, cudaError_t result)
{
    if (result != cudaSuccess) {
        cm_trial_fail(trial, "%s", cudaGetErrorString(result));
    }
}

/* Small whole numbers, which every type holds and whose sums float32 holds. */
static int whole_number(uint32_t i)
{
    return (int)(i * 2654435761u >> 20) % 17 - 8;
}

static void answer_mma(struct cm_trial *trial, uint32_t kind)
{
    enum { ROWS = 16, COLUMNS = 8, K = 16 };
    uint16_t a[ROWS * K];
    uint16_t b[COLUMNS * K];
    float d[ROWS * COLUMNS];
    for (uint32_t i = 0; i < ROWS * K; i++) {
        float value = (float)whole_number(i);
        a[i] = kind == CM_CUDA_MMA_BF16 ? cm_bf16_from_float(value) : cm_half_from_float(value);
    }
    for (uint32_t i = 0; i < COLUMNS * K; i++) {
        float value = (float)whole_number(1000 + i);
        b[i] = kind == CM_CUDA_MMA_BF16 ? cm_bf16_from_float(value) : cm_half_from_float(value);
    }
    for (uint32_t i = 0; i < ROWS * COLUMNS; i++) {
        d[i] = (float)whole_number(2000 + i);
        for (uint32_t k = 0; k < K && !is_device(trial); k++) {
            d[i] += (float)(whole_number(i / COLUMNS * K + k) *
                            whole_number(1000 + i % COLUMNS * K + k));
        }
    }
    const uint32_t *left = cm_trial_input(trial, a, sizeof a);
    const uint32_t *right = cm_trial_input(trial, b, sizeof b);
    float *sums = cm_trial_input(trial, d, sizeof d);
    cm_trial_expose(trial, "d", sums, ROWS * COLUMNS, 1e-30, 0);
    if (is_device(trial) && !cm_trial_failed(trial)) {
        check(trial, cm_cuda_answer_mma((enum cm_cuda_mma)kind, left, right, sums,
                                        trial->backend->stream));
    }
}

static void answer_ldmatrix(struct cm_trial *trial, uint32_t transposed)
{
    uint16_t tile[32][8];
    uint32_t answer[32][4];
    for (uint32_t i = 0; i < 32 * 8; i++) {
        tile[i / 8][i % 8] = (uint16_t)(i + 1);
    }
    for (uint32_t i = 0; i < 32 * 4; i++) {
        uint32_t lane = i / 4;
        uint32_t first = 8 * (i % 4); /* the lane that gave the matrix's first row */
        uint32_t row = transposed != 0 ? lane % 4 * 2 : lane / 4;
        uint32_t column = transposed != 0 ? lane / 4 : lane % 4 * 2;
        uint32_t next_row = row + (transposed != 0);
        uint32_t next_column = column + (transposed == 0);
        uint32_t low = tile[5 * (first + row) % 32][column];
        uint32_t high = tile[5 * (first + next_row) % 32][next_column];
        answer[lane][i % 4] = low | high << 16;
    }
    const uint16_t *rows = cm_trial_input(trial, tile, sizeof tile);
    uint32_t *registers = (uint32_t *)cm_trial_ids(trial, "register", 32 * 4);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial,
              cm_cuda_answer_ldmatrix_x4(transposed != 0, rows, registers, trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, registers, answer, sizeof answer);
    }
}

static void answer_cp_async(struct cm_trial *trial, uint32_t shape)
{
    enum { WORDS = CM_CUDA_ANSWER_GROUPS * 32 * 4 };
    uint32_t from[WORDS];
    uint32_t answer[WORDS];
    (void)shape;
    for (uint32_t i = 0; i < WORDS; i++) {
        bool is_left_out = i / 128 == CM_CUDA_ANSWER_GROUPS - 1 && i / 4 % 2 == 1;
        from[i] = i + 1;
        answer[i] = is_left_out ? 0 : i + 1;
    }
    const uint32_t *words = cm_trial_input(trial, from, sizeof from);
    uint32_t *early = (uint32_t *)cm_trial_ids(trial, "early", WORDS / 2);
    uint32_t *late = (uint32_t *)cm_trial_ids(trial, "late", WORDS);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_cp_async(words, early, late, trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, early, answer, sizeof answer / 2);
        cm_backend_upload(trial->backend, late, answer, sizeof answer);
    }
}

/* In the order that device.h promises, so that every bit is known. */
static float tree_sum(const float *values)
{
    float sums[32];
    memcpy(sums, values, sizeof sums);
    for (uint32_t offset = 16; offset > 0; offset /= 2) {
        float next[32];
        for (uint32_t i = 0; i < 32; i++) {
            next[i] = sums[i] + sums[i ^ offset];
        }
        memcpy(sums, next, sizeof sums);
    }
    return sums[0];
}

static void answer_sums(struct cm_trial *trial, uint32_t shape)
{
    enum { THREADS = CM_CUDA_ANSWER_THREADS };
    float x[2 * THREADS];
    float warps[THREADS];
    float blocks[2 * THREADS];
    float sums[2] = { 0 };
    (void)shape;
    cm_trial_numbers(1, THREADS, 1.0f, x);
    for (uint32_t i = 0; i < THREADS; i++) {
        x[THREADS + i] = x[i] * x[i];
    }
    for (uint32_t i = 0; i < 2 * THREADS; i += 32) {
        sums[i / THREADS] += tree_sum(x + i);
    }
    for (uint32_t i = 0; i < 2 * THREADS; i++) {
        warps[i % THREADS] = tree_sum(x + i % THREADS / 32 * 32);
        blocks[i] = sums[i / THREADS];
    }
    const float *values = cm_trial_input(trial, x, THREADS * sizeof *x);
    float *warp_sums = cm_trial_floats(trial, "warp sum", THREADS, 1e-30, 0);
    float *block_sums = cm_trial_floats(trial, "block sum", (size_t)2 * THREADS, 1e-30, 0);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_sums(values, warp_sums, block_sums, trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, warp_sums, warps, sizeof warps);
        cm_backend_upload(trial->backend, block_sums, blocks, sizeof blocks);
    }
}

static const struct cm_trial_case wrapper_cases[] = {
    { "mma m16n8k16 bf16, f16", CM_CUDA_MMA_COUNT, answer_mma, 0 },
    { "ldmatrix x4, transposed", 2, answer_ldmatrix, 0 },
    { "cp.async, groups, zero fill", 1, answer_cp_async, 0 },
    { "sums of warps and blocks", 1, answer_sums, 0 },
    { 0 },
};

enum cm_status cm_cuda_selftest_wrappers(uint32_t device_index, const struct cm_trial_stand *stand,
                                         struct cm_error *error)
{
    struct cm_backend_options options = { .precision = CM_PRECISION_EXACT, .rows_max = 1 };
    struct cm_trial_stand own = *stand;
    enum cm_status status = cm_backend_open(&options, &own.oracle, error);
    options.device = CM_DEVICE_CUDA;
    options.device_index = device_index;
    if (status == CM_OK) {
        status = cm_backend_open(&options, &own.backend, error);
    }
    if (status == CM_OK) {
        cm_trial_cases(&own, "wrapper", wrapper_cases);
    }
    cm_backend_close(own.backend);
    cm_backend_close(own.oracle);
    return status;
}
