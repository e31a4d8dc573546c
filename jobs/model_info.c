#include "base/log.h"
#include "host/tokenizer.h"
#include "jobs/model_store.h"
#include "jobs/model_subcommands.h"
#include "loaders/model_file.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What can be said about a model without loading it into a device. */
struct model_info {
    const char *path;
    const struct cm_model_config *config;
    const struct cm_tokenizer_data *tokenizer_data;
    enum cm_chat_format chat_format;
    uint64_t parameters_count;
    uint64_t file_weights_bytes;
    uint64_t types_count[CM_DTYPE_COUNT]; /* tensors of each type */
    uint64_t types_bytes[CM_DTYPE_COUNT];
    uint64_t kv_token_bytes; /* keys and values of one token as float32 */
};

static const char *family_name(enum cm_model_family family)
{
    static const char *const names[CM_FAMILY_COUNT] = {
        [CM_FAMILY_GPT2] = "gpt2",   [CM_FAMILY_LLAMA] = "llama", [CM_FAMILY_MISTRAL] = "mistral",
        [CM_FAMILY_QWEN2] = "qwen2", [CM_FAMILY_QWEN3] = "qwen3", [CM_FAMILY_GEMMA3] = "gemma3",
        [CM_FAMILY_BERT] = "bert",
    };
    return names[family];
}

static const char *tokenizer_name(const struct cm_tokenizer_data *data)
{
    static const char *const byte_level[] = {
        [CM_PRE_GPT2] = "byte-level BPE (gpt2)",   [CM_PRE_LLAMA3] = "byte-level BPE (llama3)",
        [CM_PRE_QWEN2] = "byte-level BPE (qwen2)", [CM_PRE_SMOLLM] = "byte-level BPE (smollm)",
        [CM_PRE_NONE] = "byte-level BPE",
    };
    switch (data->model) {
    case CM_TOKENIZER_BYTE_BPE:
        return byte_level[data->pre_tokenizer];
    case CM_TOKENIZER_SENTENCEPIECE:
        return "SentencePiece BPE";
    case CM_TOKENIZER_UNIGRAM:
        return "SentencePiece unigram";
    case CM_TOKENIZER_WORDPIECE:
        return "WordPiece";
    }
    return "unknown";
}

/* For people, and in JSON. */
static const struct {
    const char *name;
    const char *key;
} chat_formats[] = {
    [CM_CHAT_NONE] = { "none (a base model)", "none" },
    [CM_CHAT_CHATML] = { "ChatML", "chatml" },
    [CM_CHAT_GEMMA] = { "Gemma", "gemma" },
};

static void gather(struct model_info *info, const struct cm_model_file *file)
{
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        const struct cm_tensor *tensor = cm_model_file_tensor(file, i);
        const struct cm_dtype_info *type = cm_dtype_info(tensor->dtype);
        info->types_count[tensor->dtype]++;
        info->types_bytes[tensor->dtype] += tensor->bytes;
        info->file_weights_bytes += tensor->bytes;
        info->parameters_count += tensor->bytes / type->block_bytes * type->block_elements;
    }
    const struct cm_model_config *config = info->config;
    info->kv_token_bytes =
        (uint64_t)2 * config->n_layers * config->n_kv_heads * config->head_dim * sizeof(float);
}

/* --- For people --- */

static double mib(uint64_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

static void print_info(const struct model_info *info)
{
    const struct cm_model_config *config = info->config;
    const struct cm_tokenizer_data *data = info->tokenizer_data;
    printf("model        %s\n", config->name);
    printf("file         %s\n", info->path);
    printf("family       %s\n", family_name(config->family));
    printf("parameters   %.1f million\n", (double)info->parameters_count / 1e6);
    printf("layers       %u of width %u, feed-forward %u\n", config->n_layers, config->n_embd,
           config->n_ff);
    printf("heads        %u, keys and values %u, %u wide\n", config->n_heads, config->n_kv_heads,
           config->head_dim);
    printf("context      %u tokens", config->n_positions);
    if (config->sliding_window > 0) {
        printf(", sliding window %u", config->sliding_window);
    }
    printf("\nvocabulary   %u tokens, %s\n", data->n_tokens, tokenizer_name(data));
    printf("chat format  %s\n", chat_formats[info->chat_format].name);
    printf("stop tokens ");
    for (uint32_t i = 0; i < data->n_stop; i++) {
        struct cm_span name = data->tokens[data->stop[i]];
        printf(" %" PRId32 " %.*s", data->stop[i], (int)name.length, name.data);
    }
    printf("\nweights      %.1f MiB in the file\n", mib(info->file_weights_bytes));
    for (int type = 0; type < CM_DTYPE_COUNT; type++) {
        if (info->types_count[type] > 0) {
            printf("               %-5s %5" PRIu64 " tensors  %9.1f MiB\n",
                   cm_dtype_info((enum cm_dtype)type)->name, info->types_count[type],
                   mib(info->types_bytes[type]));
        }
    }
    printf("memory       weights: about %.0f MiB as int8, %.0f MiB as bf16, %.0f MiB exact\n",
           mib(info->parameters_count + info->parameters_count / 8),
           mib(2 * info->parameters_count), mib(4 * info->parameters_count));
    printf("             context: %.1f MiB for 1000 tokens in float32\n",
           mib(1000 * info->kv_token_bytes));
}

/* --- For programs --- */

static json_t *stop_tokens_json(const struct cm_tokenizer_data *data)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < data->n_stop; i++) {
        struct cm_span name = data->tokens[data->stop[i]];
        json_array_append_new(list, json_pack("{s:i, s:s%}", "id", (int)data->stop[i], "name",
                                              name.data, name.length));
    }
    return list;
}

static json_t *types_json(const struct model_info *info)
{
    json_t *types = json_object();
    for (int type = 0; type < CM_DTYPE_COUNT; type++) {
        if (info->types_count[type] > 0) {
            json_object_set_new(types, cm_dtype_info((enum cm_dtype)type)->name,
                                json_pack("{s:I, s:I}", "tensors",
                                          (json_int_t)info->types_count[type], "bytes",
                                          (json_int_t)info->types_bytes[type]));
        }
    }
    return types;
}

static enum cm_exit print_json(const struct model_info *info)
{
    const struct cm_model_config *config = info->config;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:o, s:I, s:I, "
        "s:o}",
        "name", config->name, "file", info->path, "family", family_name(config->family),
        "parameters", (json_int_t)info->parameters_count, "layers", (int)config->n_layers, "width",
        (int)config->n_embd, "heads", (int)config->n_heads, "kv_heads", (int)config->n_kv_heads,
        "head_dim", (int)config->head_dim, "context_tokens", (int)config->n_positions,
        "sliding_window", (int)config->sliding_window, "vocabulary",
        (int)info->tokenizer_data->n_tokens, "tokenizer", tokenizer_name(info->tokenizer_data),
        "chat_format", chat_formats[info->chat_format].key, "stop_tokens",
        stop_tokens_json(info->tokenizer_data), "weights_bytes",
        (json_int_t)info->file_weights_bytes, "kv_token_bytes", (json_int_t)info->kv_token_bytes,
        "types", types_json(info));
    int written = object == NULL ? -1 : json_dumpf(object, stdout, JSON_INDENT(2));
    json_decref(object);
    if (written != 0) {
        cm_log(CM_LOG_ERROR, "The description cannot be written as JSON.");
        return CM_EXIT_FAILED;
    }
    putchar('\n');
    return CM_EXIT_OK;
}

static enum cm_exit describe(const char *name, bool as_json)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error = { 0 };
    struct cm_model_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct model_info info = { .path = path };
    enum cm_exit result = CM_EXIT_OK;
    if (cm_model_resolve(name, path, sizeof path, &error) != CM_OK ||
        cm_model_file_open(path, &file, &error) != CM_OK) {
        result = cm_model_failed(&error);
        goto end;
    }
    info.config = cm_model_file_config(file);
    info.tokenizer_data = cm_model_file_tokenizer(file);
    enum cm_status status = cm_tokenizer_open(info.tokenizer_data, &tokenizer, &error);
    if (status != CM_OK && status != CM_UNSUPPORTED) {
        result = cm_model_failed(&error);
        goto end;
    }
    info.chat_format = tokenizer == NULL ? CM_CHAT_NONE : cm_tokenizer_chat_format(tokenizer);
    gather(&info, file);
    if (as_json) {
        result = print_json(&info);
    } else {
        print_info(&info);
    }
end:
    cm_tokenizer_close(tokenizer);
    cm_model_file_close(file);
    return result;
}

enum cm_exit cm_model_info_command(int argc, char **argv)
{
    static const char help[] = "Usage: copymill model info MODEL [--json]\n\n"
                               "Tells what a model is: family, size, types of its tensors, "
                               "tokenizer, chat format and the\n"
                               "memory it needs.\n\n"
                               "  --json           one JSON object instead of text\n"
                               "  --help           this text\n";
    static const struct option options[] = { { "json", no_argument, NULL, 'j' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    bool as_json = false;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'j':
            as_json = true;
            break;
        case 'h':
            return cm_model_help(help);
        default:
            return cm_model_wrong_usage("info", NULL);
        }
    }
    if (optind + 1 != argc) {
        return cm_model_wrong_usage("info", "info takes one model.");
    }
    return describe(argv[optind], as_json);
}
