#include "jobs/download.h"

#include "base/clock.h"
#include "base/text.h"
#include "jobs/model_store.h"
#include "jobs/version.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    TRIES_WITHOUT_PROGRESS_MAX = 4,
    FIRST_PAUSE_MS = 250, /* doubled at each try that brings nothing */
    CONNECT_TIMEOUT_S = 30,
    STALL_TIMEOUT_S = 60,
    REDIRECTS_MAX = 10,
    ETAG_BYTES_MAX = 256,
};

struct transfer {
    FILE *file;
    curl_off_t start_bytes; /* in the file before this try */
    char etag[ETAG_BYTES_MAX];
    char etag_path[CM_MODEL_PATH_BYTES];
    double shown_s; /* when progress was last shown */
    bool is_terminal;
};

/* --- Progress --- */

static int show_progress(void *context, curl_off_t total_bytes, curl_off_t now_bytes,
                         curl_off_t upload_total, curl_off_t upload_now)
{
    (void)upload_total;
    (void)upload_now;
    struct transfer *transfer = context;
    double now_s = cm_clock_s();
    double interval_s = transfer->is_terminal ? 0.2 : 10.0;
    if (total_bytes <= 0 || now_s - transfer->shown_s < interval_s) {
        return 0;
    }
    transfer->shown_s = now_s;
    double done = (double)(transfer->start_bytes + now_bytes);
    double all = (double)(transfer->start_bytes + total_bytes);
    fprintf(stderr, "%s%.1f of %.1f MB (%.0f %%)%s", transfer->is_terminal ? "\r" : "", done / 1e6,
            all / 1e6, 100 * done / all, transfer->is_terminal ? "\x1b[K" : "\n");
    return 0;
}

/* --- The entity tag --- */

static void read_etag(struct transfer *transfer)
{
    FILE *file = fopen(transfer->etag_path, "r");
    transfer->etag[0] = '\0';
    if (file != NULL) {
        if (fgets(transfer->etag, sizeof transfer->etag, file) == NULL) {
            transfer->etag[0] = '\0';
        }
        transfer->etag[strcspn(transfer->etag, "\r\n")] = '\0';
        fclose(file);
    }
}

/* A tag that cannot be written only means that a cut transfer starts over. */
static void write_etag(const struct transfer *transfer)
{
    unlink(transfer->etag_path);
    FILE *file = transfer->etag[0] == '"' ? fopen(transfer->etag_path, "w") : NULL;
    if (file != NULL) {
        bool is_written = fputs(transfer->etag, file) >= 0;
        if (fclose(file) != 0 || !is_written) {
            unlink(transfer->etag_path);
        }
    }
}

/* Keeps a strong ETag of the last answer; one that begins with W/ promises too little. */
static size_t take_header(char *line, size_t one, size_t length, void *context)
{
    struct transfer *transfer = context;
    struct cm_span value = { line, length };
    const char name[] = "etag:";
    (void)one;
    if (length > 5 && strncmp(line, "HTTP/", 5) == 0 && transfer->start_bytes == 0) {
        transfer->etag[0] = '\0'; /* the answer to a redirect has a tag of its own */
    }
    if (length > sizeof name && strncasecmp(line, name, sizeof name - 1) == 0 &&
        transfer->start_bytes == 0) {
        value.data += sizeof name - 1;
        value.length -= sizeof name - 1;
        value = cm_span_trim(value);
        if (value.length < sizeof transfer->etag && value.length > 0 && value.data[0] == '"') {
            snprintf(transfer->etag, sizeof transfer->etag, "%.*s", (int)value.length, value.data);
        }
    }
    return length;
}

static size_t take_body(char *bytes, size_t one, size_t length, void *context)
{
    struct transfer *transfer = context;
    (void)one;
    if (transfer->start_bytes == 0 && ftello(transfer->file) == 0) {
        write_etag(transfer); /* before the first byte, so that a killed process can go on */
    }
    return fwrite(bytes, 1, length, transfer->file);
}

/* --- One try --- */

static CURLcode set_options(CURL *curl, const char *url, struct transfer *transfer,
                            struct curl_slist *headers)
{
    char agent[64];
    snprintf(agent, sizeof agent, "copymill/%s", cm_version());
    bool is_secure = strncasecmp(url, "https:", 6) == 0;
    CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
    code = code != CURLE_OK ? code : curl_easy_setopt(curl, CURLOPT_USERAGENT, agent);
    code = code != CURLE_OK
               ? code
               : curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, is_secure ? "https" : "http");
    code = code != CURLE_OK ? code
                            : curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
                                               is_secure ? "https" : "http,https");
    if (code != CURLE_OK) {
        return code;
    }
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, transfer->start_bytes);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, show_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    return CURLE_OK;
}

static CURLcode perform(const char *url, struct transfer *transfer, long *http_status)
{
    char if_range[ETAG_BYTES_MAX + 16];
    struct curl_slist *headers = NULL;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        goto end;
    }
    if (transfer->start_bytes > 0 && transfer->etag[0] != '\0') {
        snprintf(if_range, sizeof if_range, "If-Range: %s", transfer->etag);
        headers = curl_slist_append(NULL, if_range);
        if (headers == NULL) {
            goto end;
        }
    }
    code = set_options(curl, url, transfer, headers);
    if (code == CURLE_OK) {
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http_status);
    }
end:
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return code;
}

/* Opens the file at the point where this try goes on. */
static enum cm_status open_part(struct transfer *transfer, const char *path, bool is_checked,
                                struct cm_error *error)
{
    struct stat about;
    read_etag(transfer);
    bool is_kept = (is_checked || transfer->etag[0] != '\0') && stat(path, &about) == 0;
    transfer->start_bytes = is_kept ? about.st_size : 0;
    if (transfer->start_bytes == 0) {
        transfer->etag[0] = '\0';
    }
    transfer->file = fopen(path, transfer->start_bytes > 0 ? "ab" : "wb");
    return transfer->file != NULL ? CM_OK
                                  : cm_error_set(error, CM_IO, "%s: %s.", path, strerror(errno));
}

static bool is_passing(CURLcode code, long http_status)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return true;
    case CURLE_HTTP_RETURNED_ERROR:
        return http_status >= 500 || http_status == 429;
    default:
        return false;
    }
}

static enum cm_status transfer_failed(CURLcode code, long http_status, const char *url,
                                      const char *path, struct cm_error *error)
{
    if (code == CURLE_HTTP_RETURNED_ERROR) {
        return cm_error_set(error, http_status == 404 ? CM_NOT_FOUND : CM_IO,
                            "%s: the server answers with status %ld.", url, http_status);
    }
    if (code == CURLE_WRITE_ERROR) {
        return cm_error_set(error, CM_IO, "%s: cannot be written (%s).", path, strerror(errno));
    }
    return cm_error_set(error, CM_IO,
                        "%s: %s. What has arrived is kept; the same command goes on from there.",
                        url, curl_easy_strerror(code));
}

static void pause_ms(long pause)
{
    struct timespec wait = { pause / 1000, pause % 1000 * 1000000 };
    nanosleep(&wait, NULL);
}

/* What one try came to. */
enum outcome { DONE, AGAIN, FAILED };

static enum outcome try_once(const char *url, const char *path, bool is_checked,
                             struct transfer *transfer, long *idle_tries, struct cm_error *error)
{
    if (open_part(transfer, path, is_checked, error) != CM_OK) {
        return FAILED;
    }
    long http_status = 0;
    errno = 0;
    CURLcode code = perform(url, transfer, &http_status);
    off_t end_bytes = ftello(transfer->file);
    if (fclose(transfer->file) != 0 && code == CURLE_OK) {
        code = CURLE_WRITE_ERROR;
    }
    /* With a checksum to come, a range past the end can also mean that the file is complete. */
    bool is_past_end = code == CURLE_HTTP_RETURNED_ERROR && http_status == 416;
    if (code == CURLE_OK || (is_past_end && is_checked)) {
        return DONE;
    }
    /* The server has another file by now, or no ranges: from the beginning. */
    bool starts_over = transfer->start_bytes > 0 && (code == CURLE_RANGE_ERROR || is_past_end);
    if (starts_over && unlink(path) == 0) {
        unlink(transfer->etag_path);
        return AGAIN;
    }
    *idle_tries = end_bytes > transfer->start_bytes ? 0 : *idle_tries + 1;
    if (!is_passing(code, http_status) || *idle_tries >= TRIES_WITHOUT_PROGRESS_MAX) {
        transfer_failed(code, http_status, url, path, error);
        return FAILED;
    }
    fprintf(stderr, "%s%s; trying again\n", transfer->is_terminal ? "\r" : "",
            curl_easy_strerror(code));
    pause_ms((long)FIRST_PAUSE_MS << *idle_tries);
    return AGAIN;
}

enum cm_status cm_download(const char *url, const char *path, bool is_checked,
                           struct cm_error *error)
{
    struct transfer transfer = { .is_terminal = isatty(STDERR_FILENO) };
    int length = snprintf(transfer.etag_path, sizeof transfer.etag_path, "%s.etag", path);
    if (length < 0 || (size_t)length >= sizeof transfer.etag_path) {
        return cm_error_set(error, CM_LIMIT, "%s: the path is too long.", path);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for a download.");
    }
    struct cm_error reason = { 0 };
    enum outcome outcome = AGAIN;
    for (long idle_tries = 0; outcome == AGAIN;) {
        outcome = try_once(url, path, is_checked, &transfer, &idle_tries, &reason);
    }
    if (transfer.is_terminal) {
        fputs("\r\x1b[K", stderr);
    }
    curl_global_cleanup();
    return outcome == DONE ? CM_OK : cm_error_set(error, reason.status, "%s", reason.message);
}
