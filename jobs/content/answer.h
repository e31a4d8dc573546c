/* Whether an item's facts and a policy hold the answer to a customer's question.
 *
 * The question's words (without those of the title and of asking) are looked up in the facts, with
 * the help of groups such as "wash, washable, laundry" or "雨, 防水". A question with a policy of
 * its own counts as answered by it. That is a check by words: it finds what the facts do not
 * mention at all, not what they say in a way that needs thought. */
#ifndef CM_JOBS_CONTENT_ANSWER_H
#define CM_JOBS_CONTENT_ANSWER_H

#include "base/status.h"
#include "base/text.h"
#include "jobs/content/fact_sheet.h"
#include "loaders/questions.h"

#include <stdbool.h>

enum { CM_ANSWER_MISSING_BYTES = 64 };

struct cm_answer_check {
    bool is_held;                          /* facts or policy speak of what is asked */
    bool is_refusal;                       /* the text says that it does not know */
    bool is_refusal_alone;                 /* and claims nothing else */
    bool is_opposite;                      /* the text denies what the policy grants, or grants
                                            * what it denies */
    char missing[CM_ANSWER_MISSING_BYTES]; /* what the facts do not hold: "oven"; "" */
};

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_answer_examine(const struct cm_question *question,
                                 const struct cm_fact_sheet *facts, struct cm_span answer,
                                 struct cm_answer_check *check) CM_MUST_CHECK;

#endif
