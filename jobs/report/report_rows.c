/* Sections that show rows and settings again. */
#include "jobs/report/report_sections.h"

#include "jobs/display_text.h"

#include <inttypes.h>
#include <string.h>

static enum cm_status write_example(const struct cm_ledger_entry *entry, void *context,
                                    struct cm_error *error)
{
    (void)error;
    FILE *stream = context;
    const char *status = cm_row_status_name(entry->row.status);
    const char *decision = cm_decision_name(entry->decision.state);
    fprintf(stream, "<div class=\"example\"><span class=\"score\">%.2f</span> <strong>",
            entry->row.score);
    cm_html_write(stream, entry->title[0] != '\0' ? entry->title : entry->row.item_id);
    fputs("</strong> &middot; ", stream);
    cm_html_write(stream, entry->row.segment_id);
    fprintf(stream, " <span class=\"pill %s\">%s</span>", status, status);
    if (entry->decision.state != CM_DECISION_OPEN) {
        fprintf(stream, " <span class=\"pill %s\">%s</span>", decision, decision);
    }
    fputs("<div class=\"copy\" lang=\"", stream);
    cm_html_write(stream, entry->row.language);
    fputs("\">", stream);
    cm_html_write(stream, cm_ledger_entry_text(entry));
    fputs("</div>", stream);
    if (entry->row.flags[0] != '\0') {
        fputs("<p class=\"note\">", stream);
        cm_html_write(stream, entry->row.flags);
        fputs("</p>", stream);
    }
    fputs("</div>\n", stream);
    return CM_OK;
}

enum cm_status cm_report_write_examples(struct cm_ledger *ledger, const struct cm_report_data *data,
                                        FILE *stream, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    fputs("<section><h2>Examples from the best to the worst</h2>\n", stream);
    if (data->examples_count == 0) {
        fputs("<p class=\"note\">There are no texts.</p>\n", stream);
    }
    for (size_t i = 0; status == CM_OK && i < data->examples_count; i++) {
        status = cm_ledger_visit_row(ledger, data->examples[i], write_example, stream, error);
        status = status == CM_NOT_FOUND ? CM_OK : status; /* a run replaced the plan meanwhile */
    }
    fputs("</section>\n", stream);
    return status;
}

static enum cm_status write_group_text(const struct cm_ledger_entry *entry, void *context,
                                       struct cm_error *error)
{
    (void)error;
    cm_html_write(context, entry->row.text);
    return CM_OK;
}

enum cm_status cm_report_write_groups(struct cm_ledger *ledger, const struct cm_report_data *data,
                                      FILE *stream, struct cm_error *error)
{
    char count[40];
    enum cm_status status = CM_OK;
    fprintf(stream,
            "<section><h2>Variety</h2>\n<p>Of all words %.1f %% are different ones, of pairs of "
            "words %.1f %% (distinct-1 and -2); self-BLEU of %zu texts is %.2f, which is 1 where "
            "every text is made of phrases of the others.</p>\n"
            "<h3>Texts that say nearly the same</h3>\n",
            100 * data->variety.distinct_1, 100 * data->variety.distinct_2, data->variety.sample,
            data->variety.self_bleu);
    if (data->groups_count == 0) {
        fputs("<p class=\"note\">None: no two texts share four fifths of their phrases.</p>\n",
              stream);
    } else {
        cm_display_count(data->repeated, count);
        fprintf(stream, "<p>%s texts stand in ", count);
        cm_display_count(data->groups_count, count);
        fprintf(stream,
                "%s %s of texts that share four fifths of their phrases (%.1f %%). The largest:"
                "</p>\n<div class=\"scroll\"><table><tbody>\n",
                count, data->groups_count == 1 ? "group" : "groups",
                100.0 * (double)data->repeated / (double)data->compared);
    }
    for (size_t i = 0; status == CM_OK && i < CM_REPORT_GROUPS && data->groups[i].rows > 1; i++) {
        cm_display_count(data->groups[i].rows, count);
        fprintf(stream, "<tr><td class=\"number\">%s texts</td><td class=\"value\">", count);
        status = cm_ledger_visit_row(ledger, data->row_ids[data->groups[i].first], write_group_text,
                                     stream, error);
        status = status == CM_NOT_FOUND ? CM_OK : status;
        fputs("</td></tr>\n", stream);
    }
    if (data->groups_count > 0) {
        fputs("</tbody></table></div>\n", stream);
    }
    if (data->compared < data->texts_count) {
        cm_display_count(data->compared, count);
        fprintf(stream, "<p class=\"note\">Among the first %s texts.</p>\n", count);
    }
    fputs("</section>\n", stream);
    return status;
}

/* --- Settings --- */

static enum cm_status write_setting(const struct cm_ledger_setting *setting, void *context,
                                    struct cm_error *error)
{
    (void)error;
    FILE *stream = context;
    if (strcmp(setting->name, "command") == 0 || setting->value[0] == '\0') {
        return CM_OK;
    }
    fputs("<tr><td>", stream);
    cm_html_write(stream, setting->name);
    fputs("</td><td class=\"value\">", stream);
    cm_html_write(stream, setting->value);
    fputs("</td></tr>\n", stream);
    return CM_OK;
}

static enum cm_status write_command(const struct cm_ledger_setting *setting, void *context,
                                    struct cm_error *error)
{
    (void)error;
    FILE *stream = context;
    if (strcmp(setting->name, "command") == 0 && setting->value[0] != '\0') {
        fputs("<p>The same command writes the same texts:</p>\n<pre>", stream);
        cm_html_write(stream, setting->value);
        fputs("</pre>\n", stream);
    }
    return CM_OK;
}

enum cm_status cm_report_write_settings(struct cm_ledger *ledger, const struct cm_report_data *data,
                                        FILE *stream, struct cm_error *error)
{
    fputs("<section><h2>Settings</h2>\n", stream);
    enum cm_status status =
        cm_ledger_visit_settings(ledger, data->settings_id, write_command, stream, error);
    fputs("<div class=\"scroll\"><table><tbody>\n", stream);
    if (status == CM_OK) {
        status = cm_ledger_visit_settings(ledger, data->settings_id, write_setting, stream, error);
    }
    fputs("</tbody></table></div></section>\n", stream);
    return status;
}
