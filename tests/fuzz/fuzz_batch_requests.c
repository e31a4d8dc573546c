#include "fuzz.h"

#include "loaders/batch_requests.h"

#include "base/utf8.h"

static void check_request(const struct cm_batch_request *request)
{
    CM_ASSERT(cm_utf8_valid(request->custom_id));
    if (request->code != NULL) {
        CM_ASSERT(request->problem[0] != '\0');
        fuzz_expect_clean(cm_span_of(request->problem), false);
        return;
    }
    CM_ASSERT(request->custom_id.length > 0);
    CM_ASSERT(request->choices >= 1 && request->choices <= CM_BATCH_CHOICES_MAX);
    CM_ASSERT(request->messages_count > 0 || request->prompts_count > 0);
    for (size_t i = 0; i < request->messages_count; i++) {
        CM_ASSERT(request->messages[i].role != NULL);
        CM_ASSERT(cm_utf8_valid(request->messages[i].content));
    }
    for (size_t i = 0; i < request->prompts_count; i++) {
        CM_ASSERT(cm_utf8_valid(request->prompts[i]));
    }
    for (size_t i = 0; i < request->stops_count; i++) {
        CM_ASSERT(request->stops[i].length > 0);
        CM_ASSERT(request->stops[i].length <= CM_BATCH_STOP_BYTES_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_batch_requests *requests = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_batch_requests_open(fuzz_file(data, size), &requests, &error);
    while (status == CM_OK) {
        struct cm_batch_request request;
        status = cm_batch_requests_next(requests, &request, &error);
        if (status == CM_OK) {
            check_request(&request);
        }
    }
    CM_ASSERT(status == CM_END || error.message[0] != '\0');
    cm_batch_requests_close(requests);
    return 0;
}
