/* A Hugging Face folder. An input holds its files in the order of `names`, a NUL byte between them,
 * which none of them can hold; one that is missing or empty is not written. The weights are always
 * the same and fit the first seed. */
#include "fuzz.h"

#include "base/status.h"
#include "scratch.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    "config.json",           "tokenizer.json",
    "tokenizer_config.json", "generation_config.json",
    "chat_template.jinja",   "model.safetensors.index.json",
};

static void write_weights(void)
{
    static const char HEADER[] = "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\","
                                 "\"shape\":[3,4],\"data_offsets\":[0,48]}}";
    enum { HEADER_BYTES = (sizeof HEADER + 6) / 8 * 8 }; /* spaces after it align the data */
    char file[8 + HEADER_BYTES + 48] = { HEADER_BYTES };
    memset(file + 8, ' ', HEADER_BYTES);
    memcpy(file + 8, HEADER, sizeof HEADER - 1);
    scratch_write("model.safetensors", file, sizeof file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_open = false;
    if (!is_open) {
        scratch_open();
        write_weights();
        CM_ASSERT(atexit(scratch_close) == 0);
        is_open = true;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const uint8_t *end = size == 0 ? NULL : memchr(data, '\0', size);
        size_t length = end == NULL ? size : (size_t)(end - data);
        if (length == 0) {
            scratch_remove(names[i]);
        } else {
            scratch_write(names[i], data, length);
        }
        size_t taken = end == NULL ? size : length + 1;
        data += taken;
        size -= taken;
    }
    fuzz_read_model(scratch_path(""));
    return 0;
}
