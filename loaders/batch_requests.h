/* OpenAI Batch files: one JSON object a line, {"custom_id", "method", "url", "body"}, for
 * /v1/chat/completions and /v1/completions (OpenAI API reference, Batch and Completions).
 *
 * Every line that is not blank is a request, also a broken one: then `code` and `problem` say why,
 * in OpenAI's codes where it has them. Unknown parameters are errors, and so are those that this
 * program does not have, unless they are set to what they do by default; the parameters top_k,
 * min_p and repetition_penalty are known beside OpenAI's own.
 */
#ifndef CM_LOADERS_BATCH_REQUESTS_H
#define CM_LOADERS_BATCH_REQUESTS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_BATCH_MESSAGES_MAX = 1024,
    CM_BATCH_PROMPTS_MAX = 128, /* texts of one /v1/completions request */
    CM_BATCH_CHOICES_MAX = 128, /* n times prompts */
    CM_BATCH_STOPS_MAX = 16,
    CM_BATCH_STOP_BYTES_MAX = 64,
    CM_BATCH_ID_BYTES_MAX = 512,
    CM_BATCH_TOKENS_MAX = 1 << 20,
};

enum cm_batch_endpoint { CM_BATCH_CHAT, CM_BATCH_COMPLETIONS };

struct cm_batch_message {
    const char *role; /* "system", "user" or "assistant" */
    struct cm_span content;
};

struct cm_batch_request {
    uint64_t line;
    struct cm_span text;      /* the whole line */
    struct cm_span custom_id; /* empty: none could be read */
    const char *code;         /* NULL: a good request. Else "invalid_value" and the like */
    char problem[300];

    enum cm_batch_endpoint endpoint;
    const struct cm_batch_message *messages; /* chat */
    size_t messages_count;
    const struct cm_span *prompts; /* completions */
    size_t prompts_count;

    uint32_t choices;    /* n */
    uint32_t tokens_max; /* of each choice; 0: not said */
    float temperature;
    float top_p;
    float min_p;
    float repetition_penalty;
    uint32_t top_k;
    bool has_seed;
    int64_t seed;
    const struct cm_span *stops; /* without NUL bytes, at most CM_BATCH_STOP_BYTES_MAX long */
    size_t stops_count;
};

struct cm_batch_requests;

/* CM_NOT_FOUND, CM_IO, CM_UNSUPPORTED, CM_OUT_OF_MEMORY. */
enum cm_status cm_batch_requests_open(const char *path, struct cm_batch_requests **requests,
                                      struct cm_error *error) CM_MUST_CHECK;
void cm_batch_requests_close(struct cm_batch_requests *requests);

/* The next request; all it points to is valid until the next call. CM_END, CM_IO,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_batch_requests_next(struct cm_batch_requests *requests,
                                      struct cm_batch_request *request,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
