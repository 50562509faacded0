#include "tui/output.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/text.h"
#include "tui/format.h"

#define GAP 2
/* Longest cell: a 384-byte text of which each byte became \xNN. */
#define CELL_CAP 1600

/* What the escaper leaves is valid UTF-8, which jansson requires. */
static json_t *json_text(const char *text)
{
    char safe[CELL_CAP];
    text_escape(safe, sizeof(safe), text, strlen(text));
    return json_string(safe);
}

static json_t *json_cell(const struct cell *cell)
{
    char text[CELL_CAP];
    switch (cell->kind) {
    case CELL_NONE:
        return json_null();
    case CELL_TEXT:
        return json_text(cell->text);
    case CELL_BOOL:
        return json_boolean(cell->number != 0);
    case CELL_BIG:
    case CELL_TIME:
        cell_print(cell, text, sizeof(text));
        return json_string(text);
    default:
        return json_integer(cell->number);
    }
}

static json_t *json_item(const struct selection *s, const struct table_reader *reader, const void *row)
{
    json_t *item = json_object();
    for (unsigned i = 0; item && i < s->column_count; i++) {
        struct cell cell;
        s->columns[i]->get(reader, s->columns[i], row, &cell);
        if (json_object_set_new(item, s->columns[i]->key, json_cell(&cell)) < 0) {
            json_decref(item);
            return NULL;
        }
    }
    return item;
}

json_t *output_envelope(const char *verb, const struct table_source *source)
{
    const struct table_half_header *half = table_reader_half(source->reader);
    char schema[64], epoch[32], published[FORMAT_CAP];
    snprintf(schema, sizeof(schema), "rmqhub.%s/1", verb);
    snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)half->hub.epoch);
    format_time(published, half->published_wall_ms);
    return json_pack("{s:s, s:{s:s, s:i, s:s, s:o, s:o, s:s}, s:I, s:b}", "schema", schema, "hub", "state", table_source_hub_state(source),
                     "pid", (int)half->hub.pid, "epoch", epoch, "version", json_text(half->hub.version), "runtime_dir",
                     json_text(source->dir), "published_at", published, "data_age_ms", (json_int_t)source->age_ms, "stale",
                     source->liveness != HUB_ALIVE);
}

static json_t *json_items(const struct selection *s, const struct table_reader *reader)
{
    json_t *items = json_array();
    for (size_t i = 0; items && i < s->row_count; i++) {
        if (json_array_append_new(items, json_item(s, reader, s->rows[i])) < 0) {
            json_decref(items);
            return NULL;
        }
    }
    return items;
}

/* All rows of the view that follows this one. */
static int select_more(struct selection *more, const struct selection *s, const struct table_reader *reader, bool json)
{
    *more = (struct selection){.view = s->view->more};
    selection_default_columns(more, json);
    return selection_apply(more, reader);
}

static int json_add_more(json_t *envelope, const struct selection *s, const struct table_reader *reader)
{
    struct selection more;
    int r = select_more(&more, s, reader, true);
    if (r == 0 && json_object_set_new(envelope, more.view->name, json_items(&more, reader)) < 0)
        r = -ENOMEM;
    selection_deinit(&more);
    return r;
}

int output_json(const struct selection *s, const struct table_source *source)
{
    json_t *envelope = output_envelope(s->view->name, source), *items = json_items(s, source->reader);
    int r = envelope && items ? 0 : -ENOMEM;
    if (r == 0 && s->view->more)
        r = json_add_more(envelope, s, source->reader);
    if (r == 0 && s->view->section >= 0)
        r = json_object_set_new(envelope, "dropped", json_integer(table_reader_half(source->reader)->dropped[s->view->section]));
    if (r == 0 && json_object_set(envelope, "items", items) < 0)
        r = -ENOMEM;
    if (r == 0) {
        json_dumpf(envelope, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(items);
    json_decref(envelope);
    return r;
}

/* East Asian wide characters take two columns. Told by lead byte and next, not by the locale, which may be C. */
static bool is_wide(const unsigned char *c)
{
    unsigned pair = (unsigned)c[0] << 8 | c[1];
    return (pair >= 0xe184 && pair <= 0xe185) || (pair >= 0xe2ba && pair <= 0xea93) || (pair >= 0xeab0 && pair <= 0xed9e) ||
           (pair >= 0xefa4 && pair <= 0xefab) || (pair >= 0xefbc && pair <= 0xefbd) || (pair >= 0xf09f && pair <= 0xf0b3);
}

/* Columns on a terminal, of escaped text. */
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c & 0xc0) != 0x80)
            n += is_wide(c) ? 2 : 1;
    return n;
}

static void put_padded(const char *text, size_t width, bool right, bool last)
{
    size_t used = columns_of(text);
    int pad = used < width ? (int)(width - used) : 0;
    if (right)
        printf("%*s%s", pad, "", text);
    else
        printf("%s%*s", text, last ? 0 : pad, "");
    if (!last)
        printf("%*s", GAP, "");
}

static bool aligned_right(const struct column *column)
{
    return column->kind != CELL_TEXT && column->kind != CELL_TIME;
}

static void cell_text(const struct selection *s, const struct table_reader *reader, size_t row, unsigned column, char *dst, size_t cap)
{
    struct cell cell;
    s->columns[column]->get(reader, s->columns[column], s->rows[row], &cell);
    cell_print(&cell, dst, cap);
}

static const char *heading(const struct column *column)
{
    return column->title ? column->title : column->key;
}

static void print_sheet(const struct selection *s, const struct table_reader *reader)
{
    size_t width = 0;
    char text[CELL_CAP];
    for (unsigned c = 0; c < s->column_count; c++)
        if (columns_of(heading(s->columns[c])) > width)
            width = columns_of(heading(s->columns[c]));
    for (size_t row = 0; row < s->row_count; row++) {
        for (unsigned c = 0; c < s->column_count; c++) {
            cell_text(s, reader, row, c, text, sizeof(text));
            put_padded(heading(s->columns[c]), width, false, false);
            printf("%s\n", text);
        }
    }
}

static void print_table(const struct selection *s, const struct table_reader *reader, bool headers)
{
    size_t width[SELECTION_COLUMNS_MAX] = {0};
    char text[CELL_CAP];
    for (unsigned c = 0; c < s->column_count; c++) {
        width[c] = headers ? columns_of(heading(s->columns[c])) : 0;
        for (size_t row = 0; row < s->row_count; row++) {
            cell_text(s, reader, row, c, text, sizeof(text));
            width[c] = columns_of(text) > width[c] ? columns_of(text) : width[c];
        }
    }
    for (unsigned c = 0; headers && c < s->column_count; c++)
        put_padded(heading(s->columns[c]), width[c], aligned_right(s->columns[c]), c + 1 == s->column_count);
    if (headers)
        putchar('\n');
    for (size_t row = 0; row < s->row_count; row++) {
        for (unsigned c = 0; c < s->column_count; c++) {
            cell_text(s, reader, row, c, text, sizeof(text));
            put_padded(text, width[c], aligned_right(s->columns[c]), c + 1 == s->column_count);
        }
        putchar('\n');
    }
}

static int print_more(const struct selection *s, const struct table_reader *reader, bool headers)
{
    struct selection more;
    int r = select_more(&more, s, reader, false);
    if (r == 0 && more.row_count) {
        putchar('\n');
        print_table(&more, reader, headers);
    }
    selection_deinit(&more);
    return r;
}

int output_text(const struct selection *s, const struct table_source *source, bool headers)
{
    char banner[512];
    table_source_banner(source, banner, sizeof(banner));
    /* Where only data is wanted on stdout, the warning still has to be seen. */
    if (banner[0])
        fprintf(headers ? stdout : stderr, "%s\n", banner);
    if (s->row_count == 0 && s->hidden)
        fprintf(headers ? stdout : stderr, "the filter hides all %zu rows\n", s->hidden);
    else if (s->row_count == 0)
        fprintf(headers ? stdout : stderr, "%s\n", s->view->empty);
    else if (s->view->sheet)
        print_sheet(s, source->reader);
    else
        print_table(s, source->reader, headers);
    uint32_t dropped = s->view->section >= 0 ? table_reader_half(source->reader)->dropped[s->view->section] : 0;
    if (dropped)
        fprintf(headers ? stdout : stderr, "%u more rows did not fit into the table\n", dropped);
    return s->view->more ? print_more(s, source->reader, headers) : 0;
}
