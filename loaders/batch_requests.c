#include "loaders/batch_requests.h"

#include "base/memory.h"
#include "loaders/batch_parameters.h"
#include "loaders/json_file.h"
#include "loaders/line_reader.h"

#include <stdio.h>
#include <string.h>

struct cm_batch_requests {
    struct cm_line_reader *lines;
    json_t *document; /* of the line in hand */
    struct cm_batch_message messages[CM_BATCH_MESSAGES_MAX];
    struct cm_text joined; /* contents that came in parts */
    size_t joined_ends[CM_BATCH_MESSAGES_MAX];
    struct cm_span prompts[CM_BATCH_PROMPTS_MAX];
    struct cm_span stops[CM_BATCH_STOPS_MAX];
};

enum cm_status cm_batch_requests_open(const char *path, struct cm_batch_requests **requests,
                                      struct cm_error *error)
{
    struct cm_batch_requests *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->joined = CM_TEXT_INIT(CM_LINE_BYTES_MAX);
    enum cm_status status = cm_line_reader_open(path, &opened->lines, error);
    if (status != CM_OK) {
        cm_batch_requests_close(opened);
        return status;
    }
    *requests = opened;
    return CM_OK;
}

void cm_batch_requests_close(struct cm_batch_requests *requests)
{
    if (requests != NULL) {
        cm_line_reader_close(requests->lines);
        cm_json_close(requests->document);
        cm_text_deinit(&requests->joined);
        cm_free(requests);
    }
}

/* --- The envelope --- */

static bool read_envelope(const json_t *document, struct cm_batch_request *request,
                          const json_t **body)
{
    const json_t *id = cm_json_get(document, "custom_id");
    struct cm_span method = cm_json_span(cm_json_get(document, "method"));
    struct cm_span url = cm_json_span(cm_json_get(document, "url"));
    if (!json_is_string(id) || json_string_length(id) == 0 ||
        json_string_length(id) > CM_BATCH_ID_BYTES_MAX) {
        return cm_batch_refuse(request, "missing_required_parameter",
                               "custom_id must be a text of 1 to %d bytes", CM_BATCH_ID_BYTES_MAX);
    }
    request->custom_id = cm_json_span(id);
    if (!cm_span_equal_text(method, "POST")) {
        return cm_batch_refuse(request, "invalid_method", "method must be \"POST\"");
    }
    if (cm_span_equal_text(url, "/v1/chat/completions")) {
        request->endpoint = CM_BATCH_CHAT;
    } else if (cm_span_equal_text(url, "/v1/completions")) {
        request->endpoint = CM_BATCH_COMPLETIONS;
    } else {
        return cm_batch_refuse(request, "invalid_url",
                               "url is \"%.*s\"; expected /v1/chat/completions or "
                               "/v1/completions",
                               (int)(url.length < 60 ? url.length : 60),
                               url.length > 0 ? url.data : "");
    }
    *body = cm_json_get(document, "body");
    if (!json_is_object(*body)) {
        return cm_batch_refuse(request, "missing_required_parameter", "body must be an object");
    }
    const json_t *model = cm_json_get(*body, "model");
    if (!json_is_string(model) || json_string_length(model) == 0) {
        return cm_batch_refuse(request, "missing_required_parameter", "model must be a text");
    }
    return true;
}

/* --- Messages --- */

static const char *role_of(const json_t *message)
{
    static const struct {
        const char *name;
        const char *role;
    } roles[] = { { "system", "system" },
                  { "developer", "system" },
                  { "user", "user" },
                  { "assistant", "assistant" } };
    struct cm_span name = cm_json_span(cm_json_get(message, "role"));
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (cm_span_equal_text(name, roles[i].name)) {
            return roles[i].role;
        }
    }
    return NULL;
}

/* A content in parts: texts, one after the other. */
static enum cm_status join_parts(struct cm_batch_requests *requests, const json_t *parts,
                                 struct cm_batch_request *request, size_t index)
{
    size_t part_index;
    const json_t *part;
    json_array_foreach(parts, part_index, part)
    {
        bool is_text = cm_span_equal_text(cm_json_span(cm_json_get(part, "type")), "text");
        const json_t *text = cm_json_get(part, "text");
        if (!is_text || !json_is_string(text)) {
            cm_batch_refuse(request, "unsupported_parameter",
                            "messages[%zu].content[%zu] is no text; the model takes text only",
                            index, part_index);
            return CM_OK;
        }
        enum cm_status status = cm_text_append_span(&requests->joined, cm_json_span(text));
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

static enum cm_status read_message(struct cm_batch_requests *requests, const json_t *message,
                                   struct cm_batch_request *request, size_t index)
{
    struct cm_batch_message *read = &requests->messages[index];
    const json_t *content = cm_json_get(message, "content");
    read->role = role_of(message);
    read->content = (struct cm_span){ NULL, 0 };
    enum cm_status status = CM_OK;
    if (read->role == NULL) {
        cm_batch_refuse(request, "invalid_value",
                        "messages[%zu].role must be system, developer, user or assistant", index);
    } else if (cm_json_get(message, "tool_calls") != NULL) {
        cm_batch_refuse(request, "unsupported_parameter",
                        "messages[%zu].tool_calls: tools are not supported", index);
    } else if (json_is_string(content)) {
        read->content = cm_json_span(content);
    } else if (json_is_array(content) && json_array_size(content) > 0) {
        status = join_parts(requests, content, request, index);
    } else {
        cm_batch_refuse(request, "invalid_type",
                        "messages[%zu].content must be a text or a list of texts", index);
    }
    requests->joined_ends[index] = requests->joined.length;
    return status;
}

static enum cm_status read_messages(struct cm_batch_requests *requests, const json_t *body,
                                    struct cm_batch_request *request)
{
    const json_t *messages = cm_json_get(body, "messages");
    size_t count = json_array_size(messages);
    enum cm_status status = CM_OK;
    if (count == 0 || count > CM_BATCH_MESSAGES_MAX) {
        cm_batch_refuse(request, count == 0 ? "missing_required_parameter" : "invalid_value",
                        "messages must be a list of 1 to %d messages", CM_BATCH_MESSAGES_MAX);
        return CM_OK;
    }
    cm_text_clear(&requests->joined);
    for (size_t i = 0; status == CM_OK && request->code == NULL && i < count; i++) {
        status = read_message(requests, json_array_get(messages, i), request, i);
    }
    /* Only now, since the joined text may have moved. */
    for (size_t i = 0; status == CM_OK && request->code == NULL && i < count; i++) {
        size_t begin = i == 0 ? 0 : requests->joined_ends[i - 1];
        if (requests->joined_ends[i] > begin) {
            requests->messages[i].content =
                (struct cm_span){ requests->joined.data + begin, requests->joined_ends[i] - begin };
        }
    }
    request->messages = requests->messages;
    request->messages_count = count;
    return status;
}

/* --- Lists of texts: prompts and stops --- */

/* False, with the request refused, where the value is neither a text nor a list of them. */
static bool read_texts(const json_t *value, const char *name, struct cm_span *texts,
                       size_t texts_max, size_t *count, struct cm_batch_request *request)
{
    size_t size = json_is_array(value) ? json_array_size(value) : 1;
    if (size == 0 || size > texts_max) {
        return cm_batch_refuse(request, "invalid_value", "%s must be a text or 1 to %zu texts",
                               name, texts_max);
    }
    for (size_t i = 0; i < size; i++) {
        const json_t *text = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(text)) {
            return cm_batch_refuse(request,
                                   json_is_integer(text) || json_is_array(text)
                                       ? "unsupported_parameter"
                                       : "invalid_type",
                                   "%s must be a text or a list of texts (lists of token ids are "
                                   "not supported)",
                                   name);
        }
        texts[i] = cm_json_span(text);
    }
    *count = size;
    return true;
}

static bool read_stops(struct cm_batch_requests *requests, const json_t *body,
                       struct cm_batch_request *request)
{
    const json_t *stop = cm_json_get(body, "stop");
    if (stop == NULL) {
        return true;
    }
    if (!read_texts(stop, "stop", requests->stops, CM_BATCH_STOPS_MAX, &request->stops_count,
                    request)) {
        return false;
    }
    for (size_t i = 0; i < request->stops_count; i++) {
        if (requests->stops[i].length == 0 || requests->stops[i].length > CM_BATCH_STOP_BYTES_MAX) {
            return cm_batch_refuse(request, "invalid_value",
                                   "stop: each text must have 1 to %d bytes",
                                   CM_BATCH_STOP_BYTES_MAX);
        }
    }
    request->stops = requests->stops;
    return true;
}

static bool read_prompts(struct cm_batch_requests *requests, const json_t *body,
                         struct cm_batch_request *request)
{
    const json_t *prompt = cm_json_get(body, "prompt");
    if (prompt == NULL) {
        return cm_batch_refuse(request, "missing_required_parameter", "prompt is missing");
    }
    if (!read_texts(prompt, "prompt", requests->prompts, CM_BATCH_PROMPTS_MAX,
                    &request->prompts_count, request)) {
        return false;
    }
    request->prompts = requests->prompts;
    if (request->prompts_count * request->choices > CM_BATCH_CHOICES_MAX) {
        return cm_batch_refuse(request, "invalid_value",
                               "n times the number of prompts must be at most %d",
                               CM_BATCH_CHOICES_MAX);
    }
    return true;
}

/* --- A line --- */

static enum cm_status read_request(struct cm_batch_requests *requests, const struct cm_line *line,
                                   struct cm_batch_request *request)
{
    struct cm_error error = { 0 };
    const json_t *body = NULL;
    cm_json_close(requests->document);
    requests->document = NULL;
    if (line->problem != NULL) {
        cm_batch_refuse(request, "invalid_json_line", "the line %s", line->problem);
        return CM_OK;
    }
    enum cm_status status =
        cm_json_parse(line->text.data, line->text.length, "JSON", &requests->document, &error);
    if (status != CM_OK) {
        cm_batch_refuse(request, "invalid_json_line", "%s", error.message);
        return status == CM_OUT_OF_MEMORY ? status : CM_OK;
    }
    if (!read_envelope(requests->document, request, &body) ||
        !cm_batch_parameters_read(body, request) || !read_stops(requests, body, request)) {
        return CM_OK;
    }
    if (request->endpoint == CM_BATCH_CHAT) {
        return read_messages(requests, body, request);
    }
    read_prompts(requests, body, request);
    return CM_OK;
}

enum cm_status cm_batch_requests_next(struct cm_batch_requests *requests,
                                      struct cm_batch_request *request, struct cm_error *error)
{
    struct cm_line line;
    enum cm_status status = cm_line_reader_next(requests->lines, &line, error);
    if (status != CM_OK) {
        return status;
    }
    *request = (struct cm_batch_request){ .line = line.number, .text = line.text };
    status = read_request(requests, &line, request);
    return status == CM_OK ? CM_OK
                           : cm_error_set(error, status, "%s:%llu: out of memory",
                                          cm_line_reader_name(requests->lines),
                                          (unsigned long long)line.number);
}
