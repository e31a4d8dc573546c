#include "jobs/prompt.h"

#include "base/memory.h"
#include "jobs/embedded_templates.h"
#include "jobs/language.h"
#include "jobs/template.h"
#include "loaders/file_map.h"

#include <ctype.h>
#include <string.h>

/* Most bytes of one rendered role: template, facts and fields at their limits. */
enum { PROMPT_BYTES_MAX = 256 * 1024, FORMAT_BYTES_MAX = 8 * 1024 };

/* Goes into the hash of every prompt: count up when the rendering of a template changes. */
enum { RENDERING_VERSION = 1 };

struct cm_prompts {
    const char *scenario; /* of EMBEDDED_TEMPLATES */
    struct cm_channel *channel;
    struct cm_template *template;
    const struct cm_tokenizer *tokenizer;
};

static const struct cm_embedded_template *find_scenario(const char *name)
{
    for (size_t i = 0; i < CM_EMBEDDED_TEMPLATES_COUNT; i++) {
        if (strcmp(CM_EMBEDDED_TEMPLATES[i].name, name) == 0) {
            return &CM_EMBEDDED_TEMPLATES[i];
        }
    }
    return NULL;
}

static enum cm_status unknown_scenario(const char *name, struct cm_error *error)
{
    struct cm_text known = CM_TEXT_INIT(256);
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < CM_EMBEDDED_TEMPLATES_COUNT && status == CM_OK; i++) {
        status = cm_text_printf(&known, "%s%s", i == 0 ? "" : ", ", CM_EMBEDDED_TEMPLATES[i].name);
    }
    status = cm_error_set(error, CM_INVALID_ARGUMENT, "--scenario %s: expected one of: %s", name,
                          cm_text_string(&known));
    cm_text_deinit(&known);
    return status;
}

static enum cm_status parse_file(const char *path, struct cm_template **template,
                                 struct cm_error *error)
{
    struct cm_file_map *map = NULL;
    enum cm_status status = cm_file_map_open(path, &map, error);
    if (status == CM_OK) {
        struct cm_span source = { (const char *)cm_file_map_data(map), cm_file_map_bytes(map) };
        status = cm_template_parse(path, source, template, error);
    }
    cm_file_map_close(map);
    return status;
}

enum cm_status cm_prompts_open(const char *scenario, const char *channel, const char *template_path,
                               const struct cm_tokenizer *tokenizer, struct cm_prompts **prompts,
                               struct cm_error *error)
{
    *prompts = NULL;
    const struct cm_embedded_template *built_in = find_scenario(scenario);
    if (built_in == NULL) {
        return unknown_scenario(scenario, error);
    }
    struct cm_channel *opened_channel = NULL;
    enum cm_status status = cm_channel_open(channel, &opened_channel, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_template *template = NULL;
    status = template_path != NULL ? parse_file(template_path, &template, error)
                                   : cm_template_parse(built_in->name, cm_span_of(built_in->source),
                                                       &template, error);
    if (status != CM_OK) {
        cm_channel_close(opened_channel);
        return status;
    }
    *prompts = cm_alloc(1, sizeof **prompts);
    if (*prompts == NULL) {
        cm_template_close(template);
        cm_channel_close(opened_channel);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    **prompts = (struct cm_prompts){ built_in->name, opened_channel, template, tokenizer };
    return CM_OK;
}

void cm_prompts_close(struct cm_prompts *prompts)
{
    if (prompts != NULL) {
        cm_template_close(prompts->template);
        cm_channel_close(prompts->channel);
        cm_free(prompts);
    }
}

const struct cm_channel *cm_prompts_channel(const struct cm_prompts *prompts)
{
    return prompts->channel;
}

void cm_prompts_hash(const struct cm_prompts *prompts, struct cm_hash *hash)
{
    cm_hash_u64(hash, RENDERING_VERSION);
    cm_hash_text(hash, prompts->scenario);
    cm_hash_text(hash, prompts->channel->name);
    if (cm_channel_shapes_text(prompts->channel, prompts->scenario)) {
        cm_channel_hash(prompts->channel, hash);
    }
    cm_hash_field(hash, cm_template_source(prompts->template));
}

/* --- Language --- */

/* "ZH_cn" and "zh-CN" are one language; false where `from` is no code at all. */
static bool take_language(const char *from, char language[CM_LANGUAGE_BYTES])
{
    char code[CM_LANGUAGE_BYTES] = "";
    if (from == NULL || strlen(from) >= sizeof code) {
        return false;
    }
    for (size_t i = 0; from[i] != '\0'; i++) {
        code[i] = from[i] == '_' ? '-' : (char)tolower((unsigned char)from[i]);
    }
    if (!cm_language_is_code(code)) {
        return false;
    }
    memcpy(language, code, sizeof code);
    return true;
}

/* Title and description carry the language; attribute names are often English in any catalog. */
static const char *detect_language(const struct cm_item *item)
{
    const char *detected = cm_language_detect(cm_span_of(item->fields[CM_ITEM_DESCRIPTION]));
    if (detected == NULL) {
        detected = cm_language_detect(cm_span_of(item->fields[CM_ITEM_TITLE]));
    }
    return detected == NULL ? "en" : detected;
}

void cm_prompts_language(const char *requested, const struct cm_template_data *data,
                         char language[CM_LANGUAGE_BYTES])
{
    const struct cm_question *question = data->question;
    bool chosen = strcmp(requested, "auto") != 0 && take_language(requested, language);
    chosen = chosen || (question != NULL && take_language(question->language, language));
    chosen = chosen || take_language(data->segment->language, language);
    chosen = chosen || (question != NULL &&
                        take_language(cm_language_detect(cm_span_of(question->text)), language));
    chosen = chosen || take_language(data->item->fields[CM_ITEM_LANGUAGE], language);
    if (!chosen) {
        (void)take_language(detect_language(data->item), language);
    }
}

/* --- Rendering --- */

static const char *const ROLES[] = {
    [CM_TEMPLATE_SYSTEM] = "system",
    [CM_TEMPLATE_USER] = "user",
};
enum { ROLES_COUNT = sizeof ROLES / sizeof ROLES[0] };

/* White space at the ends is what empty values left behind. */
static enum cm_status render_role(const struct cm_prompts *prompts, enum cm_template_role role,
                                  const struct cm_template_data *data, struct cm_text *text,
                                  struct cm_error *error)
{
    struct cm_text format = CM_TEXT_INIT(FORMAT_BYTES_MAX);
    struct cm_template_data with_format = *data;
    enum cm_status status =
        cm_channel_append_format(prompts->channel, prompts->scenario, data->language, &format);
    if (status == CM_OK) {
        with_format.format = cm_text_string(&format);
        status = cm_template_render(prompts->template, role, &with_format, text);
    }
    cm_text_deinit(&format);
    if (status == CM_OK) {
        return CM_OK;
    }
    return cm_error_set(error, status, "the prompt of item %s cannot be rendered: %s",
                        data->item->fields[CM_ITEM_ID],
                        status == CM_LIMIT ? "it is too long" : "out of memory");
}

enum cm_status cm_prompts_render(const struct cm_prompts *prompts,
                                 const struct cm_template_data *data, struct cm_token_list *ids,
                                 struct cm_error *error)
{
    struct cm_text texts[ROLES_COUNT];
    struct cm_chat_message messages[ROLES_COUNT];
    size_t messages_count = 0;
    enum cm_status status = CM_OK;
    for (size_t role = 0; role < ROLES_COUNT; role++) {
        texts[role] = CM_TEXT_INIT(PROMPT_BYTES_MAX);
    }
    for (size_t role = 0; role < ROLES_COUNT && status == CM_OK; role++) {
        status = render_role(prompts, (enum cm_template_role)role, data, &texts[role], error);
        struct cm_span content = cm_span_trim(cm_text_span(&texts[role]));
        if (content.length > 0) {
            messages[messages_count++] =
                (struct cm_chat_message){ cm_span_of(ROLES[role]), content };
        }
    }
    if (status == CM_OK) {
        status = cm_tokenizer_encode_chat(prompts->tokenizer, messages, messages_count, ids, error);
    }
    for (size_t role = 0; role < ROLES_COUNT; role++) {
        cm_text_deinit(&texts[role]);
    }
    return status;
}

enum cm_status cm_prompts_render_text(const struct cm_prompts *prompts,
                                      const struct cm_template_data *data, struct cm_text *text,
                                      struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (size_t role = 0; role < ROLES_COUNT && status == CM_OK; role++) {
        struct cm_text content = CM_TEXT_INIT(PROMPT_BYTES_MAX);
        status = render_role(prompts, (enum cm_template_role)role, data, &content, error);
        struct cm_span trimmed = cm_span_trim(cm_text_span(&content));
        if (status == CM_OK && trimmed.length > 0) {
            status = cm_text_printf(text, "%s[%s]\n%.*s\n", text->length > 0 ? "\n" : "",
                                    ROLES[role], (int)trimmed.length, trimmed.data);
            if (status != CM_OK) {
                cm_error_set(error, status, "the prompt is too long to be shown");
            }
        }
        cm_text_deinit(&content);
    }
    return status;
}
