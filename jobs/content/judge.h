/* The judge of copy, fast and deterministic: does a text say only what the facts hold, to the right
 * people, in the right language, whole, without repetition, leaks and forbidden claims, and within
 * the limits of its channel? Texts of the engine and of any file are judged by the same rules.
 *
 * A score is the product of the factors of what was found (judgement.c), times a part that tells
 * faultless texts apart: facts said, words that the facts support, variety, aim at the audience,
 * and how sure the model was.
 */
#ifndef CM_JOBS_CONTENT_JUDGE_H
#define CM_JOBS_CONTENT_JUDGE_H

#include "base/status.h"
#include "jobs/content/judgement.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

struct cm_judge;
struct cm_channel;

struct cm_judge_options {
    const char *const *lexicon_paths; /* more lists, see lexicon.h; rule "banned-word" */
    size_t lexicon_paths_count;
    bool learns_catalog; /* cm_judge_learn is called for its items before the first text */
};

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA (with file and line), CM_LIMIT, CM_OUT_OF_MEMORY. */
enum cm_status cm_judge_open(const struct cm_judge_options *options, struct cm_judge **judge,
                             struct cm_error *error) CM_MUST_CHECK;
void cm_judge_close(struct cm_judge *judge); /* NULL is fine */

/* What values and brands the catalog knows, so that a text with those of another item is noticed;
 * then `ready` once. Only where a catalog is read whole: the texts of a run must not depend on
 * other items. CM_OUT_OF_MEMORY. */
enum cm_status cm_judge_learn(struct cm_judge *judge, const struct cm_item *item) CM_MUST_CHECK;
void cm_judge_ready(struct cm_judge *judge);

/* Appends the terms whose mere presence is grave, one a line: what a row that held one must not
 * write in its next attempt. CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_judge_append_forbidden(const struct cm_judge *judge,
                                         struct cm_text *text) CM_MUST_CHECK;

/* How the text ended; a file does not always tell. */
enum cm_text_end { CM_TEXT_END_UNKNOWN, CM_TEXT_END_STOP, CM_TEXT_END_LENGTH };

struct cm_judge_input {
    struct cm_span text;              /* UTF-8 */
    const struct cm_channel *channel; /* NULL: none */
    const char *scenario;             /* NULL: not known, parts that lack are not missed */
    struct cm_span fields;      /* the JSON object of a channel with several fields; empty: none */
    const struct cm_item *item; /* NULL: not known, facts are not checked */
    const struct cm_segment *segment;   /* NULL: none */
    const struct cm_question *question; /* NULL: none */
    const char *language;               /* "": not checked */
    enum cm_text_end end;
    double mean_logprob; /* 0 where it is not known */
};

/* One thread at a time for each judge. CM_OUT_OF_MEMORY only. */
enum cm_status cm_judge_text(struct cm_judge *judge, const struct cm_judge_input *input,
                             struct cm_judgement *judgement) CM_MUST_CHECK;

/* Only what is forbidden or private: lexicons, personal data, leaks, instructions, channel. */
enum cm_status cm_judge_compliance(struct cm_judge *judge, const struct cm_judge_input *input,
                                   struct cm_judgement *judgement) CM_MUST_CHECK;

#endif
