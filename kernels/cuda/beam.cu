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
 * logits [n_rows, n_vocab] float32, overwritten. Masses are integers (row.h), so a row depends on
 * nothing but the row. One block a row.
 * Bytes a row: 4 n_vocab times 5 passes for the best, or for any number that is drawn with top-k:
 * the greatest, the sum, log-probabilities in place of logits (which are written, too), the
 * greatest again, and the list. Without top-k one to bin the masses instead, one for top-p, and one
 * for each token that is drawn. More as in sample.cu. Occupancy of *: 1 on sm_80, 1 on sm_90 */
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

/* The best, which the list holds in order; -1 behind the last possible one. */
static __device__ __forceinline__ void put_best(const struct cm_beam_args &args,
                                                const struct cm_sample_row &controls,
                                                uint32_t count, const struct scratch *scratch)
{
    size_t first = (size_t)blockIdx.x * args.n_candidates;
    for (uint32_t i = threadIdx.x; i < args.n_candidates; i += THREADS) {
        if (i >= count) {
            args.tokens[first + i] = -1;
            continue;
        }
        float score = value_of(key_in(scratch->items[i]));
        uint32_t id = (uint32_t)scratch->items[i];
        args.tokens[first + i] = score == -INFINITY ? -1 : (int32_t)id;
        args.scores[first + i] = score;
        args.logprobs[first + i] = logprob_of(controls, args.history, id, score);
    }
}

/* Draws until nothing is left of what top-p and min-p keep: each place in the order, key 0 behind
 * the last. Leaves the mass of all that can be drawn to the first thread. */
static __device__ __forceinline__ void draw(const struct cm_beam_args &args,
                                            const struct cm_sample_row &controls,
                                            struct distribution *d, mass_t *drawn,
                                            struct scratch *scratch)
{
    bool is_binned = false;
    for (int i = controls.top_p < 1.0f ? -1 : 0; i < (int)args.n_candidates; i++) {
        auto target = [&](mass_t total) {
            if (i < 0) {
                return target_of_top_p(controls.top_p, total);
            }
            mass_t kept = lesser(d->kept, total);
            if (i == 0 && threadIdx.x == 0) {
                scratch->log_sum = (double)kept;
            }
            size_t at = (size_t)blockIdx.x * args.n_candidates + i;
            return target_of_draw(args.uniforms[at], kept);
        };
        struct place place = reach(d, target, &is_binned, scratch);
        if (i < 0) {
            keep_up_to(d, place);
            continue;
        }
        if (threadIdx.x == 0) {
            drawn[i] = order_of(place.key, place.id);
        }
        if (place.key > 0) {
            take_out(d, place, is_binned, scratch);
        }
    }
    __syncthreads();
}

static __device__ __forceinline__ void put_drawn(const struct cm_beam_args &args,
                                                 const struct cm_sample_row &controls,
                                                 const mass_t *drawn, const struct scratch *scratch)
{
    double best_score = (double)scratch->highest / controls.temperature;
    for (uint32_t i = threadIdx.x; i < args.n_candidates; i += THREADS) {
        size_t at = (size_t)blockIdx.x * args.n_candidates + i;
        uint32_t id = (uint32_t)drawn[i];
        float weight = __uint_as_float(key_in(drawn[i]));
        float score = (float)(log((double)weight) + best_score);
        args.tokens[at] = weight > 0.0f ? (int32_t)id : -1;
        args.scores[at] = score;
        args.logprobs[at] = logprob_of(controls, args.history, id, score);
    }
    if (threadIdx.x == 0) {
        args.log_masses[blockIdx.x] = (float)(log(scratch->log_sum * 0x1p-40) + best_score);
    }
}

static __global__ void __launch_bounds__(THREADS) beam_rows(struct cm_beam_args args)
{
    __shared__ struct scratch shared;
    __shared__ struct distribution distribution;
    __shared__ mass_t drawn[CM_BEAM_CANDIDATES_MAX];
    struct scratch *scratch = &shared;
    struct row row = { args.logits + (size_t)blockIdx.x * args.n_vocab, args.n_vocab, 0 };
    const struct cm_sample_row &controls = args.rows[blockIdx.x];
    struct best best = find_best(row, scratch);
    float log_sum = (float)log_of_mass(logits_mass(row, best.highest, scratch), best.highest);
    change<2>(row, [&](uint32_t, float x) {
        float logprob = x - log_sum;
        return logprob == logprob ? logprob : -INFINITY;
    });
    if (is_penalised(controls)) {
        penalise(row, controls, args.history, scratch);
    }
    if (is_masked(controls)) {
        mask(row, controls, args.mask_ids, scratch);
    }
    best = find_best(row, scratch);
    if (threadIdx.x == 0) {
        args.log_masses[blockIdx.x] = NAN; /* a draw knows better */
    }
    if (controls.temperature > 0.0f && isfinite(best.highest / controls.temperature)) {
        set_distribution(&distribution, row, controls, best, scratch);
        draw(args, controls, &distribution, drawn, scratch);
        put_drawn(args, controls, drawn, scratch);
        return;
    }
    uint32_t count = 0; /* with a temperature and nothing finite */
    if (!(controls.temperature > 0.0f)) {
        count = args.n_candidates < row.n ? args.n_candidates : row.n;
        list_best(row, best, count, scratch);
    }
    put_best(args, controls, count, scratch);
}

extern "C" cudaError_t cm_cuda_beam(const struct cm_beam_args *args, cudaStream_t stream)
{
    return CM_LAUNCH(beam_rows, dim3(args->n_rows), dim3(THREADS), 0, stream, *args);
}
