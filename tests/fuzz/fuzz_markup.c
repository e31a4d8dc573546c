#include "fuzz.h"

#include "base/utf8.h"
#include "loaders/markup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_span source = fuzz_span(data, size);
    if (!cm_utf8_valid(source)) {
        return 0; /* the encoding's reader lets none through */
    }
    struct cm_text plain = CM_TEXT_INIT(size);
    CM_ASSERT(cm_markup_to_text(source, &plain) == CM_OK);
    fuzz_expect_clean(cm_text_span(&plain), false);
    CM_ASSERT(cm_span_trim(cm_text_span(&plain)).length == plain.length);
    plain.length_max = 3 * size;
    CM_ASSERT(cm_markup_join_lines(&plain, ", ") == CM_OK);
    cm_text_deinit(&plain);
    return 0;
}
