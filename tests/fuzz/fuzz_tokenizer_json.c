/* The tokenizer.json of a folder that holds nothing else. */
#include "fuzz.h"

#include "loaders/tokenizer_file.h"
#include "scratch.h"

#include <stdlib.h>

enum { TOKENS_COUNT = 1024 }; /* as many as the largest seed needs */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_open = false;
    struct cm_tokenizer_file *file = NULL;
    struct cm_error error = { 0 };
    if (!is_open) {
        scratch_open();
        CM_ASSERT(atexit(scratch_close) == 0);
        is_open = true;
    }
    scratch_write("tokenizer.json", data, size);
    if (cm_tokenizer_file_from_folder(scratch_path(""), TOKENS_COUNT, &file, &error) == CM_OK) {
        fuzz_use_tokenizer(cm_tokenizer_file_data(file));
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    cm_tokenizer_file_close(file);
    return 0;
}
