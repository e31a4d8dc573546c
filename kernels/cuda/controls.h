/* What a row's controls do to its logits before any order matters: repetition penalty and masks,
 * each in place, and the way back from a weight to the logit. Called by the whole block. */
#ifndef CM_KERNELS_CUDA_CONTROLS_H
#define CM_KERNELS_CUDA_CONTROLS_H

#include "kernels/cuda/row.h"

static __device__ __forceinline__ bool is_penalised(const struct cm_sample_row &controls)
{
    return controls.repetition_penalty > 0.0f && controls.repetition_penalty != 1.0f &&
           controls.history_begin < controls.history_end;
}

static __device__ __forceinline__ bool is_masked(const struct cm_sample_row &controls)
{
    bool masked = controls.only_allowed;
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        masked = masked || controls.banned[i].begin < controls.banned[i].end;
    }
    return masked;
}

static __device__ __forceinline__ void clear_seen(struct scratch *scratch)
{
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < WINDOW_WORDS; i += THREADS) {
        scratch->seen[i] = 0;
    }
    __syncthreads();
}

/* Marks a token of the window that begins at `first`; true for the one thread that is the first. */
static __device__ __forceinline__ bool see(uint32_t token, uint32_t first, struct scratch *scratch)
{
    uint32_t offset = token - first;
    if (token < first || offset >= WINDOW_TOKENS) {
        return false;
    }
    uint32_t bit = 1u << offset % 32;
    return (atomicOr(&scratch->seen[offset / 32], bit) & bit) == 0;
}

/* Once per distinct token of the history. */
static __device__ __forceinline__ void penalise(const struct row &row,
                                                const struct cm_sample_row &controls,
                                                const int32_t *history, struct scratch *scratch)
{
    float penalty = controls.repetition_penalty;
    for (uint32_t first = 0; first < row.n; first += WINDOW_TOKENS) {
        clear_seen(scratch);
        for (uint32_t i = controls.history_begin + threadIdx.x; i < controls.history_end;
             i += THREADS) {
            uint32_t token = (uint32_t)history[i] - row.first_token; /* huge if it is before */
            if (token < row.n && see(token, first, scratch)) {
                float x = row.x[token];
                row.x[token] = x < 0 ? x * penalty : x / penalty;
            }
        }
    }
    __syncthreads();
}

static __device__ __forceinline__ void mask(const struct row &row,
                                            const struct cm_sample_row &controls,
                                            const int32_t *ids, struct scratch *scratch)
{
    for (uint32_t first = 0; controls.only_allowed && first < row.n; first += WINDOW_TOKENS) {
        clear_seen(scratch);
        for (uint32_t i = controls.allowed.begin + threadIdx.x; i < controls.allowed.end;
             i += THREADS) {
            see((uint32_t)ids[i] - row.first_token, first, scratch);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < WINDOW_TOKENS && first + i < row.n; i += THREADS) {
            if ((scratch->seen[i / 32] >> i % 32 & 1) == 0) {
                row.x[first + i] = -INFINITY;
            }
        }
    }
    __syncthreads();
    for (uint32_t list = 0; list < CM_SAMPLE_BANS_MAX; list++) {
        struct cm_id_range banned = controls.banned[list];
        for (uint32_t i = banned.begin + threadIdx.x; i < banned.end; i += THREADS) {
            uint32_t token = (uint32_t)ids[i] - row.first_token;
            if (token < row.n) {
                atomicExch(&row.x[token], -INFINITY); /* it may stand in several lists */
            }
        }
    }
    __syncthreads();
}

/* Whether a token stands in the row's history. */
static __device__ __forceinline__ bool has_met(const struct cm_sample_row &controls,
                                               const int32_t *history, uint32_t token)
{
    bool met = false;
    for (uint32_t i = controls.history_begin + threadIdx.x; i < controls.history_end;
         i += THREADS) {
        met = met || history[i] == (int32_t)token;
    }
    return __syncthreads_or(met) != 0;
}

/* The logit that a token's weight came from, before temperature and penalty. One thread. */
static __device__ __forceinline__ double logit_of(const struct cm_sample_row &controls,
                                                  float highest, float weight, bool is_met)
{
    double logit = highest;
    if (weight < 1.0f) {
        logit += (double)controls.temperature * log((double)weight);
    }
    if (is_met && controls.repetition_penalty > 0.0f) {
        return logit < 0 ? logit / controls.repetition_penalty
                         : logit * controls.repetition_penalty;
    }
    return logit;
}

#endif
