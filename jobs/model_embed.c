#include "base/memory.h"
#include "host/encoder.h"
#include "jobs/model_store.h"
#include "jobs/model_subcommands.h"
#include "loaders/line_reader.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Lines that are read before their vectors are printed. */
enum { LINES_MAX = 64 };

struct request {
    const char *text;   /* NULL: lines of standard input */
    const char *target; /* print the similarity to this text; NULL: print vectors */
};

struct lines {
    char *texts[LINES_MAX];
    struct cm_span spans[LINES_MAX];
    size_t count;
};

static void lines_clear(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        cm_free(lines->texts[i]);
    }
    lines->count = 0;
}

static enum cm_status lines_add(struct lines *lines, struct cm_span text, struct cm_error *error)
{
    char *copy = cm_strndup(text.data, text.length);
    if (copy == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the texts.");
    }
    lines->texts[lines->count] = copy;
    lines->spans[lines->count++] = (struct cm_span){ copy, text.length };
    return CM_OK;
}

static void print_vector(const float *vector, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++) {
        printf("%s%.7g", i == 0 ? "[" : ",", (double)vector[i]);
    }
    puts("]");
}

static enum cm_status print_lines(struct cm_encoder *encoder, const struct lines *lines,
                                  const float *target, float *vectors, struct cm_error *error)
{
    struct cm_encoder_info info;
    cm_encoder_info(encoder, &info);
    enum cm_status status = cm_encoder_embed(encoder, lines->spans, lines->count, vectors, error);
    for (size_t i = 0; status == CM_OK && i < lines->count; i++) {
        const float *vector = vectors + i * info.dim;
        if (target == NULL) {
            print_vector(vector, info.dim);
        } else {
            printf("%.4f\t%s\n", cm_encoder_similarity(encoder, vector, target), lines->texts[i]);
        }
    }
    return status;
}

static enum cm_status print_input(struct cm_encoder *encoder, struct lines *lines,
                                  const float *target, float *vectors, struct cm_error *error)
{
    struct cm_line_reader *reader = NULL;
    enum cm_status status = cm_line_reader_open("-", &reader, error);
    bool ended = false;
    while (status == CM_OK && !ended) {
        struct cm_line line;
        status = cm_line_reader_next(reader, &line, error);
        ended = status == CM_END;
        if (status == CM_OK && line.problem != NULL) {
            status = cm_error_set(error, CM_INVALID_DATA, "Line %llu %s.",
                                  (unsigned long long)line.number, line.problem);
        } else if (status == CM_OK) {
            status = lines_add(lines, line.text, error);
        }
        if (ended || lines->count == LINES_MAX) {
            status = print_lines(encoder, lines, target, vectors, error);
            lines_clear(lines);
        }
    }
    cm_line_reader_close(reader);
    return status;
}

static enum cm_status answer(struct cm_encoder *encoder, const struct request *request,
                             struct lines *lines, struct cm_error *error)
{
    struct cm_encoder_info info;
    cm_encoder_info(encoder, &info);
    float *vectors = cm_alloc((size_t)(LINES_MAX + 1) * info.dim, sizeof *vectors);
    float *target =
        vectors == NULL || request->target == NULL ? NULL : vectors + (size_t)LINES_MAX * info.dim;
    enum cm_status status = CM_OK;
    if (vectors == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the vectors.");
    }
    if (target != NULL) {
        struct cm_span text = cm_span_of(request->target);
        status = cm_encoder_embed(encoder, &text, 1, target, error);
    }
    if (status == CM_OK && request->text != NULL) {
        status = lines_add(lines, cm_span_of(request->text), error);
        if (status == CM_OK) {
            status = print_lines(encoder, lines, target, vectors, error);
        }
    } else if (status == CM_OK) {
        status = print_input(encoder, lines, target, vectors, error);
    }
    lines_clear(lines);
    cm_free(vectors);
    return status;
}

static enum cm_exit embed(const struct cm_encoder_options *options, const struct request *request)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error = { 0 };
    struct cm_encoder *encoder = NULL;
    struct lines lines = { .count = 0 };
    struct cm_encoder_options resolved = *options;
    enum cm_exit result = CM_EXIT_OK;
    resolved.model_path = path;
    if (cm_model_resolve(options->model_path, path, sizeof path, &error) != CM_OK ||
        cm_encoder_open(&resolved, &encoder, &error) != CM_OK ||
        answer(encoder, request, &lines, &error) != CM_OK) {
        result = cm_model_failed(&error);
    }
    cm_encoder_close(encoder);
    return result;
}

enum cm_exit cm_model_embed_command(int argc, char **argv)
{
    static const char help[] =
        "Usage: copymill model embed MODEL [--text TEXT] [--to TEXT] [--exact]\n\n"
        "Prints the vector of a text (of each line of standard input where none is given) as a\n"
        "JSON list, or how close it is to another text. MODEL is the folder of a model of the\n"
        "BERT family, such as those of sentence-transformers.\n\n"
        "  --text TEXT      the text\n"
        "  --to TEXT        print the cosine similarity to this text, and the line\n"
        "  --exact          compute in float32 throughout\n"
        "  --help           this text\n";
    static const struct option options[] = { { "text", required_argument, NULL, 't' },
                                             { "to", required_argument, NULL, 'o' },
                                             { "exact", no_argument, NULL, 'e' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct request request = { 0 };
    struct cm_encoder_options encoder = { 0 };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 't':
            request.text = optarg;
            break;
        case 'o':
            request.target = optarg;
            break;
        case 'e':
            encoder.precision = CM_ENGINE_EXACT;
            break;
        case 'h':
            return cm_model_help(help);
        default:
            return cm_model_wrong_usage("embed", NULL);
        }
    }
    if (optind + 1 != argc) {
        return cm_model_wrong_usage("embed", "embed takes one model.");
    }
    encoder.model_path = argv[optind];
    return embed(&encoder, &request);
}
