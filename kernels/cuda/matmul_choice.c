/* Which of cuBLASLt's algorithms a product uses for how many rows.
 *
 * A row's bits may not depend on how many rows there are, so all algorithms of a matrix have to add
 * in the same order. The first is the library's choice for REFERENCE_ROWS rows among those that do
 * not split the sum; it serves every number of rows. For ranges of rows others may be faster, up to
 * four times where there are few: of those that the library proposes for the range, the fastest is
 * taken that leaves the same bits as the first. Whether it does is tried out, on weights and rows
 * of noise in the shape of the matrix, at both ends of the range: long sums of noise that are added
 * in another order differ somewhere with certainty for all purposes.
 *
 * Matrices of one shape share a choice. Where memory for the trial is short, the first stays alone.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

#include <math.h>
#include <string.h>

enum {
    REFERENCE_ROWS = 256, /* whatever the batch, so that the bits do not depend on it */
    PROPOSALS_MAX = 8,
    REJECTED_MAX = 64,
    ROUNDS_COUNT = 3,
    Y_BYTES_MAX = 256 << 20,
    CACHE_BYTES_MAX = 256 << 20,
};

/* --- The product as the library sees it --- */

static cublasStatus_t set_rows(struct cm_matrix *matrix, uint64_t rows)
{
    cublasStatus_t result = cublasLtMatrixLayoutSetAttribute(
        matrix->x_layout, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    return result == CUBLAS_STATUS_SUCCESS
               ? cublasLtMatrixLayoutSetAttribute(matrix->y_layout, CUBLASLT_MATRIX_LAYOUT_COLS,
                                                  &rows, sizeof rows)
               : result;
}

cublasStatus_t cm_cuda_blas_multiply(struct cm_matrix *matrix,
                                     const cublasLtMatmulAlgo_t *algorithm, const void *weights,
                                     const void *x, uint32_t n_rows, float *y)
{
    struct cm_backend *backend = matrix->backend;
    const float one = 1.0f;
    const float zero = 0.0f;
    cublasStatus_t result = set_rows(matrix, n_rows);
    return result == CUBLAS_STATUS_SUCCESS
               ? cublasLtMatmul(backend->blas, matrix->product, &one, weights,
                                matrix->weights_layout, x, matrix->x_layout, &zero, y,
                                matrix->y_layout, y, matrix->y_layout, algorithm,
                                backend->workspace, CM_CUDA_WORKSPACE_BYTES, backend->stream)
               : result;
}

/* Algorithms for so many rows that do not split the sum, the library's favourite first. */
static cublasStatus_t propose(struct cm_matrix *matrix, uint32_t n_rows,
                              cublasLtMatmulHeuristicResult_t *found, int *found_count)
{
    const uint64_t workspace_bytes = CM_CUDA_WORKSPACE_BYTES;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference = NULL;
    *found_count = 0;
    cublasStatus_t result = set_rows(matrix, n_rows);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulPreferenceCreate(&preference);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulPreferenceSetAttribute(preference,
                                                      CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                      &workspace_bytes, sizeof workspace_bytes);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulAlgoGetHeuristic(
            matrix->backend->blas, matrix->product, matrix->weights_layout, matrix->x_layout,
            matrix->y_layout, matrix->y_layout, preference, PROPOSALS_MAX, found, found_count);
    }
    if (preference != NULL) {
        cublasLtMatmulPreferenceDestroy(preference);
    }
    return result;
}

/* Some algorithms take many rows and refuse few. */
static bool takes_rows(struct cm_matrix *matrix, const cublasLtMatmulAlgo_t *algorithm,
                       uint32_t first, uint32_t last)
{
    enum { LOOKED_AT = 16 }; /* the rest of a long range is like its end */
    cublasLtMatmulHeuristicResult_t result;
    for (uint32_t rows = first; rows <= last; rows++) {
        rows = rows - first == LOOKED_AT ? last : rows;
        if (set_rows(matrix, rows) != CUBLAS_STATUS_SUCCESS ||
            cublasLtMatmulAlgoCheck(matrix->backend->blas, matrix->product, matrix->weights_layout,
                                    matrix->x_layout, matrix->y_layout, matrix->y_layout, algorithm,
                                    &result) != CUBLAS_STATUS_SUCCESS ||
            result.workspaceSize > CM_CUDA_WORKSPACE_BYTES) {
            return false;
        }
    }
    return true;
}

/* --- The trial --- */

struct trial {
    struct cm_matrix *matrix;
    void *weights;    /* noise [n_out, padded] */
    void *x;          /* noise [rows_max, padded] */
    float *y;         /* [rows_max, n_out] of the first algorithm */
    float *other;     /* the same of the one that is tried */
    uint32_t *differ; /* elements that do */
    void *cache;      /* to overwrite what the caches hold */
    size_t cache_bytes;
    uint32_t rows_max;
    const cublasLtMatmulAlgo_t *algorithm; /* that is timed, with n_rows */
    uint32_t n_rows;
    cublasLtMatmulAlgo_t rejected[REJECTED_MAX];
    uint32_t rejected_count;
};

static void close_trial(struct trial *trial)
{
    void *const memory[] = { trial->weights, trial->x,      trial->y,
                             trial->other,   trial->differ, trial->cache };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        cm_cuda_backend_free(trial->matrix->backend, memory[i]);
    }
}

/* False where there is no room. */
static bool open_trial(struct trial *trial, struct cm_matrix *matrix)
{
    struct cm_backend *backend = matrix->backend;
    const size_t row_bytes = matrix->padded * cm_cuda_element_bytes(matrix->format);
    size_t rows_max = Y_BYTES_MAX / sizeof(float) / matrix->n_out;
    int cache_bytes = 0;
    rows_max = rows_max < backend->rows_max ? rows_max : backend->rows_max;
    if (cudaDeviceGetAttribute(&cache_bytes, cudaDevAttrL2CacheSize, backend->device) !=
            cudaSuccess ||
        cache_bytes > CACHE_BYTES_MAX) {
        cudaGetLastError();
        cache_bytes = 0;
    }
    *trial = (struct trial){
        .matrix = matrix,
        .rows_max = (uint32_t)rows_max,
        .cache_bytes = (size_t)cache_bytes,
        .weights = cm_cuda_reserve(backend, matrix->n_out * row_bytes),
        .x = cm_cuda_reserve(backend, rows_max * row_bytes),
        .y = cm_cuda_reserve(backend, rows_max * matrix->n_out * sizeof(float)),
        .other = cm_cuda_reserve(backend, rows_max * matrix->n_out * sizeof(float)),
        .differ = cm_cuda_reserve(backend, sizeof(uint32_t)),
        .cache = cm_cuda_reserve(backend, (size_t)cache_bytes),
    };
    if (rows_max == 0 || trial->weights == NULL || trial->x == NULL || trial->y == NULL ||
        trial->other == NULL || trial->differ == NULL || trial->cache == NULL) {
        return false;
    }
    const size_t counts[2] = { (size_t)matrix->n_out * matrix->padded, rows_max * matrix->padded };
    void *const noise[2] = { trial->weights, trial->x };
    for (uint32_t i = 0; i < 2; i++) {
        cm_cuda_check(backend,
                      cm_cuda_noise(noise[i], counts[i], matrix->format, i + 1, backend->stream),
                      "noise");
    }
    return backend->failure[0] == '\0';
}

/* Whether the algorithm leaves the bits of the first with so many rows. */
static bool is_same(struct trial *trial, const cublasLtMatmulAlgo_t *first,
                    const cublasLtMatmulAlgo_t *algorithm, uint32_t n_rows)
{
    struct cm_matrix *matrix = trial->matrix;
    struct cm_backend *backend = matrix->backend;
    const size_t count = (size_t)n_rows * matrix->n_out;
    uint32_t differ = 1;
    cm_cuda_check(backend, cudaMemsetAsync(trial->other, 0xff, count * 4, backend->stream),
                  "clearing memory");
    cm_cuda_check_blas(
        backend, cm_cuda_blas_multiply(matrix, first, trial->weights, trial->x, n_rows, trial->y),
        "matmul");
    if (cm_cuda_blas_multiply(matrix, algorithm, trial->weights, trial->x, n_rows, trial->other) !=
        CUBLAS_STATUS_SUCCESS) {
        return false; /* nothing was launched */
    }
    cm_cuda_check(
        backend,
        cm_cuda_count_differences(trial->y, trial->other, count, trial->differ, backend->stream),
        "comparing");
    cm_cuda_backend_download(backend, &differ, trial->differ, sizeof differ);
    return differ == 0 && backend->failure[0] == '\0';
}

static void multiply(struct cm_backend *backend, void *context)
{
    const struct trial *trial = context;
    cm_cuda_check_blas(backend,
                       cm_cuda_blas_multiply(trial->matrix, trial->algorithm, trial->weights,
                                             trial->x, trial->n_rows, trial->other),
                       "matmul");
}

/* With weights out of memory, as in a step. */
static double time_s(struct trial *trial, const cublasLtMatmulAlgo_t *algorithm, uint32_t n_rows)
{
    struct cm_backend *backend = trial->matrix->backend;
    double least_s = INFINITY;
    trial->algorithm = algorithm;
    trial->n_rows = n_rows;
    for (int i = 0; i < ROUNDS_COUNT; i++) {
        cm_cuda_check(backend,
                      cudaMemsetAsync(trial->cache, i, trial->cache_bytes, backend->stream),
                      "clearing the caches");
        least_s = fmin(least_s, cm_cuda_time_s(backend, multiply, trial));
    }
    return least_s;
}

static bool is_known(const cublasLtMatmulAlgo_t *algorithms, uint32_t count,
                     const cublasLtMatmulAlgo_t *algorithm)
{
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(&algorithms[i], algorithm, sizeof *algorithm) == 0) {
            return true;
        }
    }
    return false;
}

/* The fastest for `first_row` to `last_row` rows. */
static cublasLtMatmulAlgo_t choose_for_range(struct trial *trial, const cublasLtMatmulAlgo_t *first,
                                             uint32_t first_row, uint32_t last_row)
{
    cublasLtMatmulHeuristicResult_t found[PROPOSALS_MAX];
    int found_count = 0;
    cublasLtMatmulAlgo_t best = *first;
    if (propose(trial->matrix, last_row, found, &found_count) != CUBLAS_STATUS_SUCCESS) {
        return best;
    }
    double best_s = time_s(trial, first, last_row);
    for (int i = 0; i < found_count; i++) {
        const cublasLtMatmulAlgo_t *algorithm = &found[i].algo;
        if (found[i].state != CUBLAS_STATUS_SUCCESS || is_known(first, 1, algorithm) ||
            is_known(trial->rejected, trial->rejected_count, algorithm) ||
            !takes_rows(trial->matrix, algorithm, first_row, last_row)) {
            continue;
        }
        if (!is_same(trial, first, algorithm, last_row) ||
            !is_same(trial, first, algorithm, first_row)) {
            if (trial->rejected_count < REJECTED_MAX) {
                trial->rejected[trial->rejected_count++] = *algorithm;
            }
            continue;
        }
        double s = time_s(trial, algorithm, last_row);
        if (s < best_s) {
            best_s = s;
            best = *algorithm;
        }
    }
    return best;
}

/* --- The choice --- */

/* The library's first choice that takes every number of rows. */
static cublasStatus_t choose_first(struct cm_matrix *matrix, cublasLtMatmulAlgo_t *first)
{
    cublasLtMatmulHeuristicResult_t found[PROPOSALS_MAX];
    int found_count = 0;
    cublasStatus_t result = propose(matrix, REFERENCE_ROWS, found, &found_count);
    for (int i = 0; i < found_count && result == CUBLAS_STATUS_SUCCESS; i++) {
        if (found[i].state == CUBLAS_STATUS_SUCCESS &&
            takes_rows(matrix, &found[i].algo, 1, matrix->backend->rows_max)) {
            *first = found[i].algo;
            return CUBLAS_STATUS_SUCCESS;
        }
    }
    return result == CUBLAS_STATUS_SUCCESS ? CUBLAS_STATUS_NOT_SUPPORTED : result;
}

static void choose_others(struct cm_matrix *matrix, struct cm_cuda_choice *choice)
{
    struct trial trial;
    uint32_t first_row = 1;
    bool is_open = open_trial(&trial, matrix);
    for (uint32_t last_row = 16; is_open && first_row <= trial.rows_max; last_row *= 2) {
        last_row = last_row < trial.rows_max ? last_row : trial.rows_max;
        choice->ranges[choice->ranges_count++] =
            (struct cm_cuda_range){ last_row,
                                    choose_for_range(&trial, &choice->first, first_row, last_row) };
        first_row = last_row + 1;
    }
    close_trial(&trial);
}

static bool is_of(const struct cm_cuda_choice *choice, const struct cm_matrix *matrix)
{
    return choice->format == matrix->format && choice->n_out == matrix->n_out &&
           choice->padded == matrix->padded && choice->has_bias == (matrix->bias != NULL);
}

cublasStatus_t cm_cuda_choose(struct cm_matrix *matrix)
{
    struct cm_backend *backend = matrix->backend;
    for (matrix->choice = backend->choices; matrix->choice != NULL;
         matrix->choice = matrix->choice->next) {
        if (is_of(matrix->choice, matrix)) {
            return CUBLAS_STATUS_SUCCESS;
        }
    }
    struct cm_cuda_choice *choice = cm_alloc(1, sizeof *choice);
    if (choice == NULL) {
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    choice->format = matrix->format;
    choice->n_out = matrix->n_out;
    choice->padded = matrix->padded;
    choice->has_bias = matrix->bias != NULL;
    cublasStatus_t result = choose_first(matrix, &choice->first);
    if (result != CUBLAS_STATUS_SUCCESS) {
        cm_free(choice);
        return result;
    }
    choose_others(matrix, choice);
    choice->next = backend->choices;
    backend->choices = choice;
    matrix->choice = choice;
    return CUBLAS_STATUS_SUCCESS;
}

const cublasLtMatmulAlgo_t *cm_cuda_algorithm(const struct cm_matrix *matrix, uint32_t n_rows)
{
    const struct cm_cuda_choice *choice = matrix->choice;
    for (uint32_t i = 0; i < choice->ranges_count; i++) {
        if (n_rows <= choice->ranges[i].rows_max) {
            return &choice->ranges[i].algorithm;
        }
    }
    return &choice->first;
}

void cm_cuda_forget_choices(struct cm_backend *backend)
{
    while (backend->choices != NULL) {
        struct cm_cuda_choice *next = backend->choices->next;
        cm_free(backend->choices);
        backend->choices = next;
    }
}
