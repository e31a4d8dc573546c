#include "jobs/content/channel.h"

#include "base/memory.h"
#include "jobs/embedded_files.h"
#include "jobs/language.h"
#include "loaders/json_file.h"

#include <string.h>

extern const struct cm_embedded_file CM_CHANNEL_FILES[];
extern const size_t CM_CHANNEL_FILES_COUNT;

static const char *const UNITS[] = { "character", "grapheme", "han-2", "x" };
static const char *const READS[] = { "label", "all",      "first-line",
                                     "rest",  "hashtags", "without-hashtags" };
static const char *const ELSES[] = { "nothing", "title", "facts" };

static const struct cm_embedded_file *find_file(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < CM_CHANNEL_FILES_COUNT; i++) {
        const char *file = CM_CHANNEL_FILES[i].name;
        if (strncmp(file, name, length) == 0 && strcmp(file + length, ".json") == 0) {
            return &CM_CHANNEL_FILES[i];
        }
    }
    return NULL;
}

static enum cm_status unknown(const char *name, struct cm_error *error)
{
    struct cm_text known = CM_TEXT_INIT(1024);
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < CM_CHANNEL_FILES_COUNT && status == CM_OK; i++) {
        const char *file = CM_CHANNEL_FILES[i].name;
        status = cm_text_printf(&known, "%s%.*s", i > 0 ? ", " : "", (int)strcspn(file, "."), file);
    }
    status = cm_error_set(error, CM_INVALID_ARGUMENT, "--channel %s: expected one of: %s", name,
                          cm_text_string(&known));
    cm_text_deinit(&known);
    return status;
}

/* --- Reading a profile: part of the build, so what is wrong in it is a programmer's error --- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static uint32_t number_of(const json_t *object, const char *key, uint32_t otherwise)
{
    const json_t *number = json_object_get(object, key);
    return number != NULL ? (uint32_t)json_integer_value(number) : otherwise;
}

static unsigned choice_of(const json_t *object, const char *key, const char *const *names,
                          size_t count)
{
    const char *name = text_of(object, key);
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    CM_ASSERT(name[0] == '\0');
    return 0;
}

static size_t texts_of(const json_t *object, const char *key, const char **texts, size_t max)
{
    const json_t *array = json_object_get(object, key);
    size_t count = json_array_size(array);
    CM_ASSERT(count <= max);
    for (size_t i = 0; i < count; i++) {
        texts[i] = json_string_value(json_array_get(array, i));
        CM_ASSERT(texts[i] != NULL);
    }
    return count;
}

static void read_field(const json_t *object, struct cm_channel_field *field)
{
    const json_t *label = json_object_get(object, "label");
    const json_t *ask = json_object_get(object, "ask");
    const json_t *angles = json_object_get(object, "angles");
    bool is_list = json_is_true(json_object_get(object, "list"));
    enum cm_field_read read =
        (enum cm_field_read)choice_of(object, "read", READS, sizeof READS / sizeof READS[0]);
    *field = (struct cm_channel_field){
        .name = text_of(object, "name"),
        .label_en = text_of(label, "en"),
        .label_zh = text_of(label, "zh"),
        .ask_en = text_of(ask, "en"),
        .ask_zh = text_of(ask, "zh"),
        .read = read,
        .otherwise =
            (enum cm_field_else)choice_of(object, "else", ELSES, sizeof ELSES / sizeof ELSES[0]),
        .hard = number_of(object, "hard", 0),
        .soft = number_of(object, "soft", 0),
        .shortest = number_of(object, "shortest", 0),
        .is_list = is_list || read == CM_READ_HASHTAGS,
        .min = number_of(object, "min", read == CM_READ_LABEL ? 1 : 0),
        .max = number_of(object, "max", is_list ? CM_CHANNEL_LIST_MAX : 1),
        .unique = json_is_true(json_object_get(object, "unique")),
        .repeats = number_of(object, "repeats", 0),
        .sentences = json_is_true(json_object_get(object, "sentences")),
    };
    field->angles_count = texts_of(angles, "en", field->angles_en, CM_CHANNEL_ANGLES_MAX);
    size_t angles_zh_count = texts_of(angles, "zh", field->angles_zh, CM_CHANNEL_ANGLES_MAX);
    CM_ASSERT(angles_zh_count == field->angles_count);
    field->ask_count = number_of(object, "ask_count", field->min);
    field->scenarios_count =
        texts_of(object, "scenarios", field->scenarios, CM_CHANNEL_SCENARIOS_MAX);
    CM_ASSERT(field->max <= CM_CHANNEL_LIST_MAX);
}

static void read_bans(const json_t *object, struct cm_channel *channel)
{
    channel->bans.characters = text_of(object, "characters");
    channel->bans.words_count =
        texts_of(object, "words", channel->bans.words, CM_CHANNEL_BAN_WORDS_MAX);
    channel->bans.emoji = json_is_true(json_object_get(object, "emoji"));
    channel->bans.links = json_is_true(json_object_get(object, "links"));
    channel->bans.contacts = json_is_true(json_object_get(object, "contacts"));
    channel->bans.prices = json_is_true(json_object_get(object, "prices"));
    channel->bans.capitals = json_is_true(json_object_get(object, "capitals"));
    channel->bans.brand = json_is_true(json_object_get(object, "brand"));
    channel->bans.superlatives = json_is_true(json_object_get(object, "superlatives"));
}

enum cm_status cm_channel_open(const char *name, struct cm_channel **channel,
                               struct cm_error *error)
{
    const struct cm_embedded_file *file = find_file(name);
    json_t *document = NULL;
    if (file == NULL) {
        return unknown(name, error);
    }
    struct cm_channel *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = cm_json_parse(file->bytes, file->length, file->name, &document, error);
    if (status != CM_OK) {
        cm_free(opened);
        return status;
    }
    const json_t *fields = json_object_get(document, "fields");
    opened->document = document;
    opened->source = (struct cm_span){ file->bytes, file->length };
    opened->name = text_of(document, "name");
    opened->title = text_of(document, "title");
    opened->unit =
        (enum cm_channel_unit)choice_of(document, "unit", UNITS, sizeof UNITS / sizeof UNITS[0]);
    opened->hard = number_of(document, "hard", 0);
    opened->fields_count = json_array_size(fields);
    CM_ASSERT(opened->fields_count <= CM_CHANNEL_FIELDS_MAX);
    for (size_t i = 0; i < opened->fields_count; i++) {
        read_field(json_array_get(fields, i), &opened->fields[i]);
    }
    read_bans(json_object_get(document, "bans"), opened);
    *channel = opened;
    return CM_OK;
}

void cm_channel_close(struct cm_channel *channel)
{
    if (channel != NULL) {
        cm_json_close(channel->document);
        cm_free(channel);
    }
}

void cm_channel_hash(const struct cm_channel *channel, struct cm_hash *hash)
{
    cm_hash_field(hash, channel->source);
}

bool cm_channel_field_in(const struct cm_channel_field *field, const char *scenario)
{
    for (size_t i = 0; i < field->scenarios_count; i++) {
        if (strcmp(field->scenarios[i], scenario) == 0) {
            return true;
        }
    }
    return false;
}

bool cm_channel_has_fields(const struct cm_channel *channel, const char *scenario)
{
    for (size_t i = 0; i < channel->fields_count; i++) {
        if (cm_channel_field_in(&channel->fields[i], scenario)) {
            return true;
        }
    }
    return false;
}

bool cm_channel_shapes_text(const struct cm_channel *channel, const char *scenario)
{
    return strcmp(channel->name, "generic") != 0 || cm_channel_has_fields(channel, scenario);
}

enum cm_status cm_channel_append_label(const struct cm_channel_field *field, uint32_t line,
                                       bool chinese, struct cm_text *text)
{
    const char *const *angles = chinese ? field->angles_zh : field->angles_en;
    const char *label = chinese ? field->label_zh : field->label_en;
    const char *colon = chinese ? "：" : ":";
    if (field->angles_count == 0) {
        return cm_text_printf(text, "%s%s", label, colon);
    }
    return cm_text_printf(text, chinese ? "%s（%s）%s" : "%s (%s)%s", label,
                          angles[line % field->angles_count], colon);
}

enum cm_status cm_channel_append_format(const struct cm_channel *channel, const char *scenario,
                                        const char *language, struct cm_text *text)
{
    bool chinese = cm_language_is(language, "zh");
    size_t start = text->length;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < channel->fields_count; i++) {
        const struct cm_channel_field *field = &channel->fields[i];
        if (field->label_en[0] == '\0' || !cm_channel_field_in(field, scenario)) {
            continue;
        }
        for (uint32_t line = 0; line < field->ask_count && status == CM_OK; line++) {
            if (text->length > start) {
                status = cm_text_append_string(text, "\n");
            }
            if (status == CM_OK) {
                status = cm_channel_append_label(field, line, chinese, text);
            }
            if (status == CM_OK) {
                status = cm_text_printf(text, "%s<%s>", chinese ? "" : " ",
                                        chinese ? field->ask_zh : field->ask_en);
            }
        }
    }
    return status;
}
