/* divergence MODEL [THREADS]: how far copymill's int8 and another engine are from float32 on the
 * same tokens.
 *
 * Reads texts from stdin, native byte order, each as
 *     uint32 tokens_count, uint32 n_vocab, int32 tokens[tokens_count],
 *     float logits[tokens_count][n_vocab]        of the other engine
 * and prints one JSON object: mean Kullback-Leibler divergence from `--precision exact` in nats per
 * token, and the share of tokens with the same first choice, for both. accuracy.py feeds it. */
#include "base/memory.h"
#include "host/engine.h"
#include "jobs/agreement.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONTEXT_TOKENS = 1024 };

struct text {
    uint32_t header[2]; /* tokens_count, n_vocab */
    int32_t tokens[CONTEXT_TOKENS];
    float *reference; /* [CONTEXT_TOKENS, n_vocab] each */
    float *own;
    float *other;
};

static enum cm_status open_engine(const char *path, enum cm_engine_precision precision,
                                  uint32_t threads, struct cm_engine **engine,
                                  struct cm_error *error)
{
    struct cm_engine_options options = {
        .model_path = path,
        .precision = precision,
        .threads = threads,
        .batch = 1,
        .context_tokens = CONTEXT_TOKENS,
    };
    return cm_engine_open(&options, engine, error);
}

/* False at the end of the input and where it is not what it should be. */
static bool read_text(struct text *text, uint32_t n_vocab)
{
    if (fread(text->header, sizeof text->header, 1, stdin) != 1) {
        return false;
    }
    size_t count = text->header[0];
    if (count == 0 || count > CONTEXT_TOKENS || text->header[1] != n_vocab) {
        fprintf(stderr, "divergence: %zu tokens over a vocabulary of %u; the model has %u\n", count,
                text->header[1], n_vocab);
        return false;
    }
    return fread(text->tokens, sizeof *text->tokens, count, stdin) == count &&
           fread(text->other, sizeof *text->other * n_vocab, count, stdin) == count;
}

static void print_agreement(const char *name, const struct cm_agreement *agreement)
{
    printf("\"%s\": {\"divergence\": %.6f, \"same_first_choice\": %.5f}", name,
           cm_agreement_divergence_mean(agreement),
           (double)agreement->choices_same / (double)agreement->choices_count);
}

static enum cm_status compare_texts(struct cm_engine *exact, struct cm_engine *quantised,
                                    struct text *text, struct cm_error *error)
{
    struct cm_engine_info info;
    cm_engine_info(quantised, &info);
    struct cm_agreement own = { 0 };
    struct cm_agreement other = { 0 };
    enum cm_status status = CM_OK;
    while (status == CM_OK && read_text(text, info.n_vocab)) {
        uint32_t count = text->header[0];
        status = cm_engine_logits(exact, text->tokens, count, 0, 0, text->reference, error);
        if (status == CM_OK) {
            status = cm_engine_logits(quantised, text->tokens, count, 0, 0, text->own, error);
        }
        for (size_t row = 0; row < count && status == CM_OK; row++) {
            size_t first = row * info.n_vocab;
            cm_agreement_add_row(&own, text->own + first, text->reference + first, info.n_vocab, 0);
            cm_agreement_add_row(&other, text->other + first, text->reference + first, info.n_vocab,
                                 0);
        }
    }
    if (status == CM_OK) {
        printf("{\"variant\": \"%s\", \"tokens\": %llu, ", info.variant,
               (unsigned long long)own.divergence_rows_count);
        print_agreement("copymill", &own);
        printf(", ");
        print_agreement("other", &other);
        printf("}\n");
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: divergence MODEL [THREADS] < TEXTS\n");
        return 2;
    }
    uint32_t threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    struct cm_engine *exact = NULL;
    struct cm_engine *quantised = NULL;
    struct cm_engine_info info;
    struct cm_error error;
    static struct text text;
    enum cm_status status = open_engine(argv[1], CM_ENGINE_EXACT, threads, &exact, &error);
    if (status == CM_OK) {
        status = open_engine(argv[1], CM_ENGINE_INT8, threads, &quantised, &error);
    }
    if (status == CM_OK) {
        cm_engine_info(exact, &info);
        size_t values = (size_t)CONTEXT_TOKENS * info.n_vocab;
        text.reference = cm_alloc(values, sizeof *text.reference);
        text.own = cm_alloc(values, sizeof *text.own);
        text.other = cm_alloc(values, sizeof *text.other);
        status = text.reference != NULL && text.own != NULL && text.other != NULL
                     ? compare_texts(exact, quantised, &text, &error)
                     : cm_error_set(&error, CM_OUT_OF_MEMORY, "no memory for logits");
    }
    if (status != CM_OK) {
        fprintf(stderr, "divergence: %s\n", error.message);
    }
    cm_free(text.reference);
    cm_free(text.own);
    cm_free(text.other);
    cm_engine_close(exact);
    cm_engine_close(quantised);
    return status == CM_OK ? 0 : 1;
}
