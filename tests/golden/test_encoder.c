/* The tiny BERT checkpoint against its reference, and the promises of host/encoder.h. */
#include "host/encoder.h"

#include "base/memory.h"
#include "host/tokenizer.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { IDS_MAX = 256, DIM = 64 };

static const char folder[] = TEST_DATA_DIR "/golden/tiny/bert";

static struct cm_encoder *open_encoder(enum cm_engine_precision precision, uint32_t threads)
{
    const struct cm_encoder_options options = { folder, precision, threads };
    struct cm_encoder *encoder = NULL;
    struct cm_error error = { 0 };
    if (cm_encoder_open(&options, &encoder, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return encoder;
}

/* Largest difference to hidden.f32 over all cases. */
static float deviation(struct cm_encoder *encoder)
{
    json_t *root = json_load_file(TEST_DATA_DIR "/golden/tiny/bert/expected.json", 0, NULL);
    FILE *file = fopen(TEST_DATA_DIR "/golden/tiny/bert/hidden.f32", "rb");
    assert_non_null(root);
    assert_non_null(file);
    float worst = 0.0F;
    size_t cases = 0;
    size_t index;
    json_t *one;
    json_array_foreach(json_object_get(root, "cases"), index, one)
    {
        int32_t ids[IDS_MAX];
        static float hidden[IDS_MAX * DIM];
        static float expected[IDS_MAX * DIM];
        const json_t *list = json_object_get(one, "ids");
        size_t count = json_array_size(list);
        long row = (long)json_integer_value(json_object_get(one, "hidden_row"));
        assert_true(count > 0 && count <= IDS_MAX);
        for (size_t i = 0; i < count; i++) {
            ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        }
        assert_int_equal(fseek(file, row * DIM * (long)sizeof(float), SEEK_SET), 0);
        assert_int_equal(fread(expected, sizeof(float), count * DIM, file), count * DIM);
        struct cm_error error = { 0 };
        assert_int_equal(cm_encoder_hidden(encoder, ids, count, hidden, &error), CM_OK);
        for (size_t i = 0; i < count * DIM; i++) {
            worst = fmaxf(worst, fabsf(hidden[i] - expected[i]));
        }
        cases++;
    }
    assert_true(cases >= 2);
    fclose(file);
    json_decref(root);
    return worst;
}

static void agrees_with_the_reference(void **state)
{
    (void)state;
    struct cm_encoder *encoder = open_encoder(CM_ENGINE_EXACT, 2);
    float worst = deviation(encoder);
    print_message("exact: at most %g off\n", (double)worst);
    assert_true(worst < 5e-5F);
    cm_encoder_close(encoder);
    encoder = open_encoder(CM_ENGINE_BF16, 2);
    worst = deviation(encoder);
    print_message("bf16: at most %g off\n", (double)worst);
    assert_true(worst < 0.15F);
    cm_encoder_close(encoder);
}

/* Texts of 0 to 150 words; the last ones are cut. */
static void make_texts(char (*texts)[2048], struct cm_span *spans, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = 0;
        texts[i][0] = '\0';
        for (size_t word = 0; word < i * 5; word++) {
            length += (size_t)snprintf(texts[i] + length, sizeof texts[i] - length, "w%zu mug ",
                                       word * 7 % (i + 3));
        }
        spans[i] = cm_span_of(texts[i]);
    }
}

static void a_vector_depends_on_its_text_alone(void **state)
{
    (void)state;
    enum { TEXTS = 30 };
    static char texts[TEXTS][2048];
    static float together[TEXTS * DIM];
    static float alone[DIM];
    struct cm_span spans[TEXTS];
    struct cm_error error = { 0 };
    make_texts(texts, spans, TEXTS);
    struct cm_encoder *encoder = open_encoder(CM_ENGINE_AUTO, 2);
    struct cm_encoder *other = open_encoder(CM_ENGINE_AUTO, 1);
    assert_int_equal(cm_encoder_embed(encoder, spans, TEXTS, together, &error), CM_OK);
    for (size_t i = TEXTS; i-- > 0;) {
        double squares = 0.0;
        assert_int_equal(cm_encoder_embed(other, &spans[i], 1, alone, &error), CM_OK);
        assert_memory_equal(alone, together + i * DIM, sizeof alone);
        for (size_t k = 0; k < DIM; k++) {
            assert_true(isfinite(alone[k]));
            squares += (double)alone[k] * alone[k];
        }
        assert_true(fabs(squares - 1.0) < 1e-5);
        assert_true(fabs(cm_encoder_similarity(encoder, alone, together + i * DIM) - 1.0) < 1e-5);
    }
    cm_encoder_close(encoder);
    cm_encoder_close(other);
}

static void refuses_what_is_no_encoder(void **state)
{
    (void)state;
    const struct cm_encoder_options options = { TEST_DATA_DIR "/golden/tiny/llama", CM_ENGINE_AUTO,
                                                1 };
    struct cm_encoder *encoder = NULL;
    struct cm_error error = { 0 };
    assert_int_equal(cm_encoder_open(&options, &encoder, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "BERT"));
    const struct cm_engine_options engine_options = { .model_path = folder };
    struct cm_engine *engine = NULL;
    assert_int_equal(cm_engine_open(&engine_options, &engine, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "encoder"));

    float hidden[DIM];
    encoder = open_encoder(CM_ENGINE_AUTO, 1);
    const int32_t outside[] = { 600, -1 };
    assert_int_equal(cm_encoder_hidden(encoder, outside, 1, hidden, &error), CM_INVALID_ARGUMENT);
    assert_int_equal(cm_encoder_hidden(encoder, outside + 1, 1, hidden, &error),
                     CM_INVALID_ARGUMENT);
    assert_int_equal(cm_encoder_hidden(encoder, outside, 0, hidden, &error), CM_INVALID_ARGUMENT);
    cm_encoder_close(encoder);
}

static void survives_each_failing_allocation(void **state)
{
    (void)state;
    const struct cm_encoder_options options = { folder, CM_ENGINE_AUTO, 1 };
    for (uint64_t nth = 1;; nth += nth < 60 ? 1 : 37) {
        struct cm_encoder *encoder = NULL;
        struct cm_error error = { 0 };
        float vector[DIM];
        struct cm_span text = cm_span_of("a mug");
        cm_memory_fail_at(nth);
        enum cm_status status = cm_encoder_open(&options, &encoder, &error);
        if (status == CM_OK) {
            status = cm_encoder_embed(encoder, &text, 1, vector, &error);
        }
        cm_memory_fail_at(0);
        cm_encoder_close(encoder);
        if (status == CM_OK) {
            return;
        }
        assert_int_equal(status, CM_OUT_OF_MEMORY);
        assert_true(nth < 100000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
        cmocka_unit_test(a_vector_depends_on_its_text_alone),
        cmocka_unit_test(refuses_what_is_no_encoder),
        cmocka_unit_test(survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
