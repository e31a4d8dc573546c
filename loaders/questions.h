/* Customers' questions: a small CSV or JSON file held whole in memory. Columns: `question_id` and
 * `question`; `item_id`, which is empty or "*" for a question about every item; a `policy` text to
 * answer from; and the `language` of the answer. */
#ifndef CM_LOADERS_QUESTIONS_H
#define CM_LOADERS_QUESTIONS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_QUESTIONS_MAX = 1000000 };

/* Text is valid UTF-8 and never NULL (absent: ""). */
struct cm_question {
    char *id;
    char *item_id; /* "": every item */
    char *text;
    char *policy;
    char *language; /* lower case */
    uint64_t line;
};

struct cm_questions {
    struct cm_question *items; /* in the order of the file */
    size_t count;
    size_t *by_item; /* [count] indices, those of one item together and in order */
};

/* Refuses duplicate and empty ids, empty questions and columns of other names, by line. */
enum cm_status cm_questions_open(const char *path, struct cm_questions *questions,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_questions_deinit(struct cm_questions *questions);

/* The questions for one item, its own and those for every item, one after the other in the order
 * of the file. Start with a cursor of `cm_questions_seek`; false after the last. */
struct cm_question_cursor {
    size_t every; /* places in by_item */
    size_t every_end;
    size_t own;
    size_t own_end;
};

struct cm_question_cursor cm_questions_seek(const struct cm_questions *questions,
                                            const char *item_id);
bool cm_questions_next(const struct cm_questions *questions, struct cm_question_cursor *cursor,
                       size_t *index);
size_t cm_question_cursor_count(const struct cm_question_cursor *cursor); /* that are left */

#endif
