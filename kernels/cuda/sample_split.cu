/* Sampling over a vocabulary that is split over devices (cm_op_sample_split in kernels/comm.h): the
 * formulas and the order of sample.cu, and the same bits where a row is decided.
 *
 *     maxima     x = logits of this part after penalty and masks; its greatest, and the logits'
 *     bids       against the greatest of all parts: w = exp(x / temperature - max), their mass, and
 *                the CM_SPLIT_CANDIDATES best w; with top-k the best x / temperature; greedy, x
 *     decide     all candidates in one order; what is settled among those surely known is the
 *                row's token, else -1
 *
 * Sums of masses are integers (row.h) and so can be added over parts. A candidate is
 * surely known if it does not come after the last one of a part that has more tokens.
 *
 * logits [n_rows, own columns] float32, not changed. One block a row, rows by themselves. Bytes a
 * row: 4 own columns times 8 passes, two of which write; the exchange 2 KiB a rank.
 * Occupancy of *: 1 on sm_80, 1 on sm_90 */
#include "kernels/cuda/controls.h"
#include "kernels/cuda/order.h"

enum { MERGED_MAX = CM_COMM_RANKS_MAX * CM_SPLIT_CANDIDATES };

/* --- Maxima --- */

static __global__ void __launch_bounds__(THREADS, 1) maxima_rows(struct cm_cuda_split_args args)
{
    __shared__ struct scratch shared;
    struct scratch *scratch = &shared;
    const struct cm_sample_args &sample = args.sample;
    size_t first = (size_t)blockIdx.x * sample.n_vocab;
    const struct cm_sample_row &controls = sample.rows[blockIdx.x];
    struct row raw = { (float *)sample.logits + first, sample.n_vocab, args.first_token };
    struct row row = { args.values + first, sample.n_vocab, args.first_token };
    float raw_highest = find_best(raw, scratch).highest;
    change<2>(row, [&](uint32_t i, float) {
        float x = raw.x[i];
        return x == x ? x : -INFINITY;
    });
    if (is_penalised(controls)) {
        penalise(row, controls, sample.history, scratch);
    }
    if (is_masked(controls)) {
        mask(row, controls, sample.mask_ids, scratch);
    }
    float highest = find_best(row, scratch).highest;
    if (threadIdx.x == 0) {
        args.buffers.own_maxima[blockIdx.x] = { raw_highest, highest };
    }
}

/* Of all parts of a row. */
static __device__ __forceinline__ struct cm_cuda_maxima
whole_maxima(const struct cm_cuda_split_args &args)
{
    struct cm_cuda_maxima whole = { -INFINITY, -INFINITY };
    for (uint32_t rank = 0; rank < args.ranks_count; rank++) {
        size_t at = (size_t)rank * args.sample.n_rows + blockIdx.x;
        whole.raw = fmaxf(whole.raw, args.buffers.maxima[at].raw);
        whole.processed = fmaxf(whole.processed, args.buffers.maxima[at].processed);
    }
    return whole;
}

static __device__ __forceinline__ bool is_greedy(const struct cm_sample_row &controls,
                                                 float highest)
{
    return !(controls.temperature > 0.0f) || !isfinite(highest / controls.temperature);
}

static __device__ __forceinline__ bool has_top_k(const struct cm_sample_row &controls,
                                                 uint32_t n_whole)
{
    return controls.top_k > 0 && controls.top_k < n_whole;
}

/* --- Bids --- */

static __global__ void __launch_bounds__(THREADS) bid_rows(struct cm_cuda_split_args args)
{
    __shared__ struct scratch shared;
    struct scratch *scratch = &shared;
    const struct cm_sample_args &sample = args.sample;
    size_t first = (size_t)blockIdx.x * sample.n_vocab;
    const struct cm_sample_row &controls = sample.rows[blockIdx.x];
    struct row raw = { (float *)sample.logits + first, sample.n_vocab, args.first_token };
    struct row row = { args.values + first, sample.n_vocab, args.first_token };
    struct cm_cuda_maxima highest = whole_maxima(args);
    mass_t raw_mass = logits_mass(raw, highest.raw, scratch);
    mass_t mass = 0;
    if (!is_greedy(controls, highest.processed)) {
        float shift = highest.processed / controls.temperature;
        bool keep_order = has_top_k(controls, args.n_whole);
        change<2>(row, [&](uint32_t, float x) {
            float scaled = x / controls.temperature;
            float weight = keep_order ? 0.0f : expf(scaled - shift);
            mass += mass_of(weight);
            return keep_order ? scaled : weight;
        });
        mass = block_sum(mass, scratch);
    }
    const uint32_t most = CM_SPLIT_CANDIDATES;
    uint32_t count = row.n < most ? row.n : most;
    list_best(row, find_best(row, scratch), count, scratch);
    struct cm_cuda_bid *bid = &args.buffers.own_bids[blockIdx.x];
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) {
        bid->values[i] = value_of(key_in(scratch->items[i]));
        bid->tokens[i] = args.first_token + (uint32_t)scratch->items[i];
    }
    if (threadIdx.x == 0) {
        bid->raw_mass = raw_mass;
        bid->mass = mass;
        bid->count = count;
        bid->is_whole = row.n <= most;
    }
}

/* --- Decision --- */

/* The candidates of all parts. */
struct merged {
    float values[MERGED_MAX];
    uint32_t tokens[MERGED_MAX];
    float sorted_values[MERGED_MAX]; /* falling, ties by rising token */
    uint32_t sorted_tokens[MERGED_MAX];
    uint32_t ends[CM_COMM_RANKS_MAX]; /* one behind the last of each part in that order */
    uint32_t count;
    uint32_t known; /* so many from the first are surely known ... */
    bool is_all;    /* ... and there are no others */
    uint32_t kept;  /* by top-k */
    mass_t raw_mass;
    mass_t mass;
    int32_t token; /* -1: not decided */
    float weight;
};

/* Fills `values` and `tokens` and all that is one number; by all threads. */
static __device__ __forceinline__ void collect(const struct cm_cuda_split_args &args,
                                               struct merged *merged)
{
    if (threadIdx.x == 0) {
        merged->count = 0;
        merged->is_all = true;
        merged->raw_mass = 0;
        merged->mass = 0;
    }
    __syncthreads();
    for (uint32_t rank = 0; rank < args.ranks_count; rank++) {
        const struct cm_cuda_bid *bid =
            &args.buffers.bids[(size_t)rank * args.sample.n_rows + blockIdx.x];
        uint32_t begin = merged->count;
        for (uint32_t i = threadIdx.x; i < bid->count; i += THREADS) {
            merged->values[begin + i] = bid->values[i];
            merged->tokens[begin + i] = bid->tokens[i];
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            merged->ends[rank] = 0;
            merged->count = begin + bid->count;
            merged->is_all = merged->is_all && bid->is_whole;
            merged->raw_mass += bid->raw_mass;
            merged->mass += bid->mass;
        }
        __syncthreads();
    }
}

/* The first `count` of `values` and `tokens` into their order. */
static __device__ __forceinline__ void sort_merged(struct merged *merged, uint32_t count,
                                                   uint32_t n_part)
{
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) {
        float value = merged->values[i];
        uint32_t token = merged->tokens[i];
        uint32_t place = 0;
        for (uint32_t j = 0; j < count; j++) {
            place += merged->values[j] > value ||
                     (merged->values[j] == value && merged->tokens[j] < token);
        }
        merged->sorted_values[place] = value;
        merged->sorted_tokens[place] = token;
        atomicMax(&merged->ends[token / n_part], place + 1);
    }
    __syncthreads();
}

/* One thread: how many are surely known. */
static __device__ __forceinline__ uint32_t known_count(const struct cm_cuda_split_args &args,
                                                       const struct merged *merged)
{
    uint32_t known = merged->count;
    for (uint32_t rank = 0; rank < args.ranks_count; rank++) {
        if (args.buffers.bids[(size_t)rank * args.sample.n_rows + blockIdx.x].is_whole == 0) {
            known = merged->ends[rank] < known ? merged->ends[rank] : known;
        }
    }
    return known;
}

/* One thread: how many of the order top-k keeps, with all ties of the k-th; 0: not known. */
static __device__ __forceinline__ uint32_t top_k_count(const struct merged *merged, uint32_t k)
{
    uint32_t count = k;
    if (k > merged->known) {
        return 0;
    }
    while (count < merged->known && merged->sorted_values[count] == merged->sorted_values[k - 1]) {
        count++;
    }
    return count < merged->known || merged->is_all ? count : 0;
}

/* The first of the order at which the running mass reaches `target`; `known` where none does. */
static __device__ __forceinline__ uint32_t reach(const struct merged *merged, mass_t target)
{
    mass_t mass = 0;
    for (uint32_t i = 0; i < merged->known; i++) {
        mass += mass_of(merged->sorted_values[i]);
        if (mass >= target) {
            return i;
        }
    }
    return merged->known;
}

/* One thread: top-p, min-p and the draw, over sorted weights; leaves the token at -1 where they are
 * not settled among what is known. */
static __device__ __forceinline__ void draw(const struct cm_sample_row &controls,
                                            struct merged *merged)
{
    float weight_min = fminf(controls.min_p, 1.0f);
    mass_t kept = merged->mass;
    uint32_t end = merged->known;
    bool is_cut = merged->is_all;
    if (controls.top_p < 1.0f) {
        double wanted = ceil((double)controls.top_p * (double)kept);
        mass_t target = wanted > 1.0 ? (mass_t)wanted : 1;
        uint32_t last = reach(merged, target < kept ? target : kept);
        is_cut = is_cut || last < merged->known;
        end = last < merged->known ? last + 1 : end;
    }
    if (weight_min > 0.0f) {
        for (uint32_t i = 0; i < end; i++) {
            if (merged->sorted_values[i] < weight_min) {
                end = i;
                is_cut = true;
            }
        }
    }
    if (controls.top_p < 1.0f || weight_min > 0.0f) {
        if (!is_cut) {
            return;
        }
        kept = 0;
        for (uint32_t i = 0; i < end; i++) {
            kept += mass_of(merged->sorted_values[i]);
        }
    }
    float uniform = controls.uniform >= 0.0f ? fminf(controls.uniform, 0x1.fffffep-1f) : 0.0f;
    uint32_t at = reach(merged, (mass_t)((double)uniform * (double)kept) + 1);
    if (at < merged->known) {
        merged->token = (int32_t)merged->sorted_tokens[at];
        merged->weight = merged->sorted_values[at];
    }
}

/* What top-k keeps, as weights in their order: two that differ may weigh the same. What is one
 * number is for the first thread alone, which draws. */
static __device__ __forceinline__ void weigh_top_k(const struct cm_cuda_split_args &args,
                                                   const struct cm_sample_row &controls,
                                                   float highest, struct merged *merged)
{
    if (threadIdx.x == 0) {
        merged->kept = top_k_count(merged, controls.top_k);
    }
    __syncthreads();
    uint32_t count = merged->kept;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) {
        merged->values[i] = expf(merged->sorted_values[i] - highest / controls.temperature);
        merged->tokens[i] = merged->sorted_tokens[i];
    }
    __syncthreads();
    sort_merged(merged, count, args.n_part);
    if (threadIdx.x == 0) {
        merged->known = count;
        merged->is_all = count > 0;
        merged->mass = 0;
        for (uint32_t i = 0; i < count; i++) {
            merged->mass += mass_of(merged->sorted_values[i]);
        }
    }
}

static __global__ void __launch_bounds__(THREADS, 1) decide_rows(struct cm_cuda_split_args args)
{
    __shared__ struct merged shared;
    struct merged *merged = &shared;
    const struct cm_sample_args &sample = args.sample;
    const struct cm_sample_row &controls = sample.rows[blockIdx.x];
    struct cm_cuda_maxima highest = whole_maxima(args);
    bool greedy = is_greedy(controls, highest.processed);
    collect(args, merged);
    sort_merged(merged, merged->count, args.n_part);
    if (threadIdx.x == 0) {
        merged->known = known_count(args, merged);
        merged->token = greedy ? (int32_t)merged->sorted_tokens[0] : -1;
        merged->weight = 1.0f;
    }
    if (!greedy && has_top_k(controls, args.n_whole)) {
        weigh_top_k(args, controls, highest.processed, merged);
    }
    if (threadIdx.x == 0 && !greedy) {
        draw(controls, merged);
    }
    __syncthreads();
    bool want_logprob = controls.want_logprob && merged->token >= 0;
    bool is_met = want_logprob && has_met(controls, sample.history, (uint32_t)merged->token);
    if (threadIdx.x > 0) {
        return;
    }
    sample.tokens[blockIdx.x] = merged->token;
    if (want_logprob) {
        double logit = logit_of(controls, highest.processed, merged->weight, is_met);
        double log_sum = log_of_mass(merged->raw_mass, highest.raw);
        sample.logprobs[blockIdx.x] = (float)(logit - log_sum);
    } else if (sample.logprobs != NULL) {
        sample.logprobs[blockIdx.x] = NAN;
    }
}

/* --- Launchers --- */

extern "C" cudaError_t cm_cuda_split_maxima(const struct cm_cuda_split_args *args,
                                            cudaStream_t stream)
{
    return CM_LAUNCH(maxima_rows, dim3(args->sample.n_rows), dim3(THREADS), 0, stream, *args);
}

extern "C" cudaError_t cm_cuda_split_bids(const struct cm_cuda_split_args *args,
                                          cudaStream_t stream)
{
    return CM_LAUNCH(bid_rows, dim3(args->sample.n_rows), dim3(THREADS), 0, stream, *args);
}

extern "C" cudaError_t cm_cuda_split_decide(const struct cm_cuda_split_args *args,
                                            cudaStream_t stream)
{
    return CM_LAUNCH(decide_rows, dim3(args->sample.n_rows), dim3(THREADS), 0, stream, *args);
}
