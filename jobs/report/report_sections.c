/* Sections made of what was counted: tables and plots. */
#include "jobs/report/report_sections.h"

#include "base/memory.h"
#include "jobs/display_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cm_report_duration(double seconds, char out[64])
{
    uint64_t whole = (uint64_t)(seconds + 0.5);
    if (seconds < 60) {
        snprintf(out, 64, "%.1f s", seconds);
    } else if (whole < 3600) {
        snprintf(out, 64, "%" PRIu64 " min %" PRIu64 " s", whole / 60, whole % 60);
    } else {
        snprintf(out, 64, "%" PRIu64 " h %" PRIu64 " min", whole / 3600, whole / 60 % 60);
    }
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* A bar of up to three parts of a whole. */
static void write_bar(FILE *stream, double whole, const double parts[3])
{
    static const char *const classes[3] = { "a", "b", "c" };
    fputs("<div class=\"bar\">", stream);
    for (size_t i = 0; i < 3; i++) {
        if (parts[i] > 0) {
            fprintf(stream, "<i class=\"%s\" style=\"width:%.2f%%\"></i>", classes[i],
                    100 * share(parts[i], whole));
        }
    }
    fputs("</div>", stream);
}

/* --- Quality --- */

void cm_report_write_scores(FILE *stream, const struct cm_report_data *data)
{
    double ok[CM_REPORT_SCORE_BINS];
    double flagged[CM_REPORT_SCORE_BINS];
    for (size_t i = 0; i < CM_REPORT_SCORE_BINS; i++) {
        ok[i] = (double)data->scores[0][i];
        flagged[i] = (double)data->scores[1][i];
    }
    const struct cm_plot_bars plot = {
        .title = "Rows by score",
        .x = { "score", 0, 1 },
        .y = { "rows", 0, 0 },
        .values = { ok, flagged },
        .names = { "nothing found", "flagged" },
        .count = CM_REPORT_SCORE_BINS,
    };
    fputs("<section><h2>Scores</h2>\n", stream);
    cm_plot_write_bars(stream, &plot);
    if (data->dimensions.count > 0) {
        fputs("<table><tbody>\n", stream);
    }
    for (size_t i = 0; i < data->dimensions.count; i++) {
        const struct cm_report_name *dimension = &data->dimensions.items[i];
        double mean = share(dimension->sum, (double)dimension->rows);
        fputs("<tr><td>", stream);
        cm_html_write(stream, dimension->name);
        fputs("</td><td class=\"wide\">", stream);
        write_bar(stream, 1, (const double[3]){ mean });
        fprintf(stream, "</td><td class=\"number\">%.2f</td></tr>\n", mean);
    }
    if (data->dimensions.count > 0) {
        fputs("</tbody></table>\n", stream);
    }
    fputs("</section>\n", stream);
}

void cm_report_write_calibration(FILE *stream, const struct cm_report_data *data)
{
    struct cm_calibration found;
    if (data->decided_count == 0) {
        return;
    }
    fputs("<section><h2>Scores against decisions</h2>\n", stream);
    if (!cm_calibrate(data->decided, data->decided_count, &found)) {
        fprintf(stream,
                "<p class=\"note\">%zu texts decided, %zu of them accepted as they were written: "
                "%d decisions of both kinds are needed to tell how well scores foresee them.</p>"
                "</section>\n",
                found.cases, found.accepted, CM_CALIBRATION_CASES_MIN);
        return;
    }
    const struct cm_plot_lines plot = {
        .title = "ROC curve",
        .x = { "others at or above the threshold", 0, 1 },
        .y = { "accepted at or above", 0, 1 },
        .xs = found.false_shares,
        .values = { found.true_shares },
        .names = { "accepted" },
        .count = found.points,
    };
    cm_plot_write_lines(stream, &plot);
    fprintf(stream,
            "<p>Of %zu texts that people decided about they took %zu as they were written. The "
            "gate agrees with them in %.0f %% (kappa %.2f). An accepted text scores higher than "
            "another one in %.0f %% of pairs (area %.2f). <code>--min-score %.2f</code> tells them "
            "apart best: it keeps %.0f %% of the accepted and holds back %.0f %% of the others."
            "</p>\n<p class=\"note\">This speaks of all texts only where those decided about "
            "were a random audit.</p></section>\n",
            found.cases, found.accepted, 100 * found.agreement, found.kappa, 100 * found.area,
            found.area, floor(100 * found.threshold) / 100, 100 * found.kept, 100 * found.caught);
}

void cm_report_write_rules(FILE *stream, const struct cm_report_data *data)
{
    char count[40];
    fputs("<section><h2>Flags by rule</h2>\n", stream);
    if (data->rules.count == 0) {
        fputs("<p class=\"note\">No row was flagged.</p></section>\n", stream);
        return;
    }
    fputs("<div class=\"scroll\"><table><thead><tr><th>rule</th><th></th><th class=\"number\">flags"
          "</th><th class=\"number\">serious</th></tr></thead><tbody>\n",
          stream);
    double most = (double)data->rules.items[0].rows;
    for (size_t i = 0; i < data->rules.count; i++) {
        const struct cm_report_name *rule = &data->rules.items[i];
        const double parts[3] = { 0, (double)(rule->rows - rule->severe), (double)rule->severe };
        fputs("<tr><td>", stream);
        cm_html_write(stream, rule->name);
        fputs("</td><td class=\"wide\">", stream);
        write_bar(stream, most, parts);
        cm_display_count(rule->rows, count);
        fprintf(stream, "</td><td class=\"number\">%s</td>", count);
        cm_display_count(rule->severe, count);
        fprintf(stream, "<td class=\"number\">%s</td></tr>\n", count);
    }
    fputs("</tbody></table></div></section>\n", stream);
}

void cm_report_write_segments(FILE *stream, const struct cm_report_data *data)
{
    char count[40];
    fputs(
        "<section><h2>Coverage by segment</h2>\n<p class=\"legend\"><span class=\"key a\"></span>"
        "nothing found &nbsp; <span class=\"key b\"></span>flagged &nbsp; <span class=\"key\" "
        "style=\"background:var(--limit)\"></span>failed</p>\n<div class=\"scroll\"><table><thead>"
        "<tr><th>segment</th><th></th><th class=\"number\">rows</th><th class=\"number\">flagged"
        "</th><th class=\"number\">failed</th><th class=\"number\">mean score</th>"
        "<th class=\"number\">approved</th></tr></thead><tbody>\n",
        stream);
    for (size_t i = 0; i < data->segments.count; i++) {
        const struct cm_report_name *segment = &data->segments.items[i];
        const uint64_t ok = segment->rows - segment->flagged - segment->failed;
        const double parts[3] = { (double)ok, (double)segment->flagged, (double)segment->failed };
        double texts = (double)(segment->rows - segment->failed);
        fputs("<tr><td>", stream);
        cm_html_write(stream, segment->name);
        fputs("</td><td class=\"wide\">", stream);
        write_bar(stream, (double)segment->rows, parts);
        cm_display_count(segment->rows, count);
        fprintf(stream,
                "</td><td class=\"number\">%s</td><td class=\"number\">%.1f %%</td>"
                "<td class=\"number\">%" PRIu64 "</td><td class=\"number\">%.2f</td>",
                count, 100 * share((double)segment->flagged, (double)segment->rows),
                segment->failed, share(segment->sum, texts));
        cm_display_count(segment->approved, count);
        fprintf(stream, "<td class=\"number\">%s</td></tr>\n", count);
    }
    fputs("</tbody></table></div>\n", stream);
    if (data->segments.others > 0) {
        cm_display_count(data->segments.others, count);
        fprintf(stream,
                "<p class=\"note\">%s rows of further segments are not in this table.</p>\n",
                count);
    }
    fputs("</section>\n", stream);
}

static int by_length(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static const char *name_unit(const struct cm_report_data *data)
{
    static const char *const names[] = {
        [CM_COUNT_CHARACTER] = "characters",
        [CM_COUNT_GRAPHEME] = "characters as readers see them",
        [CM_COUNT_HAN_2] = "half-width units (a Chinese character is 2)",
        [CM_COUNT_X] = "characters as X weighs them",
    };
    return names[data->channel != NULL ? data->channel->unit : CM_COUNT_CHARACTER];
}

static void write_limit(FILE *stream, uint32_t limit)
{
    if (limit > 0) {
        fprintf(stream, "<td class=\"number\">%" PRIu32 "</td>", limit);
    } else {
        fputs("<td class=\"number\">none</td>", stream);
    }
}

/* Parts of texts against the limits of the channel. */
static void write_parts(FILE *stream, const struct cm_report_data *data)
{
    bool begun = false;
    for (size_t i = 0; data->channel != NULL && i < data->channel->fields_count; i++) {
        const struct cm_channel_field *field = &data->channel->fields[i];
        const struct cm_report_part *part = &data->parts[i];
        if (part->values == 0) {
            continue;
        }
        if (!begun) {
            fputs("<div class=\"scroll\"><table><thead><tr><th>part</th><th class=\"number\">values"
                  "</th><th class=\"number\">longest</th><th class=\"number\">should be</th>"
                  "<th class=\"number\">longer</th><th class=\"number\">must be</th>"
                  "<th class=\"number\">longer</th></tr></thead><tbody>\n",
                  stream);
            begun = true;
        }
        fputs("<tr><td>", stream);
        cm_html_write(stream, field->name);
        fprintf(stream,
                "</td><td class=\"number\">%" PRIu64 "</td><td class=\"number\">%" PRIu32 "</td>",
                part->values, part->longest);
        write_limit(stream, field->soft);
        fprintf(stream, "<td class=\"number\">%" PRIu64 "</td>", part->over_soft);
        write_limit(stream, field->hard);
        fprintf(stream, "<td class=\"number\">%" PRIu64 "</td></tr>\n", part->over_hard);
    }
    if (begun) {
        fputs("</tbody></table></div>\n", stream);
    }
}

enum cm_status cm_report_write_lengths(FILE *stream, const struct cm_report_data *data,
                                       struct cm_error *error)
{
    double bins[CM_REPORT_LENGTH_BINS] = { 0 };
    size_t count = data->texts_count;
    fputs("<section><h2>Length</h2>\n", stream);
    if (count == 0) {
        fputs("<p class=\"note\">There are no texts.</p></section>\n", stream);
        return CM_OK;
    }
    uint32_t *sorted = cm_alloc(count, sizeof *sorted);
    if (sorted == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    memcpy(sorted, data->lengths, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_length);
    /* A few very long texts must not press all others into one bar. */
    double longest = fmax(24, fmin(sorted[count - 1], 3.0 * sorted[count - 1 - (count - 1) / 20]));
    for (size_t i = 0; i < count; i++) {
        size_t bin = (size_t)(sorted[i] / (longest + 1) * CM_REPORT_LENGTH_BINS);
        bins[bin < CM_REPORT_LENGTH_BINS ? bin : CM_REPORT_LENGTH_BINS - 1]++;
    }
    char median[64];
    snprintf(median, sizeof median, "median %" PRIu32, sorted[count / 2]);
    const uint32_t hard = data->channel != NULL ? data->channel->hard : 0;
    const struct cm_plot_limit limits[] = { { sorted[count / 2], median },
                                            { hard, "limit of the channel" } };
    bool hard_fits = hard > 0 && hard <= longest;
    const struct cm_plot_bars plot = {
        .title = "Texts by length",
        .x = { name_unit(data), 0, longest + 1 },
        .y = { "texts", 0, 0 },
        .values = { bins },
        .count = CM_REPORT_LENGTH_BINS,
        .limits = limits,
        .limits_count = hard_fits ? 2 : 1,
    };
    cm_plot_write_bars(stream, &plot);
    fprintf(stream,
            "<p class=\"note\">From %" PRIu32 " to %" PRIu32
            "; nine of ten texts have at most %" PRIu32 ".</p>\n",
            sorted[0], sorted[count - 1], sorted[count * 9 / 10 < count ? count * 9 / 10 : 0]);
    if (hard > 0) {
        fprintf(stream, "<p class=\"note\">The channel allows %" PRIu32 ".</p>\n", hard);
    }
    write_parts(stream, data);
    fputs("</section>\n", stream);
    cm_free(sorted);
    return CM_OK;
}

/* --- The run --- */

/* Tokens a second at which the machine's arithmetic would be used to the full by this model; 0: not
 * measured. A multiplication and an addition are two operations; the head runs for written tokens.
 */
static double tokens_limit(const struct cm_report_data *data)
{
    const char *variant = json_string_value(json_object_get(data->figures, "variant"));
    const char *precision = variant != NULL ? strrchr(variant, '-') : NULL;
    const char *name = precision == NULL                 ? "fp32_gflops"
                       : strcmp(precision, "-int8") == 0 ? "int8_gops"
                       : strcmp(precision, "-bf16") == 0 ? "bf16_gflops"
                                                         : "fp32_gflops";
    double computed = cm_report_figure(data, "computed_tokens");
    double operations = 2 * (cm_report_figure(data, "multiply_adds_per_token") +
                             cm_report_figure(data, "head_multiply_adds_per_token") *
                                 share(cm_report_figure(data, "output_tokens"), computed));
    return operations > 0 ? cm_report_figure(data, name) * 1e9 / operations : 0;
}

enum { COURSE_POINTS_MAX = 160 };

/* Rates between samples that lie about as far apart as a point of the plot. */
static size_t compute_rates(const struct cm_report_data *data, double *minutes, double *computed,
                            double *written)
{
    const struct cm_ledger_sample *samples = data->samples;
    double end_ms = (double)samples[data->samples_count - 1].at_ms;
    double step_ms = fmax(end_ms / COURSE_POINTS_MAX, 1000);
    size_t count = 0;
    struct cm_ledger_sample last = { 0 };
    for (size_t i = 0; i < data->samples_count && count < COURSE_POINTS_MAX; i++) {
        double apart_ms = (double)(samples[i].at_ms - last.at_ms);
        bool is_end = i + 1 == data->samples_count;
        if (apart_ms < step_ms && !(is_end && count == 0)) {
            continue;
        }
        double tokens = (double)(samples[i].prefill_tokens - last.prefill_tokens) +
                        (double)(samples[i].output_tokens - last.output_tokens);
        minutes[count] = (double)samples[i].at_ms / 60000;
        computed[count] = share(tokens, apart_ms / 1000);
        written[count] =
            share((double)(samples[i].output_tokens - last.output_tokens), apart_ms / 1000);
        count++;
        last = samples[i];
    }
    return count;
}

static void write_too_short(FILE *stream)
{
    fputs(
        "<p class=\"note\">The run was too short for a plot, or of a version that kept no samples."
        "</p>\n",
        stream);
}

static void write_course_plot(FILE *stream, const struct cm_report_data *data)
{
    double minutes[COURSE_POINTS_MAX];
    double computed[COURSE_POINTS_MAX];
    double written[COURSE_POINTS_MAX];
    size_t count = compute_rates(data, minutes, computed, written);
    if (count < 2) {
        write_too_short(stream);
        return;
    }
    double limit = tokens_limit(data);
    char label[96];
    char number[32];
    cm_plot_short_number(limit, number);
    snprintf(label, sizeof label, "limit of this machine's arithmetic: %s tokens/s", number);
    const struct cm_plot_limit limits[] = { { limit, label } };
    bool short_run = minutes[count - 1] < 3;
    for (size_t i = 0; short_run && i < count; i++) {
        minutes[i] *= 60;
    }
    const struct cm_plot_lines plot = {
        .title = "Tokens a second over time",
        .x = { short_run ? "seconds since the run began" : "minutes since the run began", 0,
               minutes[count - 1] },
        .y = { "tokens a second", 0, 0 },
        .xs = minutes,
        .values = { computed, written },
        .names = { "computed (prompts and copy)", "copy" },
        .count = count,
        .limits = limits,
        .limits_count = limit > 0,
    };
    cm_plot_write_lines(stream, &plot);
    if (limit <= 0) {
        fputs("<p class=\"note\">The machine's limit was not measured: a run of more than half a "
              "minute does that, or one with --report.</p>\n",
              stream);
    }
}

void cm_report_write_course(FILE *stream, const struct cm_report_data *data)
{
    fputs("<section><h2>Throughput over time</h2>\n", stream);
    if (data->samples_count == 0 || data->samples[data->samples_count - 1].at_ms == 0) {
        write_too_short(stream);
    } else {
        write_course_plot(stream, data);
    }
    fputs("</section>\n", stream);
}

static void write_pair(FILE *stream, const char *name, const char *value)
{
    fprintf(stream, "<tr><td>%s</td><td class=\"number\">", name);
    cm_html_write(stream, value);
    fputs("</td></tr>\n", stream);
}

static void write_count_pair(FILE *stream, const char *name, double count)
{
    char number[40];
    cm_display_count((uint64_t)(count + 0.5), number);
    write_pair(stream, name, number);
}

void cm_report_write_work(FILE *stream, const struct cm_report_data *data, double hourly_cost)
{
    char text[64];
    if (data->figures == NULL) {
        return;
    }
    double prompts = cm_report_figure(data, "prompt_tokens");
    double shared = cm_report_figure(data, "shared_tokens");
    double limit = tokens_limit(data);
    double rate =
        share(cm_report_figure(data, "computed_tokens"), cm_report_figure(data, "wall_s"));
    const char *variant = json_string_value(json_object_get(data->figures, "variant"));
    fputs(
        "<section><h2>Work and cost of the last run that computed</h2><div class=\"scroll\"><table>"
        "<tbody>\n",
        stream);
    cm_report_duration(cm_report_figure(data, "wall_s"), text);
    write_pair(stream, "time", text);
    write_pair(stream, "kernels and precision", variant != NULL ? variant : "");
    if (cm_report_figure(data, "devices") > 1) {
        write_count_pair(stream, "devices", cm_report_figure(data, "devices"));
        write_count_pair(stream, "of these lost on the way",
                         cm_report_figure(data, "devices_lost"));
        write_count_pair(stream, "rows that others took over from them",
                         cm_report_figure(data, "rows_requeued"));
    }
    write_count_pair(stream, "threads", cm_report_figure(data, "threads"));
    write_count_pair(stream, "copies at once", cm_report_figure(data, "batch"));
    write_count_pair(stream, "prompt tokens", prompts);
    snprintf(text, sizeof text, "%.1f %%", 100 * share(shared, prompts));
    write_pair(stream, "of these shared, not computed", text);
    write_count_pair(stream, "tokens computed", cm_report_figure(data, "computed_tokens"));
    write_count_pair(stream, "tokens written", cm_report_figure(data, "output_tokens"));
    write_count_pair(stream, "tokens computed a second", rate);
    if (limit > 0) {
        snprintf(text, sizeof text, "%.1f %%", 100 * rate / limit);
        write_pair(stream, "share of the machine's arithmetic", text);
    }
    write_count_pair(stream, "peak memory, MiB", cm_report_figure(data, "peak_rss_mib"));
    write_count_pair(stream, "rows that took more than one attempt", (double)data->retried);
    if (hourly_cost > 0) {
        snprintf(text, sizeof text, "%.4g", hourly_cost * data->wall_s / 3600);
        write_pair(stream, "cost of the machine, all runs", text);
    }
    fputs("</tbody></table></div></section>\n", stream);
}
