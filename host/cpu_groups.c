#include "host/cpu_groups.h"

#include "host/engine.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Part `index` of `count` even ones, as the shares of a node's cores are cut. */
static uint32_t even_part(uint64_t whole, uint32_t index, uint32_t count)
{
    return (uint32_t)(whole * (index + 1) / count - whole * index / count);
}

/* By default what keeps every thread busy, as far as there is memory and there are texts. */
static uint64_t choose_batch(const struct cm_cpu_groups_options *options, uint32_t threads)
{
    if (options->batch > 0) {
        return options->batch;
    }
    uint64_t batch = (uint64_t)CM_GROUP_TEXTS * threads;
    batch = least(batch, most(options->texts_fit, CM_GROUP_TEXTS));
    batch = least(batch, CM_ENGINE_BATCH_MAX);
    return options->texts_max > 0 ? least(batch, options->texts_max) : batch;
}

void cm_cpu_groups_plan(const struct cm_cpu_groups_options *options, struct cm_cpu_groups *groups)
{
    uint32_t threads = 0;
    for (uint32_t i = 0; i < options->nodes_count; i++) {
        threads += options->node_threads[i];
    }
    uint64_t batch = choose_batch(options, threads);
    /* Weights in the memory of each node are worth smaller groups, but not too small for beams. */
    uint32_t nodes_count = options->nodes_count;
    if (batch < (uint64_t)CM_BEAMS_MAX * nodes_count) {
        nodes_count = 1;
    }
    uint64_t groups_wanted = least(batch, options->texts_fit) / CM_GROUP_TEXTS_MIN;
    uint64_t groups_per_node =
        least(most(groups_wanted / nodes_count, 1), CM_CPU_GROUPS_MAX / nodes_count);
    groups->count = 0;
    for (uint32_t i = 0; i < nodes_count; i++) {
        uint32_t node_threads = nodes_count == 1 ? threads : options->node_threads[i];
        uint32_t shares = (uint32_t)least(groups_per_node, node_threads);
        for (uint32_t j = 0; j < shares; j++) {
            groups->groups[groups->count++] = (struct cm_cpu_group){
                .node = nodes_count == 1 ? 0 : i + 1,
                .share = j,
                .shares = shares,
                .threads = even_part(node_threads, j, shares),
            };
        }
    }
    for (uint32_t i = 0; i < groups->count; i++) {
        groups->groups[i].batch = even_part(batch, i, groups->count);
    }
}
