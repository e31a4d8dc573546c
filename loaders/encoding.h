/* Text files in whatever encoding they came, read as UTF-8.
 *
 * Known: UTF-8 and UTF-16 (by byte order mark, UTF-8 also without), Windows-1252, GB18030. A valid
 * UTF-8 beginning is always taken as UTF-8; the others are recognised on the first
 * CM_ENCODING_PREFIX_BYTES only. What cannot be decoded becomes U+FFFD and is reported, so that the
 * record around it can be marked. Memory is constant. One thread at a time; reads block.
 */
#ifndef CM_LOADERS_ENCODING_H
#define CM_LOADERS_ENCODING_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

enum { CM_ENCODING_PREFIX_BYTES = 256 * 1024 };

enum cm_encoding {
    CM_ENCODING_UTF8,
    CM_ENCODING_UTF16LE,
    CM_ENCODING_UTF16BE,
    CM_ENCODING_WINDOWS_1252,
    CM_ENCODING_GB18030,
    CM_ENCODING_COUNT
};

const char *cm_encoding_name(enum cm_encoding encoding); /* "UTF-8"; never NULL */

/* The encoding of a text that begins with `prefix`; `whole`: nothing follows it. `mark_bytes` is
 * the length of the byte order mark, 0 where there is none. */
enum cm_encoding cm_encoding_detect(struct cm_span prefix, bool whole, size_t *mark_bytes);

struct cm_text_input;

/* A run of valid UTF-8, never empty. `replaced`: it is one U+FFFD that stands for bytes which are
 * not valid in the file's encoding. */
struct cm_text_piece {
    struct cm_span text;
    bool replaced;
};

/* "-" is standard input. CM_NOT_FOUND, CM_IO, CM_UNSUPPORTED (UTF-32, or an encoding that this
 * system cannot convert), CM_OUT_OF_MEMORY. An empty file is fine: it has no piece. */
enum cm_status cm_text_input_open(const char *path, struct cm_text_input **input,
                                  struct cm_error *error) CM_MUST_CHECK;
void cm_text_input_close(struct cm_text_input *input);

/* The next piece, valid until the next call; CM_END at the end of the file, or CM_IO. */
enum cm_status cm_text_input_read(struct cm_text_input *input, struct cm_text_piece *piece,
                                  struct cm_error *error) CM_MUST_CHECK;

/* How the text begins, without consuming it; only before the first read. Empty for an empty file.
 */
struct cm_span cm_text_input_peek(const struct cm_text_input *input);

enum cm_encoding cm_text_input_encoding(const struct cm_text_input *input);
const char *cm_text_input_name(const struct cm_text_input *input); /* the path, for messages */

#endif
