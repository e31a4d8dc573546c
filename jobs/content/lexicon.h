/* Lists of words that copy should not hold, with how grave each is and where it is harmless.
 *
 * A list is a text file:
 *
 *     # a comment
 *     $own = <本店, <本系列            a group of contexts, for use below
 *     [superlative high]               the rule and severity (low, medium, high) of what follows
 *     最低价 : $own                     a term, and contexts in which it is harmless
 *     最佳 : 最佳保存期, 最佳食用期
 *
 * A context is a longer phrase around the term; with "<" a word in the same sentence up to
 * CM_LEXICON_NEAR characters before it, with ">" one after it; "=facts" stands for facts that use
 * the term themselves. Terms are looked up in plain text (plain_text.h), so one spelling serves all
 * variants. A term that begins or ends with an ASCII letter or digit does so at the border of a
 * word. A severity with "?" behind it
 * ("medium?") marks terms of other lists that have harmless meanings in most copy: hits on them are
 * `weak`, and so are those on a single ideograph. */
#ifndef CM_JOBS_CONTENT_LEXICON_H
#define CM_JOBS_CONTENT_LEXICON_H

#include "base/status.h"
#include "jobs/content/plain_text.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    CM_LEXICON_TERMS_MAX = 50000,
    CM_LEXICON_RULE_BYTES = 32,
    CM_LEXICON_RULES_MAX = 64,
    CM_LEXICON_TERM_CHARACTERS_MAX = 64,
    CM_LEXICON_NEAR = 12,
};

enum cm_severity { CM_SEVERITY_LOW, CM_SEVERITY_MEDIUM, CM_SEVERITY_HIGH };
const char *cm_severity_name(enum cm_severity severity); /* "low" */

struct cm_lexicon; /* read-only once it is sealed: any number of threads */

enum cm_status cm_lexicon_open(struct cm_lexicon **lexicon) CM_MUST_CHECK;
void cm_lexicon_close(struct cm_lexicon *lexicon); /* NULL is fine */

/* Adds a list; `name` stands in messages: "name:line: what was expected". Terms before the first
 * section get `rule` (NULL: a section is expected) and high severity. CM_INVALID_DATA, CM_LIMIT,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_lexicon_add(struct cm_lexicon *lexicon, struct cm_span text, const char *name,
                              const char *rule, struct cm_error *error) CM_MUST_CHECK;

/* Sorts the terms; nothing can be added after it, and nothing found before. Of a term that was
 * added twice the first counts. */
void cm_lexicon_seal(struct cm_lexicon *lexicon);

size_t cm_lexicon_count(const struct cm_lexicon *lexicon);

/* Appends the terms of at least this severity in plain spelling, one a line, contexts or not; those
 * that are weak are left out. CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_lexicon_append_terms(const struct cm_lexicon *lexicon, enum cm_severity least,
                                       struct cm_text *text) CM_MUST_CHECK;

struct cm_lexicon_hit {
    const char *rule;
    enum cm_severity severity;
    bool weak;
    size_t first; /* characters of the plain text */
    size_t last;  /* one past */
};

/* The facts of an item as one plain text, and its brand; NULL: none. A hit inside the brand's name
 * is none. */
struct cm_lexicon_context {
    const struct cm_plain_text *facts;
    const struct cm_plain_text *brand;
};

/* The next hit from character `*at` on, the longest term at its place; `*at` moves past it. */
bool cm_lexicon_next(const struct cm_lexicon *lexicon, const struct cm_plain_text *plain,
                     const struct cm_lexicon_context *context, size_t *at,
                     struct cm_lexicon_hit *hit);

#endif
