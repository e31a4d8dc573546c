/* Fluency and form: language, completeness, repetition, length. */
#include "jobs/content/judge_parts.h"

#include "base/sentence.h"
#include "jobs/language.h"
#include "jobs/repetition.h"

#include <string.h>

#include <utf8proc.h>

static void check_language(const struct cm_case *text)
{
    const char *language = text->input->language;
    struct cm_span span = text->input->text;
    if (language[0] == '\0' || cm_language_matches(span, language)) {
        return;
    }
    const char *other = cm_language_detect(span);
    if (other == NULL || cm_language_is(language, other)) {
        cm_judgement_flag(text->judgement, "wrong-language", "not clearly %s", language);
    } else {
        cm_judgement_flag(text->judgement, "wrong-language", "%s instead of %s", other, language);
    }
}

/* --- The end of a text --- */

/* What may stand behind the last sentence: emoji and other symbols, marks, white space. */
static bool may_follow_end(utf8proc_int32_t character)
{
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_SO:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_MN:
        return true;
    default:
        return false;
    }
}

/* Drops the last character where `may` allows it. */
static bool drop_last(struct cm_span *text, bool (*may)(utf8proc_int32_t character))
{
    size_t start = text->length;
    while (start > 0 && ((unsigned char)text->data[--start] & 0xC0) == 0x80) {
    }
    utf8proc_int32_t character = 0;
    if (text->length == 0 ||
        utf8proc_iterate((const utf8proc_uint8_t *)text->data + start,
                         (utf8proc_ssize_t)(text->length - start), &character) <= 0 ||
        !may(character)) {
        return false;
    }
    text->length = start;
    return true;
}

static struct cm_span without_tail(struct cm_span text)
{
    while (drop_last(&text, may_follow_end)) {
    }
    return text;
}

/* Hashtags at the end of a post are no sentence. */
static struct cm_span without_hashtags(struct cm_span text)
{
    for (;;) {
        text = without_tail(text);
        size_t at = text.length;
        while (at > 0 && text.data[at - 1] != ' ' && text.data[at - 1] != '\n' &&
               text.data[at - 1] != '#') {
            at--;
        }
        if (at == 0 || at == text.length || text.data[at - 1] != '#') {
            return text;
        }
        text.length = at - 1;
    }
}

/* Other marks that people close a post or a list with. */
static bool has_closing_mark(struct cm_span text)
{
    static const char *const marks[] = { "~", "～", ";", "；", ":", "：" };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        size_t bytes = strlen(marks[i]);
        if (text.length >= bytes && memcmp(text.data + text.length - bytes, marks[i], bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Words after which no text is at its end. */
static bool ends_in_mid_air(struct cm_span text)
{
    static const char *const words[] = { " and", " or",   " the", " a",    " an",  " of",  " with",
                                         " to",  " from", " by",  " your", " our", " its", " is",
                                         " are", "，",    "、",   ",",     "和",   "与",   "的" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t bytes = strlen(words[i]);
        if (text.length > bytes && memcmp(text.data + text.length - bytes, words[i], bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* People leave the full stop of a lone sentence out; where they do, it often ends with a fact. */
static bool ends_with_fact(const struct cm_case *text, struct cm_span span)
{
    for (size_t at = 0; at < span.length; at++) {
        if (cm_sentence_end_at(span, at) > 0) {
            return false;
        }
    }
    enum { TELLING_BYTES_MIN = 9 }; /* not an adjective that a noun should follow */
    const struct cm_judgement *judgement = text->judgement;
    for (size_t i = 0; i < judgement->evidence_count; i++) {
        const struct cm_evidence *evidence = &judgement->evidence[i];
        bool is_telling = evidence->end - evidence->begin >= TELLING_BYTES_MIN;
        if (evidence->kind == CM_EVIDENCE_MATCHED && evidence->end == span.length && is_telling) {
            return true;
        }
    }
    return false;
}

/* A text that the model ended itself is taken for whole unless its last word says otherwise. Of a
 * text that nobody knows the end of, a few words are a title or a heading. */
static void check_end(const struct cm_case *text)
{
    enum { HEADING_WORDS_MAX = 14 };
    struct cm_span span = without_hashtags(text->input->text);
    bool is_heading = text->words->count <= HEADING_WORDS_MAX;
    if (span.length == 0 || cm_sentence_ended(span) || has_closing_mark(span) ||
        text->input->fields.length > 0) {
        return;
    }
    bool is_cut = ends_in_mid_air(span);
    if (text->input->end == CM_TEXT_END_LENGTH ||
        (text->input->end == CM_TEXT_END_UNKNOWN && !is_heading && !ends_with_fact(text, span))) {
        is_cut = true;
    }
    if (is_cut) {
        const struct cm_text_word *last =
            text->words->count > 0 ? &text->words->items[text->words->count - 1] : NULL;
        cm_judgement_flag(text->judgement, "cut-off", "%s",
                          text->input->end == CM_TEXT_END_LENGTH
                              ? "the length limit came before the end of a sentence"
                              : "no end of a sentence");
        if (last != NULL) {
            cm_judgement_show(text->judgement, CM_EVIDENCE_CUT, last->begin, last->end, "cut-off",
                              NULL, NULL);
        }
    }
}

/* --- Repetition and length --- */

/* Where the first sentence that came before comes again. */
static void show_repeated(const struct cm_case *text)
{
    enum { WORDS_MIN = 4, SENTENCES_MAX = 256 };
    struct {
        uint64_t hash;
    } seen[SENTENCES_MAX];
    size_t seen_count = 0;
    size_t first = 0;
    uint64_t hash = 0;
    const struct cm_text_words *words = text->words;
    for (size_t i = 0; i < words->count; i++) {
        hash = (hash ^ words->items[i].hash) * 0x9E3779B97F4A7C15;
        if (!words->items[i].ends_sentence) {
            continue;
        }
        for (size_t j = 0; j < seen_count && i + 1 - first >= WORDS_MIN; j++) {
            if (seen[j].hash == hash) {
                cm_judgement_show(text->judgement, CM_EVIDENCE_REPEATED, words->items[first].begin,
                                  words->items[i].end, "repetition", NULL, NULL);
                return;
            }
        }
        if (seen_count < SENTENCES_MAX) {
            seen[seen_count++].hash = hash;
        }
        hash = 0;
        first = i + 1;
    }
}

/* A text, or a part of one that has several. True: a repetition was found. */
static bool judge_repetition(const struct cm_case *text, const struct cm_repetition *repetition)
{
    enum { RUN_MIN = 4, CLAUSE_MIN = 3 };
    const double phrases_min = 0.2;
    if (repetition->run_max >= RUN_MIN) {
        cm_judgement_flag(text->judgement, "repetition", "a word %u times in a row",
                          repetition->run_max);
    } else if (repetition->clause_max >= CLAUSE_MIN) {
        cm_judgement_flag(text->judgement, "repetition", "the same part of a sentence %u times",
                          repetition->clause_max);
    } else if (repetition->phrases_repeated > phrases_min) {
        cm_judgement_flag(text->judgement, "repetition", "%.0f %% repeated phrases",
                          100 * repetition->phrases_repeated);
    } else {
        return false;
    }
    return true;
}

/* A title and its short form say the same, and should: each part is judged by itself. */
static enum cm_status check_parts(const struct cm_case *text)
{
    struct cm_span rest = text->input->text;
    struct cm_repetition repetition;
    while (rest.length > 0) {
        const char *end = memchr(rest.data, '\n', rest.length);
        size_t length = end != NULL ? (size_t)(end - rest.data) : rest.length;
        enum cm_status status =
            cm_repetition_measure((struct cm_span){ rest.data, length }, &repetition);
        if (status != CM_OK || judge_repetition(text, &repetition)) {
            return status;
        }
        length += end != NULL;
        rest = (struct cm_span){ rest.data + length, rest.length - length };
    }
    return CM_OK;
}

static enum cm_status check_repetition(const struct cm_case *text)
{
    struct cm_repetition repetition;
    if (text->input->fields.length > 0) {
        return check_parts(text);
    }
    enum cm_status status = cm_repetition_measure(text->input->text, &repetition);
    if (status == CM_OK && repetition.sentences_repeated > 0) {
        cm_judgement_flag(text->judgement, "repetition", "%u repeated sentence%s",
                          repetition.sentences_repeated,
                          repetition.sentences_repeated == 1 ? "" : "s");
        show_repeated(text);
    } else if (status == CM_OK) {
        judge_repetition(text, &repetition);
    }
    return status;
}

/* A character that is not there: bytes that are no text, or what stands for them. */
static void check_characters(const struct cm_case *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    struct cm_span rest = text->input->text;
    const char *at = memmem(rest.data, rest.length, replacement, strlen(replacement));
    if (at != NULL) {
        size_t begin = (size_t)(at - rest.data);
        cm_judgement_flag(text->judgement, "broken-character", "U+FFFD at byte %zu", begin);
        cm_judgement_show(text->judgement, CM_EVIDENCE_CUT, begin, begin + strlen(replacement),
                          "broken-character", NULL, NULL);
    }
}

static void check_length(const struct cm_case *text)
{
    /* "No, it is not." answers a question. */
    uint32_t words_min = text->input->question != NULL ? 2 : 6;
    uint32_t words = cm_words_count(text->input->text);
    if (cm_span_trim(text->input->text).length == 0) {
        cm_judgement_find(text->judgement, "too-short", CM_SEVERITY_HIGH, "empty");
    } else if (words < words_min && text->input->fields.length == 0) {
        cm_judgement_flag(text->judgement, "too-short", "%u words, expected at least %u", words,
                          words_min);
    }
}

double cm_form_variety(const struct cm_text_words *words)
{
    enum { PAIRS_MAX = 1024 };
    uint64_t seen[2 * PAIRS_MAX] = { 0 };
    size_t pairs = 0;
    size_t distinct = 0;
    for (size_t i = 0; i + 1 < words->count && pairs < PAIRS_MAX; i++) {
        uint64_t hash =
            ((words->items[i].hash * 31) ^ words->items[i + 1].hash) * 0x9E3779B97F4A7C15 | 1;
        size_t place = (hash >> 40) % (2 * PAIRS_MAX);
        while (seen[place] != 0 && seen[place] != hash) {
            place = (place + 1) % (2 * PAIRS_MAX);
        }
        distinct += seen[place] == 0;
        seen[place] = hash;
        pairs++;
    }
    return pairs == 0 ? 1 : (double)distinct / (double)pairs;
}

enum cm_status cm_check_form(const struct cm_case *text)
{
    check_language(text);
    check_end(text);
    check_length(text);
    check_characters(text);
    return check_repetition(text);
}
