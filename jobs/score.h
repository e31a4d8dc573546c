/* First judgement of a copy, fast and deterministic: does it say only what the facts hold, in the
 * right language, whole and without repetition or leaks? The full set of dimensions grows here. */
#ifndef CM_JOBS_SCORE_H
#define CM_JOBS_SCORE_H

#include "base/status.h"
#include "host/engine.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

enum { CM_FLAGS_BYTES = 512 };

struct cm_score_input {
    struct cm_span text; /* the copy, UTF-8 */
    const struct cm_item *item;
    const struct cm_segment *segment;
    const struct cm_question *question; /* NULL: none */
    const char *language;
    enum cm_finish_reason finish_reason;
    double mean_logprob;
};

struct cm_score {
    double score;               /* 0..1 */
    char flags[CM_FLAGS_BYTES]; /* reasons, "name: detail; name: detail", empty where there are
                                   none: unsupported-number, wrong-language, cut-off, repetition,
                                   too-short, markup, prompt-leak */
};

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_score_text(const struct cm_score_input *input,
                             struct cm_score *score) CM_MUST_CHECK;

#endif
