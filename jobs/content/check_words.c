/* Safety: words of the lexicons, data that identifies a person, what is known of the audience. */
#include "jobs/content/judge_parts.h"

#include "loaders/personal_data.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void report(const struct cm_case *text, const struct cm_lexicon_hit *hit)
{
    const struct cm_plain_character *characters = text->plain->characters;
    size_t begin = characters[hit->first].begin;
    size_t end = characters[hit->last - 1].end;
    cm_judgement_find(text->judgement, hit->rule, hit->severity, "%.*s", (int)(end - begin),
                      text->input->text.data + begin);
    cm_judgement_show(text->judgement, CM_EVIDENCE_BANNED, begin, end, hit->rule, NULL,
                      cm_severity_name(hit->severity));
}

/* Weak hits count in the company of a strong one, or where there is hardly anything else. */
void cm_check_words(const struct cm_case *text, const struct cm_lexicon *lexicon)
{
    enum { COMPANY_WORDS_MAX = 4 };
    struct cm_lexicon_context context = { .facts = &text->facts->proof,
                                          .brand = text->facts->brand.count > 0
                                                       ? &text->facts->brand
                                                       : NULL };
    struct cm_lexicon_hit hit;
    bool has_company = text->words->count <= COMPANY_WORDS_MAX;
    for (size_t at = 0; cm_lexicon_next(lexicon, text->plain, &context, &at, &hit);) {
        has_company = has_company || !hit.weak;
    }
    for (size_t at = 0;
         has_company && cm_lexicon_next(lexicon, text->plain, &context, &at, &hit);) {
        report(text, &hit);
    }
}

/* --- Privacy --- */

static bool is_private(const char *name)
{
    static const char *const private[] = { "age",    "income", "gender", "birth",  "salary",
                                           "年龄",   "收入",   "性别",   "health", "religion",
                                           "ethnic", "疾病",   "宗教" };
    for (size_t i = 0; i < sizeof private / sizeof private[0]; i++) {
        size_t length = strlen(private[i]);
        const char *at = strcasestr(name, private[i]);
        bool starts = at != NULL && (at == name || at[-1] == '_' || at[-1] == ' ' ||
                                     (unsigned char)at[-1] >= 0x80);
        bool ends = at != NULL && (at[length] == '\0' || at[length] == '_' || at[length] == ' ' ||
                                   (unsigned char)at[length] >= 0x80);
        if (starts && ends) {
            return true;
        }
    }
    return false;
}

/* "As a 25-34 year old": what a column such as age holds, repeated to its reader. */
static void check_audience_named(const struct cm_case *text)
{
    const struct cm_segment *segment = text->input->segment;
    for (size_t i = 0; segment != NULL && i < segment->attributes_count; i++) {
        const struct cm_attribute *attribute = &segment->attributes[i];
        bool has_digits = strpbrk(attribute->value, "0123456789") != NULL;
        if (!is_private(attribute->name) || !has_digits || strlen(attribute->value) < 3) {
            continue;
        }
        const char *found = memmem(text->input->text.data, text->input->text.length,
                                   attribute->value, strlen(attribute->value));
        if (found != NULL) {
            size_t begin = (size_t)(found - text->input->text.data);
            cm_judgement_flag(text->judgement, "names-audience", "%s %s", attribute->name,
                              attribute->value);
            cm_judgement_show(text->judgement, CM_EVIDENCE_PII, begin,
                              begin + strlen(attribute->value), "names-audience", attribute->name,
                              NULL);
        }
    }
}

void cm_check_privacy(const struct cm_case *text)
{
    struct cm_personal_match match;
    for (size_t at = 0; cm_personal_data_next(text->input->text, &at, &match);) {
        cm_judgement_flag(text->judgement, "personal-data", "%s",
                          cm_personal_kind_name(match.kind));
        cm_judgement_show(text->judgement, CM_EVIDENCE_PII, match.begin, match.end, "personal-data",
                          NULL, cm_personal_kind_name(match.kind));
    }
    check_audience_named(text);
}

/* --- Targeting --- */

double cm_check_audience(const struct cm_case *text)
{
    enum { ENOUGH = 3 };
    struct cm_text_unit unit;
    size_t taken = 0;
    if (text->facts->audience_words.count == 0) {
        return 1;
    }
    for (size_t at = 0; cm_text_unit_next(&text->facts->audience_words, &at, &unit);) {
        taken += cm_word_set_holds(&text->scratch->said, unit.hash);
    }
    return taken >= ENOUGH ? 1 : 0.4 + 0.2 * (double)taken;
}
