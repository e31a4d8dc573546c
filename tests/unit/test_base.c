#include "base/checked.h"
#include "base/dtype.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/queue.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void text_keeps_its_limit(void **state)
{
    (void)state;
    struct cm_text text = CM_TEXT_INIT(5);
    assert_int_equal(cm_text_append_string(&text, "abcd"), CM_OK);
    assert_int_equal(cm_text_append_string(&text, "ef"), CM_LIMIT);
    assert_string_equal(cm_text_string(&text), "abcd");
    assert_int_equal(cm_text_printf(&text, "%d", 7), CM_OK);
    assert_string_equal(cm_text_string(&text), "abcd7");
    cm_text_deinit(&text);
    assert_string_equal(cm_text_string(&text), "");
}

static void nth_allocation_fails_once(void **state)
{
    (void)state;
    cm_memory_fail_at(2);
    void *first = cm_alloc(1, 8);
    void *second = cm_alloc(1, 8);
    void *third = cm_alloc(1, 8);
    cm_memory_fail_at(0);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    cm_free(first);
    cm_free(third);
    assert_null(cm_alloc(SIZE_MAX / 2, 4));
}

static void hash_matches_known_answers(void **state)
{
    (void)state;
    struct cm_hash *hash = NULL;
    uint8_t digest[CM_SHA256_BYTES];
    char hex[CM_SHA256_HEX_BYTES];
    assert_int_equal(cm_hash_open(&hash), CM_OK);
    cm_hash_bytes(hash, "abc", 3); /* FIPS 180-4, example B.1 */
    cm_hash_digest(hash, digest);
    cm_hex(digest, sizeof digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

    uint8_t other[CM_SHA256_BYTES];
    cm_hash_restart(hash);
    cm_hash_text(hash, "ab");
    cm_hash_text(hash, "c");
    cm_hash_digest(hash, digest);
    cm_hash_restart(hash);
    cm_hash_text(hash, "a");
    cm_hash_text(hash, "bc");
    cm_hash_digest(hash, other);
    assert_memory_not_equal(digest, other, sizeof digest);
    cm_hash_close(hash);
}

static void tensor_bytes_are_checked(void **state)
{
    (void)state;
    size_t bytes = 0;
    assert_int_equal(cm_tensor_bytes(CM_Q4_1, 2, (uint64_t[]){ 3, 64 }, &bytes), CM_OK);
    assert_int_equal(bytes, 3 * 2 * 20);
    assert_int_equal(cm_tensor_bytes(CM_Q4_1, 2, (uint64_t[]){ 3, 33 }, &bytes), CM_INVALID_DATA);
    assert_int_equal(cm_tensor_bytes(CM_F32, 2, (uint64_t[]){ UINT64_MAX, 2 }, &bytes), CM_LIMIT);
    assert_int_equal(cm_tensor_bytes(CM_F32, 0, (uint64_t[]){ 1 }, &bytes), CM_INVALID_DATA);
}

static void queue_is_first_in_first_out(void **state)
{
    (void)state;
    struct cm_queue *queue = NULL;
    int numbers[2] = { 1, 2 };
    void *item = NULL;
    assert_int_equal(cm_queue_open(2, &queue), CM_OK);
    assert_int_equal(cm_queue_try_pop(queue, &item), CM_FULL);
    assert_int_equal(cm_queue_push(queue, &numbers[0]), CM_OK);
    assert_int_equal(cm_queue_push(queue, &numbers[1]), CM_OK);
    assert_int_equal(cm_queue_pop(queue, &item), CM_OK);
    assert_ptr_equal(item, &numbers[0]);
    cm_queue_finish(queue);
    assert_int_equal(cm_queue_push(queue, &numbers[0]), CM_END);
    assert_int_equal(cm_queue_pop(queue, &item), CM_OK);
    assert_ptr_equal(item, &numbers[1]);
    assert_int_equal(cm_queue_pop(queue, &item), CM_END);
    cm_queue_close(queue);
}

static void errors_keep_status_and_context(void **state)
{
    (void)state;
    struct cm_error error;
    assert_int_equal(cm_error_set(&error, CM_IO, "cannot read %s", "x.csv"), CM_IO);
    assert_int_equal(cm_error_prefix(&error, "line %d", 3), CM_IO);
    assert_string_equal(error.message, "line 3: cannot read x.csv");
    assert_int_equal(cm_error_set(NULL, CM_LIMIT, "nobody listens"), CM_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_keeps_its_limit),
        cmocka_unit_test(nth_allocation_fails_once),
        cmocka_unit_test(hash_matches_known_answers),
        cmocka_unit_test(tensor_bytes_are_checked),
        cmocka_unit_test(queue_is_first_in_first_out),
        cmocka_unit_test(errors_keep_status_and_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
