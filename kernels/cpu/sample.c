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

#include "kernels/cpu/distribution.h"
#include "kernels/cpu/row_work.h"

#include <math.h>
#include <string.h>
/* Without top-k: tokens below this weight are left to the dense way. */
#define CANDIDATE_WEIGHT_MIN 1e-4f

/* --- Sparse: candidates in a heap --- */

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
    bool penalised = is_penalised(controls);
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
