/* Beam search over the branches of one request, in Hugging Face's meaning (transformers 5,
 * `generate` with num_beams, length_penalty 1, early_stopping False; Kool et al., "Stochastic Beams
 * and Where to Find Them", 2019, for the draws).
 *
 * Each step the (1 + stop tokens) * beams best continuations of all branches are looked at, at
 * least 2 * beams. Those among the first `beams` that end a text become finished texts, by their
 * score over their length in tokens; the best `beams` others go on. The search ends when no branch
 * can go on, or when `beams` texts are finished and the best branch's score over its length is not
 * over the worst of them. With a temperature the continuations are drawn without replacement in
 * proportion to exp(branch's score + candidate's score) instead of taken from the top.
 *
 * Branches share the pages of the prompt and of what they have in common. The page that a branch
 * writes into is its own: it is copied where another has it too. All pages that the branches can
 * need are taken when the request is admitted.
 */
#ifndef CM_HOST_BEAM_SEARCH_H
#define CM_HOST_BEAM_SEARCH_H

#include "base/status.h"
#include "host/kv_pages.h"
#include "host/sequence.h"

#include <stdbool.h>
#include <stdint.h>

/* The tokens by which one branch may go on; see cm_op_beam. */
struct cm_beam_choices {
    const int32_t *tokens; /* [candidates_count] -1: none */
    const float *scores;   /* [candidates_count] */
    const float *logprobs; /* [candidates_count] */
    float log_mass;
};

struct cm_beam_text {
    struct cm_branch branch;
    double score; /* over its length */
    enum cm_finish_reason reason;
};

/* For a sequence whose request has beams; the sequence's sizes must be set. */
enum cm_status cm_beam_search_open(const struct cm_sequence *sequence,
                                   struct cm_beam_search **search) CM_MUST_CHECK;
void cm_beam_search_close(struct cm_beam_search *search); /* NULL is fine */

/* Forgets the finished texts. The pages must have been given back. */
void cm_beam_search_restart(struct cm_beam_search *search);

/* Candidates of each branch and step. */
uint32_t cm_beam_search_candidates(uint32_t beams, uint32_t stop_tokens_count);

/* The index-th best text once the search has ended; NULL: there are fewer. At least one is there.
 */
const struct cm_beam_text *cm_beam_search_best(const struct cm_beam_search *search, uint32_t index);

/* One step: `choices` holds one entry for each branch; of `pages` those are discarded that no
 * branch has any more. True: the search has ended. */
bool cm_beam_search_advance(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                            const struct cm_beam_choices *choices, uint32_t candidates_count,
                            struct cm_kv_pages *pages);

/* --- Pages --- */

/* Pages for the branches, beside those of the prompt. */
uint32_t cm_beam_search_pages_count(const struct cm_sequence *sequence);

/* Takes them all. The first branch's page table already holds the pages of the prompt. */
void cm_beam_search_take_pages(struct cm_sequence *sequence, struct cm_kv_pages *pages);
void cm_beam_search_give_back_pages(struct cm_sequence *sequence, struct cm_kv_pages *pages);

/* Makes the page of `position` the branch's own, to be written in the next step. True: `copy` is to
 * be done first. */
bool cm_beam_search_own_page(struct cm_sequence *sequence, uint32_t branch, uint32_t position,
                             struct cm_page_copy *copy) CM_MUST_CHECK;

#endif
