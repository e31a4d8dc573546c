/* Beam search: the tokens by which a text may go on, with their scores.
 *
 *     l = logit - log(sum exp(logits))   float32, the unmodified log-probability
 *     s = l after repetition penalty, masks and, with a temperature, temperature, top-k, top-p,
 * min-p
 *
 * The controls work on log-probabilities and nothing is renormalised after them, as in Hugging
 * Face's beam search. Without a temperature the best tokens are taken in falling s, ties by lower
 * id. With one they are drawn one after the other without replacement, each in proportion to exp(s)
 * among those left: the first token in the order at which the mass is over uniform * mass left.
 *
 * logits [n_rows, n_vocab] float32, overwritten. Masses are integers (distribution.h), so a row
 * depends on nothing but the row. One block a row.
 * Bytes a row: 4 n_vocab times 14 passes for the best; 11 more for each token that is drawn, and as
 * in sample.cu for top-k and top-p.
 * Occupancy of *: 1 on sm_80, 1 on sm_90 */
#include "kernels/cuda/distribution.h"

/* The unmodified log-probability of a score. One thread. */
static __device__ __forceinline__ float logprob_of(const struct cm_sample_row &controls,
                                                   const int32_t *history, uint32_t id, float score)
{
    float logprob = controls.temperature > 0.0f ? score * controls.temperature : score;
    for (uint32_t i = controls.history_begin; i < controls.history_end; i++) {
        if (history[i] == (int32_t)id && controls.repetition_penalty > 0.0f) {
            return logprob / controls.repetition_penalty; /* it is never above 0 */
        }
    }
    return logprob;
}

/* Each candidate goes to the place that the number of better ones gives it; the impossible ones,
 * which come last, become -1. */
static __device__ __forceinline__ void put_best(const struct cm_beam_args &args, size_t first,
                                                const struct cm_sample_row &controls,
                                                const struct candidates *candidates)
{
    for (uint32_t i = threadIdx.x; i < args.n_candidates; i += THREADS) {
        if (i >= candidates->count) {
            args.tokens[first + i] = -1;
            continue;
        }
        float value = candidates->values[i];
        uint32_t id = candidates->ids[i];
        uint32_t rank = 0;
        for (uint32_t j = 0; j < candidates->count; j++) {
            float other = candidates->values[j];
            rank += other > value || (other == value && candidates->ids[j] < id);
        }
        args.tokens[first + rank] = value == -INFINITY ? -1 : (int32_t)id;
        args.scores[first + rank] = value;
        args.logprobs[first + rank] = logprob_of(controls, args.history, id, value);
    }
}

/* Draws until nothing is left; returns the log of the mass that the controls leave. */
static __device__ __forceinline__ float draw(const struct cm_beam_args &args, size_t first,
                                             const struct row &row,
                                             const struct cm_sample_row &controls, float highest,
                                             struct scratch *scratch)
{
    mass_t left = cut(row, controls, weigh(row, controls, highest, scratch), scratch);
    double best_score = (double)highest / controls.temperature;
    float log_mass = (float)(log((double)left * 0x1p-40) + best_score);
    for (uint32_t i = 0; i < args.n_candidates; i++) {
        if (left == 0) {
            if (threadIdx.x == 0) {
                args.tokens[first + i] = -1;
            }
            continue;
        }
        float uniform = args.uniforms[first + i];
        struct place place =
            place_reaching(row, (mass_t)((double)uniform * (double)left) + 1, scratch);
        left -= mass_of(place.weight);
        if (threadIdx.x == 0) {
            float score = (float)(log((double)place.weight) + best_score);
            row.x[place.id] = 0.0f;
            args.tokens[first + i] = (int32_t)place.id;
            args.scores[first + i] = score;
            args.logprobs[first + i] = logprob_of(controls, args.history, place.id, score);
        }
        __syncthreads();
    }
    return log_mass;
}

static __global__ void __launch_bounds__(THREADS) beam_rows(struct cm_beam_args args)
{
    __shared__ struct scratch shared;
    __shared__ struct candidates candidates;
    struct scratch *scratch = &shared;
    struct row row = { args.logits + (size_t)blockIdx.x * args.n_vocab, args.n_vocab, 0 };
    struct cm_sample_row controls = args.rows[blockIdx.x];
    size_t first = (size_t)blockIdx.x * args.n_candidates;
    float highest = block_maximum(row, scratch);
    float log_sum = (float)log_of_mass(logits_mass(row, highest, scratch), highest);
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        float x = row.x[i] - log_sum;
        row.x[i] = x == x ? x : -INFINITY;
    }
    if (is_penalised(controls)) {
        penalise(row, controls, args.history, scratch);
    }
    if (is_masked(controls)) {
        mask(row, controls, args.mask_ids, scratch);
    }
    highest = block_maximum(row, scratch);
    float log_mass = NAN;
    if (!(controls.temperature > 0.0f)) {
        uint32_t wanted = args.n_candidates < row.n ? args.n_candidates : row.n;
        collect_best(row, wanted, &candidates, scratch);
        put_best(args, first, controls, &candidates);
    } else if (isfinite(highest / controls.temperature)) {
        log_mass = draw(args, first, row, controls, highest, scratch);
    } else {
        for (uint32_t i = threadIdx.x; i < args.n_candidates; i += THREADS) {
            args.tokens[first + i] = -1;
        }
    }
    if (threadIdx.x == 0) {
        args.log_masses[blockIdx.x] = log_mass;
    }
}

extern "C" cudaError_t cm_cuda_beam(const struct cm_beam_args *args, cudaStream_t stream)
{
    return CM_LAUNCH(beam_rows, dim3(args->n_rows), dim3(THREADS), 0, stream, *args);
}
