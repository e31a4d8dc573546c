#include "loaders/encoding.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

enum { OUT_BYTES = 64 * 1024 };

static const iconv_t no_converter = (iconv_t)-1;
static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

struct cm_text_input {
    char *name;
    int descriptor;
    enum cm_encoding encoding;
    iconv_t converter; /* no_converter for UTF-8, which is passed through */
    uint8_t *raw;      /* [CM_ENCODING_PREFIX_BYTES] as in the file */
    size_t raw_start;
    size_t raw_end;
    bool at_end;   /* the file holds nothing beyond raw_end */
    char *decoded; /* [OUT_BYTES], only where there is a converter */
    bool has_pending;
    enum cm_status pending_status;
    struct cm_text_piece pending; /* read ahead by open, for peek */
};

const char *cm_encoding_name(enum cm_encoding encoding)
{
    static const char *const names[CM_ENCODING_COUNT] = {
        [CM_ENCODING_UTF8] = "UTF-8",       [CM_ENCODING_UTF16LE] = "UTF-16LE",
        [CM_ENCODING_UTF16BE] = "UTF-16BE", [CM_ENCODING_WINDOWS_1252] = "Windows-1252",
        [CM_ENCODING_GB18030] = "GB18030",
    };
    CM_ASSERT((unsigned)encoding < CM_ENCODING_COUNT);
    return names[encoding];
}

/* --- Detection --- */

/* Bytes that a UTF-8 sequence with this first byte should have; 1 also for invalid first bytes. */
static size_t utf8_expected_bytes(uint8_t first)
{
    return first >= 0xF0 && first <= 0xF4 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 1;
}

/* Whether the bytes are the valid beginning of a sequence that goes on behind them. */
static bool utf8_is_cut(const uint8_t *bytes, size_t length)
{
    if (length == 0 || bytes[0] > 0xF4 || length >= utf8_expected_bytes(bytes[0])) {
        return false;
    }
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return false;
        }
    }
    return true;
}

/* Length of the valid UTF-8 that the bytes begin with; `multibyte_count` adds up its characters
 * outside ASCII. */
static size_t utf8_valid_bytes(const uint8_t *bytes, size_t length, size_t *multibyte_count)
{
    size_t at = 0;
    while (at < length) {
        if (bytes[at] < 0x80) {
            at++;
            continue;
        }
        utf8proc_int32_t character;
        utf8proc_ssize_t used =
            utf8proc_iterate(bytes + at, (utf8proc_ssize_t)(length - at), &character);
        if (used <= 0) {
            break;
        }
        at += (size_t)used;
        (*multibyte_count)++;
    }
    return at;
}

/* A file in UTF-8 with a few damaged places keeps many more intact characters than broken ones. */
static bool looks_like_utf8(const uint8_t *bytes, size_t length, bool whole)
{
    enum { INTACT_PER_BROKEN = 4 };
    size_t intact = 0;
    size_t broken = 0;
    size_t at = utf8_valid_bytes(bytes, length, &intact);
    while (at < length && !(utf8_is_cut(bytes + at, length - at) && !whole)) {
        broken++;
        at++;
        at += utf8_valid_bytes(bytes + at, length - at, &intact);
    }
    return broken == 0 || intact > INTACT_PER_BROKEN * broken;
}

/* GB18030 allows almost any pair of bytes, so being well-formed says little. Real Chinese text is
 * made of the pairs of GB 2312 (hanzi, full-width letters and punctuation); Western text in
 * Windows-1252 rarely has two letters outside ASCII side by side. */
static bool looks_like_gb18030(const uint8_t *bytes, size_t length)
{
    size_t common = 0;
    size_t other = 0;
    for (size_t at = 0; at < length;) {
        size_t left = length - at;
        uint8_t first = bytes[at];
        if (first < 0x80) {
            at++;
            continue;
        }
        if (left < 2) {
            break;
        }
        uint8_t second = bytes[at + 1];
        if (first == 0x80 || first == 0xFF || second < 0x30 || second == 0x7F || second == 0xFF) {
            return false;
        }
        if (second < 0x40) {
            other++;
            at += second <= 0x39 ? 4 : 1;
            continue;
        }
        bool is_symbol = first >= 0xA1 && first <= 0xA3;
        bool is_hanzi = first >= 0xB0 && first <= 0xF7;
        if (second >= 0xA1 && (is_symbol || is_hanzi)) {
            common++;
        } else {
            other++;
        }
        at += 2;
    }
    return common > 0 && common >= 4 * other;
}

/* UTF-16 without a mark: in Latin text every other byte is zero, which no other text file has. */
static bool looks_like_utf16(const uint8_t *bytes, size_t length, enum cm_encoding *encoding)
{
    size_t zeros[2] = { 0, 0 };
    for (size_t i = 0; i < length; i++) {
        zeros[i % 2] += bytes[i] == 0;
    }
    if (length < 4 || zeros[0] + zeros[1] < length / 4) {
        return false;
    }
    *encoding = zeros[1] > zeros[0] ? CM_ENCODING_UTF16LE : CM_ENCODING_UTF16BE;
    return zeros[0] == 0 || zeros[1] == 0;
}

enum cm_encoding cm_encoding_detect(struct cm_span prefix, bool whole, size_t *mark_bytes)
{
    const uint8_t *bytes = (const uint8_t *)prefix.data;
    enum cm_encoding encoding = CM_ENCODING_UTF8;
    *mark_bytes = 0;
    if (prefix.length >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
        *mark_bytes = 3;
        return CM_ENCODING_UTF8;
    }
    if (prefix.length >= 2 &&
        (memcmp(bytes, "\xFF\xFE", 2) == 0 || memcmp(bytes, "\xFE\xFF", 2) == 0)) {
        *mark_bytes = 2;
        return bytes[0] == 0xFF ? CM_ENCODING_UTF16LE : CM_ENCODING_UTF16BE;
    }
    if (looks_like_utf16(bytes, prefix.length, &encoding) ||
        looks_like_utf8(bytes, prefix.length, whole)) {
        return encoding;
    }
    return looks_like_gb18030(bytes, prefix.length) ? CM_ENCODING_GB18030
                                                    : CM_ENCODING_WINDOWS_1252;
}

/* --- Reading --- */

/* Moves what is left to the front and reads until the buffer is full or the file ends. */
static enum cm_status fill(struct cm_text_input *input, struct cm_error *error)
{
    memmove(input->raw, input->raw + input->raw_start, input->raw_end - input->raw_start);
    input->raw_end -= input->raw_start;
    input->raw_start = 0;
    while (!input->at_end && input->raw_end < CM_ENCODING_PREFIX_BYTES) {
        ssize_t got = read(input->descriptor, input->raw + input->raw_end,
                           CM_ENCODING_PREFIX_BYTES - input->raw_end);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return cm_error_set(error, CM_IO, "%s: cannot be read: %s", input->name,
                                strerror(errno));
        }
        input->at_end = got == 0;
        input->raw_end += (size_t)got;
    }
    return CM_OK;
}

static struct cm_text_piece replace(struct cm_text_input *input, size_t invalid_bytes)
{
    size_t left = input->raw_end - input->raw_start;
    input->raw_start += invalid_bytes < left ? invalid_bytes : left;
    return (struct cm_text_piece){ { replacement, sizeof replacement - 1 }, true };
}

/* As far as the buffer goes; an empty piece asks for more bytes. */
static struct cm_text_piece pass_utf8(struct cm_text_input *input)
{
    const uint8_t *bytes = input->raw + input->raw_start;
    size_t length = input->raw_end - input->raw_start;
    size_t multibyte_count = 0;
    size_t valid = utf8_valid_bytes(bytes, length, &multibyte_count);
    if (valid > 0) {
        input->raw_start += valid;
        return (struct cm_text_piece){ { (const char *)bytes, valid }, false };
    }
    if (length == 0 || (!input->at_end && utf8_is_cut(bytes, length))) {
        return (struct cm_text_piece){ { NULL, 0 }, false };
    }
    size_t invalid = 1;
    size_t expected = utf8_expected_bytes(bytes[0]);
    while (invalid < expected && invalid < length && (bytes[invalid] & 0xC0) == 0x80) {
        invalid++;
    }
    return replace(input, invalid);
}

static struct cm_text_piece convert(struct cm_text_input *input)
{
    size_t length = input->raw_end - input->raw_start;
    if (length == 0) {
        return (struct cm_text_piece){ { NULL, 0 }, false };
    }
    char *from = (char *)input->raw + input->raw_start;
    char *to = input->decoded;
    size_t room = OUT_BYTES;
    size_t result = iconv(input->converter, &from, &length, &to, &room);
    int reason = result == (size_t)-1 ? errno : 0;
    input->raw_start = input->raw_end - length;
    if (to > input->decoded) {
        return (struct cm_text_piece){ { input->decoded, (size_t)(to - input->decoded) }, false };
    }
    if (reason == EINVAL && !input->at_end) {
        return (struct cm_text_piece){ { NULL, 0 }, false };
    }
    bool two_bytes =
        input->encoding == CM_ENCODING_UTF16LE || input->encoding == CM_ENCODING_UTF16BE;
    return replace(input, two_bytes ? 2 : 1);
}

static enum cm_status read_piece(struct cm_text_input *input, struct cm_text_piece *piece,
                                 struct cm_error *error)
{
    for (;;) {
        *piece = input->converter == no_converter ? pass_utf8(input) : convert(input);
        if (piece->text.length > 0) {
            return CM_OK;
        }
        if (input->at_end) {
            return CM_END;
        }
        enum cm_status status = fill(input, error);
        if (status != CM_OK) {
            return status;
        }
    }
}

enum cm_status cm_text_input_read(struct cm_text_input *input, struct cm_text_piece *piece,
                                  struct cm_error *error)
{
    if (!input->has_pending) {
        return read_piece(input, piece, error);
    }
    input->has_pending = false;
    *piece = input->pending;
    return input->pending_status;
}

struct cm_span cm_text_input_peek(const struct cm_text_input *input)
{
    CM_ASSERT(input->has_pending);
    return input->pending.text;
}

enum cm_encoding cm_text_input_encoding(const struct cm_text_input *input)
{
    return input->encoding;
}

const char *cm_text_input_name(const struct cm_text_input *input)
{
    return input->name;
}

/* --- Opening --- */

static enum cm_status open_descriptor(struct cm_text_input *input, const char *path,
                                      struct cm_error *error)
{
    if (strcmp(path, "-") == 0) {
        input->descriptor = STDIN_FILENO;
        return CM_OK;
    }
    input->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (input->descriptor < 0) {
        enum cm_status status = errno == ENOENT ? CM_NOT_FOUND : CM_IO;
        return cm_error_set(error, status, "%s: cannot be opened: %s", path, strerror(errno));
    }
    return CM_OK;
}

static enum cm_status open_converter(struct cm_text_input *input, struct cm_error *error)
{
    size_t length = input->raw_end - input->raw_start;
    const uint8_t *bytes = input->raw + input->raw_start;
    if (length >= 4 &&
        (memcmp(bytes, "\xFF\xFE\0\0", 4) == 0 || memcmp(bytes, "\0\0\xFE\xFF", 4) == 0)) {
        return cm_error_set(error, CM_UNSUPPORTED, "%s: is in UTF-32; save it as UTF-8",
                            input->name);
    }
    size_t mark_bytes;
    input->encoding = cm_encoding_detect((struct cm_span){ (const char *)bytes, length },
                                         input->at_end, &mark_bytes);
    input->raw_start += mark_bytes;
    if (input->encoding == CM_ENCODING_UTF8) {
        return CM_OK;
    }
    const char *from =
        input->encoding == CM_ENCODING_WINDOWS_1252 ? "CP1252" : cm_encoding_name(input->encoding);
    input->converter = iconv_open("UTF-8", from);
    if (input->converter == no_converter) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "%s: is in %s, which this system cannot convert; save it as UTF-8",
                            input->name, cm_encoding_name(input->encoding));
    }
    input->decoded = cm_alloc(OUT_BYTES, 1);
    return input->decoded == NULL
               ? cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", input->name)
               : CM_OK;
}

enum cm_status cm_text_input_open(const char *path, struct cm_text_input **input,
                                  struct cm_error *error)
{
    struct cm_text_input *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->descriptor = -1;
    opened->converter = no_converter;
    opened->name = cm_strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    opened->raw = cm_alloc(CM_ENCODING_PREFIX_BYTES, 1);
    enum cm_status status = CM_OK;
    if (opened->name == NULL || opened->raw == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    if (status == CM_OK) {
        status = open_descriptor(opened, path, error);
    }
    if (status == CM_OK) {
        status = fill(opened, error);
    }
    if (status == CM_OK) {
        status = open_converter(opened, error);
    }
    if (status == CM_OK) {
        opened->has_pending = true;
        opened->pending_status = read_piece(opened, &opened->pending, error);
        status = opened->pending_status == CM_END ? CM_OK : opened->pending_status;
    }
    if (status != CM_OK) {
        cm_text_input_close(opened);
        return status;
    }
    *input = opened;
    return CM_OK;
}

void cm_text_input_close(struct cm_text_input *input)
{
    if (input == NULL) {
        return;
    }
    if (input->converter != no_converter) {
        iconv_close(input->converter);
    }
    if (input->descriptor > STDIN_FILENO) {
        close(input->descriptor);
    }
    cm_free(input->decoded);
    cm_free(input->raw);
    cm_free(input->name);
    cm_free(input);
}
