/* The SQL function `contains(text, needle)`: whether the text holds the needle, letters of either
 * case being the same. Own code because SQLite's LIKE knows the case of ASCII letters only and
 * gives
 * "%" and "_" a meaning. The needle has to be in lower case already. */
#include "jobs/ledger_sqlite.h"

#include "base/memory.h"
#include "base/text.h"

#include <string.h>
#include <utf8proc.h>

enum { ASCII_END = 0x80 };

static unsigned char fold_byte(unsigned char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + ('a' - 'A')) : byte;
}

/* Whether the text at `at` goes on like the needle. */
static bool matches(const unsigned char *at, const unsigned char *end, const unsigned char *needle,
                    const unsigned char *needle_end)
{
    while (needle < needle_end) {
        utf8proc_int32_t wanted;
        utf8proc_int32_t found;
        if (at == end) {
            return false;
        }
        if (*needle < ASCII_END) {
            if (fold_byte(*at) != *needle) {
                return false;
            }
            at++;
            needle++;
            continue;
        }
        utf8proc_ssize_t wanted_bytes = utf8proc_iterate(needle, needle_end - needle, &wanted);
        utf8proc_ssize_t found_bytes = utf8proc_iterate(at, end - at, &found);
        if (wanted_bytes <= 0 || found_bytes <= 0 || utf8proc_tolower(found) != wanted) {
            return false;
        }
        needle += wanted_bytes;
        at += found_bytes;
    }
    return true;
}

static bool contains(struct cm_span text, struct cm_span needle)
{
    const unsigned char *at = (const unsigned char *)text.data;
    const unsigned char *end = at + text.length;
    const unsigned char *wanted = (const unsigned char *)needle.data;
    if (needle.length == 0) {
        return true;
    }
    unsigned char lower = wanted[0];
    unsigned char upper = lower >= 'a' && lower <= 'z' ? (unsigned char)(lower - 'a' + 'A') : lower;
    /* Another case of a character outside ASCII may begin with another byte. */
    bool any_lead = lower >= ASCII_END;
    for (; at < end; at++) {
        bool begins = *at == lower || *at == upper || (any_lead && *at >= 0xC0);
        if (begins && matches(at, end, wanted, wanted + needle.length)) {
            return true;
        }
    }
    return false;
}

static struct cm_span span_of(sqlite3_value *value)
{
    const char *text = (const char *)sqlite3_value_text(value);
    return (struct cm_span){ text, text != NULL ? (size_t)sqlite3_value_bytes(value) : 0 };
}

static void call_contains(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    struct cm_span text = span_of(values[0]);
    struct cm_span needle = span_of(values[1]);
    sqlite3_result_int(context, text.length >= needle.length && contains(text, needle));
}

enum cm_status cm_sqlite_add_search(struct cm_ledger *ledger, struct cm_error *error)
{
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY;
    int outcome = sqlite3_create_function_v2(ledger->database, "contains", 2, flags, NULL,
                                             call_contains, NULL, NULL, NULL);
    return outcome == SQLITE_OK ? CM_OK : cm_sqlite_breaks(ledger, error);
}

char *cm_sqlite_needle(const char *search)
{
    size_t length = strlen(search);
    struct cm_text needle = CM_TEXT_INIT(4 * length + 4);
    enum cm_status status = CM_OK;
    for (size_t at = 0; status == CM_OK && at < length;) {
        utf8proc_int32_t character;
        utf8proc_uint8_t lower[4];
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)search + at,
                                                  (utf8proc_ssize_t)(length - at), &character);
        if (bytes <= 0) { /* no UTF-8: looked for as it is, and not found */
            status = cm_text_append_char(&needle, search[at++]);
            continue;
        }
        utf8proc_ssize_t lower_bytes = utf8proc_encode_char(utf8proc_tolower(character), lower);
        status = cm_text_append(&needle, (const char *)lower, (size_t)lower_bytes);
        at += (size_t)bytes;
    }
    char *copy = status == CM_OK ? cm_strdup(cm_text_string(&needle)) : NULL;
    cm_text_deinit(&needle);
    return copy;
}
