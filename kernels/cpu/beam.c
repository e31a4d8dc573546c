/* Beam search: the tokens by which a text may go on, with their scores.
 *
 *     l = logit - log(sum exp(logits))          float32, the unmodified log-probability
 *     s = l after repetition penalty, masks and, with a temperature, temperature, top-k, top-p,
 * min-p
 *
 * The controls work on log-probabilities and nothing is renormalised after them, as in Hugging
 * Face's beam search. Without a temperature the best tokens are taken in falling s, ties by lower
 * id. With one they are drawn one after the other without replacement, each in proportion to exp(s)
 * among those left: the first token in the order (falling s, lower id) at which the mass is over
 * uniform * mass left.
 *
 * logits [n_rows, n_vocab] float32, overwritten. Masses are float64 in a fixed order. Each row by
 * itself; compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/distribution.h"
#include "kernels/cpu/row_work.h"

/* Where a row's results go. */
struct outputs {
    int32_t *tokens;
    float *scores;
    float *logprobs;
    uint32_t count; /* so far */
};

/* x := log-probabilities under penalty and masks. */
static void row_init(struct row *row, const struct cm_beam_args *args, uint32_t index)
{
    const struct cm_sample_row *controls = &args->rows[index];
    *row = (struct row){
        .controls = controls,
        .x = args->logits + (size_t)index * args->n_vocab,
        .n = args->n_vocab,
    };
    find_maxima(row);
    v16 log_sum = v16_set((float)log_sum_exp(row));
    for (uint32_t i = 0; i < row->n; i += V16_LANES) {
        uint32_t left = row->n - i;
        v16_store_tail(row->x + i, v16_sub(v16_load_tail(row->x + i, left), log_sum), left);
    }
    if (is_penalised(controls)) {
        penalise(controls, args->history, row->x, row->n);
    }
    mask(controls, args->mask_ids, row->x, row->n);
    find_maxima(row);
}

static void put(struct outputs *outputs, const struct row *row, const int32_t *history,
                uint32_t token, float score)
{
    const struct cm_sample_row *controls = row->controls;
    float logprob = controls->temperature > 0.0f ? score * controls->temperature : score;
    for (uint32_t i = controls->history_begin; i < controls->history_end; i++) {
        if (history[i] == (int32_t)token && controls->repetition_penalty > 0.0f) {
            logprob /= controls->repetition_penalty; /* log-probabilities are never above 0 */
            break;
        }
    }
    outputs->tokens[outputs->count] = (int32_t)token;
    outputs->scores[outputs->count] = score;
    outputs->logprobs[outputs->count] = logprob;
    outputs->count++;
}

/* The candidates that surely hold the `wanted` best: all that reach the wanted-th largest maximum
 * of blocks or, where those are too many, exactly the best. */
static void collect_best(const struct row *row, uint32_t wanted, struct cm_candidates *candidates)
{
    float lowest = -INFINITY;
    if (wanted > 0 && wanted <= row->blocks_count) {
        float maxima[VOCAB_MAX / BLOCK];
        memcpy(maxima, row->block_highest, row->blocks_count * sizeof *maxima);
        lowest = cm_select_largest(maxima, row->blocks_count, wanted);
    }
    candidates->count = 0;
    if (collect_block(row->x, 0, row->n, 1.0f, lowest, candidates)) {
        return;
    }
    lowest = kth_largest(row, 1.0f, wanted);
    float above = nextafterf(lowest, INFINITY);
    candidates->count = 0;
    bool fits = collect_block(row->x, 0, row->n, 1.0f, above, candidates);
    CM_ASSERT(fits && candidates->count < wanted);
    for (uint32_t i = 0; i < row->n && candidates->count < wanted; i++) {
        if (row->x[i] == lowest) {
            candidates->items[candidates->count++] = (struct cm_candidate){ lowest, i };
        }
    }
}

static void take_best(const struct row *row, const struct cm_beam_args *args,
                      struct outputs *outputs)
{
    struct cm_candidates candidates;
    uint32_t wanted = args->n_candidates < row->n ? args->n_candidates : row->n;
    collect_best(row, wanted, &candidates);
    cm_candidates_heapify(&candidates);
    while (outputs->count < wanted && candidates.count > 0) {
        struct cm_candidate next = cm_candidates_pop(&candidates);
        if (next.weight == -INFINITY) {
            break;
        }
        put(outputs, row, args->history, next.id, next.weight);
    }
}

/* Takes the token at which the mass, in the order of tokens, is over `target`. `sorted` holds all
 * tokens with weight, or is NULL where they are too many to be listed. */
static struct cm_candidate take_at(struct row *row, struct cm_candidates *sorted,
                                   uint32_t sorted_count, double target)
{
    if (sorted == NULL) {
        struct prefix prefix = prefix_over(row->x, row->n, target);
        row->x[prefix.last_id] = 0.0f;
        return (struct cm_candidate){ prefix.weight, prefix.last_id };
    }
    struct cm_candidate *taken = NULL;
    double mass = 0;
    for (uint32_t i = sorted_count; i-- > 0 && mass <= target;) { /* the best stands last */
        if (sorted->items[i].weight > 0.0f) {
            taken = &sorted->items[i];
            mass += taken->weight;
        }
    }
    CM_ASSERT(taken != NULL);
    struct cm_candidate found = *taken;
    taken->weight = 0.0f;
    return found;
}

/* Returns the log of the mass that the controls leave. */
static float draw(struct row *row, const struct cm_beam_args *args, const float *uniforms,
                  struct outputs *outputs)
{
    struct cm_candidates candidates = { .count = 0 };
    double highest = (double)row->highest / row->controls->temperature;
    double left = cut_dense(row->controls, row->x, row->n, weigh_all(row));
    float log_mass = (float)(log(left) + highest);
    bool listed = collect_block(row->x, 0, row->n, 1.0f, FLT_TRUE_MIN, &candidates);
    uint32_t listed_count = candidates.count;
    cm_candidates_heapify(&candidates);
    while (listed && candidates.count > 0) {
        cm_candidates_pop(&candidates);
    }
    uint32_t possible = listed ? listed_count : args->n_candidates;
    for (uint32_t i = 0; i < args->n_candidates && i < possible && left > 0; i++) {
        struct cm_candidate taken =
            take_at(row, listed ? &candidates : NULL, listed_count, uniforms[i] * left);
        left -= taken.weight;
        put(outputs, row, args->history, taken.id, (float)(log(taken.weight) + highest));
    }
    return log_mass;
}

static void beam_rows(const void *context, uint32_t begin, uint32_t end)
{
    const struct cm_beam_args *args = context;
    struct row row;
    for (uint32_t r = begin; r < end; r++) {
        size_t first = (size_t)r * args->n_candidates;
        struct outputs outputs = {
            .tokens = args->tokens + first,
            .scores = args->scores + first,
            .logprobs = args->logprobs + first,
        };
        row_init(&row, args, r);
        args->log_masses[r] = NAN;
        if (!(row.controls->temperature > 0.0f)) {
            take_best(&row, args, &outputs);
        } else if (isfinite(row.highest / row.controls->temperature)) {
            args->log_masses[r] = draw(&row, args, args->uniforms + first, &outputs);
        }
        for (uint32_t i = outputs.count; i < args->n_candidates; i++) {
            outputs.tokens[i] = -1;
        }
    }
}

void cm_op_beam(struct cm_backend *backend, const struct cm_beam_args *args)
{
    CM_ASSERT(args->n_candidates > 0 && args->n_candidates <= CM_BEAM_CANDIDATES_MAX);
    CM_ASSERT(args->n_vocab > 0 && args->n_vocab <= VOCAB_MAX);
    cm_rows_run(backend, beam_rows, args, args->n_rows, args->n_vocab);
}
