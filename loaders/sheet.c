#include "loaders/sheet.h"

#include "base/memory.h"
#include "loaders/catalog.h"
#include "loaders/columns.h"
#include "loaders/csv_reader.h"
#include "loaders/encoding.h"
#include "loaders/json_reader.h"

#include <string.h>

struct cm_sheet {
    struct cm_text_input *input;
    struct cm_csv_reader *csv; /* one of the two */
    struct cm_json_reader *json;
    struct cm_columns header; /* CSV only */
    struct cm_sheet_cell cells[CM_CATALOG_COLUMNS_MAX];
};

static enum cm_status read_header(struct cm_sheet *sheet, const char *wanted,
                                  struct cm_error *error)
{
    struct cm_csv_record record;
    sheet->header.format = cm_table_format_find(NULL, 0);
    enum cm_status status = cm_csv_next(sheet->csv, &record, error);
    if (status == CM_END) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: is empty; a header line with %s is expected", cm_sheet_name(sheet),
                            wanted);
    }
    if (status == CM_OK && record.problem != NULL) {
        return cm_error_set(error, CM_INVALID_DATA, "%s:%llu: %s", cm_sheet_name(sheet),
                            (unsigned long long)record.line, record.problem);
    }
    for (size_t i = 0; status == CM_OK && i < record.cells_count; i++) {
        status = cm_columns_add(&sheet->header, record.cells[i]);
        if (status != CM_OK) {
            cm_error_set(error, status, "%s: out of memory", cm_sheet_name(sheet));
        }
    }
    return status;
}

static enum cm_status open_reader(struct cm_sheet *sheet, const char *path, const char *wanted,
                                  struct cm_error *error)
{
    enum cm_status status = cm_text_input_open(path, &sheet->input, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_span text = cm_span_trim(cm_text_input_peek(sheet->input));
    if (text.length > 0 && (text.data[0] == '[' || text.data[0] == '{')) {
        return cm_json_reader_open(sheet->input, &sheet->json, error);
    }
    status = cm_csv_open(sheet->input, '\0', &sheet->csv, error);
    return status == CM_OK ? read_header(sheet, wanted, error) : status;
}

enum cm_status cm_sheet_open(const char *path, const char *wanted, struct cm_sheet **sheet,
                             struct cm_error *error)
{
    struct cm_sheet *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    enum cm_status status = open_reader(opened, path, wanted, error);
    if (status != CM_OK) {
        cm_sheet_close(opened);
        return status;
    }
    *sheet = opened;
    return CM_OK;
}

void cm_sheet_close(struct cm_sheet *sheet)
{
    if (sheet != NULL) {
        cm_csv_close(sheet->csv);
        cm_json_reader_close(sheet->json);
        cm_text_input_close(sheet->input);
        cm_columns_deinit(&sheet->header);
        cm_free(sheet);
    }
}

static enum cm_status next_csv(struct cm_sheet *sheet, struct cm_sheet_record *record,
                               struct cm_error *error)
{
    struct cm_csv_record row;
    enum cm_status status = cm_csv_next(sheet->csv, &row, error);
    if (status != CM_OK) {
        return status;
    }
    record->line = row.line;
    record->problem = row.problem;
    for (size_t i = 0; i < row.cells_count && i < sheet->header.count; i++) {
        struct cm_span name = cm_span_of(sheet->header.items[i].name);
        sheet->cells[record->cells_count++] = (struct cm_sheet_cell){ name, row.cells[i] };
    }
    bool is_wide = row.cells_count > sheet->header.count;
    if (record->problem == NULL && is_wide &&
        cm_span_trim(row.cells[sheet->header.count]).length > 0) {
        record->problem = "has more cells than the header; put cells with the delimiter in quotes";
    }
    return CM_OK;
}

static enum cm_status next_json(struct cm_sheet *sheet, struct cm_sheet_record *record,
                                struct cm_error *error)
{
    struct cm_json_record element;
    enum cm_status status = cm_json_reader_next(sheet->json, &element, error);
    if (status != CM_OK) {
        return status;
    }
    record->line = element.line;
    record->problem = element.problem;
    record->cells_count = element.pairs_count;
    for (size_t i = 0; i < element.pairs_count; i++) {
        sheet->cells[i] = (struct cm_sheet_cell){ element.pairs[i].name, element.pairs[i].value };
    }
    return CM_OK;
}

enum cm_status cm_sheet_next(struct cm_sheet *sheet, struct cm_sheet_record *record,
                             struct cm_error *error)
{
    *record = (struct cm_sheet_record){ .cells = sheet->cells };
    return sheet->csv != NULL ? next_csv(sheet, record, error) : next_json(sheet, record, error);
}

enum cm_status cm_sheet_refuse(const struct cm_sheet *sheet, const struct cm_sheet_record *record,
                               struct cm_error *error, const char *what)
{
    return cm_error_set(error, CM_INVALID_DATA, "%s:%llu: %s", cm_sheet_name(sheet),
                        (unsigned long long)record->line, what);
}

enum cm_status cm_sheet_out_of_memory(const struct cm_sheet *sheet, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", cm_sheet_name(sheet));
}

const char *cm_sheet_name(const struct cm_sheet *sheet)
{
    return cm_text_input_name(sheet->input);
}

bool cm_sheet_cell_is(const struct cm_sheet_cell *cell, const char *normal_name)
{
    char normal[CM_COLUMN_NAME_BYTES];
    cm_column_normalize(cell->name, normal);
    return strcmp(normal, normal_name) == 0;
}
