/* What the channel asks of a text: its parts, their lengths, and what may not be in them. */
#include "jobs/content/clean_value.h"
#include "jobs/content/judge_parts.h"

#include "base/memory.h"
#include "loaders/json_memory.h"
#include "loaders/personal_data.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

struct part {
    const struct cm_case *text;
    const struct cm_channel *channel;
    const char *name; /* "title" */
    struct cm_span value;
};

static void ban(const struct part *part, struct cm_span found, const char *what)
{
    cm_judgement_flag(part->text->judgement, "channel-ban", "%s in %s: %.*s", what, part->name,
                      (int)(found.length < 40 ? found.length : 40), found.data);
    struct cm_span whole = part->text->input->text;
    const char *place = memmem(whole.data, whole.length, found.data, found.length);
    if (place != NULL) {
        size_t begin = (size_t)(place - whole.data);
        cm_judgement_show(part->text->judgement, CM_EVIDENCE_BANNED, begin, begin + found.length,
                          "channel-ban", NULL, what);
    }
}

static void check_characters(const struct part *part)
{
    for (size_t at = 0; at < part->value.length;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)part->value.data + at,
                             (utf8proc_ssize_t)(part->value.length - at), &character);
        size_t length = bytes > 0 ? (size_t)bytes : 1;
        struct cm_span found = { part->value.data + at, length };
        const char *banned = part->channel->bans.characters;
        if (bytes > 0 && memmem(banned, strlen(banned), found.data, length) != NULL) {
            ban(part, found, "a character");
        } else if (bytes > 0 && part->channel->bans.emoji && cm_is_emoji((uint32_t)character)) {
            ban(part, found, "an emoji");
        }
        at += length;
    }
}

static void check_patterns(const struct part *part, const char *text)
{
    static const char *const links[] = { "http://", "https://", "www." };
    static const char *const prices[] = { "$", "€", "£", "¥", "￥", "USD", "EUR", "元" };
    for (size_t i = 0; part->channel->bans.links && i < sizeof links / sizeof links[0]; i++) {
        const char *found = strcasestr(text, links[i]);
        if (found != NULL) {
            ban(part, (struct cm_span){ found, strcspn(found, " \n") }, "a link");
        }
    }
    for (size_t i = 0; part->channel->bans.prices && i < sizeof prices / sizeof prices[0]; i++) {
        const char *found = cm_find_phrase(text, prices[i]);
        if (found != NULL) {
            ban(part, (struct cm_span){ found, strlen(prices[i]) }, "a price");
        }
    }
    struct cm_personal_match match;
    for (size_t at = 0;
         part->channel->bans.contacts && cm_personal_data_next(part->value, &at, &match);) {
        ban(part, (struct cm_span){ text + match.begin, match.end - match.begin }, "a contact");
    }
}

static void check_words(const struct part *part, const char *text)
{
    const struct cm_item *item = part->text->input->item;
    for (size_t i = 0; i < part->channel->bans.words_count; i++) {
        const char *word = part->channel->bans.words[i];
        const char *found = cm_find_phrase(text, word);
        if (found != NULL) {
            ban(part, (struct cm_span){ found, strlen(word) }, "a word");
        }
    }
    if (part->channel->bans.brand && item != NULL && item->fields[CM_ITEM_BRAND][0] != '\0') {
        const char *brand = item->fields[CM_ITEM_BRAND];
        const char *found = cm_find_phrase(text, brand);
        if (found != NULL) {
            ban(part, (struct cm_span){ found, strlen(brand) }, "the brand");
        }
    }
    enum { SHOUT_LETTERS = 5 };
    for (const char *at = text; part->channel->bans.capitals && *at != '\0';) {
        size_t length = 0;
        while (isupper((unsigned char)at[length])) {
            length++;
        }
        if (length >= SHOUT_LETTERS && !isalnum((unsigned char)at[length])) {
            ban(part, (struct cm_span){ at, length }, "shouting");
        }
        at += length > 0 ? length : 1;
    }
}

static enum cm_status check_bans(const struct part *part)
{
    char *text = cm_strndup(part->value.data, part->value.length);
    if (text == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    struct part copy = *part;
    copy.value = cm_span_of(text);
    check_characters(&copy);
    check_patterns(&copy, text);
    check_words(&copy, text);
    cm_free(text);
    return CM_OK;
}

static void check_limits(const struct part *part, uint32_t hard, uint32_t soft)
{
    uint32_t length = cm_channel_measure(part->channel->unit, part->value);
    if (hard > 0 && length > hard) {
        cm_judgement_flag(part->text->judgement, "too-long", "%s has %u, at most %u", part->name,
                          length, hard);
    } else if (soft > 0 && length > soft) {
        cm_judgement_flag(part->text->judgement, "long", "%s has %u, %u recommended", part->name,
                          length, soft);
    }
}

static enum cm_status check_value(const struct cm_case *text, const struct cm_channel *channel,
                                  const struct cm_channel_field *field, const json_t *value)
{
    struct part part = {
        text, channel, field->name, { json_string_value(value), json_string_length(value) }
    };
    if (part.value.data == NULL) {
        cm_judgement_flag(text->judgement, "missing-field", "%s is no text", field->name);
        return CM_OK;
    }
    check_limits(&part, field->hard, field->soft);
    if (cm_channel_measure(channel->unit, part.value) < field->shortest) {
        cm_judgement_flag(text->judgement, "missing-field", "%s is shorter than %u", field->name,
                          field->shortest);
    }
    return check_bans(&part);
}

static enum cm_status check_field(const struct cm_case *text, const struct cm_channel *channel,
                                  const struct cm_channel_field *field, const json_t *value)
{
    const char *scenario = text->input->scenario;
    size_t count = json_is_array(value) ? json_array_size(value) : value != NULL;
    bool is_wanted = scenario != NULL && cm_channel_field_in(field, scenario);
    enum cm_status status = CM_OK;
    if (is_wanted && count < field->min) {
        cm_judgement_flag(text->judgement, "missing-field", "%s: %zu of %u", field->name, count,
                          field->min);
    }
    if (field->is_list && count > field->max) {
        cm_judgement_flag(text->judgement, "too-long", "%s: %zu of at most %u", field->name, count,
                          field->max);
    }
    for (size_t i = 0; i < count && status == CM_OK; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        status = check_value(text, channel, field, one);
        for (size_t j = 0; j < i && field->unique; j++) {
            const char *other = json_string_value(json_array_get(value, j));
            const char *this = json_string_value(one);
            if (this != NULL && other != NULL && strcasecmp(this, other) == 0) {
                cm_judgement_flag(text->judgement, "repetition", "%s twice", field->name);
            }
        }
    }
    return status;
}

enum cm_status cm_check_channel(const struct cm_case *text)
{
    const struct cm_channel *channel = text->input->channel;
    struct cm_span fields = text->input->fields;
    bool known = false;
    enum cm_status status = CM_OK;
    cm_json_memory_begin();
    json_t *object = fields.length > 0 ? json_loadb(fields.data, fields.length, 0, NULL) : NULL;
    if (object == NULL && cm_json_memory_failed()) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < channel->fields_count && json_is_object(object); i++) {
        known = known || json_object_get(object, channel->fields[i].name) != NULL;
    }
    for (size_t i = 0; i < channel->fields_count && known && status == CM_OK; i++) {
        const struct cm_channel_field *field = &channel->fields[i];
        status = check_field(text, channel, field, json_object_get(object, field->name));
    }
    json_decref(object);
    if (!known && status == CM_OK) {
        struct part part = { text, channel, "the text", text->input->text };
        check_limits(&part, channel->hard, 0);
        status = check_bans(&part);
    }
    return status;
}
