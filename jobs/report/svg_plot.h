/* Plots as inline SVG: drawn in a box of fixed size that the page scales, coloured by the page's
 * style sheet (classes a and b for two series, limit for a limit), so that they follow a light or
 * dark page. Every bar and line has a title that a pointer or a screen reader finds. */
#ifndef CM_JOBS_REPORT_SVG_PLOT_H
#define CM_JOBS_REPORT_SVG_PLOT_H

#include <stddef.h>
#include <stdio.h>

/* A line across the plot at a value of x or y. */
struct cm_plot_limit {
    double at;
    const char *label;
};

struct cm_plot_axis {
    const char *label;
    double minimum;
    double maximum; /* 0 for y: what the values need */
};

/* Bars of equal width over the range of x, two series on top of each other. */
struct cm_plot_bars {
    const char *title; /* for who cannot see it */
    struct cm_plot_axis x;
    struct cm_plot_axis y;
    const double *values[2]; /* [count]; the second may be NULL */
    const char *names[2];
    size_t count;
    const struct cm_plot_limit *limits; /* at values of x */
    size_t limits_count;
};
void cm_plot_write_bars(FILE *stream, const struct cm_plot_bars *plot);

/* Lines over x, which rises. */
struct cm_plot_lines {
    const char *title;
    struct cm_plot_axis x;
    struct cm_plot_axis y;
    const double *xs;        /* [count] */
    const double *values[2]; /* [count]; the second may be NULL */
    const char *names[2];
    size_t count;
    const struct cm_plot_limit *limits; /* at values of y */
    size_t limits_count;
};
void cm_plot_write_lines(FILE *stream, const struct cm_plot_lines *plot);

/* Text as HTML and SVG want it. */
void cm_html_write(FILE *stream, const char *text);

/* "12.3k": at most three digits before the sign. */
void cm_plot_short_number(double number, char out[32]);

#endif
