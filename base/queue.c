#include "base/queue.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdbool.h>

struct cm_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    void **items; /* ring of `capacity` */
    size_t capacity;
    size_t first;
    size_t items_count;
    bool finished;
};

enum cm_status cm_queue_open(size_t capacity, struct cm_queue **queue)
{
    CM_ASSERT(capacity > 0);
    struct cm_queue *opened = cm_alloc(1, sizeof *opened);
    void **items = cm_alloc(capacity, sizeof *items);
    if (opened == NULL || items == NULL) {
        cm_free(opened);
        cm_free(items);
        return CM_OUT_OF_MEMORY;
    }
    opened->items = items;
    opened->capacity = capacity;
    pthread_mutex_init(&opened->lock, NULL);
    pthread_cond_init(&opened->not_empty, NULL);
    pthread_cond_init(&opened->not_full, NULL);
    *queue = opened;
    return CM_OK;
}

void cm_queue_close(struct cm_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    pthread_cond_destroy(&queue->not_full);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    cm_free(queue->items);
    cm_free(queue);
}

enum cm_status cm_queue_push(struct cm_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->items_count == queue->capacity && !queue->finished) {
        pthread_cond_wait(&queue->not_full, &queue->lock);
    }
    bool accepted = !queue->finished;
    if (accepted) {
        queue->items[(queue->first + queue->items_count) % queue->capacity] = item;
        queue->items_count++;
        pthread_cond_signal(&queue->not_empty);
    }
    pthread_mutex_unlock(&queue->lock);
    return accepted ? CM_OK : CM_END;
}

/* With the lock held and an item present. */
static void take(struct cm_queue *queue, void **item)
{
    *item = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->items_count--;
    pthread_cond_signal(&queue->not_full);
}

enum cm_status cm_queue_pop(struct cm_queue *queue, void **item)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->items_count == 0 && !queue->finished) {
        pthread_cond_wait(&queue->not_empty, &queue->lock);
    }
    enum cm_status status = queue->items_count > 0 ? CM_OK : CM_END;
    if (status == CM_OK) {
        take(queue, item);
    }
    pthread_mutex_unlock(&queue->lock);
    return status;
}

enum cm_status cm_queue_try_pop(struct cm_queue *queue, void **item)
{
    pthread_mutex_lock(&queue->lock);
    enum cm_status status = CM_FULL;
    if (queue->items_count > 0) {
        take(queue, item);
        status = CM_OK;
    } else if (queue->finished) {
        status = CM_END;
    }
    pthread_mutex_unlock(&queue->lock);
    return status;
}

void cm_queue_finish(struct cm_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->finished = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}
