#include "jobs/content/line_format.h"

#include "base/memory.h"
#include "jobs/language.h"

#include <stdio.h>
#include <string.h>

/* A state is a line and a place in it: in its label, or behind so many characters of content, of
 * the last of which up to three bytes are still to come. */
enum {
    LINES_MAX = 32,
    LINE_STATES = CM_LINE_FORMAT_STATES / LINES_MAX,
    LABEL_BYTES_MAX = 63,
    CONTENT = LABEL_BYTES_MAX + 1, /* the first place of content */
    PENDING = 4,                   /* places for each length */
    LENGTH_MIN = 4,
    LENGTH_USUAL = 300, /* no line is written longer, whatever the channel allows */
};

_Static_assert((int)CONTENT + PENDING * (LENGTH_USUAL + 4) <= (int)LINE_STATES, "room for a line");

struct line {
    char label[LABEL_BYTES_MAX + 1];
    uint32_t label_bytes;
    uint32_t length_max;
};

struct cm_line_format {
    struct line lines[LINES_MAX];
    uint32_t lines_count;
    bool wide_is_2;
    bool banned[128];
};

static uint32_t limit_of(const struct cm_channel_field *field)
{
    uint32_t limit = LENGTH_USUAL;
    limit = field->soft > 0 && field->soft < limit ? field->soft : limit;
    limit = field->hard > 0 && field->hard < limit ? field->hard : limit;
    return limit + 1;
}

enum cm_status cm_line_format_open(const struct cm_channel *channel, const char *scenario,
                                   const char *language, struct cm_line_format **format)
{
    bool chinese = cm_language_is(language, "zh");
    *format = NULL;
    struct cm_line_format *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < channel->fields_count; i++) {
        const struct cm_channel_field *field = &channel->fields[i];
        bool asked = field->label_en[0] != '\0' && cm_channel_field_in(field, scenario);
        for (uint32_t j = 0; asked && j < field->ask_count && opened->lines_count < LINES_MAX;
             j++) {
            struct cm_text label = CM_TEXT_INIT(LABEL_BYTES_MAX);
            if (cm_channel_append_label(field, j, chinese, &label) != CM_OK) {
                cm_text_deinit(&label);
                cm_line_format_close(opened);
                return CM_OUT_OF_MEMORY;
            }
            struct line *line = &opened->lines[opened->lines_count++];
            snprintf(line->label, sizeof line->label, "%s", cm_text_string(&label));
            cm_text_deinit(&label);
            line->label_bytes = (uint32_t)strlen(line->label);
            line->length_max = limit_of(field);
        }
    }
    if (opened->lines_count == 0) {
        cm_line_format_close(opened);
        return CM_OK;
    }
    opened->wide_is_2 = channel->unit == CM_COUNT_HAN_2 || channel->unit == CM_COUNT_X;
    for (const char *at = channel->bans.characters; *at != '\0'; at++) {
        if ((unsigned char)*at < 128) {
            opened->banned[(unsigned char)*at] = true;
        }
    }
    opened->banned['<'] = true; /* what the prompt puts its own words in */
    opened->banned['>'] = true;
    opened->banned['"'] = true;
    opened->banned['*'] = true;
    *format = opened;
    return CM_OK;
}

void cm_line_format_close(struct cm_line_format *format)
{
    cm_free(format);
}

static uint32_t next_state(const void *context, uint32_t state, uint8_t byte)
{
    const struct cm_line_format *format = context;
    uint32_t index = state / LINE_STATES;
    uint32_t place = state % LINE_STATES;
    const struct line *line = &format->lines[index];
    if (place < line->label_bytes) {
        if ((uint8_t)line->label[place] != byte) {
            return CM_AUTOMATON_DEAD;
        }
        place++;
        return index * LINE_STATES + (place == line->label_bytes ? (uint32_t)CONTENT : place);
    }
    uint32_t length = (place - CONTENT) / PENDING;
    uint32_t pending = (place - CONTENT) % PENDING;
    bool continues = (byte & 0xC0) == 0x80;
    if (continues != (pending > 0)) {
        return CM_AUTOMATON_DEAD; /* a character that is not whole */
    }
    if (continues) {
        return state - 1;
    }
    if (byte == '\n') {
        bool goes_on = length >= LENGTH_MIN && index + 1 < format->lines_count;
        return goes_on ? (index + 1) * LINE_STATES : CM_AUTOMATON_DEAD;
    }
    if (byte < 128 && byte > 0 && (byte < ' ' || format->banned[byte])) {
        return CM_AUTOMATON_DEAD;
    }
    length += format->wide_is_2 && byte >= 0xE3 ? 2 : 1;
    pending = byte < 0xC2 ? 0 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    /* A wide character may go one past the limit, like a narrow one. */
    return length <= line->length_max + 1
               ? index * LINE_STATES + CONTENT + PENDING * length + pending
               : CM_AUTOMATON_DEAD;
}

/* Whether a line may end here: it is long enough and its last character whole. */
static bool is_whole(uint32_t place)
{
    return place >= CONTENT + PENDING * LENGTH_MIN && (place - CONTENT) % PENDING == 0;
}

static bool may_end(const void *context, uint32_t state)
{
    const struct cm_line_format *format = context;
    uint32_t place = state % LINE_STATES;
    return state / LINE_STATES + 1 == format->lines_count && is_whole(place);
}

/* Of a text that ends early the lines until there are kept. */
static bool may_cut(const void *context, uint32_t state)
{
    (void)context;
    return is_whole(state % LINE_STATES);
}

/* Labels allow hardly any token, and near the limit the length of each counts. */
static enum cm_attention attention(const void *context, uint32_t state)
{
    enum { TOKEN_CHARACTERS_MAX = 128 };
    const struct cm_line_format *format = context;
    uint32_t place = state % LINE_STATES;
    uint32_t length_max = format->lines[state / LINE_STATES].length_max;
    uint32_t length = (place - CONTENT) / PENDING;
    bool is_far =
        place >= CONTENT + PENDING * LENGTH_MIN && length + TOKEN_CHARACTERS_MAX < length_max;
    return is_far ? CM_ATTENTION_RELEVANT : CM_ATTENTION_ALL;
}

struct cm_automaton cm_line_format_automaton(const struct cm_line_format *format)
{
    struct cm_automaton automaton = {
        .context = format,
        .start = 0,
        .next = next_state,
        .may_end = may_end,
        .may_cut = may_cut,
        .attention = attention,
    };
    /* NUL, which no token holds, stands for the ordinary bytes: content takes it, labels do not. */
    memset(automaton.relevant + 1, true, ' ' - 1);
    for (size_t byte = ' '; byte < 128; byte++) {
        automaton.relevant[byte] = format->banned[byte];
    }
    return automaton;
}
