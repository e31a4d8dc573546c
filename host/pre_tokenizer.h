/* Cuts text into the words that byte-level BPE works on, with the regular expression the model was
 * trained with (PCRE2). Every byte of the text is in exactly one word. Bytes that are no UTF-8 form
 * words of their own, and the text on either side is cut as if it stood alone. */
#ifndef CM_HOST_PRE_TOKENIZER_H
#define CM_HOST_PRE_TOKENIZER_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/model_file.h"

#include <stdbool.h>

struct cm_word_pattern; /* read-only after opening: any thread may use it */

enum cm_status cm_word_pattern_open(enum cm_pre_tokenizer kind, struct cm_word_pattern **pattern,
                                    struct cm_error *error) CM_MUST_CHECK;
void cm_word_pattern_close(struct cm_word_pattern *pattern);

/* Walks over one text; caller-owned. */
struct cm_word_cursor {
    const struct cm_word_pattern *pattern;
    struct cm_span rest; /* not yet handed out */
    size_t valid_bytes;  /* at the start of `rest`, known to be UTF-8 */
    void *match;         /* PCRE2's */
};

enum cm_status cm_word_cursor_init(struct cm_word_cursor *cursor,
                                   const struct cm_word_pattern *pattern,
                                   struct cm_span text) CM_MUST_CHECK;
void cm_word_cursor_deinit(struct cm_word_cursor *cursor);

/* False at the end of the text. */
bool cm_word_cursor_next(struct cm_word_cursor *cursor, struct cm_span *word);

#endif
