#include "host/merge_queue.h"

#include "base/memory.h"

#include <stdbool.h>

/* A pair that could be joined. One of its symbols may have grown since; then it no longer covers as
 * many bytes as it did. */
struct cm_merge_candidate {
    uint32_t rank;
    uint32_t at; /* the left symbol */
    uint32_t bytes;
    int32_t joined;
};

struct run {
    struct cm_merge_queue *queue;
    cm_merge_find *find;
    const void *context;
};

void cm_merge_queue_deinit(struct cm_merge_queue *queue)
{
    cm_free(queue->symbols);
    cm_free(queue->heap);
    *queue = (struct cm_merge_queue){ 0 };
}

enum cm_status cm_merge_queue_reserve(struct cm_merge_queue *queue, size_t count)
{
    if (count <= queue->symbols_capacity) {
        return CM_OK;
    }
    void *block = queue->symbols;
    enum cm_status status =
        cm_grow(&block, &queue->symbols_capacity, count, sizeof *queue->symbols);
    queue->symbols = block;
    return status;
}

static bool comes_before(const struct cm_merge_candidate *a, const struct cm_merge_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static enum cm_status push(struct cm_merge_queue *queue, struct cm_merge_candidate pushed)
{
    if (queue->heap_count == queue->heap_capacity) {
        void *block = queue->heap;
        enum cm_status status =
            cm_grow(&block, &queue->heap_capacity, queue->heap_count + 1, sizeof *queue->heap);
        queue->heap = block;
        if (status != CM_OK) {
            return status;
        }
    }
    struct cm_merge_candidate *heap = queue->heap;
    size_t i = queue->heap_count++;
    while (i > 0 && comes_before(&pushed, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = pushed;
    return CM_OK;
}

static struct cm_merge_candidate pop(struct cm_merge_queue *queue)
{
    struct cm_merge_candidate *heap = queue->heap;
    struct cm_merge_candidate top = heap[0];
    struct cm_merge_candidate last = heap[--queue->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= queue->heap_count) {
            break;
        }
        if (child + 1 < queue->heap_count && comes_before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!comes_before(&heap[child], &last)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Queues the pair that begins at symbol `at`, if there is one to join. */
static enum cm_status push_pair(const struct run *run, uint32_t at)
{
    const struct cm_symbol *symbols = run->queue->symbols;
    if (at == CM_NO_SYMBOL || symbols[at].after == CM_NO_SYMBOL) {
        return CM_OK;
    }
    const struct cm_symbol *left = &symbols[at];
    const struct cm_symbol *right = &symbols[left->after];
    struct cm_merge merge = run->find(run->context, left, right);
    if (merge.rank == CM_NO_RANK) {
        return CM_OK;
    }
    return push(run->queue, (struct cm_merge_candidate){ merge.rank, at, left->bytes + right->bytes,
                                                         merge.joined });
}

/* Joins the pair if it still stands; CM_OK either way. */
static enum cm_status join_pair(const struct run *run, const struct cm_merge_candidate *pair)
{
    struct cm_symbol *symbols = run->queue->symbols;
    struct cm_symbol *left = &symbols[pair->at];
    if (left->bytes == 0 || left->after == CM_NO_SYMBOL ||
        left->bytes + symbols[left->after].bytes != pair->bytes) {
        return CM_OK;
    }
    struct cm_symbol *right = &symbols[left->after];
    left->id = pair->joined;
    left->bytes = pair->bytes;
    left->after = right->after;
    right->bytes = 0;
    if (left->after != CM_NO_SYMBOL) {
        symbols[left->after].before = pair->at;
    }
    enum cm_status status = push_pair(run, left->before);
    return status == CM_OK ? push_pair(run, pair->at) : status;
}

enum cm_status cm_merge_queue_run(struct cm_merge_queue *queue, uint32_t count, cm_merge_find *find,
                                  const void *context)
{
    struct run run = { queue, find, context };
    enum cm_status status = CM_OK;
    queue->heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        queue->symbols[i].before = i == 0 ? CM_NO_SYMBOL : i - 1;
        queue->symbols[i].after = i + 1 == count ? CM_NO_SYMBOL : i + 1;
    }
    for (uint32_t i = 0; i < count && status == CM_OK; i++) {
        status = push_pair(&run, i);
    }
    while (queue->heap_count > 0 && status == CM_OK) {
        struct cm_merge_candidate pair = pop(queue);
        status = join_pair(&run, &pair);
    }
    return status;
}
