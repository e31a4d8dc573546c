/* A bounded queue of pointers between two stages of the pipeline: the producer waits while it is
 * full, the consumer while it is empty, so that a catalog of any size runs in constant memory.
 * Any number of producers and consumers. */
#ifndef CM_BASE_QUEUE_H
#define CM_BASE_QUEUE_H

#include "base/status.h"

#include <stddef.h>

struct cm_queue;

enum cm_status cm_queue_open(size_t capacity, struct cm_queue **queue) CM_MUST_CHECK;

/* Frees the queue; items still in it are the caller's to release before. NULL is fine. */
void cm_queue_close(struct cm_queue *queue);

/* Waits for room. CM_END once the queue is finished (the item is then still the caller's). */
enum cm_status cm_queue_push(struct cm_queue *queue, void *item) CM_MUST_CHECK;

/* Waits for an item. CM_END when the queue is finished and empty. */
enum cm_status cm_queue_pop(struct cm_queue *queue, void **item) CM_MUST_CHECK;

/* As pop, but CM_FULL at once when nothing is there yet. */
enum cm_status cm_queue_try_pop(struct cm_queue *queue, void **item) CM_MUST_CHECK;

/* No more pushes: waiting consumers drain the rest and then see CM_END. */
void cm_queue_finish(struct cm_queue *queue);

#endif
