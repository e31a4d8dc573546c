#include "loaders/batch_parameters.h"

#include "base/utf8.h"
#include "loaders/json_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool cm_batch_refuse(struct cm_batch_request *request, const char *code, const char *format, ...)
{
    va_list arguments;
    if (request->code == NULL) {
        request->code = code;
        va_start(arguments, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is started above */
        vsnprintf(request->problem, sizeof request->problem, format, arguments);
        va_end(arguments);
        cm_utf8_clean(request->problem);
    }
    return false;
}

/* --- Names --- */

enum kind {
    HANDLED,     /* read below, or by batch_requests.c */
    IGNORED,     /* changes no text: who asks, where it is billed */
    UNSUPPORTED, /* fine as long as it is set to nothing */
};

static const struct {
    const char *name;
    enum kind kind;
    bool chat;
    bool completions;
} PARAMETERS[] = {
    { "model", HANDLED, true, true },
    { "messages", HANDLED, true, false },
    { "prompt", HANDLED, false, true },
    { "stop", HANDLED, true, true },
    { "n", HANDLED, true, true },
    { "max_tokens", HANDLED, true, true },
    { "max_completion_tokens", HANDLED, true, false },
    { "temperature", HANDLED, true, true },
    { "top_p", HANDLED, true, true },
    { "seed", HANDLED, true, true },
    { "top_k", HANDLED, true, true },
    { "min_p", HANDLED, true, true },
    { "repetition_penalty", HANDLED, true, true },

    { "user", IGNORED, true, true },
    { "metadata", IGNORED, true, true },
    { "store", IGNORED, true, true },
    { "service_tier", IGNORED, true, true },
    { "safety_identifier", IGNORED, true, true },
    { "prompt_cache_key", IGNORED, true, true },
    { "prompt_cache_retention", IGNORED, true, true },
    { "parallel_tool_calls", IGNORED, true, false },
    { "stream_options", IGNORED, true, true },

    { "stream", UNSUPPORTED, true, true },
    { "logprobs", UNSUPPORTED, true, true },
    { "top_logprobs", UNSUPPORTED, true, false },
    { "logit_bias", UNSUPPORTED, true, true },
    { "presence_penalty", UNSUPPORTED, true, true },
    { "frequency_penalty", UNSUPPORTED, true, true },
    { "response_format", UNSUPPORTED, true, false },
    { "modalities", UNSUPPORTED, true, false },
    { "tools", UNSUPPORTED, true, false },
    { "tool_choice", UNSUPPORTED, true, false },
    { "functions", UNSUPPORTED, true, false },
    { "function_call", UNSUPPORTED, true, false },
    { "audio", UNSUPPORTED, true, false },
    { "prediction", UNSUPPORTED, true, false },
    { "reasoning_effort", UNSUPPORTED, true, false },
    { "verbosity", UNSUPPORTED, true, false },
    { "web_search_options", UNSUPPORTED, true, false },
    { "echo", UNSUPPORTED, false, true },
    { "suffix", UNSUPPORTED, false, true },
    { "best_of", UNSUPPORTED, false, true },
};

/* Whether the value asks for what happens anyway. */
static bool is_neutral(const char *name, const json_t *value)
{
    if (json_is_null(value) || json_is_false(value)) {
        return true;
    }
    if (json_is_number(value)) {
        double neutral = strcmp(name, "best_of") == 0 ? 1.0 : 0.0;
        bool counts = strcmp(name, "logprobs") != 0 && strcmp(name, "top_logprobs") != 0;
        return counts && json_number_value(value) == neutral;
    }
    if (strcmp(name, "response_format") == 0) {
        return cm_span_equal_text(cm_json_span(cm_json_get(value, "type")), "text");
    }
    if (strcmp(name, "modalities") == 0) {
        return json_array_size(value) == 1 &&
               cm_span_equal_text(cm_json_span(json_array_get(value, 0)), "text");
    }
    struct cm_span text = cm_json_span(value);
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_string(value) && (text.length == 0 || cm_span_equal_text(text, "none") ||
                                      cm_span_equal_text(text, "auto")));
}

static bool check_name(const char *name, const json_t *value, struct cm_batch_request *request)
{
    bool chat = request->endpoint == CM_BATCH_CHAT;
    for (size_t i = 0; i < sizeof PARAMETERS / sizeof PARAMETERS[0]; i++) {
        bool here = chat ? PARAMETERS[i].chat : PARAMETERS[i].completions;
        if (!here || strcmp(PARAMETERS[i].name, name) != 0) {
            continue;
        }
        if (PARAMETERS[i].kind == UNSUPPORTED && !is_neutral(name, value)) {
            return cm_batch_refuse(request, "unsupported_parameter", "%s is not supported", name);
        }
        return true;
    }
    return cm_batch_refuse(request, "unknown_parameter", "%.60s is no parameter of %s", name,
                           chat ? "/v1/chat/completions" : "/v1/completions");
}

/* --- Values --- */

static bool take_real(const json_t *body, const char *name, double minimum, double maximum,
                      bool above_minimum, float *target, struct cm_batch_request *request)
{
    const json_t *value = cm_json_get(body, name);
    if (value == NULL) {
        return true;
    }
    if (!json_is_number(value)) {
        return cm_batch_refuse(request, "invalid_type", "%s must be a number", name);
    }
    double number = json_number_value(value);
    bool above = above_minimum ? number > minimum : number >= minimum;
    if (!above || number > maximum) {
        return cm_batch_refuse(request, "invalid_value", "%s is %g; expected %s %g and at most %g",
                               name, number, above_minimum ? "above" : "at least", minimum,
                               maximum);
    }
    *target = (float)number;
    return true;
}

static bool take_whole(const json_t *body, const char *name, uint32_t minimum, uint32_t maximum,
                       uint32_t *target, struct cm_batch_request *request)
{
    const json_t *value = cm_json_get(body, name);
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value)) {
        return cm_batch_refuse(request, "invalid_type", "%s must be a whole number", name);
    }
    json_int_t number = json_integer_value(value);
    if (number < minimum || number > maximum) {
        return cm_batch_refuse(request, "invalid_value",
                               "%s is %lld; expected a whole number from %u to %u", name,
                               (long long)number, minimum, maximum);
    }
    *target = (uint32_t)number;
    return true;
}

static bool take_seed(const json_t *body, struct cm_batch_request *request)
{
    const json_t *value = cm_json_get(body, "seed");
    if (value != NULL && !json_is_integer(value)) {
        return cm_batch_refuse(request, "invalid_type", "seed must be a whole number");
    }
    request->has_seed = value != NULL;
    request->seed = value != NULL ? json_integer_value(value) : 0;
    return true;
}

bool cm_batch_parameters_read(const json_t *body, struct cm_batch_request *request)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)body, name, value)
    {
        if (!check_name(name, value, request)) {
            return false;
        }
    }
    request->choices = 1;
    request->temperature = 1.0F;
    request->top_p = 1.0F;
    request->repetition_penalty = 1.0F;
    return take_whole(body, "n", 1, CM_BATCH_CHOICES_MAX, &request->choices, request) &&
           take_whole(body, "max_tokens", 1, CM_BATCH_TOKENS_MAX, &request->tokens_max, request) &&
           take_whole(body, "max_completion_tokens", 1, CM_BATCH_TOKENS_MAX, &request->tokens_max,
                      request) &&
           take_real(body, "temperature", 0, 2, false, &request->temperature, request) &&
           take_real(body, "top_p", 0, 1, false, &request->top_p, request) &&
           take_real(body, "min_p", 0, 1, false, &request->min_p, request) &&
           take_real(body, "repetition_penalty", 0, 10, true, &request->repetition_penalty,
                     request) &&
           take_whole(body, "top_k", 0, 1 << 20, &request->top_k, request) &&
           take_seed(body, request);
}
