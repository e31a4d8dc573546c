/* What the op tests share: reproducible numbers, back ends for every instruction set, comparison.
 */
#ifndef CM_TESTS_OP_OP_COMMON_H
#define CM_TESTS_OP_OP_COMMON_H

#include "kernels/cpu/cpu_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OP_ROWS_MAX = 256 }; /* of an op call on these back ends */

/* Whether $OP_TESTS says so: "short" is what ThreadSanitizer has time for, "long" all shapes. */
bool op_tests_are(const char *how);

/* Uniform in [-1, 1); splitmix64. */
float op_random(uint64_t *state);

/* New array of n such numbers times `scale`; free with cm_free. */
float *op_random_array(uint64_t seed, size_t n, float scale);

/* NULL where this processor lacks the instruction set. */
struct cm_backend *op_backend(enum cm_cpu_isa isa, uint32_t threads, enum cm_precision precision);

/* INT8, with keys and values of 8 bits. */
struct cm_backend *op_backend_kv_int8(enum cm_cpu_isa isa, uint32_t threads);

/* INT8, for a model that rounds more finely. */
struct cm_backend *op_backend_narrow(enum cm_cpu_isa isa, uint32_t threads);

/* With an argument, such as "ties*": only the tests that are called so run. */
void op_select_tests(int argc, char **argv);

/* Fails with place and values where |actual - expected| > absolute + relative * |expected|. */
void op_assert_near(const char *what, size_t index, double actual, double expected, double absolute,
                    double relative);

#endif
