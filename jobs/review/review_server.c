#include "jobs/review/review_server.h"

#include "base/memory.h"
#include "jobs/embedded_files.h"
#include "jobs/export/exporter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    IDLE_S = 30,
    HEADER_BYTES_MAX = 64 << 10,
    REASON_BYTES = 160,
};

struct cm_review_server {
    const struct cm_review *review;
    struct cm_review_gate gate;
    struct MHD_Daemon *daemon;
    atomic_bool failed; /* once set, `failure` does not change */
    struct cm_error failure;
};

/* A request whose body is coming in. */
struct request {
    struct cm_text body;
    bool too_large;
};

/* The page, as the build makes it from the files of page/. */
extern const struct cm_embedded_file CM_PAGE_FILES[];
extern const size_t CM_PAGE_FILES_COUNT;

/* No script and no style but the page's own files, nothing from elsewhere, no frame around it. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/* --- Answers --- */

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned code,
                                     const char *type, struct MHD_Response *response)
{
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Content-Security-Policy", policy);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Frame-Options", "DENY");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned code, const char *text)
{
    return send_response(
        connection, code, "text/plain; charset=utf-8",
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY));
}

/* Takes the answer. */
static enum MHD_Result send_json(struct MHD_Connection *connection, unsigned code, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(answer);
    if (text == NULL) {
        return send_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(strlen(text), text, cm_free);
    if (response == NULL) {
        cm_free(text);
    }
    return send_response(connection, code, "application/json; charset=utf-8", response);
}

static enum MHD_Result send_error(struct MHD_Connection *connection, unsigned code,
                                  const char *message)
{
    return send_json(connection, code, json_pack("{s:s}", "error", message));
}

/* An answer, or what went wrong. A conflict has an answer too. */
static enum MHD_Result send_outcome(struct cm_review_server *server,
                                    struct MHD_Connection *connection, enum cm_status status,
                                    json_t *answer, const struct cm_error *error)
{
    switch (status) {
    case CM_OK:
        return send_json(connection, MHD_HTTP_OK, answer);
    case CM_ALREADY_EXISTS:
        if (answer != NULL) {
            return send_json(connection, MHD_HTTP_CONFLICT, answer);
        }
        break;
    case CM_NOT_FOUND:
        return send_error(connection, MHD_HTTP_NOT_FOUND, error->message);
    case CM_INVALID_ARGUMENT:
    case CM_INVALID_DATA:
    case CM_UNSUPPORTED:
        return send_error(connection, MHD_HTTP_BAD_REQUEST, error->message);
    case CM_OUT_OF_MEMORY:
        return send_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, error->message);
    default:
        break;
    }
    /* The ledger does not write any more: whoever runs the program must hear of it. */
    if (!atomic_load(&server->failed)) {
        server->failure = *error;
        atomic_store(&server->failed, true);
    }
    return send_error(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, error->message);
}

/* --- The page's files --- */

static const char *type_of(const char *name)
{
    const char *ending = strrchr(name, '.');
    return strcmp(ending, ".js") == 0    ? "text/javascript; charset=utf-8"
           : strcmp(ending, ".css") == 0 ? "text/css; charset=utf-8"
           : strcmp(ending, ".svg") == 0 ? "image/svg+xml"
                                         : "text/html; charset=utf-8";
}

static enum MHD_Result send_file(struct MHD_Connection *connection, const char *path)
{
    const char *name = strcmp(path, "/") == 0 ? "index.html" : path + 1;
    for (size_t i = 0; i < CM_PAGE_FILES_COUNT; i++) {
        const struct cm_embedded_file *file = &CM_PAGE_FILES[i];
        if (strcmp(name, file->name) == 0) {
            return send_response(connection, MHD_HTTP_OK, type_of(name),
                                 MHD_create_response_from_buffer(file->length, (void *)file->bytes,
                                                                 MHD_RESPMEM_PERSISTENT));
        }
    }
    return send_text(connection, MHD_HTTP_NOT_FOUND, "There is nothing here.\n");
}

/* --- Exports --- */

static enum cm_status choose(const char *const *names, const char *name, int *index,
                             struct cm_error *error)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            *index = i;
            return CM_OK;
        }
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT, "%.40s: unknown", name);
}

static enum cm_status write_export(const struct cm_review_server *server,
                                   const struct cm_review_query *query,
                                   struct cm_export_options *options, FILE *file,
                                   struct cm_export_counts *counts, struct cm_error *error)
{
    int format = 0;
    int origin = 0;
    enum cm_status status = choose(CM_EXPORT_FORMATS, query->format, &format, error);
    if (status == CM_OK && query->origin[0] != '\0') {
        status = choose(CM_EXPORT_ORIGINS, query->origin, &origin, error);
    }
    if (status != CM_OK) {
        return status;
    }
    *options = (struct cm_export_options){
        .format = (enum cm_export_format)format,
        .origin = (enum cm_export_origin)origin,
        .segment = query->segment[0] != '\0' ? query->segment : NULL,
        .everything = query->everything,
        .excel = query->excel,
    };
    return cm_export_write(server->review->ledger, options, file, "the export", counts, error);
}

static void add_number_header(struct MHD_Response *response, const char *name, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    MHD_add_response_header(response, name, text);
}

static enum MHD_Result send_export(struct cm_review_server *server,
                                   struct MHD_Connection *connection,
                                   const struct cm_review_query *query)
{
    struct cm_error error = { 0 };
    struct cm_export_options options = { 0 };
    struct cm_export_counts counts = { 0 };
    FILE *file = tmpfile();
    if (file == NULL) {
        return send_error(connection, MHD_HTTP_INSUFFICIENT_STORAGE,
                          "no room for the export among the temporary files");
    }
    enum cm_status status = write_export(server, query, &options, file, &counts, &error);
    long bytes = status == CM_OK && fflush(file) == 0 ? ftell(file) : -1;
    int descriptor = bytes >= 0 ? dup(fileno(file)) : -1;
    fclose(file);
    if (status != CM_OK || descriptor < 0) {
        return status != CM_OK ? send_outcome(server, connection, status, NULL, &error)
                               : send_error(connection, MHD_HTTP_INSUFFICIENT_STORAGE,
                                            "no room for the export among the temporary files");
    }
    struct MHD_Response *response = MHD_create_response_from_fd((uint64_t)bytes, descriptor);
    char disposition[192];
    snprintf(disposition, sizeof disposition, "attachment; filename=\"copy-%s%s\"", query->format,
             cm_export_ending(options.format));
    if (response != NULL) {
        MHD_add_response_header(response, "Content-Disposition", disposition);
        add_number_header(response, "X-Rows-Written", counts.written);
        add_number_header(response, "X-Rows-Waiting", counts.waiting);
        add_number_header(response, "X-Rows-Refused", counts.refused);
    } else {
        close(descriptor);
    }
    return send_response(connection, MHD_HTTP_OK, "application/octet-stream", response);
}

/* --- Questions --- */

struct parse {
    struct cm_review_query *query;
    enum cm_status status;
    struct cm_error *error;
};

static enum MHD_Result take_parameter(void *context, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    (void)kind;
    struct parse *parse = context;
    parse->status =
        cm_review_query_set(parse->query, name, value != NULL ? value : "", parse->error);
    return parse->status == CM_OK ? MHD_YES : MHD_NO;
}

static enum cm_status parse_query(struct MHD_Connection *connection, struct cm_review_query *query,
                                  struct cm_error *error)
{
    struct parse parse = { query, CM_OK, error };
    cm_review_query_init(query);
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_parameter, &parse);
    return parse.status;
}

static enum MHD_Result answer_get(struct cm_review_server *server,
                                  struct MHD_Connection *connection, const char *path)
{
    static const struct {
        const char *path;
        enum cm_status (*answer)(const struct cm_review *, const struct cm_review_query *,
                                 json_t **, struct cm_error *);
    } questions[] = {
        { "/api/job", cm_review_job },     { "/api/rows", cm_review_rows },
        { "/api/count", cm_review_count }, { "/api/row", cm_review_row },
        { "/api/news", cm_review_news },
    };
    struct cm_error error = { 0 };
    struct cm_review_query query;
    json_t *answer = NULL;
    if (strcmp(path, "/api/session") == 0) {
        return send_json(connection, MHD_HTTP_OK, json_pack("{s:s}", "csrf", server->gate.csrf));
    }
    if (strncmp(path, "/api/", 5) != 0) {
        return send_file(connection, path);
    }
    enum cm_status status = parse_query(connection, &query, &error);
    if (status != CM_OK) {
        return send_outcome(server, connection, status, NULL, &error);
    }
    if (strcmp(path, "/api/export") == 0) {
        return send_export(server, connection, &query);
    }
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        if (strcmp(path, questions[i].path) == 0) {
            status = questions[i].answer(server->review, &query, &answer, &error);
            return send_outcome(server, connection, status, answer, &error);
        }
    }
    return send_error(connection, MHD_HTTP_NOT_FOUND, "there is no such question");
}

static enum MHD_Result answer_post(struct cm_review_server *server,
                                   struct MHD_Connection *connection, const char *path,
                                   const struct request *request)
{
    struct cm_error error = { 0 };
    struct cm_review_body body;
    json_t *answer = NULL;
    bool many = strcmp(path, "/api/decide-many") == 0;
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    if (!many && strcmp(path, "/api/decide") != 0) {
        return send_error(connection, MHD_HTTP_NOT_FOUND, "there is no such question");
    }
    if (type == NULL || strncmp(type, "application/json", 16) != 0) {
        return send_error(connection, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "expected application/json");
    }
    enum cm_status status = cm_review_body_parse(cm_text_span(&request->body), &body, &error);
    if (status == CM_OK) {
        status = many ? cm_review_decide_many(server->review, &body, &answer, &error)
                      : cm_review_decide(server->review, &body, &answer, &error);
    }
    cm_review_body_deinit(&body);
    return send_outcome(server, connection, status, answer, &error);
}

/* --- The gate --- */

static enum MHD_Result open_session(struct cm_review_server *server,
                                    struct MHD_Connection *connection)
{
    char name[40];
    char cookie[160];
    cm_review_gate_cookie(&server->gate, name);
    snprintf(cookie, sizeof cookie, "%s=%s; Path=/; HttpOnly; SameSite=Strict", name,
             server->gate.session);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        MHD_add_response_header(response, "Set-Cookie", cookie);
        MHD_add_response_header(response, "Location", "/");
    }
    return send_response(connection, MHD_HTTP_SEE_OTHER, "text/plain; charset=utf-8", response);
}

static enum cm_review_verdict judge(const struct cm_review_server *server,
                                    struct MHD_Connection *connection, const char *path,
                                    bool changes)
{
    char cookie[40];
    cm_review_gate_cookie(&server->gate, cookie);
    struct cm_review_headers headers = {
        .host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host"),
        .origin = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin"),
        .fetch_site = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-Fetch-Site"),
        .session = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, cookie),
        .csrf = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-CSRF-Token"),
        .changes = changes,
    };
    if (strcmp(path, "/") == 0) {
        headers.key = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "key");
    }
    return cm_review_gate_judge(&server->gate, &headers);
}

static enum MHD_Result refuse(struct MHD_Connection *connection, enum cm_review_verdict verdict)
{
    switch (verdict) {
    case CM_REVIEW_WRONG_HOST:
        return send_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                         "This page answers to 127.0.0.1 and localhost only.\n");
    case CM_REVIEW_WRONG_ORIGIN:
        return send_text(connection, MHD_HTTP_FORBIDDEN, "Another page may not ask here.\n");
    case CM_REVIEW_WRONG_CSRF:
        return send_text(connection, MHD_HTTP_FORBIDDEN,
                         "The request does not come from the page.\n");
    default:
        return send_text(connection, MHD_HTTP_UNAUTHORIZED,
                         "Open the address that copymill review printed in its terminal.\n");
    }
}

static enum MHD_Result answer(struct cm_review_server *server, struct MHD_Connection *connection,
                              const char *path, const char *method, const struct request *request)
{
    bool changes = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
    if (!changes && strcmp(method, MHD_HTTP_METHOD_GET) != 0) {
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or POST, please.\n");
    }
    enum cm_review_verdict verdict = judge(server, connection, path, changes);
    if (verdict == CM_REVIEW_NEW_SESSION) {
        return open_session(server, connection);
    }
    if (verdict != CM_REVIEW_LET_IN) {
        return refuse(connection, verdict);
    }
    if (atomic_load(&server->failed)) {
        return send_error(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, server->failure.message);
    }
    if (request->too_large) {
        return send_error(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the request is too large");
    }
    return changes ? answer_post(server, connection, path, request)
                   : answer_get(server, connection, path);
}

/* --- libmicrohttpd --- */

/* Called once when the headers are there, then with each part of the body, then with none. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_bytes, void **state)
{
    (void)version;
    struct request *request = *state;
    if (request == NULL) {
        request = cm_alloc(1, sizeof *request);
        if (request == NULL) {
            return MHD_NO;
        }
        request->body = CM_TEXT_INIT(CM_REVIEW_BODY_BYTES_MAX);
        *state = request;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        /* What is too much is read all the same, so that the answer can be, and dropped. */
        request->too_large =
            request->too_large || cm_text_append(&request->body, upload, *upload_bytes) != CM_OK;
        *upload_bytes = 0;
        return MHD_YES;
    }
    return answer(context, connection, path, method, request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode reason)
{
    (void)context;
    (void)connection;
    (void)reason;
    struct request *request = *state;
    if (request != NULL) {
        cm_text_deinit(&request->body);
        cm_free(request);
        *state = NULL;
    }
}

static enum cm_status start(struct cm_review_server *server, uint16_t port, struct cm_error *error)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    server->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD, port, NULL, NULL, on_request, server, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_END);
    if (server->daemon == NULL) {
        bool taken = errno == EADDRINUSE;
        return cm_error_set(error, taken ? CM_ALREADY_EXISTS : CM_IO,
                            "cannot serve on 127.0.0.1:%u: %s; choose another port with --port",
                            port, strerror(errno));
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
    server->gate.port = info != NULL ? info->port : port;
    return CM_OK;
}

enum cm_status cm_review_server_open(const struct cm_review *review, uint16_t port,
                                     struct cm_review_server **server, struct cm_error *error)
{
    struct cm_review_server *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->review = review;
    atomic_init(&opened->failed, false);
    enum cm_status status = cm_review_gate_init(&opened->gate, error);
    if (status == CM_OK) {
        status = start(opened, port, error);
    }
    if (status != CM_OK) {
        cm_review_server_close(opened);
        return status;
    }
    *server = opened;
    return CM_OK;
}

void cm_review_server_close(struct cm_review_server *server)
{
    if (server != NULL) {
        if (server->daemon != NULL) {
            MHD_stop_daemon(server->daemon);
        }
        cm_free(server);
    }
}

const struct cm_review_gate *cm_review_server_gate(const struct cm_review_server *server)
{
    return &server->gate;
}

bool cm_review_server_failed(const struct cm_review_server *server, struct cm_error *error)
{
    bool failed = atomic_load(&server->failed);
    if (failed) {
        *error = server->failure;
    }
    return failed;
}
