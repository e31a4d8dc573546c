#include "tiny_gguf.h"

#include "base/memory.h"
#include "gguf_writer.h"
#include "loaders/model_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM = 16, BLOCK = 32, NAME_BYTES = 64 };

static const struct {
    const char *folder;
    const char *gguf;
} names[] = {
    { "model.embed_tokens.weight", "token_embd.weight" },
    { "model.norm.weight", "output_norm.weight" },
    { "lm_head.weight", "output.weight" },
    { "input_layernorm.weight", "attn_norm.weight" },
    { "self_attn.q_proj.weight", "attn_q.weight" },
    { "self_attn.k_proj.weight", "attn_k.weight" },
    { "self_attn.v_proj.weight", "attn_v.weight" },
    { "self_attn.o_proj.weight", "attn_output.weight" },
    { "post_attention_layernorm.weight", "ffn_norm.weight" },
    { "mlp.gate_proj.weight", "ffn_gate.weight" },
    { "mlp.up_proj.weight", "ffn_up.weight" },
    { "mlp.down_proj.weight", "ffn_down.weight" },
};

static void *must_alloc(size_t bytes)
{
    void *memory = cm_alloc(bytes, 1);
    if (memory == NULL) {
        fprintf(stderr, "no memory for a GGUF file\n");
        abort();
    }
    return memory;
}

/* "model.layers.1.mlp.up_proj.weight" -> "blk.1.ffn_up.weight" */
static void translate(const char *name, char out[NAME_BYTES])
{
    int layer;
    int begin = 0;
    bool in_layer = sscanf(name, "model.layers.%d.%n", &layer, &begin) == 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name + begin, names[i].folder) == 0) {
            snprintf(out, NAME_BYTES, in_layer ? "blk.%2$d.%1$s" : "%s", names[i].gguf, layer);
            return;
        }
    }
    fprintf(stderr, "no name for %s\n", name);
    abort();
}

/* Rows of a head in the order of neighbouring pairs, as the format has them for this family. */
static void pair_rows(const struct cm_tensor *tensor, float *rows)
{
    const float *from = tensor->data;
    size_t width = (size_t)tensor->dims[1];
    for (size_t row = 0; row < tensor->dims[0]; row++) {
        size_t in_head = row % HEAD_DIM;
        size_t source = row - in_head + in_head % 2 * (HEAD_DIM / 2) + in_head / 2;
        memcpy(rows + row * width, from + source * width, width * sizeof *rows);
    }
}

/* A block's step: the power of two, of those that float16 holds, with which `steps` of it reach the
 * largest value. */
static int exponent_of(const float *values, float steps)
{
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) {
        largest = fmaxf(largest, fabsf(values[i]));
    }
    int exponent = -14;
    while (ldexpf(steps, exponent) < largest) {
        exponent++;
    }
    return exponent;
}

/* Q8_0: a float16 and 32 codes; Q4_0: codes by halves of a byte, 8 more than they stand for. */
static void quantise(const float *values, enum cm_dtype type, uint8_t *block)
{
    int exponent = exponent_of(values, type == CM_Q8_0 ? 127 : 7);
    uint16_t scale = (uint16_t)((exponent + 15) << 10);
    memcpy(block, &scale, sizeof scale);
    for (int i = 0; i < BLOCK; i++) {
        int code = (int)lrintf(ldexpf(values[i], -exponent));
        if (type == CM_Q8_0) {
            block[2 + i] = (uint8_t)code;
        } else {
            uint8_t *pair = &block[2 + i % (BLOCK / 2)];
            *pair = (uint8_t)(i < BLOCK / 2 ? code + 8 : *pair | (code + 8) << 4);
        }
    }
}

static void write_tensor(struct gguf_writer *writer, const struct cm_tensor *tensor,
                         enum cm_dtype type)
{
    char name[NAME_BYTES];
    struct cm_tensor written = *tensor;
    float *rows = must_alloc(tensor->bytes);
    uint8_t *blocks = must_alloc(tensor->bytes);
    translate(tensor->name, name);
    written.name = name;
    written.data = rows;
    if (strstr(name, "attn_q.") != NULL || strstr(name, "attn_k.") != NULL) {
        pair_rows(tensor, rows);
    } else {
        memcpy(rows, tensor->data, tensor->bytes);
    }
    if (type != CM_F32 && tensor->n_dims == 2 && tensor->dims[1] % BLOCK == 0) {
        size_t blocks_count = (size_t)tensor->dims[0] * (size_t)tensor->dims[1] / BLOCK;
        size_t block_bytes = cm_dtype_info(type)->block_bytes;
        for (size_t i = 0; i < blocks_count; i++) {
            quantise(rows + i * BLOCK, type, blocks + i * block_bytes);
        }
        written.dtype = type;
        written.data = blocks;
        written.bytes = blocks_count * block_bytes;
    }
    gguf_writer_tensor(writer, &written);
    cm_free(rows);
    cm_free(blocks);
}

/* Each as "left right". */
static void write_merges(struct gguf_writer *writer, const struct cm_tokenizer_data *tokens)
{
    struct cm_span *merges = must_alloc((tokens->n_merges + 1) * sizeof *merges);
    for (uint32_t i = 0; i < tokens->n_merges; i++) {
        struct cm_span left = tokens->merges_left[i];
        struct cm_span right = tokens->merges_right[i];
        char *merge = must_alloc(left.length + 1 + right.length);
        memcpy(merge, left.data, left.length);
        merge[left.length] = ' ';
        memcpy(merge + left.length + 1, right.data, right.length);
        merges[i] = (struct cm_span){ merge, left.length + 1 + right.length };
    }
    gguf_writer_spans(writer, "tokenizer.ggml.merges", merges, tokens->n_merges);
    for (uint32_t i = 0; i < tokens->n_merges; i++) {
        cm_free((void *)merges[i].data);
    }
    cm_free(merges);
}

static void write_metadata(struct gguf_writer *writer, const struct cm_tokenizer_data *tokens)
{
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.context_length", 4096);
    gguf_writer_u32(writer, "llama.embedding_length", 64);
    gguf_writer_u32(writer, "llama.block_count", 2);
    gguf_writer_u32(writer, "llama.feed_forward_length", 176);
    gguf_writer_u32(writer, "llama.attention.head_count", 4);
    gguf_writer_u32(writer, "llama.attention.head_count_kv", 2);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-6F);
    gguf_writer_f32(writer, "llama.rope.freq_base", 10000.0F);
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_spans(writer, "tokenizer.ggml.tokens", tokens->tokens, tokens->n_tokens);
    write_merges(writer, tokens);
}

void tiny_gguf_append(struct cm_text *bytes, const char *folder, enum cm_dtype type,
                      const struct cm_tensor *more)
{
    struct cm_model_file *file = NULL;
    struct gguf_writer writer;
    struct cm_error error = { 0 };
    if (cm_model_file_open(folder, &file, &error) != CM_OK) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    gguf_writer_init(&writer);
    write_metadata(&writer, cm_model_file_tokenizer(file));
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        write_tensor(&writer, cm_model_file_tensor(file, i), type);
    }
    if (more != NULL) {
        gguf_writer_tensor(&writer, more);
    }
    gguf_writer_finish(&writer, bytes);
    gguf_writer_deinit(&writer);
    cm_model_file_close(file);
}
