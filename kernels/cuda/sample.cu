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
 * Masses are integers (row.h): no sum depends on its order. Tokens under 2^-40 of the best cannot
 * be drawn.
 *
 * logits [n_rows, n_vocab] float32, overwritten where there are penalties or masks. A NaN counts as
 * minus infinity; where nothing is finite, or a logit is infinite or overflows under the
 * temperature, the row is greedy and the lowest id wins. One block a row, rows by themselves.
 * Bytes a row: 4 n_vocab times the passes, of which all but the first come out of the second-level
 * cache. One for the best (two with penalties or masks and a log-probability), one for the
 * log-probability. A draw takes one more with top-k, for what it keeps is listed then: up to some
 * 600, as a list holds 1024. Without top-k it is one to bin the masses, one for top-p's place, one
 * for the draw's, and one for min-p's mass; three for each place with more than 1024 tokens in a
 * bin of a 32nd binade, five where so many weigh the same. A larger top-k adds some six first.
 * Occupancy of *: 1 on sm_80, 1 on sm_90 */
#include "kernels/cuda/distribution.h"

/* Penalty and masks; returns the best behind them. */
static __device__ __forceinline__ struct best control(const struct cm_sample_args &args,
                                                      const struct cm_sample_row &controls,
                                                      const struct row &row,
                                                      struct scratch *scratch)
{
    if (is_penalised(controls)) {
        penalise(row, controls, args.history, scratch);
    }
    if (is_masked(controls)) {
        mask(row, controls, args.mask_ids, scratch);
    }
    return find_best(row, scratch);
}

static __device__ __forceinline__ bool is_greedy(const struct cm_sample_row &controls,
                                                 const struct best &best)
{
    return !(controls.temperature > 0.0f) || !isfinite(best.highest / controls.temperature);
}

/* The token at `uniform` of the mass that is kept. */
static __device__ __forceinline__ struct place draw(const struct cm_sample_row &controls,
                                                    struct distribution *d, struct scratch *scratch)
{
    bool is_binned = false;
    for (bool is_cut = !(controls.top_p < 1.0f);; is_cut = true) {
        auto target = [&](mass_t total) {
            float uniform = controls.uniform;
            uniform = uniform >= 0.0f ? fminf(uniform, 0x1.fffffep-1f) : 0.0f;
            return is_cut ? target_of_draw(uniform, lesser(d->kept, total))
                          : target_of_top_p(controls.top_p, total);
        };
        struct place place = reach(d, target, &is_binned, scratch);
        if (is_cut) {
            return place;
        }
        keep_up_to(d, place);
    }
}

/* By the block: whether the token stands in the history matters to its logit. */
static __device__ __forceinline__ void put_token(const struct cm_sample_args &args,
                                                 const struct cm_sample_row &controls,
                                                 uint32_t token, float weight,
                                                 const struct scratch *scratch)
{
    bool want_logprob = args.logprobs != NULL && controls.want_logprob;
    bool is_met = want_logprob && has_met(controls, args.history, token);
    if (threadIdx.x > 0) {
        return;
    }
    args.tokens[blockIdx.x] = (int32_t)token;
    if (want_logprob) {
        double logit = logit_of(controls, scratch->highest, weight, is_met);
        args.logprobs[blockIdx.x] = (float)(logit - scratch->log_sum);
    } else if (args.logprobs != NULL) {
        args.logprobs[blockIdx.x] = NAN;
    }
}

static __global__ void __launch_bounds__(THREADS) sample_rows(struct cm_sample_args args)
{
    __shared__ struct scratch shared;
    __shared__ struct distribution distribution;
    struct scratch *scratch = &shared;
    size_t first = (size_t)blockIdx.x * args.n_vocab;
    const struct cm_sample_row &controls = args.rows[blockIdx.x];
    struct row row = { (float *)args.logits + first, args.n_vocab, 0 };
    bool want_logprob = args.logprobs != NULL && controls.want_logprob;
    bool is_controlled = is_penalised(controls) || is_masked(controls);
    struct best best = {};
    if (want_logprob || !is_controlled) {
        best = find_best(row, scratch);
    }
    if (want_logprob) {
        mass_t mass = logits_mass(row, best.highest, scratch);
        if (threadIdx.x == 0) {
            scratch->log_sum = log_of_mass(mass, best.highest);
        }
    }
    if (is_controlled) {
        best = control(args, controls, row, scratch);
    }
    if (is_greedy(controls, best)) {
        put_token(args, controls, lowest_id(row, best, scratch), 1.0f, scratch);
    } else {
        set_distribution(&distribution, row, controls, best, scratch);
        struct place drawn = draw(controls, &distribution, scratch);
        put_token(args, controls, drawn.id, __uint_as_float(drawn.key), scratch);
    }
}

/* The distributions in place of copies of the logits. */
static __global__ void __launch_bounds__(THREADS)
    distribute_rows(struct cm_sample_args args, float *probabilities)
{
    __shared__ struct scratch shared;
    __shared__ struct distribution distribution;
    struct scratch *scratch = &shared;
    size_t first = (size_t)blockIdx.x * args.n_vocab;
    const struct cm_sample_row &controls = args.rows[blockIdx.x];
    struct row row = { probabilities + first, args.n_vocab, 0 };
    change<1>(row, [&](uint32_t i, float) { return args.logits[first + i]; });
    struct best best = control(args, controls, row, scratch);
    if (is_greedy(controls, best)) {
        uint32_t token = lowest_id(row, best, scratch);
        change<1>(row, [&](uint32_t i, float) { return i == token ? 1.0f : 0.0f; });
        return;
    }
    set_distribution(&distribution, row, controls, best, scratch);
    bool has_top_p = controls.top_p < 1.0f;
    bool is_binned = false;
    auto target = [&](mass_t total) {
        return has_top_p ? target_of_top_p(controls.top_p, total) : total;
    };
    struct place last = reach(&distribution, target, &is_binned, scratch);
    mass_t last_order = has_top_p ? order_of(last.key, last.id) : UINT64_MAX;
    float sum = float_of_mass(lesser(distribution.kept, last.run));
    change<1>(distribution.order.row, [&](uint32_t i, float x) {
        uint32_t key = distribution.order.key_of_logit(x);
        float weight = __uint_as_float(key);
        bool is_kept = order_of(key, i) <= last_order && weight >= weight_min_of(controls);
        return is_kept ? weight / sum : 0.0f;
    });
}

extern "C" cudaError_t cm_cuda_sample(const struct cm_sample_args *args, float *probabilities,
                                      cudaStream_t stream)
{
    if (probabilities != NULL) {
        return CM_LAUNCH(distribute_rows, dim3(args->n_rows), dim3(THREADS), 0, stream, *args,
                         probabilities);
    }
    return CM_LAUNCH(sample_rows, dim3(args->n_rows), dim3(THREADS), 0, stream, *args);
}
