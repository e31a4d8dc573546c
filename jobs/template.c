#include "jobs/template.h"

#include "base/memory.h"
#include "jobs/facts.h"
#include "jobs/language.h"
#include "jobs/prompt.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum node_kind { NODE_TEXT, NODE_VALUE, NODE_IF };
enum value_kind { VALUE_ITEM, VALUE_SEGMENT, VALUE_QUESTION, VALUE_LANGUAGE, VALUE_FORMAT };
enum { NONE = -1 };

/* Nodes lie in one array and follow each other by index. */
struct node {
    enum node_kind kind;
    int next;             /* sibling, or NONE */
    struct cm_span text;  /* NODE_TEXT */
    enum value_kind from; /* NODE_VALUE; NODE_IF: the value it asks for */
    char name[CM_TEMPLATE_NAME_BYTES_MAX];
    int then; /* NODE_IF: first child of each branch, or NONE */
    int otherwise;
};

struct section {
    enum cm_template_role role;
    char language[CM_LANGUAGE_BYTES]; /* "": the default */
    int first;
};

struct cm_template {
    char *source;
    size_t source_bytes;
    struct node *nodes;
    size_t nodes_count;
    size_t nodes_capacity;
    struct section sections[CM_TEMPLATE_SECTIONS_MAX];
    size_t sections_count;
};

struct parser {
    struct cm_template *template;
    const char *name;
    const char *at;
    const char *end; /* of the section being parsed */
    struct cm_error *error;
};

static enum cm_status fail(const struct parser *parser, const char *where, const char *format, ...)
    CM_PRINTF(3, 4);

/* "name:line: message"; the line is counted from the source's start. */
static enum cm_status fail(const struct parser *parser, const char *where, const char *format, ...)
{
    size_t line = 1;
    for (const char *at = parser->template->source; at < where; at++) {
        line += *at == '\n';
    }
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return cm_error_set(parser->error, CM_INVALID_DATA, "%s:%zu: %s", parser->name, line, message);
}

/* --- Tags --- */

enum tag_kind { TAG_VALUE, TAG_IF, TAG_ELSE, TAG_END };

struct tag {
    enum tag_kind kind;
    const char *start;     /* of "{{" */
    const char *text_end;  /* where the text before the tag ends ... */
    const char *rest;      /* ... and where parsing goes on after it */
    struct cm_span inside; /* trimmed, without "#if" */
};

/* A tag of a block that has a line to itself takes the line with it, so that conditions leave no
 * empty lines in the prompt. */
static void take_whole_line(const struct parser *parser, struct tag *tag)
{
    const char *left = tag->start;
    while (left > parser->at && (left[-1] == ' ' || left[-1] == '\t')) {
        left--;
    }
    const char *right = tag->rest;
    while (right < parser->end && (*right == ' ' || *right == '\t' || *right == '\r')) {
        right++;
    }
    bool begins_line = left == parser->template->source || left[-1] == '\n';
    if (begins_line && (right == parser->end || *right == '\n')) {
        tag->text_end = left;
        tag->rest = right == parser->end ? right : right + 1;
    }
}

static const char *find_pair(const char *at, const char *end, const char *pair)
{
    return memmem(at, (size_t)(end - at), pair, 2);
}

/* The next tag from parser->at; CM_END where none follows. */
static enum cm_status read_tag(struct parser *parser, struct tag *tag)
{
    const char *start = find_pair(parser->at, parser->end, "{{");
    if (start == NULL) {
        const char *stray = find_pair(parser->at, parser->end, "}}");
        return stray == NULL ? CM_END : fail(parser, stray, "\"}}\" without \"{{\" before it");
    }
    const char *close = find_pair(start, parser->end, "}}");
    const char *line_end = memchr(start, '\n', (size_t)(parser->end - start));
    if (close == NULL || (line_end != NULL && line_end < close)) {
        return fail(parser, start, "\"{{\" is not closed: expected \"}}\" on the same line");
    }
    struct cm_span inside =
        cm_span_trim((struct cm_span){ start + 2, (size_t)(close - start - 2) });
    *tag = (struct tag){ TAG_VALUE, start, start, close + 2, inside };
    if (inside.length >= 3 && memcmp(inside.data, "#if", 3) == 0 &&
        (inside.length == 3 || isspace((unsigned char)inside.data[3]))) {
        tag->kind = TAG_IF;
        tag->inside = cm_span_trim((struct cm_span){ inside.data + 3, inside.length - 3 });
    } else if (cm_span_equal_text(inside, "else")) {
        tag->kind = TAG_ELSE;
    } else if (cm_span_equal_text(inside, "/if")) {
        tag->kind = TAG_END;
    } else if (inside.length > 0 && strchr("#/!>&^", inside.data[0]) != NULL) {
        return fail(parser, start, "{{%.*s}} is not known here: expected #if, else or /if",
                    (int)(inside.length < 60 ? inside.length : 60), inside.data);
    }
    if (tag->kind != TAG_VALUE) {
        take_whole_line(parser, tag);
    }
    return CM_OK;
}

/* --- The tree --- */

/* Adds a node and links it after `*link`'s place; `*index` is the new node. */
static enum cm_status add_node(struct parser *parser, struct node node, int *index)
{
    struct cm_template *template = parser->template;
    if (template->nodes_count == CM_TEMPLATE_NODES_MAX) {
        return fail(parser, parser->at, "more than %d pieces: expected a shorter template",
                    CM_TEMPLATE_NODES_MAX);
    }
    void *block = template->nodes;
    enum cm_status status = cm_grow(&block, &template->nodes_capacity, template->nodes_count + 1,
                                    sizeof *template->nodes);
    template->nodes = block;
    if (status != CM_OK) {
        return cm_error_set(parser->error, status, "out of memory");
    }
    *index = (int)template->nodes_count;
    template->nodes[template->nodes_count++] = node;
    return CM_OK;
}

/* Unlike items and segments, questions have no columns but these. */
static enum cm_status check_question_name(struct parser *parser, const struct tag *tag,
                                          const struct node *node)
{
    bool known = strcasecmp(node->name, "text") == 0 || strcasecmp(node->name, "policy") == 0;
    return known ? CM_OK
                 : fail(parser, tag->start,
                        "\"question.%.60s\" is not known: expected question.text or "
                        "question.policy",
                        node->name);
}

static enum cm_status read_name(struct parser *parser, const struct tag *tag, struct node *node)
{
    static const struct {
        const char *prefix;
        enum value_kind kind;
    } NAMESPACES[] = { { "item.", VALUE_ITEM },
                       { "segment.", VALUE_SEGMENT },
                       { "question.", VALUE_QUESTION } };

    if (cm_span_equal_text(tag->inside, "language")) {
        node->from = VALUE_LANGUAGE;
        return CM_OK;
    }
    if (cm_span_equal_text(tag->inside, "channel.format")) {
        node->from = VALUE_FORMAT;
        return CM_OK;
    }
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof NAMESPACES[0]; i++) {
        size_t length = strlen(NAMESPACES[i].prefix);
        if (tag->inside.length > length &&
            memcmp(tag->inside.data, NAMESPACES[i].prefix, length) == 0) {
            size_t name_bytes = tag->inside.length - length;
            if (name_bytes >= CM_TEMPLATE_NAME_BYTES_MAX ||
                memchr(tag->inside.data, '{', tag->inside.length) != NULL) {
                return fail(parser, tag->start,
                            "the name is no column name: expected at most %d "
                            "bytes without \"{\"",
                            CM_TEMPLATE_NAME_BYTES_MAX - 1);
            }
            node->from = NAMESPACES[i].kind;
            memcpy(node->name, tag->inside.data + length, name_bytes);
            return node->from == VALUE_QUESTION ? check_question_name(parser, tag, node) : CM_OK;
        }
    }
    return fail(
        parser, tag->start,
        "\"%.*s\" is not known: expected item.NAME, segment.NAME, question.NAME, language or "
        "channel.format",
        (int)(tag->inside.length < 60 ? tag->inside.length : 60), tag->inside.data);
}

/* Puts `index` at the end of a list of siblings whose first is `*first` and last `*last`. */
static void link_node(struct parser *parser, int index, int *first, int *last)
{
    if (*first == NONE) {
        *first = index;
    } else {
        parser->template->nodes[*last].next = index;
    }
    *last = index;
}

static enum cm_status parse_nodes(struct parser *parser, int depth, int *first, struct tag *stop);

static enum cm_status parse_if(struct parser *parser, const struct tag *opening, int depth,
                               int *index)
{
    struct node node = { .kind = NODE_IF, .next = NONE, .then = NONE, .otherwise = NONE };
    if (depth == CM_TEMPLATE_NESTING_MAX) {
        return fail(parser, opening->start,
                    "{{#if}} is nested too deeply: expected at most %d levels",
                    CM_TEMPLATE_NESTING_MAX);
    }
    enum cm_status status = read_name(parser, opening, &node);
    struct tag stop = { 0 };
    if (status == CM_OK) {
        status = parse_nodes(parser, depth + 1, &node.then, &stop);
    }
    if (status == CM_OK && stop.kind == TAG_ELSE) {
        status = parse_nodes(parser, depth + 1, &node.otherwise, &stop);
        if (status == CM_OK && stop.kind == TAG_ELSE) {
            return fail(parser, stop.start, "a second {{else}}: expected {{/if}}");
        }
    }
    if (status == CM_END) {
        return fail(parser, opening->start,
                    "{{#if}} is not closed: expected {{/if}} before the end "
                    "of the section");
    }
    return status == CM_OK ? add_node(parser, node, index) : status;
}

/* Siblings up to an {{else}} or {{/if}}, which is put into `stop`; CM_END at the section's end. */
static enum cm_status parse_nodes(struct parser *parser, int depth, int *first, struct tag *stop)
{
    int last = NONE;
    for (;;) {
        struct tag tag = { .text_end = parser->end, .rest = parser->end };
        enum cm_status found = read_tag(parser, &tag);
        if (found != CM_OK && found != CM_END) {
            return found;
        }
        int index = NONE;
        enum cm_status status = CM_OK;
        if (tag.text_end > parser->at) {
            struct node text = { .kind = NODE_TEXT,
                                 .next = NONE,
                                 .text = { parser->at, (size_t)(tag.text_end - parser->at) } };
            status = add_node(parser, text, &index);
            if (status != CM_OK) {
                return status;
            }
            link_node(parser, index, first, &last);
        }
        parser->at = tag.rest;
        if (found == CM_END) {
            return CM_END;
        }
        if (tag.kind == TAG_ELSE || tag.kind == TAG_END) {
            *stop = tag;
            return CM_OK;
        }
        if (tag.kind == TAG_IF) {
            status = parse_if(parser, &tag, depth, &index);
        } else {
            struct node value = { .kind = NODE_VALUE, .next = NONE };
            status = read_name(parser, &tag, &value);
            if (status == CM_OK) {
                status = add_node(parser, value, &index);
            }
        }
        if (status != CM_OK) {
            return status;
        }
        link_node(parser, index, first, &last);
    }
}

/* --- Sections --- */

static struct cm_span line_at(const char *at, const char *end)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    return (struct cm_span){ at, (size_t)((stop == NULL ? end : stop) - at) };
}

/* "[user]" or "[user:zh]" alone on a line; other text in brackets is text. */
static bool is_header(struct cm_span line)
{
    line = cm_span_trim(line);
    if (line.length < 3 || line.data[0] != '[' || line.data[line.length - 1] != ']') {
        return false;
    }
    for (size_t i = 1; i + 1 < line.length; i++) {
        unsigned char byte = (unsigned char)line.data[i];
        if (!isalnum(byte) && byte != ':' && byte != '-') {
            return false;
        }
    }
    return true;
}

static enum cm_status read_header(struct parser *parser, struct cm_span line,
                                  struct section *section)
{
    char header[64] = "";
    struct cm_span inside = cm_span_trim(line);
    inside = (struct cm_span){ inside.data + 1, inside.length - 2 };
    if (inside.length < sizeof header) {
        memcpy(header, inside.data, inside.length);
    }
    char *language = strchr(header, ':');
    if (language != NULL) {
        *language++ = '\0';
        if (!cm_language_is_code(language)) {
            return fail(parser, line.data,
                        "\"%s\" is no language: expected a code such as zh or pt-br", language);
        }
        for (size_t i = 0; language[i] != '\0'; i++) {
            section->language[i] = (char)tolower((unsigned char)language[i]);
        }
    }
    if (strcmp(header, "system") == 0) {
        section->role = CM_TEMPLATE_SYSTEM;
    } else if (strcmp(header, "user") == 0) {
        section->role = CM_TEMPLATE_USER;
    } else {
        return fail(parser, line.data,
                    "section [%.*s] is not known: expected [system] or [user], "
                    "or with a language: [user:zh]",
                    (int)(inside.length < 40 ? inside.length : 40), inside.data);
    }
    return CM_OK;
}

static const struct section *find_section(const struct cm_template *template,
                                          enum cm_template_role role, const char *language,
                                          size_t language_bytes)
{
    for (size_t i = 0; i < template->sections_count; i++) {
        const struct section *section = &template->sections[i];
        if (section->role == role && strlen(section->language) == language_bytes &&
            strncasecmp(section->language, language, language_bytes) == 0) {
            return section;
        }
    }
    return NULL;
}

/* `header` is the section's first line; its body ends at `end`. */
static enum cm_status parse_section(struct parser *parser, struct cm_span header, const char *end)
{
    struct cm_template *template = parser->template;
    struct section section = { .first = NONE };
    enum cm_status status = read_header(parser, header, &section);
    if (status != CM_OK) {
        return status;
    }
    if (template->sections_count == CM_TEMPLATE_SECTIONS_MAX) {
        return fail(parser, header.data, "more than %d sections", CM_TEMPLATE_SECTIONS_MAX);
    }
    if (find_section(template, section.role, section.language, strlen(section.language)) != NULL) {
        return fail(parser, header.data, "a second %.*s: expected each section once",
                    (int)header.length, header.data);
    }
    const char *body = header.data + header.length;
    struct cm_span trimmed = cm_span_trim((struct cm_span){ body, (size_t)(end - body) });
    parser->at = trimmed.data;
    parser->end = trimmed.data + trimmed.length;
    struct tag stop = { 0 };
    status = parse_nodes(parser, 0, &section.first, &stop);
    if (status == CM_OK) {
        return fail(parser, stop.start, "%s without {{#if}} before it",
                    stop.kind == TAG_ELSE ? "{{else}}" : "{{/if}}");
    }
    if (status != CM_END) {
        return status;
    }
    template->sections[template->sections_count++] = section;
    return CM_OK;
}

static enum cm_status parse_source(struct parser *parser)
{
    struct cm_template *template = parser->template;
    const char *end = template->source + template->source_bytes;
    struct cm_span header = { NULL, 0 };
    enum cm_status status = CM_OK;
    for (const char *at = template->source; at <= end && status == CM_OK;) {
        struct cm_span line = at < end ? line_at(at, end) : (struct cm_span){ end, 0 };
        if (at == end || is_header(line)) {
            if (header.data != NULL) {
                status = parse_section(parser, header, at);
            }
            header = line;
        } else if (header.data == NULL && cm_span_trim(line).length > 0 &&
                   cm_span_trim(line).data[0] != '#') {
            return fail(parser, at,
                        "text before the first section: expected [system] or [user], "
                        "or a comment that begins with #");
        }
        at = at == end ? end + 1 : line.data + line.length + (line.data + line.length < end);
    }
    if (status == CM_OK && find_section(template, CM_TEMPLATE_USER, "", 0) == NULL) {
        return fail(parser, end,
                    "no [user] section: expected one without a language, which serves "
                    "all languages that have none of their own");
    }
    return status;
}

enum cm_status cm_template_parse(const char *name, struct cm_span source,
                                 struct cm_template **template, struct cm_error *error)
{
    static const char BYTE_ORDER_MARK[] = "\xEF\xBB\xBF";
    if (source.length > CM_TEMPLATE_BYTES_MAX) {
        return cm_error_set(error, CM_LIMIT, "%s: %zu bytes: expected a template of at most %d",
                            name, source.length, CM_TEMPLATE_BYTES_MAX);
    }
    if (source.length >= 3 && memcmp(source.data, BYTE_ORDER_MARK, 3) == 0) {
        source = (struct cm_span){ source.data + 3, source.length - 3 };
    }
    *template = cm_alloc(1, sizeof **template);
    if (*template == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    (*template)->source = cm_strndup(source.data == NULL ? "" : source.data, source.length);
    (*template)->source_bytes = source.length;
    enum cm_status status;
    if ((*template)->source == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    } else {
        struct parser parser = { .template = *template, .name = name, .error = error };
        status = parse_source(&parser);
    }
    if (status != CM_OK) {
        cm_template_close(*template);
        *template = NULL;
    }
    return status;
}

void cm_template_close(struct cm_template *template)
{
    if (template != NULL) {
        cm_free(template->source);
        cm_free(template->nodes);
        cm_free(template);
    }
}

struct cm_span cm_template_source(const struct cm_template *template)
{
    return (struct cm_span){ template->source, template->source_bytes };
}

/* --- Rendering --- */

static enum cm_status append_value(const struct node *node, const struct cm_template_data *data,
                                   struct cm_text *text)
{
    const char *value = NULL;
    switch (node->from) {
    case VALUE_LANGUAGE:
        value = cm_language_name(data->language);
        break;
    case VALUE_FORMAT: /* lines of the program's own, so line ends stay */
        return data->format != NULL ? cm_text_append_string(text, data->format) : CM_OK;
    case VALUE_ITEM:
        if (strcasecmp(node->name, "facts") == 0) {
            return cm_facts_append_item(text, data->item, data->language);
        }
        value = cm_item_find(data->item, node->name);
        break;
    case VALUE_SEGMENT:
        if (strcasecmp(node->name, "facts") == 0) {
            return cm_facts_append_segment(text, data->segment);
        }
        value = cm_segment_find(data->segment, node->name);
        break;
    case VALUE_QUESTION:
        if (data->question != NULL) {
            bool is_text = strcasecmp(node->name, "text") == 0;
            value = is_text ? data->question->text : data->question->policy;
        }
        break;
    }
    return cm_facts_append_value(text, cm_span_of(value), CM_PROMPT_FIELD_CHARACTERS_MAX);
}

/* A value counts as present when something of it would be rendered. */
static enum cm_status is_present(const struct node *node, const struct cm_template_data *data,
                                 bool *present)
{
    struct cm_text text = CM_TEXT_INIT(CM_TEMPLATE_BYTES_MAX);
    enum cm_status status = append_value(node, data, &text);
    *present = text.length > 0;
    cm_text_deinit(&text);
    return status;
}

/* The recursion is as deep as conditions are nested, CM_TEMPLATE_NESTING_MAX at most. */
static enum cm_status render_nodes(const struct cm_template *template, int first,
                                   const struct cm_template_data *data, struct cm_text *text)
{
    enum cm_status status = CM_OK;
    for (int i = first; i != NONE && status == CM_OK; i = template->nodes[i].next) {
        const struct node *node = &template->nodes[i];
        bool present = false;
        switch (node->kind) {
        case NODE_TEXT:
            status = cm_text_append_span(text, node->text);
            break;
        case NODE_VALUE:
            status = append_value(node, data, text);
            break;
        case NODE_IF:
            status = is_present(node, data, &present);
            if (status == CM_OK) {
                status = render_nodes(template, present ? node->then : node->otherwise, data, text);
            }
            break;
        }
    }
    return status;
}

enum cm_status cm_template_render(const struct cm_template *template, enum cm_template_role role,
                                  const struct cm_template_data *data, struct cm_text *text)
{
    const char *language = data->language;
    const struct section *section = find_section(template, role, language, strlen(language));
    if (section == NULL) {
        section = find_section(template, role, language, strcspn(language, "-_"));
    }
    if (section == NULL) {
        section = find_section(template, role, "", 0);
    }
    return section == NULL ? CM_OK : render_nodes(template, section->first, data, text);
}
