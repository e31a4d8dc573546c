/* Several replicas as one engine: a queue of requests and a thread for each replica.
 *
 * Replicas take whole units (requests with the same `unit`, relatives that share a prompt) from the
 * queue when they have room, so a fast device takes more. A replica whose device fails is put
 * aside: what it had not finished goes back to the front of the queue and the others go on. A
 * request under which CM_FLEET_LOSSES_MAX devices were lost ends with CM_FINISH_LOST.
 *
 * One thread calls these functions; they are those of engine.h. */
#ifndef CM_HOST_FLEET_H
#define CM_HOST_FLEET_H

#include "base/status.h"
#include "host/engine.h"
#include "host/replica.h"

enum { CM_FLEET_LOSSES_MAX = 2 };

struct cm_fleet;

/* Takes over the replicas, also when it fails. */
enum cm_status cm_fleet_open(struct cm_replica *const *replicas, uint32_t replicas_count,
                             struct cm_fleet **fleet, struct cm_error *error) CM_MUST_CHECK;
void cm_fleet_close(struct cm_fleet *fleet); /* NULL is fine */

enum cm_status cm_fleet_submit(struct cm_fleet *fleet, const struct cm_request *request,
                               struct cm_error *error) CM_MUST_CHECK;

/* Waits a little for something to be finished. CM_END: nothing is left to compute.
 * CM_DEVICE_FAILED: all devices are lost. */
enum cm_status cm_fleet_step(struct cm_fleet *fleet, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_fleet_finished(struct cm_fleet *fleet, struct cm_result *result) CM_MUST_CHECK;
enum cm_status cm_fleet_beam(struct cm_fleet *fleet, uint64_t id, uint32_t index,
                             struct cm_beam *beam) CM_MUST_CHECK;
void cm_fleet_release(struct cm_fleet *fleet, uint64_t id);
enum cm_status cm_fleet_retry(struct cm_fleet *fleet, uint64_t id, const struct cm_retry *retry,
                              struct cm_error *error) CM_MUST_CHECK;
void cm_fleet_counters(struct cm_fleet *fleet, struct cm_engine_counters *counters);

#endif
