#include "jobs/csv_cell.h"

#include <csv.h>
#include <string.h>

/* The signs that start a formula, with the full-width forms that some spreadsheets take for them.
 */
static bool starts_formula(const char *text)
{
    static const char *const wide[] = { "＝", "＋", "－", "＠" };
    if (text[0] != '\0' && strchr("=+-@\t\r\n", text[0]) != NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        if (strncmp(text, wide[i], strlen(wide[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* A reader that splits at another separator, or ignores quotes, sees a new cell after each of
 * these, so a formula is disarmed there as well as at the start. */
static enum cm_status neutralise(const char *text, struct cm_text *cell)
{
    cm_text_clear(cell);
    bool at_start = true;
    enum cm_status status = CM_OK;
    for (const char *at = text; status == CM_OK && *at != '\0'; at++) {
        if (at_start && starts_formula(at)) {
            status = cm_text_append_char(cell, '\'');
            at_start = false;
        }
        bool separates = strchr(",;|\t\r\n", *at) != NULL;
        bool keeps = *at == ' ' || *at == '"' || *at == '\'';
        at_start = separates || (at_start && keeps);
        if (status == CM_OK) {
            status = cm_text_append_char(cell, *at);
        }
    }
    return status;
}

enum cm_status cm_csv_cell_write(FILE *stream, const char *text, bool excel,
                                 struct cm_text *scratch)
{
    if (excel) {
        enum cm_status status = neutralise(text, scratch);
        if (status != CM_OK) {
            return status;
        }
        text = cm_text_string(scratch);
    }
    size_t length = strlen(text);
    bool plain = strpbrk(text, ",\"\r\n;\t|") == NULL &&
                 (length == 0 || (text[0] != ' ' && text[length - 1] != ' '));
    if (plain) {
        fputs(text, stream);
    } else {
        csv_fwrite(stream, text, length);
    }
    return CM_OK;
}
