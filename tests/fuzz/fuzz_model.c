/* Shared by the targets for GGUF files and model folders. */
#include "fuzz.h"

#include "base/utf8.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

#include <string.h>

static void touch_tensors(const struct cm_model_file *file)
{
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        const struct cm_tensor *tensor = cm_model_file_tensor(file, i);
        if (tensor->bytes > 0) {
            const volatile uint8_t *bytes = tensor->data;
            (void)bytes[0];
            (void)bytes[tensor->bytes - 1];
        }
    }
}

void fuzz_use_tokenizer(const struct cm_tokenizer_data *data)
{
    static const char TEXT[] =
        "The caf\xc3\xa9's 12 chairs,\n\n <t>e\xcc\x81 \xe5\xa5\xbd <|im_end|>\xff";
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    struct cm_text text = CM_TEXT_INIT(1 << 20);
    struct cm_error error = { 0 };
    const struct cm_chat_message message = { cm_span_of("user"), cm_span_of("Hello") };
    enum cm_status status = cm_tokenizer_open(data, &tokenizer, &error);
    if (status == CM_OK) {
        status = cm_tokenizer_encode(tokenizer, cm_span_of(TEXT), &list, &error);
    }
    if (status == CM_OK) {
        status = cm_tokenizer_encode_chat(tokenizer, &message, 1, &list, &error);
    }
    if (status == CM_OK) {
        for (size_t i = 0; i < list.count; i++) {
            CM_ASSERT(list.ids[i] >= 0);
            CM_ASSERT((uint32_t)list.ids[i] < cm_tokenizer_size(tokenizer));
        }
        status = cm_tokenizer_decode(tokenizer, list.ids, list.count, &text);
        CM_ASSERT(status != CM_OK || cm_utf8_valid(cm_text_span(&text)));
    }
    cm_text_deinit(&text);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
}

void fuzz_read_model(const char *path)
{
    struct cm_model_file *file = NULL;
    struct cm_error error = { 0 };
    if (cm_model_file_open(path, &file, &error) == CM_OK) {
        touch_tensors(file);
        fuzz_use_tokenizer(cm_model_file_tokenizer(file));
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    cm_model_file_close(file);
}
