#include "host/tokenizer_parts.h"

#include <string.h>

#define CHATML_START "<|im_start|>"
#define CHATML_END "<|im_end|>"

/* Bytes of one turn: role, line end and content. */
enum { TURN_BYTES_MAX = 64 << 20 };

static bool contains(struct cm_span text, const char *part)
{
    return text.length > 0 && memmem(text.data, text.length, part, strlen(part)) != NULL;
}

void cm_chat_recognise(struct cm_tokenizer *tokenizer)
{
    struct cm_span source = tokenizer->data->chat_template;
    bool is_chatml_source =
        source.length == 0 || (contains(source, CHATML_START) && contains(source, CHATML_END));
    tokenizer->turn_start = cm_tokenizer_find(tokenizer, CHATML_START);
    tokenizer->turn_end = cm_tokenizer_find(tokenizer, CHATML_END);
    bool has_markers = tokenizer->turn_start >= 0 && tokenizer->turn_end >= 0;
    tokenizer->chat_format = has_markers && is_chatml_source ? CM_CHAT_CHATML : CM_CHAT_NONE;
}

enum cm_chat_format cm_tokenizer_chat_format(const struct cm_tokenizer *tokenizer)
{
    return tokenizer->chat_format;
}

static enum cm_status append_marker(struct cm_token_list *list, int32_t id, struct cm_error *error)
{
    enum cm_status status = cm_token_list_append(list, id);
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "No memory for a prompt.");
}

/* <|im_start|>, the text between the markers as one run, <|im_end|> and a line end. */
static enum cm_status append_turn(const struct cm_tokenizer *tokenizer,
                                  const struct cm_chat_message *message, struct cm_text *run,
                                  struct cm_token_list *list, struct cm_error *error)
{
    cm_text_clear(run);
    enum cm_status status = cm_text_append_span(run, message->role);
    if (status == CM_OK) {
        status = cm_text_append_char(run, '\n');
    }
    if (status == CM_OK) {
        status = cm_text_append_span(run, message->content);
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "A message of %zu bytes is too long for a prompt.",
                            message->content.length);
    }
    status = append_marker(list, tokenizer->turn_start, error);
    if (status == CM_OK) {
        status = cm_tokenizer_encode(tokenizer, cm_text_span(run), list, error);
    }
    if (status == CM_OK) {
        status = append_marker(list, tokenizer->turn_end, error);
    }
    return status == CM_OK ? cm_tokenizer_encode(tokenizer, cm_span_of("\n"), list, error) : status;
}

static enum cm_status encode_chatml(const struct cm_tokenizer *tokenizer,
                                    const struct cm_chat_message *messages, size_t messages_count,
                                    struct cm_text *run, struct cm_token_list *list,
                                    struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < messages_count && status == CM_OK; i++) {
        status = append_turn(tokenizer, &messages[i], run, list, error);
    }
    if (status == CM_OK) {
        status = append_marker(list, tokenizer->turn_start, error);
    }
    return status == CM_OK ? cm_tokenizer_encode(tokenizer, cm_span_of("assistant\n"), list, error)
                           : status;
}

static enum cm_status encode_plain(const struct cm_tokenizer *tokenizer,
                                   const struct cm_chat_message *messages, size_t messages_count,
                                   struct cm_text *run, struct cm_token_list *list,
                                   struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < messages_count && status == CM_OK; i++) {
        if (i > 0) {
            status = cm_text_append_string(run, "\n\n");
        }
        if (status == CM_OK) {
            status = cm_text_append_span(run, messages[i].content);
        }
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "The messages are too long for a prompt.");
    }
    return cm_tokenizer_encode(tokenizer, cm_text_span(run), list, error);
}

enum cm_status cm_tokenizer_encode_chat(const struct cm_tokenizer *tokenizer,
                                        const struct cm_chat_message *messages,
                                        size_t messages_count, struct cm_token_list *list,
                                        struct cm_error *error)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    bool is_chatml = tokenizer->chat_format == CM_CHAT_CHATML;
    size_t count_before = list->count;
    struct cm_text run = CM_TEXT_INIT(TURN_BYTES_MAX);
    enum cm_status status = CM_OK;
    /* Some files name the marker of a turn as the beginning of the text; it is not doubled. */
    if (data->add_bos && data->bos >= 0 && !(is_chatml && data->bos == tokenizer->turn_start)) {
        status = append_marker(list, data->bos, error);
    }
    if (status == CM_OK) {
        status = is_chatml ? encode_chatml(tokenizer, messages, messages_count, &run, list, error)
                           : encode_plain(tokenizer, messages, messages_count, &run, list, error);
    }
    if (status != CM_OK) {
        list->count = count_before;
    }
    cm_text_deinit(&run);
    return status;
}
