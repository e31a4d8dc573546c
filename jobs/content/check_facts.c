/* Accuracy: numbers, units, brands and values that the facts do not hold, and how much of the facts
 * is said. */
#include "jobs/content/judge_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SHOWN_MAX = 5, NUMBER_SHOWN_BYTES = 24, SLOT_VALUE_CHARACTERS_MAX = 80 };

static size_t offset(const struct cm_case *text, const char *at)
{
    return (size_t)(at - text->input->text.data);
}

/* "2-in-1", "3 in 1": a way of speaking. */
static bool is_idiom(struct cm_span text, struct cm_span number)
{
    size_t begin = (size_t)(number.data - text.data);
    size_t end = begin + number.length;
    struct cm_span after = { text.data + end, text.length - end };
    bool leads = after.length > 4 &&
                 (memcmp(after.data, "-in-", 4) == 0 || memcmp(after.data, " in 1", 5) == 0 ||
                  memcmp(after.data, "-In-", 4) == 0);
    bool follows = begin > 4 && (memcmp(number.data - 4, "-in-", 4) == 0 ||
                                 memcmp(number.data - 4, " in ", 4) == 0 ||
                                 memcmp(number.data - 4, "-In-", 4) == 0);
    return leads || (follows && isdigit((unsigned char)number.data[-5]));
}

static void check_numbers(const struct cm_case *text, const struct cm_quantities *quantities)
{
    struct cm_span missing;
    for (size_t at = 0;
         cm_numbers_next_missing(&text->facts->numbers, text->input->text, &at, &missing);) {
        const struct cm_quantity *quantity = NULL;
        for (size_t i = 0; i < quantities->count; i++) {
            if (quantities->items[i].span.data == missing.data) {
                quantity = &quantities->items[i];
            }
        }
        const struct cm_quantities *facts = &text->facts->quantities;
        bool is_other = quantity != NULL && (cm_quantities_hold_converted(facts, quantity) ||
                                             cm_quantities_contradict(facts, quantity));
        if (is_other ||
            is_idiom(text->input->text,
                     missing)) { /* the same in another unit, or a wrong unit: see check_units */
            continue;
        }
        size_t shown = missing.length < NUMBER_SHOWN_BYTES ? missing.length : NUMBER_SHOWN_BYTES;
        cm_judgement_flag(text->judgement, "unsupported-number", "%.*s", (int)shown, missing.data);
        cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, offset(text, missing.data),
                          offset(text, missing.data) + missing.length, "unsupported-number", NULL,
                          "not in the facts");
    }
}

static void check_units(const struct cm_case *text, const struct cm_quantities *quantities)
{
    for (size_t i = 0; i < quantities->count; i++) {
        const struct cm_quantity *quantity = &quantities->items[i];
        if (cm_quantities_contradict(&text->facts->quantities, quantity)) {
            struct cm_span span = quantity->span;
            cm_judgement_flag(text->judgement, "unsupported-unit", "%.*s", (int)span.length,
                              span.data);
            cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, offset(text, span.data),
                              offset(text, span.data) + span.length, "unsupported-unit", NULL,
                              "the facts have another unit");
        }
    }
}

static void check_values(const struct cm_case *text, const struct cm_vocabulary *vocabulary)
{
    struct cm_contradiction found[SHOWN_MAX];
    size_t count = cm_vocabulary_contradictions(vocabulary, text->facts, text->plain,
                                                text->input->text, found, SHOWN_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct cm_contradiction *wrong = &found[i];
        const char *rule = wrong->is_brand ? "unsupported-brand" : "contradicted-fact";
        char note[CM_EVIDENCE_BYTES];
        snprintf(note, sizeof note, "the facts say %.40s", wrong->slot->value);
        cm_judgement_flag(text->judgement, rule, "%.*s (%s: %.40s)", (int)wrong->said.length,
                          wrong->said.data, wrong->slot->name, wrong->slot->value);
        cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, offset(text, wrong->said.data),
                          offset(text, wrong->said.data) + wrong->said.length, rule,
                          wrong->slot->name, note);
    }
}

/* --- Yes and no --- */

/* A column's name as it would be said: "familyFriendly" is "family friendly". */
static void spell_name(const char *name, char words[CM_EVIDENCE_BYTES])
{
    size_t length = 0;
    for (const char *at = name; *at != '\0' && length + 2 < CM_EVIDENCE_BYTES; at++) {
        bool parts = *at == '_' || *at == '-' || *at == ' ';
        if (parts || (isupper((unsigned char)*at) && length > 0 && words[length - 1] != ' ')) {
            words[length++] = ' ';
        }
        if (!parts) {
            words[length++] = (char)tolower((unsigned char)*at);
        }
    }
    words[length] = '\0';
}

/* Whether the text says at `at` what `words` say, with spaces or hyphens. */
static bool says_at(const struct cm_plain_text *plain, size_t at, const char *words)
{
    size_t length = strlen(words);
    if (at + length > plain->count ||
        (at > 0 && cm_plain_is_word(plain->characters[at - 1].code))) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        uint32_t code = plain->characters[at + i].code;
        if (code != (unsigned char)words[i] && !(words[i] == ' ' && code == '-')) {
            return false;
        }
    }
    return at + length == plain->count || !cm_plain_is_word(plain->characters[at + length].code);
}

static bool is_denied(struct cm_span text, size_t begin)
{
    enum { BEFORE = 24 };
    static const char *const words[] = { "not ", "no ", "non", "n't ", "never ", "without ", "un" };
    size_t first = begin > BEFORE ? begin - BEFORE : 0;
    for (size_t at = first; at < begin; at++) {
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            size_t length = strlen(words[i]);
            bool starts = at == 0 || text.data[at - 1] == ' ' || words[i][0] == 'n';
            if (at + length <= begin && starts &&
                strncasecmp(text.data + at, words[i], length) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* "family-friendly" where the column familyFriendly says no. */
static void check_switches(const struct cm_case *text)
{
    for (size_t i = 0; i < text->facts->slots_count; i++) {
        const struct cm_fact_slot *slot = &text->facts->slots[i];
        bool yes = strcasecmp(slot->value, "yes") == 0 || strcasecmp(slot->value, "true") == 0;
        bool no = strcasecmp(slot->value, "no") == 0 || strcasecmp(slot->value, "false") == 0;
        char words[CM_EVIDENCE_BYTES] = "";
        spell_name(slot->name, words);
        if ((!yes && !no) || strlen(words) < 4) {
            continue;
        }
        for (size_t at = 0; at < text->plain->count; at++) {
            if (!says_at(text->plain, at, words)) {
                continue;
            }
            size_t begin = text->plain->characters[at].begin;
            size_t end = text->plain->characters[at + strlen(words) - 1].end;
            if (is_denied(text->input->text, begin) == yes) {
                cm_judgement_flag(text->judgement, "contradicted-fact", "%s (%s: %s)", words,
                                  slot->name, slot->value);
                cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, begin, end,
                                  "contradicted-fact", slot->name, slot->value);
            }
        }
    }
}

/* --- What is said --- */

/* The first place of a phrase in the text, at the borders of words; plain->count: none. */
static size_t find_phrase(const struct cm_plain_text *plain, const struct cm_plain_text *phrase)
{
    for (size_t at = 0; phrase->count > 0 && at + phrase->count <= plain->count; at++) {
        size_t i = 0;
        while (i < phrase->count && plain->characters[at + i].code == phrase->characters[i].code) {
            i++;
        }
        if (i < phrase->count) {
            continue;
        }
        uint32_t first = phrase->characters[0].code;
        uint32_t last = phrase->characters[i - 1].code;
        bool left = at == 0 || cm_plain_is_ideograph(first) || !cm_plain_is_word(first) ||
                    !cm_plain_is_word(plain->characters[at - 1].code);
        bool right = at + i == plain->count || cm_plain_is_ideograph(last) ||
                     !cm_plain_is_word(last) || !cm_plain_is_word(plain->characters[at + i].code);
        if (left && right) {
            return at;
        }
    }
    return plain->count;
}

/* Shows where the parts of a value ("XS; M; L") stand in the text. How many do. */
static enum cm_status show_parts(const struct cm_case *text, const struct cm_fact_slot *slot,
                                 size_t *found)
{
    struct cm_plain_text *phrase = &text->scratch->plain;
    *found = 0;
    const char *at = slot->value;
    while (*at != '\0') {
        size_t length = strcspn(at, ",;|/");
        const char *wide = strstr(at, "；");
        const char *wide_comma = strstr(at, "、");
        wide = wide == NULL || (wide_comma != NULL && wide_comma < wide) ? wide_comma : wide;
        if (wide != NULL && (size_t)(wide - at) < length) {
            length = (size_t)(wide - at);
        }
        struct cm_span part = cm_span_trim((struct cm_span){ at, length });
        if (part.length > 1 && part.length < 4 * SLOT_VALUE_CHARACTERS_MAX) {
            enum cm_status status = cm_plain_text_fill(phrase, part);
            if (status != CM_OK) {
                return status;
            }
            size_t place = find_phrase(text->plain, phrase);
            if (place < text->plain->count) {
                const struct cm_plain_character *characters = text->plain->characters;
                cm_judgement_show(text->judgement, CM_EVIDENCE_MATCHED, characters[place].begin,
                                  characters[place + phrase->count - 1].end, NULL, slot->name,
                                  NULL);
                (*found)++;
            }
        }
        at += length;
        while (*at != '\0' && (strchr(",;|/ ", *at) != NULL || (unsigned char)*at >= 0x80)) {
            if ((unsigned char)*at >= 0x80) {
                if (strncmp(at, "；", 3) != 0 && strncmp(at, "、", 3) != 0) {
                    break;
                }
                at += 2;
            }
            at++;
        }
    }
    return CM_OK;
}

/* Whether most words of the value are in the text. */
static enum cm_status is_said(const struct cm_case *text, const struct cm_fact_slot *slot,
                              bool *said)
{
    struct cm_scratch *scratch = text->scratch;
    enum cm_status status = cm_plain_text_fill(&scratch->plain, cm_span_of(slot->value));
    if (status == CM_OK) {
        status = cm_text_words_fill(&scratch->words, &scratch->plain);
    }
    *said = status == CM_OK && scratch->words.count > 0 &&
            cm_word_set_share(&scratch->said, &scratch->words) >= 0.5;
    return status;
}

static enum cm_status measure_coverage(const struct cm_case *text, double *coverage)
{
    size_t keys = 0;
    size_t found = 0;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < text->facts->slots_count && status == CM_OK; i++) {
        const struct cm_fact_slot *slot = &text->facts->slots[i];
        size_t parts = 0;
        bool said = false;
        status = show_parts(text, slot, &parts);
        if (status == CM_OK && slot->is_key && parts == 0) {
            status = is_said(text, slot, &said);
        }
        keys += slot->is_key;
        found += slot->is_key && (parts > 0 || said);
    }
    *coverage = keys == 0 ? 1 : (double)found / (double)keys;
    return status;
}

/* Of the words that say something, and of pairs of them, those that the facts hold. */
static double precision(const struct cm_case *text)
{
    struct cm_text_unit unit;
    double held = 0;
    size_t units = 0;
    bool before = false;
    size_t pairs = 0;
    size_t pairs_held = 0;
    for (size_t at = 0; cm_text_unit_next(text->words, &at, &unit);) {
        bool is_held = cm_word_set_holds(&text->facts->set, unit.hash);
        pairs += units > 0;
        pairs_held += units > 0 && before && is_held;
        units++;
        held += is_held;
        before = is_held;
    }
    if (units == 0) {
        return 0;
    }
    double one = held / (double)units;
    return pairs == 0 ? one : (one + (double)pairs_held / (double)pairs) / 2;
}

enum cm_status cm_check_facts(const struct cm_case *text, const struct cm_vocabulary *vocabulary,
                              struct cm_facts_grade *grade)
{
    struct cm_quantities *quantities = &text->scratch->quantities;
    enum cm_status status = cm_quantities_fill(quantities, text->input->text);
    if (status == CM_OK) {
        check_numbers(text, quantities);
        check_units(text, quantities);
        check_values(text, vocabulary);
        check_switches(text);
        grade->precision = precision(text);
        status = measure_coverage(text, &grade->coverage);
    }
    return status;
}
