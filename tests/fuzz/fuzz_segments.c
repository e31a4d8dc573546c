#include "fuzz.h"

#include "loaders/segments.h"

#include <string.h>

static void check_segment(const struct cm_segment *segment)
{
    CM_ASSERT(segment->id[0] != '\0');
    fuzz_expect_clean(cm_span_of(segment->id), true);
    fuzz_expect_clean(cm_span_of(segment->language), true);
    for (size_t i = 0; i < segment->attributes_count; i++) {
        fuzz_expect_clean(cm_span_of(segment->attributes[i].name), true);
        fuzz_expect_clean(cm_span_of(segment->attributes[i].value), true);
    }
    CM_ASSERT(strcmp(cm_segment_find(segment, "id"), segment->id) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_segments segments = { 0 };
    struct cm_error error = { 0 };
    if (cm_segments_open(fuzz_file(data, size), &segments, &error) == CM_OK) {
        CM_ASSERT(segments.count <= CM_SEGMENTS_MAX);
        for (size_t i = 0; i < segments.count; i++) {
            check_segment(&segments.items[i]);
        }
        cm_segments_deinit(&segments);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    return 0;
}
