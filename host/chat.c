#include "host/tokenizer_parts.h"

#include <string.h>

/* The markers of a format. A vocabulary that has them without a template is one for conversations
 * only where base models do not come with it too. */
static const struct {
    enum cm_chat_format format;
    const char *start;
    const char *end;
    bool needs_template;
} formats[] = {
    { CM_CHAT_CHATML, "<|im_start|>", "<|im_end|>", false },
    { CM_CHAT_GEMMA, "<start_of_turn>", "<end_of_turn>", true },
};

/* Bytes of one turn: role, line end and content. */
enum { TURN_BYTES_MAX = 64 << 20 };

static bool contains(struct cm_span text, const char *part)
{
    return text.length > 0 && memmem(text.data, text.length, part, strlen(part)) != NULL;
}

void cm_chat_recognise(struct cm_tokenizer *tokenizer)
{
    struct cm_span source = tokenizer->data->chat_template;
    tokenizer->chat_format = CM_CHAT_NONE;
    tokenizer->turn_start = -1;
    tokenizer->turn_end = -1;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        bool is_source = source.length == 0 ? !formats[i].needs_template
                                            : contains(source, formats[i].start) &&
                                                  contains(source, formats[i].end);
        int32_t start = cm_tokenizer_find(tokenizer, formats[i].start);
        int32_t end = cm_tokenizer_find(tokenizer, formats[i].end);
        if (is_source && start >= 0 && end >= 0) {
            tokenizer->chat_format = formats[i].format;
            tokenizer->turn_start = start;
            tokenizer->turn_end = end;
            return;
        }
    }
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

struct turn {
    struct cm_span role;
    struct cm_span lead; /* goes before the content with a blank line between; empty: none */
    struct cm_span content;
};

/* Role, lead and content as they stand between the markers. */
static enum cm_status write_turn(const struct turn *turn, struct cm_text *run)
{
    cm_text_clear(run);
    enum cm_status status = cm_text_append_span(run, turn->role);
    if (status == CM_OK) {
        status = cm_text_append_char(run, '\n');
    }
    if (status == CM_OK && turn->lead.length > 0) {
        status = cm_text_append_span(run, turn->lead);
        if (status == CM_OK) {
            status = cm_text_append_string(run, "\n\n");
        }
    }
    return status == CM_OK ? cm_text_append_span(run, turn->content) : status;
}

/* The marker of the start, the text between the markers as one run, that of the end, a line end. */
static enum cm_status append_turn(const struct cm_tokenizer *tokenizer, const struct turn *turn,
                                  struct cm_text *run, struct cm_token_list *list,
                                  struct cm_error *error)
{
    enum cm_status status = write_turn(turn, run);
    if (status != CM_OK) {
        return cm_error_set(error, status, "A message of %zu bytes is too long for a prompt.",
                            turn->content.length);
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

/* Gemma's conversations know a user and a model; what a system would say first leads the user's
 * first turn. */
static struct turn gemma_turn(const struct cm_chat_message *messages, size_t at)
{
    bool has_lead = at == 1 && cm_span_equal_text(messages[0].role, "system");
    bool is_model = cm_span_equal_text(messages[at].role, "assistant");
    return (struct turn){ .role = cm_span_of(is_model ? "model" : "user"),
                          .lead = has_lead ? messages[0].content : (struct cm_span){ 0 },
                          .content = cm_span_trim(messages[at].content) };
}

static enum cm_status encode_turns(const struct cm_tokenizer *tokenizer,
                                   const struct cm_chat_message *messages, size_t messages_count,
                                   struct cm_text *run, struct cm_token_list *list,
                                   struct cm_error *error)
{
    bool is_gemma = tokenizer->chat_format == CM_CHAT_GEMMA;
    bool is_led = is_gemma && messages_count > 1 && cm_span_equal_text(messages[0].role, "system");
    enum cm_status status = CM_OK;
    for (size_t i = is_led ? 1 : 0; i < messages_count && status == CM_OK; i++) {
        struct turn turn = { .role = messages[i].role, .content = messages[i].content };
        if (is_gemma) {
            turn = gemma_turn(messages, i);
        }
        status = append_turn(tokenizer, &turn, run, list, error);
    }
    if (status == CM_OK) {
        status = append_marker(list, tokenizer->turn_start, error);
    }
    struct cm_span opening = cm_span_of(is_gemma ? "model\n" : "assistant\n");
    return status == CM_OK ? cm_tokenizer_encode(tokenizer, opening, list, error) : status;
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
    bool has_turns = tokenizer->chat_format != CM_CHAT_NONE;
    size_t count_before = list->count;
    struct cm_text run = CM_TEXT_INIT(TURN_BYTES_MAX);
    enum cm_status status = CM_OK;
    /* Some files name the marker of a turn as the beginning of the text; it is not doubled. */
    if (data->add_bos && data->bos >= 0 && !(has_turns && data->bos == tokenizer->turn_start)) {
        status = append_marker(list, data->bos, error);
    }
    if (status == CM_OK) {
        status = has_turns ? encode_turns(tokenizer, messages, messages_count, &run, list, error)
                           : encode_plain(tokenizer, messages, messages_count, &run, list, error);
    }
    if (status != CM_OK) {
        list->count = count_before;
    }
    cm_text_deinit(&run);
    return status;
}

enum cm_status cm_tokenizer_encode_prompt(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                          struct cm_token_list *list, struct cm_error *error)
{
    const struct cm_tokenizer_data *data = tokenizer->data;
    size_t count_before = list->count;
    enum cm_status status = CM_OK;
    if (data->add_bos && data->bos >= 0) {
        status = append_marker(list, data->bos, error);
    }
    if (status == CM_OK) {
        status = cm_tokenizer_encode(tokenizer, text, list, error);
    }
    list->count = status == CM_OK ? list->count : count_before;
    return status;
}
