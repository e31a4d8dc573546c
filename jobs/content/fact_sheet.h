/* Everything that a copy may say, gathered from its row: the item's fields and columns, the offer
 * of its segment, the question and the policy it answers from. What the checks of a judge compare
 * a text with. */
#ifndef CM_JOBS_CONTENT_FACT_SHEET_H
#define CM_JOBS_CONTENT_FACT_SHEET_H

#include "base/status.h"
#include "jobs/content/quantities.h"
#include "jobs/content/text_words.h"
#include "jobs/numbers.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

enum { CM_FACT_SLOTS_MAX = 256 };

/* One fact of the item; borrowed. */
struct cm_fact_slot {
    const char *name;
    const char *value;
    bool is_key; /* worth saying: title, brand, what a reader of copy wants */
};

struct cm_sheet_sources {
    const struct cm_item *item;
    const struct cm_segment *segment;   /* NULL: none */
    const struct cm_question *question; /* NULL: none */
    struct cm_span copy; /* a description that equals it is the text under judgement, not a fact */
};

/* Zero-initialise; release with cm_fact_sheet_deinit. Can be filled again and again. */
struct cm_fact_sheet {
    struct cm_fact_slot slots[CM_FACT_SLOTS_MAX];
    size_t slots_count;
    struct cm_text text;             /* all facts, a line each */
    struct cm_plain_text plain;      /* of `text` */
    struct cm_plain_text proof;      /* of what is no name: columns, description, policy */
    struct cm_text_words words;      /* of `text` */
    struct cm_word_set set;          /* of `words` */
    struct cm_numbers numbers;       /* which a copy may name */
    struct cm_quantities quantities; /* of `text` */
    struct cm_plain_text brand;      /* empty: none */
    struct cm_plain_text audience;   /* all columns of the segment */
    struct cm_text_words audience_words;
};

void cm_fact_sheet_deinit(struct cm_fact_sheet *sheet);

/* CM_OUT_OF_MEMORY only. The sources are borrowed until the next call. */
enum cm_status cm_fact_sheet_fill(struct cm_fact_sheet *sheet,
                                  const struct cm_sheet_sources *sources) CM_MUST_CHECK;

#endif
