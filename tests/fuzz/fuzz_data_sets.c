/* The first byte says which data set, the rest is its file. */
#include "fuzz.h"

#include "loaders/data_sets.h"

static void check_record(const struct cm_data_record *record)
{
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        fuzz_expect_clean(cm_span_of(record->item.fields[i]), true);
    }
    for (size_t i = 0; i < record->item.attributes_count; i++) {
        fuzz_expect_clean(cm_span_of(record->item.attributes[i].name), true);
        fuzz_expect_clean(cm_span_of(record->item.attributes[i].value), true);
    }
    fuzz_expect_clean(cm_span_of(record->text), true);
    fuzz_expect_clean(cm_span_of(record->aspect), true);
    fuzz_expect_clean(cm_span_of(record->audience), true);
    CM_ASSERT(!record->item.damaged || record->item.problem[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_data_set *set = NULL;
    struct cm_error error = { 0 };
    if (size == 0) {
        return 0;
    }
    enum cm_data_set_kind kind = (enum cm_data_set_kind)(data[0] % CM_DATA_SET_KIND_COUNT);
    enum cm_status status = cm_data_set_open(kind, fuzz_file(data + 1, size - 1), &set, &error);
    while (status == CM_OK) {
        struct cm_data_record record;
        status = cm_data_set_next(set, &record, &error);
        if (status == CM_OK) {
            check_record(&record);
            cm_data_record_deinit(&record);
        }
    }
    CM_ASSERT(status == CM_END || error.message[0] != '\0');
    cm_data_set_close(set);
    return 0;
}
