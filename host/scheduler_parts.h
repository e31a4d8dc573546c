/* What the two files of the scheduler share: scheduler.c, which keeps the lists of requests and
 * ends steps, and scheduler_plan.c, which admits requests and lays steps out. Private to them. */
#ifndef CM_HOST_SCHEDULER_PARTS_H
#define CM_HOST_SCHEDULER_PARTS_H

#include "host/scheduler.h"

/* Copies of a step: a request settles at most two donors, and a beam gets one page of its own. */
enum { COPIES_PER_TEXT = 2 };

struct cm_scheduler_wave {
    bool in_flight;                 /* its step is planned and not complete */
    uint32_t texts;                 /* of its requests in flight, every beam counted */
    uint64_t unit;                  /* of the request that joined last */
    struct cm_step_sequence *rows;  /* [batch] */
    struct cm_sequence **sequences; /* [batch] */
    uint32_t *branches;             /* [batch] */
    struct cm_page_copy *copies;    /* [COPIES_PER_TEXT * batch] */
    int32_t *discarded;             /* [pages] */
};

struct cm_scheduler {
    struct cm_scheduler_options options;
    struct cm_kv_pages *pages;
    struct cm_prefix_tree *tree;
    struct cm_sequence_list waiting;  /* first come, first served; retries go to the front */
    struct cm_sequence_list active;   /* in order of admission */
    uint32_t active_texts;            /* of those active, every beam counted */
    struct cm_sequence_list finished; /* in order of ending */
    struct cm_sequence_list taken;

    /* The last submitted prompt stays referenced, so that a producer slower than the engine does
     * not lose what the next prompt shares with it. */
    struct cm_node **recent_path;
    uint32_t recent_length;

    uint32_t stop_tokens_count;
    struct cm_scheduler_wave waves[CM_WAVES_MAX];

    uint64_t prompt_tokens;
    uint64_t output_tokens;
    uint64_t shared_tokens;
    uint64_t copied_tokens;
};

static inline uint32_t min_count(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

#endif
