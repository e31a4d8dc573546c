/* A few tokens with weights: a heap in the order of tokens (falling weight, ties by lower id), and
 * the selection of the k-th largest of some values. */
#ifndef CM_KERNELS_CPU_CANDIDATES_H
#define CM_KERNELS_CPU_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>

enum { CM_CANDIDATES_MAX = 2048 };

struct cm_candidate {
    float weight;
    uint32_t id;
};

/* A max-heap in the order of tokens; what was popped stands after it, best last. */
struct cm_candidates {
    struct cm_candidate items[CM_CANDIDATES_MAX];
    uint32_t count; /* still in the heap */
};

static inline bool cm_candidate_comes_before(struct cm_candidate a, struct cm_candidate b)
{
    return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

static inline void cm_candidates_sift_down(struct cm_candidates *heap, uint32_t at)
{
    struct cm_candidate moved = heap->items[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            cm_candidate_comes_before(heap->items[child + 1], heap->items[child])) {
            child++;
        }
        if (!cm_candidate_comes_before(heap->items[child], moved)) {
            break;
        }
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = moved;
}

static inline void cm_candidates_heapify(struct cm_candidates *heap)
{
    for (uint32_t i = heap->count / 2; i-- > 0;) {
        cm_candidates_sift_down(heap, i);
    }
}

/* The next in the order, which moves behind the heap. The heap must not be empty. */
static inline struct cm_candidate cm_candidates_pop(struct cm_candidates *heap)
{
    struct cm_candidate best = heap->items[0];
    heap->count--;
    heap->items[0] = heap->items[heap->count];
    heap->items[heap->count] = best;
    if (heap->count > 0) {
        cm_candidates_sift_down(heap, 0);
    }
    return best;
}

/* The k-th largest of values[n], which is reordered; 1 <= k <= n. Hoare's selection. */
static inline float cm_select_largest(float *values, uint32_t n, uint32_t k)
{
    int64_t low = 0;
    int64_t high = (int64_t)n - 1;
    while (low < high) {
        float pivot = values[low + (high - low) / 2];
        int64_t i = low;
        int64_t j = high;
        while (i <= j) {
            while (values[i] > pivot) {
                i++;
            }
            while (values[j] < pivot) {
                j--;
            }
            if (i <= j) {
                float swapped = values[i];
                values[i++] = values[j];
                values[j--] = swapped;
            }
        }
        if ((int64_t)k - 1 <= j) {
            high = j;
        } else if ((int64_t)k - 1 >= i) {
            low = i;
        } else {
            break;
        }
    }
    return values[k - 1];
}

#endif
