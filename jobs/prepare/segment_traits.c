#include "jobs/prepare/segment_traits.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>
#include <strings.h>

/* A trait is shared by at least this share of the group, and by this much more of it than of all
 * customers. */
static const double SHARE_MIN = 0.6;
static const double LEAD_MIN = 0.15;

/* What somebody does not have says little about what to write. */
static const char *const NEGATIVES[] = { "no", "none", "false", "0", "n", "否", "无", "没有" };

enum { TRAITS_MAX = 6 };

struct cm_segment_traits {
    const struct cm_segment_groups *groups;
    uint32_t *counts; /* [groups + 1, columns, values]; behind the groups: all customers */
    uint64_t *rows;   /* [groups + 1] */
};

/* Choices of few values; gender is left to those who ask for it with --by. */
static bool is_trait(const struct cm_segment_groups *groups,
                     const struct cm_customer_column *column)
{
    if (!column->is_choice || column->role >= CM_CUSTOMER_IDENTIFIER ||
        column->role == CM_CUSTOMER_GENDER || column->role == CM_CUSTOMER_AGE) {
        return false;
    }
    for (size_t i = 0; i < groups->dimensions_count; i++) {
        if (groups->dimensions[i].column == column) {
            return false;
        }
    }
    return true;
}

static bool is_negative(const char *value)
{
    for (size_t i = 0; i < sizeof NEGATIVES / sizeof NEGATIVES[0]; i++) {
        size_t length = strlen(NEGATIVES[i]);
        if (strncasecmp(value, NEGATIVES[i], length) == 0 &&
            (value[length] == '\0' || value[length] == ' ')) {
            return true;
        }
    }
    return false;
}

static uint32_t *count_at(const struct cm_segment_traits *traits, size_t group, size_t column,
                          size_t value)
{
    size_t columns = traits->groups->customers->columns_count;
    return &traits->counts[(group * columns + column) * CM_CUSTOMER_VALUES_MAX + value];
}

static void count_rows(struct cm_segment_traits *traits)
{
    const struct cm_segment_groups *groups = traits->groups;
    const struct cm_customers *customers = groups->customers;
    for (size_t row = 0; row < customers->rows_count; row++) {
        int group = cm_segment_group_of_row(groups, row);
        if (group < 0) {
            continue;
        }
        traits->rows[group]++;
        traits->rows[groups->count]++;
        for (size_t i = 0; i < customers->columns_count; i++) {
            if (!is_trait(groups, &customers->columns[i])) {
                continue;
            }
            uint8_t code = customers->columns[i].codes[row];
            if (code != CM_CUSTOMER_NO_VALUE) {
                ++*count_at(traits, (size_t)group, i, code);
                ++*count_at(traits, groups->count, i, code);
            }
        }
    }
}

enum cm_status cm_segment_traits_open(const struct cm_segment_groups *groups,
                                      struct cm_segment_traits **traits)
{
    size_t counts = 0;
    struct cm_segment_traits *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL ||
        cm_size_mul(groups->count + 1, groups->customers->columns_count, &counts) ||
        cm_size_mul(counts, CM_CUSTOMER_VALUES_MAX, &counts)) {
        cm_free(opened);
        return CM_OUT_OF_MEMORY;
    }
    opened->groups = groups;
    opened->counts = cm_alloc(counts, sizeof *opened->counts);
    opened->rows = cm_alloc(groups->count + 1, sizeof *opened->rows);
    if (opened->counts == NULL || opened->rows == NULL) {
        cm_segment_traits_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    count_rows(opened);
    *traits = opened;
    return CM_OK;
}

void cm_segment_traits_close(struct cm_segment_traits *traits)
{
    if (traits != NULL) {
        cm_free(traits->counts);
        cm_free(traits->rows);
        cm_free(traits);
    }
}

enum cm_status cm_segment_traits_append(const struct cm_segment_traits *traits, size_t group,
                                        struct cm_text *text)
{
    const struct cm_customers *customers = traits->groups->customers;
    size_t all = traits->groups->count;
    size_t found = 0;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < customers->columns_count; i++) {
        const struct cm_customer_column *column = &customers->columns[i];
        for (size_t value = 0; status == CM_OK && value < column->values_count; value++) {
            if (!is_trait(traits->groups, column) || found == TRAITS_MAX) {
                break;
            }
            double share = (double)*count_at(traits, group, i, value) / (double)traits->rows[group];
            double overall = (double)*count_at(traits, all, i, value) / (double)traits->rows[all];
            if (share >= SHARE_MIN && share - overall >= LEAD_MIN &&
                !is_negative(column->values[value])) {
                status = cm_text_printf(text, "%s%s: %s", found++ == 0 ? "" : "; ", column->name,
                                        column->values[value]);
            }
        }
    }
    return status;
}
