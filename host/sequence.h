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

struct cm_sequence {
    struct cm_sequence *previous; /* in whichever list it is */
    struct cm_sequence *next;
    enum cm_sequence_state state;
    struct cm_request request; /* its prompt is owned here */
    int32_t *prompt;           /* [prompt_tokens] */
    int32_t *output;           /* [output_tokens_max] */
    uint32_t output_tokens;
    uint32_t endable_tokens; /* leading output tokens after which the constraints let a text end */
    enum cm_finish_reason finish_reason;
    double logprob_sum;
    uint32_t constraint_states[CM_CONSTRAINTS_MAX]; /* after the output so far */
    struct cm_text_tail tail;

    struct cm_node **path; /* [path_length] nodes of the prompt */
    uint32_t path_length;
    int32_t *pages; /* [pages_count] page table: the path's pages, then its own */
    uint32_t pages_count;
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

/* Copies the request and shares its constraints; the path is empty. NULL: no memory. */
struct cm_sequence *cm_sequence_create(const struct cm_request *request) CM_MUST_CHECK;
void cm_sequence_free(struct cm_sequence *sequence);

/* Forgets the output, for a first or another attempt. */
void cm_sequence_restart(struct cm_sequence *sequence);

/* Appends a sampled token. True: the text ends, for the reason given; the token that ended it
 * stands in the output only where it is text. The output is then cut back to where the constraints
 * let a text end, so that a limit cannot leave half a number. */
bool cm_sequence_accept(struct cm_sequence *sequence, const struct cm_tokenizer *tokenizer,
                        int32_t token, float logprob, enum cm_finish_reason *reason);

#endif
