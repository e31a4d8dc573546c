/* The roofline's arithmetic against numbers worked out by hand. */
#include "kernels/roofline.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_near(double actual, double expected)
{
    if (!(fabs(actual - expected) <= 1e-9 * fabs(expected))) {
        fail_msg("%.12g, expected %.12g", actual, expected);
    }
}

static void row_ops_move_each_operand_once(void **state)
{
    (void)state;
    assert_near(cm_work_norm(3, 100, false).bytes, 3 * 100 * (4 + 4));
    assert_near(cm_work_norm(3, 100, true).bytes, 3 * 100 * (4 + 4 + 4 + 4));
    assert_near(cm_work_add(3, 100).bytes, 3 * 100 * (4 + 4 + 4));
    assert_near(cm_work_activation(3, 100, true).bytes, 3 * 100 * (4 + 4 + 4));
    assert_near(cm_work_embed(3, 100, 2).bytes, 3 * 100 * (2 + 4));
    /* 4 heads of q there and back; 2 of k and 2 of v in as float32, out as float16. */
    assert_near(cm_work_rope(3, 4, 2, 16, 2).bytes, 3 * (64 * 8 + 64 * (4 + 2)));
    assert_near(cm_work_rope(3, 4, 2, 16, 2).flops, 3 * 6 * (64 + 32));
}

static void products_pad_their_tiles(void **state)
{
    (void)state;
    /* 64 x 64: 1 x 15 tiles, since 128 x 128 would give 3 x 8 at 300 rows and 64 x 128 5 x 8. */
    struct cm_work work = cm_work_matmul(&(struct cm_work_matmul){ .precision = CM_PRECISION_BF16,
                                                                   .weights_bytes = 576 * 960 * 2,
                                                                   .n_rows = 32,
                                                                   .n_in = 576,
                                                                   .n_out = 960,
                                                                   .sm_count = 132 });
    assert_near(work.bytes, 576 * 960 * 2 + 32 * 576 * 4 + 32 * 960 * 4);
    assert_near(work.flops, 2.0 * 32 * 576 * 960);
    assert_near(work.blocks, 15);
    assert_near(work.kernel_flops, 2.0 * 64 * 576 * 960);
    assert_near(work.kernel_bytes, work.bytes + 32 * 576 * 4);
    assert_int_equal(work.launches, 2);
    /* 128 x 128: 3 x 375 tiles of the head are enough. */
    work = cm_work_matmul(&(struct cm_work_matmul){ .precision = CM_PRECISION_EXACT,
                                                    .weights_bytes = 576 * 48000.0 * 4,
                                                    .n_rows = 64,
                                                    .n_in = 576,
                                                    .n_out = 48000,
                                                    .sm_count = 132 });
    assert_near(work.blocks, 375);
    assert_near(work.bytes, 576 * 48000.0 * 4 + 64 * 576 * 4 + 64 * 48000.0 * 4);
    assert_near(work.kernel_flops, 2.0 * 128 * 576 * 48000);
    assert_int_equal(work.launches, 1);
}

/* Weights as integers: codes, and scales (and minima) of float32 for 32 inputs each. */
static void weights_take_what_their_precision_says(void **state)
{
    (void)state;
    const enum cm_dtype q4_0[] = { CM_Q4_0 };
    const enum cm_dtype mixed[] = { CM_Q4_K, CM_Q6_K };
    const enum cm_dtype plain[] = { CM_BF16 };
    assert_near(cm_work_weights_bytes(CM_PRECISION_EXACT, q4_0, 1, 64, 40), 4 * 64 * 40);
    assert_near(cm_work_weights_bytes(CM_PRECISION_FP16, q4_0, 1, 64, 40), 2 * 64 * 40);
    assert_near(cm_work_weights_bytes(CM_PRECISION_FP8, q4_0, 1, 64, 40), 64 * 40 + 4 * 40);
    /* 40 outputs are two panels of 32. */
    assert_near(cm_work_weights_bytes(CM_PRECISION_INT4, q4_0, 1, 64, 40), 64 * 64 * 20 / 32);
    assert_near(cm_work_weights_bytes(CM_PRECISION_INT8, q4_0, 1, 64, 40), 64 * 64 * 36 / 32);
    assert_near(cm_work_weights_bytes(CM_PRECISION_INT4, plain, 1, 64, 64), 64 * 64 * 36 / 32);
    /* Two scales and a minimum: the widest of both. */
    assert_near(cm_work_weights_bytes(CM_PRECISION_INT4, mixed, 2, 256, 32), 256 * 32 * 44 / 32);
}

static void integer_products_fill_tiles_of_rows(void **state)
{
    (void)state;
    struct cm_work_matmul shape = { .precision = CM_PRECISION_INT4,
                                    .weights_bytes = 4096 * 1024 * 20 / 32,
                                    .n_rows = 20,
                                    .n_in = 4096,
                                    .n_out = 1024,
                                    .sm_count = 132 };
    struct cm_work work = cm_work_matmul(&shape);
    assert_near(work.bytes, shape.weights_bytes + 20 * 4096 * 4 + 20 * 1024 * 4);
    assert_near(work.flops, 2.0 * 20 * 4096 * 1024);
    assert_near(work.kernel_flops, 2.0 * 32 * 4096 * 1024);
    assert_near(work.blocks, 32); /* panels */
    /* Rows are put in order first: bfloat16 of two tiles out and in. */
    assert_near(work.kernel_bytes, work.bytes + 2 * 32 * 4096 * 2);
    shape.n_rows = 100;
    work = cm_work_matmul(&shape);
    assert_near(work.blocks, 2 * 8);
    assert_near(work.kernel_flops, 2.0 * 128 * 4096 * 1024);
    /* e4m3: a pass that rounds before and one that scales after. */
    shape.precision = CM_PRECISION_FP8;
    shape.weights_bytes = 4096 * 1024 + 4 * 1024;
    work = cm_work_matmul(&shape);
    assert_int_equal(work.unit, CM_UNIT_BLAS_FP8);
    assert_near(work.kernel_bytes, work.bytes + 100 * 4096 * 2 + 100 * 1024 * 8);
    assert_int_equal(work.launches, 3);
}

static void measured_devices_keep_what_was_not_measured(void **state)
{
    (void)state;
    struct cm_machine_limits limits = { .device_name = "NVIDIA A100-SXM4-40GB",
                                        .bandwidth_gbs = 1400,
                                        .bf16_gflops = 250e3,
                                        .sm_count = 107 };
    const struct cm_roofline_device *sheet = cm_roofline_device("a100");
    struct cm_roofline_device device = cm_roofline_measured(&limits);
    assert_string_equal(device.title, limits.device_name);
    assert_int_equal(device.sm_count, 107);
    assert_near(device.bandwidth_gbs, 1400);
    assert_near(device.copy_share, 1);
    assert_near(device.blas_share, 1);
    assert_near(device.mma_share, 1); /* of what cuBLASLt reached */
    assert_near(device.fp32_gflops, sheet->fp32_gflops);
    assert_near(device.latency_us, sheet->latency_us);
    limits.device_name[0] = '\0';
    assert_near(cm_roofline_measured(&limits).launch_us, cm_roofline_device("h100")->launch_us);
}

static void attention_computes_whole_tiles(void **state)
{
    (void)state;
    /* 40 texts of 200 positions, 50 of them shared; 8 heads over 2 of 64: a page that a text sees
     * alone is computed for 16 queries where it has 4; the shared ones for all 160 queries of a KV
     * head in 10 tiles. */
    struct cm_work_attention shape = { .precision = CM_PRECISION_BF16,
                                       .n_rows = 40,
                                       .n_heads = 8,
                                       .n_kv_heads = 2,
                                       .head_dim = 64,
                                       .shared_tokens = 50,
                                       .private_tokens = 150,
                                       .cached_tokens = 50 + 40 * 150,
                                       .sm_count = 132 };
    struct cm_work work = cm_work_attention(&shape);
    double position_bytes = 2 * 2 * 64 * 2; /* k and v of two heads, float16 */
    assert_near(work.bytes, 2 * 40 * 8 * 64 * 4 + 6050 * position_bytes);
    assert_near(work.flops, 4.0 * 40 * 8 * 64 * 200);
    assert_near(work.kernel_flops, 4.0 * 64 * 16 * 2 * (10 * 50 + 40 * 150));
    assert_near(work.blocks, 2 * 2 * 8); /* chunks of 32 rows, KV heads, 16 of 128 queries */
    assert_int_equal(work.launches, 1);
    /* 600 positions are three parts, which so few blocks are split into, and merged. */
    shape.private_tokens = 550;
    work = cm_work_attention(&shape);
    assert_near(work.blocks, 3 * 32);
    assert_near(work.kernel_bytes, work.bytes + 2 * 3 * 40 * 8 * 64 * 4);
    assert_int_equal(work.launches, 2);
    /* A prompt's rows see the same pages, which a block reads for 64 queries, and are enough. */
    struct cm_work_attention prompt = shape;
    prompt.n_rows = 4352;
    prompt.shared_tokens = 600;
    prompt.private_tokens = 0;
    work = cm_work_attention(&prompt);
    assert_near(work.blocks, 136 * 2 * 2);
    assert_int_equal(work.launches, 1);
    /* Texts that share nothing have a block each. */
    shape.shared_tokens = 0;
    assert_near(cm_work_attention(&shape).blocks, 3 * 2 * 2 * 32);
    shape.shared_tokens = 50;
    /* e4m3: a byte an element, and one for each position and head. */
    shape.precision = CM_PRECISION_FP8;
    assert_near(cm_work_attention(&shape).bytes, 2 * 40 * 8 * 64 * 4 + 6050 * 2 * 2 * 65.0);
}

static void sampling_reads_again(void **state)
{
    (void)state;
    assert_near(cm_work_sample(5, 1000, CM_WORK_GREEDY).bytes, 4 * 5000);
    assert_near(cm_work_sample(5, 1000, CM_WORK_GREEDY).sm_bytes, 2 * 4 * 5000);
    assert_near(cm_work_sample(5, 1000, CM_WORK_TOP_K).sm_bytes, 3 * 4 * 5000);
    assert_near(cm_work_sample(5, 1000, CM_WORK_TOP_P).sm_bytes, 5 * 4 * 5000);
}

static void time_is_the_longest_of_its_parts(void **state)
{
    (void)state;
    const struct cm_roofline_device device = { .bandwidth_gbs = 1000,
                                               .fp32_gflops = 10000,
                                               .tensor_gflops = 100000,
                                               .sm_count = 100,
                                               .clock_ghz = 1,
                                               .copy_share = 0.8,
                                               .mma_share = 0.5,
                                               .blas_share = 0.75,
                                               .latency_us = 1,
                                               .launch_us = 2 };
    struct cm_work work = { .bytes = 1e6,
                            .flops = 1e6,
                            .unit = CM_UNIT_MMA,
                            .kernel_bytes = 1e6,
                            .sm_bytes = 1e6,
                            .kernel_flops = 1e6,
                            .blocks = 100,
                            .flight_bytes = 1e4,
                            .sm_blocks = 1,
                            .launches = 1 };
    struct cm_roofline_time time = cm_roofline_time(&device, &work);
    assert_near(time.roofline_s, 1e-6);
    assert_near(time.designed_s, 2e-6 + 1e-6 / 0.8);
    assert_string_equal(time.bound, "launches");
    work.kernel_bytes = 1e7;
    time = cm_roofline_time(&device, &work);
    assert_near(time.designed_s, 2e-6 + 1e-5 / 0.8);
    assert_string_equal(time.bound, "memory");
    work.flight_bytes = 1e3; /* a tenth of what covers the latency */
    time = cm_roofline_time(&device, &work);
    assert_near(time.covered, 0.1);
    assert_near(time.designed_s, 2e-6 + 1e-5 / 0.8 / 0.1);
    assert_string_equal(time.bound, "loads in flight");
    work.kernel_bytes = 0;
    work.sm_bytes = 6.4e7; /* 100 multiprocessors with 64 bytes a nanosecond: 10 us */
    time = cm_roofline_time(&device, &work);
    assert_near(time.designed_s, 2e-6 + 1e-5);
    assert_string_equal(time.bound, "multiprocessors");
    work.sm_bytes = 0;
    work.kernel_flops = 1e9; /* at half the peak: 20 us; 101 blocks take two rounds */
    work.blocks = 101;
    time = cm_roofline_time(&device, &work);
    assert_near(time.imbalance, 200.0 / 101);
    assert_near(time.designed_s, 2e-6 + 2e-5 * 200 / 101);
    assert_string_equal(time.bound, "arithmetic");
}

static void devices_are_known_by_name(void **state)
{
    (void)state;
    assert_non_null(cm_roofline_device("h100"));
    assert_true(cm_roofline_device("h200")->bandwidth_gbs >
                cm_roofline_device("h100")->bandwidth_gbs);
    assert_null(cm_roofline_device("tpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_ops_move_each_operand_once),
        cmocka_unit_test(products_pad_their_tiles),
        cmocka_unit_test(weights_take_what_their_precision_says),
        cmocka_unit_test(integer_products_fill_tiles_of_rows),
        cmocka_unit_test(measured_devices_keep_what_was_not_measured),
        cmocka_unit_test(attention_computes_whole_tiles),
        cmocka_unit_test(sampling_reads_again),
        cmocka_unit_test(time_is_the_longest_of_its_parts),
        cmocka_unit_test(devices_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
