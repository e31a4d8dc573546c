/* The host's side of answers.cu: what each wrapper must say, worked out from the PTX ISA and from
 * the formats. As cases of a trial, whose "CPU" side is the answer: the trial's back end says which
 * side it is. */
#include "kernels/cuda/answers.h"

#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/selftest.h"

#include <math.h>
#include <string.h>

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

/* --- Narrow types --- */

static float value_of_e4m3(uint32_t code)
{
    uint32_t exponent = code >> 3 & 15;
    float mantissa = (float)((exponent > 0 ? 8 : 0) + (code & 7));
    float value = ldexpf(mantissa, (int)(exponent > 0 ? exponent : 1) - 10);
    return (code & 0x80) != 0 ? -value : value;
}

/* The nearest, a tie to the even code, 448 for all that is over it. */
static uint32_t nearest_e4m3(float value)
{
    enum { LARGEST = 0x7e };
    float magnitude = fabsf(value);
    uint32_t code = 0;
    while (code < LARGEST) {
        float middle = (value_of_e4m3(code) + value_of_e4m3(code + 1)) / 2; /* exact */
        if (magnitude < middle || (magnitude == middle && code % 2 == 0)) {
            break;
        }
        code++;
    }
    return code | (signbit(value) ? 0x80 : 0);
}

/* Every e4m3, what lies between two of them and just beside that, and others. */
static void fill_narrow(float *x, uint32_t count)
{
    enum { CODES = 0x7e };
    cm_trial_numbers(5, count, 600.0f, x);
    for (uint32_t i = 0; i < 4 * CODES && i < count; i++) {
        float low = value_of_e4m3(i / 4);
        float middle = (low + value_of_e4m3(i / 4 + 1)) / 2;
        const float near[] = { low, middle, nextafterf(middle, 0), nextafterf(middle, 1000) };
        x[i] = i % 3 == 0 ? -near[i % 4] : near[i % 4];
    }
    const float others[] = { 0.0f,       -0.0f,    449.0f,         -1e6f,
                             65519.0f,   65520.0f, 0x1p-14f,       0x1p-24f,
                             0x1.8p-25f, 0x1p-25f, 1.0f + 0x1p-9f, 1.0f + 0x1.8p-8f };
    memcpy(x + count - sizeof others / sizeof others[0], others, sizeof others);
}

static void answer_conversions(struct cm_trial *trial, uint32_t shape)
{
    enum { COUNT = 1000 };
    static float x[COUNT];
    static uint32_t answers[3][COUNT];
    uint32_t *out[3];
    static const char *const names[3] = { "e4m3", "bf16", "f16" };
    (void)shape;
    fill_narrow(x, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        answers[0][i] = nearest_e4m3(x[i]);
        answers[1][i] = cm_bf16_from_float(x[i]);
        answers[2][i] = cm_half_from_float(x[i]);
    }
    const float *values = cm_trial_input(trial, x, sizeof x);
    for (uint32_t i = 0; i < 3; i++) {
        out[i] = (uint32_t *)cm_trial_ids(trial, names[i], COUNT);
    }
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_conversions(values, COUNT, out[0], out[1], out[2],
                                                trial->backend->stream));
    } else {
        for (uint32_t i = 0; i < 3; i++) {
            cm_backend_upload(trial->backend, out[i], answers[i], sizeof answers[i]);
        }
    }
}

/* 64 codes a shape; the two that are no number are left out. */
static void answer_widened(struct cm_trial *trial, uint32_t shape)
{
    uint32_t words[32];
    float answers[64];
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t code = 64 * (shape % 4) + i;
        code = (code & 0x7f) == 0x7f ? 0 : code;
        words[i / 2] = i % 2 == 0 ? code : words[i / 2] | code << 8;
        /* Powers of two that attention uses: exact, down to float16's subnormals. */
        answers[i] = value_of_e4m3(code) * (shape < 4 ? 1.0f : 0x1p-8f);
    }
    const uint32_t *codes = cm_trial_input(trial, words, sizeof words);
    float *values = cm_trial_floats(trial, "value", 64, 1e-30, 0);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_widened(codes, shape < 4 ? 256.0f : 1.0f, values,
                                            trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, values, answers, sizeof answers);
    }
}

/* --- Warps --- */

static void answer_warp(struct cm_trial *trial, uint32_t shape)
{
    int32_t x[32];
    int32_t answers[32][CM_CUDA_ANSWER_VOTES];
    int32_t highest = INT32_MIN;
    int32_t lowest = INT32_MAX;
    uint32_t odd = 0;
    for (uint32_t i = 0; i < 32; i++) {
        x[i] = shape == 0 ? 2 * whole_number(i) : whole_number(7 * i) - 5;
        x[i] = shape == 2 && i == 17 ? INT32_MAX : x[i];
        highest = x[i] > highest ? x[i] : highest;
        lowest = x[i] < lowest ? x[i] : lowest;
        odd |= (uint32_t)(x[i] % 2 != 0) << i;
    }
    for (uint32_t i = 0; i < 32; i++) {
        const int32_t row[CM_CUDA_ANSWER_VOTES] = {
            highest, lowest, (int32_t)odd, __builtin_ffs((int32_t)odd), highest == INT32_MAX,
            x[i ^ 5]
        };
        memcpy(answers[i], row, sizeof row);
    }
    const int32_t *values = cm_trial_input(trial, x, sizeof x);
    int32_t *out = cm_trial_ids(trial, "vote", 32 * CM_CUDA_ANSWER_VOTES);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_warp(values, out, trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, out, answers, sizeof answers);
    }
}

/* --- Functions, to some units in the last place --- */

static void answer_functions(struct cm_trial *trial, uint32_t shape)
{
    enum { COUNT = 1000 };
    static float x[COUNT];
    static float answers[CM_CUDA_ANSWER_FUNCTIONS][COUNT];
    const float scales[] = { 1.0f, 80.0f };
    cm_trial_numbers(3, COUNT, scales[shape], x);
    for (uint32_t i = 0; i < COUNT; i++) {
        double value = (double)x[i];
        answers[0][i] = (float)exp2(value);
        answers[1][i] = (float)exp(value);
        answers[2][i] = (float)erf(value);
        answers[3][i] = (float)sqrt(fabs(value));
        answers[4][i] = (float)(1.0 / value);
    }
    const float *values = cm_trial_input(trial, x, sizeof x);
    float *out = cm_trial_floats(trial, "function", sizeof answers / sizeof(float), 1e-37, 5e-7);
    if (cm_trial_failed(trial)) {
        return;
    }
    if (is_device(trial)) {
        check(trial, cm_cuda_answer_functions(values, COUNT, out, trial->backend->stream));
    } else {
        cm_backend_upload(trial->backend, out, answers, sizeof answers);
    }
}

static const struct cm_trial_case wrapper_cases[] = {
    { "mma m16n8k16 bf16, f16", CM_CUDA_MMA_COUNT, answer_mma, 0 },
    { "ldmatrix x4, transposed", 2, answer_ldmatrix, 0 },
    { "cp.async, groups, zero fill", 1, answer_cp_async, 0 },
    { "sums of warps and blocks", 1, answer_sums, 0 },
    { "to e4m3, bf16, f16", 1, answer_conversions, 0 },
    { "e4m3 to f16", 8, answer_widened, 0 },
    { "votes of a warp", 3, answer_warp, 0 },
    { "exp2, exp, erf, root, 1/x", 2, answer_functions, 0 },
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
