#include "op_common.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool op_tests_are(const char *how)
{
    const char *set = getenv("OP_TESTS");
    return set != NULL && strcmp(set, how) == 0;
}

float op_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t mixed = *state;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return (float)((mixed ^ mixed >> 31) >> 40) * 0x1p-23f - 1.0f;
}

float *op_random_array(uint64_t seed, size_t n, float scale)
{
    float *array = cm_alloc_aligned(n, sizeof *array);
    assert_non_null(array);
    for (size_t i = 0; i < n; i++) {
        array[i] = scale * op_random(&seed);
    }
    return array;
}

static struct cm_backend *open_backend(enum cm_cpu_isa isa,
                                       const struct cm_backend_options *options)
{
    struct cm_backend *backend = NULL;
    struct cm_error error;
    if (isa > cm_cpu_isa_best()) {
        return NULL;
    }
    assert_int_equal(cm_cpu_backend_open(options, isa, &backend, &error), CM_OK);
    return backend;
}

struct cm_backend *op_backend(enum cm_cpu_isa isa, uint32_t threads, enum cm_precision precision)
{
    const struct cm_backend_options options = { .precision = precision,
                                                .threads = threads,
                                                .rows_max = OP_ROWS_MAX };
    return open_backend(isa, &options);
}

struct cm_backend *op_backend_kv_int8(enum cm_cpu_isa isa, uint32_t threads)
{
    const struct cm_backend_options options = {
        .precision = CM_PRECISION_INT8, .kv_int8 = true, .threads = threads, .rows_max = OP_ROWS_MAX
    };
    return open_backend(isa, &options);
}

struct cm_backend *op_backend_narrow(enum cm_cpu_isa isa, uint32_t threads)
{
    const struct cm_backend_options options = { .precision = CM_PRECISION_INT8,
                                                .narrow_model = true,
                                                .threads = threads,
                                                .rows_max = OP_ROWS_MAX };
    return open_backend(isa, &options);
}

void op_assert_near(const char *what, size_t index, double actual, double expected, double absolute,
                    double relative)
{
    if (!(fabs(actual - expected) <= absolute + relative * fabs(expected))) {
        fail_msg("%s[%zu] is %.9g, expected %.9g", what, index, actual, expected);
    }
}

void op_select_tests(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
}
