#include "jobs/prepare/customers.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/columns.h"
#include "loaders/personal_data.h"
#include "loaders/sheet.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- What a column is about, by its name in normal form --- */

/* The first pattern that fits counts. */
static const struct {
    const char *pattern;
    enum cm_customer_role role;
} ROLES[] = {
    { "age", CM_CUSTOMER_AGE },
    { "*_age", CM_CUSTOMER_AGE },
    { "age_years", CM_CUSTOMER_AGE },
    { "*年龄", CM_CUSTOMER_AGE },
    { "*senior*", CM_CUSTOMER_SENIOR },

    { "*e_mail*", CM_CUSTOMER_PERSONAL },
    { "*email*", CM_CUSTOMER_PERSONAL },
    { "*phone_number*", CM_CUSTOMER_PERSONAL },
    { "phone", CM_CUSTOMER_PERSONAL },
    { "mobile", CM_CUSTOMER_PERSONAL },
    { "*mobile_number*", CM_CUSTOMER_PERSONAL },
    { "tel", CM_CUSTOMER_PERSONAL },
    { "telephone*", CM_CUSTOMER_PERSONAL },
    { "name", CM_CUSTOMER_PERSONAL },
    { "*first_name*", CM_CUSTOMER_PERSONAL },
    { "*last_name*", CM_CUSTOMER_PERSONAL },
    { "*full_name*", CM_CUSTOMER_PERSONAL },
    { "*surname*", CM_CUSTOMER_PERSONAL },
    { "customer_name", CM_CUSTOMER_PERSONAL },
    { "user_name", CM_CUSTOMER_PERSONAL },
    { "username", CM_CUSTOMER_PERSONAL },
    { "*address*", CM_CUSTOMER_PERSONAL },
    { "*street*", CM_CUSTOMER_PERSONAL },
    { "*passport*", CM_CUSTOMER_PERSONAL },
    { "*ssn*", CM_CUSTOMER_PERSONAL },
    { "*social_security*", CM_CUSTOMER_PERSONAL },
    { "*id_card*", CM_CUSTOMER_PERSONAL },
    { "*national_id*", CM_CUSTOMER_PERSONAL },
    { "*card_number*", CM_CUSTOMER_PERSONAL },
    { "*credit_card*", CM_CUSTOMER_PERSONAL },
    { "*birth*", CM_CUSTOMER_PERSONAL },
    { "dob", CM_CUSTOMER_PERSONAL },
    { "*latitude*", CM_CUSTOMER_PERSONAL },
    { "*longitude*", CM_CUSTOMER_PERSONAL },
    { "*wechat*", CM_CUSTOMER_PERSONAL },
    { "*姓名*", CM_CUSTOMER_PERSONAL },
    { "*手机*", CM_CUSTOMER_PERSONAL },
    { "*电话*", CM_CUSTOMER_PERSONAL },
    { "*邮箱*", CM_CUSTOMER_PERSONAL },
    { "*地址*", CM_CUSTOMER_PERSONAL },
    { "*身份证*", CM_CUSTOMER_PERSONAL },
    { "*银行卡*", CM_CUSTOMER_PERSONAL },
    { "*微信*", CM_CUSTOMER_PERSONAL },
    { "*生日*", CM_CUSTOMER_PERSONAL },
    { "*出生*", CM_CUSTOMER_PERSONAL },

    { "id", CM_CUSTOMER_IDENTIFIER },
    { "*_id", CM_CUSTOMER_IDENTIFIER },
    { "index", CM_CUSTOMER_IDENTIFIER },
    { "unnamed*", CM_CUSTOMER_IDENTIFIER },
    { "*编号", CM_CUSTOMER_IDENTIFIER },

    { "*religio*", CM_CUSTOMER_PROTECTED },
    { "*ethnic*", CM_CUSTOMER_PROTECTED },
    { "race", CM_CUSTOMER_PROTECTED },
    { "nationality", CM_CUSTOMER_PROTECTED },
    { "*health*", CM_CUSTOMER_PROTECTED },
    { "*disab*", CM_CUSTOMER_PROTECTED },
    { "*disease*", CM_CUSTOMER_PROTECTED },
    { "*medical*", CM_CUSTOMER_PROTECTED },
    { "*pregnan*", CM_CUSTOMER_PROTECTED },
    { "*orientation*", CM_CUSTOMER_PROTECTED },
    { "*politic*", CM_CUSTOMER_PROTECTED },
    { "*union_member*", CM_CUSTOMER_PROTECTED },
    { "*宗教*", CM_CUSTOMER_PROTECTED },
    { "*民族*", CM_CUSTOMER_PROTECTED },
    { "*健康*", CM_CUSTOMER_PROTECTED },
    { "*疾病*", CM_CUSTOMER_PROTECTED },

    { "*churn*", CM_CUSTOMER_OUTCOME },
    { "label", CM_CUSTOMER_OUTCOME },
    { "target", CM_CUSTOMER_OUTCOME },

    { "gender", CM_CUSTOMER_GENDER },
    { "sex", CM_CUSTOMER_GENDER },
    { "性别", CM_CUSTOMER_GENDER },
    { "*income*", CM_CUSTOMER_INCOME },
    { "*salary*", CM_CUSTOMER_INCOME },
    { "*收入*", CM_CUSTOMER_INCOME },
    { "*spend*", CM_CUSTOMER_SPENDING },
    { "*spent*", CM_CUSTOMER_SPENDING },
    { "*charges*", CM_CUSTOMER_SPENDING },
    { "*revenue*", CM_CUSTOMER_SPENDING },
    { "*order_value*", CM_CUSTOMER_SPENDING },
    { "*purchase_amount*", CM_CUSTOMER_SPENDING },
    { "*消费*", CM_CUSTOMER_SPENDING },
    { "*tenure*", CM_CUSTOMER_TENURE },
    { "*membership_months*", CM_CUSTOMER_TENURE },
    { "*customer_for*", CM_CUSTOMER_TENURE },
    { "*会员时长*", CM_CUSTOMER_TENURE },
};

static enum cm_customer_role role_of(struct cm_span name)
{
    char normal[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(name, normal);
    for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
        if (fnmatch(ROLES[i].pattern, normal, 0) == 0) {
            return ROLES[i].role;
        }
    }
    return CM_CUSTOMER_OTHER;
}

const char *cm_customer_reason(const struct cm_customer_column *column)
{
    switch (column->role) {
    case CM_CUSTOMER_IDENTIFIER:
        return "tells persons apart";
    case CM_CUSTOMER_PERSONAL:
        return "names or reaches a person";
    case CM_CUSTOMER_PROTECTED:
        return "a protected trait; --allow uses it";
    case CM_CUSTOMER_OUTCOME:
        return "an outcome, no property of an audience";
    default:
        return column->is_choice || column->is_number ? NULL
                                                      : "too many different values to group by";
    }
}

/* --- Reading --- */

struct reading {
    const struct cm_prepare_options *options;
    struct cm_sheet *sheet;
    struct cm_customers *customers;
    struct cm_error *error;
};

static bool is_allowed(const struct cm_prepare_options *options, const char *name)
{
    for (size_t i = 0; i < options->allowed_count; i++) {
        if (strcasecmp(options->allowed[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static enum cm_status add_column(struct reading *reading, struct cm_span name)
{
    struct cm_customers *customers = reading->customers;
    if (customers->columns_count == CM_CUSTOMER_COLUMNS_MAX) {
        return cm_error_set(reading->error, CM_LIMIT, "%s: more than %d columns", customers->path,
                            CM_CUSTOMER_COLUMNS_MAX);
    }
    struct cm_customer_column *column = &customers->columns[customers->columns_count];
    column->name = cm_strndup(name.data, name.length);
    if (column->name == NULL) {
        return cm_sheet_out_of_memory(reading->sheet, reading->error);
    }
    cm_utf8_clean(column->name);
    customers->columns_count++;
    column->role = role_of(name);
    if (column->role == CM_CUSTOMER_PROTECTED && is_allowed(reading->options, column->name)) {
        column->role = CM_CUSTOMER_OTHER;
    }
    column->is_choice = column->role < CM_CUSTOMER_IDENTIFIER;
    column->is_number = column->is_choice;
    return CM_OK;
}

/* The column of a cell: nearly always the one at the same place. */
static enum cm_status find_column(struct reading *reading, size_t place, struct cm_span name,
                                  struct cm_customer_column **column)
{
    struct cm_customers *customers = reading->customers;
    size_t count = customers->columns_count;
    for (size_t i = 0; i < count; i++) {
        struct cm_customer_column *candidate = &customers->columns[(place + i) % count];
        if (cm_span_equal_text(name, candidate->name)) {
            *column = candidate;
            return CM_OK;
        }
    }
    enum cm_status status = add_column(reading, name);
    *column = &customers->columns[count];
    return status;
}

/* "1,200" and "$45.50" are numbers too. */
static float number_of(struct cm_span value)
{
    char digits[32];
    size_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        char byte = value.data[i];
        if (byte == ',' || byte == '$' || byte == '%') {
            continue;
        }
        if (length + 1 == sizeof digits) {
            return NAN;
        }
        digits[length++] = byte;
    }
    digits[length] = '\0';
    char *end;
    bool plain = length > 0 && digits[strspn(digits, "0123456789.eE+-")] == '\0';
    double number = strtod(digits, &end);
    return plain && *end == '\0' && isfinite(number) ? (float)number : NAN;
}

/* Index of the value, learned where there is room. */
static enum cm_status code_of(struct cm_customer_column *column, struct cm_span value,
                              uint8_t *code)
{
    *code = CM_CUSTOMER_NO_VALUE;
    for (size_t i = 0; i < column->values_count; i++) {
        if (cm_span_equal_text(value, column->values[i])) {
            *code = (uint8_t)i;
            return CM_OK;
        }
    }
    if (column->values_count == CM_CUSTOMER_VALUES_MAX) {
        column->is_choice = false;
        return CM_OK;
    }
    char *copy = cm_strndup(value.data, value.length);
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    *code = (uint8_t)column->values_count;
    column->values[column->values_count++] = copy;
    return CM_OK;
}

/* Room for one more row, the rows before it empty where the column is new. */
static enum cm_status reserve(struct cm_customer_column *column, size_t rows)
{
    void *numbers = column->numbers;
    void *codes = column->codes;
    size_t before = column->capacity_numbers;
    enum cm_status status =
        cm_grow(&numbers, &column->capacity_numbers, rows + 1, sizeof *column->numbers);
    column->numbers = numbers;
    for (size_t i = before; status == CM_OK && i < column->capacity_numbers; i++) {
        column->numbers[i] = NAN;
    }
    before = column->capacity_codes;
    if (status == CM_OK) {
        status = cm_grow(&codes, &column->capacity_codes, rows + 1, sizeof *column->codes);
        column->codes = codes;
    }
    if (status == CM_OK && column->capacity_codes > before) {
        memset(column->codes + before, CM_CUSTOMER_NO_VALUE, column->capacity_codes - before);
    }
    return status;
}

/* A column found to hold identifiers keeps nothing of what was read of it. */
static void forget(struct cm_customer_column *column, uint64_t line)
{
    column->role = CM_CUSTOMER_PERSONAL;
    column->first_personal = line;
    column->is_choice = false;
    column->is_number = false;
    for (size_t i = 0; i < column->values_count; i++) {
        cm_free(column->values[i]);
    }
    column->values_count = 0;
}

static enum cm_status add_cell(struct reading *reading, struct cm_customer_column *column,
                               struct cm_span value, uint64_t line)
{
    value = cm_span_trim(value);
    if (value.length == 0 || column->role >= CM_CUSTOMER_IDENTIFIER) {
        if (value.length > 0 && column->first_personal == 0) {
            column->first_personal = line;
        }
        return CM_OK;
    }
    size_t at = 0;
    struct cm_personal_match match;
    if (cm_personal_data_next(value, &at, &match)) {
        forget(column, line);
        return CM_OK;
    }
    size_t row = reading->customers->rows_count;
    enum cm_status status = reserve(column, row);
    if (status == CM_OK) {
        column->numbers[row] = number_of(value);
        column->is_number = column->is_number && !isnan(column->numbers[row]);
        status = code_of(column, value, &column->codes[row]);
    }
    return status == CM_OK ? CM_OK : cm_sheet_out_of_memory(reading->sheet, reading->error);
}

static enum cm_status add_row(struct reading *reading, const struct cm_sheet_record *record)
{
    struct cm_customers *customers = reading->customers;
    if (record->problem != NULL) {
        customers->damaged_count++;
        return CM_OK;
    }
    if (customers->rows_count == CM_CUSTOMER_ROWS_MAX) {
        return cm_error_set(reading->error, CM_LIMIT, "%s: more than %d customers", customers->path,
                            CM_CUSTOMER_ROWS_MAX);
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < record->cells_count; i++) {
        struct cm_customer_column *column = NULL;
        status = find_column(reading, i, record->cells[i].name, &column);
        if (status == CM_OK) {
            status = add_cell(reading, column, record->cells[i].value, record->line);
        }
    }
    customers->rows_count += status == CM_OK;
    return status;
}

static enum cm_status check_identifiers(const struct reading *reading)
{
    const struct cm_customers *customers = reading->customers;
    for (size_t i = 0; i < customers->columns_count; i++) {
        const struct cm_customer_column *column = &customers->columns[i];
        if (reading->options->pii == CM_PII_REFUSE && column->role == CM_CUSTOMER_PERSONAL &&
            column->first_personal > 0) {
            return cm_error_set(
                reading->error, CM_INVALID_DATA,
                "%s:%llu: the column %.60s names or reaches persons; remove it, or use --pii mask, "
                "which reads none of such columns",
                customers->path, (unsigned long long)column->first_personal, column->name);
        }
    }
    return CM_OK;
}

enum cm_status cm_customers_open(const struct cm_prepare_options *options,
                                 struct cm_customers *customers, struct cm_error *error)
{
    *customers = (struct cm_customers){ .path = options->customers_path };
    struct reading reading = { .options = options, .customers = customers, .error = error };
    enum cm_status status =
        cm_sheet_open(options->customers_path, "age or spending", &reading.sheet, error);
    if (status != CM_OK) {
        return status;
    }
    customers->columns = cm_alloc(CM_CUSTOMER_COLUMNS_MAX, sizeof *customers->columns);
    if (customers->columns == NULL) {
        status = cm_sheet_out_of_memory(reading.sheet, error);
        cm_sheet_close(reading.sheet);
        return status;
    }
    while (status == CM_OK) {
        struct cm_sheet_record record;
        status = cm_sheet_next(reading.sheet, &record, error);
        if (status == CM_OK) {
            status = add_row(&reading, &record);
        }
    }
    status = status == CM_END ? CM_OK : status;
    CM_ASSERT(status != CM_OK || customers->columns != NULL);
    for (size_t i = 0; status == CM_OK && i < customers->columns_count; i++) {
        struct cm_customer_column *column = &customers->columns[i];
        if (column->role < CM_CUSTOMER_IDENTIFIER && customers->rows_count > 0) {
            status = reserve(column, customers->rows_count - 1);
            if (status != CM_OK) {
                status = cm_sheet_out_of_memory(reading.sheet, error);
            }
        }
    }
    if (status == CM_OK) {
        status = check_identifiers(&reading);
    }
    cm_sheet_close(reading.sheet);
    if (status != CM_OK) {
        cm_customers_deinit(customers);
    }
    return status;
}

void cm_customers_deinit(struct cm_customers *customers)
{
    for (size_t i = 0; i < customers->columns_count; i++) {
        struct cm_customer_column *column = &customers->columns[i];
        for (size_t value = 0; value < column->values_count; value++) {
            cm_free(column->values[value]);
        }
        cm_free(column->name);
        cm_free(column->numbers);
        cm_free(column->codes);
    }
    cm_free(customers->columns);
    *customers = (struct cm_customers){ .path = NULL };
}
