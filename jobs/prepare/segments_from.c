#include "jobs/prepare/segments_from.h"

#include "base/log.h"
#include "jobs/language.h"
#include "jobs/output_file.h"
#include "jobs/prepare/segment_groups.h"
#include "jobs/prepare/segment_traits.h"
#include "jobs/table_writer.h"
#include "loaders/columns.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TEXT_BYTES_MAX = 1 << 16, CHOICES_MAX = 6, REPORT_COLUMNS = 4 };

struct work {
    const struct cm_prepare_options *options;
    struct cm_customers customers;
    struct cm_segment_groups groups;
    struct cm_segment_traits *traits;
    struct cm_table_writer *report; /* NULL: none */
    bool chinese;
    struct cm_error *error;
};

static const char *const REPORT_NAMES[REPORT_COLUMNS] = { "subject", "action", "reason",
                                                          "customers" };

static enum cm_status out_of_memory(struct work *work)
{
    return cm_error_set(work->error, CM_OUT_OF_MEMORY, "%s: out of memory", work->customers.path);
}

/* --- Dimensions --- */

static enum cm_status add_dimension(struct work *work, size_t column, bool *added)
{
    struct cm_segment_groups *groups = &work->groups;
    *added = false;
    if (groups->dimensions_count == CM_DIMENSIONS_MAX ||
        cm_customer_reason(&work->customers.columns[column]) != NULL) {
        return CM_OK;
    }
    enum cm_status status =
        cm_bands_cut(&work->customers, column, &groups->dimensions[groups->dimensions_count]);
    *added = status == CM_OK;
    groups->dimensions_count += *added;
    return status == CM_UNSUPPORTED || status == CM_OK ? CM_OK : out_of_memory(work);
}

/* Adds the first column of that role; for other columns, such with few values only. */
static enum cm_status add_role(struct work *work, enum cm_customer_role role, bool *added)
{
    enum cm_status status = CM_OK;
    *added = false;
    for (size_t i = 0; status == CM_OK && !*added && i < work->customers.columns_count; i++) {
        const struct cm_customer_column *column = &work->customers.columns[i];
        bool few = column->is_choice && column->values_count <= CHOICES_MAX;
        if (column->role == role && (role != CM_CUSTOMER_OTHER || few)) {
            status = add_dimension(work, i, added);
        }
    }
    return status;
}

/* Age where there is one, and how somebody buys; failing that, whatever groups. Two are enough for
 * copy to differ, and leave groups large. */
static enum cm_status choose_dimensions(struct work *work)
{
    static const enum cm_customer_role order[] = { CM_CUSTOMER_AGE,      CM_CUSTOMER_SENIOR,
                                                   CM_CUSTOMER_SPENDING, CM_CUSTOMER_TENURE,
                                                   CM_CUSTOMER_INCOME,   CM_CUSTOMER_OTHER };
    enum cm_status status = CM_OK;
    bool has_age = false;
    for (size_t i = 0; status == CM_OK && i < sizeof order / sizeof order[0]; i++) {
        bool added = false;
        if ((order[i] == CM_CUSTOMER_SENIOR && has_age) || work->groups.dimensions_count >= 2) {
            continue;
        }
        status = add_role(work, order[i], &added);
        has_age = has_age || (added && order[i] == CM_CUSTOMER_AGE);
    }
    if (status == CM_OK && work->groups.dimensions_count == 0) {
        return cm_error_set(work->error, CM_INVALID_DATA,
                            "%s: no column to group customers by; expected one such as age, "
                            "spending, tenure or income, or one with at most %d different values "
                            "(name it with --by)",
                            work->customers.path, CHOICES_MAX);
    }
    return status;
}

static enum cm_status find_asked(const struct work *work, struct cm_span name, size_t *column)
{
    for (*column = 0; *column < work->customers.columns_count; ++*column) {
        const char *candidate = work->customers.columns[*column].name;
        if (strlen(candidate) == name.length &&
            strncasecmp(candidate, name.data, name.length) == 0) {
            return CM_OK;
        }
    }
    return cm_error_set(work->error, CM_INVALID_ARGUMENT, "--by %.*s: %s has no such column",
                        (int)name.length, name.data, work->customers.path);
}

static enum cm_status take_asked(struct work *work)
{
    enum cm_status status = CM_OK;
    for (const char *at = work->options->by; status == CM_OK && *at != '\0';) {
        size_t length = strcspn(at, ",");
        struct cm_span name = cm_span_trim((struct cm_span){ at, length });
        size_t column = 0;
        bool added = false;
        status = find_asked(work, name, &column);
        if (status == CM_OK && work->groups.dimensions_count == CM_DIMENSIONS_MAX) {
            return cm_error_set(work->error, CM_INVALID_ARGUMENT, "--by %s: at most %d columns",
                                work->options->by, CM_DIMENSIONS_MAX);
        }
        if (status == CM_OK) {
            status = add_dimension(work, column, &added);
        }
        if (status == CM_OK && !added) {
            const char *reason = cm_customer_reason(&work->customers.columns[column]);
            return cm_error_set(work->error, CM_INVALID_ARGUMENT, "--by %.*s: %s", (int)name.length,
                                name.data,
                                reason != NULL ? reason : "all customers have the same value");
        }
        at += length + (at[length] == ',');
    }
    return status;
}

/* --- Suggestions: how to speak to whom, for the user to improve --- */

/* By the youngest age in the group. */
static const char *tone_of(const struct work *work, const struct cm_segment_group *group)
{
    static const char *const tones[2][6] = {
        { "casual and upbeat", "lively and concrete", "warm and practical", "calm and informative",
          "friendly and clear", "courteous and plain" },
        { "轻松活泼", "生动具体", "温暖实用", "沉稳有信息量", "亲切清楚", "亲切、平实、尊重" },
    };
    for (size_t i = 0; i < work->groups.dimensions_count; i++) {
        const struct cm_bands *bands = &work->groups.dimensions[i];
        for (size_t band = 0; band < bands->count; band++) {
            if ((group->masks[i] >> band & 1) == 0) {
                continue;
            }
            if (bands->column->role == CM_CUSTOMER_AGE) {
                return tones[work->chinese][band];
            }
            if (bands->column->role == CM_CUSTOMER_SENIOR) {
                return tones[work->chinese][band == 0 ? 2 : 5];
            }
        }
    }
    return "";
}

/* By what the group spends; nothing where it holds both ends. */
static const char *motive_of(const struct work *work, const struct cm_segment_group *group)
{
    static const char *const motives[2][3] = {
        { "good value for a small budget", "solid quality at a fair price",
          "quality, comfort and things that stand out" },
        { "花小钱也要买得值", "品质可靠、价格合理", "品质、舒适、与众不同" },
    };
    for (size_t i = 0; i < work->groups.dimensions_count; i++) {
        const struct cm_bands *bands = &work->groups.dimensions[i];
        uint32_t mask = group->masks[i];
        if (bands->column->role != CM_CUSTOMER_SPENDING || bands->count < 2) {
            continue;
        }
        bool lowest = (mask & 1) != 0;
        bool highest = (mask >> (bands->count - 1) & 1) != 0;
        return lowest && highest ? "" : motives[work->chinese][highest ? 2 : lowest ? 0 : 1];
    }
    return "";
}

/* --- The file --- */

/* A name as part of an id: words joined by "-", nothing a shell or a spreadsheet minds. */
static enum cm_status append_slug(struct cm_text *id, const char *name)
{
    enum cm_status status = CM_OK;
    bool gap = id->length > 0;
    for (; status == CM_OK && *name != '\0'; name++) {
        unsigned char byte = (unsigned char)*name;
        bool is_plus = byte == '+';
        if (!isalnum(byte) && byte < 0x80 && !is_plus) {
            gap = id->length > 0;
            continue;
        }
        if (gap) {
            status = cm_text_append_char(id, '-');
            gap = false;
        }
        if (status == CM_OK) {
            status = is_plus ? cm_text_append_string(id, "-up")
                             : cm_text_append_char(id, (char)tolower(byte));
        }
    }
    return status;
}

enum { TEXTS_MAX = CM_DIMENSIONS_MAX + 2 };

/* The texts of a segment: its id, the name of each dimension's bands, its traits. */
static enum cm_status describe_group(struct work *work, size_t index,
                                     struct cm_text texts[TEXTS_MAX])
{
    const struct cm_segment_group *group = &work->groups.items[index];
    struct cm_text *id = &texts[0];
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < TEXTS_MAX; i++) {
        cm_text_clear(&texts[i]);
    }
    for (size_t i = 0; status == CM_OK && i < work->groups.dimensions_count; i++) {
        const struct cm_bands *bands = &work->groups.dimensions[i];
        struct cm_text *name = &texts[1 + i];
        status = cm_bands_append_name(bands, group->masks[i], work->chinese, name);
        if (status == CM_OK && name->length > 0) {
            bool is_age = strcmp(bands->name, "age_range") == 0;
            status = append_slug(id, is_age ? "age" : bands->name);
            if (status == CM_OK) {
                status = append_slug(id, cm_text_string(name));
            }
        }
    }
    if (status == CM_OK && id->length == 0) {
        status = cm_text_append_string(id, "everybody");
    }
    if (status == CM_OK) {
        status = cm_segment_traits_append(work->traits, index, &texts[TEXTS_MAX - 1]);
    }
    return status;
}

static enum cm_status report(struct work *work, const char *subject, const char *action,
                             const char *reason, uint64_t customers)
{
    char count[24] = "";
    snprintf(count, sizeof count, "%" PRIu64, customers);
    const char *values[REPORT_COLUMNS] = { subject, action, reason, count };
    return work->report == NULL ? CM_OK : cm_table_writer_add(work->report, values, work->error);
}

static bool has_tone(const struct work *work)
{
    return tone_of(work, &work->groups.items[0])[0] != '\0';
}

static bool has_motive(const struct work *work)
{
    for (size_t i = 0; i < work->groups.dimensions_count; i++) {
        if (work->groups.dimensions[i].column->role == CM_CUSTOMER_SPENDING) {
            return true;
        }
    }
    return false;
}

/* Groups joined at their edges can have the same bands in every dimension and yet be two: a number
 * behind the id keeps them apart. */
static enum cm_status make_unique(struct cm_text *id, size_t index, struct cm_text *seen)
{
    char key[512];
    snprintf(key, sizeof key, "\n%s\n", cm_text_string(id));
    enum cm_status status = CM_OK;
    if (strstr(cm_text_string(seen), key) != NULL) {
        status = cm_text_printf(id, "-%zu", index + 1);
    }
    return status == CM_OK ? cm_text_printf(seen, "\n%s\n", cm_text_string(id)) : status;
}

static enum cm_status write_segments(struct work *work, FILE *stream)
{
    const struct cm_prepare_options *options = work->options;
    size_t dimensions = work->groups.dimensions_count;
    const char *columns[TEXTS_MAX + 3] = { "segment_id", "language" };
    size_t count = 2;
    for (size_t i = 0; i < dimensions; i++) {
        columns[count++] = work->groups.dimensions[i].name;
    }
    columns[count++] = "traits";
    columns[count++] = has_tone(work) ? "tone" : NULL;
    count -= columns[count - 1] == NULL;
    size_t tone = columns[count - 1][1] == 'o' ? count - 1 : 0;
    if (has_motive(work)) {
        columns[count++] = "motive";
    }
    struct cm_copy_writer_options writing = { cm_copy_format_of(options->out_path),
                                              options->excel };
    struct cm_table_writer *writer = NULL;
    struct cm_text texts[TEXTS_MAX];
    for (size_t i = 0; i < TEXTS_MAX; i++) {
        texts[i] = CM_TEXT_INIT(TEXT_BYTES_MAX);
    }
    struct cm_text seen = CM_TEXT_INIT(1 << 24);
    enum cm_status status = cm_table_writer_open(stream, options->out_path, columns, count,
                                                 &writing, &writer, work->error);
    for (size_t i = 0; status == CM_OK && i < work->groups.count; i++) {
        const struct cm_segment_group *group = &work->groups.items[i];
        if (describe_group(work, i, texts) != CM_OK || make_unique(&texts[0], i, &seen) != CM_OK) {
            status = out_of_memory(work);
            break;
        }
        const char *values[TEXTS_MAX + 3] = { cm_text_string(&texts[0]),
                                              work->chinese ? "zh" : "en" };
        for (size_t k = 0; k < dimensions; k++) {
            values[2 + k] = cm_text_string(&texts[1 + k]);
        }
        values[2 + dimensions] = cm_text_string(&texts[TEXTS_MAX - 1]);
        if (tone > 0) {
            values[tone] = tone_of(work, group);
        }
        if (has_motive(work)) {
            values[count - 1] = motive_of(work, group);
        }
        status = cm_table_writer_add(writer, values, work->error);
        if (status == CM_OK) {
            status = report(work, cm_text_string(&texts[0]), "segment", "", group->rows_count);
        }
    }
    for (size_t i = 0; i < TEXTS_MAX; i++) {
        cm_text_deinit(&texts[i]);
    }
    cm_text_deinit(&seen);
    cm_table_writer_close(writer);
    return status;
}

/* --- What is said about it --- */

static const struct cm_bands *dimension_of(const struct work *work,
                                           const struct cm_customer_column *column)
{
    for (size_t i = 0; i < work->groups.dimensions_count; i++) {
        if (work->groups.dimensions[i].column == column) {
            return &work->groups.dimensions[i];
        }
    }
    return NULL;
}

static enum cm_status report_columns(struct work *work)
{
    enum cm_status status = CM_OK;
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    for (size_t i = 0; status == CM_OK && i < work->customers.columns_count; i++) {
        const struct cm_customer_column *column = &work->customers.columns[i];
        const struct cm_bands *bands = dimension_of(work, column);
        const char *reason = cm_customer_reason(column);
        cm_text_clear(&text);
        if (bands != NULL) {
            status = cm_bands_describe(bands, &text);
            cm_log(CM_LOG_INFO, "grouped by %s: %s", column->name, cm_text_string(&text));
        } else if (reason != NULL) {
            cm_log(CM_LOG_INFO, "left out: %s (%s)", column->name, reason);
        }
        if (status != CM_OK) {
            status = out_of_memory(work);
            break;
        }
        status = report(work, column->name,
                        bands != NULL    ? "grouped by"
                        : reason != NULL ? "left out"
                        : column->is_choice && column->role != CM_CUSTOMER_GENDER
                            ? "compared for traits"
                            : "not used; --by groups by it",
                        bands != NULL    ? cm_text_string(&text)
                        : reason != NULL ? reason
                                         : "",
                        0);
    }
    cm_text_deinit(&text);
    return status;
}

static enum cm_status report_rows(struct work *work)
{
    const struct cm_segment_groups *groups = &work->groups;
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < groups->dimensions_count; i++) {
        if (groups->lacking[i] > 0) {
            bool is_age = groups->dimensions[i].column->role == CM_CUSTOMER_AGE;
            char reason[160];
            snprintf(reason, sizeof reason, "%s %.100s", is_age ? "no adult" : "no value for",
                     groups->dimensions[i].column->name);
            cm_log(CM_LOG_INFO, "%" PRIu64 " customers left out: %s", groups->lacking[i], reason);
            status = report(work, "customers", "left out", reason, groups->lacking[i]);
        }
    }
    if (status == CM_OK && work->customers.damaged_count > 0) {
        cm_log(CM_LOG_WARNING, "%" PRIu64 " damaged rows left out", work->customers.damaged_count);
        status =
            report(work, "customers", "left out", "damaged row", work->customers.damaged_count);
    }
    cm_log(CM_LOG_INFO, "%" PRIu64 " customers read, %" PRIu64 " of them in %zu segments",
           (uint64_t)work->customers.rows_count + work->customers.damaged_count,
           (uint64_t)work->customers.rows_count - groups->left_out_count, groups->count);
    return status;
}

/* --- The whole --- */

static bool is_chinese(const struct work *work)
{
    if (work->options->language != NULL) {
        return cm_language_is(work->options->language, "zh");
    }
    size_t chinese = 0;
    for (size_t i = 0; i < work->customers.columns_count; i++) {
        const char *language = cm_language_detect(cm_span_of(work->customers.columns[i].name));
        chinese += language != NULL && strcmp(language, "zh") == 0;
    }
    return chinese * 2 > work->customers.columns_count;
}

static enum cm_status form_segments(struct work *work)
{
    work->groups.customers = &work->customers;
    enum cm_status status = work->options->by != NULL ? take_asked(work) : choose_dimensions(work);
    if (status == CM_OK) {
        status = cm_segment_groups_form(&work->groups, work->options->min_size,
                                        work->options->max_segments, work->error);
    }
    if (status == CM_OK && cm_segment_traits_open(&work->groups, &work->traits) != CM_OK) {
        status = out_of_memory(work);
    }
    return status;
}

static enum cm_status write_all(struct work *work, FILE *out, FILE *report_stream)
{
    enum cm_status status = CM_OK;
    if (report_stream != NULL) {
        const char *path = work->options->report_path;
        struct cm_copy_writer_options writing = { cm_copy_format_of(path), work->options->excel };
        status = cm_table_writer_open(report_stream, path, REPORT_NAMES, REPORT_COLUMNS, &writing,
                                      &work->report, work->error);
    }
    if (status == CM_OK) {
        status = report_columns(work);
    }
    if (status == CM_OK) {
        status = write_segments(work, out);
    }
    return status == CM_OK ? report_rows(work) : status;
}

enum cm_status cm_prepare_segments(const struct cm_prepare_options *options, struct cm_error *error)
{
    struct work work = { .options = options, .error = error };
    struct cm_output_file *out = NULL;
    struct cm_output_file *report_file = NULL;
    enum cm_status status = cm_customers_open(options, &work.customers, error);
    if (status != CM_OK) {
        return status;
    }
    work.chinese = is_chinese(&work);
    status = form_segments(&work);
    if (status == CM_OK) {
        status = cm_output_file_open(options->out_path, &out, error);
    }
    if (status == CM_OK && options->report_path != NULL) {
        status = cm_output_file_open(options->report_path, &report_file, error);
    }
    if (status == CM_OK) {
        status = write_all(&work, cm_output_file_stream(out),
                           report_file == NULL ? NULL : cm_output_file_stream(report_file));
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(out, NULL, error);
    }
    if (status == CM_OK && report_file != NULL) {
        status = cm_output_file_publish(report_file, NULL, error);
    }
    cm_table_writer_close(work.report);
    cm_output_file_close(report_file);
    cm_output_file_close(out);
    cm_segment_traits_close(work.traits);
    cm_segment_groups_deinit(&work.groups);
    cm_customers_deinit(&work.customers);
    return status;
}
