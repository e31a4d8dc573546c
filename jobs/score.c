/* A score is the product of the factors of the checks that found something, so that one grave fault
 * or several light ones both bring a copy under the threshold. The table CHECKS is all there is to
 * tune. */
#include "jobs/score.h"

#include "base/memory.h"
#include "jobs/fact_numbers.h"
#include "jobs/language.h"
#include "jobs/numbers.h"
#include "jobs/repetition.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

struct finding {
    bool found;
    bool worthless; /* there is no copy at all: the score is 0 */
    char detail[160];
};

static void found(struct finding *finding, const char *format, ...) CM_PRINTF(2, 3);

static void found(struct finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->detail, sizeof finding->detail, format, arguments);
    va_end(arguments);
    finding->found = true;
}

/* --- Numbers --- */

static enum cm_status collect_facts(const struct cm_score_input *input, struct cm_numbers *facts)
{
    struct cm_fact_sources sources = { input->item, input->segment, input->question };
    enum cm_status status = cm_fact_numbers_add(facts, &sources);
    return status == CM_OK ? cm_fact_numbers_add_segment(facts, input->segment) : status;
}

static enum cm_status check_numbers(const struct cm_score_input *input, struct finding *finding)
{
    enum { SHOWN_MAX = 5 };
    struct cm_numbers facts = { 0 };
    enum cm_status status = collect_facts(input, &facts);
    struct cm_text list = CM_TEXT_INIT(128);
    size_t at = 0;
    struct cm_span missing;
    for (int shown = 0; status == CM_OK && shown < SHOWN_MAX &&
                        cm_numbers_next_missing(&facts, input->text, &at, &missing);
         shown++) {
        /* More numbers than fit are as bad as those that are shown. */
        enum cm_status appended =
            cm_text_printf(&list, "%s%.*s", list.length > 0 ? ", " : "",
                           (int)(missing.length < 24 ? missing.length : 24), missing.data);
        status = appended == CM_OUT_OF_MEMORY ? appended : CM_OK;
    }
    if (status == CM_OK && list.length > 0) {
        found(finding, "%s", cm_text_string(&list));
    }
    cm_text_deinit(&list);
    cm_numbers_deinit(&facts);
    return status;
}

/* --- Language and form --- */

static enum cm_status check_language(const struct cm_score_input *input, struct finding *finding)
{
    if (!cm_language_matches(input->text, input->language)) {
        const char *other = cm_language_detect(input->text);
        if (other == NULL || cm_language_is(input->language, other)) {
            found(finding, "not clearly %s", input->language);
        } else {
            found(finding, "%s instead of %s", other, input->language);
        }
    }
    return CM_OK;
}

/* Ends of sentences in the scripts of the world: Latin, CJK, Arabic, Devanagari, Armenian. Thai
 * has none and ends with any letter. */
static const utf8proc_int32_t SENTENCE_ENDS[] = { '.',    '!',    '?',    0x2026, 0x3002, 0xFF01,
                                                  0xFF1F, 0xFF0E, 0xFF61, 0x061F, 0x06D4, 0x0964,
                                                  0x0965, 0x0589, 0x203C, 0x2047 };

static bool is_sentence_end(utf8proc_int32_t character)
{
    for (size_t i = 0; i < sizeof SENTENCE_ENDS / sizeof SENTENCE_ENDS[0]; i++) {
        if (SENTENCE_ENDS[i] == character) {
            return true;
        }
    }
    return false;
}

/* What may stand behind the end of the last sentence: quotes, brackets, emoji, white space. */
static bool may_follow_end(utf8proc_int32_t character)
{
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_SO:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_MN:
        return true;
    default:
        return character == '"' || character == '\'';
    }
}

static bool ends_sentence(struct cm_span text)
{
    for (size_t end = text.length; end > 0;) {
        size_t start = end - 1;
        while (start > 0 && ((unsigned char)text.data[start] & 0xC0) == 0x80) {
            start--;
        }
        utf8proc_int32_t character = 0;
        if (utf8proc_iterate((const utf8proc_uint8_t *)text.data + start,
                             (utf8proc_ssize_t)(end - start), &character) <= 0) {
            return false;
        }
        if (is_sentence_end(character)) {
            return true;
        }
        if (!may_follow_end(character)) {
            return false;
        }
        end = start;
    }
    return false;
}

static enum cm_status check_cut_off(const struct cm_score_input *input, struct finding *finding)
{
    if (input->finish_reason == CM_FINISH_LENGTH && !ends_sentence(input->text)) {
        found(finding, "the length limit came before the end of a sentence");
    }
    return CM_OK;
}

static enum cm_status check_repetition(const struct cm_score_input *input, struct finding *finding)
{
    struct cm_repetition repetition;
    enum cm_status status = cm_repetition_measure(input->text, &repetition);
    if (status != CM_OK) {
        return status;
    }
    if (repetition.sentences_repeated > 0) {
        found(finding, "%u repeated sentence%s", repetition.sentences_repeated,
              repetition.sentences_repeated == 1 ? "" : "s");
    } else if (repetition.run_max >= 4) {
        found(finding, "a word %u times in a row", repetition.run_max);
    } else if (repetition.phrases_repeated > 0.2) {
        found(finding, "%.0f %% repeated phrases", 100 * repetition.phrases_repeated);
    }
    return CM_OK;
}

static enum cm_status check_length(const struct cm_score_input *input, struct finding *finding)
{
    /* "No, it is not." answers a question. */
    uint32_t words_min = input->question != NULL ? 2 : 6;
    uint32_t words = cm_words_count(input->text);
    if (cm_span_trim(input->text).length == 0) {
        found(finding, "empty");
        finding->worthless = true;
    } else if (words < words_min) {
        found(finding, "%u words, expected at least %u", words, words_min);
    }
    return CM_OK;
}

/* --- Patterns --- */

enum place { ANYWHERE, LINE_START, TEXT_START };

/* Compared without case for ASCII letters. In a pattern "\1" stands for one letter and "\2" for one
 * digit. */
struct pattern {
    const char *text;
    enum place place;
};

static const struct pattern MARKUP[] = {
    { "```", ANYWHERE },    { "**", ANYWHERE },      { "__", ANYWHERE },     { "](", ANYWHERE },
    { "<\1", ANYWHERE },    { "</\1", ANYWHERE },    { "<!--", ANYWHERE },   { "&nbsp;", ANYWHERE },
    { "&amp;", ANYWHERE },  { "&lt;", ANYWHERE },    { "# ", LINE_START },   { "## ", LINE_START },
    { "### ", LINE_START }, { "#### ", LINE_START }, { "- ", LINE_START },   { "* ", LINE_START },
    { "• ", LINE_START },   { "> ", LINE_START },    { "\2. ", LINE_START }, { "\2) ", LINE_START },
    { "\2、", LINE_START }, { "| ", LINE_START },    { "---", LINE_START },
};

/* What models put before or around a copy, and the words of our own templates. */
static const struct pattern LEAKS[] = {
    { "<|", ANYWHERE },
    { "[INST]", ANYWHERE },
    { "[system]", ANYWHERE },
    { "[user]", ANYWHERE },
    { "{{", ANYWHERE },
    { "as an AI", ANYWHERE },
    { "language model", ANYWHERE },
    { "the facts given", ANYWHERE },
    { "target audience", ANYWHERE },
    { "no markdown", ANYWHERE },
    { "作为一个人工智能", ANYWHERE },
    { "作为AI", ANYWHERE },
    { "语言模型", ANYWHERE },
    { "给出的信息", ANYWHERE },
    { "目标人群", ANYWHERE },
    { "商品描述：", LINE_START },
    { "Audience:", LINE_START },
    { "Customer:", LINE_START },
    { "Product:", LINE_START },
    { "About:", LINE_START },
    { "Description:", LINE_START },
    { "Offer to name", ANYWHERE },
    { "Headline:", LINE_START },
    { "Answer:", LINE_START },
    { "Our policy:", LINE_START },
    { "A customer asks", ANYWHERE },
    { "assistant", LINE_START },
    { "user:", LINE_START },
    { "商品：", LINE_START },
    { "产品：", LINE_START },
    { "简介：", LINE_START },
    { "顾客：", LINE_START },
    { "描述：", LINE_START },
    { "标题：", LINE_START },
    { "优惠：", LINE_START },
    { "店铺政策：", LINE_START },
    { "顾客提问", ANYWHERE },
    { "回答：", LINE_START },
    { "Here is", TEXT_START },
    { "Here's", TEXT_START },
    { "Here are", TEXT_START },
    { "Hier ist", TEXT_START },
    { "Voici", TEXT_START },
    { "Aquí está", TEXT_START },
    { "Aqui está", TEXT_START },
    { "Ecco", TEXT_START },
    { "Sure,", TEXT_START },
    { "Sure!", TEXT_START },
    { "Certainly", TEXT_START },
    { "Of course", TEXT_START },
    { "I'm sorry", TEXT_START },
    { "I am sorry", TEXT_START },
    { "Sorry,", TEXT_START },
    { "以下是", TEXT_START },
    { "好的", TEXT_START },
    { "当然", TEXT_START },
    { "抱歉", TEXT_START },
    { "对不起", TEXT_START },
};

/* Bytes of `text` that the pattern takes at its start, 0 for no match. */
static size_t match_here(const char *pattern, struct cm_span text)
{
    size_t length = strlen(pattern);
    if (length > text.length) {
        return 0;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        bool same = pattern[i] == '\1'   ? isalpha(byte) != 0
                    : pattern[i] == '\2' ? isdigit(byte) != 0
                                         : tolower(byte) == tolower((unsigned char)pattern[i]);
        if (!same) {
            return 0;
        }
    }
    return length;
}

static bool is_place(struct cm_span text, size_t at, enum place place)
{
    switch (place) {
    case TEXT_START:
        return at == 0;
    case LINE_START:
        return at == 0 || text.data[at - 1] == '\n';
    case ANYWHERE:
        return true;
    }
    return false;
}

static enum cm_status find_patterns(struct cm_span text, const struct pattern *patterns,
                                    size_t count, struct finding *finding)
{
    text = cm_span_trim(text);
    for (size_t at = 0; at < text.length; at++) {
        for (size_t i = 0; i < count; i++) {
            struct cm_span rest = { text.data + at, text.length - at };
            size_t length =
                is_place(text, at, patterns[i].place) ? match_here(patterns[i].text, rest) : 0;
            if (length > 0) {
                found(finding, "\"%.*s\"", (int)length, rest.data);
                return CM_OK;
            }
        }
    }
    return CM_OK;
}

/* The whole copy in quotation marks, or behind one that is never closed, as if the model recited
 * it. "A" and "B" are two quotations, which is fine. */
static bool is_quoted(struct cm_span text)
{
    static const char *const PAIRS[][2] = {
        { "\"", "\"" }, { "“", "”" }, { "「", "」" }, { "『", "』" }, { "«", "»" },
    };
    text = cm_span_trim(text);
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; i++) {
        size_t left = strlen(PAIRS[i][0]);
        size_t right = strlen(PAIRS[i][1]);
        if (text.length > left && memcmp(text.data, PAIRS[i][0], left) == 0) {
            const char *close = memmem(text.data + left, text.length - left, PAIRS[i][1], right);
            return close == NULL || close + right == text.data + text.length;
        }
    }
    return false;
}

static enum cm_status check_markup(const struct cm_score_input *input, struct finding *finding)
{
    if (is_quoted(input->text)) {
        found(finding, "all in quotation marks");
        return CM_OK;
    }
    return find_patterns(input->text, MARKUP, sizeof MARKUP / sizeof MARKUP[0], finding);
}

static enum cm_status check_leaks(const struct cm_score_input *input, struct finding *finding)
{
    return find_patterns(input->text, LEAKS, sizeof LEAKS / sizeof LEAKS[0], finding);
}

/* --- The score --- */

static const struct check {
    const char *flag;
    double factor; /* of the score where the check found something */
    enum cm_status (*run)(const struct cm_score_input *input, struct finding *finding);
} CHECKS[] = {
    { "unsupported-number", 0.4, check_numbers },
    { "wrong-language", 0.1, check_language },
    { "cut-off", 0.6, check_cut_off },
    { "repetition", 0.5, check_repetition },
    { "too-short", 0.3, check_length },
    { "markup", 0.7, check_markup },
    { "prompt-leak", 0.3, check_leaks },
};

/* Among copies without faults the one the model was surer of is a little better: up to a tenth of
 * the score, spread over mean log-probabilities from -0.5 (sure) to -3.5. */
static double fluency_factor(double mean_logprob)
{
    double doubt = (-mean_logprob - 0.5) / 3.0;
    doubt = doubt < 0 ? 0 : doubt > 1 ? 1 : doubt;
    return 1 - 0.1 * doubt;
}

/* "; " parts the flags, so no detail may hold it. Flags past the room for them are left out. */
static void append_flag(char flags[CM_FLAGS_BYTES], const char *flag, struct finding *finding)
{
    for (char *at = finding->detail; *at != '\0'; at++) {
        if (*at == ';' || *at == '\n') {
            *at = ' ';
        }
    }
    size_t length = strlen(flags);
    int wanted = snprintf(flags + length, CM_FLAGS_BYTES - length, "%s%s: %s",
                          length > 0 ? "; " : "", flag, finding->detail);
    if (wanted >= (int)(CM_FLAGS_BYTES - length)) {
        flags[length] = '\0';
    }
}

enum cm_status cm_score_text(const struct cm_score_input *input, struct cm_score *score)
{
    *score = (struct cm_score){ .score = fluency_factor(input->mean_logprob) };
    for (size_t i = 0; i < sizeof CHECKS / sizeof CHECKS[0]; i++) {
        struct finding finding = { 0 };
        enum cm_status status = CHECKS[i].run(input, &finding);
        if (status != CM_OK) {
            return status;
        }
        if (finding.found) {
            score->score *= finding.worthless ? 0 : CHECKS[i].factor;
            append_flag(score->flags, CHECKS[i].flag, &finding);
        }
    }
    return CM_OK;
}
