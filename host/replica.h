/* One copy of the model on one device, or on several that compute it together (ranks.h), with its
 * KV pages and its order of work: what an engine is on a machine with one device. Its functions are
 * those of engine.h.
 *
 * Threads: submit and step belong to one thread; the others may be called from another meanwhile.
 */
#ifndef CM_HOST_REPLICA_H
#define CM_HOST_REPLICA_H

#include "base/status.h"
#include "host/device.h"
#include "host/engine.h"
#include "loaders/model_file.h"

struct cm_replica;

/* Packs the model's weights for the devices, as many as options->tp, and reserves all memory.
 * `owner`, unless NULL, is a replica on the same NUMA node of the CPU whose weights this one shares
 * and which outlives it. `file` is needed as long as the replica (tables of the CPU are not
 * copied), `tokenizer` too.
 * Errors as cm_engine_open. */
enum cm_status cm_replica_open(struct cm_model_file *file, const struct cm_tokenizer *tokenizer,
                               const struct cm_device_choice *devices,
                               const struct cm_replica *owner,
                               const struct cm_engine_options *options, struct cm_replica **replica,
                               struct cm_error *error) CM_MUST_CHECK;
void cm_replica_close(struct cm_replica *replica); /* NULL is fine */

void cm_replica_info(const struct cm_replica *replica, struct cm_engine_info *info);

/* Whether the replica can ever take the request; from any thread. */
enum cm_status cm_replica_check(const struct cm_replica *replica, const struct cm_request *request,
                                struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_replica_submit(struct cm_replica *replica, const struct cm_request *request,
                                 struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_replica_step(struct cm_replica *replica, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_replica_finished(struct cm_replica *replica,
                                   struct cm_result *result) CM_MUST_CHECK;
enum cm_status cm_replica_beam(struct cm_replica *replica, uint64_t id, uint32_t index,
                               struct cm_beam *beam) CM_MUST_CHECK;
void cm_replica_release(struct cm_replica *replica, uint64_t id);
enum cm_status cm_replica_retry(struct cm_replica *replica, uint64_t id,
                                const struct cm_retry *retry, struct cm_error *error) CM_MUST_CHECK;
void cm_replica_counters(struct cm_replica *replica, struct cm_engine_counters *counters);
/* Of the CPU with so many threads, of another device as it is. */
void cm_replica_measure_limits(struct cm_replica *replica, uint32_t threads, bool bandwidth,
                               struct cm_engine_limits *limits);
enum cm_status cm_replica_logits(struct cm_replica *replica, const int32_t *tokens,
                                 uint32_t tokens_count, uint32_t chunk_tokens,
                                 uint32_t shared_tokens, float *logits,
                                 struct cm_error *error) CM_MUST_CHECK;

#endif
