#include "jobs/review/review_command.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/utf8.h"
#include "jobs/interrupt.h"
#include "jobs/job_argument.h"
#include "jobs/review/review_server.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PORT_DEFAULT = 8377, PAUSE_MS = 100 };

struct review_options {
    uint32_t port; /* 0: PORT_DEFAULT, or any where that is taken */
    const char *reviewer;
};

#define FIELD(name) offsetof(struct review_options, name)

static const struct cm_option OPTIONS[] = {
    { .help = "Options" },
    { "port", "N", "port on 127.0.0.1 (8377, or a free one where it is taken)", CM_OPTION_U32,
      .offset = FIELD(port), .minimum = 1, .maximum = 65535 },
    { "reviewer", "NAME", "who decides, until the page is told otherwise (the user)",
      CM_OPTION_STRING, .offset = FIELD(reviewer) },
};
enum { OPTIONS_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

static void print_help(void)
{
    printf(
        "Usage: copymill review JOB [options]\n\n"
        "Serves a page on this machine where people read the copy of a job, approve it, reject\n"
        "it or edit it. JOB is the ledger (copy.csv.job) or the copy file beside it. Prints the\n"
        "address to open; Control-C ends it, and every decision is in the ledger by then.\n");
    cm_cli_print_options(stdout, OPTIONS, OPTIONS_COUNT);
}

/* Names the ledger in the browser's storage, where drafts are kept: by its file, so that a second
 * job has drafts of its own. */
static enum cm_status name_ledger(const char *path, struct cm_review *review,
                                  struct cm_error *error)
{
    char resolved[PATH_MAX];
    uint8_t digest[CM_SHA256_BYTES];
    struct cm_hash *hash = NULL;
    if (cm_hash_open(&hash) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    cm_hash_text(hash, realpath(path, resolved) != NULL ? resolved : path);
    cm_hash_digest(hash, digest);
    cm_hash_close(hash);
    cm_hex(digest, (sizeof review->key - 1) / 2, review->key);
    const char *slash = strrchr(path, '/');
    review->name = slash != NULL ? slash + 1 : path;
    return CM_OK;
}

static const char *name_reviewer(const struct review_options *options)
{
    const char *candidates[] = { options->reviewer, getenv("USER"), getenv("LOGNAME") };
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        struct cm_span name = cm_span_of(candidates[i]);
        if (cm_utf8_valid_name(name) && name.length < CM_REVIEW_NAME_BYTES) {
            return candidates[i];
        }
    }
    return "reviewer";
}

static enum cm_status open_server(const struct cm_review *review,
                                  const struct review_options *options,
                                  struct cm_review_server **server, struct cm_error *error)
{
    uint16_t port = (uint16_t)(options->port != 0 ? options->port : PORT_DEFAULT);
    enum cm_status status = cm_review_server_open(review, port, server, error);
    if (status == CM_ALREADY_EXISTS && options->port == 0) {
        status = cm_review_server_open(review, 0, server, error);
    }
    return status;
}

/* Until Control-C, or until the ledger fails. */
static enum cm_status serve(const struct cm_review_server *server, struct cm_error *error)
{
    const struct cm_review_gate *gate = cm_review_server_gate(server);
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };
    printf("http://127.0.0.1:%u/?key=%s\n", gate->port, gate->key);
    fflush(stdout);
    cm_log(CM_LOG_INFO, "open the address above in a browser; Control-C ends the review");
    while (!cm_interrupt_requested() && !cm_review_server_failed(server, error)) {
        nanosleep(&pause, NULL);
    }
    return cm_review_server_failed(server, error) ? error->status : CM_OK;
}

static enum cm_status review_job(const char *word, const struct review_options *options,
                                 struct cm_error *error)
{
    char path[CM_JOB_PATH_BYTES];
    struct cm_review review = { .reviewer = name_reviewer(options) };
    struct cm_review_server *server = NULL;
    enum cm_status status = cm_job_path(word, path, error);
    if (status == CM_OK) {
        status = name_ledger(path, &review, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_open(path, &review.ledger, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_queue_open(review.ledger, error);
    }
    if (status == CM_OK) {
        status = open_server(&review, options, &server, error);
    }
    if (status == CM_OK) {
        status = serve(server, error);
    }
    cm_review_server_close(server);
    cm_ledger_close(review.ledger);
    return status;
}

enum cm_exit cm_review_command(int argc, char **argv)
{
    struct review_options options = { 0 };
    struct cm_job_arguments arguments;
    struct cm_error error = { 0 };
    enum cm_status status =
        cm_job_arguments_parse(OPTIONS, OPTIONS_COUNT, &options, argc, argv, &arguments, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK && arguments.words_count != 1) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "expected one job: copymill review copy.csv.job");
    }
    if (status == CM_OK) {
        cm_interrupt_install();
        status = review_job(arguments.words[0], &options, &error);
        cm_interrupt_remove();
    }
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
    }
    return status == CM_OK || status == CM_INTERRUPTED     ? CM_EXIT_OK
           : status == CM_IO || status == CM_OUT_OF_MEMORY ? CM_EXIT_FAILED
                                                           : CM_EXIT_USAGE;
}
