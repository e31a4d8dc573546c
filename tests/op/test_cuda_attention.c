/* Long contexts on a CUDA device against the CPU: batches, beams that fork at every depth, prefill
 * across the places where a row's positions are cut, windows that end there, rows that see nothing.
 * Whether the parts of a row run side by side or one after the other, and in whatever company, its
 * bits are the same. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "host/step_plan.h"

#include <math.h>
#include <string.h>

enum {
    CONTEXT = 800, /* positions; the parts of a row have 256 */
    BLOCKS = CONTEXT / CM_PAGE_TOKENS,
    SEQUENCES_MAX = 300,
    ROWS = 320,
    PAGES = 2048,
    FILL_ROWS = 256,
};

struct shape {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window;
};

/* Sequences, their pages, and the positions [first, last] that they have rows for in the step. */
struct scene {
    uint32_t sequences_count;
    int32_t pages[SEQUENCES_MAX][BLOCKS];
    uint32_t first[SEQUENCES_MAX];
    uint32_t last[SEQUENCES_MAX];
    int32_t pages_count;
    int32_t block_of_page[PAGES];
};

static int32_t new_page(struct scene *scene, uint32_t block)
{
    assert_true(scene->pages_count < PAGES);
    scene->block_of_page[scene->pages_count] = (int32_t)block;
    return scene->pages_count++;
}

/* Adds a sequence that has the first `shared` tokens in common with sequence 0. */
static void add_sequence(struct scene *scene, uint32_t shared, uint32_t first, uint32_t last)
{
    uint32_t index = scene->sequences_count++;
    assert_true(index < SEQUENCES_MAX && last < CONTEXT);
    for (uint32_t block = 0; block <= last / CM_PAGE_TOKENS; block++) {
        bool is_shared = index > 0 && (block + 1) * CM_PAGE_TOKENS <= shared;
        scene->pages[index][block] = is_shared ? scene->pages[0][block] : new_page(scene, block);
    }
    scene->first[index] = first;
    scene->last[index] = last;
}

/* --- The step on one back end --- */

static size_t qkv_dim(const struct shape *shape)
{
    return (size_t)(shape->n_heads + 2 * shape->n_kv_heads) * shape->head_dim;
}

static size_t out_dim(const struct shape *shape)
{
    return (size_t)shape->n_heads * shape->head_dim;
}

/* A head's keys or values as a device with --precision fp8 keeps them: e4m3 times the power of two
 * that brings the largest into (224, 448]. */
static void round_head(float *head, uint32_t dim)
{
    float largest = 0.0f;
    int exponent;
    for (uint32_t i = 0; i < dim; i++) {
        largest = fmaxf(largest, fabsf(head[i]));
    }
    double unit = 1;
    for (; largest > 448 * unit; unit *= 2) {
    }
    for (; largest <= 224 * unit; unit /= 2) {
    }
    for (uint32_t i = 0; i < dim; i++) {
        double value = head[i] / unit;
        frexp(value, &exponent);
        double step = ldexp(1, (exponent > -5 ? exponent : -5) - 4);
        head[i] = (float)(rint(value / step) * step * unit);
    }
}

/* Every slot of every page, by its number; `rounded` as fp8 would. */
static void fill_pages(struct cm_backend *backend, struct cm_kv_pool *pool,
                       const struct shape *shape, const struct scene *scene, bool rounded)
{
    int32_t positions[FILL_ROWS];
    int32_t pages[FILL_ROWS];
    float *qkv = cm_alloc(FILL_ROWS * qkv_dim(shape), sizeof *qkv);
    assert_non_null(qkv);
    uint32_t slots = (uint32_t)scene->pages_count * CM_PAGE_TOKENS;
    for (uint32_t begin = 0; begin < slots; begin += FILL_ROWS) {
        uint32_t count = slots - begin < FILL_ROWS ? slots - begin : FILL_ROWS;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t seed = 77 * (begin + i);
            pages[i] = (int32_t)((begin + i) / CM_PAGE_TOKENS);
            positions[i] = scene->block_of_page[pages[i]] * CM_PAGE_TOKENS +
                           (int32_t)((begin + i) % CM_PAGE_TOKENS);
            for (size_t k = 0; k < qkv_dim(shape); k++) {
                qkv[i * qkv_dim(shape) + k] = 2.0f * op_random(&seed);
            }
            for (uint32_t h = shape->n_heads; rounded && h < shape->n_heads + 2 * shape->n_kv_heads;
                 h++) {
                round_head(qkv + i * qkv_dim(shape) + (size_t)h * shape->head_dim, shape->head_dim);
            }
        }
        op_rope_append(backend, &(struct cm_rope_append_args){
                                    .pool = pool,
                                    .n_rows = count,
                                    .n_heads = shape->n_heads,
                                    .n_kv_heads = shape->n_kv_heads,
                                    .head_dim = shape->head_dim,
                                    .qkv = qkv,
                                    .positions = positions,
                                    .pages = pages,
                                });
    }
    cm_free(qkv);
}

static struct cm_kv_pool *open_pool(struct cm_backend *backend, const struct shape *shape,
                                    const struct scene *scene, bool rounded)
{
    struct cm_kv_pool *pool = NULL;
    const struct cm_kv_shape kv = { 1, shape->n_kv_heads, shape->head_dim };
    struct cm_error error = { 0 };
    assert_int_equal(cm_kv_pool_create(backend, &kv, (uint32_t)scene->pages_count, &pool, &error),
                     CM_OK);
    fill_pages(backend, pool, shape, scene, rounded);
    return pool;
}

/* The output of sequences [begin, end) in one step, [row][out_dim] in their order. */
static float *attend(struct cm_backend *backend, struct cm_kv_pool *pool, const struct shape *shape,
                     const struct scene *scene, uint32_t begin, uint32_t end,
                     uint32_t positions_end)
{
    static const int32_t no_tokens[ROWS];
    struct cm_step_sequence sequences[SEQUENCES_MAX];
    struct cm_step_plan *plan = NULL;
    assert_int_equal(cm_step_plan_open(backend, ROWS, SEQUENCES_MAX, CONTEXT, &plan), CM_OK);
    for (uint32_t i = begin; i < end; i++) {
        sequences[i - begin] = (struct cm_step_sequence){
            .tokens = no_tokens,
            .first_position = scene->first[i],
            .rows_count = scene->last[i] - scene->first[i] + 1,
            .pages = scene->pages[i],
        };
    }
    cm_step_plan_build(plan, sequences, end - begin);
    float *qkv = cm_alloc(plan->n_rows * qkv_dim(shape), sizeof *qkv);
    float *out = op_random_array(1, plan->n_rows * out_dim(shape), NAN);
    float *sorted = cm_alloc(plan->n_rows * out_dim(shape), sizeof *sorted);
    assert_true(qkv != NULL && sorted != NULL);
    for (uint32_t i = begin; i < end; i++) {
        for (uint32_t k = 0; k < sequences[i - begin].rows_count; k++) {
            uint64_t seed = 1000003u * i + k;
            float *q = qkv + (sequences[i - begin].row_begin + k) * qkv_dim(shape);
            for (size_t j = 0; j < out_dim(shape); j++) {
                q[j] = 2.0f * op_random(&seed);
            }
        }
    }
    op_attention(backend, &(struct cm_attention_args){
                              .pool = pool,
                              .n_rows = plan->n_rows,
                              .n_heads = shape->n_heads,
                              .n_kv_heads = shape->n_kv_heads,
                              .head_dim = shape->head_dim,
                              .window = shape->window,
                              .scale = 1.0f / sqrtf((float)shape->head_dim),
                              .qkv = qkv,
                              .positions = plan->host.positions,
                              .visits = plan->host.visits,
                              .chunks = plan->host.chunks,
                              .n_chunks = plan->n_chunks,
                              .positions_end = positions_end,
                              .rows_per_visit = positions_end > 0 ? plan->rows_per_visit : 0,
                              .out = out,
                          });
    float *to = sorted;
    for (uint32_t i = 0; i < end - begin; i++) {
        size_t n = sequences[i].rows_count * out_dim(shape);
        memcpy(to, out + sequences[i].row_begin * out_dim(shape), n * sizeof *to);
        to += n;
    }
    cm_step_plan_close(plan);
    cm_free(qkv);
    cm_free(out);
    return sorted;
}

/* --- Checks --- */

static size_t rows_of(const struct scene *scene, uint32_t end)
{
    size_t rows = 0;
    for (uint32_t i = 0; i < end; i++) {
        rows += scene->last[i] - scene->first[i] + 1;
    }
    return rows;
}

static void check_scene(const struct shape *shape, const struct scene *scene,
                        enum cm_precision precision)
{
    struct cm_backend *cuda = op_cuda_backend(precision, ROWS);
    bool is_fp8 = precision == CM_PRECISION_FP8;
    struct cm_backend *cpu =
        op_backend(CM_CPU_PORTABLE, 2, is_fp8 ? CM_PRECISION_EXACT : precision);
    uint32_t count = scene->sequences_count;
    struct cm_kv_pool *cuda_pool = open_pool(cuda, shape, scene, false);
    struct cm_kv_pool *cpu_pool = open_pool(cpu, shape, scene, is_fp8);
    float *together = attend(cuda, cuda_pool, shape, scene, 0, count, CONTEXT);
    float *expected = attend(cpu, cpu_pool, shape, scene, 0, count, 0);
    double tolerance = precision == CM_PRECISION_EXACT ? 4e-6 : 3e-3;
    for (size_t i = 0; i < rows_of(scene, count) * out_dim(shape); i++) {
        op_assert_near("attention", i, together[i], expected[i], tolerance, tolerance);
    }
    float *in_turn = attend(cuda, cuda_pool, shape, scene, 0, count, 0);
    assert_memory_equal(together, in_turn,
                        rows_of(scene, count) * out_dim(shape) * sizeof *together);
    uint32_t step = count / 5 + 1; /* some by themselves */
    for (uint32_t i = 0; i < count; i += step) {
        float *alone = attend(cuda, cuda_pool, shape, scene, i, i + 1, scene->last[i] + 1);
        size_t n = (rows_of(scene, i + 1) - rows_of(scene, i)) * out_dim(shape);
        assert_memory_equal(alone, together + rows_of(scene, i) * out_dim(shape),
                            n * sizeof(float));
        cm_free(alone);
    }
    cm_free(in_turn);
    cm_free(together);
    cm_free(expected);
    cm_kv_pool_close(cuda_pool);
    cm_kv_pool_close(cpu_pool);
    cm_backend_close(cuda);
    cm_backend_close(cpu);
}

enum { PRECISIONS = 3 };
static const enum cm_precision precisions[PRECISIONS] = { CM_PRECISION_EXACT, CM_PRECISION_BF16,
                                                          CM_PRECISION_FP8 };

static void skip_without_device(void)
{
    if (cm_devices_count(CM_DEVICE_CUDA) == 0) {
        print_message("no CUDA device here: not tested\n");
        skip();
    }
}

/* Decode: a row each, on pages that all share and then on its own, up to page and part edges. */
static void batches_match_the_cpu(void **state)
{
    (void)state;
    skip_without_device();
    static const struct shape shapes[] = { { 4, 4, 32, 0 },   { 6, 2, 64, 0 },  { 4, 2, 80, 100 },
                                           { 4, 2, 96, 257 }, { 7, 1, 128, 0 }, { 4, 1, 256, 300 },
                                           { 2, 2, 16, 0 },   { 3, 1, 48, 255 } };
    static const uint32_t lasts[] = { 255, 256, 0, 271, 272, 511, 15, 512, 513, 700, 767, 768 };
    static const uint32_t batches[] = { 1, 2, 31, 65 };
    struct scene *scene = cm_alloc(1, sizeof *scene);
    assert_non_null(scene);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i += op_tests_are("short") ? 5 : 1) {
        for (size_t b = op_tests_are("long") ? 0 : i % 4; b < 4;
             b += op_tests_are("long") ? 1 : 4) {
            *scene = (struct scene){ 0 };
            for (uint32_t k = 0; k < batches[b]; k++) {
                uint32_t last = lasts[(k + b) % (sizeof lasts / sizeof lasts[0])];
                add_sequence(scene, k % 2 == 0 ? 260 : 530, last, last);
            }
            for (size_t p = 0; p < PRECISIONS; p++) {
                check_scene(&shapes[i], scene, precisions[p]);
            }
        }
    }
    cm_free(scene);
}

/* Every number of texts in flight, in the long run. */
static void every_batch_matches_the_cpu(void **state)
{
    (void)state;
    skip_without_device();
    const struct shape shape = { 4, 2, 64, 100 };
    struct scene *scene = cm_alloc(1, sizeof *scene);
    assert_non_null(scene);
    for (uint32_t batch = op_tests_are("long") ? 1 : 65; batch <= 65; batch++) {
        *scene = (struct scene){ 0 };
        for (uint32_t k = 0; k < batch; k++) {
            add_sequence(scene, 100, 90 + k * 7, 90 + k * 7);
        }
        check_scene(&shape, scene, precisions[batch % PRECISIONS]);
    }
    cm_free(scene);
}

/* Beams of one text: row i left it after i tokens and has a page of its own since. */
static void beams_of_every_depth_match_the_cpu(void **state)
{
    (void)state;
    skip_without_device();
    const struct shape shapes[] = { { 2, 1, 32, 0 }, { 4, 2, 64, 40 }, { 3, 1, 32, 100 } };
    struct scene *scene = cm_alloc(1, sizeof *scene);
    assert_non_null(scene);
    for (uint32_t i = 0; i < PRECISIONS; i++) {
        *scene = (struct scene){ 0 };
        add_sequence(scene, 0, 300, 300);
        for (uint32_t depth = 1; depth < SEQUENCES_MAX; depth += op_tests_are("long")    ? 1
                                                                 : op_tests_are("short") ? 40
                                                                                         : 6) {
            add_sequence(scene, depth, depth, depth);
        }
        check_scene(&shapes[i], scene, precisions[i]);
    }
    cm_free(scene);
}

/* A prompt's rows on both sides of an edge, beside rows of other texts. */
static void prefill_across_an_edge_matches_the_cpu(void **state)
{
    (void)state;
    skip_without_device();
    const struct shape shapes[] = { { 4, 2, 64, 0 }, { 2, 1, 128, 256 }, { 2, 1, 256, 0 } };
    struct scene *scene = cm_alloc(1, sizeof *scene);
    assert_non_null(scene);
    add_sequence(scene, 0, 470, 540);
    add_sequence(scene, 400, 505, 512);
    add_sequence(scene, 16, 250, 260);
    add_sequence(scene, 0, 0, 20);
    add_sequence(scene, 272, 271, 271);
    for (size_t i = 0; i < (op_tests_are("short") ? 1 : 3); i++) {
        for (size_t p = 0; p < PRECISIONS; p++) {
            check_scene(&shapes[i], scene, precisions[p]);
        }
    }
    cm_free(scene);
}

/* Rows that no visit mentions become zeros, in a part and out of it. */
static void rows_without_visits_are_zeros(void **state)
{
    (void)state;
    skip_without_device();
    const struct shape shape = { 2, 1, 64, 0 };
    struct scene *scene = cm_alloc(1, sizeof *scene);
    assert_non_null(scene);
    add_sequence(scene, 0, 300, 300);
    float *qkv = op_random_array(1, 3 * qkv_dim(&shape), 1.0f);
    const int32_t positions[] = { 300, 300, 5 };
    struct cm_visit visits[BLOCKS];
    struct cm_attention_chunk chunk = { 0, 3, 0, 0 };
    for (; chunk.visit_end <= 300 / CM_PAGE_TOKENS; chunk.visit_end++) {
        visits[chunk.visit_end] = (struct cm_visit){ scene->pages[0][chunk.visit_end],
                                                     chunk.visit_end * CM_PAGE_TOKENS, 1, 2 };
    }
    for (size_t i = 0; i < 2 * PRECISIONS; i++) {
        float out[3 * 2 * 64];
        struct cm_backend *cuda = op_cuda_backend(precisions[i % PRECISIONS], ROWS);
        struct cm_kv_pool *pool = open_pool(cuda, &shape, scene, false);
        op_attention(cuda, &(struct cm_attention_args){
                               .pool = pool,
                               .n_rows = 3,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .head_dim = 64,
                               .scale = 0.125f,
                               .qkv = qkv,
                               .positions = positions,
                               .visits = visits,
                               .chunks = &chunk,
                               .n_chunks = 1,
                               .positions_end = i < PRECISIONS ? 0 : 301,
                               .out = out,
                           });
        for (size_t k = 0; k < out_dim(&shape); k++) {
            assert_true(out[k] == 0.0f && out[2 * out_dim(&shape) + k] == 0.0f);
            assert_true(out[out_dim(&shape) + k] != 0.0f);
        }
        cm_kv_pool_close(pool);
        cm_backend_close(cuda);
    }
    cm_free(qkv);
    cm_free(scene);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_match_the_cpu),
        cmocka_unit_test(every_batch_matches_the_cpu),
        cmocka_unit_test(beams_of_every_depth_match_the_cpu),
        cmocka_unit_test(prefill_across_an_edge_matches_the_cpu),
        cmocka_unit_test(rows_without_visits_are_zeros),
    };
    op_select_tests(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
