/* What `copymill model check` holds a model to; the logits beside it are missing. */
#include "fuzz.h"

#include "base/utf8.h"
#include "loaders/reference.h"

static void check_case(const struct cm_reference_case *one)
{
    CM_ASSERT(cm_utf8_valid(one->text));
    for (size_t i = 0; i < one->ids_count; i++) {
        CM_ASSERT(one->ids[i] >= 0);
    }
    for (size_t i = 0; i < one->greedy_count * one->top_count; i++) {
        CM_ASSERT(one->top[i].id >= 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_reference reference = { 0 };
    struct cm_error error = { 0 };
    if (cm_reference_init(&reference, fuzz_file(data, size), &error) == CM_OK) {
        for (size_t i = 0; i < reference.cases_count; i++) {
            check_case(&reference.cases[i]);
        }
        cm_reference_deinit(&reference);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    return 0;
}
