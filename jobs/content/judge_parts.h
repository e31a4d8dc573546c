/* The checks of a judge; internal to it. Each looks at one thing and adds what it finds. */
#ifndef CM_JOBS_CONTENT_JUDGE_PARTS_H
#define CM_JOBS_CONTENT_JUDGE_PARTS_H

#include "jobs/content/channel.h"
#include "jobs/content/fact_sheet.h"
#include "jobs/content/judge.h"
#include "jobs/content/lexicon.h"
#include "jobs/content/text_words.h"
#include "jobs/content/vocabulary.h"

/* Memory that the checks use one after the other. */
struct cm_scratch {
    struct cm_plain_text plain;
    struct cm_text_words words;
    struct cm_quantities quantities;
    struct cm_word_set said; /* of the text in work, sorted */
};

/* A text in work. */
struct cm_case {
    const struct cm_judge_input *input;
    const struct cm_plain_text *plain; /* of the text */
    const struct cm_text_words *words;
    const struct cm_fact_sheet *facts; /* empty without an item */
    struct cm_judgement *judgement;
    struct cm_scratch *scratch;
};

/* Adds findings; gives the shares, 0 to 1, that the score is graded by. */
struct cm_facts_grade {
    double coverage;  /* of the key facts, those that the text says */
    double precision; /* of the text's n-grams, those that the facts hold (PARENT-style) */
};
enum cm_status cm_check_facts(const struct cm_case *text, const struct cm_vocabulary *vocabulary,
                              struct cm_facts_grade *grade) CM_MUST_CHECK;

enum cm_status cm_check_form(const struct cm_case *text) CM_MUST_CHECK;
double cm_form_variety(const struct cm_text_words *words); /* distinct-2, 0 to 1 */

void cm_check_patterns(const struct cm_case *text); /* markup and leaks */
void cm_check_words(const struct cm_case *text, const struct cm_lexicon *lexicon);
void cm_check_privacy(const struct cm_case *text);

/* Limits and bans of the channel. CM_OUT_OF_MEMORY. */
enum cm_status cm_check_channel(const struct cm_case *text) CM_MUST_CHECK;

/* How much of the segment's words the text takes up, 0 to 1; 1 without a segment. */
double cm_check_audience(const struct cm_case *text);

/* The question and its answer, see answer.h. */
enum cm_status cm_check_answer(const struct cm_case *text) CM_MUST_CHECK;

#endif
