#include "loaders/questions.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "loaders/markup.h"
#include "loaders/sheet.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUESTION_TEXT_BYTES_MAX = 1 << 20 };

struct reading {
    struct cm_sheet *sheet;
    struct cm_sheet_record record; /* in hand */
    struct cm_text plain;
    struct cm_questions *questions;
    size_t capacity;
};

/* --- Rows --- */

static const struct column {
    const char *name; /* in normal form */
    size_t offset;    /* of its text in a question */
} COLUMNS[] = {
    { "question_id", offsetof(struct cm_question, id) },
    { "item_id", offsetof(struct cm_question, item_id) },
    { "question", offsetof(struct cm_question, text) },
    { "policy", offsetof(struct cm_question, policy) },
    { "language", offsetof(struct cm_question, language) },
};
enum { COLUMNS_COUNT = sizeof COLUMNS / sizeof COLUMNS[0] };

static char **text_of(struct cm_question *question, const struct column *column)
{
    return (char **)((char *)question + column->offset);
}

static void question_deinit(struct cm_question *question)
{
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        cm_free(*text_of(question, &COLUMNS[i]));
    }
}

static const struct column *find_column(const struct cm_sheet_cell *cell)
{
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        if (cm_sheet_cell_is(cell, COLUMNS[i].name)) {
            return &COLUMNS[i];
        }
    }
    return NULL;
}

/* A column that nobody reads is more often a slip of the pen than meant. */
static enum cm_status unknown_column(const struct reading *reading,
                                     const struct cm_sheet_cell *cell, struct cm_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)cell->name.length, cell->name.data);
    cm_utf8_clean(name);
    return cm_error_set(error, CM_INVALID_DATA,
                        "%s:%llu: the column \"%s\" is not known: expected question_id, item_id, "
                        "question, policy or language; rename or remove it",
                        cm_sheet_name(reading->sheet), (unsigned long long)reading->record.line,
                        name);
}

static enum cm_status fill_cell(struct reading *reading, const struct cm_sheet_cell *cell,
                                struct cm_question *question, struct cm_error *error)
{
    const struct column *column = find_column(cell);
    if (column == NULL) {
        return unknown_column(reading, cell, error);
    }
    char **text = text_of(question, column);
    if (*text != NULL) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: two columns are named %s; remove one",
                            cm_sheet_name(reading->sheet), column->name);
    }
    if (cm_markup_to_text(cell->value, &reading->plain) != CM_OK) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    *text = cm_strdup(cm_text_string(&reading->plain));
    return *text != NULL ? CM_OK : cm_sheet_out_of_memory(reading->sheet, error);
}

/* What the row does not have is empty, and "*" is the same as no item. */
static enum cm_status complete(const struct reading *reading, struct cm_question *question,
                               struct cm_error *error)
{
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        char **text = text_of(question, &COLUMNS[i]);
        *text = *text == NULL ? cm_strdup("") : *text;
        if (*text == NULL) {
            return cm_sheet_out_of_memory(reading->sheet, error);
        }
    }
    if (question->id[0] == '\0') {
        return cm_sheet_refuse(reading->sheet, &reading->record, error,
                               "the question has no id; fill in the column question_id");
    }
    if (question->text[0] == '\0') {
        return cm_sheet_refuse(reading->sheet, &reading->record, error,
                               "the question is empty; fill in the column question");
    }
    if (strcmp(question->item_id, "*") == 0) {
        question->item_id[0] = '\0';
    }
    for (char *at = question->language; *at != '\0'; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
    return CM_OK;
}

static enum cm_status add_question(struct reading *reading, struct cm_error *error)
{
    struct cm_questions *questions = reading->questions;
    if (reading->record.problem != NULL) {
        return cm_sheet_refuse(reading->sheet, &reading->record, error, reading->record.problem);
    }
    if (questions->count == CM_QUESTIONS_MAX) {
        return cm_error_set(error, CM_LIMIT, "%s:%llu: more than %d questions; split the file",
                            cm_sheet_name(reading->sheet), (unsigned long long)reading->record.line,
                            CM_QUESTIONS_MAX);
    }
    void *items = questions->items;
    enum cm_status status =
        cm_grow(&items, &reading->capacity, questions->count + 1, sizeof *questions->items);
    questions->items = items;
    if (status != CM_OK) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    struct cm_question question = { .line = reading->record.line };
    for (size_t i = 0; i < reading->record.cells_count && status == CM_OK; i++) {
        status = fill_cell(reading, &reading->record.cells[i], &question, error);
    }
    if (status == CM_OK) {
        status = complete(reading, &question, error);
    }
    if (status != CM_OK) {
        question_deinit(&question);
        return status;
    }
    questions->items[questions->count++] = question;
    return CM_OK;
}

/* --- The file --- */

static int compare_ids(const void *left, const void *right, void *context)
{
    const struct cm_question *items = context;
    size_t a = *(const size_t *)left;
    size_t b = *(const size_t *)right;
    int order = strcmp(items[a].id, items[b].id);
    return order != 0 ? order : (a > b) - (a < b);
}

static int compare_items(const void *left, const void *right, void *context)
{
    const struct cm_question *items = context;
    size_t a = *(const size_t *)left;
    size_t b = *(const size_t *)right;
    int order = strcmp(items[a].item_id, items[b].item_id);
    return order != 0 ? order : (a > b) - (a < b);
}

/* Expects by_item in the order of ids. */
static enum cm_status check_unique(const struct reading *reading, struct cm_error *error)
{
    const struct cm_questions *questions = reading->questions;
    for (size_t i = 1; i < questions->count; i++) {
        const struct cm_question *first = &questions->items[questions->by_item[i - 1]];
        const struct cm_question *second = &questions->items[questions->by_item[i]];
        if (strcmp(first->id, second->id) == 0) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s:%llu: the question id %.60s is already on line %llu; give each "
                                "question its own",
                                cm_sheet_name(reading->sheet), (unsigned long long)second->line,
                                second->id, (unsigned long long)first->line);
        }
    }
    return CM_OK;
}

static enum cm_status sort(const struct reading *reading, struct cm_error *error)
{
    struct cm_questions *questions = reading->questions;
    questions->by_item = cm_alloc(questions->count, sizeof *questions->by_item);
    if (questions->by_item == NULL) {
        return cm_sheet_out_of_memory(reading->sheet, error);
    }
    for (size_t i = 0; i < questions->count; i++) {
        questions->by_item[i] = i;
    }
    qsort_r(questions->by_item, questions->count, sizeof *questions->by_item, compare_ids,
            questions->items);
    enum cm_status status = check_unique(reading, error);
    qsort_r(questions->by_item, questions->count, sizeof *questions->by_item, compare_items,
            questions->items);
    return status;
}

static enum cm_status read_questions(struct reading *reading, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        status = cm_sheet_next(reading->sheet, &reading->record, error);
        if (status == CM_OK) {
            status = add_question(reading, error);
        }
    }
    if (status != CM_END) {
        return status;
    }
    if (reading->questions->count == 0) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: holds no question; add one",
                            cm_sheet_name(reading->sheet));
    }
    return sort(reading, error);
}

enum cm_status cm_questions_open(const char *path, struct cm_questions *questions,
                                 struct cm_error *error)
{
    *questions = (struct cm_questions){ .count = 0 };
    struct reading reading = {
        .questions = questions,
        .plain = CM_TEXT_INIT(QUESTION_TEXT_BYTES_MAX),
    };
    enum cm_status status = cm_sheet_open(path, "question_id", &reading.sheet, error);
    if (status == CM_OK) {
        status = read_questions(&reading, error);
    }
    cm_sheet_close(reading.sheet);
    cm_text_deinit(&reading.plain);
    if (status != CM_OK) {
        cm_questions_deinit(questions);
    }
    return status;
}

void cm_questions_deinit(struct cm_questions *questions)
{
    for (size_t i = 0; i < questions->count; i++) {
        question_deinit(&questions->items[i]);
    }
    cm_free(questions->items);
    cm_free(questions->by_item);
    *questions = (struct cm_questions){ .count = 0 };
}

/* --- The questions for an item --- */

/* The first place in by_item whose item comes after `item_id`, or with `from` is `item_id`. */
static size_t find_place(const struct cm_questions *questions, const char *item_id, bool from)
{
    size_t first = 0;
    size_t last = questions->count;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        int order = strcmp(questions->items[questions->by_item[middle]].item_id, item_id);
        if (order < 0 || (order == 0 && !from)) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

struct cm_question_cursor cm_questions_seek(const struct cm_questions *questions,
                                            const char *item_id)
{
    struct cm_question_cursor cursor = { .every_end = find_place(questions, "", false) };
    if (item_id[0] != '\0') {
        cursor.own = find_place(questions, item_id, true);
        cursor.own_end = find_place(questions, item_id, false);
    }
    return cursor;
}

bool cm_questions_next(const struct cm_questions *questions, struct cm_question_cursor *cursor,
                       size_t *index)
{
    bool has_every = cursor->every < cursor->every_end;
    bool has_own = cursor->own < cursor->own_end;
    if (!has_every && !has_own) {
        return false;
    }
    bool take_own = has_own && (!has_every || questions->by_item[cursor->own] <
                                                  questions->by_item[cursor->every]);
    *index = questions->by_item[take_own ? cursor->own++ : cursor->every++];
    return true;
}

size_t cm_question_cursor_count(const struct cm_question_cursor *cursor)
{
    return cursor->every_end - cursor->every + cursor->own_end - cursor->own;
}
