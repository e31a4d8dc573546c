/* Collectives between back ends, of the CPU and, where there are several CUDA devices, of these:
 * sums in the order of the ranks, columns put together, sampling over a split vocabulary, and
 * groups that fail. A group's ranks are threads. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "kernels/comm.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum {
    RANKS_MAX = CM_COMM_RANKS_MAX,
    RANKS_USUAL = 4, /* tests run with 2 to so many */
    N_VOCAB = 600,
    HISTORY = 24,
    MASK_IDS = 200,
};

struct group {
    struct cm_backend *ranks[RANKS_MAX];
    uint32_t count;
    struct cm_comm *comm;
};

typedef void (*rank_function)(struct cm_backend *backend, uint32_t rank, void *context);

struct thread {
    pthread_t thread;
    rank_function function;
    struct cm_backend *backend;
    uint32_t rank;
    void *context;
};

/* --- Groups --- */

/* False where the machine has not so many devices. */
static bool open_group(enum cm_device device, uint32_t count, double timeout_s, struct group *group)
{
    struct cm_error error = { 0 };
    *group = (struct group){ .count = count };
    if (device == CM_DEVICE_CUDA && cm_devices_count(device) < count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct cm_backend_options options = {
            .precision = CM_PRECISION_EXACT,
            .threads = 1,
            .rows_max = OP_ROWS_MAX,
            .device = device,
            .device_index = i,
            .timeout_s = timeout_s,
        };
        if (cm_backend_open(&options, &group->ranks[i], &error) != CM_OK) {
            fail_msg("%s", error.message);
        }
    }
    if (cm_comm_open(group->ranks, count, &group->comm, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return true;
}

static void close_group(struct group *group)
{
    cm_comm_close(group->comm);
    for (uint32_t i = 0; i < group->count; i++) {
        cm_backend_close(group->ranks[i]);
    }
}

static void *run_thread(void *context)
{
    struct thread *thread = context;
    thread->function(thread->backend, thread->rank, thread->context);
    return NULL;
}

static void run_group(const struct group *group, rank_function function, void *context)
{
    struct thread threads[RANKS_MAX];
    for (uint32_t i = 0; i < group->count; i++) {
        threads[i] = (struct thread){
            .function = function, .backend = group->ranks[i], .rank = i, .context = context
        };
        assert_int_equal(pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]), 0);
    }
    for (uint32_t i = 0; i < group->count; i++) {
        pthread_join(threads[i].thread, NULL);
    }
}

static void assert_well(const struct group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct cm_error error = { 0 };
        if (cm_backend_status(group->ranks[i], &error) != CM_OK) {
            fail_msg("rank %u: %s", i, error.message);
        }
    }
}

/* Runs the test on all groups that this machine can form. */
static void on_all_groups(void (*test)(const struct group *group))
{
    for (int device = CM_DEVICE_CPU; device <= CM_DEVICE_CUDA; device++) {
        for (uint32_t count = 2; count <= RANKS_USUAL; count++) {
            struct group group;
            if (open_group((enum cm_device)device, count, 0, &group)) {
                test(&group);
                assert_well(&group);
                close_group(&group);
            } else if (count == 2) {
                print_message("fewer than two CUDA devices here: not tested\n");
            }
        }
    }
}

static void *device_copy(struct cm_backend *backend, const void *from, size_t bytes)
{
    void *memory = cm_backend_alloc(backend, bytes);
    assert_non_null(memory);
    if (from != NULL) {
        cm_backend_upload(backend, memory, from, bytes);
    }
    return memory;
}

/* --- All-reduce --- */

struct sum {
    size_t count;
    float *parts[RANKS_MAX]; /* what each rank brings, and then gets */
};

static void reduce(struct cm_backend *backend, uint32_t rank, void *context)
{
    struct sum *sum = context;
    size_t bytes = sum->count * sizeof(float);
    float *x = device_copy(backend, sum->parts[rank], bytes);
    cm_op_all_reduce(backend, x, sum->count);
    cm_backend_download(backend, sum->parts[rank], x, bytes);
    cm_backend_free(backend, x);
}

/* Bit by bit what adding in the order of the ranks gives, so also the same for any other count. */
static void check_sums(const struct group *group, size_t count)
{
    struct sum sum = { .count = count };
    float *expected = op_random_array(1, count, 3.0f);
    for (uint32_t rank = 0; rank < group->count; rank++) {
        sum.parts[rank] = op_random_array(rank + 1, count, 3.0f);
        for (size_t i = 0; rank > 0 && i < count; i++) {
            expected[i] += sum.parts[rank][i];
        }
    }
    run_group(group, reduce, &sum);
    for (uint32_t rank = 0; rank < group->count; rank++) {
        assert_memory_equal(sum.parts[rank], expected, count * sizeof *expected);
        cm_free(sum.parts[rank]);
    }
    cm_free(expected);
}

static void check_all_sums(const struct group *group)
{
    static const size_t counts[] = { 1, 64, 7 * 64, 8192 + 3, 65 * 176 };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check_sums(group, counts[i]);
    }
}

static void sums_are_added_in_the_order_of_the_ranks(void **state)
{
    (void)state;
    struct group group;
    on_all_groups(check_all_sums);
    if (open_group(CM_DEVICE_CUDA, 3, 0, &group)) { /* over what is gathered at a time */
        check_sums(&group, (1 << 20) + 5);
        assert_well(&group);
        close_group(&group);
    }
}

/* --- Columns --- */

struct columns {
    uint32_t n_rows;
    struct cm_split split;
    const float *whole;
    float *gathered[RANKS_MAX];
};

static uint32_t own_columns(const struct cm_split *split, uint32_t rank)
{
    uint32_t left = split->n_columns - rank * split->n_part;
    return left < split->n_part ? left : split->n_part;
}

/* This rank's part of `whole`, in memory for n_part columns. */
static float *upload_part(struct cm_backend *backend, uint32_t rank, const float *whole,
                          uint32_t n_rows, const struct cm_split *split)
{
    uint32_t own = own_columns(split, rank);
    float *host = cm_alloc((size_t)n_rows * own, sizeof *host);
    for (uint32_t r = 0; r < n_rows; r++) {
        memcpy(host + (size_t)r * own, whole + (size_t)r * split->n_columns + rank * split->n_part,
               own * sizeof *host);
    }
    float *part = device_copy(backend, NULL, (size_t)n_rows * split->n_part * sizeof *part);
    cm_backend_upload(backend, part, host, (size_t)n_rows * own * sizeof *part);
    cm_free(host);
    return part;
}

static void gather(struct cm_backend *backend, uint32_t rank, void *context)
{
    const struct columns *columns = context;
    const struct cm_split *split = &columns->split;
    size_t bytes = (size_t)columns->n_rows * split->n_columns * sizeof(float);
    float *part = upload_part(backend, rank, columns->whole, columns->n_rows, split);
    float *out = device_copy(backend, NULL, bytes);
    cm_op_gather_columns(backend, part, columns->n_rows, split, out);
    cm_backend_download(backend, columns->gathered[rank], out, bytes);
    cm_backend_free(backend, part);
    cm_backend_free(backend, out);
}

static void check_columns(const struct group *group)
{
    static const struct {
        uint32_t n_rows;
        uint32_t n_columns;
    } shapes[] = { { 1, 600 }, { 7, 601 }, { 64, 599 }, { 3, 16 } };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t count = (size_t)shapes[i].n_rows * shapes[i].n_columns;
        struct columns columns = { .n_rows = shapes[i].n_rows };
        columns.split.n_columns = shapes[i].n_columns;
        columns.split.n_part = (shapes[i].n_columns + group->count - 1) / group->count;
        float *whole = op_random_array(i, count, 1.0f);
        columns.whole = whole;
        for (uint32_t rank = 0; rank < group->count; rank++) {
            columns.gathered[rank] = cm_alloc(count, sizeof(float));
        }
        run_group(group, gather, &columns);
        for (uint32_t rank = 0; rank < group->count; rank++) {
            assert_memory_equal(columns.gathered[rank], whole, count * sizeof(float));
            cm_free(columns.gathered[rank]);
        }
        cm_free(whole);
    }
}

static void columns_are_put_together(void **state)
{
    (void)state;
    on_all_groups(check_columns);
}

/* --- Sampling over a split vocabulary --- */

struct draws {
    const struct cm_sample_row *rows; /* [n_rows] */
    uint32_t n_rows;
    struct cm_split split;
    const float *logits; /* [n_rows, n_columns] */
    const int32_t *history;
    const int32_t *mask_ids;
    int32_t tokens[RANKS_MAX][CM_SPLIT_ROWS_MAX];
    float logprobs[RANKS_MAX][CM_SPLIT_ROWS_MAX];
};

static void draw(struct cm_backend *backend, uint32_t rank, void *context)
{
    struct draws *draws = context;
    uint32_t n_rows = draws->n_rows;
    size_t part_bytes = (size_t)n_rows * draws->split.n_part * sizeof(float);
    float *part = upload_part(backend, rank, draws->logits, n_rows, &draws->split);
    float *scratch = device_copy(backend, NULL, part_bytes);
    struct cm_sample_row *rows = device_copy(backend, draws->rows, n_rows * sizeof *draws->rows);
    int32_t *history = device_copy(backend, draws->history, HISTORY * sizeof *history);
    int32_t *mask_ids = device_copy(backend, draws->mask_ids, MASK_IDS * sizeof *mask_ids);
    int32_t *tokens = device_copy(backend, NULL, n_rows * sizeof *tokens);
    float *logprobs = device_copy(backend, NULL, n_rows * sizeof *logprobs);
    cm_op_sample_split(backend,
                       &(struct cm_sample_args){
                           .logits = part,
                           .n_rows = n_rows,
                           .n_vocab = own_columns(&draws->split, rank),
                           .rows = rows,
                           .history = history,
                           .mask_ids = mask_ids,
                           .tokens = tokens,
                           .logprobs = logprobs,
                       },
                       &draws->split, scratch);
    cm_backend_download(backend, draws->tokens[rank], tokens, n_rows * sizeof *tokens);
    cm_backend_download(backend, draws->logprobs[rank], logprobs, n_rows * sizeof *logprobs);
    void *const memory[] = { part, scratch, rows, history, mask_ids, tokens, logprobs };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        cm_backend_free(backend, memory[i]);
    }
}

/* `is_decided`: whether the candidates must settle the row for any logits of spread 1 or more. */
static const struct {
    struct cm_sample_row row;
    bool is_decided;
} settings[] = {
    { { .temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.3f }, true },
    { { .temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1.05f, .top_k = 50 }, true },
    { { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 1 }, true },
    { { .temperature = 3.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 100 }, true },
    { { .temperature = 0.2f, .top_p = 0.5f, .repetition_penalty = 0.8f }, true },
    { { .temperature = 0.5f, .top_p = 1.0f, .repetition_penalty = 1.0f, .min_p = 0.2f }, true },
    { { .temperature = 0.9f, .top_p = 0.8f, .repetition_penalty = 1.1f, .min_p = 0.05f }, false },
    { { .temperature = 0.8f, .top_p = 0.97f, .repetition_penalty = 1.0f }, false },
    { { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f }, false },
    { { .temperature = 1.2f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 590 }, false },
    { { .temperature = 5.0f, .top_p = 0.999f, .repetition_penalty = 1.0f, .min_p = 1e-6f }, false },
};
enum { SETTINGS_COUNT = sizeof settings / sizeof settings[0] };

/* Rows of all settings, some with masks, over logits with many ties. */
static void make_rows(uint64_t seed, struct cm_sample_row *rows, float *logits)
{
    for (uint32_t r = 0; r < SETTINGS_COUNT; r++) {
        rows[r] = settings[r].row;
        rows[r].uniform = 0.5f * (op_random(&seed) + 1.0f);
        rows[r].history_end = HISTORY;
        rows[r].want_logprob = true;
        if (seed % 3 == 0) {
            rows[r].banned[r % 2] = (struct cm_id_range){ 10, 60 };
        }
        rows[r].only_allowed = seed % 4 == 1;
        rows[r].allowed = (struct cm_id_range){ 0, MASK_IDS };
        for (uint32_t i = 0; i < N_VOCAB; i++) {
            float x = 0;
            for (int j = 0; j < 6; j++) {
                x += op_random(&seed);
            }
            logits[(size_t)r * N_VOCAB + i] = roundf(2.0f * x * 16.0f) / 16.0f;
        }
    }
    for (uint32_t i = 0; i < N_VOCAB; i += 50) { /* rows with a NaN, and with all equal */
        logits[i] = NAN;
        logits[N_VOCAB + i] = -INFINITY;
    }
}

static void expect(struct cm_backend *backend, const struct draws *draws, int32_t *tokens,
                   float *logprobs)
{
    size_t bytes = (size_t)draws->n_rows * draws->split.n_columns * sizeof(float);
    float *logits = cm_alloc(1, bytes);
    memcpy(logits, draws->logits, bytes);
    op_sample(backend, &(struct cm_sample_args){
                           .logits = logits,
                           .n_rows = draws->n_rows,
                           .n_vocab = draws->split.n_columns,
                           .rows = draws->rows,
                           .history = draws->history,
                           .mask_ids = draws->mask_ids,
                           .tokens = tokens,
                           .logprobs = logprobs,
                       });
    cm_free(logits);
}

static void check_draws(const struct group *group)
{
    struct cm_sample_row rows[SETTINGS_COUNT];
    int32_t history[HISTORY];
    int32_t mask_ids[MASK_IDS];
    int32_t tokens[SETTINGS_COUNT];
    float logprobs[SETTINGS_COUNT];
    float *logits = cm_alloc((size_t)SETTINGS_COUNT * N_VOCAB, sizeof *logits);
    struct draws *draws = cm_alloc(1, sizeof *draws);
    bool is_cpu = !op_is_cuda(group->ranks[0]);
    for (int32_t i = 0; i < MASK_IDS; i++) {
        mask_ids[i] = 3 * i;
    }
    for (uint64_t seed = 0; seed < 5; seed++) {
        for (int32_t i = 0; i < HISTORY; i++) {
            history[i] = (int32_t)(seed * 31 + (uint64_t)i * 37) % N_VOCAB;
        }
        make_rows(seed, rows, logits);
        *draws = (struct draws){ .rows = rows,
                                 .n_rows = SETTINGS_COUNT,
                                 .split = { (N_VOCAB / group->count + 8) / 8 * 8, N_VOCAB },
                                 .logits = logits,
                                 .history = history,
                                 .mask_ids = mask_ids };
        run_group(group, draw, draws);
        assert_well(group);
        expect(group->ranks[0], draws, tokens, logprobs);
        for (uint32_t r = 0; r < SETTINGS_COUNT; r++) {
            for (uint32_t rank = 0; rank < group->count; rank++) {
                int32_t token = draws->tokens[rank][r];
                if (token < 0) {
                    assert_true(is_cpu || !settings[r].is_decided);
                    continue;
                }
                assert_int_equal(token, tokens[r]);
                assert_memory_equal(&draws->logprobs[rank][r], &logprobs[r], sizeof(float));
            }
        }
    }
    cm_free(draws);
    cm_free(logits);
}

static void a_split_vocabulary_gives_the_same_tokens(void **state)
{
    (void)state;
    on_all_groups(check_draws);
}

/* The largest group, of which each rank has more tokens than it may bring. */
static void check_many(const struct group *group)
{
    enum { PART = CM_SPLIT_CANDIDATES + 8, WHOLE = PART * CM_COMM_RANKS_MAX };
    struct cm_sample_row row = settings[1].row;
    const int32_t history[HISTORY] = { 0, PART, WHOLE - 1 };
    const int32_t mask_ids[MASK_IDS] = { 0 };
    int32_t token = -1;
    float logprob = 0;
    float *logits = op_random_array(5, WHOLE, 8.0f);
    struct draws *draws = cm_alloc(1, sizeof *draws);
    row.uniform = 0.4f;
    row.history_end = HISTORY;
    row.want_logprob = true;
    *draws = (struct draws){ .rows = &row,
                             .n_rows = 1,
                             .split = { PART, WHOLE },
                             .logits = logits,
                             .history = history,
                             .mask_ids = mask_ids };
    run_group(group, draw, draws);
    assert_well(group);
    expect(group->ranks[0], draws, &token, &logprob);
    for (uint32_t rank = 0; rank < group->count; rank++) {
        assert_int_equal(draws->tokens[rank][0], token);
        assert_memory_equal(draws->logprobs[rank], &logprob, sizeof logprob);
    }
    cm_free(draws);
    cm_free(logits);
}

static void the_largest_group_has_room_for_all_candidates(void **state)
{
    (void)state;
    struct group group;
    if (!open_group(CM_DEVICE_CUDA, CM_COMM_RANKS_MAX, 0, &group)) {
        print_message("fewer than %d CUDA devices here: not tested\n", CM_COMM_RANKS_MAX);
        return;
    }
    check_many(&group);
    close_group(&group);
}

/* --- Failures --- */

static void reduce_all_but_one(struct cm_backend *backend, uint32_t rank, void *context)
{
    struct group *group = context;
    float values[4] = { 1, 2, 3, 4 };
    if (rank == group->count - 1) {
        cm_comm_fail(group->comm, "it has no more memory");
        return;
    }
    float *x = device_copy(backend, values, sizeof values);
    cm_op_all_reduce(backend, x, 4);
    cm_backend_download(backend, values, x, sizeof values);
    cm_op_all_reduce(backend, x, 4); /* does nothing */
    cm_backend_free(backend, x);
}

static void a_rank_that_gives_up_ends_the_group(void **state)
{
    (void)state;
    for (int device = CM_DEVICE_CPU; device <= CM_DEVICE_CUDA; device++) {
        struct group group;
        if (!open_group((enum cm_device)device, 3, 0, &group)) {
            continue;
        }
        run_group(&group, reduce_all_but_one, &group);
        for (uint32_t i = 0; i + 1 < group.count; i++) {
            struct cm_error error = { 0 };
            assert_int_equal(cm_backend_status(group.ranks[i], &error), CM_DEVICE_FAILED);
            assert_string_equal(error.message, "it has no more memory");
        }
        close_group(&group);
    }
}

static void reduce_unless_last(struct cm_backend *backend, uint32_t rank, void *context)
{
    const struct group *group = context;
    float values[4] = { 1, 2, 3, 4 };
    if (rank + 1 < group->count) {
        float *x = device_copy(backend, values, sizeof values);
        cm_op_all_reduce(backend, x, 4);
        cm_backend_download(backend, values, x, sizeof values);
        cm_backend_free(backend, x);
    }
}

static void a_rank_that_does_not_come_ends_the_group(void **state)
{
    (void)state;
    struct group group;
    if (!open_group(CM_DEVICE_CUDA, 3, 2, &group)) {
        return;
    }
    run_group(&group, reduce_unless_last, &group);
    for (uint32_t i = 0; i + 1 < group.count; i++) {
        struct cm_error error = { 0 };
        assert_int_equal(cm_backend_status(group.ranks[i], &error), CM_DEVICE_FAILED);
        assert_non_null(strstr(error.message, "has not answered"));
    }
    close_group(&group);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_added_in_the_order_of_the_ranks),
        cmocka_unit_test(columns_are_put_together),
        cmocka_unit_test(a_split_vocabulary_gives_the_same_tokens),
        cmocka_unit_test(the_largest_group_has_room_for_all_candidates),
        cmocka_unit_test(a_rank_that_gives_up_ends_the_group),
        cmocka_unit_test(a_rank_that_does_not_come_ends_the_group),
    };
    op_select_tests(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
