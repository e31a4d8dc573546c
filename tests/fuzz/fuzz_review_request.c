#include "fuzz.h"

#include "base/memory.h"
#include "jobs/review/review_request.h"

#include <string.h>

static void expect_query(const struct cm_review_query *query)
{
    struct cm_queue_filter filter = cm_review_query_filter(query);
    const char *texts[] = { filter.segment, filter.language, filter.flag, filter.search };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CM_ASSERT(texts[i] == NULL || strlen(texts[i]) < CM_REVIEW_VALUE_BYTES);
    }
    CM_ASSERT(query->rows_max <= CM_REVIEW_ROWS_MAX);
    CM_ASSERT(query->after >= 0 && query->id >= 0 && query->since >= 0);
    CM_ASSERT(query->score_min >= 0 && query->score_min <= 1);
    CM_ASSERT(query->order < CM_QUEUE_ORDER_COUNT);
}

static void parse_body(struct cm_span bytes)
{
    struct cm_review_body body;
    struct cm_error error = { 0 };
    if (cm_review_body_parse(bytes, &body, &error) == CM_OK) {
        CM_ASSERT(body.id >= 0 && body.batch >= 0);
        CM_ASSERT(strlen(body.text) <= CM_REVIEW_TEXT_BYTES_MAX);
        fuzz_expect_clean(cm_span_of(body.text), true);
        fuzz_expect_clean(cm_span_of(body.reason), true);
        CM_ASSERT(strlen(body.reviewer) < CM_REVIEW_NAME_BYTES);
        expect_query(&body.filter);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    cm_review_body_deinit(&body);
}

/* "name=value", as libmicrohttpd hands it on: strings that end with a NUL. */
static void parse_parameter(const uint8_t *data, size_t size)
{
    struct cm_review_query query;
    struct cm_error error = { 0 };
    char *text = cm_strndup(size > 0 ? (const char *)data : "", size);
    CM_ASSERT(text != NULL);
    char *equals = strchr(text, '=');
    cm_review_query_init(&query);
    if (equals != NULL) {
        *equals = '\0';
        if (cm_review_query_set(&query, text, equals + 1, &error) != CM_OK) {
            CM_ASSERT(error.message[0] != '\0');
        }
        expect_query(&query);
    }
    cm_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_body(fuzz_span(data, size));
    parse_parameter(data, size);
    return 0;
}
