#include "host/beam_search.h"

#include "base/memory.h"
#include "host/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    uint32_t branch;
    uint32_t rank; /* place in the order of `key` */
    int32_t token;
    float logprob;
    double score; /* the branch's and the token's */
    double key;   /* what the best are chosen by: the score, or the score with noise */
};

struct cm_beam_search {
    uint32_t beams;
    uint32_t tail_begin;    /* first entry of the page tables that differs between branches */
    struct cm_branch *next; /* [beams + 1] the branches of the next step, and one on trial */
    struct cm_beam_text *finished; /* [beams + 1] best first, and one on trial */
    uint32_t finished_count;
    struct candidate *candidates; /* [beams * CM_BEAM_CANDIDATES_MAX] */
    int32_t *spare;               /* [pages_count] pages that no branch has */
    uint32_t spare_count;
};

uint32_t cm_beam_search_candidates(uint32_t beams, uint32_t stop_tokens_count)
{
    uint32_t of_each = stop_tokens_count > 1 ? 1 + stop_tokens_count : 2;
    uint32_t wanted = of_each * beams;
    return wanted < CM_BEAM_CANDIDATES_MAX ? wanted : CM_BEAM_CANDIDATES_MAX;
}

/* --- Opening and closing --- */

uint32_t cm_beam_search_pages_count(const struct cm_sequence *sequence)
{
    uint32_t tail_begin = sequence->request.prompt_tokens / CM_PAGE_TOKENS;
    return sequence->branches_max * (sequence->pages_count - tail_begin);
}

enum cm_status cm_beam_search_open(const struct cm_sequence *sequence,
                                   struct cm_beam_search **search)
{
    uint32_t beams = sequence->branches_max;
    uint32_t output_tokens_max = sequence->request.output_tokens_max;
    struct cm_beam_search *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->beams = beams;
    opened->tail_begin = sequence->request.prompt_tokens / CM_PAGE_TOKENS;
    opened->next = cm_alloc(beams + 1, sizeof *opened->next);
    opened->finished = cm_alloc(beams + 1, sizeof *opened->finished);
    opened->candidates =
        cm_alloc((size_t)beams * CM_BEAM_CANDIDATES_MAX, sizeof *opened->candidates);
    opened->spare = cm_alloc(cm_beam_search_pages_count(sequence) + 1, sizeof *opened->spare);
    bool ok = opened->next != NULL && opened->finished != NULL && opened->candidates != NULL &&
              opened->spare != NULL;
    for (uint32_t i = 0; i <= beams && ok; i++) {
        ok = cm_branch_init(&opened->next[i], output_tokens_max, sequence->pages_count) &&
             cm_branch_init(&opened->finished[i].branch, output_tokens_max, 1);
    }
    if (!ok) {
        cm_beam_search_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *search = opened;
    return CM_OK;
}

void cm_beam_search_close(struct cm_beam_search *search)
{
    if (search == NULL) {
        return;
    }
    for (uint32_t i = 0; i <= search->beams; i++) {
        if (search->next != NULL) {
            cm_branch_deinit(&search->next[i]);
        }
        if (search->finished != NULL) {
            cm_branch_deinit(&search->finished[i].branch);
        }
    }
    cm_free(search->next);
    cm_free(search->finished);
    cm_free(search->candidates);
    cm_free(search->spare);
    cm_free(search);
}

void cm_beam_search_restart(struct cm_beam_search *search)
{
    search->finished_count = 0;
}

const struct cm_beam_text *cm_beam_search_best(const struct cm_beam_search *search, uint32_t index)
{
    return index < search->finished_count ? &search->finished[index] : NULL;
}

/* --- Candidates of a step --- */

static int by_key(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->key != y->key) {
        return x->key > y->key ? -1 : 1;
    }
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_score(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* The tokens of one branch were drawn without replacement, so their keys are the largest of Gumbel
 * variables around the scores of all tokens, from the top: each is the maximum over the tokens
 * left, under the one before. The largest keys of all branches together are then a draw from all.
 */
static void add_noise(const struct cm_sequence *sequence, struct candidate *candidates,
                      uint32_t count, double log_mass)
{
    const struct cm_request *request = &sequence->request;
    const struct cm_branch *branch = &sequence->branches[candidates[0].branch];
    double before = INFINITY;
    double left = 1.0;
    for (uint32_t i = 0; i < count; i++) {
        float uniforms[2];
        uint32_t lane = cm_philox_beam_lane(candidates[i].branch, i);
        cm_philox_uniforms(request->seed, request->attempt, branch->output_tokens, lane, uniforms);
        double uniform = fmax(uniforms[1], 0x1p-25);
        double centre = branch->score + log_mass + log(fmax(left, 0x1p-60));
        before = centre - log(exp(centre - before) - log(uniform));
        candidates[i].key = before;
        left -= exp(candidates[i].score - branch->score - log_mass);
    }
}

/* Fills the search's candidates, best first; returns how many there are. */
static uint32_t rank_candidates(struct cm_sequence *sequence, const struct cm_beam_choices *choices,
                                uint32_t candidates_count)
{
    struct candidate *candidates = sequence->beams->candidates;
    bool drawn = sequence->request.sampling.temperature > 0.0f;
    uint32_t count = 0;
    for (uint32_t b = 0; b < sequence->branches_count; b++) {
        uint32_t begin = count;
        for (uint32_t i = 0; i < candidates_count && choices[b].tokens[i] >= 0; i++) {
            double score = sequence->branches[b].score + (double)choices[b].scores[i];
            candidates[count] = (struct candidate){
                .branch = b,
                .rank = count,
                .token = choices[b].tokens[i],
                .logprob = choices[b].logprobs[i],
                .score = score,
                .key = score,
            };
            count++;
        }
        if (drawn && count > begin) {
            add_noise(sequence, candidates + begin, count - begin, (double)choices[b].log_mass);
        }
    }
    qsort(candidates, count, sizeof *candidates, by_key);
    count = count < candidates_count ? count : candidates_count;
    for (uint32_t i = 0; i < count; i++) {
        candidates[i].rank = i;
    }
    if (drawn) {
        qsort(candidates, count, sizeof *candidates, by_score);
    }
    return count;
}

/* --- A step --- */

static void copy_text(struct cm_branch *to, const struct cm_branch *from)
{
    int32_t *output = to->output;
    int32_t *pages = to->pages;
    memcpy(output, from->output, from->output_tokens * sizeof *output);
    *to = *from;
    to->output = output;
    to->pages = pages;
}

/* Puts a text among the finished ones if it is one of the best. */
static void keep_finished(struct cm_beam_search *search, const struct cm_branch *branch,
                          double score, enum cm_finish_reason reason)
{
    struct cm_beam_text trial = search->finished[search->finished_count];
    copy_text(&trial.branch, branch);
    trial.score = score;
    trial.reason = reason;
    uint32_t place = search->finished_count;
    while (place > 0 && search->finished[place - 1].score < score) {
        search->finished[place] = search->finished[place - 1];
        place--;
    }
    search->finished[place] = trial; /* with all places taken, the last one falls out */
    if (search->finished_count < search->beams) {
        search->finished_count++;
    }
}

/* Builds the branches of the next step; returns how many there are. */
static uint32_t grow(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                     uint32_t candidates_count)
{
    struct cm_beam_search *search = sequence->beams;
    uint32_t grown = 0;
    for (uint32_t i = 0; i < candidates_count; i++) {
        const struct candidate *candidate = &search->candidates[i];
        const struct cm_branch *parent = &sequence->branches[candidate->branch];
        struct cm_branch *child = &search->next[grown];
        enum cm_finish_reason reason;
        if (grown == search->beams && candidate->rank >= search->beams) {
            continue; /* neither a place among the branches nor among the finished */
        }
        copy_text(child, parent);
        child->score = candidate->score;
        bool ends = cm_branch_accept(child, &sequence->request, tokenizer, candidate->token,
                                     candidate->logprob, &reason);
        if (ends && candidate->rank < search->beams) {
            double length = parent->output_tokens + 1;
            keep_finished(search, child, candidate->score / length, reason);
        } else if (!ends && grown < search->beams) {
            memcpy(child->pages, parent->pages, sequence->pages_count * sizeof *child->pages);
            grown++;
        }
    }
    return grown;
}

static bool has_page(const struct cm_branch *branches, uint32_t branches_count, uint32_t index,
                     int32_t page)
{
    for (uint32_t i = 0; i < branches_count; i++) {
        if (branches[i].pages[index] == page) {
            return true;
        }
    }
    return false;
}

static bool is_prompts_page(const struct cm_sequence *sequence, uint32_t index, int32_t page)
{
    return index < sequence->path_length && page == sequence->path[index]->page;
}

/* Pages of the branches that `next` no longer has become spare. */
static void collect_spare(struct cm_sequence *sequence, const struct cm_branch *next,
                          uint32_t next_count)
{
    struct cm_beam_search *search = sequence->beams;
    for (uint32_t index = search->tail_begin; index < sequence->pages_count; index++) {
        for (uint32_t b = 0; b < sequence->branches_count; b++) {
            int32_t page = sequence->branches[b].pages[index];
            bool seen = has_page(sequence->branches, b, index, page);
            if (page != CM_NO_PAGE && !seen && !is_prompts_page(sequence, index, page) &&
                !has_page(next, next_count, index, page)) {
                search->spare[search->spare_count++] = page;
            }
        }
    }
}

/* Whether a branch could still bring a text that is better than the worst of those finished. */
static bool may_improve(const struct cm_beam_search *search, const struct cm_branch *best)
{
    return search->finished_count < search->beams ||
           best->score / best->output_tokens > search->finished[search->beams - 1].score;
}

bool cm_beam_search_advance(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                            const struct cm_beam_choices *choices, uint32_t candidates_count,
                            struct cm_kv_pages *pages)
{
    struct cm_beam_search *search = sequence->beams;
    uint32_t spare_before = search->spare_count;
    uint32_t count = rank_candidates(sequence, choices, candidates_count);
    uint32_t grown = grow(sequence, tokenizer, count);
    if (grown == 0 && search->finished_count == 0) {
        /* No token at all may follow: what stands there is the text. */
        struct cm_branch *best = &sequence->branches[0];
        best->output_tokens = best->endable_tokens;
        keep_finished(search, best, best->score, CM_FINISH_STOP);
    }
    collect_spare(sequence, search->next, grown);
    for (uint32_t i = spare_before; i < search->spare_count; i++) {
        cm_kv_pages_discard(pages, search->spare[i]);
    }
    for (uint32_t i = 0; i < grown; i++) {
        struct cm_branch swapped = sequence->branches[i];
        sequence->branches[i] = search->next[i];
        search->next[i] = swapped;
    }
    sequence->branches_count = grown;
    return grown == 0 || !may_improve(search, &sequence->branches[0]);
}

/* --- Pages --- */

void cm_beam_search_take_pages(struct cm_sequence *sequence, struct cm_kv_pages *pages)
{
    struct cm_beam_search *search = sequence->beams;
    search->spare_count = cm_beam_search_pages_count(sequence);
    for (uint32_t i = 0; i < search->spare_count; i++) {
        search->spare[i] = cm_kv_pages_take(pages);
    }
}

void cm_beam_search_give_back_pages(struct cm_sequence *sequence, struct cm_kv_pages *pages)
{
    struct cm_beam_search *search = sequence->beams;
    collect_spare(sequence, NULL, 0);
    CM_ASSERT(search->spare_count == cm_beam_search_pages_count(sequence));
    while (search->spare_count > 0) {
        cm_kv_pages_give_back(pages, search->spare[--search->spare_count]);
    }
    for (uint32_t b = 0; b < sequence->branches_max; b++) {
        for (uint32_t i = search->tail_begin; i < sequence->pages_count; i++) {
            sequence->branches[b].pages[i] = CM_NO_PAGE;
        }
    }
}

bool cm_beam_search_own_page(struct cm_sequence *sequence, uint32_t branch, uint32_t position,
                             struct cm_page_copy *copy)
{
    struct cm_beam_search *search = sequence->beams;
    uint32_t index = position / CM_PAGE_TOKENS;
    int32_t *entry = &sequence->branches[branch].pages[index];
    uint32_t others = sequence->branches_count - branch - 1;
    int32_t before = *entry;
    /* Branches before this one have taken pages of their own already. */
    if (before != CM_NO_PAGE && !is_prompts_page(sequence, index, before) &&
        !has_page(sequence->branches + branch + 1, others, index, before)) {
        return false;
    }
    CM_ASSERT(search->spare_count > 0);
    *entry = search->spare[--search->spare_count];
    *copy = (struct cm_page_copy){ before, *entry, position % CM_PAGE_TOKENS };
    return copy->tokens > 0;
}
