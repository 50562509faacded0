/*
 * Filters: every --filter must hold. One filter is alternatives joined by '|', each
 *   WORD        some column contains it, whatever the case
 *   KEY=VALUE   KEY!=VALUE   KEY>NUMBER   KEY<NUMBER
 * and a leading '!' turns one alternative round.
 */
#include "tui/selection.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/text.h"
#include "tui/option.h"

static char problem[1024];

static const char *key_at(const void *ctx, size_t i)
{
    return ((const struct view *)ctx)->columns[i].key;
}

static const char *unknown_column(const struct view *view, const char *key, size_t len)
{
    char word[64], safe[64];
    text_copy(word, sizeof(word), key, len);
    text_escape(safe, sizeof(safe), word, strlen(word));
    const char *near = nearest_name(word, view->column_count, key_at, view);
    int n = near ? snprintf(problem, sizeof(problem), "no column \"%s\"; did you mean %s?", safe, near)
                 : snprintf(problem, sizeof(problem), "no column \"%s\"; there are:", safe);
    for (unsigned i = 0; !near && i < view->column_count && n > 0 && (size_t)n < sizeof(problem); i++)
        n += snprintf(problem + n, sizeof(problem) - (size_t)n, " %s", view->columns[i].key);
    return problem;
}

const char *selection_set_columns(struct selection *s, const char *text)
{
    s->column_count = 0;
    s->columns_chosen = true;
    while (*text) {
        size_t len = strcspn(text, ",");
        const struct column *column = view_column(s->view, text, len);
        if (!column)
            return unknown_column(s->view, text, len);
        if (s->column_count == SELECTION_COLUMNS_MAX)
            return "too many columns";
        s->columns[s->column_count++] = column;
        text += len;
        text += *text == ',';
    }
    return s->column_count ? NULL : "names no column";
}

const char *selection_set_sort(struct selection *s, const char *text)
{
    s->descending = *text == '-';
    text += *text == '-' || *text == '+';
    s->sort = view_column(s->view, text, strlen(text));
    return s->sort ? NULL : unknown_column(s->view, text, strlen(text));
}

/* An operator that follows a column's key. */
static const struct column *comparison(const struct view *view, const char *term, size_t len, char *op, const char **value)
{
    size_t key = 0;
    while (key < len && (isalnum((unsigned char)term[key]) || term[key] == '_'))
        key++;
    if (key == 0 || key >= len || !strchr("=!<>", term[key]) || (term[key] == '!' && term[key + 1] != '='))
        return NULL;
    *op = term[key];
    *value = term + key + (term[key] == '!' ? 2 : 1);
    return view_column(view, term, key);
}

const char *selection_add_filter(struct selection *s, const char *text)
{
    if (s->filter_count == SELECTION_FILTERS_MAX)
        return "too many filters";
    for (const char *term = text;;) {
        size_t len = strcspn(term, "|");
        const char *bare = term + (*term == '!');
        size_t bare_len = len - (size_t)(bare - term), key = strcspn(bare, "=!<>|");
        char op;
        const char *value;
        if (len == 0 || bare_len == 0)
            return "has an empty alternative";
        if (key < bare_len && !comparison(s->view, bare, bare_len, &op, &value))
            return unknown_column(s->view, bare, key);
        if (!term[len])
            break;
        term += len + 1;
    }
    s->filters[s->filter_count++] = text;
    return NULL;
}

void selection_default_columns(struct selection *s, bool json)
{
    if (s->columns_chosen)
        return;
    s->column_count = 0;
    for (unsigned i = 0; i < s->view->column_count && s->column_count < SELECTION_COLUMNS_MAX; i++)
        if (json || s->view->columns[i].title)
            s->columns[s->column_count++] = &s->view->columns[i];
}

static bool contains(const char *text, const char *word, size_t len)
{
    for (; *text; text++)
        if (strncasecmp(text, word, len) == 0)
            return true;
    return false;
}

static bool any_column_contains(const struct selection *s, const struct table_reader *reader, const void *row, const char *word, size_t len)
{
    for (unsigned i = 0; i < s->view->column_count; i++) {
        struct cell cell;
        char text[1024];
        s->view->columns[i].get(reader, &s->view->columns[i], row, &cell);
        cell_print(&cell, text, sizeof(text));
        if (contains(text, word, len))
            return true;
    }
    return false;
}

static bool compare_holds(const struct cell *cell, char op, const char *value, size_t len)
{
    char wanted[256];
    int64_t number;
    text_copy(wanted, sizeof(wanted), value, len);
    bool numeric = cell->kind != CELL_TEXT && cell->kind != CELL_NONE && text_parse_i64(wanted, INT64_MIN, INT64_MAX, &number);
    if (op == '<' || op == '>')
        return numeric && (op == '<' ? cell->number < number : cell->number > number);
    bool equal;
    if (numeric) {
        equal = cell->number == number;
    } else {
        char text[1024];
        cell_print(cell, text, sizeof(text));
        equal = strcmp(text, wanted) == 0 || (cell->kind == CELL_TEXT && strcmp(cell->text, wanted) == 0);
    }
    return equal == (op == '=');
}

static bool term_holds(const struct selection *s, const struct table_reader *reader, const void *row, const char *term, size_t len)
{
    bool negated = len > 0 && *term == '!';
    term += negated;
    len -= negated;
    char op;
    const char *value;
    const struct column *column = comparison(s->view, term, len, &op, &value);
    if (!column)
        return any_column_contains(s, reader, row, term, len) != negated;
    struct cell cell;
    column->get(reader, column, row, &cell);
    return compare_holds(&cell, op, value, len - (size_t)(value - term)) != negated;
}

static bool filter_holds(const struct selection *s, const struct table_reader *reader, const void *row, const char *filter)
{
    for (;;) {
        size_t len = strcspn(filter, "|");
        if (term_holds(s, reader, row, filter, len))
            return true;
        if (!filter[len])
            return false;
        filter += len + 1;
    }
}

static bool row_is_wanted(const struct selection *s, const struct table_reader *reader, const void *row)
{
    if (s->exact) {
        struct cell cell;
        char text[1024];
        s->view->columns[0].get(reader, &s->view->columns[0], row, &cell);
        cell_print(&cell, text, sizeof(text));
        if (strcmp(text, s->exact) != 0 && (cell.kind != CELL_TEXT || strcmp(cell.text, s->exact) != 0))
            return false;
    }
    for (unsigned i = 0; i < s->filter_count; i++)
        if (!filter_holds(s, reader, row, s->filters[i]))
            return false;
    return true;
}

struct sort_context {
    const struct selection *selection;
    const struct table_reader *reader;
};

static int compare_rows(const void *a, const void *b, void *ctx)
{
    const struct sort_context *x = ctx;
    const struct selection *s = x->selection;
    const void *row_a = *(const void *const *)a, *row_b = *(const void *const *)b;
    struct cell cell_a, cell_b;
    s->sort->get(x->reader, s->sort, row_a, &cell_a);
    s->sort->get(x->reader, s->sort, row_b, &cell_b);
    int order = cell_compare(&cell_a, &cell_b);
    if (order != 0)
        return s->descending ? -order : order;
    return (row_a > row_b) - (row_a < row_b); /* equal: as in the table */
}

int selection_apply(struct selection *s, const struct table_reader *reader)
{
    uint64_t rows = view_rows(s->view, reader);
    selection_deinit(s);
    s->rows = calloc(rows ? rows : 1, sizeof(*s->rows));
    if (!s->rows)
        return -ENOMEM;
    for (uint64_t i = 0; i < rows; i++) {
        const void *row = view_row(s->view, reader, i);
        if (row_is_wanted(s, reader, row))
            s->rows[s->row_count++] = row;
        else
            s->hidden++;
    }
    struct sort_context ctx = {s, reader};
    if (s->sort)
        qsort_r(s->rows, s->row_count, sizeof(*s->rows), compare_rows, &ctx);
    return 0;
}

void selection_deinit(struct selection *s)
{
    free(s->rows);
    s->rows = NULL;
    s->row_count = s->hidden = 0;
}
