/* A request in the window: its text so far, its place in the prefix tree, its pages. The scheduler
 * moves sequences between lists; here is what concerns one of them alone. */
#ifndef CM_HOST_SEQUENCE_H
#define CM_HOST_SEQUENCE_H

#include "base/status.h"
#include "host/engine.h"
#include "host/prefix_tree.h"
#include "host/text_tail.h"

#include <stdbool.h>
#include <stdint.h>

enum cm_sequence_state {
    CM_SEQUENCE_WAITING,
    CM_SEQUENCE_PREFILL,
    CM_SEQUENCE_DECODE,
    CM_SEQUENCE_FINISHED, /* its text waits to be taken */
    CM_SEQUENCE_TAKEN,    /* waits for release or retry */
};

/* A text in the making. A request has one; in beam search it has several that grow together. */
struct cm_branch {
    int32_t *output; /* [output_tokens_max] */
    uint32_t output_tokens;
    uint32_t endable_tokens; /* leading output tokens after which the constraints let a text end */
    double logprob_sum;      /* under the unmodified distribution */
    double score;            /* in beam search: sum of the candidates' scores */
    uint32_t constraint_states[CM_CONSTRAINTS_MAX]; /* after the output so far */
    struct cm_text_tail tail;
    int32_t *pages; /* [pages_count] page table: the path's pages, then its own */
};

struct cm_beam_search; /* host/beam_search.h */

struct cm_sequence {
    struct cm_sequence *previous; /* in whichever list it is */
    struct cm_sequence *next;
    enum cm_sequence_state state;
    struct cm_request request;    /* its prompt is owned here */
    int32_t *prompt;              /* [prompt_tokens] */
    struct cm_branch *branches;   /* [branches_max] */
    uint32_t branches_max;        /* 1, or the number of beams */
    uint32_t branches_count;      /* now growing; one until the prompt is computed */
    struct cm_beam_search *beams; /* NULL: none */
    enum cm_finish_reason finish_reason;

    struct cm_node **path; /* [path_length] nodes of the prompt */
    uint32_t path_length;
    uint32_t wave;             /* in flight: whose steps it takes part in */
    uint32_t pages_count;      /* of each branch */
    uint32_t prefilled_tokens; /* leading prompt tokens that are in its pages */
    uint32_t computed_tokens;  /* prompt tokens that this request computed itself */
    uint32_t copied_tokens;    /* prompt tokens copied from a donor's page */
};

struct cm_sequence_list {
    struct cm_sequence *first;
    struct cm_sequence *last;
    uint32_t count;
};

void cm_sequence_push_back(struct cm_sequence_list *list, struct cm_sequence *sequence);
void cm_sequence_push_front(struct cm_sequence_list *list, struct cm_sequence *sequence);
void cm_sequence_remove(struct cm_sequence_list *list, struct cm_sequence *sequence);

/* Takes over what is different in another attempt; `request` holds its constraints. */
void cm_request_retry(struct cm_request *request, const struct cm_retry *retry);

/* Copies the request and shares its constraints; the path is empty. NULL: no memory. */
struct cm_sequence *cm_sequence_create(const struct cm_request *request) CM_MUST_CHECK;
void cm_sequence_free(struct cm_sequence *sequence);

/* Forgets the output, for a first or another attempt. */
void cm_sequence_restart(struct cm_sequence *sequence);

/* The text: of a beam search that has ended, the best. */
const struct cm_branch *cm_sequence_text(const struct cm_sequence *sequence);

/* Room for a text and a page table, empty. False: no memory; the branch is then to be freed too. */
bool cm_branch_init(struct cm_branch *branch, uint32_t output_tokens_max,
                    uint32_t pages_count) CM_MUST_CHECK;
void cm_branch_deinit(struct cm_branch *branch);

/* Appends a sampled token. True: the text ends, for the reason given; the token that ended it
 * stands in the output only where it is text. The output is then cut back to where the constraints
 * let a text end, so that a limit cannot leave half a number. */
bool cm_branch_accept(struct cm_branch *branch, const struct cm_request *request,
                      const struct cm_tokenizer *tokenizer, int32_t token, float logprob,
                      enum cm_finish_reason *reason);

#endif
