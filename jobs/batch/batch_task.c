#include "jobs/batch/batch_task.h"

#include "base/memory.h"

#include <string.h>

enum { ANSWER_BYTES_MAX = 64 << 20 };

static enum cm_status out_of_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a request");
}

static enum cm_status copy_stops(struct cm_batch_task *task, const struct cm_batch_request *request)
{
    task->stops = cm_alloc(request->stops_count, CM_BATCH_STOP_BYTES_MAX + 1);
    if (task->stops == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < request->stops_count; i++) {
        char *stop = task->stops + i * (CM_BATCH_STOP_BYTES_MAX + 1);
        memcpy(stop, request->stops[i].data, request->stops[i].length);
        task->stop_list[i] = stop;
    }
    task->stops_count = (uint32_t)request->stops_count;
    return CM_OK;
}

static enum cm_status encode_chat(const struct cm_batch_request *request,
                                  const struct cm_tokenizer *tokenizer, struct cm_token_list *list,
                                  struct cm_error *error)
{
    struct cm_chat_message *messages = cm_alloc(request->messages_count, sizeof *messages);
    if (messages == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < request->messages_count; i++) {
        messages[i] = (struct cm_chat_message){ cm_span_of(request->messages[i].role),
                                                request->messages[i].content };
    }
    enum cm_status status =
        cm_tokenizer_encode_chat(tokenizer, messages, request->messages_count, list, error);
    cm_free(messages);
    return status;
}

static enum cm_status encode_prompts(struct cm_batch_task *task,
                                     const struct cm_batch_request *request,
                                     const struct cm_tokenizer *tokenizer, struct cm_error *error)
{
    bool is_chat = request->endpoint == CM_BATCH_CHAT;
    size_t count = is_chat ? 1 : request->prompts_count;
    task->prompts = cm_alloc(count, sizeof *task->prompts);
    if (task->prompts == NULL) {
        return out_of_memory(error);
    }
    task->prompts_count = count;
    for (size_t i = 0; i < count; i++) {
        struct cm_token_list list = { 0 };
        enum cm_status status =
            is_chat ? encode_chat(request, tokenizer, &list, error)
                    : cm_tokenizer_encode_prompt(tokenizer, request->prompts[i], &list, error);
        if (status != CM_OK) {
            cm_token_list_deinit(&list);
            return status;
        }
        if (list.count == 0) {
            cm_token_list_deinit(&list);
            return cm_error_set(error, CM_INVALID_DATA, "prompt is empty");
        }
        task->prompts[i] = (struct cm_batch_prompt){ list.ids, (uint32_t)list.count };
    }
    return CM_OK;
}

enum cm_status cm_batch_task_create(const struct cm_batch_request *request,
                                    const struct cm_tokenizer *tokenizer,
                                    struct cm_batch_task **task, struct cm_error *error)
{
    struct cm_batch_task *made = cm_alloc(1, sizeof *made);
    if (made == NULL) {
        return out_of_memory(error);
    }
    made->endpoint = request->endpoint;
    made->tokens_max = request->tokens_max;
    made->sampling = (struct cm_sampling){
        .temperature = request->temperature,
        .top_k = request->top_k,
        .top_p = request->top_p > 0 ? request->top_p : 1e-6F, /* only the likeliest token */
        .min_p = request->min_p,
        .repetition_penalty = request->repetition_penalty,
    };
    made->custom_id = cm_strndup(request->custom_id.data, request->custom_id.length);
    enum cm_status status = made->custom_id == NULL || copy_stops(made, request) != CM_OK
                                ? out_of_memory(error)
                                : encode_prompts(made, request, tokenizer, error);
    if (status == CM_OK) {
        made->choices_per_prompt = request->choices;
        made->choices_count = (uint32_t)made->prompts_count * request->choices;
        made->choices = cm_alloc(made->choices_count, sizeof *made->choices);
        status = made->choices == NULL ? out_of_memory(error) : CM_OK;
    }
    if (status != CM_OK) {
        cm_batch_task_free(made);
        return status;
    }
    *task = made;
    return CM_OK;
}

void cm_batch_task_free(struct cm_batch_task *task)
{
    if (task == NULL) {
        return;
    }
    for (size_t i = 0; i < task->prompts_count; i++) {
        cm_free(task->prompts[i].ids);
    }
    for (uint32_t i = 0; task->choices != NULL && i < task->choices_count; i++) {
        cm_free(task->choices[i].text);
    }
    cm_free(task->choices);
    cm_free(task->prompts);
    cm_free(task->stops);
    cm_free(task->custom_id);
    cm_free(task);
}

enum cm_status cm_batch_task_take(struct cm_batch_task *task, uint32_t choice,
                                  const struct cm_result *result,
                                  const struct cm_tokenizer *tokenizer)
{
    struct cm_text text = CM_TEXT_INIT(ANSWER_BYTES_MAX);
    CM_ASSERT(choice < task->choices_count && task->choices[choice].text == NULL);
    enum cm_status status =
        cm_tokenizer_decode(tokenizer, result->output, result->output_tokens, &text);
    const char *decoded = cm_text_string(&text);
    size_t length = strlen(decoded);
    size_t whole = length;
    for (uint32_t i = 0; i < task->stops_count; i++) {
        const char *stop = strstr(decoded, task->stop_list[i]);
        if (stop != NULL && (size_t)(stop - decoded) < length) {
            length = (size_t)(stop - decoded);
        }
    }
    if (status == CM_OK) {
        task->choices[choice] = (struct cm_batch_choice){
            .text = cm_strndup(decoded, length),
            .output_tokens = result->output_tokens,
            .finish_reason = length < whole ? CM_FINISH_STOP : result->finish_reason,
        };
        task->finished++;
        status = task->choices[choice].text == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    }
    cm_text_deinit(&text);
    return status;
}
