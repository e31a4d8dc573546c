/* Markup, and what belongs to the task rather than to the copy: words of prompts and chat, which
 * models put before, around or into a text. */
#include "jobs/content/judge_parts.h"

#include <ctype.h>
#include <string.h>

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
    { "product's facts", ANYWHERE },
    { "customer wants to know", ANYWHERE },
    { "customer is asking", ANYWHERE },
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

static bool find_pattern(struct cm_span text, const struct pattern *patterns, size_t count,
                         struct cm_span *found)
{
    text = cm_span_trim(text);
    for (size_t at = 0; at < text.length; at++) {
        for (size_t i = 0; i < count; i++) {
            struct cm_span rest = { text.data + at, text.length - at };
            size_t length =
                is_place(text, at, patterns[i].place) ? match_here(patterns[i].text, rest) : 0;
            if (length > 0) {
                *found = (struct cm_span){ rest.data, length };
                return true;
            }
        }
    }
    return false;
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

static void flag(const struct cm_case *text, const char *rule, struct cm_span found)
{
    size_t begin = (size_t)(found.data - text->input->text.data);
    cm_judgement_flag(text->judgement, rule, "\"%.*s\"", (int)found.length, found.data);
    cm_judgement_show(text->judgement, CM_EVIDENCE_BANNED, begin, begin + found.length, rule, NULL,
                      NULL);
}

void cm_check_patterns(const struct cm_case *text)
{
    struct cm_span found;
    if (is_quoted(text->input->text)) {
        cm_judgement_flag(text->judgement, "markup", "all in quotation marks");
    } else if (find_pattern(text->input->text, MARKUP, sizeof MARKUP / sizeof MARKUP[0], &found)) {
        flag(text, "markup", found);
    }
    if (find_pattern(text->input->text, LEAKS, sizeof LEAKS / sizeof LEAKS[0], &found)) {
        flag(text, "prompt-leak", found);
    }
}
