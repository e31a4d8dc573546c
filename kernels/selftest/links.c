/* What devices are to each other: collectives with known answers, and how fast they and the links
 * are. Each rank of a group has a thread of its own, as in the engine. */
#include "kernels/selftest/selftest.h"

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/comm.h"
#include "kernels/selftest/trial.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if defined(COPYMILL_CUDA)
#include "kernels/cuda/selftest.h"
#endif

enum {
    CALLS = 10,
    FLOATS_MAX = 16 << 20,     /* of the timed all-reduce */
    FLOATS_MAX_SLOW = 1 << 16, /* on the CPU and the emulated device */
    LINK_BYTES = 256 << 20,    /* of a copy from device to device */
    LINK_BYTES_SLOW = 1 << 20,
    CPU_RANKS = 2,
};

/* Of one message: a few, whole pieces and more, and the one that is timed. */
static const size_t counts[] = { 1, 5, 4096, (1 << 20) + 3 };
enum { COUNTS_COUNT = sizeof counts / sizeof counts[0] };

struct group {
    struct cm_backend *backends[CM_COMM_RANKS_MAX];
    uint32_t count;
    struct cm_comm *comm;
    size_t timed_floats;
};

static bool is_slow(enum cm_device device)
{
    return device == CM_DEVICE_CPU || cm_selftest_is_emulated(device);
}

/* --- One rank --- */

struct rank {
    pthread_t thread;
    const struct group *group;
    uint32_t index;
    size_t wrong_count; /* elements that are not what they should be */
    double reduce_s;    /* of one all-reduce of timed_floats */
    bool failed;
};

/* Whole numbers, whose sum over all ranks float32 holds. */
static float part_of(uint32_t rank, size_t i)
{
    return (float)((rank + 1) * (i % 1000)) - 300.0f;
}

static float sum_of(uint32_t ranks_count, size_t i)
{
    return (float)((ranks_count + 1) * ranks_count / 2 * (i % 1000)) - 300.0f * (float)ranks_count;
}

static size_t count_wrong_sums(struct rank *rank, size_t count, float *host)
{
    struct cm_backend *backend = rank->group->backends[rank->index];
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        host[i] = part_of(rank->index, i);
    }
    float *x = cm_backend_alloc(backend, count * sizeof *x);
    if (x == NULL) {
        rank->failed = true;
        cm_comm_fail(rank->group->comm, "no memory for the test of links");
        return 0;
    }
    cm_backend_upload(backend, x, host, count * sizeof *x);
    cm_op_all_reduce(backend, x, count);
    cm_backend_download(backend, host, x, count * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        wrong += host[i] != sum_of(rank->group->count, i);
    }
    cm_backend_free(backend, x);
    return wrong;
}

/* Two rows, of which each rank has three columns and the last one two. */
static size_t count_wrong_columns(struct rank *rank)
{
    enum { ROWS = 2, PART = 3 };
    struct cm_backend *backend = rank->group->backends[rank->index];
    const struct cm_split split = { PART, PART * rank->group->count - 1 };
    uint32_t own = rank->index + 1 < rank->group->count ? PART : PART - 1;
    float part[ROWS * PART] = { 0 };
    float whole[ROWS * PART * CM_COMM_RANKS_MAX];
    size_t wrong = 0;
    for (uint32_t i = 0; i < ROWS * own; i++) {
        part[i] = (float)(100 * (i / own) + PART * rank->index + i % own);
    }
    float *from = cm_backend_alloc(backend, sizeof part);
    float *to = cm_backend_alloc(backend, sizeof whole);
    if (from == NULL || to == NULL) {
        rank->failed = true;
        cm_comm_fail(rank->group->comm, "no memory for the test of links");
    } else {
        cm_backend_upload(backend, from, part, sizeof part);
        cm_op_gather_columns(backend, from, ROWS, &split, to);
        cm_backend_download(backend, whole, to, ROWS * split.n_columns * sizeof *to);
        for (uint32_t i = 0; i < ROWS * split.n_columns; i++) {
            wrong += whole[i] != (float)(100 * (i / split.n_columns) + i % split.n_columns);
        }
    }
    cm_backend_free(backend, from);
    cm_backend_free(backend, to);
    return wrong;
}

/* The first call only brings the ranks together. */
static void time_reduce(struct rank *rank)
{
    struct cm_backend *backend = rank->group->backends[rank->index];
    float word;
    float *x = cm_backend_alloc(backend, rank->group->timed_floats * sizeof *x);
    if (x == NULL) {
        rank->failed = true;
        cm_comm_fail(rank->group->comm, "no memory for the test of links");
        return;
    }
    cm_op_all_reduce(backend, x, rank->group->timed_floats);
    cm_backend_download(backend, &word, x, sizeof word);
    double start_s = cm_clock_s();
    for (int i = 0; i < CALLS; i++) {
        cm_op_all_reduce(backend, x, rank->group->timed_floats);
    }
    cm_backend_download(backend, &word, x, sizeof word);
    rank->reduce_s = (cm_clock_s() - start_s) / CALLS;
    cm_backend_free(backend, x);
}

static void *run_rank(void *context)
{
    struct rank *rank = context;
    float *host = cm_alloc(counts[COUNTS_COUNT - 1], sizeof *host);
    if (host == NULL) {
        rank->failed = true;
        cm_comm_fail(rank->group->comm, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < COUNTS_COUNT && !rank->failed; i++) {
        rank->wrong_count += count_wrong_sums(rank, counts[i], host);
    }
    if (!rank->failed) {
        rank->wrong_count += count_wrong_columns(rank);
    }
    if (!rank->failed) {
        time_reduce(rank);
    }
    cm_free(host);
    return NULL;
}

/* --- A group --- */

static enum cm_status open_group(const struct cm_selftest_links *links, struct group *group,
                                 struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (; group->count < links->count && status == CM_OK; group->count++) {
        const struct cm_backend_options options = { .precision = CM_PRECISION_EXACT,
                                                    .threads = 1,
                                                    .rows_max = 1,
                                                    .device = links->device,
                                                    .device_index = links->indices[group->count] };
        status = cm_backend_open(&options, &group->backends[group->count], error);
    }
    return status == CM_OK ? cm_comm_open(group->backends, group->count, &group->comm, error)
                           : status;
}

static void close_group(struct group *group)
{
    cm_comm_close(group->comm);
    for (uint32_t i = 0; i < group->count; i++) {
        cm_backend_close(group->backends[i]);
    }
}

static size_t run_group(struct group *group, struct rank *ranks)
{
    size_t wrong_count = 0;
    uint32_t started = 0;
    for (; started < group->count; started++) {
        ranks[started] = (struct rank){ .group = group, .index = started };
        if (pthread_create(&ranks[started].thread, NULL, run_rank, &ranks[started]) != 0) {
            cm_comm_fail(group->comm, "no more threads");
            break;
        }
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(ranks[i].thread, NULL);
        wrong_count += ranks[i].wrong_count;
    }
    return wrong_count;
}

/* What each device takes in: of two NCCL's exchange, of more all parts of the others (comm.h). */
static void describe_group(const struct group *group, const struct rank *ranks,
                           struct cm_selftest_answer *answer)
{
    double bytes = (double)group->timed_floats * sizeof(float);
    double in_gbs = bytes * (group->count - 1) / ranks[0].reduce_s * 1e-9;
    snprintf(answer->detail, sizeof answer->detail,
             "sums and columns as they should be; %.1f MiB in %.0f us, each device takes in %.1f "
             "GB/s",
             bytes / 0x1p20, ranks[0].reduce_s * 1e6, in_gbs);
}

static void test_group(const struct cm_selftest_links *links, const char *name,
                       const struct cm_trial_stand *stand)
{
    struct group group = { .timed_floats = is_slow(links->device) ? FLOATS_MAX_SLOW : FLOATS_MAX };
    struct rank ranks[CM_COMM_RANKS_MAX];
    struct cm_selftest_answer answer = { .group = "link", .name = name };
    struct cm_error error = { 0 };
    enum cm_status status = open_group(links, &group, &error);
    size_t wrong_count = status == CM_OK ? run_group(&group, ranks) : 0;
    for (uint32_t i = 0; i < group.count && status == CM_OK; i++) {
        status = cm_backend_status(group.backends[i], &error);
    }
    if (status != CM_OK) {
        answer.outcome = CM_SELFTEST_FAILED;
        snprintf(answer.detail, sizeof answer.detail, "%.250s", error.message);
    } else if (wrong_count > 0) {
        answer.outcome = CM_SELFTEST_FAILED;
        snprintf(answer.detail, sizeof answer.detail,
                 "%zu elements of sums and columns are not what they should be", wrong_count);
    } else {
        describe_group(&group, ranks, &answer);
    }
    stand->sink(stand->context, &answer);
    close_group(&group);
}

/* --- Pairs --- */

#if defined(COPYMILL_CUDA)
static void test_pair(const struct cm_selftest_links *links, uint32_t i, uint32_t j,
                      const struct cm_trial_stand *stand)
{
    char name[48];
    struct cm_cuda_link link;
    struct cm_selftest_answer answer = { .group = "link", .name = name };
    snprintf(name, sizeof name, "cuda:%u, cuda:%u", links->indices[i], links->indices[j]);
    cm_cuda_measure_link(links->indices[i], links->indices[j],
                         is_slow(links->device) ? LINK_BYTES_SLOW : LINK_BYTES, &link);
    if (link.failure[0] != '\0') {
        answer.outcome = CM_SELFTEST_FAILED;
        snprintf(answer.detail, sizeof answer.detail, "%s", link.failure);
    } else {
        snprintf(answer.detail, sizeof answer.detail, "%.1f GB/s there, %.1f GB/s back, %s",
                 link.there_gbs, link.back_gbs,
                 link.has_peer_access ? "from memory to memory"
                                      : "by way of the host: they cannot reach each other");
    }
    stand->sink(stand->context, &answer);
}
#endif

/* --- All --- */

void cm_selftest_test_links(const struct cm_selftest_links *links, const char *only,
                            cm_selftest_sink *sink, void *context)
{
    const struct cm_trial_stand stand = { .only = only, .sink = sink, .context = context };
    struct cm_selftest_links own = *links;
    char name[64];
    if (!cm_trial_is_wanted(&stand, "link", "all-reduce")) {
        return;
    }
    if (links->device == CM_DEVICE_CPU) {
        own.count = CPU_RANKS; /* threads of the processor stand in for devices */
        own.indices[1] = 0;
        test_group(&own, "all-reduce, 2 threads", &stand);
    } else if (links->count > 1 && links->count <= CM_COMM_RANKS_MAX) {
        snprintf(name, sizeof name, "all-reduce, %u devices", links->count);
        test_group(&own, name, &stand);
    }
#if defined(COPYMILL_CUDA)
    for (uint32_t i = 0; i < links->count && links->device == CM_DEVICE_CUDA; i++) {
        for (uint32_t j = i + 1; j < links->count; j++) {
            test_pair(&own, i, j, &stand);
        }
    }
#endif
    if (links->count == 1) {
        const struct cm_selftest_answer answer = {
            .group = "link",
            .name = "between devices",
            .outcome = CM_SELFTEST_SKIPPED,
            .detail = "one device alone; with several, --device cuda:0,1,... tests what is "
                      "between them",
        };
        sink(context, &answer);
    }
}
