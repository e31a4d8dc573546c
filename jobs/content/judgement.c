#include "jobs/content/judgement.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* All there is to tune: a score is the product of the factors of the rules that found something, so
 * that one grave fault or several light ones both bring a text under the threshold. Rules of the
 * lexicons have a factor for each severity instead. */
static const struct cm_rule RULES[] = {
    { "unsupported-number", CM_ACCURACY, CM_SEVERITY_HIGH, 0.4,
      "names a number that the facts do not hold" },
    { "unsupported-unit", CM_ACCURACY, CM_SEVERITY_HIGH, 0.4,
      "gives a number of the facts another unit" },
    { "contradicted-fact", CM_ACCURACY, CM_SEVERITY_HIGH, 0.4,
      "says something else than the facts" },
    { "unsupported-brand", CM_ACCURACY, CM_SEVERITY_HIGH, 0.4,
      "names a brand that is not the item's" },
    { "not-in-facts", CM_ACCURACY, CM_SEVERITY_HIGH, 0.4,
      "answers a question that facts and policy do not answer" },
    { "wrong-language", CM_FLUENCY, CM_SEVERITY_HIGH, 0.1,
      "is in another language than asked for" },
    { "cut-off", CM_FLUENCY, CM_SEVERITY_MEDIUM, 0.6, "ends in the middle of a sentence" },
    { "broken-character", CM_FLUENCY, CM_SEVERITY_HIGH, 0.3,
      "holds a character that cannot be shown" },
    { "repetition", CM_FLUENCY, CM_SEVERITY_MEDIUM, 0.5, "says the same again" },
    { "too-short", CM_FLUENCY, CM_SEVERITY_MEDIUM, 0.3, "is too short to be a copy" },
    { "too-long", CM_FLUENCY, CM_SEVERITY_HIGH, 0.3, "is longer than the channel allows" },
    { "long", CM_FLUENCY, CM_SEVERITY_LOW, 0.95, "is longer than the channel recommends" },
    { "missing-field", CM_FLUENCY, CM_SEVERITY_HIGH, 0.4, "lacks a part that the channel wants" },
    { "channel-ban", CM_SAFETY, CM_SEVERITY_HIGH, 0.4, "holds what the channel does not allow" },
    { "repaired", CM_FLUENCY, CM_SEVERITY_LOW, 0.9, "was cut or completed to fit the channel" },
    { "markup", CM_FLUENCY, CM_SEVERITY_MEDIUM, 0.7, "holds markup" },
    { "prompt-leak", CM_SAFETY, CM_SEVERITY_HIGH, 0.3, "speaks of the task instead of the item" },
    { "injected-instruction", CM_SAFETY, CM_SEVERITY_HIGH, 0.2,
      "holds an instruction meant for a model" },
    { "personal-data", CM_SAFETY, CM_SEVERITY_HIGH, 0.2, "holds what identifies a person" },
    { "names-audience", CM_TARGETING, CM_SEVERITY_MEDIUM, 0.6,
      "tells its readers what it knows about them" },
    { "superlative", CM_SAFETY, CM_SEVERITY_HIGH, 0,
      "uses a superlative that the Advertising Law or fair trading does not allow" },
    { "ranking", CM_SAFETY, CM_SEVERITY_HIGH, 0, "claims a rank that needs proof" },
    { "urgency", CM_SAFETY, CM_SEVERITY_MEDIUM, 0, "presses its readers" },
    { "guarantee", CM_SAFETY, CM_SEVERITY_MEDIUM, 0, "promises an outcome" },
    { "eco-claim", CM_SAFETY, CM_SEVERITY_MEDIUM, 0,
      "makes an environmental claim that needs proof" },
    { "medical-claim", CM_SAFETY, CM_SEVERITY_HIGH, 0, "claims a medical or health effect" },
    { "finance-claim", CM_SAFETY, CM_SEVERITY_HIGH, 0, "promises a financial return" },
    { "profanity", CM_SAFETY, CM_SEVERITY_HIGH, 0, "uses an offensive word" },
    { "banned-word", CM_SAFETY, CM_SEVERITY_HIGH, 0, "uses a word of the ban list" },
    { "template-phrase", CM_CREATIVITY, CM_SEVERITY_LOW, 0, "uses a phrase that fits any product" },
    { "near-duplicate", CM_CREATIVITY, CM_SEVERITY_LOW, 0.9,
      "says nearly the same as another row" },
};

static const double SEVERITY_FACTORS[] = { 0.9, 0.6, 0.3 };

const char *cm_dimension_name(enum cm_dimension dimension)
{
    static const char *const names[CM_DIMENSION_COUNT] = { "accuracy", "targeting", "fluency",
                                                           "safety", "creativity" };
    return names[dimension];
}

const struct cm_rule *cm_rule_find(const char *name)
{
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++) {
        if (strcmp(RULES[i].name, name) == 0) {
            return &RULES[i];
        }
    }
    return NULL;
}

/* --- Collecting --- */

/* "; " parts the flags, so no detail may hold it; nor may a cut leave half a character. */
static void clean(char *text)
{
    for (char *at = text; *at != '\0'; at++) {
        if (*at == ';') {
            *at = ' ';
        }
    }
    cm_utf8_clean(text);
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '?') { /* what a cut character became */
        text[--length] = '\0';
    }
}

/* Whether a detail is one of those that are there, which commas part. */
static bool has_detail(const char *details, const char *detail)
{
    size_t length = strlen(detail);
    for (const char *at = details; (at = strstr(at, detail)) != NULL; at++) {
        bool begins = at == details || (at >= details + 2 && at[-1] == ' ' && at[-2] == ',');
        bool ends = at[length] == '\0' || at[length] == ',';
        if (begins && ends) {
            return true;
        }
    }
    return false;
}

static void add_detail(struct cm_finding *finding, const char *detail)
{
    size_t length = strlen(finding->detail);
    size_t room = sizeof finding->detail - length;
    if (detail[0] != '\0' && !has_detail(finding->detail, detail) && strlen(detail) + 3 < room) {
        snprintf(finding->detail + length, room, "%s%s", length > 0 ? ", " : "", detail);
    }
}

static void find(struct cm_judgement *judgement, const struct cm_rule *rule,
                 enum cm_severity severity, const char *detail)
{
    for (size_t i = 0; i < judgement->findings_count; i++) {
        struct cm_finding *finding = &judgement->findings[i];
        if (finding->rule == rule) {
            finding->severity = severity > finding->severity ? severity : finding->severity;
            add_detail(finding, detail);
            return;
        }
    }
    if (judgement->findings_count < CM_FINDINGS_MAX) {
        struct cm_finding *finding = &judgement->findings[judgement->findings_count++];
        *finding = (struct cm_finding){ .rule = rule, .severity = severity };
        add_detail(finding, detail);
    }
}

void cm_judgement_find(struct cm_judgement *judgement, const char *name, enum cm_severity severity,
                       const char *format, ...)
{
    char detail[CM_FINDING_BYTES];
    va_list arguments;
    const struct cm_rule *rule = cm_rule_find(name);
    CM_ASSERT(rule != NULL);
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    clean(detail);
    find(judgement, rule, severity, detail);
}

void cm_judgement_flag(struct cm_judgement *judgement, const char *name, const char *format, ...)
{
    char detail[CM_FINDING_BYTES];
    va_list arguments;
    const struct cm_rule *rule = cm_rule_find(name);
    CM_ASSERT(rule != NULL);
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    clean(detail);
    find(judgement, rule, rule->severity, detail);
}

void cm_judgement_show(struct cm_judgement *judgement, enum cm_evidence_kind kind, size_t begin,
                       size_t end, const char *rule, const char *fact, const char *note)
{
    if (judgement->evidence_count == CM_EVIDENCE_MAX || begin >= end) {
        return;
    }
    struct cm_evidence *evidence = &judgement->evidence[judgement->evidence_count++];
    *evidence = (struct cm_evidence){ .kind = kind, .begin = begin, .end = end };
    evidence->rule = rule != NULL ? cm_rule_find(rule) : NULL;
    snprintf(evidence->fact, sizeof evidence->fact, "%s", fact != NULL ? fact : "");
    snprintf(evidence->note, sizeof evidence->note, "%s", note != NULL ? note : "");
    cm_utf8_clean(evidence->fact);
    cm_utf8_clean(evidence->note);
}

bool cm_judgement_has(const struct cm_judgement *judgement, const char *rule)
{
    for (size_t i = 0; i < judgement->findings_count; i++) {
        if (strcmp(judgement->findings[i].rule->name, rule) == 0) {
            return true;
        }
    }
    return false;
}

bool cm_judgement_is_grave(const struct cm_judgement *judgement)
{
    for (size_t i = 0; i < judgement->findings_count; i++) {
        if (judgement->findings[i].severity == CM_SEVERITY_HIGH) {
            return true;
        }
    }
    return false;
}

double cm_finding_factor(const struct cm_finding *finding)
{
    bool is_mild = finding->severity < finding->rule->severity;
    return finding->rule->factor > 0 && !is_mild ? finding->rule->factor
                                                 : SEVERITY_FACTORS[finding->severity];
}

/* --- Showing --- */

void cm_judgement_flags(const struct cm_judgement *judgement, char flags[CM_FLAGS_BYTES])
{
    size_t length = 0;
    flags[0] = '\0';
    for (size_t i = 0; i < judgement->findings_count; i++) {
        const struct cm_finding *finding = &judgement->findings[i];
        int wanted =
            snprintf(flags + length, CM_FLAGS_BYTES - length, "%s%s%s%s", length > 0 ? "; " : "",
                     finding->rule->name, finding->detail[0] != '\0' ? ": " : "", finding->detail);
        if (wanted >= (int)(CM_FLAGS_BYTES - length)) {
            flags[length] = '\0';
            return;
        }
        length += (size_t)wanted;
    }
}

static double rounded(double value)
{
    return round(value * 10000) / 10000;
}

static json_t *scores_of(const struct cm_judgement *judgement)
{
    json_t *scores = json_object();
    for (int i = 0; scores != NULL && i < CM_DIMENSION_COUNT; i++) {
        json_object_set_new(scores, cm_dimension_name((enum cm_dimension)i),
                            json_real(rounded(judgement->scores[i])));
    }
    return scores;
}

static json_t *flags_of(const struct cm_judgement *judgement)
{
    json_t *flags = json_array();
    for (size_t i = 0; flags != NULL && i < judgement->findings_count; i++) {
        const struct cm_finding *finding = &judgement->findings[i];
        char reason[2 * CM_FINDING_BYTES];
        bool has_detail = finding->detail[0] != '\0';
        snprintf(reason, sizeof reason, "%s%s%s", finding->rule->words, has_detail ? ": " : "",
                 finding->detail);
        json_array_append_new(flags,
                              json_pack("{s:s, s:s, s:s}", "rule", finding->rule->name, "severity",
                                        cm_severity_name(finding->severity), "reason", reason));
    }
    return flags;
}

static json_t *spans_of(const struct cm_judgement *judgement)
{
    static const char *const kinds[] = { "matched", "unsupported", "banned",
                                         "pii",     "repeated",    "cut" };
    json_t *spans = json_array();
    for (size_t i = 0; spans != NULL && i < judgement->evidence_count; i++) {
        const struct cm_evidence *evidence = &judgement->evidence[i];
        json_t *span = json_pack("{s:s, s:I, s:I}", "kind", kinds[evidence->kind], "begin",
                                 (json_int_t)evidence->begin, "end", (json_int_t)evidence->end);
        if (evidence->rule != NULL) {
            json_object_set_new(span, "rule", json_string(evidence->rule->name));
        }
        if (evidence->fact[0] != '\0') {
            json_object_set_new(span, "fact", json_string(evidence->fact));
        }
        if (evidence->note[0] != '\0') {
            json_object_set_new(span, "note", json_string(evidence->note));
        }
        json_array_append_new(spans, span);
    }
    return spans;
}

enum cm_status cm_judgement_json(const struct cm_judgement *judgement, struct cm_text *json)
{
    cm_json_memory_begin();
    json_t *object =
        json_pack("{s:f, s:o, s:o, s:o}", "score", rounded(judgement->score), "scores",
                  scores_of(judgement), "flags", flags_of(judgement), "spans", spans_of(judgement));
    char *line = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    enum cm_status status = line != NULL && !cm_json_memory_failed()
                                ? cm_text_append_string(json, line)
                                : CM_OUT_OF_MEMORY;
    json_decref(object);
    cm_free(line);
    return status;
}
