#include "jobs/batch/batch_answer.h"

#include "base/memory.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <string.h>

static json_t *choice_of(const struct cm_batch_task *task, uint32_t index)
{
    const struct cm_batch_choice *choice = &task->choices[index];
    const char *reason = cm_finish_reason_name(choice->finish_reason);
    if (task->endpoint == CM_BATCH_CHAT) {
        return json_pack("{s:i, s:{s:s, s:s, s:n}, s:n, s:s}", "index", (int)index, "message",
                         "role", "assistant", "content", choice->text, "refusal", "logprobs",
                         "finish_reason", reason);
    }
    return json_pack("{s:s, s:i, s:n, s:s}", "text", choice->text, "index", (int)index, "logprobs",
                     "finish_reason", reason);
}

char *cm_batch_answer_body(const struct cm_batch_task *task, const char *model, const char *variant,
                           int64_t created_s)
{
    bool is_chat = task->endpoint == CM_BATCH_CHAT;
    char id[sizeof "chatcmpl-" + CM_ROW_KEY_HEX_BYTES];
    json_int_t prompt_tokens = 0;
    json_int_t output_tokens = 0;
    cm_json_memory_begin(); /* so that the text is ours to free */
    json_t *choices = json_array();
    snprintf(id, sizeof id, "%s%s", is_chat ? "chatcmpl-" : "cmpl-", task->key);
    for (size_t i = 0; i < task->prompts_count; i++) {
        prompt_tokens += task->prompts[i].count;
    }
    bool whole = choices != NULL;
    for (uint32_t i = 0; whole && i < task->choices_count; i++) {
        output_tokens += task->choices[i].output_tokens;
        whole = json_array_append_new(choices, choice_of(task, i)) == 0;
    }
    json_t *body = !whole ? NULL
                          : json_pack("{s:s, s:s, s:I, s:s, s:O, s:{s:I, s:I, s:I}, s:s}", "id", id,
                                      "object", is_chat ? "chat.completion" : "text_completion",
                                      "created", (json_int_t)created_s, "model", model, "choices",
                                      choices, "usage", "prompt_tokens", prompt_tokens,
                                      "completion_tokens", output_tokens, "total_tokens",
                                      prompt_tokens + output_tokens, "system_fingerprint", variant);
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    json_decref(choices);
    return text;
}

/* The stored body is JSON as it has to stand in the line, so it is not parsed again. */
enum cm_status cm_batch_answer_write(FILE *stream, const struct cm_copy_row *row)
{
    bool is_ok = row->status == CM_ROW_OK;
    enum cm_status status = CM_OUT_OF_MEMORY;
    bool has_id = row->item_id[0] != '\0';
    cm_json_memory_begin();
    json_t *id = has_id ? json_string(row->item_id) : json_null();
    char *custom_id = json_dumps(id, JSON_ENCODE_ANY);
    json_t *error =
        is_ok ? json_null() : json_pack("{s:s, s:s}", "code", row->flags, "message", row->error);
    char *error_text = json_dumps(error, JSON_ENCODE_ANY | JSON_COMPACT);
    if (custom_id != NULL && error_text != NULL) {
        fprintf(stream, "{\"id\":\"batch_req_%s\",\"custom_id\":%s,\"response\":", row->key,
                custom_id);
        if (is_ok) {
            fprintf(stream, "{\"status_code\":200,\"request_id\":\"req_%s\",\"body\":%s}", row->key,
                    row->fields);
        } else {
            fputs("null", stream);
        }
        fprintf(stream, ",\"error\":%s}\n", error_text);
        status = CM_OK;
    }
    cm_free(custom_id);
    cm_free(error_text);
    json_decref(id);
    json_decref(error);
    return status;
}
