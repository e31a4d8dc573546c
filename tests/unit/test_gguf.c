/* GGUF files with something wrong: each is refused with a status and a message that says what, and
 * nothing is read outside the file (memory_file_map makes a sanitizer see that). */
#include "base/memory.h"
#include "gguf_writer.h"
#include "loaders/gguf.h"
#include "loaders/model_file.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 8, N_EMBD = 32, ALLOCATIONS_MAX = 200 };

static const char *const tokens[N_VOCAB] = {
    "<|endoftext|>", "<|im_end|>", "a", "b", "ab", "c", "d", "e"
};

static void write_config(struct gguf_writer *writer)
{
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_string(writer, "general.name", "Small one");
    gguf_writer_u32(writer, "llama.block_count", 1);
    gguf_writer_u32(writer, "llama.context_length", 64);
    gguf_writer_u32(writer, "llama.embedding_length", N_EMBD);
    gguf_writer_u32(writer, "llama.feed_forward_length", 64);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
}

static void write_tokenizer(struct gguf_writer *writer)
{
    static const int32_t kinds[N_VOCAB] = { 3, 3, 1, 1, 1, 1, 4, 5 };
    static const char *const merges[] = { "a b" };
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_string(writer, "tokenizer.ggml.pre", "qwen2");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, N_VOCAB);
    gguf_writer_i32s(writer, "tokenizer.ggml.token_type", kinds, N_VOCAB);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", merges, 1);
}

static void write_tensors(struct gguf_writer *writer)
{
    static const float table[N_VOCAB * N_EMBD] = { 1.0F, 2.0F };
    static const uint8_t blocks[2 * 34] = { 7 };
    struct cm_tensor embedding = {
        .name = "token_embd.weight",
        .dtype = CM_F32,
        .n_dims = 2,
        .dims = { N_VOCAB, N_EMBD },
        .data = table,
        .bytes = sizeof table,
    };
    struct cm_tensor quantised = {
        .name = "blk.0.attn_q.weight",
        .dtype = CM_Q8_0,
        .n_dims = 3,
        .dims = { 2, 1, 32 },
        .data = blocks,
        .bytes = sizeof blocks,
    };
    gguf_writer_tensor(writer, &quantised);
    gguf_writer_tensor(writer, &embedding);
}

/* Everything but what the cases below get wrong. */
static void write_base(struct gguf_writer *writer)
{
    write_config(writer);
    gguf_writer_u32(writer, "llama.attention.head_count", 2);
    gguf_writer_u32(writer, "tokenizer.ggml.eos_token_id", 1);
    write_tokenizer(writer);
}

static void write_good(struct gguf_writer *writer)
{
    write_base(writer);
    write_tensors(writer);
}

static enum cm_status open_bytes(const void *bytes, size_t length, struct cm_model_file **file,
                                 struct cm_error *error)
{
    scratch_write("model.gguf", bytes, length);
    *file = NULL;
    *error = (struct cm_error){ 0 };
    return cm_model_file_open(scratch_path("model.gguf"), file, error);
}

static void build(void (*write)(struct gguf_writer *), struct cm_text *bytes)
{
    struct gguf_writer writer;
    gguf_writer_init(&writer);
    write(&writer);
    gguf_writer_finish(&writer, bytes);
    gguf_writer_deinit(&writer);
}

static void test_good(void **state)
{
    (void)state;
    struct cm_text bytes = CM_TEXT_INIT(1 << 20);
    struct cm_model_file *file;
    struct cm_error error;
    build(write_good, &bytes);
    if (open_bytes(bytes.data, bytes.length, &file, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_string_equal(config->name, "Small one");
    assert_int_equal(config->n_vocab, N_VOCAB);
    assert_int_equal(config->n_kv_heads, 2);
    assert_int_equal(config->head_dim, 16);
    assert_true(config->tied_embeddings);
    const struct cm_tokenizer_data *data = cm_model_file_tokenizer(file);
    static const uint8_t kinds[N_VOCAB] = { CM_TOKEN_CONTROL,      CM_TOKEN_CONTROL,
                                            CM_TOKEN_NORMAL,       CM_TOKEN_NORMAL,
                                            CM_TOKEN_NORMAL,       CM_TOKEN_NORMAL,
                                            CM_TOKEN_USER_DEFINED, CM_TOKEN_UNUSED };
    assert_memory_equal(data->kinds, kinds, sizeof kinds);
    assert_int_equal(data->n_stop, 2);
    assert_int_equal(data->stop[0], 1);
    assert_int_equal(data->stop[1], 0);
    assert_int_equal(data->bos, -1);
    assert_true(cm_span_equal_text(data->tokens[4], tokens[4]));
    const struct cm_tensor *quantised = cm_model_file_find(file, "blk.0.attn_q.weight");
    assert_int_equal(quantised->dims[0], 2);
    assert_int_equal(quantised->dims[2], 32);
    assert_int_equal(*(const uint8_t *)quantised->data, 7);
    const float *table = cm_model_file_find(file, "token_embd.weight")->data;
    assert_float_equal(table[1], 2.0F, 0);
    char hex[65];
    assert_int_equal(cm_model_file_digest(file, hex, &error), CM_OK);
    assert_int_equal(strlen(hex), 64);
    cm_model_file_close(file);
    cm_text_deinit(&bytes);
}

/* --- One thing wrong --- */

static void info(struct gguf_writer *writer, const char *name, uint32_t n_dims,
                 const uint64_t *dims, uint32_t type, uint64_t offset)
{
    gguf_writer_tensor_info(writer, cm_span_of(name), n_dims, dims, type, offset);
}

static const uint64_t dims32[5] = { 32, 1, 1, 1, 1 };

static void version_1(struct gguf_writer *writer)
{
    write_good(writer);
    writer->version = 1;
}
static void big_endian(struct gguf_writer *writer)
{
    write_good(writer);
    writer->version = 3U << 24;
}
static void many_tensors(struct gguf_writer *writer)
{
    write_good(writer);
    writer->tensors_count = UINT64_MAX;
}
static void many_entries(struct gguf_writer *writer)
{
    write_good(writer);
    writer->entries_count = UINT64_MAX / 8;
}
static void one_tensor_more(struct gguf_writer *writer)
{
    write_base(writer);
    writer->tensors_count = 1;
}
static void duplicate_key(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_u32(writer, "llama.block_count", 1);
}
static void key_not_utf8(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_u32(writer, "llama.\xc3(", 1);
}
static void unknown_value_type(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_key(writer, "x", 13);
}
static void nested_array(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_key(writer, "x", CM_GGUF_ARRAY);
    gguf_writer_u32(writer, "\t", 0);
    writer->entries_count--;
    /* What follows is a key's length, 1, read as the element type; make it the array type. */
    size_t last = writer->entries.length - (8 + 1 + 4 + 4);
    writer->entries.data[last] = CM_GGUF_ARRAY;
}
static void long_array(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_spans(writer, "x", NULL, 0);
    memset(writer->entries.data + writer->entries.length - 8, 0xff, 8);
}
static void overflowing_array(struct gguf_writer *writer)
{
    uint64_t count = UINT64_MAX / 4 + 2; /* times 4 bytes is 4 */
    write_good(writer);
    gguf_writer_f32s(writer, "x", NULL, 0);
    memcpy(writer->entries.data + writer->entries.length - 8, &count, 8);
}
static void alignment_0(struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "general.alignment", 0);
    write_good(writer);
}
static void alignment_24(struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "general.alignment", 24);
    write_good(writer);
}
static void no_dims(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 0, dims32, 0, 0);
}
static void five_dims(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 5, dims32, 0, 0);
}
static void zero_dim(struct gguf_writer *writer)
{
    uint64_t dims[2] = { 32, 0 };
    write_good(writer);
    info(writer, "x", 2, dims, 0, 0);
}
static void overflowing_dims(struct gguf_writer *writer)
{
    uint64_t dims[4] = { 1ULL << 32, 1ULL << 32, 1, 1 };
    write_good(writer);
    info(writer, "x", 4, dims, 0, 0);
}
static void overflowing_bytes(struct gguf_writer *writer)
{
    uint64_t dims[2] = { 1ULL << 31, 1ULL << 31 };
    write_good(writer);
    info(writer, "x", 2, dims, 0, 0);
}
static void partial_block(struct gguf_writer *writer)
{
    uint64_t dims[1] = { 33 };
    write_good(writer);
    info(writer, "x", 1, dims, 8, 0);
}
static void unknown_type(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 1, dims32, 4, 0);
}
static void misaligned(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 1, dims32, 0, 8);
}
static void beyond_end(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 1, dims32, 0, 1024);
}
static void far_beyond_end(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 1, dims32, 0, UINT64_MAX - 31);
}
static void overlapping(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x", 1, dims32, 0, 64);
}
static void name_not_utf8(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "x\xed\xa0\x80", 1, dims32, 0, 0);
}
static void name_with_nul(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_tensor_info(writer, (struct cm_span){ "a\0b", 3 }, 1, dims32, 0, 0);
}
static void name_empty(struct gguf_writer *writer)
{
    write_good(writer);
    info(writer, "", 1, dims32, 0, 0);
}
static void name_twice(struct gguf_writer *writer)
{
    static const float values[1];
    struct cm_tensor tensor = { .name = "token_embd.weight",
                                .n_dims = 1,
                                .dims = { 1 },
                                .data = values,
                                .bytes = sizeof values };
    write_good(writer);
    gguf_writer_tensor(writer, &tensor);
}
static void unknown_architecture(struct gguf_writer *writer)
{
    gguf_writer_string(writer, "general.architecture", "mamba");
}
static void no_metadata(struct gguf_writer *writer)
{
    write_tensors(writer);
}
static void no_heads(struct gguf_writer *writer)
{
    write_config(writer);
    write_tokenizer(writer);
}
static void heads_0(struct gguf_writer *writer)
{
    gguf_writer_u32(writer, "llama.attention.head_count", 0);
    write_config(writer);
    write_tokenizer(writer);
}
static void heads_are_text(struct gguf_writer *writer)
{
    gguf_writer_string(writer, "llama.attention.head_count", "2");
    write_config(writer);
    write_tokenizer(writer);
}
static void heads_do_not_divide(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_u32(writer, "llama.attention.head_count_kv", 3);
}
static void odd_head(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_u32(writer, "llama.attention.key_length", 15);
}
static void partial_rope(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_u32(writer, "llama.rope.dimension_count", 8);
}
static void experts(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_u32(writer, "llama.expert_count", 8);
}
static void yarn(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_string(writer, "llama.rope.scaling.type", "yarn");
}
static void theta_nan(struct gguf_writer *writer)
{
    write_base(writer);
    gguf_writer_f32(writer, "llama.rope.freq_base", NAN);
}
static void write_rope_factors(struct gguf_writer *writer, const float *values, size_t count)
{
    struct cm_tensor tensor = { .name = "rope_freqs.weight",
                                .n_dims = 1,
                                .dims = { count },
                                .data = values,
                                .bytes = count * sizeof *values };
    write_good(writer);
    gguf_writer_tensor(writer, &tensor);
}
static void rope_factors_of_whole_heads(struct gguf_writer *writer)
{
    static const float values[16];
    write_rope_factors(writer, values, 16);
}
static void rope_factor_0(struct gguf_writer *writer)
{
    static const float values[8] = { 1.0F };
    write_rope_factors(writer, values, 8);
}
static void wrong_table(struct gguf_writer *writer)
{
    static const float values[64];
    struct cm_tensor tensor = { .name = "token_embd.weight",
                                .n_dims = 2,
                                .dims = { 2, 32 },
                                .data = values,
                                .bytes = sizeof values };
    write_base(writer);
    gguf_writer_tensor(writer, &tensor);
}
static void eos_outside(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_u32(writer, "tokenizer.ggml.eot_token_id", N_VOCAB);
}
static void vocabulary_too_small(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_u32(writer, "llama.vocab_size", N_VOCAB - 1);
}
static void huge_vocabulary(struct gguf_writer *writer)
{
    write_good(writer);
    gguf_writer_u32(writer, "llama.vocab_size", UINT32_MAX);
}

static void write_other_tokenizer(struct gguf_writer *writer, const char *model, const char *pre,
                                  const char *first_token, const char *merge, int32_t kind)
{
    const char *some_tokens[2] = { first_token, "b" };
    int32_t kinds[2] = { 1, kind };
    write_config(writer);
    gguf_writer_u32(writer, "llama.attention.head_count", 2);
    gguf_writer_string(writer, "tokenizer.ggml.model", model);
    gguf_writer_string(writer, "tokenizer.ggml.pre", pre);
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", some_tokens, 2);
    gguf_writer_i32s(writer, "tokenizer.ggml.token_type", kinds, 2);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", &merge, 1);
}
static void wordpiece(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "bert", "gpt-2", "a", "a b", 1);
}
static void unknown_pre(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "gpt2", "tekken", "a", "a b", 1);
}
static void token_not_utf8(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "gpt2", "gpt-2", "\xff", "a b", 1);
}
static void merge_of_one(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "gpt2", "gpt-2", "a", "ab", 1);
}
static void merge_without_right(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "gpt2", "gpt-2", "a", "a ", 1);
}
static void unknown_kind(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "gpt2", "gpt-2", "a", "a b", 7);
}
static void no_scores(struct gguf_writer *writer)
{
    write_other_tokenizer(writer, "llama", "default", "a", "a b", 1);
}
static void scores_too_few(struct gguf_writer *writer)
{
    const float scores[1] = { 0.0F };
    write_other_tokenizer(writer, "llama", "default", "a", "a b", 1);
    gguf_writer_f32s(writer, "tokenizer.ggml.scores", scores, 1);
}
static void score_nan(struct gguf_writer *writer)
{
    const float scores[2] = { 0.0F, NAN };
    write_other_tokenizer(writer, "llama", "default", "a", "a b", 1);
    gguf_writer_f32s(writer, "tokenizer.ggml.scores", scores, 2);
}

#define CASE(write, status, message)   \
    {                                  \
#write, write, status, message \
    }

static const struct {
    const char *name;
    void (*write)(struct gguf_writer *);
    enum cm_status status;
    const char *message; /* a part of it */
} rejects[] = {
    CASE(version_1, CM_UNSUPPORTED, "version 1"),
    CASE(big_endian, CM_UNSUPPORTED, "big-endian"),
    CASE(many_tensors, CM_INVALID_DATA, "18446744073709551615 tensors"),
    CASE(many_entries, CM_INVALID_DATA, "metadata keys, more than"),
    CASE(one_tensor_more, CM_INVALID_DATA, "ends inside a tensor name"),
    CASE(duplicate_key, CM_INVALID_DATA, "llama.block_count occurs twice"),
    CASE(key_not_utf8, CM_INVALID_DATA, "metadata key 14 is not valid UTF-8"),
    CASE(unknown_value_type, CM_INVALID_DATA, "unknown value type 13"),
    CASE(nested_array, CM_UNSUPPORTED, "array of arrays"),
    CASE(long_array, CM_INVALID_DATA, "ends inside an array"),
    CASE(overflowing_array, CM_INVALID_DATA, "ends inside a value"),
    CASE(alignment_0, CM_INVALID_DATA, "general.alignment is 0; expected 8 to 65536"),
    CASE(alignment_24, CM_INVALID_DATA, "power of two"),
    CASE(no_dims, CM_INVALID_DATA, "0 dimensions; expected 1 to 4"),
    CASE(five_dims, CM_INVALID_DATA, "5 dimensions"),
    CASE(zero_dim, CM_INVALID_DATA, "dimension of 0"),
    CASE(overflowing_dims, CM_INVALID_DATA, "overflows"),
    CASE(overflowing_bytes, CM_INVALID_DATA, "overflows"),
    CASE(partial_block, CM_INVALID_DATA, "no multiple of the 32 of a Q8_0 block"),
    CASE(unknown_type, CM_UNSUPPORTED, "tensor x has the ggml type 4"),
    CASE(misaligned, CM_INVALID_DATA, "not aligned to 32"),
    CASE(beyond_end, CM_INVALID_DATA, "past the end"),
    CASE(far_beyond_end, CM_INVALID_DATA, "past the end"),
    CASE(overlapping, CM_INVALID_DATA, "overlap"),
    CASE(name_not_utf8, CM_INVALID_DATA, "name of tensor 2"),
    CASE(name_with_nul, CM_INVALID_DATA, "name of tensor 2"),
    CASE(name_empty, CM_INVALID_DATA, "name of tensor 2"),
    CASE(name_twice, CM_INVALID_DATA, "token_embd.weight occurs twice"),
    CASE(unknown_architecture, CM_UNSUPPORTED, "\"mamba\""),
    CASE(no_metadata, CM_INVALID_DATA, "general.architecture is missing"),
    CASE(no_heads, CM_INVALID_DATA, "llama.attention.head_count is missing"),
    CASE(heads_0, CM_INVALID_DATA, "llama.attention.head_count is 0; expected 1 to 1024"),
    CASE(heads_are_text, CM_INVALID_DATA, "is of type string; expected an integer"),
    CASE(heads_do_not_divide, CM_INVALID_DATA, "no multiple of 3 key-value heads"),
    CASE(odd_head, CM_INVALID_DATA, "15 is odd"),
    CASE(partial_rope, CM_UNSUPPORTED, "rotary part of 8"),
    CASE(experts, CM_UNSUPPORTED, "mixture-of-experts"),
    CASE(yarn, CM_UNSUPPORTED, "\"yarn\""),
    CASE(theta_nan, CM_INVALID_DATA, "llama.rope.freq_base is nan"),
    CASE(rope_factors_of_whole_heads, CM_INVALID_DATA, "rope_freqs.weight is not [8]"),
    CASE(rope_factor_0, CM_INVALID_DATA, "rope_freqs.weight[1] is 0"),
    CASE(wrong_table, CM_INVALID_DATA, "token_embd.weight is not [8, 32]"),
    CASE(eos_outside, CM_INVALID_DATA, "eot_token_id is 8; expected 0 to 7"),
    CASE(vocabulary_too_small, CM_INVALID_DATA, "8 tokens, but the model only 7"),
    CASE(huge_vocabulary, CM_INVALID_DATA, "llama.vocab_size is 4294967295"),
    CASE(wordpiece, CM_UNSUPPORTED, "\"bert\""),
    CASE(unknown_pre, CM_UNSUPPORTED, "\"tekken\""),
    CASE(token_not_utf8, CM_INVALID_DATA, "token 0 of tokenizer.ggml.tokens"),
    CASE(merge_of_one, CM_INVALID_DATA, "merge 0"),
    CASE(merge_without_right, CM_INVALID_DATA, "merge 0"),
    CASE(unknown_kind, CM_INVALID_DATA, "token_type[1] is 7"),
    CASE(no_scores, CM_INVALID_DATA, "tokenizer.ggml.scores is missing"),
    CASE(scores_too_few, CM_INVALID_DATA, "has 1 elements; expected 2"),
    CASE(score_nan, CM_INVALID_DATA, "scores[1] is no finite number"),
};

static void test_rejects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rejects / sizeof rejects[0]; i++) {
        struct cm_text bytes = CM_TEXT_INIT(1 << 20);
        struct cm_model_file *file;
        struct cm_error error;
        build(rejects[i].write, &bytes);
        enum cm_status status = open_bytes(bytes.data, bytes.length, &file, &error);
        if (status != rejects[i].status || strstr(error.message, rejects[i].message) == NULL ||
            strstr(error.message, "model.gguf: ") == NULL) {
            fail_msg("%s: %s: %s", rejects[i].name, cm_status_name(status), error.message);
        }
        cm_text_deinit(&bytes);
    }
}

/* --- Any damage --- */

/* Reads every byte that the open file hands out. */
static unsigned touch(const struct cm_model_file *file)
{
    unsigned sum = 0;
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        const struct cm_tensor *tensor = cm_model_file_tensor(file, i);
        for (size_t j = 0; j < tensor->bytes; j++) {
            sum += ((const uint8_t *)tensor->data)[j];
        }
    }
    const struct cm_tokenizer_data *data = cm_model_file_tokenizer(file);
    for (uint32_t i = 0; i < data->n_tokens; i++) {
        for (size_t j = 0; j < data->tokens[i].length; j++) {
            sum += (uint8_t)data->tokens[i].data[j];
        }
    }
    return sum;
}

static void expect_sane(const struct cm_text *bytes, size_t length, const char *damage, size_t at)
{
    struct cm_model_file *file;
    struct cm_error error;
    enum cm_status status = open_bytes(bytes->data, length, &file, &error);
    if (status == CM_OK) {
        touch(file);
        cm_model_file_close(file);
    } else if (error.message[0] == '\0' || error.status != status) {
        fail_msg("%s %zu: %s without a message", damage, at, cm_status_name(status));
    }
}

static void test_truncated(void **state)
{
    (void)state;
    struct cm_text bytes = CM_TEXT_INIT(1 << 20);
    build(write_good, &bytes);
    for (size_t length = 0; length < bytes.length; length += length < 700 ? 1 : 64) {
        struct cm_model_file *file;
        struct cm_error error;
        if (open_bytes(bytes.data, length, &file, &error) == CM_OK) {
            fail_msg("the first %zu of %zu bytes were accepted", length, bytes.length);
        }
        assert_true(error.message[0] != '\0');
    }
    cm_text_deinit(&bytes);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    struct cm_text bytes = CM_TEXT_INIT(1 << 20);
    build(write_good, &bytes);
    uint64_t random = 0x9e3779b97f4a7c15ULL;
    for (size_t i = 0; i < 3000; i++) {
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        size_t at = (size_t)(random >> 33) % (bytes.length < 1100 ? bytes.length : 1100);
        uint8_t mask = (uint8_t)(1U << (random >> 61));
        bytes.data[at] = (char)((uint8_t)bytes.data[at] ^ mask);
        expect_sane(&bytes, bytes.length, "bit flipped at", at);
        bytes.data[at] = (char)((uint8_t)bytes.data[at] ^ mask);
    }
    cm_text_deinit(&bytes);
}

/* Every field of eight bytes, aligned or not, replaced by the values that break arithmetic. */
static void test_huge_values(void **state)
{
    (void)state;
    static const uint64_t values[] = { UINT64_MAX, 1ULL << 63, UINT64_MAX - 31, 1ULL << 32 };
    struct cm_text bytes = CM_TEXT_INIT(1 << 20);
    build(write_good, &bytes);
    for (size_t at = 8; at + 8 <= bytes.length && at < 1100; at++) {
        uint64_t saved;
        memcpy(&saved, bytes.data + at, sizeof saved);
        memcpy(bytes.data + at, &values[at % 4], sizeof saved);
        expect_sane(&bytes, bytes.length, "huge value at", at);
        memcpy(bytes.data + at, &saved, sizeof saved);
    }
    cm_text_deinit(&bytes);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    struct cm_text bytes = CM_TEXT_INIT(1 << 20);
    build(write_good, &bytes);
    scratch_write("model.gguf", bytes.data, bytes.length);
    uint64_t nth = 1;
    for (; nth < ALLOCATIONS_MAX; nth++) {
        struct cm_model_file *file = NULL;
        struct cm_error error = { 0 };
        cm_memory_fail_at(nth);
        enum cm_status status = cm_model_file_open(scratch_path("model.gguf"), &file, &error);
        cm_memory_fail_at(0);
        if (status == CM_OK) {
            cm_model_file_close(file);
            break;
        }
        assert_int_equal(status, CM_OUT_OF_MEMORY);
        assert_true(error.message[0] != '\0');
    }
    assert_in_range(nth, 5, ALLOCATIONS_MAX - 1);
    cm_text_deinit(&bytes);
}

static int set_up(void **state)
{
    (void)state;
    scratch_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_huge_values), cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
