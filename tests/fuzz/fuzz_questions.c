#include "fuzz.h"

#include "loaders/questions.h"

static void check_question(const struct cm_question *question)
{
    CM_ASSERT(question->id[0] != '\0' && question->text[0] != '\0');
    fuzz_expect_clean(cm_span_of(question->id), true);
    fuzz_expect_clean(cm_span_of(question->item_id), true);
    fuzz_expect_clean(cm_span_of(question->text), true);
    fuzz_expect_clean(cm_span_of(question->policy), true);
    fuzz_expect_clean(cm_span_of(question->language), true);
}

/* Every question is found under its item once. */
static void check_item(const struct cm_questions *questions, size_t at)
{
    struct cm_question_cursor cursor = cm_questions_seek(questions, questions->items[at].item_id);
    size_t count = 0;
    size_t index = 0;
    while (cm_questions_next(questions, &cursor, &index)) {
        CM_ASSERT(index < questions->count);
        count += index == at;
    }
    CM_ASSERT(count == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_questions questions = { 0 };
    struct cm_error error = { 0 };
    if (cm_questions_open(fuzz_file(data, size), &questions, &error) == CM_OK) {
        CM_ASSERT(questions.count <= CM_QUESTIONS_MAX);
        for (size_t i = 0; i < questions.count; i++) {
            check_question(&questions.items[i]);
        }
        if (questions.count > 0) {
            check_item(&questions, questions.count - 1);
        }
        cm_questions_deinit(&questions);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    return 0;
}
