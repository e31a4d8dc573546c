/* The review page over HTTP, on 127.0.0.1 only: the page's own files, which are part of the binary,
 * and the questions of review_api.h under /api/.
 *
 * One thread of its own answers everything, one request after the other: answers take milliseconds,
 * and the ledger has one writer. Bodies, headers, connections and idle time are bounded. */
#ifndef CM_JOBS_REVIEW_REVIEW_SERVER_H
#define CM_JOBS_REVIEW_REVIEW_SERVER_H

#include "jobs/review/review_api.h"
#include "jobs/review/review_gate.h"

struct cm_review_server;

/* `port` 0: any that is free. `review` is borrowed. CM_ALREADY_EXISTS: the port is taken. CM_IO,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_review_server_open(const struct cm_review *review, uint16_t port,
                                     struct cm_review_server **server,
                                     struct cm_error *error) CM_MUST_CHECK;
void cm_review_server_close(struct cm_review_server *server); /* NULL is fine */

const struct cm_review_gate *cm_review_server_gate(const struct cm_review_server *server);

/* Whether the ledger failed, so that the server only refuses; `error` gets what was wrong. */
bool cm_review_server_failed(const struct cm_review_server *server, struct cm_error *error);

#endif
