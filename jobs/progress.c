#include "jobs/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "jobs/display_text.h"
#include "loaders/json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 4096, PREVIEW_BYTES = 600, COLUMNS_DEFAULT = 80, LINES = 3 };

static const double REDRAW_S = 0.2;
static const double PLAIN_S = 10;
static const double JSON_S = 1;

struct cm_progress {
    struct cm_progress_options options;
    enum cm_progress_mode mode; /* never AUTO */
    double start_s;
    double shown_s;       /* when the last update was shown; negative: none yet */
    uint64_t rows_before; /* done when this run began to compute: not part of its rate */
    bool rows_before_known;
    bool drawn;           /* the live lines are on the terminal */
    pthread_mutex_t lock; /* the log's hooks may come from any thread */
    struct cm_progress_numbers numbers;
    char preview[PREVIEW_BYTES];
};

/* --- Figures --- */

struct figures {
    uint64_t done;
    double elapsed_s;
    double remaining_s; /* negative: not known yet */
    double copies_per_s;
    double input_per_s; /* prompt tokens, shared ones too */
    double output_per_s;
    double shared; /* share of prompt tokens */
};

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static struct figures figures_of(const struct cm_progress *progress, double now_s)
{
    const struct cm_progress_numbers *numbers = &progress->numbers;
    const struct cm_engine_counters *engine = &numbers->engine;
    struct figures figures = {
        .done = numbers->rows_ok + numbers->rows_flagged + numbers->rows_failed,
        .elapsed_s = now_s - progress->start_s,
        .remaining_s = -1,
    };
    /* Prompts are counted as far as they are in place, not when their requests start. */
    uint64_t in_place = engine->prefill_tokens + engine->shared_tokens;
    figures.shared = ratio((double)engine->shared_tokens, (double)in_place);
    figures.input_per_s = ratio((double)in_place, figures.elapsed_s);
    figures.output_per_s = ratio((double)engine->output_tokens, figures.elapsed_s);
    uint64_t here = figures.done > progress->rows_before ? figures.done - progress->rows_before : 0;
    figures.copies_per_s = ratio((double)here, figures.elapsed_s);
    if (figures.copies_per_s > 0 && numbers->rows_total >= figures.done) {
        figures.remaining_s = (double)(numbers->rows_total - figures.done) / figures.copies_per_s;
    }
    return figures;
}

/* "1:05", "2:00:09"; "-" where it is not known. */
static void append_duration(struct cm_text *line, double seconds)
{
    uint64_t whole = seconds < 0 ? 0 : (uint64_t)(seconds + 0.5);
    enum cm_status status;
    if (seconds < 0) {
        status = cm_text_append_char(line, '-');
    } else if (whole >= 3600) {
        status = cm_text_printf(line, "%llu:%02u:%02u", (unsigned long long)(whole / 3600),
                                (unsigned)(whole / 60 % 60), (unsigned)(whole % 60));
    } else {
        status = cm_text_printf(line, "%u:%02u", (unsigned)(whole / 60), (unsigned)(whole % 60));
    }
    (void)status; /* what does not fit into a line is not shown */
}

#define APPEND(...) (void)!cm_text_printf(__VA_ARGS__)

static void append_count(struct cm_text *line, uint64_t count)
{
    char digits[40];
    cm_display_count(count, digits);
    APPEND(line, "%s", digits);
}

static void append_rows(struct cm_text *line, const struct cm_progress_numbers *numbers,
                        uint64_t done)
{
    append_count(line, done);
    if (numbers->rows_total > 0) {
        APPEND(line, " of ");
        append_count(line, numbers->rows_total);
    }
    APPEND(line, " copies, ");
    append_count(line, numbers->rows_ok);
    APPEND(line, " ok, ");
    append_count(line, numbers->rows_flagged);
    APPEND(line, " flagged, ");
    append_count(line, numbers->rows_failed);
    APPEND(line, " failed");
}

static void append_speed(struct cm_text *line, const struct figures *figures)
{
    APPEND(line, "in ");
    append_count(line, (uint64_t)(figures->input_per_s + 0.5));
    APPEND(line, " tok/s (%.0f %% shared), out ", 100 * figures->shared);
    append_count(line, (uint64_t)(figures->output_per_s + 0.5));
    APPEND(line, " tok/s");
}

static void append_times(struct cm_text *line, const struct figures *figures)
{
    append_duration(line, figures->elapsed_s);
    APPEND(line, " elapsed, ");
    append_duration(line, figures->remaining_s);
    APPEND(line, " remaining");
}

/* --- The live display --- */

static int columns_of(const struct cm_progress *progress)
{
    struct winsize size;
    if (progress->options.columns > 0) {
        return progress->options.columns;
    }
    if (ioctl(fileno(progress->options.stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return COLUMNS_DEFAULT;
}

/* Moves to the first live line and clears from there. The cursor rests below the last one. */
static void erase(struct cm_progress *progress)
{
    if (progress->drawn) {
        fprintf(progress->options.stream, "\x1b[%dA\r\x1b[J", LINES);
        progress->drawn = false;
    }
}

static void append_bar(struct cm_text *line, const struct cm_progress_numbers *numbers,
                       uint64_t done)
{
    enum { WIDTH = 20 };
    double share = ratio((double)done, (double)numbers->rows_total);
    int full = (int)(WIDTH * (share > 1 ? 1 : share));
    APPEND(line, "[%.*s%.*s] %3.0f %%  ", full, "####################", WIDTH - full,
           "--------------------", 100 * share);
}

/* A line never wraps: the last column stays free. */
static void draw_line(struct cm_progress *progress, struct cm_text *line, int columns)
{
    struct cm_span cut = cm_display_cut(cm_text_span(line), columns - 1);
    fprintf(progress->options.stream, "%.*s\n", (int)cut.length, cut.data);
    cm_text_clear(line);
}

static void draw(struct cm_progress *progress, const struct figures *figures)
{
    struct cm_text line = CM_TEXT_INIT(LINE_BYTES_MAX);
    int columns = columns_of(progress);
    erase(progress);
    append_bar(&line, &progress->numbers, figures->done);
    append_rows(&line, &progress->numbers, figures->done);
    draw_line(progress, &line, columns);
    append_speed(&line, figures);
    APPEND(&line, "   ");
    append_times(&line, figures);
    draw_line(progress, &line, columns);
    APPEND(&line, "> %s", progress->preview);
    draw_line(progress, &line, columns);
    cm_text_deinit(&line);
    fflush(progress->options.stream);
    progress->drawn = true;
}

/* --- The other modes --- */

static void print_plain(struct cm_progress *progress, const struct figures *figures)
{
    struct cm_text line = CM_TEXT_INIT(LINE_BYTES_MAX);
    append_rows(&line, &progress->numbers, figures->done);
    APPEND(&line, "; ");
    append_speed(&line, figures);
    APPEND(&line, "; ");
    append_times(&line, figures);
    fprintf(progress->options.stream, "%s\n", cm_text_string(&line));
    fflush(progress->options.stream);
    cm_text_deinit(&line);
}

static double rounded(double value)
{
    return (double)(long long)(value * 1000 + (value < 0 ? -0.5 : 0.5)) / 1000;
}

static void print_json(struct cm_progress *progress, const struct figures *figures,
                       const char *event)
{
    const struct cm_progress_numbers *numbers = &progress->numbers;
    const struct cm_engine_counters *engine = &numbers->engine;
    cm_json_memory_begin();
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "event", event,
        "rows_total", (json_int_t)numbers->rows_total, "rows_done", (json_int_t)figures->done,
        "rows_ok", (json_int_t)numbers->rows_ok, "rows_flagged", (json_int_t)numbers->rows_flagged,
        "rows_failed", (json_int_t)numbers->rows_failed, "rows_reused",
        (json_int_t)numbers->rows_reused, "prompt_tokens", (json_int_t)engine->prompt_tokens,
        "shared_tokens", (json_int_t)engine->shared_tokens, "output_tokens",
        (json_int_t)engine->output_tokens, "prompt_tokens_per_s", rounded(figures->input_per_s),
        "output_tokens_per_s", rounded(figures->output_per_s), "copies_per_s",
        rounded(figures->copies_per_s), "elapsed_s", rounded(figures->elapsed_s));
    if (object == NULL) {
        return; /* no memory for a display line is no reason to end a run */
    }
    if (figures->remaining_s >= 0) {
        json_object_set_new(object, "remaining_s", json_real(rounded(figures->remaining_s)));
    }
    if (progress->preview[0] != '\0') {
        json_object_set_new(object, "preview", json_string(progress->preview));
    }
    json_dumpf(object, progress->options.stream, JSON_COMPACT | JSON_REAL_PRECISION(12));
    fputc('\n', progress->options.stream);
    fflush(progress->options.stream);
    json_decref(object);
}

/* --- Opening and updating --- */

static void before_log(void *context)
{
    struct cm_progress *progress = context;
    pthread_mutex_lock(&progress->lock);
    erase(progress);
    fflush(progress->options.stream);
}

static void after_log(void *context)
{
    struct cm_progress *progress = context;
    if (progress->shown_s >= 0) {
        struct figures figures = figures_of(progress, progress->options.now_s());
        draw(progress, &figures);
    }
    pthread_mutex_unlock(&progress->lock);
}

static enum cm_progress_mode choose_mode(const struct cm_progress_options *options)
{
    if (options->mode != CM_PROGRESS_AUTO) {
        return options->mode;
    }
    const char *terminal = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");
    bool live = isatty(fileno(options->stream)) && terminal != NULL &&
                strcmp(terminal, "dumb") != 0 && (no_color == NULL || no_color[0] == '\0');
    return live ? CM_PROGRESS_TTY : CM_PROGRESS_PLAIN;
}

enum cm_status cm_progress_open_with(const struct cm_progress_options *options,
                                     struct cm_progress **progress)
{
    *progress = cm_alloc(1, sizeof **progress);
    if (*progress == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    (*progress)->options = *options;
    if (options->stream == NULL) {
        (*progress)->options.stream = stderr;
    }
    if (options->now_s == NULL) {
        (*progress)->options.now_s = cm_clock_s;
    }
    (*progress)->mode = choose_mode(&(*progress)->options);
    (*progress)->start_s = (*progress)->options.now_s();
    (*progress)->shown_s = -1;
    pthread_mutex_init(&(*progress)->lock, NULL);
    if ((*progress)->mode == CM_PROGRESS_TTY) {
        cm_log_set_hooks(before_log, after_log, *progress);
    }
    return CM_OK;
}

enum cm_status cm_progress_open(enum cm_progress_mode mode, struct cm_progress **progress)
{
    return cm_progress_open_with(&(struct cm_progress_options){ .mode = mode }, progress);
}

void cm_progress_close(struct cm_progress *progress)
{
    if (progress == NULL) {
        return;
    }
    if (progress->mode == CM_PROGRESS_TTY) {
        cm_log_set_hooks(NULL, NULL, NULL);
        erase(progress);
        fflush(progress->options.stream);
    }
    pthread_mutex_destroy(&progress->lock);
    cm_free(progress);
}

static double interval_of(enum cm_progress_mode mode)
{
    switch (mode) {
    case CM_PROGRESS_TTY:
        return REDRAW_S;
    case CM_PROGRESS_JSON:
        return JSON_S;
    default:
        return PLAIN_S;
    }
}

static void take(struct cm_progress *progress, const struct cm_progress_numbers *numbers)
{
    progress->numbers = *numbers;
    if (!progress->rows_before_known) {
        progress->rows_before = numbers->rows_reused;
        progress->rows_before_known = true;
    }
}

void cm_progress_update(struct cm_progress *progress, const struct cm_progress_numbers *numbers,
                        const char *preview)
{
    double now_s = progress->options.now_s();
    double since_s = now_s - (progress->shown_s < 0 ? progress->start_s : progress->shown_s);
    bool first_drawing = progress->mode == CM_PROGRESS_TTY && progress->shown_s < 0;
    if (progress->mode == CM_PROGRESS_NONE ||
        (since_s < interval_of(progress->mode) && !first_drawing)) {
        return;
    }
    pthread_mutex_lock(&progress->lock);
    take(progress, numbers);
    if (preview != NULL) {
        cm_display_one_line(cm_span_of(preview), progress->preview, sizeof progress->preview);
    }
    progress->shown_s = now_s;
    struct figures figures = figures_of(progress, now_s);
    if (progress->mode == CM_PROGRESS_TTY) {
        draw(progress, &figures);
    } else if (progress->mode == CM_PROGRESS_PLAIN) {
        print_plain(progress, &figures);
    } else {
        print_json(progress, &figures, "progress");
    }
    pthread_mutex_unlock(&progress->lock);
}

static void print_summary(struct cm_progress *progress, const struct figures *figures)
{
    struct cm_text text = CM_TEXT_INIT(LINE_BYTES_MAX);
    const struct cm_engine_counters *engine = &progress->numbers.engine;
    append_rows(&text, &progress->numbers, figures->done);
    if (progress->numbers.rows_reused > 0) {
        APPEND(&text, " (");
        append_count(&text, progress->numbers.rows_reused);
        APPEND(&text, " from an earlier run)");
    }
    APPEND(&text, "\n");
    append_count(&text, engine->prompt_tokens);
    APPEND(&text, " prompt tokens, %.0f %% shared; ", 100 * figures->shared);
    append_count(&text, engine->output_tokens);
    APPEND(&text, " tokens written; %.2f copies/s in ", figures->copies_per_s);
    append_duration(&text, figures->elapsed_s);
    fprintf(progress->options.stream, "%s\n", cm_text_string(&text));
    fflush(progress->options.stream);
    cm_text_deinit(&text);
}

void cm_progress_finish(struct cm_progress *progress, const struct cm_progress_numbers *numbers)
{
    if (progress->mode == CM_PROGRESS_NONE) {
        return;
    }
    pthread_mutex_lock(&progress->lock);
    take(progress, numbers);
    erase(progress);
    progress->shown_s = -1; /* the log must not draw the live lines again */
    struct figures figures = figures_of(progress, progress->options.now_s());
    if (progress->mode == CM_PROGRESS_JSON) {
        print_json(progress, &figures, "finished");
    } else {
        print_summary(progress, &figures);
    }
    pthread_mutex_unlock(&progress->lock);
}
