/* Accuracy of answers: claims about what neither facts nor policy speak of. */
#include "jobs/content/answer.h"
#include "jobs/content/judge_parts.h"

static bool denies(struct cm_span text)
{
    static const char *const words[] = { " no", "no,", "not", "n't",   "only", "不",
                                         "没",  "无",  "仅",  "nicht", "pas " };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (cm_span_holds(text, words[i])) {
            return true;
        }
    }
    return false;
}

/* "Yes, they fit size 45" where the facts end at 42: the number is the customer's, not the item's.
 */
static enum cm_status check_borrowed_number(const struct cm_case *text)
{
    struct cm_numbers facts = { 0 };
    struct cm_span missing;
    enum cm_status status = cm_numbers_add(&facts, cm_text_span(&text->facts->text));
    if (status == CM_OK && !denies(text->input->text)) {
        size_t at = 0;
        if (cm_numbers_next_missing(&facts, text->input->text, &at, &missing)) {
            size_t begin = (size_t)(missing.data - text->input->text.data);
            cm_judgement_flag(text->judgement, "not-in-facts", "%.*s is the customer's number",
                              (int)missing.length, missing.data);
            cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, begin,
                              begin + missing.length, "not-in-facts", NULL, "from the question");
        }
    }
    cm_numbers_deinit(&facts);
    return status;
}

enum cm_status cm_check_answer(const struct cm_case *text)
{
    struct cm_answer_check check;
    enum cm_status status =
        cm_answer_examine(text->input->question, text->facts, text->input->text, &check);
    if (status != CM_OK) {
        return status;
    }
    if (check.is_held) {
        status = check_borrowed_number(text);
    } else if (check.is_refusal_alone) {
        cm_judgement_find(text->judgement, "not-in-facts", CM_SEVERITY_LOW,
                          "nothing about \"%s\", and the reply says so", check.missing);
    } else {
        cm_judgement_flag(text->judgement, "not-in-facts",
                          check.is_refusal
                              ? "says that nothing is known about \"%s\", and claims more"
                              : "nothing about \"%s\"",
                          check.missing);
        cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, 0, text->input->text.length,
                          "not-in-facts", NULL, check.missing);
    }
    if (check.is_opposite) {
        cm_judgement_flag(text->judgement, "contradicted-fact", "the policy says the opposite");
        cm_judgement_show(text->judgement, CM_EVIDENCE_UNSUPPORTED, 0, text->input->text.length,
                          "contradicted-fact", NULL, "the policy");
    }
    return status;
}
