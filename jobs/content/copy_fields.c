#include "jobs/content/copy_fields.h"

#include "base/memory.h"
#include "base/sentence.h"
#include "jobs/content/clean_value.h"
#include "jobs/facts.h"
#include "jobs/language.h"

#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    VALUE_BYTES_MAX = 64 * 1024,
    SHORT_LINE = 60, /* a line that hardly holds a sentence */
};

static void note(struct cm_copy_fields *fields, const char *format, ...) CM_PRINTF(2, 3);

static void note(struct cm_copy_fields *fields, const char *format, ...)
{
    if (fields->repairs_count < CM_COPY_REPAIRS_MAX) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fields->repairs[fields->repairs_count++], CM_COPY_REPAIR_BYTES, format,
                  arguments);
        va_end(arguments);
    }
}

void cm_copy_fields_deinit(struct cm_copy_fields *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        cm_free(fields->values[i].text);
    }
    *fields = (struct cm_copy_fields){ 0 };
}

static uint32_t count_of(const struct cm_copy_fields *fields, size_t field)
{
    uint32_t count = 0;
    for (size_t i = 0; i < fields->count; i++) {
        count += fields->values[i].field == field;
    }
    return count;
}

static enum cm_status add(struct cm_copy_fields *fields, size_t field, struct cm_span text)
{
    text = cm_span_trim(text);
    if (text.length == 0 || fields->count == CM_COPY_VALUES_MAX) {
        return CM_OK;
    }
    char *copy = cm_strndup(text.data, text.length);
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    fields->values[fields->count++] = (struct cm_copy_value){ field, copy };
    return CM_OK;
}

/* --- Reading --- */

static struct cm_span next_line(struct cm_span *rest)
{
    const char *end = memchr(rest->data, '\n', rest->length);
    size_t length = end != NULL ? (size_t)(end - rest->data) : rest->length;
    struct cm_span line = { rest->data, length };
    length += end != NULL;
    *rest = (struct cm_span){ rest->data + length, rest->length - length };
    return cm_span_trim(line);
}

/* Without what models put before a line: bullets, numbers, signs of markdown. */
static struct cm_span strip_marks(struct cm_span line)
{
    for (;;) {
        size_t skip = 0;
        while (skip < line.length && strchr("-*#>_ \t", line.data[skip]) != NULL) {
            skip++;
        }
        if (skip == 0 && line.length > 3 && memcmp(line.data, "•", 3) == 0) {
            skip = 3;
        }
        size_t digits = 0;
        while (digits < line.length && isdigit((unsigned char)line.data[digits])) {
            digits++;
        }
        bool is_number = digits > 0 && digits < 3 && digits + 1 < line.length &&
                         (line.data[digits] == '.' || line.data[digits] == ')') &&
                         line.data[digits + 1] == ' ';
        skip = skip == 0 && is_number ? digits + 1 : skip;
        if (skip == 0) {
            return line;
        }
        line = cm_span_trim((struct cm_span){ line.data + skip, line.length - skip });
    }
}

/* Bytes of "(benefit)" at the start; 0: none. */
static size_t angle_bytes(struct cm_span line)
{
    static const char *const pairs[][2] = { { "(", ")" }, { "（", "）" } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        size_t left = strlen(pairs[i][0]);
        if (line.length > left && memcmp(line.data, pairs[i][0], left) == 0) {
            const char *end = memmem(line.data, line.length, pairs[i][1], strlen(pairs[i][1]));
            return end != NULL ? (size_t)(end - line.data) + strlen(pairs[i][1]) : 0;
        }
    }
    return 0;
}

/* Bytes of "Label:", "Label 2:", "**Label**:", "Label (benefit):" at the start; 0: none. */
static size_t label_bytes(struct cm_span line, const char *label)
{
    size_t at = strlen(label);
    if (at == 0 || line.length <= at || strncasecmp(line.data, label, at) != 0) {
        return 0;
    }
    if (line.data[at] == 's') {
        at++;
    }
    while (at < line.length &&
           (strchr(" *_#", line.data[at]) != NULL || isdigit((unsigned char)line.data[at]))) {
        at++;
    }
    at += angle_bytes((struct cm_span){ line.data + at, line.length - at });
    at += at < line.length && line.data[at] == ' ';
    if (at < line.length && line.data[at] == ':') {
        return at + 1;
    }
    return at + 3 <= line.length && memcmp(line.data + at, "：", 3) == 0 ? at + 3 : 0;
}

struct reader {
    const struct cm_copy_fields_input *input;
    struct cm_copy_fields *fields;
    size_t current;  /* field that a line without a label belongs to; SIZE_MAX: none yet */
    bool has_labels; /* one was met */
};

/* The field whose label the line has; SIZE_MAX: none. The longest label counts. */
static size_t find_label(const struct reader *reader, struct cm_span line, size_t *bytes)
{
    const struct cm_channel *channel = reader->input->channel;
    size_t found = SIZE_MAX;
    *bytes = 0;
    for (size_t i = 0; i < channel->fields_count; i++) {
        const struct cm_channel_field *field = &channel->fields[i];
        const char *const labels[] = { field->label_en, field->label_zh, field->name };
        for (size_t j = 0; j < 3 && cm_channel_field_in(field, reader->input->scenario); j++) {
            size_t length = label_bytes(line, labels[j]);
            if (length > *bytes) {
                *bytes = length;
                found = i;
            }
        }
    }
    return found;
}

/* The next field of the scenario behind `field` that has no value yet. */
static size_t next_empty(const struct reader *reader)
{
    const struct cm_channel *channel = reader->input->channel;
    for (size_t i = 0; i < channel->fields_count; i++) {
        const struct cm_channel_field *field = &channel->fields[i];
        bool takes_more = count_of(reader->fields, i) < (field->is_list ? field->max : 1);
        if (cm_channel_field_in(field, reader->input->scenario) && field->label_en[0] != '\0' &&
            takes_more) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* A line without a label goes on with a list, fills the next empty part where the model used no
 * labels at all, and is left out otherwise. */
static enum cm_status read_plain_line(struct reader *reader, struct cm_span line)
{
    const struct cm_channel_field *fields = reader->input->channel->fields;
    size_t field = reader->has_labels ? reader->current : next_empty(reader);
    bool has_room = field != SIZE_MAX && (count_of(reader->fields, field) == 0 ||
                                          fields[field].is_list || !reader->has_labels);
    return has_room ? add(reader->fields, field, line) : CM_OK;
}

static enum cm_status read_labels(struct reader *reader)
{
    struct cm_span rest = reader->input->text;
    enum cm_status status = CM_OK;
    while (rest.length > 0 && status == CM_OK) {
        struct cm_span line = strip_marks(next_line(&rest));
        size_t bytes;
        size_t field = find_label(reader, line, &bytes);
        if (field == SIZE_MAX) {
            status = line.length > 0 ? read_plain_line(reader, line) : CM_OK;
            continue;
        }
        reader->has_labels = true;
        reader->current = field;
        bool has_room =
            reader->input->channel->fields[field].is_list || count_of(reader->fields, field) == 0;
        line = strip_marks((struct cm_span){ line.data + bytes, line.length - bytes });
        status = has_room ? add(reader->fields, field, line) : CM_OK;
    }
    return status;
}

/* Splits off "#tag" words. */
static enum cm_status read_hashtags(struct reader *reader, size_t tags, struct cm_text *other)
{
    struct cm_span text = reader->input->text;
    enum cm_status status = CM_OK;
    for (size_t at = 0; at < text.length && status == CM_OK;) {
        size_t end = at + 1;
        bool is_tag = text.data[at] == '#' && end < text.length && text.data[end] != ' ' &&
                      text.data[end] != '#';
        while (is_tag && end < text.length && strchr(" \n#,.!", text.data[end]) == NULL &&
               !(end + 3 <= text.length && (memcmp(text.data + end, "，", 3) == 0 ||
                                            memcmp(text.data + end, "。", 3) == 0))) {
            end++;
        }
        struct cm_span piece = { text.data + at, end - at };
        if (is_tag && tags != SIZE_MAX) {
            status = add(reader->fields, tags, piece);
        } else {
            status = cm_text_append_span(other, piece);
        }
        at = end;
    }
    return status == CM_LIMIT ? CM_OK : status;
}

static size_t field_that_reads(const struct cm_copy_fields_input *input, enum cm_field_read read)
{
    for (size_t i = 0; i < input->channel->fields_count; i++) {
        const struct cm_channel_field *field = &input->channel->fields[i];
        if (field->read == read && cm_channel_field_in(field, input->scenario)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static enum cm_status read_parts(struct reader *reader)
{
    const struct cm_copy_fields_input *input = reader->input;
    size_t all = field_that_reads(input, CM_READ_ALL);
    size_t first = field_that_reads(input, CM_READ_FIRST_LINE);
    size_t rest = field_that_reads(input, CM_READ_REST);
    size_t without = field_that_reads(input, CM_READ_WITHOUT_HASHTAGS);
    if (all != SIZE_MAX) {
        return add(reader->fields, all, input->text);
    }
    if (first != SIZE_MAX) {
        struct cm_span other = cm_span_trim(input->text);
        enum cm_status status = add(reader->fields, first, next_line(&other));
        return status == CM_OK && rest != SIZE_MAX ? add(reader->fields, rest, other) : status;
    }
    if (without != SIZE_MAX) {
        struct cm_text other = CM_TEXT_INIT(VALUE_BYTES_MAX);
        enum cm_status status =
            read_hashtags(reader, field_that_reads(input, CM_READ_HASHTAGS), &other);
        if (status == CM_OK) {
            status = add(reader->fields, without, cm_text_span(&other));
        }
        cm_text_deinit(&other);
        return status;
    }
    return read_labels(reader);
}

/* --- Completing --- */

static bool is_said(const struct cm_copy_fields *fields, struct cm_span text)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (cm_span_equal_text(text, fields->values[i].text)) {
            return true;
        }
    }
    return false;
}

/* "material: 100% cotton" for every fact, until there are enough. */
static enum cm_status complete_from_facts(const struct cm_copy_fields_input *input,
                                          struct cm_copy_fields *fields, size_t index)
{
    const struct cm_item *item = input->item;
    const struct cm_channel_field *field = &input->channel->fields[index];
    uint32_t wanted = field->is_list ? field->min : 1;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < item->attributes_count && count_of(fields, index) < wanted; i++) {
        const struct cm_attribute *attribute = &item->attributes[i];
        bool is_keywords = strcasecmp(attribute->name, "tags") == 0 ||
                           strcasecmp(attribute->name, "keywords") == 0;
        if (!cm_facts_is_readable(attribute) || attribute->value[0] == '\0' || is_keywords) {
            continue;
        }
        struct cm_text line = CM_TEXT_INIT(VALUE_BYTES_MAX);
        status = cm_text_printf(&line, "%c%s: %s", toupper((unsigned char)attribute->name[0]),
                                attribute->name + 1, attribute->value);
        struct cm_span value = cm_text_span(&line);
        bool is_used = is_said(fields, value) || is_said(fields, cm_span_of(attribute->value));
        bool fits =
            field->hard == 0 || cm_channel_measure(input->channel->unit, value) <= field->hard;
        if (status == CM_OK && !fits) {
            value = cm_span_of(attribute->value);
        }
        if (status == CM_OK && !is_used) {
            status = add(fields, index, value);
        }
        cm_text_deinit(&line);
        if (status == CM_OUT_OF_MEMORY) {
            return status;
        }
    }
    const char *title = item->fields[CM_ITEM_TITLE];
    const char *others[] = { title, item->fields[CM_ITEM_BRAND], item->fields[CM_ITEM_CATEGORY] };
    for (size_t i = 0; i < 3 && count_of(fields, index) < wanted; i++) {
        status = add(fields, index, cm_span_of(others[i]));
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

static enum cm_status complete(const struct cm_copy_fields_input *input,
                               struct cm_copy_fields *fields)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < input->channel->fields_count && status == CM_OK; i++) {
        const struct cm_channel_field *field = &input->channel->fields[i];
        uint32_t before = count_of(fields, i);
        if (!cm_channel_field_in(field, input->scenario) || before >= field->min) {
            continue;
        }
        if (field->otherwise == CM_ELSE_TITLE && before == 0) {
            status = add(fields, i, cm_span_of(input->item->fields[CM_ITEM_TITLE]));
        } else if (field->otherwise == CM_ELSE_FACTS) {
            status = complete_from_facts(input, fields, i);
        }
        if (count_of(fields, i) > before) {
            note(fields, "%s from the item", field->name);
        }
    }
    return status;
}

/* --- Fitting --- */

static void drop(struct cm_copy_fields *fields, size_t index)
{
    cm_free(fields->values[index].text);
    memmove(&fields->values[index], &fields->values[index + 1],
            (fields->count - index - 1) * sizeof *fields->values);
    fields->count--;
}

/* A value that is too short, one too many, or one that is there already. */
static bool is_superfluous(const struct cm_copy_fields *fields, size_t index,
                           const struct cm_channel *channel)
{
    const struct cm_channel_field *field = &channel->fields[fields->values[index].field];
    struct cm_span text = cm_span_of(fields->values[index].text);
    uint32_t before = 0;
    if (text.length == 0 || cm_channel_measure(channel->unit, text) < field->shortest) {
        return true;
    }
    for (size_t i = 0; i < index; i++) {
        if (fields->values[i].field == fields->values[index].field) {
            before++;
            if (field->is_list &&
                strcasecmp(fields->values[i].text, fields->values[index].text) == 0) {
                return true;
            }
        }
    }
    return before >= (field->is_list ? field->max : 1);
}

static void fit(const struct cm_copy_fields_input *input, struct cm_copy_fields *fields)
{
    const struct cm_channel *channel = input->channel;
    for (size_t i = 0; i < fields->count;) {
        struct cm_copy_value *value = &fields->values[i];
        const struct cm_channel_field *field = &channel->fields[value->field];
        if (cm_clean_value(value->text, channel, field, input->item)) {
            note(fields, "%s: what the channel bans left out", field->name);
        }
        size_t length = strlen(value->text);
        uint32_t size = cm_channel_measure(channel->unit, cm_span_of(value->text));
        /* A line that ran into its limit while it was written ends inside a word. */
        bool ran_in = field->soft > 0 && size > field->soft && size <= field->soft + 2;
        uint32_t limit = ran_in ? field->soft : field->hard;
        cm_cut_value(value->text, channel->unit, limit, field->sentences);
        bool is_short = field->hard > 0 && field->hard <= SHORT_LINE;
        if (is_short) {
            cm_trim_dangling(value->text);
        }
        /* What is left of a part reads whole behind a sentence. A line that is held to so few
         * characters loses a word or two; more is worth a look. */
        size_t lost = length - strlen(value->text);
        bool is_whole = field->sentences && cm_sentence_ended(cm_span_of(value->text));
        if (lost > (is_short ? length / 4 : 0) && !is_whole) {
            note(fields, "%s cut to %u", field->name, limit);
        }
        if (is_superfluous(fields, i, channel)) {
            drop(fields, i);
        } else {
            i++;
        }
    }
}

enum cm_status cm_copy_fields_read(const struct cm_copy_fields_input *input,
                                   struct cm_copy_fields *fields)
{
    struct reader reader = { input, fields, SIZE_MAX, false };
    enum cm_status status = read_parts(&reader);
    if (status == CM_OK) {
        fit(input, fields); /* what is banned may leave nothing of a part */
        status = complete(input, fields);
    }
    if (status == CM_OK) {
        fit(input, fields);
    }
    return status;
}

/* --- Showing --- */

enum cm_status cm_copy_fields_append_text(const struct cm_copy_fields *fields,
                                          const struct cm_channel *channel, struct cm_text *text)
{
    enum cm_status status = CM_OK;
    for (size_t field = 0; field < channel->fields_count && status == CM_OK; field++) {
        bool is_tags = channel->fields[field].read == CM_READ_HASHTAGS;
        bool is_first = true;
        for (size_t i = 0; i < fields->count && status == CM_OK; i++) {
            if (fields->values[i].field != field) {
                continue;
            }
            const char *mark = text->length == 0 ? "" : is_tags && !is_first ? " " : "\n";
            status = cm_text_printf(text, "%s%s", mark, fields->values[i].text);
            is_first = false;
        }
    }
    return status;
}

int cm_copy_fields_describe(const struct cm_copy_fields *fields, const struct cm_channel *channel,
                            void *object)
{
    int outcome = 0;
    for (size_t i = 0; i < fields->count && outcome == 0; i++) {
        const struct cm_channel_field *field = &channel->fields[fields->values[i].field];
        json_t *text = json_string(fields->values[i].text);
        if (!field->is_list) {
            outcome = json_object_set_new(object, field->name, text);
            continue;
        }
        json_t *list = json_object_get(object, field->name);
        if (list == NULL) {
            list = json_array();
            outcome = json_object_set_new(object, field->name, list);
        }
        outcome = outcome == 0 ? json_array_append_new(list, text) : outcome;
    }
    return outcome;
}
