#include "jobs/prepare/bands.h"

#include "base/memory.h"
#include "loaders/columns.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Ages: the limits that market research uses; nobody under 18 is in a segment. */
static const float AGES[] = { 18, 25, 35, 45, 55, 65 };
enum { AGES_COUNT = sizeof AGES / sizeof AGES[0], AGE_MAX = 120, THIRDS = 3 };

static int compare_numbers(const void *left, const void *right)
{
    float a = *(const float *)left;
    float b = *(const float *)right;
    return (a > b) - (a < b);
}

/* Thirds of the customers; equal numbers stay together, so there may be fewer bands than three. */
static enum cm_status cut_thirds(const struct cm_customers *customers,
                                 const struct cm_customer_column *column, struct cm_bands *bands)
{
    float *sorted = cm_alloc(customers->rows_count, sizeof *sorted);
    size_t count = 0;
    if (sorted == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t row = 0; row < customers->rows_count; row++) {
        if (!isnan(column->numbers[row])) {
            sorted[count++] = column->numbers[row];
        }
    }
    qsort(sorted, count, sizeof *sorted, compare_numbers);
    bands->count = 0;
    for (size_t third = 1; third < THIRDS && count > 0; third++) {
        float limit = sorted[count * third / THIRDS];
        float before = bands->count == 0 ? sorted[0] : bands->uppers[bands->count - 1];
        if (limit > before) {
            bands->uppers[bands->count++] = limit;
        }
    }
    if (count > 0) {
        bands->uppers[bands->count++] = INFINITY;
    }
    cm_free(sorted);
    return CM_OK;
}

static void cut_ages(struct cm_bands *bands)
{
    bands->count = AGES_COUNT;
    for (size_t i = 0; i + 1 < AGES_COUNT; i++) {
        bands->uppers[i] = AGES[i + 1];
    }
    bands->uppers[AGES_COUNT - 1] = INFINITY;
}

static void name_bands(const struct cm_customer_column *column, struct cm_bands *bands)
{
    static const char *const names[CM_CUSTOMER_ROLE_COUNT] = {
        [CM_CUSTOMER_AGE] = "age_range",     [CM_CUSTOMER_SENIOR] = "age_range",
        [CM_CUSTOMER_SPENDING] = "spending", [CM_CUSTOMER_TENURE] = "customer_for",
        [CM_CUSTOMER_INCOME] = "income",     [CM_CUSTOMER_GENDER] = "gender",
    };
    char normal[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(cm_span_of(column->name), normal);
    snprintf(bands->name_bytes, sizeof bands->name_bytes, "%s",
             names[column->role] != NULL ? names[column->role] : normal);
    bands->name = bands->name_bytes;
}

enum cm_status cm_bands_cut(const struct cm_customers *customers, size_t index,
                            struct cm_bands *bands)
{
    const struct cm_customer_column *column = &customers->columns[index];
    enum cm_status status = CM_OK;
    *bands = (struct cm_bands){ .column = column, .is_ordered = true };
    name_bands(column, bands);
    if (column->role == CM_CUSTOMER_AGE && column->is_number) {
        cut_ages(bands);
    } else if (column->role == CM_CUSTOMER_SENIOR && column->values_count == 2) {
        bands->count = 2;
    } else if (column->is_number && (!column->is_choice || column->role != CM_CUSTOMER_OTHER)) {
        status = cut_thirds(customers, column, bands);
    } else if (column->is_choice) {
        bands->is_ordered = false;
        bands->count = column->values_count;
    }
    return status == CM_OK && bands->count < 2 ? CM_UNSUPPORTED : status;
}

static bool is_yes(const char *value)
{
    return strcmp(value, "1") == 0 || strcasecmp(value, "yes") == 0 ||
           strcasecmp(value, "true") == 0 || strcmp(value, "是") == 0;
}

static bool is_numeric(const struct cm_bands *bands)
{
    return bands->is_ordered && bands->column->role != CM_CUSTOMER_SENIOR;
}

int cm_bands_of_row(const struct cm_bands *bands, size_t row)
{
    const struct cm_customer_column *column = bands->column;
    if (!is_numeric(bands)) {
        uint8_t code = column->codes[row];
        if (code == CM_CUSTOMER_NO_VALUE) {
            return -1;
        }
        return bands->is_ordered ? is_yes(column->values[code]) : code;
    }
    float number = column->numbers[row];
    bool outside = column->role == CM_CUSTOMER_AGE && (number < AGES[0] || number > AGE_MAX);
    if (isnan(number) || outside) {
        return -1;
    }
    int band = 0;
    while (number >= bands->uppers[band]) {
        band++;
    }
    return band;
}

/* --- Names --- */

/* Of the lowest, middle and highest band. */
static const char *level_name(const struct cm_bands *bands, size_t band, bool chinese)
{
    static const char *const levels[2][3] = { { "low", "medium", "high" }, { "低", "中", "高" } };
    static const char *const tenures[2][3] = { { "new", "for a while", "long-standing" },
                                               { "新客户", "老客户", "多年老客户" } };
    size_t level = band + 1 == bands->count ? 2 : band == 0 ? 0 : 1;
    return bands->column->role == CM_CUSTOMER_TENURE ? tenures[chinese][level]
                                                     : levels[chinese][level];
}

static enum cm_status append_age(const struct cm_bands *bands, size_t first, size_t last,
                                 struct cm_text *text)
{
    if (bands->column->role == CM_CUSTOMER_SENIOR) {
        return cm_text_append_string(text, first == 0 ? "18-64" : "65+");
    }
    if (last + 1 >= AGES_COUNT) {
        return cm_text_printf(text, "%.0f+", (double)AGES[first]);
    }
    return cm_text_printf(text, "%.0f-%.0f", (double)AGES[first], (double)AGES[last + 1] - 1);
}

enum cm_status cm_bands_append_name(const struct cm_bands *bands, uint32_t mask, bool chinese,
                                    struct cm_text *text)
{
    uint32_t all = bands->count >= 32 ? UINT32_MAX : ((uint32_t)1 << bands->count) - 1;
    if ((mask & all) == all) {
        return CM_OK;
    }
    bool is_age =
        bands->column->role == CM_CUSTOMER_AGE || bands->column->role == CM_CUSTOMER_SENIOR;
    enum cm_status status = CM_OK;
    const char *joint = "";
    for (size_t band = 0; status == CM_OK && band < bands->count; band++) {
        if ((mask >> band & 1) == 0) {
            continue;
        }
        status = cm_text_append_string(text, joint);
        joint = chinese ? "或" : " or ";
        if (status != CM_OK) {
            break;
        }
        if (is_age && bands->is_ordered) {
            size_t last = band;
            while (last + 1 < bands->count && (mask >> (last + 1) & 1) != 0) {
                last++;
            }
            status = append_age(bands, band, last, text);
            band = last;
        } else if (is_numeric(bands)) {
            status = cm_text_append_string(text, level_name(bands, band, chinese));
        } else {
            status = cm_text_append_string(text, bands->column->values[band]);
        }
    }
    return status;
}

enum cm_status cm_bands_describe(const struct cm_bands *bands, struct cm_text *text)
{
    enum cm_status status = cm_text_append_string(text, "");
    if (bands->column->role == CM_CUSTOMER_AGE || bands->column->role == CM_CUSTOMER_SENIOR ||
        !is_numeric(bands)) {
        return cm_text_printf(text, "%zu groups", bands->count);
    }
    for (size_t band = 0; status == CM_OK && band < bands->count; band++) {
        bool last = band + 1 == bands->count;
        status = cm_text_printf(text, "%s%s %s %.6g", band == 0 ? "" : ", ",
                                level_name(bands, band, false), last ? "from" : "under",
                                (double)bands->uppers[last ? band - 1 : band]);
    }
    return status;
}
