/* precisions MODEL DEVICE PRECISION... < TEXTS: how far a device's precisions (int8-kv8: with
 * --kv-cache int8) are from float32 on the CPU, for every line of stdin as a text of its own.
 * Prints a JSON object for each precision: mean Kullback-Leibler divergence in nats per token and
 * the share of tokens with the same first choice. */
#include "base/memory.h"
#include "host/engine.h"
#include "host/tokenizer.h"
#include "jobs/agreement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT_TOKENS = 1024, TEXTS_MAX = 256 };

struct text {
    struct cm_token_list tokens;
    float *logits; /* [tokens, n_vocab] in float32 */
};

static const struct {
    const char *name;
    enum cm_engine_precision precision;
    enum cm_engine_kv kv;
} precisions[] = {
    { "exact", CM_ENGINE_EXACT, CM_ENGINE_KV_AUTO },
    { "bf16", CM_ENGINE_BF16, CM_ENGINE_KV_AUTO },
    { "bf16-kv8", CM_ENGINE_BF16, CM_ENGINE_KV_INT8 },
    { "fp16", CM_ENGINE_FP16, CM_ENGINE_KV_AUTO },
    { "int8", CM_ENGINE_INT8, CM_ENGINE_KV_AUTO },
    { "int8-kv8", CM_ENGINE_INT8, CM_ENGINE_KV_INT8 },
    { "int4", CM_ENGINE_INT4, CM_ENGINE_KV_AUTO },
    { "fp8", CM_ENGINE_FP8, CM_ENGINE_KV_AUTO },
};

static enum cm_status open_engine(const char *path, const char *device, const char *precision,
                                  struct cm_engine **engine, struct cm_error *error)
{
    struct cm_engine_options options = { .model_path = path,
                                         .device = device,
                                         .batch = 1,
                                         .context_tokens = CONTEXT_TOKENS,
                                         .device_timeout_s = 3600 }; /* an emulated one is slow */
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        if (strcmp(precisions[i].name, precision) == 0) {
            options.precision = precisions[i].precision;
            options.kv = precisions[i].kv;
            return cm_engine_open(&options, engine, error);
        }
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT, "no precision \"%s\"", precision);
}

/* One line, in float32. CM_END: there is none left. */
static enum cm_status read_text(struct cm_engine *exact, uint32_t n_vocab, struct text *text,
                                struct cm_error *error)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length = getline(&line, &room, stdin);
    if (length <= 0) {
        free(line);
        return CM_END;
    }
    size_t end = (size_t)length - (line[length - 1] == '\n');
    struct cm_span span = { line, end };
    enum cm_status status =
        cm_tokenizer_encode_prompt(cm_engine_tokenizer(exact), span, &text->tokens, error);
    free(line);
    if (status != CM_OK) {
        return status;
    }
    text->logits = cm_alloc(text->tokens.count * n_vocab, sizeof *text->logits);
    return text->logits == NULL
               ? cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for logits")
               : cm_engine_logits(exact, text->tokens.ids, (uint32_t)text->tokens.count, 0, 0,
                                  text->logits, error);
}

static enum cm_status compare(struct cm_engine *engine, const struct text *texts, size_t count,
                              struct cm_error *error)
{
    struct cm_engine_info info;
    struct cm_agreement agreement = { 0 };
    enum cm_status status = CM_OK;
    cm_engine_info(engine, &info);
    for (size_t i = 0; i < count && status == CM_OK; i++) {
        const struct text *text = &texts[i];
        float *logits = cm_alloc(text->tokens.count * info.n_vocab, sizeof *logits);
        status = logits == NULL
                     ? cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for logits")
                     : cm_engine_logits(engine, text->tokens.ids, (uint32_t)text->tokens.count, 0,
                                        0, logits, error);
        for (size_t row = 0; row < text->tokens.count && status == CM_OK; row++) {
            size_t first = row * info.n_vocab;
            cm_agreement_add_row(&agreement, logits + first, text->logits + first, info.n_vocab, 0);
        }
        cm_free(logits);
    }
    if (status == CM_OK) {
        printf("{\"variant\": \"%s\", \"texts\": %zu, \"tokens\": %llu, \"divergence\": %.2e, "
               "\"same_first_choice\": %.4f}\n",
               info.variant, count, (unsigned long long)agreement.divergence_rows_count,
               cm_agreement_divergence_mean(&agreement),
               (double)agreement.choices_same / (double)agreement.choices_count);
        fflush(stdout);
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct text texts[TEXTS_MAX];
    struct cm_engine *engine = NULL;
    struct cm_engine_info info;
    struct cm_error error = { 0 };
    size_t count = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: precisions MODEL DEVICE PRECISION... < TEXTS\n");
        return 2;
    }
    enum cm_status status = open_engine(argv[1], "cpu", "exact", &engine, &error);
    if (status == CM_OK) {
        cm_engine_info(engine, &info);
    }
    while (status == CM_OK && count < TEXTS_MAX) {
        status = read_text(engine, info.n_vocab, &texts[count], &error);
        count += status == CM_OK;
    }
    status = status == CM_END ? CM_OK : status;
    cm_engine_close(engine);
    for (int i = 3; i < argc && status == CM_OK; i++) {
        engine = NULL;
        status = open_engine(argv[1], argv[2], argv[i], &engine, &error);
        if (status == CM_OK) {
            status = compare(engine, texts, count, &error);
        }
        cm_engine_close(engine);
    }
    if (status != CM_OK) {
        fprintf(stderr, "precisions: %s\n", error.message);
    }
    for (size_t i = 0; i < TEXTS_MAX; i++) {
        cm_token_list_deinit(&texts[i].tokens);
        cm_free(texts[i].logits);
    }
    return status == CM_OK ? 0 : 1;
}
