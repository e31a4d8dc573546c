#include "jobs/report/svg_plot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* The box, and the frame of the plot in it. */
enum {
    WIDTH = 640,
    HEIGHT = 260,
    LEFT = 58,
    RIGHT = 14,
    TOP = 22,
    BOTTOM = 44,
    PLOT_WIDTH = WIDTH - LEFT - RIGHT,
    PLOT_HEIGHT = HEIGHT - TOP - BOTTOM,
    TICKS = 5,
};

void cm_html_write(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", stream);
            break;
        case '<':
            fputs("&lt;", stream);
            break;
        case '>':
            fputs("&gt;", stream);
            break;
        case '"':
            fputs("&quot;", stream);
            break;
        case '\'':
            fputs("&#39;", stream);
            break;
        default:
            fputc(*text, stream);
        }
    }
}

void cm_plot_short_number(double number, char out[32])
{
    static const struct {
        double unit;
        const char *sign;
    } units[] = { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (fabs(number) >= units[i].unit * 0.9995) {
            snprintf(out, 32, "%.3g%s", number / units[i].unit, units[i].sign);
            return;
        }
    }
    snprintf(out, 32, "%.3g", number);
}

/* 1, 2 or 5 times a power of ten: the step that gives about TICKS ticks. */
static double tick_step(double range)
{
    double rough = range / TICKS;
    double power = pow(10, floor(log10(rough)));
    double first = rough / power;
    return power * (first <= 1 ? 1 : first <= 2 ? 2 : first <= 5 ? 5 : 10);
}

struct frame {
    FILE *stream;
    struct cm_plot_axis x;
    struct cm_plot_axis y;
};

static double x_of(const struct frame *frame, double value)
{
    return LEFT + PLOT_WIDTH * (value - frame->x.minimum) / (frame->x.maximum - frame->x.minimum);
}

static double y_of(const struct frame *frame, double value)
{
    return TOP +
           PLOT_HEIGHT * (1 - (value - frame->y.minimum) / (frame->y.maximum - frame->y.minimum));
}

static void write_x_ticks(const struct frame *frame)
{
    double step = tick_step(frame->x.maximum - frame->x.minimum);
    double first = ceil(frame->x.minimum / step) * step;
    for (int i = 0; first + i * step <= frame->x.maximum + step / 1000; i++) {
        double at = first + i * step;
        char number[32];
        cm_plot_short_number(at, number);
        fprintf(frame->stream, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                x_of(frame, at), HEIGHT - BOTTOM + 16, number);
    }
    fprintf(frame->stream, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" class=\"label\">",
            LEFT + PLOT_WIDTH / 2, HEIGHT - 6);
    cm_html_write(frame->stream, frame->x.label);
    fputs("</text>\n", frame->stream);
}

static void write_y_ticks(const struct frame *frame)
{
    double step = tick_step(frame->y.maximum - frame->y.minimum);
    for (int i = 0; frame->y.minimum + i * step <= frame->y.maximum + step / 1000; i++) {
        double at = frame->y.minimum + i * step;
        char number[32];
        cm_plot_short_number(at, number);
        fprintf(frame->stream,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                LEFT, WIDTH - RIGHT, y_of(frame, at), y_of(frame, at), LEFT - 6,
                y_of(frame, at) + 4, number);
    }
    fprintf(frame->stream, "<text x=\"%d\" y=\"12\" class=\"label\">", 4);
    cm_html_write(frame->stream, frame->y.label);
    fputs("</text>\n", frame->stream);
}

static void begin(const struct frame *frame, const char *title)
{
    fprintf(frame->stream,
            "<svg viewBox=\"0 0 %d %d\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"><title>",
            WIDTH, HEIGHT);
    cm_html_write(frame->stream, title);
    fputs("</title>\n", frame->stream);
    write_y_ticks(frame);
    write_x_ticks(frame);
}

/* Names of the series under the plot's title; none where there is one series without a name. */
static void write_legend(FILE *stream, const char *const names[2])
{
    static const char *const classes[2] = { "a", "b" };
    fputs("<p class=\"legend\">", stream);
    for (size_t i = 0; i < 2; i++) {
        if (names[i] != NULL) {
            fprintf(stream, "<span class=\"key %s\"></span>", classes[i]);
            cm_html_write(stream, names[i]);
            fputs(" &nbsp; ", stream);
        }
    }
    fputs("</p>\n", stream);
}

/* The highest tick at or above `value`. */
static double round_up(double value)
{
    double step = tick_step(value > 0 ? value : 1);
    return ceil((value > 0 ? value : 1) / step) * step;
}

/* --- Bars --- */

static void write_bar(const struct frame *frame, const struct cm_plot_bars *plot, size_t index)
{
    static const char *const classes[2] = { "a", "b" };
    double step = (plot->x.maximum - plot->x.minimum) / (double)plot->count;
    double from = plot->x.minimum + step * (double)index;
    double below = 0;
    for (size_t i = 0; i < 2; i++) {
        double value = plot->values[i] != NULL ? plot->values[i][index] : 0;
        if (value <= 0) {
            continue;
        }
        double top = y_of(frame, below + value);
        fprintf(frame->stream,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"><title>"
                "%.4g - %.4g: %.0f",
                x_of(frame, from) + 1, top, x_of(frame, from + step) - x_of(frame, from) - 2,
                y_of(frame, below) - top, classes[i], from, from + step, value);
        if (plot->names[i] != NULL) {
            fputc(' ', frame->stream);
            cm_html_write(frame->stream, plot->names[i]);
        }
        fputs("</title></rect>\n", frame->stream);
        below += value;
    }
}

void cm_plot_write_bars(FILE *stream, const struct cm_plot_bars *plot)
{
    double highest = 0;
    for (size_t i = 0; i < plot->count; i++) {
        double value = plot->values[0][i] + (plot->values[1] != NULL ? plot->values[1][i] : 0);
        highest = fmax(highest, value);
    }
    struct frame frame = { stream, plot->x, plot->y };
    if (frame.y.maximum <= 0) {
        frame.y.maximum = round_up(highest);
    }
    write_legend(stream, plot->names);
    begin(&frame, plot->title);
    for (size_t i = 0; i < plot->count; i++) {
        write_bar(&frame, plot, i);
    }
    for (size_t i = 0; i < plot->limits_count; i++) {
        double x = x_of(&frame, plot->limits[i].at);
        bool left = x > WIDTH / 2;
        fprintf(stream,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" class=\"limit\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\" class=\"limit\">",
                x, x, TOP, HEIGHT - BOTTOM, x + (left ? -5 : 5), TOP + 10 + 14 * (int)i,
                left ? "end" : "start");
        cm_html_write(stream, plot->limits[i].label);
        fputs("</text>\n", stream);
    }
    fputs("</svg>\n", stream);
}

/* --- Lines --- */

static void write_line(const struct frame *frame, const struct cm_plot_lines *plot, size_t series)
{
    static const char *const classes[2] = { "a", "b" };
    if (plot->values[series] == NULL || plot->count == 0) {
        return;
    }
    fprintf(frame->stream, "<polyline class=\"%s\" points=\"", classes[series]);
    for (size_t i = 0; i < plot->count; i++) {
        fprintf(frame->stream, "%.1f,%.1f ", x_of(frame, plot->xs[i]),
                y_of(frame, plot->values[series][i]));
    }
    fputs("\"><title>", frame->stream);
    cm_html_write(frame->stream, plot->names[series] != NULL ? plot->names[series] : plot->title);
    fputs("</title></polyline>\n", frame->stream);
}

void cm_plot_write_lines(FILE *stream, const struct cm_plot_lines *plot)
{
    double highest = 0;
    for (size_t series = 0; series < 2; series++) {
        for (size_t i = 0; plot->values[series] != NULL && i < plot->count; i++) {
            highest = fmax(highest, plot->values[series][i]);
        }
    }
    for (size_t i = 0; i < plot->limits_count; i++) {
        highest = fmax(highest, plot->limits[i].at * 1.05);
    }
    struct frame frame = { stream, plot->x, plot->y };
    if (frame.y.maximum <= 0) {
        frame.y.maximum = round_up(highest);
    }
    write_legend(stream, plot->names);
    begin(&frame, plot->title);
    for (size_t i = 0; i < plot->limits_count; i++) {
        double y = y_of(&frame, plot->limits[i].at);
        fprintf(stream,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"limit\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" class=\"limit\">",
                LEFT, WIDTH - RIGHT, y, y, WIDTH - RIGHT, y - 5);
        cm_html_write(stream, plot->limits[i].label);
        fputs("</text>\n", stream);
    }
    write_line(&frame, plot, 0);
    write_line(&frame, plot, 1);
    fputs("</svg>\n", stream);
}
