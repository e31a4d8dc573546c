#include "host/tokenizer.h"
#include "jobs/encoder_check.h"
#include "jobs/model_check.h"
#include "jobs/model_store.h"
#include "jobs/model_subcommands.h"
#include "loaders/model_file.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Tokenizer cases --- */

static enum cm_exit check_tokenizer(const char *model_path, const struct cm_reference *reference)
{
    struct cm_error error = { 0 };
    struct cm_model_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    size_t same = 0;
    enum cm_exit result = CM_EXIT_OK;
    enum cm_status status = cm_model_file_open(model_path, &file, &error);
    if (status == CM_OK) {
        status = cm_tokenizer_open(cm_model_file_tokenizer(file), &tokenizer, &error);
    }
    for (size_t i = 0; i < reference->cases_count && status == CM_OK; i++) {
        const struct cm_reference_case *one = &reference->cases[i];
        list.count = 0;
        status = cm_tokenizer_encode(tokenizer, one->text, &list, &error);
        bool is_same = status == CM_OK && list.count == one->ids_count &&
                       memcmp(list.ids, one->ids, list.count * sizeof *list.ids) == 0;
        same += is_same;
        if (!is_same && status == CM_OK) {
            printf("other ids    case %zu: \"%.*s\"\n", i + 1,
                   (int)(one->text.length < 60 ? one->text.length : 60), one->text.data);
        }
    }
    if (status != CM_OK) {
        result = cm_model_failed(&error);
    } else {
        printf("tokenizer    %zu of %zu cases have the same ids\n", same, reference->cases_count);
        result = same == reference->cases_count ? CM_EXIT_OK : CM_EXIT_FAILED;
        printf("result       %s\n", result == CM_EXIT_OK ? "agrees" : "falls short");
    }
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
    cm_model_file_close(file);
    return result;
}

/* --- Logits --- */

static void print_limit(double limit)
{
    if (isfinite(limit)) {
        printf(" (at most %g)", limit);
    }
}

static void print_check(const struct cm_engine_check *check, const struct cm_check_rules *rules)
{
    const struct cm_agreement *agreement = &check->agreement;
    printf("computed by  %s\n", check->variant);
    printf("logits       greatest difference %.3g", agreement->difference_max);
    print_limit(rules->difference_max);
    printf(", mean %.3g", cm_agreement_difference_mean(agreement));
    print_limit(rules->difference_mean_max);
    printf(", over %" PRIu64 " values\n", agreement->values_count);
    printf("first choice %" PRIu64 " of %" PRIu64 " the same\n", agreement->choices_same,
           agreement->choices_count);
    printf("greedy text  %zu of %zu tokens the same, up to the first that differs\n",
           check->greedy_same, check->greedy_count);
    printf("log-prob     greatest difference of a text's mean %.3g\n",
           agreement->logprob_difference_max);
    if (agreement->divergence_rows_count > 0) {
        printf("divergence   KL %.3g nats a token\n", cm_agreement_divergence_mean(agreement));
    }
    if (check->beams_count > 0) {
        printf("beam search  %zu of %zu texts with the same tokens and score\n", check->beams_same,
               check->beams_count);
    }
    if (check->cuts_count > 0) {
        printf("cuts         %zu of %zu with the same bytes\n", check->cuts_same,
               check->cuts_count);
    }
}

static enum cm_exit check_logits(const struct cm_engine_options *options,
                                 const struct cm_reference *reference)
{
    struct cm_error error = { 0 };
    struct cm_engine_check check;
    struct cm_check_rules rules = cm_check_rules(options->precision, reference->kind);
    if (cm_engine_check(options, reference, &check, &error) != CM_OK) {
        return cm_model_failed(&error);
    }
    print_check(&check, &rules);
    bool is_good = cm_engine_check_agrees(&check, &rules);
    printf("result       %s\n", is_good ? "agrees" : "falls short");
    return is_good ? CM_EXIT_OK : CM_EXIT_FAILED;
}

/* --- Hidden states --- */

static enum cm_exit check_hidden(const char *model_path, enum cm_engine_precision precision,
                                 const struct cm_reference *reference)
{
    struct cm_error error = { 0 };
    struct cm_agreement agreement;
    char variant[64];
    struct cm_check_rules rules = cm_check_rules(precision, reference->kind);
    if (cm_encoder_check(model_path, precision, reference, variant, &agreement, &error) != CM_OK) {
        return cm_model_failed(&error);
    }
    double mean = cm_agreement_difference_mean(&agreement);
    printf("computed by  %s\nhidden       greatest difference %.3g", variant,
           agreement.difference_max);
    print_limit(rules.difference_max);
    printf(", mean %.3g", mean);
    print_limit(rules.difference_mean_max);
    printf(", over %" PRIu64 " values\n", agreement.values_count);
    bool is_good = isfinite(agreement.difference_max) &&
                   agreement.difference_max <= rules.difference_max &&
                   mean <= rules.difference_mean_max;
    printf("result       %s\n", is_good ? "agrees" : "falls short");
    return is_good ? CM_EXIT_OK : CM_EXIT_FAILED;
}

/* --- The command --- */

static enum cm_exit check(const char *name, const char *expected_path,
                          struct cm_engine_options options)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error = { 0 };
    struct cm_reference reference = { 0 };
    if (cm_model_resolve(name, path, sizeof path, &error) != CM_OK ||
        cm_reference_init(&reference, expected_path, &error) != CM_OK) {
        return cm_model_failed(&error);
    }
    options.model_path = path;
    printf("model        %s\n", path);
    printf("reference    %s, %zu cases\n", expected_path, reference.cases_count);
    enum cm_exit result =
        reference.kind == CM_REFERENCE_TOKENIZER ? check_tokenizer(path, &reference)
        : reference.kind == CM_REFERENCE_HIDDEN  ? check_hidden(path, options.precision, &reference)
                                                 : check_logits(&options, &reference);
    cm_reference_deinit(&reference);
    return result;
}

static bool parse_precision(const char *text, enum cm_engine_precision *precision)
{
    static const struct {
        const char *name;
        enum cm_engine_precision value;
    } names[] = { { "exact", CM_ENGINE_EXACT }, { "bf16", CM_ENGINE_BF16 },
                  { "fp16", CM_ENGINE_FP16 },   { "int8", CM_ENGINE_INT8 },
                  { "int4", CM_ENGINE_INT4 },   { "fp8", CM_ENGINE_FP8 } };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i].name) == 0) {
            *precision = names[i].value;
            return true;
        }
    }
    return false;
}

enum cm_exit cm_model_check_command(int argc, char **argv)
{
    static const char help[] =
        "Usage: copymill model check MODEL --expected FILE [--precision P]\n\n"
        "Holds a model to a reference and prints how far they agree. FILE is JSON: tokenizer "
        "cases\n"
        "([text, ids]), full logits (with logits.f32 beside it) and beam searches, or the highest\n"
        "logits of greedy tokens, or an encoder's hidden states (with hidden.f32 beside it). The "
        "exit\n"
        "status is 1 where the model falls short.\n\n"
        "  --expected FILE  the reference\n"
        "  --precision P    exact (default), bf16 or int8\n"
#if defined(COPYMILL_CUDA)
        "                   on CUDA devices also fp16, int4 and fp8\n"
        "  --device D       auto (default), cpu, cuda, or as in cuda:0,1\n"
        "  --tp N           devices that compute the model together, tensor parallel (1)\n"
#endif
        "  --help           this text\n";
    static const struct option options[] = {
        { "expected", required_argument, NULL, 'e' }, { "device", required_argument, NULL, 'd' },
        { "tp", required_argument, NULL, 't' },       { "precision", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },           { 0 }
    };
    const char *expected_path = NULL;
    struct cm_engine_options engine = { .precision = CM_ENGINE_EXACT };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'e':
            expected_path = optarg;
            break;
        case 'd':
            engine.device = optarg;
            break;
        case 't':
            engine.tp = (uint32_t)strtoul(optarg, NULL, 10);
            if (engine.tp == 0) {
                return cm_model_wrong_usage("check", "--tp is a number of devices, 1 or more.");
            }
            break;
        case 'p':
            if (!parse_precision(optarg, &engine.precision)) {
                return cm_model_wrong_usage(
                    "check",
                    "--precision is exact, bf16, int8, or on CUDA devices fp16, int4 or fp8.");
            }
            break;
        case 'h':
            return cm_model_help(help);
        default:
            return cm_model_wrong_usage("check", NULL);
        }
    }
    if (optind + 1 != argc || expected_path == NULL) {
        return cm_model_wrong_usage("check", "check takes one model and --expected FILE.");
    }
    return check(argv[optind], expected_path, engine);
}
