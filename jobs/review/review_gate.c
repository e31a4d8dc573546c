#include "jobs/review/review_gate.h"

#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char *const names[] = { "127.0.0.1", "localhost" };
enum { NAMES_COUNT = sizeof names / sizeof names[0], ADDRESS_BYTES = 64 };

static enum cm_status make_token(char token[CM_REVIEW_TOKEN_BYTES], struct cm_error *error)
{
    uint8_t bytes[(CM_REVIEW_TOKEN_BYTES - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        return cm_error_set(error, CM_IO, "the system gives no random bytes: %s", strerror(errno));
    }
    cm_hex(bytes, sizeof bytes, token);
    return CM_OK;
}

enum cm_status cm_review_gate_init(struct cm_review_gate *gate, struct cm_error *error)
{
    enum cm_status status = make_token(gate->key, error);
    if (status == CM_OK) {
        status = make_token(gate->session, error);
    }
    return status == CM_OK ? make_token(gate->csrf, error) : status;
}

/* In a time that does not depend on where they differ. */
static bool same_token(const char *given, const char token[CM_REVIEW_TOKEN_BYTES])
{
    unsigned char difference = 0;
    if (given == NULL || strlen(given) != CM_REVIEW_TOKEN_BYTES - 1) {
        return false;
    }
    for (size_t i = 0; i < CM_REVIEW_TOKEN_BYTES - 1; i++) {
        difference |= (unsigned char)(given[i] ^ token[i]);
    }
    return difference == 0;
}

/* Whether `given` is `scheme` and one of our names with our port. */
static bool is_ours(const struct cm_review_gate *gate, const char *scheme, const char *given)
{
    for (size_t i = 0; given != NULL && i < NAMES_COUNT; i++) {
        char address[ADDRESS_BYTES];
        snprintf(address, sizeof address, "%s%s:%u", scheme, names[i], gate->port);
        if (strcmp(given, address) == 0) {
            return true;
        }
    }
    return false;
}

enum cm_review_verdict cm_review_gate_judge(const struct cm_review_gate *gate,
                                            const struct cm_review_headers *headers)
{
    if (!is_ours(gate, "", headers->host)) {
        return CM_REVIEW_WRONG_HOST;
    }
    bool origin_fits =
        headers->origin != NULL ? is_ours(gate, "http://", headers->origin) : !headers->changes;
    if (!origin_fits) {
        return CM_REVIEW_WRONG_ORIGIN;
    }
    /* A link from elsewhere may open the page with the key; nothing else comes from elsewhere. */
    const char *site = headers->fetch_site;
    bool site_fits = site == NULL || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    if (!headers->changes && same_token(headers->key, gate->key)) {
        return CM_REVIEW_NEW_SESSION;
    }
    if (!site_fits) {
        return CM_REVIEW_WRONG_ORIGIN;
    }
    if (!same_token(headers->session, gate->session)) {
        return CM_REVIEW_NO_SESSION;
    }
    if (headers->changes && !same_token(headers->csrf, gate->csrf)) {
        return CM_REVIEW_WRONG_CSRF;
    }
    return CM_REVIEW_LET_IN;
}

void cm_review_gate_cookie(const struct cm_review_gate *gate, char name[40])
{
    snprintf(name, 40, "copymill_review_%u", gate->port);
}
