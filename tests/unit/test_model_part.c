/* How a model is shared by several devices: every head, column and token once, KV heads where their
 * heads are; and the slices of tensors that this takes. */
#include "base/memory.h"
#include "host/model_part.h"
#include "host/tensor_slice.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct cm_model_config config_of(uint32_t n_heads, uint32_t n_kv_heads)
{
    return (struct cm_model_config){
        .n_heads = n_heads, .n_kv_heads = n_kv_heads, .head_dim = 64, .n_ff = 4864, .n_vocab = 6001
    };
}

static void check_parts(const struct cm_model_config *config, uint32_t ff_unit, uint32_t ranks)
{
    uint32_t next_head = 0;
    uint32_t next_ff = 0;
    uint32_t next_token = 0;
    uint32_t heads_per_kv = config->n_heads / config->n_kv_heads;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        struct cm_model_part part;
        struct cm_error error;
        assert_int_equal(cm_model_part_init(&part, config, ff_unit, ranks, rank, &error), CM_OK);
        assert_int_equal(part.first_head, next_head);
        assert_int_equal(part.first_ff, next_ff);
        assert_int_equal(part.first_token, next_token);
        assert_int_equal(part.config.n_ff % ff_unit, 0);
        assert_int_equal(part.config.n_heads % part.config.n_kv_heads, 0);
        for (uint32_t i = 0; i < part.config.n_heads; i++) { /* the KV head that the op takes */
            uint32_t kv = i / (part.config.n_heads / part.config.n_kv_heads);
            assert_int_equal(part.first_kv_head + kv, (next_head + i) / heads_per_kv);
        }
        next_head += part.config.n_heads;
        next_ff += part.config.n_ff;
        next_token += part.config.n_vocab;
        assert_int_equal(part.vocabulary.n_part * rank, part.first_token);
    }
    assert_int_equal(next_head, config->n_heads);
    assert_int_equal(next_ff, config->n_ff);
    assert_int_equal(next_token, config->n_vocab);
}

static void everything_is_shared_once(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_heads;
        uint32_t n_kv_heads;
        uint32_t ranks;
    } cases[] = { { 4, 2, 1 },  { 4, 2, 2 },      { 4, 1, 2 },   { 4, 1, 4 },  { 32, 8, 2 },
                  { 32, 8, 8 }, { 14, 2, 7 * 2 }, { 12, 12, 3 }, { 32, 8, 16 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_model_config config = config_of(cases[i].n_heads, cases[i].n_kv_heads);
        check_parts(&config, 32, cases[i].ranks);
        check_parts(&config, 256, cases[i].ranks);
    }
}

static void what_cannot_be_shared_is_refused_with_what_can(void **state)
{
    (void)state;
    struct cm_model_part part;
    struct cm_error error = { 0 };
    struct cm_model_config config = config_of(14, 2);
    assert_int_equal(cm_model_part_init(&part, &config, 32, 4, 0, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "--tp 4"));
    assert_non_null(strstr(error.message, "14 attention heads and 2 KV heads"));
    assert_non_null(strstr(error.message, "--tp 2, 14"));
    config = config_of(9, 3);
    assert_int_equal(cm_model_part_init(&part, &config, 32, 2, 0, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "--tp 3, 9"));
    config = config_of(7, 7);
    config.n_ff = 96;
    assert_int_equal(cm_model_part_init(&part, &config, 32, 7, 0, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "it runs on one only"));
}

/* A matrix [6, 64] of blocks of 32 values, each block filled with its number. */
static void slices_keep_the_type(void **state)
{
    (void)state;
    const struct cm_dtype_info *info = cm_dtype_info(CM_Q8_0);
    unsigned char data[6 * 2 * 34];
    struct cm_tensor tensor = { "w", CM_Q8_0, 2, { 6, 64 }, data, sizeof data };
    struct cm_tensor_slice slice;
    struct cm_error error = { 0 };
    assert_int_equal(info->block_bytes, 34);
    for (size_t block = 0; block < 12; block++) {
        memset(data + block * 34, (int)block, 34);
    }
    struct cm_slice_range rows = { 2, 3 };
    struct cm_slice_range columns = { 32, 32 };
    assert_int_equal(cm_tensor_slice_init(&slice, &tensor, rows, columns, &error), CM_OK);
    assert_int_equal(slice.tensor.dims[0], 3);
    assert_int_equal(slice.tensor.dims[1], 32);
    assert_int_equal(slice.tensor.bytes, 3 * 34);
    for (size_t row = 0; row < 3; row++) {
        const unsigned char *block = (const unsigned char *)slice.tensor.data + row * 34;
        assert_int_equal(block[0], 2 * (2 + row) + 1);
        assert_int_equal(block[33], block[0]);
    }
    cm_tensor_slice_deinit(&slice);
    columns = (struct cm_slice_range){ 0, 64 };
    assert_int_equal(cm_tensor_slice_init(&slice, &tensor, rows, columns, &error), CM_OK);
    assert_ptr_equal(slice.tensor.data, data + 2 * 2 * 34);
    cm_tensor_slice_deinit(&slice);
    columns = (struct cm_slice_range){ 16, 32 };
    assert_int_equal(cm_tensor_slice_init(&slice, &tensor, rows, columns, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "blocks of 32 values"));
    cm_tensor_slice_deinit(&slice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_shared_once),
        cmocka_unit_test(what_cannot_be_shared_is_refused_with_what_can),
        cmocka_unit_test(slices_keep_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
