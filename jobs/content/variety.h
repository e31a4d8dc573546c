/* How varied the texts of a whole job are: distinct-1 and distinct-2 (Li and others 2016), the
 * share of different words and pairs of words among all, and self-BLEU (Zhu and others 2018), how
 * well a text can be put together from phrases of the others, on a sample. High distinct and low
 * self-BLEU is varied.
 *
 * The sample is every k-th text, k growing with the job, so the outcome depends on the texts and
 * their order alone. 16 bytes and more a different pair of words. One thread at a time.
 */
#ifndef CM_JOBS_CONTENT_VARIETY_H
#define CM_JOBS_CONTENT_VARIETY_H

#include "base/status.h"
#include "base/text.h"

enum { CM_VARIETY_SAMPLE_MAX = 128 };

struct cm_variety;

struct cm_variety_figures {
    double distinct_1; /* 1 where there are no words */
    double distinct_2;
    double self_bleu; /* up to four words, mean over the sample; 0 where it has fewer than two */
    size_t sample;    /* texts in it */
};

enum cm_status cm_variety_open(struct cm_variety **variety) CM_MUST_CHECK;
void cm_variety_close(struct cm_variety *variety); /* NULL is fine */

/* CM_OUT_OF_MEMORY. */
enum cm_status cm_variety_add(struct cm_variety *variety, struct cm_span text) CM_MUST_CHECK;

/* Of the texts so far. CM_OUT_OF_MEMORY. */
enum cm_status cm_variety_measure(const struct cm_variety *variety,
                                  struct cm_variety_figures *figures) CM_MUST_CHECK;

#endif
