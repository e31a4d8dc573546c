#include "host/tokenizer.h"
#include "jobs/model_store.h"
#include "jobs/model_subcommands.h"
#include "loaders/model_file.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 64 << 20, READ_BYTES = 1 << 16 };

struct request {
    const char *text;   /* NULL: standard input */
    const char *decode; /* ids to turn into text; NULL: the other way */
    bool as_json;
};

static enum cm_status read_input(struct cm_text *text, struct cm_error *error)
{
    char bytes[READ_BYTES];
    for (size_t count; (count = fread(bytes, 1, sizeof bytes, stdin)) > 0;) {
        enum cm_status status = cm_text_append(text, bytes, count);
        if (status != CM_OK) {
            return cm_error_set(error, status, "Standard input is longer than %d bytes.",
                                TEXT_BYTES_MAX);
        }
    }
    return ferror(stdin) ? cm_error_set(error, CM_IO, "Standard input: %s.", strerror(errno))
                         : CM_OK;
}

static enum cm_status parse_ids(const struct cm_tokenizer *tokenizer, const char *text,
                                struct cm_token_list *list, struct cm_error *error)
{
    const char *at = text;
    for (;;) {
        at += strspn(at, " ,\t\r\n[]");
        if (*at == '\0') {
            return CM_OK;
        }
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno != 0 || id < 0 || id >= (long)cm_tokenizer_size(tokenizer)) {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "--decode: \"%.20s\" is no token id; they are numbers from 0 to "
                                "%" PRIu32 ", with blanks or commas between.",
                                at, cm_tokenizer_size(tokenizer) - 1);
        }
        enum cm_status status = cm_token_list_append(list, (int32_t)id);
        if (status != CM_OK) {
            return cm_error_set(error, status, "No memory for the ids.");
        }
        at = end;
    }
}

/* A piece may be part of a character, or a line end: what would not show is escaped. */
static void print_piece(struct cm_span piece)
{
    putchar('"');
    for (size_t i = 0; i < piece.length; i++) {
        unsigned char byte = (unsigned char)piece.data[i];
        if (byte == '"' || byte == '\\') {
            printf("\\%c", byte);
        } else if (byte == '\n') {
            fputs("\\n", stdout);
        } else if (byte >= 0x20 && byte < 0x7F) {
            putchar(byte);
        } else {
            printf("\\x%02X", byte);
        }
    }
    putchar('"');
}

/* Whether the piece can be shown as it is: printable text in whole characters. */
static bool is_whole_text(const struct cm_tokenizer *tokenizer, int32_t id)
{
    struct cm_span piece = cm_tokenizer_token_bytes(tokenizer, id);
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    bool is_whole = cm_tokenizer_decode(tokenizer, &id, 1, &text) == CM_OK &&
                    cm_span_equal(cm_text_span(&text), piece);
    for (size_t i = 0; i < piece.length && is_whole; i++) {
        unsigned char byte = (unsigned char)piece.data[i];
        is_whole = byte >= 0x20 && byte != 0x7F && byte != '"' && byte != '\\';
    }
    cm_text_deinit(&text);
    return is_whole;
}

static void print_tokens(const struct cm_tokenizer *tokenizer, const struct cm_token_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct cm_span piece = cm_tokenizer_token_bytes(tokenizer, list->ids[i]);
        printf("%" PRId32 "\t", list->ids[i]);
        if (is_whole_text(tokenizer, list->ids[i])) {
            printf("\"%.*s\"", (int)piece.length, piece.data);
        } else {
            print_piece(piece);
        }
        putchar('\n');
    }
    fprintf(stderr, "%zu tokens\n", list->count);
}

/* Pieces that are no whole characters are JSON null: JSON has no bytes. */
static enum cm_status print_json(const struct cm_tokenizer *tokenizer,
                                 const struct cm_token_list *list, struct cm_span text,
                                 struct cm_error *error)
{
    json_t *ids = json_array();
    json_t *pieces = json_array();
    for (size_t i = 0; i < list->count; i++) {
        struct cm_span piece = cm_tokenizer_token_bytes(tokenizer, list->ids[i]);
        json_t *string =
            piece.length == 0 ? json_string("") : json_stringn(piece.data, piece.length);
        json_array_append_new(ids, json_integer(list->ids[i]));
        json_array_append_new(pieces, string == NULL ? json_null() : string);
    }
    json_t *shown = text.length == 0 ? json_string("") : json_stringn(text.data, text.length);
    json_t *object = json_pack("{s:o, s:I, s:o, s:o}", "text", shown == NULL ? json_null() : shown,
                               "count", (json_int_t)list->count, "ids", ids, "pieces", pieces);
    int written = object == NULL ? -1 : json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    if (written != 0) {
        return cm_error_set(error, CM_IO, "The ids cannot be written as JSON.");
    }
    putchar('\n');
    return CM_OK;
}

static enum cm_status answer(const struct cm_tokenizer *tokenizer, const struct request *request,
                             struct cm_token_list *list, struct cm_text *text,
                             struct cm_error *error)
{
    enum cm_status status;
    if (request->decode != NULL) {
        status = parse_ids(tokenizer, request->decode, list, error);
        if (status == CM_OK &&
            cm_tokenizer_decode(tokenizer, list->ids, list->count, text) != CM_OK) {
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the text.");
        }
    } else {
        status = request->text == NULL ? read_input(text, error)
                                       : cm_text_append_string(text, request->text);
        if (status == CM_OK) {
            status = cm_tokenizer_encode(tokenizer, cm_text_span(text), list, error);
        }
    }
    if (status != CM_OK) {
        return status;
    }
    if (request->as_json) {
        return print_json(tokenizer, list, cm_text_span(text), error);
    }
    if (request->decode != NULL) {
        printf("%s\n", cm_text_string(text));
    } else {
        print_tokens(tokenizer, list);
    }
    return CM_OK;
}

static enum cm_exit tokenize(const char *name, const struct request *request)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error = { 0 };
    struct cm_model_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    enum cm_exit result = CM_EXIT_OK;
    if (cm_model_resolve(name, path, sizeof path, &error) != CM_OK ||
        cm_model_file_open(path, &file, &error) != CM_OK ||
        cm_tokenizer_open(cm_model_file_tokenizer(file), &tokenizer, &error) != CM_OK ||
        answer(tokenizer, request, &list, &text, &error) != CM_OK) {
        result = cm_model_failed(&error);
    }
    cm_text_deinit(&text);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
    cm_model_file_close(file);
    return result;
}

enum cm_exit cm_model_tokenize_command(int argc, char **argv)
{
    static const char help[] =
        "Usage: copymill model tokenize MODEL [--text TEXT] [--json]\n"
        "       copymill model tokenize MODEL --decode IDS [--json]\n\n"
        "Shows the ids of a text (of standard input where none is given) and the piece each "
        "stands\n"
        "for, or the text of ids. Markers like <|im_end|> in a text are text, as they are in a\n"
        "catalog.\n\n"
        "  --text TEXT      the text\n"
        "  --decode IDS     ids, with blanks or commas between\n"
        "  --json           one JSON object instead of lines\n"
        "  --help           this text\n";
    static const struct option options[] = { { "text", required_argument, NULL, 't' },
                                             { "decode", required_argument, NULL, 'd' },
                                             { "json", no_argument, NULL, 'j' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct request request = { 0 };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 't':
            request.text = optarg;
            break;
        case 'd':
            request.decode = optarg;
            break;
        case 'j':
            request.as_json = true;
            break;
        case 'h':
            return cm_model_help(help);
        default:
            return cm_model_wrong_usage("tokenize", NULL);
        }
    }
    if (optind + 1 != argc) {
        return cm_model_wrong_usage("tokenize", "tokenize takes one model.");
    }
    if (request.text != NULL && request.decode != NULL) {
        return cm_model_wrong_usage("tokenize", "--text and --decode exclude each other.");
    }
    return tokenize(argv[optind], &request);
}
