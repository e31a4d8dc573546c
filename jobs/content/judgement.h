/* What a judge found about a text: a score for each dimension with the evidence that led to it. */
#ifndef CM_JOBS_CONTENT_JUDGEMENT_H
#define CM_JOBS_CONTENT_JUDGEMENT_H

#include "base/status.h"
#include "base/text.h"
#include "jobs/content/lexicon.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    CM_FLAGS_BYTES = 512,
    CM_FINDINGS_MAX = 24,
    CM_EVIDENCE_MAX = 96,
    CM_FINDING_BYTES = 160,
    CM_EVIDENCE_BYTES = 64,
};

enum cm_dimension {
    CM_ACCURACY,
    CM_TARGETING,
    CM_FLUENCY,
    CM_SAFETY,
    CM_CREATIVITY,
    CM_DIMENSION_COUNT
};
const char *cm_dimension_name(enum cm_dimension dimension); /* "accuracy" */

/* A kind of fault: what it is called in `flags`, how much of the score it leaves, and what it means
 * in plain words. */
struct cm_rule {
    const char *name;
    enum cm_dimension dimension;
    enum cm_severity severity;
    double factor; /* of the score */
    const char *words;
};

/* The rule of that name; NULL: none. */
const struct cm_rule *cm_rule_find(const char *name);

struct cm_finding {
    const struct cm_rule *rule;
    enum cm_severity severity;
    char detail[CM_FINDING_BYTES]; /* "19.99, 20" */
};

enum cm_evidence_kind {
    CM_EVIDENCE_MATCHED, /* a fact, said */
    CM_EVIDENCE_UNSUPPORTED,
    CM_EVIDENCE_BANNED,
    CM_EVIDENCE_PII,
    CM_EVIDENCE_REPEATED,
    CM_EVIDENCE_CUT,
};

struct cm_evidence {
    enum cm_evidence_kind kind;
    size_t begin; /* bytes in the text */
    size_t end;
    const struct cm_rule *rule;   /* NULL: matched */
    char fact[CM_EVIDENCE_BYTES]; /* which fact is meant; "": none */
    char note[CM_EVIDENCE_BYTES]; /* "" for none */
};

struct cm_judgement {
    double score;                                /* 0..1, over all */
    double scores[CM_DIMENSION_COUNT];           /* 0..1 */
    struct cm_finding findings[CM_FINDINGS_MAX]; /* one a rule */
    size_t findings_count;
    struct cm_evidence evidence[CM_EVIDENCE_MAX]; /* more than fit are left out */
    size_t evidence_count;
};

/* Adds a finding, or to the one there is of the same rule: a detail more, the graver severity. The
 * rule must exist. */
void cm_judgement_find(struct cm_judgement *judgement, const char *rule, enum cm_severity severity,
                       const char *format, ...) CM_PRINTF(4, 5);

/* The same with the rule's own severity. */
void cm_judgement_flag(struct cm_judgement *judgement, const char *rule, const char *format, ...)
    CM_PRINTF(3, 4);

/* `fact` and `note` may be NULL. */
void cm_judgement_show(struct cm_judgement *judgement, enum cm_evidence_kind kind, size_t begin,
                       size_t end, const char *rule, const char *fact, const char *note);

/* What a finding leaves of the score. */
double cm_finding_factor(const struct cm_finding *finding);

bool cm_judgement_has(const struct cm_judgement *judgement, const char *rule);
bool cm_judgement_is_grave(const struct cm_judgement *judgement); /* of high severity */

/* "name: detail; name: detail", empty where nothing was found; flags past the room are left out. */
void cm_judgement_flags(const struct cm_judgement *judgement, char flags[CM_FLAGS_BYTES]);

/* Appends the object that the ledger keeps:
 *
 *     {"score":0.87,"scores":{"accuracy":...},
 *      "flags":[{"rule":"unsupported-number","severity":"high","reason":"plain words"}],
 *      "spans":[{"kind":"matched","begin":0,"end":4,"rule":"...","fact":"price","note":"..."}]}
 *
 * CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_judgement_json(const struct cm_judgement *judgement,
                                 struct cm_text *json) CM_MUST_CHECK;

#endif
