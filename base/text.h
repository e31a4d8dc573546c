/* Byte strings: a borrowed span, and an owned buffer that grows up to a stated maximum.
 *
 * Bytes are not interpreted; UTF-8 where they are text. A buffer is always terminated by a NUL that
 * `length` does not count, so `data` can be passed on as a C string when it holds none itself.
 */
#ifndef CM_BASE_TEXT_H
#define CM_BASE_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Borrowed bytes; `data` need not be terminated. */
struct cm_span {
    const char *data;
    size_t length;
};

struct cm_span cm_span_of(const char *text); /* NULL gives the empty span */
bool cm_span_equal(struct cm_span a, struct cm_span b);
bool cm_span_equal_text(struct cm_span a, const char *text);
bool cm_span_holds(struct cm_span span, const char *phrase); /* ASCII letters in either case */
struct cm_span cm_span_trim(struct cm_span span);            /* ASCII white space at both ends */

/* Owned bytes. Zero-initialise with CM_TEXT_INIT(limit); release with cm_text_deinit. An append
 * that fails leaves the text as it was; CM_LIMIT past `length_max`, else CM_OUT_OF_MEMORY. */
struct cm_text {
    char *data;
    size_t length;
    size_t capacity;
    size_t length_max;
};

#define CM_TEXT_INIT(limit) ((struct cm_text){ .length_max = (limit) })

void cm_text_deinit(struct cm_text *text);
void cm_text_clear(struct cm_text *text); /* keeps the memory */
enum cm_status cm_text_append(struct cm_text *text, const char *bytes, size_t length) CM_MUST_CHECK;
enum cm_status cm_text_append_span(struct cm_text *text, struct cm_span span) CM_MUST_CHECK;
enum cm_status cm_text_append_string(struct cm_text *text, const char *string) CM_MUST_CHECK;
enum cm_status cm_text_append_char(struct cm_text *text, char byte) CM_MUST_CHECK;
enum cm_status cm_text_printf(struct cm_text *text, const char *format, ...) CM_MUST_CHECK
    CM_PRINTF(2, 3);
struct cm_span cm_text_span(const struct cm_text *text);
const char *cm_text_string(const struct cm_text *text); /* never NULL */

#endif
