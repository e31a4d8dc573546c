/* Sampling: the controls in Hugging Face's order (repetition penalty, masks, temperature, top-k,
 * top-p, min-p), then one draw.
 *
 *     s = penalised logit / temperature         float32
 *     top-k   keeps s >= the k-th largest s, with all its ties
 *     w = exp(s - max s)                        float32, 1 for the best
 *     order   falling w, ties by lower id
 *     top-p   keeps a token while those before it in the order hold less than p of the mass
 *     min-p   keeps w >= min_p
 *     draw    the first token in the order at which the mass is over uniform * kept mass
 *
 * Masses are integers (distribution.h): no sum depends on its order. Tokens under 2^-40 of the best
 * cannot be drawn.
 *
 * logits [n_rows, n_vocab] float32, overwritten. A NaN counts as minus infinity; where nothing is
 * finite, or a logit is infinite or overflows under the temperature, the row is greedy and the
 * lowest id wins. One block a row, rows by themselves.
 * Bytes a row: 4 n_vocab times 3 passes (greedy), 14 more for a draw, 11 more each for top-p and
 * top-k; but for the first they come out of the second-level cache.
 * Occupancy of *: 1 on sm_80, 1 on sm_90 */
#include "kernels/cuda/distribution.h"

/* --- The ops --- */

static __device__ __forceinline__ struct place draw(const struct row &row,
                                                    const struct cm_sample_row &controls,
                                                    float highest, struct scratch *scratch)
{
    mass_t kept = cut(row, controls, weigh(row, controls, highest, scratch), scratch);
    float uniform = controls.uniform >= 0.0f ? fminf(controls.uniform, 0x1.fffffep-1f) : 0.0f;
    return place_reaching(row, (mass_t)((double)uniform * (double)kept) + 1, scratch);
}

/* The row's distribution in place of its logits. */
static __device__ __forceinline__ void distribute(const struct row &row,
                                                  const struct cm_sample_row &controls,
                                                  float highest, bool greedy,
                                                  struct scratch *scratch)
{
    if (greedy) {
        uint32_t best = lowest_id(row, highest, scratch);
        for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
            row.x[i] = i == best ? 1.0f : 0.0f;
        }
        return;
    }
    mass_t kept = cut(row, controls, weigh(row, controls, highest, scratch), scratch);
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        row.x[i] = row.x[i] / float_of_mass(kept);
    }
}

static __global__ void __launch_bounds__(THREADS)
    sample_rows(struct cm_sample_args args, float *probabilities)
{
    __shared__ struct scratch shared;
    struct scratch *scratch = &shared;
    size_t first = (size_t)blockIdx.x * args.n_vocab;
    struct cm_sample_row controls = args.rows[blockIdx.x];
    struct row row = { (float *)args.logits + first, args.n_vocab, 0 };
    if (probabilities != NULL) {
        row.x = probabilities + first;
        for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
            row.x[i] = args.logits[first + i];
        }
    }
    bool want_logprob = probabilities == NULL && args.logprobs != NULL && controls.want_logprob;
    float highest = block_maximum(row, scratch);
    double log_sum = want_logprob ? log_of_mass(logits_mass(row, highest, scratch), highest) : 0.0;
    bool penalised = is_penalised(controls);
    bool masked = is_masked(controls);
    if (penalised) {
        penalise(row, controls, args.history, scratch);
    }
    if (masked) {
        mask(row, controls, args.mask_ids, scratch);
    }
    if (penalised || masked) {
        highest = block_maximum(row, scratch);
    }
    bool greedy = !(controls.temperature > 0.0f) || !isfinite(highest / controls.temperature);
    if (probabilities != NULL) {
        distribute(row, controls, highest, greedy, scratch);
        return;
    }
    struct place drawn = { 1.0f, 0 };
    if (greedy) {
        drawn.id = lowest_id(row, highest, scratch);
    } else {
        drawn = draw(row, controls, highest, scratch);
    }
    float logprob = NAN;
    if (want_logprob) {
        logprob = (float)(logit_of(controls, args.history, highest, drawn) - log_sum);
    }
    if (threadIdx.x == 0) {
        args.tokens[blockIdx.x] = (int32_t)drawn.id;
        if (args.logprobs != NULL) {
            args.logprobs[blockIdx.x] = logprob;
        }
    }
}

extern "C" cudaError_t cm_cuda_sample(const struct cm_sample_args *args, float *probabilities,
                                      cudaStream_t stream)
{
    return CM_LAUNCH(sample_rows, dim3(args->n_rows), dim3(THREADS), 0, stream, *args,
                     probabilities);
}
