/* What --stop, --ban and --fact-lock and the length budget ask of the engine: compiled once for the
 * job, and a lock for the facts of each item. Attempts after one that scored too low are held more
 * strictly: they cannot write the terms that the judge finds grave. Opened and asked by the thread
 * that makes rows; the constraints themselves may be handed on. */
#ifndef CM_JOBS_CONTROLS_H
#define CM_JOBS_CONTROLS_H

#include "base/hash.h"
#include "base/status.h"
#include "host/engine.h"
#include "jobs/content/channel.h"
#include "jobs/fact_numbers.h"
#include "jobs/run_options.h"

struct cm_controls;

/* Errors of the ban list. `forbidden` are the words of strict attempts, one a line. `options`,
 * `channel` and `tokenizer` must outlive the controls. */
enum cm_status cm_controls_open(const struct cm_run_options *options,
                                const struct cm_channel *channel,
                                const struct cm_tokenizer *tokenizer, struct cm_span forbidden,
                                struct cm_controls **controls,
                                struct cm_error *error) CM_MUST_CHECK;
void cm_controls_close(struct cm_controls *controls);

/* Adds everything that changes which texts are possible. */
void cm_controls_hash(const struct cm_controls *controls, struct cm_hash *hash);

/* The lock of a row's facts; NULL in *lock where --fact-lock is off. The caller releases it. */
enum cm_status cm_controls_lock_facts(const struct cm_controls *controls,
                                      const struct cm_fact_sources *sources,
                                      struct cm_constraint **lock) CM_MUST_CHECK;

/* Fills constraints, stop strings and closing of a request in `language`; `lock` may be NULL.
 * `is_strict` only where --attempts allows more than one. */
void cm_controls_apply(const struct cm_controls *controls, const char *language, bool is_strict,
                       struct cm_constraint *lock, struct cm_request *request);

#endif
