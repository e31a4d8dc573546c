/* The stream of flat records on its own, then the catalog over it. */
#include "fuzz.h"

#include "base/utf8.h"
#include "loaders/json_reader.h"

static void read_records(struct cm_json_reader *reader)
{
    struct cm_json_record record;
    struct cm_error error = { 0 };
    enum cm_status status;
    for (uint64_t element = 1; (status = cm_json_reader_next(reader, &record, &error)) == CM_OK;
         element++) {
        CM_ASSERT(record.element == element);
        CM_ASSERT(record.line >= 1);
        CM_ASSERT(record.pairs_count <= CM_JSON_PAIRS_MAX);
        for (size_t i = 0; i < record.pairs_count; i++) {
            CM_ASSERT(cm_utf8_valid(record.pairs[i].name));
            CM_ASSERT(cm_utf8_valid(record.pairs[i].value));
        }
    }
    CM_ASSERT(status == CM_END || error.message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_text_input *input = NULL;
    struct cm_json_reader *reader = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_text_input_open(fuzz_file(data, size), &input, &error);
    if (status == CM_OK) {
        status = cm_json_reader_open(input, &reader, &error);
    }
    if (status == CM_OK) {
        read_records(reader);
    }
    cm_json_reader_close(reader);
    cm_text_input_close(input);
    fuzz_read_catalog(data, size);
    return 0;
}
