/* Block types against the values in tests/golden/quants.json, bit for bit. */
#include "kernels/cpu/quants.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void parse_hex(const char *hex, uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static void check_type(enum cm_dtype dtype, const json_t *entry)
{
    const struct cm_dtype_info *info = cm_dtype_info(dtype);
    const json_t *hex = json_object_get(entry, "hex");
    const json_t *values = json_object_get(entry, "values");
    size_t bytes_count = json_string_length(hex) / 2;
    size_t n = json_array_size(values);
    assert_true(n > 0);
    assert_int_equal(bytes_count / info->block_bytes * info->block_elements, n);

    uint8_t *bytes = malloc(bytes_count);
    float *out = malloc(n * sizeof *out);
    parse_hex(json_string_value(hex), bytes, bytes_count);
    cm_quants_dequantise(dtype, bytes, n, out);
    for (size_t i = 0; i < n; i++) {
        float expected = (float)json_number_value(json_array_get(values, i));
        if (memcmp(&expected, &out[i], sizeof expected) != 0) {
            fail_msg("%s[%zu]: %.9g instead of %.9g", info->name, i, (double)out[i],
                     (double)expected);
        }
    }
    free(out);
    free(bytes);
}

static void values_match_the_golden_file(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(TEST_DATA_DIR "/golden/quants.json", 0, &error);
    assert_non_null(root);
    int checked = 0;
    for (int dtype = 0; dtype < CM_DTYPE_COUNT; dtype++) {
        json_t *entry = json_object_get(root, cm_dtype_info((enum cm_dtype)dtype)->name);
        if (entry != NULL) {
            check_type((enum cm_dtype)dtype, entry);
            checked++;
        }
    }
    assert_int_equal(checked, 10); /* all but F32 */
    json_decref(root);
}

static void half_floats_keep_special_values(void **state)
{
    (void)state;
    assert_true(cm_float_from_f16(0x0001) == 0x1p-24f);
    assert_true(cm_float_from_f16(0x83ff) == -1023 * 0x1p-24f);
    assert_true(cm_float_from_f16(0x7bff) == 65504.0f);
    assert_true(cm_float_from_f16(0xfc00) == -__builtin_inff());
    assert_true(__builtin_isnan(cm_float_from_f16(0x7e01)));
    assert_int_equal(cm_bf16_from_float(1.00390625f), 0x3f80); /* a tie goes to even */
    assert_int_equal(cm_bf16_from_float(1.01171875f), 0x3f82);
    assert_int_equal(cm_bf16_from_float(3.4e38f), 0x7f80);
    assert_true(__builtin_isnan(cm_float_from_bf16(cm_bf16_from_float(__builtin_nanf("")))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_match_the_golden_file),
        cmocka_unit_test(half_floats_keep_special_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
