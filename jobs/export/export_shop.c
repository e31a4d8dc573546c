/* Shopify's product CSV and Google Merchant's text feed. Both only hold what copymill wrote and
 * what names the product: a shop keeps its own value of every column that is not there. */
#include "jobs/csv_cell.h"
#include "jobs/export/export_row.h"

#include "base/hash.h"
#include "base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    HANDLE_BYTES = 256,
    SHOPIFY_TITLE_CHARACTERS_MAX = 255,
    GOOGLE_TITLE_CHARACTERS_MAX = 150,
    GOOGLE_DESCRIPTION_CHARACTERS_MAX = 5000,
};

const char *const CM_SHOPIFY_COLUMNS[] = { "Title",     "URL handle",      "Description",
                                           "SEO title", "SEO description", NULL };

static size_t count_characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return count;
}

/* An answer is about a question, not about a product. */
static bool is_description(struct cm_export *exported, const struct cm_export_copy *copy)
{
    if (strcmp(copy->entry->row.scenario, "answer") == 0) {
        cm_export_refuse(exported, copy->entry,
                         "an answer to a customer is no description of a product");
        return false;
    }
    if (copy->lost_parts) {
        cm_export_refuse(exported, copy->entry,
                         "it was edited to another number of lines, so that its parts cannot be "
                         "told apart; edit it to a line for each part");
        return false;
    }
    return true;
}

/* Whether it is the first row of the product. Items with one id, or whose ids become one handle,
 * are one product to a shop. */
static enum cm_status is_first(struct cm_export *exported, const struct cm_export_copy *copy,
                               const char *handle, bool *first, struct cm_error *error)
{
    struct cm_hash *hash = NULL;
    uint8_t digest[CM_SHA256_BYTES];
    uint32_t nth = 0;
    enum cm_status status = cm_hash_open(&hash);
    if (status == CM_OK) {
        cm_hash_text(hash, handle);
        cm_hash_digest(hash, digest);
        cm_hash_close(hash);
        status = cm_digest_count_add(exported->handles, digest, &nth);
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "%s: out of memory", exported->name);
    }
    *first = nth == 0;
    if (!*first) {
        cm_export_refuse(exported, copy->entry,
                         "another row is written for the same product already");
    }
    return CM_OK;
}

/* --- Shopify --- */

/* An id from a Shopify catalog is a handle and stays one; another becomes one: lower case, words
 * joined by "-". Characters outside ASCII are allowed in handles. */
static void make_handle(const char *id, char handle[HANDLE_BYTES])
{
    size_t length = 0;
    bool gap = false;
    for (; *id != '\0' && length + 6 < HANDLE_BYTES; id++) {
        unsigned char byte = (unsigned char)*id;
        if (byte < 0x80 && !isalnum(byte) && byte != '_') {
            gap = length > 0;
            continue;
        }
        if (gap) {
            handle[length++] = '-';
            gap = false;
        }
        handle[length++] = (char)tolower(byte);
    }
    handle[length] = '\0';
    length = cm_utf8_valid_bytes((const uint8_t *)handle, length);
    handle[length] = '\0';
}

static enum cm_status append_escaped(struct cm_text *html, const char *text, size_t length)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < length; i++) {
        switch (text[i]) {
        case '&':
            status = cm_text_append_string(html, "&amp;");
            break;
        case '<':
            status = cm_text_append_string(html, "&lt;");
            break;
        case '>':
            status = cm_text_append_string(html, "&gt;");
            break;
        default:
            status = cm_text_append_char(html, text[i]);
        }
    }
    return status;
}

/* Bytes of the mark that begins a line of a list; 0: none. */
static size_t list_mark(const char *line)
{
    static const char *const marks[] = { "- ", "* ", "• ", "·" };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (strncmp(line, marks[i], strlen(marks[i])) == 0) {
            return strlen(marks[i]);
        }
    }
    return 0;
}

/* Lines become paragraphs, lines of a list items of one. */
static enum cm_status append_html(struct cm_text *html, const char *text)
{
    bool in_list = false;
    enum cm_status status = CM_OK;
    while (status == CM_OK && *text != '\0') {
        size_t length = strcspn(text, "\n");
        size_t mark = list_mark(text);
        bool is_item = mark > 0 && mark < length;
        if (is_item != in_list && length > 0) {
            status = cm_text_append_string(html, is_item ? "<ul>" : "</ul>");
            in_list = is_item;
        }
        if (status == CM_OK && length > 0) {
            size_t skipped = is_item ? mark : 0;
            status = cm_text_append_string(html, is_item ? "<li>" : "<p>");
            if (status == CM_OK) {
                status = append_escaped(html, text + skipped, length - skipped);
            }
            if (status == CM_OK) {
                status = cm_text_append_string(html, is_item ? "</li>" : "</p>");
            }
        }
        text += length + (text[length] == '\n');
    }
    return status == CM_OK && in_list ? cm_text_append_string(html, "</ul>") : status;
}

enum cm_status cm_export_shopify_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                     struct cm_error *error)
{
    char handle[HANDLE_BYTES];
    bool first = false;
    const struct cm_ledger_entry *entry = copy->entry;
    make_handle(entry->row.item_id, handle);
    if (!is_description(exported, copy)) {
        return CM_OK;
    }
    if (entry->title[0] == '\0' || handle[0] == '\0' ||
        count_characters(entry->title) > SHOPIFY_TITLE_CHARACTERS_MAX) {
        cm_export_refuse(exported, entry,
                         "Shopify needs a title of at most 255 characters and an id of letters or "
                         "digits; a job of an earlier version has no titles until it is run again");
        return CM_OK;
    }
    enum cm_status status = is_first(exported, copy, handle, &first, error);
    if (status != CM_OK || !first) {
        return status;
    }
    const char *description = cm_export_marked(exported, copy, "description");
    const char *seo_title = cm_export_field(copy, "seo_title");
    const char *seo_description = cm_export_field(copy, "seo_description");
    cm_text_clear(&exported->html);
    if (description == NULL || append_html(&exported->html, description) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", exported->name);
    }
    const char *const values[] = {
        entry->title, handle,          cm_text_string(&exported->html),
        seo_title,    seo_description, copy->aigc,
    };
    exported->counts->written++;
    return cm_table_writer_add(exported->table, values, error);
}

/* --- Google Merchant --- */

void cm_export_google_header(struct cm_export *exported)
{
    bool metadata = exported->options->origin == CM_EXPORT_ORIGIN_METADATA ||
                    exported->options->origin == CM_EXPORT_ORIGIN_BOTH;
    fprintf(exported->stream, "id\ttitle\tstructured_title\tstructured_description%s\n",
            metadata ? "\tAIGC" : "");
}

/* The sub-attributes of a structured attribute in one cell: digital_source_type:content, the
 * content in quotes where it holds a colon or quotes. A text feed has one line for each product. */
static enum cm_status append_structured(struct cm_text *cell, const char *content)
{
    bool quoted = strpbrk(content, ":\"") != NULL;
    cm_text_clear(cell);
    enum cm_status status = cm_text_append_string(cell, "trained_algorithmic_media:");
    if (status == CM_OK && quoted) {
        status = cm_text_append_char(cell, '"');
    }
    for (; status == CM_OK && *content != '\0'; content++) {
        bool space = *content == '\n' || *content == '\t' || *content == '\r';
        status = cm_text_append_char(cell, space ? ' ' : *content);
        if (status == CM_OK && *content == '"') {
            status = cm_text_append_char(cell, '"');
        }
    }
    return status == CM_OK && quoted ? cm_text_append_char(cell, '"') : status;
}

static bool fits_google(struct cm_export *exported, const struct cm_export_copy *copy,
                        const char *title, const char *description)
{
    const char *shown = title != NULL ? title : copy->entry->title;
    if (shown[0] == '\0' || count_characters(shown) > GOOGLE_TITLE_CHARACTERS_MAX) {
        cm_export_refuse(exported, copy->entry,
                         "Google Merchant needs a title of at most 150 characters");
        return false;
    }
    if (count_characters(description) > GOOGLE_DESCRIPTION_CHARACTERS_MAX) {
        cm_export_refuse(exported, copy->entry,
                         "Google Merchant takes descriptions of at most 5000 characters");
        return false;
    }
    return true;
}

static enum cm_status write_cells(struct cm_export *exported, const char *const *cells,
                                  size_t count)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < count; i++) {
        if (i > 0) {
            fputc('\t', exported->stream);
        }
        status = cm_csv_cell_write(exported->stream, cells[i], false, &exported->text);
    }
    fputc('\n', exported->stream);
    return status;
}

enum cm_status cm_export_google_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                    struct cm_error *error)
{
    bool first = false;
    const struct cm_ledger_entry *entry = copy->entry;
    const char *title = cm_export_field(copy, "title");
    const char *description = cm_export_marked(exported, copy, "description");
    if (description == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", exported->name);
    }
    if (!is_description(exported, copy) || !fits_google(exported, copy, title, description)) {
        return CM_OK;
    }
    enum cm_status status = is_first(exported, copy, entry->row.item_id, &first, error);
    if (status != CM_OK || !first) {
        return status;
    }
    status = append_structured(&exported->html, description);
    if (status == CM_OK && title != NULL) {
        status = append_structured(&exported->title, title);
    }
    if (status == CM_OK) {
        const char *const cells[] = {
            entry->row.item_id,
            title != NULL ? "" : entry->title, /* one of the two, as Google asks */
            title != NULL ? cm_text_string(&exported->title) : "",
            cm_text_string(&exported->html),
            copy->aigc,
        };
        status = write_cells(exported, cells, copy->aigc != NULL ? 5 : 4);
        exported->counts->written++;
    }
    return status == CM_OK ? CM_OK
                           : cm_error_set(error, status, "%s: out of memory", exported->name);
}
