#include "jobs/content/lexicon.h"

#include "base/memory.h"
#include "jobs/content/judgement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { GROUPS_MAX = 32, CONTEXTS_MAX = 64 };

enum context_kind { AROUND, BEFORE, AFTER, FACTS };

/* Codes are in the pool of the lexicon. */
struct context {
    enum context_kind kind;
    uint32_t first;
    uint32_t count;
};

struct term {
    uint32_t first;
    uint32_t count;
    uint32_t order; /* as added */
    uint32_t contexts_first;
    uint16_t contexts_count;
    uint8_t rule;
    uint8_t severity;
    bool weak;
    bool marker; /* from a section with "?": only marks a term of another */
};

struct group {
    char name[CM_LEXICON_RULE_BYTES];
    uint32_t first;
    uint32_t count;
};

struct cm_lexicon {
    uint32_t *codes;
    size_t codes_count;
    size_t codes_capacity;
    struct context *contexts;
    size_t contexts_count;
    size_t contexts_capacity;
    struct term *terms; /* once sealed: by their codes */
    size_t terms_count;
    size_t terms_capacity;
    char rules[CM_LEXICON_RULES_MAX][CM_LEXICON_RULE_BYTES];
    size_t rules_count;
    struct cm_plain_text scratch;
};

const char *cm_severity_name(enum cm_severity severity)
{
    static const char *const names[] = { "low", "medium", "high" };
    return names[severity];
}

enum cm_status cm_lexicon_open(struct cm_lexicon **lexicon)
{
    *lexicon = cm_alloc(1, sizeof **lexicon);
    return *lexicon != NULL ? CM_OK : CM_OUT_OF_MEMORY;
}

void cm_lexicon_close(struct cm_lexicon *lexicon)
{
    if (lexicon != NULL) {
        cm_free(lexicon->codes);
        cm_free(lexicon->contexts);
        cm_free(lexicon->terms);
        cm_plain_text_deinit(&lexicon->scratch);
        cm_free(lexicon);
    }
}

size_t cm_lexicon_count(const struct cm_lexicon *lexicon)
{
    return lexicon->terms_count;
}

static enum cm_status append_code(struct cm_text *text, uint32_t code)
{
    enum { CHARACTER_BYTES_MAX = 4 };
    utf8proc_uint8_t bytes[CHARACTER_BYTES_MAX];
    utf8proc_ssize_t count = utf8proc_encode_char((utf8proc_int32_t)code, bytes);
    return cm_text_append_span(text, (struct cm_span){ (const char *)bytes, (size_t)count });
}

enum cm_status cm_lexicon_append_terms(const struct cm_lexicon *lexicon, enum cm_severity least,
                                       struct cm_text *text)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < lexicon->terms_count && status == CM_OK; i++) {
        const struct term *term = &lexicon->terms[i];
        if (term->severity < least || term->weak || term->marker) {
            continue;
        }
        for (uint32_t j = 0; j < term->count && status == CM_OK; j++) {
            status = append_code(text, lexicon->codes[term->first + j]);
        }
        if (status == CM_OK) {
            status = cm_text_append_string(text, "\n");
        }
    }
    return status;
}

/* --- Reading a list --- */

struct list {
    struct cm_lexicon *lexicon;
    const char *name;
    uint64_t line;
    struct cm_error *error;
    uint8_t rule;
    uint8_t severity;
    bool weak;
    bool has_rule;
    struct group groups[GROUPS_MAX];
    size_t groups_count;
};

static enum cm_status refuse(const struct list *list, enum cm_status status, const char *what)
{
    return cm_error_set(list->error, status, "%s:%llu: %s", list->name,
                        (unsigned long long)list->line, what);
}

static enum cm_status no_memory(const struct list *list)
{
    return cm_error_set(list->error, CM_OUT_OF_MEMORY, "%s: out of memory", list->name);
}

/* Puts the plain characters of a phrase into the pool. */
static enum cm_status pool(struct list *list, struct cm_span phrase, uint32_t *first,
                           uint32_t *count)
{
    struct cm_lexicon *lexicon = list->lexicon;
    if (cm_plain_text_fill(&lexicon->scratch, cm_span_trim(phrase)) != CM_OK) {
        return no_memory(list);
    }
    *first = (uint32_t)lexicon->codes_count;
    *count = (uint32_t)lexicon->scratch.count;
    if (*count == 0 || *count > CM_LEXICON_TERM_CHARACTERS_MAX) {
        return refuse(list, CM_INVALID_DATA, "expected a word or phrase of 1 to 64 characters");
    }
    void *block = lexicon->codes;
    enum cm_status status = cm_grow(&block, &lexicon->codes_capacity, lexicon->codes_count + *count,
                                    sizeof *lexicon->codes);
    lexicon->codes = block;
    if (status != CM_OK) {
        return no_memory(list);
    }
    for (uint32_t i = 0; i < *count; i++) {
        lexicon->codes[lexicon->codes_count++] = lexicon->scratch.characters[i].code;
    }
    return CM_OK;
}

static enum cm_status add_context(struct list *list, const struct context *context)
{
    struct cm_lexicon *lexicon = list->lexicon;
    void *block = lexicon->contexts;
    enum cm_status status = cm_grow(&block, &lexicon->contexts_capacity,
                                    lexicon->contexts_count + 1, sizeof *lexicon->contexts);
    lexicon->contexts = block;
    if (status != CM_OK) {
        return no_memory(list);
    }
    lexicon->contexts[lexicon->contexts_count++] = *context;
    return CM_OK;
}

static enum cm_status add_group_contexts(struct list *list, struct cm_span name)
{
    for (size_t i = 0; i < list->groups_count; i++) {
        const struct group *group = &list->groups[i];
        if (cm_span_equal_text(name, group->name)) {
            enum cm_status status = CM_OK;
            for (uint32_t j = 0; j < group->count && status == CM_OK; j++) {
                struct context copy = list->lexicon->contexts[group->first + j];
                status = add_context(list, &copy);
            }
            return status;
        }
    }
    return refuse(list, CM_INVALID_DATA, "this $group was not defined above");
}

static enum cm_status add_one_context(struct list *list, struct cm_span item)
{
    struct context context = { .kind = AROUND };
    if (item.data[0] == '$') {
        return add_group_contexts(list, (struct cm_span){ item.data + 1, item.length - 1 });
    }
    if (cm_span_equal_text(item, "=facts")) {
        context.kind = FACTS;
        return add_context(list, &context);
    }
    if (item.data[0] == '<' || item.data[0] == '>') {
        context.kind = item.data[0] == '<' ? BEFORE : AFTER;
        item = (struct cm_span){ item.data + 1, item.length - 1 };
    }
    enum cm_status status = pool(list, item, &context.first, &context.count);
    return status == CM_OK ? add_context(list, &context) : status;
}

/* "a, b, c" */
static enum cm_status add_contexts(struct list *list, struct cm_span items, uint32_t *first,
                                   uint32_t *count)
{
    enum cm_status status = CM_OK;
    *first = (uint32_t)list->lexicon->contexts_count;
    while (items.length > 0 && status == CM_OK) {
        const char *comma = memchr(items.data, ',', items.length);
        size_t length = comma != NULL ? (size_t)(comma - items.data) : items.length;
        struct cm_span item = cm_span_trim((struct cm_span){ items.data, length });
        if (item.length > 0) {
            status = add_one_context(list, item);
        }
        length += comma != NULL;
        items = (struct cm_span){ items.data + length, items.length - length };
    }
    *count = (uint32_t)list->lexicon->contexts_count - *first;
    if (status == CM_OK && *count > CONTEXTS_MAX) {
        return refuse(list, CM_LIMIT, "at most 64 contexts");
    }
    return status;
}

static enum cm_status set_rule(struct list *list, struct cm_span rule)
{
    struct cm_lexicon *lexicon = list->lexicon;
    for (size_t i = 0; i < lexicon->rules_count; i++) {
        if (cm_span_equal_text(rule, lexicon->rules[i])) {
            list->rule = (uint8_t)i;
            list->has_rule = true;
            return CM_OK;
        }
    }
    if (rule.length >= CM_LEXICON_RULE_BYTES || lexicon->rules_count == CM_LEXICON_RULES_MAX) {
        return refuse(list, CM_INVALID_DATA, "expected the name of a rule, at most 64 of them");
    }
    memcpy(lexicon->rules[lexicon->rules_count], rule.data, rule.length);
    if (cm_rule_find(lexicon->rules[lexicon->rules_count]) == NULL) {
        memset(lexicon->rules[lexicon->rules_count], 0, CM_LEXICON_RULE_BYTES);
        return refuse(list, CM_INVALID_DATA,
                      "no such rule; expected superlative, ranking, medical-claim, finance-claim, "
                      "guarantee, eco-claim, urgency, profanity, template-phrase or banned-word");
    }
    list->rule = (uint8_t)lexicon->rules_count++;
    list->has_rule = true;
    return CM_OK;
}

/* "[superlative high]" */
static enum cm_status read_section(struct list *list, struct cm_span line)
{
    static const char *const severities[] = { "low", "medium", "high" };
    const char *space = memchr(line.data, ' ', line.length);
    if (space == NULL || line.data[line.length - 1] != ']') {
        return refuse(list, CM_INVALID_DATA, "expected [rule severity], such as [profanity high]");
    }
    struct cm_span rule = { line.data + 1, (size_t)(space - line.data) - 1 };
    struct cm_span severity = { space + 1, (size_t)(line.data + line.length - 1 - (space + 1)) };
    list->weak = severity.length > 0 && severity.data[severity.length - 1] == '?';
    severity.length -= list->weak;
    for (uint8_t i = 0; i < 3; i++) {
        if (cm_span_equal_text(severity, severities[i])) {
            list->severity = i;
            return set_rule(list, rule);
        }
    }
    return refuse(list, CM_INVALID_DATA, "expected the severity low, medium or high");
}

/* "$own = <a, <b" */
static enum cm_status read_group(struct list *list, struct cm_span line)
{
    const char *equals = memchr(line.data, '=', line.length);
    if (equals == NULL || list->groups_count == GROUPS_MAX) {
        return refuse(list, CM_INVALID_DATA, "expected $name = contexts, at most 32 groups");
    }
    struct group *group = &list->groups[list->groups_count];
    struct cm_span name =
        cm_span_trim((struct cm_span){ line.data + 1, (size_t)(equals - line.data) - 1 });
    if (name.length == 0 || name.length >= sizeof group->name) {
        return refuse(list, CM_INVALID_DATA, "expected a name of up to 31 bytes behind $");
    }
    memcpy(group->name, name.data, name.length);
    group->name[name.length] = '\0';
    list->groups_count++;
    struct cm_span items = { equals + 1, (size_t)(line.data + line.length - (equals + 1)) };
    return add_contexts(list, items, &group->first, &group->count);
}

/* "term : contexts" */
static enum cm_status read_term(struct list *list, struct cm_span line)
{
    struct cm_lexicon *lexicon = list->lexicon;
    if (!list->has_rule) {
        return refuse(list, CM_INVALID_DATA, "expected a [rule severity] before the first term");
    }
    if (lexicon->terms_count == CM_LEXICON_TERMS_MAX) {
        return refuse(list, CM_LIMIT, "at most 50000 terms");
    }
    struct cm_span spelling = line;
    struct cm_span contexts = { 0 };
    const char *colon = memmem(line.data, line.length, " : ", 3);
    if (colon != NULL) {
        spelling.length = (size_t)(colon - line.data);
        contexts = (struct cm_span){ colon + 3, (size_t)(line.data + line.length - (colon + 3)) };
    }
    struct term term = { .rule = list->rule,
                         .severity = list->severity,
                         .marker = list->weak,
                         .order = (uint32_t)lexicon->terms_count };
    uint32_t contexts_count = 0;
    enum cm_status status = pool(list, spelling, &term.first, &term.count);
    if (status == CM_OK) {
        status = add_contexts(list, contexts, &term.contexts_first, &contexts_count);
    }
    if (status != CM_OK) {
        return status;
    }
    term.contexts_count = (uint16_t)contexts_count;
    term.weak =
        list->weak || (term.count == 1 && cm_plain_is_ideograph(lexicon->codes[term.first]));
    void *block = lexicon->terms;
    status =
        cm_grow(&block, &lexicon->terms_capacity, lexicon->terms_count + 1, sizeof *lexicon->terms);
    lexicon->terms = block;
    if (status != CM_OK) {
        return no_memory(list);
    }
    lexicon->terms[lexicon->terms_count++] = term;
    return CM_OK;
}

static enum cm_status read_line(struct list *list, struct cm_span line)
{
    line = cm_span_trim(line);
    if (line.length == 0 || line.data[0] == '#') {
        return CM_OK;
    }
    if (line.data[0] == '[') {
        return read_section(list, line);
    }
    return line.data[0] == '$' ? read_group(list, line) : read_term(list, line);
}

enum cm_status cm_lexicon_add(struct cm_lexicon *lexicon, struct cm_span text, const char *name,
                              const char *rule, struct cm_error *error)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct list list = {
        .lexicon = lexicon, .name = name, .error = error, .severity = CM_SEVERITY_HIGH
    };
    enum cm_status status = rule != NULL ? set_rule(&list, cm_span_of(rule)) : CM_OK;
    if (text.length >= 3 && memcmp(text.data, byte_order_mark, 3) == 0) {
        text = (struct cm_span){ text.data + 3, text.length - 3 };
    }
    while (text.length > 0 && status == CM_OK) {
        list.line++;
        const char *end = memchr(text.data, '\n', text.length);
        size_t length = end != NULL ? (size_t)(end - text.data) : text.length;
        status = read_line(&list, (struct cm_span){ text.data, length });
        length += end != NULL;
        text = (struct cm_span){ text.data + length, text.length - length };
    }
    return status;
}

/* --- Sealing --- */

static int compare_codes(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
    for (size_t i = 0; i < a_count && i < b_count; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return (a_count > b_count) - (a_count < b_count);
}

static int compare_terms(const void *a, const void *b, void *context)
{
    const uint32_t *codes = context;
    const struct term *left = a;
    const struct term *right = b;
    int order = compare_codes(codes + left->first, left->count, codes + right->first, right->count);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

void cm_lexicon_seal(struct cm_lexicon *lexicon)
{
    size_t kept = 0;
    if (lexicon->terms_count > 0) {
        qsort_r(lexicon->terms, lexicon->terms_count, sizeof *lexicon->terms, compare_terms,
                lexicon->codes);
    }
    for (size_t i = 0; i < lexicon->terms_count; i++) {
        struct term *term = &lexicon->terms[i];
        struct term *last = kept > 0 ? &lexicon->terms[kept - 1] : NULL;
        if (last != NULL && compare_codes(lexicon->codes + last->first, last->count,
                                          lexicon->codes + term->first, term->count) == 0) {
            last->weak = last->weak || term->weak;
            last->marker = last->marker && term->marker;
        } else {
            lexicon->terms[kept++] = *term;
        }
    }
    size_t terms_count = 0;
    for (size_t i = 0; i < kept; i++) {
        if (!lexicon->terms[i].marker) {
            lexicon->terms[terms_count++] = lexicon->terms[i];
        }
    }
    lexicon->terms_count = terms_count;
}

/* --- Finding --- */

static bool is_ascii_word(uint32_t code)
{
    return (code >= 'a' && code <= 'z') || (code >= '0' && code <= '9');
}

/* The term is not part of a longer word. Letters beyond ASCII need the border as well, but for
 * writing without spaces. */
static bool stands_free(const struct cm_plain_text *plain, size_t at, size_t count)
{
    const struct cm_plain_character *characters = plain->characters;
    uint32_t first = characters[at].code;
    uint32_t last = characters[at + count - 1].code;
    uint32_t before = at > 0 ? characters[at - 1].code : ' ';
    uint32_t after = at + count < plain->count ? characters[at + count].code : ' ';
    bool left =
        first >= 0x250 || !cm_plain_is_word(first) || before >= 0x250 || !cm_plain_is_word(before);
    bool right =
        last >= 0x250 || !cm_plain_is_word(last) || after >= 0x250 || !cm_plain_is_word(after);
    bool decimal = (is_ascii_word(first) && before == '.' && at > 1 &&
                    is_ascii_word(characters[at - 2].code) && first <= '9');
    return left && right && !decimal;
}

static bool is_alone(const struct cm_plain_text *plain, size_t at)
{
    return (at == 0 || !cm_plain_is_word(plain->characters[at - 1].code)) &&
           (at + 1 >= plain->count || !cm_plain_is_word(plain->characters[at + 1].code));
}

static bool ends_clause(uint32_t code)
{
    return code == '\n' || code == '!' || code == '?' || code == ';' || code == 0x3002 ||
           code == 0x2026;
}

static bool holds(const struct cm_plain_text *plain, const uint32_t *codes, size_t count)
{
    for (size_t at = 0; plain != NULL && at + count <= plain->count; at++) {
        if (cm_plain_is_at(plain, at, codes, count)) {
            return true;
        }
    }
    return false;
}

/* Whether the phrase stands somewhere around [first, last). */
static bool is_around(const struct cm_plain_text *plain, size_t first, size_t last,
                      const uint32_t *codes, size_t count)
{
    size_t length = last - first;
    if (count < length) {
        return false;
    }
    size_t begin = first > count - length ? first - (count - length) : 0;
    for (size_t at = begin; at <= first; at++) {
        if (at + count >= last && cm_plain_is_at(plain, at, codes, count)) {
            return true;
        }
    }
    return false;
}

static bool is_before(const struct cm_plain_text *plain, size_t first, const uint32_t *codes,
                      size_t count)
{
    for (size_t back = 1; back <= CM_LEXICON_NEAR + count && back <= first; back++) {
        if (ends_clause(plain->characters[first - back].code)) {
            return false;
        }
        if (back >= count && cm_plain_is_at(plain, first - back, codes, count)) {
            return true;
        }
    }
    return false;
}

static bool is_after(const struct cm_plain_text *plain, size_t last, const uint32_t *codes,
                     size_t count)
{
    for (size_t at = last; at <= last + CM_LEXICON_NEAR && at < plain->count; at++) {
        if (cm_plain_is_at(plain, at, codes, count)) {
            return true;
        }
        if (ends_clause(plain->characters[at].code)) {
            return false;
        }
    }
    return false;
}

static bool is_harmless(const struct cm_lexicon *lexicon, const struct term *term,
                        const struct cm_plain_text *plain, size_t at,
                        const struct cm_lexicon_context *around)
{
    size_t last = at + term->count;
    const struct cm_plain_text *brand = around->brand;
    if (brand != NULL && brand->count >= term->count) {
        size_t begin = at > brand->count - term->count ? at - (brand->count - term->count) : 0;
        for (size_t place = begin; place <= at; place++) {
            size_t i = 0;
            while (i < brand->count && place + i < plain->count &&
                   plain->characters[place + i].code == brand->characters[i].code) {
                i++;
            }
            if (i == brand->count && place + i >= last) {
                return true;
            }
        }
    }
    for (uint16_t i = 0; i < term->contexts_count; i++) {
        const struct context *context = &lexicon->contexts[term->contexts_first + i];
        const uint32_t *codes = lexicon->codes + context->first;
        bool harmless = false;
        switch (context->kind) {
        case AROUND:
            harmless = is_around(plain, at, last, codes, context->count);
            break;
        case BEFORE:
            harmless = is_before(plain, at, codes, context->count);
            break;
        case AFTER:
            harmless = is_after(plain, last, codes, context->count);
            break;
        case FACTS:
            harmless = holds(around->facts, lexicon->codes + term->first, term->count);
            break;
        }
        if (harmless) {
            return true;
        }
    }
    return false;
}

/* The first term in the order whose codes are not before the character alone. */
static size_t first_term(const struct cm_lexicon *lexicon, uint32_t code)
{
    size_t first = 0;
    size_t last = lexicon->terms_count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        if (lexicon->codes[lexicon->terms[middle].first] < code) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

static const struct term *longest_at(const struct cm_lexicon *lexicon,
                                     const struct cm_plain_text *plain, size_t at,
                                     const struct cm_lexicon_context *context)
{
    const struct term *longest = NULL;
    uint32_t code = plain->characters[at].code;
    for (size_t i = first_term(lexicon, code); i < lexicon->terms_count; i++) {
        const struct term *term = &lexicon->terms[i];
        const uint32_t *codes = lexicon->codes + term->first;
        if (codes[0] != code) {
            break;
        }
        if ((longest == NULL || term->count > longest->count) &&
            cm_plain_is_at(plain, at, codes, term->count) && stands_free(plain, at, term->count) &&
            (term->count > 1 || !cm_plain_is_ideograph(code) || is_alone(plain, at)) &&
            !is_harmless(lexicon, term, plain, at, context)) {
            longest = term;
        }
    }
    return longest;
}

bool cm_lexicon_next(const struct cm_lexicon *lexicon, const struct cm_plain_text *plain,
                     const struct cm_lexicon_context *context, size_t *at,
                     struct cm_lexicon_hit *hit)
{
    for (; *at < plain->count; (*at)++) {
        const struct term *term = longest_at(lexicon, plain, *at, context);
        if (term != NULL) {
            *hit = (struct cm_lexicon_hit){ .rule = lexicon->rules[term->rule],
                                            .severity = (enum cm_severity)term->severity,
                                            .weak = term->weak,
                                            .first = *at,
                                            .last = *at + term->count };
            *at += term->count;
            return true;
        }
    }
    return false;
}
