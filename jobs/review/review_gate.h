/* Who may ask the review page for anything. The page is for people at this machine, so everything
 * that another web page could make a browser send is refused:
 *
 *   Host     one of the page's own names: a foreign name that was pointed at 127.0.0.1 is no way in
 *   Origin   the page's own, where the browser names one, and always for what changes something
 *   session  a cookie, got for the key in the address that the program printed; SameSite=Strict
 *   CSRF     for what changes something, a header with a token that only the page can read
 */
#ifndef CM_JOBS_REVIEW_REVIEW_GATE_H
#define CM_JOBS_REVIEW_REVIEW_GATE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM_REVIEW_TOKEN_BYTES = 33 }; /* 128 random bits in hex, and a NUL */

struct cm_review_gate {
    uint16_t port;
    char key[CM_REVIEW_TOKEN_BYTES];     /* in the printed address */
    char session[CM_REVIEW_TOKEN_BYTES]; /* in the cookie */
    char csrf[CM_REVIEW_TOKEN_BYTES];
};

/* Fills the tokens. CM_IO: the system gives no random bytes. */
enum cm_status cm_review_gate_init(struct cm_review_gate *gate,
                                   struct cm_error *error) CM_MUST_CHECK;

/* The headers of a request; NULL: not sent. */
struct cm_review_headers {
    const char *host;
    const char *origin;
    const char *fetch_site; /* Sec-Fetch-Site */
    const char *session;    /* the cookie */
    const char *csrf;       /* X-CSRF-Token */
    const char *key;        /* of the address */
    bool changes;           /* a POST */
};

enum cm_review_verdict {
    CM_REVIEW_LET_IN,
    CM_REVIEW_NEW_SESSION, /* the key is right: give the cookie, and send on to the plain address */
    CM_REVIEW_WRONG_HOST,
    CM_REVIEW_WRONG_ORIGIN,
    CM_REVIEW_NO_SESSION,
    CM_REVIEW_WRONG_CSRF,
};

enum cm_review_verdict cm_review_gate_judge(const struct cm_review_gate *gate,
                                            const struct cm_review_headers *headers);

/* "copymill_review_8377": cookies know no ports, so the name does. */
void cm_review_gate_cookie(const struct cm_review_gate *gate, char name[40]);

#endif
