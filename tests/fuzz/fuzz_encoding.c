#include "fuzz.h"

#include "base/utf8.h"
#include "loaders/encoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_text_input *input = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_text_input_open(fuzz_file(data, size), &input, &error);
    if (status == CM_OK) {
        CM_ASSERT(cm_utf8_valid(cm_text_input_peek(input)));
        struct cm_text_piece piece;
        while ((status = cm_text_input_read(input, &piece, &error)) == CM_OK) {
            CM_ASSERT(piece.text.length > 0);
            CM_ASSERT(cm_utf8_valid(piece.text));
            CM_ASSERT(!piece.replaced || cm_span_equal_text(piece.text, "\xef\xbf\xbd"));
        }
    }
    CM_ASSERT(status == CM_END || error.message[0] != '\0');
    cm_text_input_close(input);
    return 0;
}
