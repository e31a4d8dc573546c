#include "loaders/data_sets.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/data_record.h"
#include "loaders/json_file.h"
#include "loaders/line_reader.h"
#include "loaders/markup.h"
#include "loaders/sheet.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TEXT_BYTES_MAX = 2 * CM_CATALOG_FIELD_BYTES_MAX, NAME_BYTES = 128 };

struct cm_data_set {
    enum cm_data_set_kind kind;
    struct cm_line_reader *lines;      /* JSON lines; KOBE's titles */
    struct cm_line_reader *texts;      /* KOBE: NAME.tgt */
    struct cm_line_reader *conditions; /* KOBE: NAME.cond; NULL: there is none */
    struct cm_sheet *sheet;            /* tables */
    struct cm_data_fill fill;
};

const char *cm_data_set_name(enum cm_data_set_kind kind)
{
    static const char *const names[CM_DATA_SET_KIND_COUNT] = {
        [CM_DATA_SET_AMAZON] = "amazon",
        [CM_DATA_SET_TAOBAO] = "taobao",
        [CM_DATA_SET_ADVERTISEGEN] = "advertisegen",
        [CM_DATA_SET_E2E] = "e2e",
    };
    return (unsigned)kind < CM_DATA_SET_KIND_COUNT ? names[kind] : NULL;
}

/* --- Records --- */

void cm_data_record_deinit(struct cm_data_record *record)
{
    cm_item_deinit(&record->item);
    cm_free(record->text);
    cm_free(record->aspect);
    cm_free(record->audience);
    *record = (struct cm_data_record){ .text = NULL };
}

/* Fields that nothing was put into are "". */
static enum cm_status complete(struct cm_data_record *record)
{
    char **texts[CM_ITEM_FIELD_COUNT + 3];
    for (size_t i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        texts[i] = &record->item.fields[i];
    }
    texts[CM_ITEM_FIELD_COUNT] = &record->text;
    texts[CM_ITEM_FIELD_COUNT + 1] = &record->aspect;
    texts[CM_ITEM_FIELD_COUNT + 2] = &record->audience;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (*texts[i] == NULL) {
            *texts[i] = cm_strdup("");
        }
        if (*texts[i] == NULL) {
            return CM_OUT_OF_MEMORY;
        }
    }
    return CM_OK;
}

enum cm_status cm_data_set_text(struct cm_data_fill *fill, char **target, struct cm_span value)
{
    if (value.length == 0) {
        return CM_OK;
    }
    enum cm_status status = cm_markup_to_text(value, &fill->plain);
    if (status != CM_OK || fill->plain.length == 0) {
        return status == CM_LIMIT ? CM_OK : status;
    }
    char *copy = cm_strdup(cm_text_string(&fill->plain));
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_free(*target);
    *target = copy;
    return CM_OK;
}

enum cm_status cm_data_set_field(struct cm_data_fill *fill, enum cm_item_field field,
                                 struct cm_span value)
{
    char **target = &fill->record->item.fields[field];
    return *target == NULL ? cm_data_set_text(fill, target, value) : CM_OK; /* the first counts */
}

static enum cm_status join_value(struct cm_attribute *attribute, const char *value)
{
    size_t length = strlen(attribute->value);
    size_t added = strlen(value);
    if (length + added + 3 > CM_CATALOG_FIELD_BYTES_MAX) {
        return CM_OK;
    }
    char *joined = cm_realloc(attribute->value, length + added + 3, 1);
    if (joined == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    snprintf(joined + length, added + 3, ", %s", value);
    attribute->value = joined;
    return CM_OK;
}

enum cm_status cm_data_add_attribute(struct cm_data_fill *fill, struct cm_span name,
                                     struct cm_span value)
{
    struct cm_item *item = &fill->record->item;
    enum cm_status status = cm_markup_to_text(value, &fill->plain);
    if (status == CM_OK) {
        status = cm_markup_join_lines(&fill->plain, ", ");
    }
    if (status != CM_OK || fill->plain.length == 0 || !cm_utf8_valid_name(name)) {
        return status;
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        if (cm_span_equal_text(name, item->attributes[i].name)) {
            return join_value(&item->attributes[i], cm_text_string(&fill->plain));
        }
    }
    if (item->attributes_count == CM_ITEM_ATTRIBUTES_MAX) {
        return CM_OK;
    }
    struct cm_attribute *attributes =
        cm_realloc(item->attributes, item->attributes_count + 1, sizeof *attributes);
    if (attributes == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    item->attributes = attributes;
    struct cm_attribute added = { cm_strndup(name.data, name.length),
                                  cm_strdup(cm_text_string(&fill->plain)) };
    if (added.name == NULL || added.value == NULL) {
        cm_free(added.name);
        cm_free(added.value);
        return CM_OUT_OF_MEMORY;
    }
    attributes[item->attributes_count++] = added;
    return CM_OK;
}

void cm_data_damage(struct cm_data_fill *fill, const char *problem)
{
    struct cm_item *item = &fill->record->item;
    if (!item->damaged) {
        item->damaged = true;
        snprintf(item->problem, sizeof item->problem, "%.*s", (int)sizeof item->problem - 1,
                 problem);
        cm_utf8_clean(item->problem);
    }
}

/* --- AdvertiseGen --- */

static struct cm_span cut(struct cm_span *rest, char separator)
{
    const char *end = rest->length == 0 ? NULL : memchr(rest->data, separator, rest->length);
    size_t length = end == NULL ? rest->length : (size_t)(end - rest->data);
    struct cm_span part = { rest->data, length };
    size_t used = length + (end != NULL);
    rest->data += used;
    rest->length -= used;
    return part;
}

/* The data set has no titles: the first facts and the kind of thing make one, "宽松性感裤". */
static enum cm_status make_title(struct cm_data_fill *fill)
{
    enum { FACTS_MAX = 2 };
    const struct cm_item *item = &fill->record->item;
    struct cm_text title = CM_TEXT_INIT(CM_CATALOG_FIELD_BYTES_MAX);
    size_t facts = 0;
    const char *kind = "";
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < item->attributes_count; i++) {
        const char *value = item->attributes[i].value;
        if (strcmp(item->attributes[i].name, "类型") == 0) {
            kind = value;
        } else if (facts < FACTS_MAX && strstr(value, ", ") == NULL) {
            facts++;
            status = cm_text_append_string(&title, value);
        }
    }
    if (status == CM_OK) {
        status = cm_text_append_string(&title, kind);
    }
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_CATEGORY, cm_span_of(kind));
    }
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_TITLE, cm_text_span(&title));
    }
    cm_text_deinit(&title);
    return status;
}

static enum cm_status fill_advertisegen(struct cm_data_fill *fill, const json_t *document)
{
    struct cm_span content = cm_json_span(cm_json_get(document, "content"));
    enum cm_status status = CM_OK;
    if (content.length == 0) {
        cm_data_damage(fill, "has no content; expected \"content\": \"类型#裤*版型#宽松\"");
    }
    while (status == CM_OK && content.length > 0) {
        struct cm_span value = cut(&content, '*');
        struct cm_span name = cut(&value, '#');
        if (name.length > 0 && value.length > 0) {
            status = cm_data_add_attribute(fill, name, value);
        }
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &fill->record->text,
                                  cm_json_span(cm_json_get(document, "summary")));
    }
    if (status == CM_OK) {
        status = cm_data_set_field(fill, CM_ITEM_LANGUAGE, cm_span_of("zh"));
    }
    return status == CM_OK ? make_title(fill) : status;
}

/* --- E2E --- */

/* "eatType" is "eat type" to a reader. */
static size_t readable_name(struct cm_span name, char readable[NAME_BYTES])
{
    size_t length = 0;
    for (size_t i = 0; i < name.length && length + 3 < NAME_BYTES; i++) {
        unsigned char byte = (unsigned char)name.data[i];
        if (isupper(byte) && i > 0 && islower((unsigned char)name.data[i - 1])) {
            readable[length++] = ' ';
        }
        readable[length++] = (char)tolower(byte);
    }
    readable[length] = '\0';
    return length;
}

static enum cm_status fill_e2e(struct cm_data_fill *fill, struct cm_span meaning,
                               struct cm_span text)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK && meaning.length > 0) {
        char readable[NAME_BYTES];
        struct cm_span name = cm_span_trim(cut(&meaning, '['));
        struct cm_span value = cut(&meaning, ']');
        cut(&meaning, ',');
        name = (struct cm_span){ readable, readable_name(name, readable) };
        status = cm_span_equal_text(name, "name") ? cm_data_set_field(fill, CM_ITEM_TITLE, value)
                                                  : cm_data_add_attribute(fill, name, value);
    }
    if (status == CM_OK && fill->record->item.fields[CM_ITEM_TITLE] == NULL) {
        cm_data_damage(fill, "has no name; expected mr like name[Aromi], food[French]");
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &fill->record->text, text);
    }
    return status == CM_OK ? cm_data_set_field(fill, CM_ITEM_LANGUAGE, cm_span_of("en")) : status;
}

/* --- Taobao --- */

static struct cm_span cell_of(const struct cm_sheet_record *record, const char *const *names)
{
    for (; *names != NULL; names++) {
        for (size_t i = 0; i < record->cells_count; i++) {
            if (cm_sheet_cell_is(&record->cells[i], *names)) {
                return record->cells[i].value;
            }
        }
    }
    return (struct cm_span){ NULL, 0 };
}

static enum cm_status fill_taobao(struct cm_data_fill *fill, struct cm_span title,
                                  struct cm_span aspect, struct cm_span audience,
                                  struct cm_span text)
{
    struct cm_data_record *record = fill->record;
    enum cm_status status = cm_data_set_field(fill, CM_ITEM_TITLE, title);
    if (status == CM_OK && record->item.fields[CM_ITEM_TITLE] == NULL) {
        cm_data_damage(fill, "has no title");
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &record->aspect, aspect);
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &record->audience, audience);
    }
    if (status == CM_OK) {
        status = cm_data_set_text(fill, &record->text, text);
    }
    return status == CM_OK ? cm_data_set_field(fill, CM_ITEM_LANGUAGE, cm_span_of("zh")) : status;
}

static enum cm_status fill_taobao_row(struct cm_data_fill *fill,
                                      const struct cm_sheet_record *record)
{
    static const char *const titles[] = { "title", "src", "标题", "商品标题", NULL };
    static const char *const aspects[] = { "aspect", "方面", NULL };
    static const char *const users[] = { "user_category", "user", "audience", "人群", NULL };
    static const char *const texts[] = { "description", "tgt", "desc", "描述", "文案", NULL };
    return fill_taobao(fill, cell_of(record, titles), cell_of(record, aspects),
                       cell_of(record, users), cell_of(record, texts));
}

/* KOBE's files hold words with spaces between; Chinese is written without. */
static void close_spaces(char *text)
{
    size_t kept = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        bool ascii = i > 0 && (unsigned char)text[i - 1] < 0x80 &&
                     (unsigned char)text[i + 1] < 0x80 && text[i + 1] != '\0';
        if (text[i] != ' ' || ascii) {
            text[kept++] = text[i];
        }
    }
    text[kept] = '\0';
}

/* The three files go line by line together. */
static enum cm_status next_parallel(struct cm_data_set *set, const struct cm_line *title,
                                    struct cm_error *error)
{
    struct cm_line text;
    struct cm_line condition = { .text = { NULL, 0 } };
    enum cm_status status = cm_line_reader_next(set->texts, &text, error);
    if (status == CM_OK && set->conditions != NULL) {
        status = cm_line_reader_next(set->conditions, &condition, error);
    }
    if (status == CM_END || (status == CM_OK && text.number != title->number)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s:%llu: the files of titles and descriptions do not have the same "
                            "lines; a blank or missing line in one shifts the rest",
                            cm_line_reader_name(set->lines), (unsigned long long)title->number);
    }
    if (status != CM_OK) {
        return status;
    }
    struct cm_span users = cm_span_trim(condition.text);
    struct cm_span aspect = cut(&users, ' ');
    status = fill_taobao(&set->fill, title->text, aspect, cm_span_trim(users), text.text);
    struct cm_data_record *record = set->fill.record;
    if (status == CM_OK && record->item.fields[CM_ITEM_TITLE] != NULL) {
        close_spaces(record->item.fields[CM_ITEM_TITLE]);
    }
    if (status == CM_OK && record->text != NULL) {
        close_spaces(record->text);
    }
    return status;
}

/* --- The set --- */

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static enum cm_status open_parallel(struct cm_data_set *set, const char *path,
                                    struct cm_error *error)
{
    char other[PATH_MAX];
    int base = (int)(strlen(path) - strlen(".src"));
    enum cm_status status = cm_line_reader_open(path, &set->lines, error);
    if (status == CM_OK) {
        snprintf(other, sizeof other, "%.*s.tgt", base, path);
        status = cm_line_reader_open(other, &set->texts, error);
    }
    if (status == CM_OK) {
        struct cm_error ignored;
        snprintf(other, sizeof other, "%.*s.cond", base, path);
        if (cm_line_reader_open(other, &set->conditions, &ignored) == CM_OUT_OF_MEMORY) {
            *error = ignored;
            return CM_OUT_OF_MEMORY;
        }
    }
    return status;
}

enum cm_status cm_data_set_open(enum cm_data_set_kind kind, const char *path,
                                struct cm_data_set **set, struct cm_error *error)
{
    struct cm_data_set *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->kind = kind;
    opened->fill.plain = CM_TEXT_INIT(TEXT_BYTES_MAX);
    enum cm_status status;
    if (kind == CM_DATA_SET_AMAZON || kind == CM_DATA_SET_ADVERTISEGEN) {
        status = cm_line_reader_open(path, &opened->lines, error);
    } else if (kind == CM_DATA_SET_TAOBAO && ends_with(path, ".src")) {
        status = open_parallel(opened, path, error);
    } else {
        status =
            cm_sheet_open(path, kind == CM_DATA_SET_E2E ? "mr" : "title", &opened->sheet, error);
    }
    if (status != CM_OK) {
        cm_data_set_close(opened);
        return status;
    }
    *set = opened;
    return CM_OK;
}

void cm_data_set_close(struct cm_data_set *set)
{
    if (set != NULL) {
        cm_line_reader_close(set->lines);
        cm_line_reader_close(set->texts);
        cm_line_reader_close(set->conditions);
        cm_sheet_close(set->sheet);
        cm_text_deinit(&set->fill.plain);
        cm_free(set);
    }
}

static enum cm_status next_json(struct cm_data_set *set, const struct cm_line *line)
{
    struct cm_error problem = { 0 };
    json_t *document = NULL;
    enum cm_status status =
        cm_json_parse(line->text.data, line->text.length, "JSON", &document, &problem);
    if (status == CM_OUT_OF_MEMORY) {
        return status;
    }
    if (status != CM_OK) {
        cm_data_damage(&set->fill, problem.message);
        return CM_OK;
    }
    status = set->kind == CM_DATA_SET_AMAZON ? cm_data_amazon_fill(&set->fill, document)
                                             : fill_advertisegen(&set->fill, document);
    cm_json_close(document);
    return status;
}

static enum cm_status next_line(struct cm_data_set *set, struct cm_error *error)
{
    struct cm_line line;
    enum cm_status status = cm_line_reader_next(set->lines, &line, error);
    if (status != CM_OK) {
        return status;
    }
    set->fill.record->item.line = line.number;
    if (set->texts != NULL) {
        return next_parallel(set, &line, error);
    }
    if (line.problem != NULL) {
        cm_data_damage(&set->fill, line.problem);
        return CM_OK;
    }
    return next_json(set, &line);
}

static enum cm_status next_row(struct cm_data_set *set, struct cm_error *error)
{
    static const char *const meanings[] = { "mr", NULL };
    static const char *const references[] = { "ref", NULL };
    struct cm_sheet_record record;
    enum cm_status status = cm_sheet_next(set->sheet, &record, error);
    if (status != CM_OK) {
        return status;
    }
    set->fill.record->item.line = record.line;
    if (record.problem != NULL) {
        cm_data_damage(&set->fill, record.problem);
        return CM_OK;
    }
    return set->kind == CM_DATA_SET_E2E
               ? fill_e2e(&set->fill, cell_of(&record, meanings), cell_of(&record, references))
               : fill_taobao_row(&set->fill, &record);
}

enum cm_status cm_data_set_next(struct cm_data_set *set, struct cm_data_record *record,
                                struct cm_error *error)
{
    *record = (struct cm_data_record){ .text = NULL };
    set->fill.record = record;
    error->status = CM_OK;
    enum cm_status status = set->sheet != NULL ? next_row(set, error) : next_line(set, error);
    if (status == CM_OK) {
        status = complete(record);
    }
    if (status == CM_OUT_OF_MEMORY) {
        cm_error_set(error, status, "out of memory for a record");
    }
    if (status != CM_OK) {
        cm_data_record_deinit(record);
    }
    return status;
}
