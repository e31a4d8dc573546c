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
 * Top-p and min-p keep a prefix of the order, so what is kept is one (weight, id) pair. Two ways
 * find it. Sparse: a few tokens that surely hold the prefix are picked by a threshold and popped
 * from a heap; for top-k the threshold is the k-th largest maximum of blocks of 256 logits, below
 * which no token of the top k can lie. Dense, when those tokens are too many or hold too little:
 * bisection over the bits of a weight, each step one pass that sums the mass above it. Neither
 * sorts the vocabulary or needs memory beyond the stack.
 *
 * logits [n_rows, n_vocab] float32, overwritten. Masses are float64 in a fixed order. A NaN counts
 * as minus infinity; where nothing is finite, or a logit is infinite or overflows under the
 * temperature, the row is greedy. Each row by itself; compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/candidates.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 256, /* logits per maximum */
    VOCAB_MAX = 1 << 20,
};

/* Without top-k: tokens below this weight are left to the dense way. */
#define CANDIDATE_WEIGHT_MIN 1e-4f

/* The tokens up to and with (weight, last_id) in the order; `mass` is their sum. */
struct prefix {
    float weight;
    uint32_t last_id;
    double mass;
};

/* A row on its way: x holds penalised logits first, weights after weigh_all. */
struct row {
    const struct cm_sample_row *controls;
    float *x;
    uint32_t n;
    uint32_t blocks_count;
    float block_highest[VOCAB_MAX / BLOCK];
    float highest;
};

/* --- Passes over the vocabulary --- */

static float block_maximum(const float *x, uint32_t n)
{
    v16 lowest = v16_set(-INFINITY);
    v16 highest[2] = { lowest, lowest };
    uint32_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        highest[0] = v16_max(v16_load(x + i), highest[0]);
        highest[1] = v16_max(v16_load(x + i + V16_LANES), highest[1]);
    }
    float maximum = v16_highest(v16_max(highest[0], highest[1]));
    for (; i < n; i++) {
        maximum = x[i] > maximum ? x[i] : maximum;
    }
    return maximum;
}

static void find_maxima(struct row *row)
{
    row->blocks_count = (row->n + BLOCK - 1) / BLOCK;
    for (uint32_t i = 0; i < row->blocks_count; i++) {
        uint32_t left = row->n - i * BLOCK;
        row->block_highest[i] = block_maximum(row->x + i * BLOCK, left < BLOCK ? left : BLOCK);
    }
    row->highest = block_maximum(row->block_highest, row->blocks_count);
}

static uint32_t best_id(const struct row *row)
{
    uint32_t block = 0;
    while (block + 1 < row->blocks_count && row->block_highest[block] != row->highest) {
        block++;
    }
    for (uint32_t i = block * BLOCK; i < row->n; i++) {
        if (row->x[i] == row->highest) {
            return i;
        }
    }
    return 0; /* nothing but NaN */
}

static double log_sum_exp(const struct row *row)
{
    double sum = 0;
    for (uint32_t begin = 0; begin < row->n; begin += BLOCK) {
        uint32_t end = row->n - begin < BLOCK ? row->n : begin + BLOCK;
        v16 part = v16_zero();
        for (uint32_t i = begin; i < end; i += V16_LANES) {
            v16 x = v16_sub(v16_load_tail(row->x + i, end - i), v16_set(row->highest));
            v16 weight = v16_exp(x);
            part = v16_add(part, end - i < V16_LANES ? v16_keep(weight, 0, (int)(end - i), 0.0f)
                                                     : weight);
        }
        sum += v16_sum(part);
    }
    return row->highest + log(sum);
}

static double mass_at_least(const float *weights, uint32_t n, float value)
{
    v16_wide sums;
    memset(&sums, 0, sizeof sums);
    v16 limit = v16_set(value);
    for (uint32_t i = 0; i < n; i += V16_LANES) {
        sums = v16_wide_add(sums, v16_keep_at_least(v16_load_tail(weights + i, n - i), limit));
    }
    return v16_wide_total(sums);
}

static uint32_t count_at_least(const struct row *row, float value)
{
    uint32_t count = 0;
    v16 limit = v16_set(value);
    v16 temperature = v16_set(row->controls->temperature);
    for (uint32_t i = 0; i < row->n; i += V16_LANES) {
        uint32_t left = row->n - i;
        v16 scaled = v16_div(v16_load_tail(row->x + i, left), temperature);
        uint32_t found = v16_at_least(scaled, limit);
        found &= left < V16_LANES ? (1u << left) - 1 : UINT32_MAX;
        count += (uint32_t)__builtin_popcount(found);
    }
    return count;
}

/* Once per distinct token of the history. */
static void penalise(const struct cm_sample_row *controls, const int32_t *history, float *x,
                     uint32_t n)
{
    uint64_t seen[VOCAB_MAX / 64];
    memset(seen, 0, (n + 63) / 64 * sizeof *seen);
    for (uint32_t i = controls->history_begin; i < controls->history_end; i++) {
        uint32_t token = (uint32_t)history[i];
        if (token >= n || (seen[token / 64] >> token % 64 & 1) != 0) {
            continue;
        }
        seen[token / 64] |= (uint64_t)1 << token % 64;
        x[token] = x[token] < 0 ? x[token] * controls->repetition_penalty
                                : x[token] / controls->repetition_penalty;
    }
}

static bool is_masked(const struct cm_sample_row *controls)
{
    bool masked = controls->only_allowed;
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        masked = masked || controls->banned[i].begin < controls->banned[i].end;
    }
    return masked;
}

static void mask_all_but(struct cm_id_range allowed, const int32_t *ids, float *x, uint32_t n)
{
    uint32_t next = 0; /* token after the last one allowed */
    for (uint32_t i = allowed.begin; i <= allowed.end; i++) {
        uint32_t token = i < allowed.end ? (uint32_t)ids[i] : n;
        CM_ASSERT(token >= next && token <= n);
        for (; next < token; next++) {
            x[next] = -INFINITY;
        }
        next++;
    }
}

static void mask(const struct cm_sample_row *controls, const int32_t *ids, float *x, uint32_t n)
{
    if (controls->only_allowed) {
        mask_all_but(controls->allowed, ids, x, n);
    }
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        for (uint32_t j = controls->banned[i].begin; j < controls->banned[i].end; j++) {
            CM_ASSERT((uint32_t)ids[j] < n);
            x[ids[j]] = -INFINITY;
        }
    }
}

/* --- Sparse: candidates in a heap --- */

/* Appends block elements divided by `divisor` that are at least `lowest`; false when full. */
static bool collect_block(const float *x, uint32_t begin, uint32_t end, float divisor, float lowest,
                          struct cm_candidates *candidates)
{
    for (uint32_t i = begin; i < end; i += V16_LANES) {
        v16 value = v16_div(v16_load_tail(x + i, end - i), v16_set(divisor));
        uint32_t found = v16_at_least(value, v16_set(lowest));
        if (end - i < V16_LANES) {
            found &= (1u << (end - i)) - 1;
        }
        for (; found != 0; found &= found - 1) {
            uint32_t id = i + (uint32_t)__builtin_ctz(found);
            if (candidates->count == CM_CANDIDATES_MAX) {
                return false;
            }
            candidates->items[candidates->count++] = (struct cm_candidate){ x[id] / divisor, id };
        }
    }
    return true;
}

/* Candidates := the tokens that top-k keeps, as weights. False where they are too many to find
 * this way. */
static bool collect_top_k(const struct row *row, struct cm_candidates *candidates)
{
    float values[VOCAB_MAX / BLOCK];
    float temperature = row->controls->temperature;
    uint32_t k = row->controls->top_k;
    if (k > row->blocks_count || k > CM_CANDIDATES_MAX) {
        return false;
    }
    memcpy(values, row->block_highest, row->blocks_count * sizeof *values);
    float lowest = cm_select_largest(values, row->blocks_count, k) / temperature;
    candidates->count = 0;
    for (uint32_t block = 0; block < row->blocks_count; block++) {
        uint32_t begin = block * BLOCK;
        uint32_t end = row->n - begin < BLOCK ? row->n : begin + BLOCK;
        if (row->block_highest[block] / temperature >= lowest &&
            !collect_block(row->x, begin, end, temperature, lowest, candidates)) {
            return false;
        }
    }
    _Static_assert(CM_CANDIDATES_MAX <= VOCAB_MAX / BLOCK, "values serve both selections");
    for (uint32_t i = 0; i < candidates->count; i++) {
        values[i] = candidates->items[i].weight;
    }
    lowest = cm_select_largest(values, candidates->count, k);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < candidates->count; i++) {
        struct cm_candidate candidate = candidates->items[i];
        if (candidate.weight >= lowest) {
            values[kept] = candidate.weight - row->highest / temperature;
            candidates->items[kept++].id = candidate.id;
        }
    }
    candidates->count = kept;
    for (uint32_t i = 0; i < kept; i += V16_LANES) {
        v16_store_tail(values + i, v16_exp(v16_load_tail(values + i, kept - i)), kept - i);
    }
    for (uint32_t i = 0; i < kept; i++) {
        candidates->items[i].weight = values[i];
    }
    return true;
}

/* The draw from candidates that start a distribution of mass `total` whose other tokens weigh less
 * than `rest_below`; false where the candidates end before the answer is known. */
static bool draw_sparse(const struct cm_sample_row *controls, double uniform, double total,
                        float rest_below, struct cm_candidates *candidates,
                        struct cm_candidate *drawn)
{
    uint32_t all = candidates->count;
    double kept = total;
    cm_candidates_heapify(candidates);
    if (controls->top_p < 1.0f || controls->min_p > 0.0f) {
        double p_mass = controls->top_p < 1.0f ? controls->top_p * total : INFINITY;
        float weight_min = fminf(controls->min_p, 1.0f);
        kept = 0;
        while (kept == 0 || kept < p_mass) {
            if (candidates->count == 0) {
                if (weight_min < rest_below) {
                    return false;
                }
                break;
            }
            struct cm_candidate next = cm_candidates_pop(candidates);
            if (next.weight < weight_min) {
                break;
            }
            kept += next.weight;
        }
    }
    double mass = 0;
    for (uint32_t i = all; i-- > 0;) {
        if (i < candidates->count) {
            cm_candidates_pop(candidates);
        }
        *drawn = candidates->items[i];
        mass += drawn->weight;
        if (mass > uniform * kept) {
            return true;
        }
    }
    return false;
}

/* --- Dense: weights of the whole vocabulary --- */

/* Integers in the order of floats, so that a search can halve an interval of values. */
static int32_t ordered_bits(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ INT32_MAX : bits;
}

static float from_ordered_bits(int64_t ordered)
{
    int32_t bits = (int32_t)ordered;
    float value;
    bits = bits < 0 ? bits ^ INT32_MAX : bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The k-th largest logit over temperature, 1 <= k <= n. */
static float kth_largest(const struct row *row)
{
    int64_t low = ordered_bits(-INFINITY);
    int64_t high = (int64_t)ordered_bits(INFINITY) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (count_at_least(row, from_ordered_bits(middle)) >= row->controls->top_k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return from_ordered_bits(low);
}

/* x := weights, 0 for what top-k drops; returns their mass. */
static double weigh_all(struct row *row)
{
    uint32_t top_k = row->controls->top_k;
    float temperature = row->controls->temperature;
    float lowest = top_k > 0 && top_k < row->n ? kth_largest(row) : -INFINITY;
    v16 highest = v16_set(row->highest / temperature);
    for (uint32_t i = 0; i < row->n; i += V16_LANES) {
        uint32_t left = row->n - i;
        v16 value = v16_div(v16_load_tail(row->x + i, left), v16_set(temperature));
        v16_store_tail(row->x + i, v16_exp(v16_sub(value, highest)), left);
        uint32_t dropped = ~v16_at_least(value, v16_set(lowest)) & 0xFFFFu;
        for (; dropped != 0; dropped &= dropped - 1) {
            uint32_t lane = (uint32_t)__builtin_ctz(dropped);
            if (lane < left) {
                row->x[i + lane] = 0.0f;
            }
        }
    }
    return mass_at_least(row->x, row->n, 0.0f);
}

/* The shortest prefix whose mass is over `target`, or all that has weight when none is. */
static struct prefix prefix_over(const float *weights, uint32_t n, double target)
{
    int64_t low = 0;
    int64_t high = (int64_t)ordered_bits(1.0f) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (mass_at_least(weights, n, from_ordered_bits(middle)) > target) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct prefix prefix = { .weight = from_ordered_bits(low) };
    prefix.mass = mass_at_least(weights, n, from_ordered_bits(low + 1));
    for (uint32_t i = 0; i < n; i++) {
        if (weights[i] == prefix.weight) {
            prefix.last_id = i;
            prefix.mass += weights[i];
            if (prefix.mass > target) {
                break;
            }
        }
    }
    return prefix;
}

/* Sets what top-p and min-p drop to 0; returns the mass that stays. */
static double cut_dense(const struct cm_sample_row *controls, float *weights, uint32_t n,
                        double total)
{
    if (controls->top_p < 1.0f) {
        /* "Not less than" is "over the next lower number". */
        double target = nextafter((double)controls->top_p * total, -INFINITY);
        struct prefix kept = prefix_over(weights, n, target);
        for (uint32_t i = 0; i < n; i++) {
            bool after = weights[i] == kept.weight && i > kept.last_id;
            weights[i] = weights[i] < kept.weight || after ? 0.0f : weights[i];
        }
    }
    float weight_min = fminf(controls->min_p, 1.0f);
    for (uint32_t i = 0; weight_min > 0.0f && i < n; i++) {
        weights[i] = weights[i] < weight_min ? 0.0f : weights[i];
    }
    return mass_at_least(weights, n, 0.0f);
}

/* --- The ops --- */

static bool is_greedy(const struct row *row)
{
    float temperature = row->controls->temperature;
    return !(temperature > 0.0f) || !isfinite(row->highest / temperature);
}

static void row_init(struct row *row, const struct cm_sample_args *args, uint32_t index, float *x,
                     double *log_sum)
{
    const struct cm_sample_row *controls = &args->rows[index];
    uint32_t n = args->n_vocab;
    CM_ASSERT(n > 0 && n <= VOCAB_MAX);
    row->controls = controls;
    row->x = x;
    row->n = n;
    bool penalised = controls->repetition_penalty > 0.0f && controls->repetition_penalty != 1.0f &&
                     controls->history_begin < controls->history_end;
    bool masked = is_masked(controls);
    if (log_sum != NULL || (!penalised && !masked)) {
        find_maxima(row);
    }
    if (log_sum != NULL) {
        *log_sum = log_sum_exp(row);
    }
    if (penalised) {
        penalise(controls, args->history, x, n);
    }
    if (masked) {
        mask(controls, args->mask_ids, x, n);
    }
    if (penalised || masked) {
        find_maxima(row);
    }
}

/* A token of weight > 0. `uniform` is below 1, so the sums reach their targets. */
static struct cm_candidate draw(struct row *row)
{
    const struct cm_sample_row *controls = row->controls;
    struct cm_candidate drawn = { .weight = 1.0f };
    if (is_greedy(row)) {
        drawn.id = best_id(row);
        return drawn;
    }
    struct cm_candidates candidates;
    double total = 0;
    double uniform = controls->uniform >= 0.0f ? fminf(controls->uniform, 0x1.fffffep-1f) : 0.0f;
    if (controls->top_k > 0 && controls->top_k < row->n && collect_top_k(row, &candidates)) {
        for (uint32_t i = 0; i < candidates.count; i++) {
            total += candidates.items[i].weight;
        }
        if (draw_sparse(controls, uniform, total, 0.0f, &candidates, &drawn)) {
            return drawn;
        }
    }
    total = weigh_all(row);
    candidates.count = 0;
    if (collect_block(row->x, 0, row->n, 1.0f, CANDIDATE_WEIGHT_MIN, &candidates) &&
        draw_sparse(controls, uniform, total, CANDIDATE_WEIGHT_MIN, &candidates, &drawn)) {
        return drawn;
    }
    double kept = cut_dense(controls, row->x, row->n, total);
    struct prefix prefix = prefix_over(row->x, row->n, uniform * kept);
    return (struct cm_candidate){ prefix.weight, prefix.last_id };
}

/* The logit that a token's weight came from, before temperature and penalty: to some 1e-6, as the
 * logits themselves may be overwritten by now. */
static double logit_of(const struct row *row, const int32_t *history, struct cm_candidate token)
{
    const struct cm_sample_row *controls = row->controls;
    double logit = row->highest;
    if (token.weight < 1.0f) {
        logit += (double)controls->temperature * log(token.weight);
    }
    for (uint32_t i = controls->history_begin; i < controls->history_end; i++) {
        if (history[i] == (int32_t)token.id && controls->repetition_penalty > 0.0f) {
            return logit < 0 ? logit / controls->repetition_penalty
                             : logit * controls->repetition_penalty;
        }
    }
    return logit;
}

static void sample_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct cm_sample_args *args = context;
    struct row row;
    for (uint32_t r = begin; r < end; r++) {
        double log_sum = 0;
        bool want_logprob = args->rows[r].want_logprob;
        float *x = (float *)args->logits + (size_t)r * args->n_vocab; /* the contract allows it */
        row_init(&row, args, r, x, want_logprob ? &log_sum : NULL);
        struct cm_candidate drawn = draw(&row);
        args->tokens[r] = (int32_t)drawn.id;
        if (args->logprobs != NULL) {
            args->logprobs[r] =
                want_logprob ? (float)(logit_of(&row, args->history, drawn) - log_sum) : NAN;
        }
    }
}

void cm_op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    cm_rows_run(backend, sample_rows, args, args->n_rows, args->n_vocab);
}

void cm_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                float *probabilities)
{
    (void)backend;
    struct row row;
    for (uint32_t r = 0; r < args->n_rows; r++) {
        float *x = probabilities + (size_t)r * args->n_vocab;
        memcpy(x, args->logits + (size_t)r * args->n_vocab, args->n_vocab * sizeof *x);
        row_init(&row, args, r, x, NULL);
        if (is_greedy(&row)) {
            uint32_t best = best_id(&row);
            memset(x, 0, args->n_vocab * sizeof *x);
            x[best] = 1.0f;
            continue;
        }
        double kept = cut_dense(row.controls, x, args->n_vocab, weigh_all(&row));
        for (uint32_t i = 0; i < args->n_vocab; i++) {
            x[i] = (float)(x[i] / kept);
        }
    }
}
