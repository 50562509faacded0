#include "tui/view.h"

#include <stdio.h>
#include <string.h>

#include "shm/base/text.h"
#include "tui/format.h"

uint64_t view_rows(const struct view *view, const struct table_reader *reader)
{
    uint64_t first, next;
    uint32_t count;
    if (view->section == VIEW_HUB)
        return 1;
    if (view->section == TABLE_EVENTS) {
        table_reader_events(reader, &first, &next);
        return next - first;
    }
    table_reader_rows(reader, (enum table_section)view->section, &count);
    return count;
}

const void *view_row(const struct view *view, const struct table_reader *reader, uint64_t index)
{
    uint64_t first, next;
    uint32_t count;
    if (view->section == VIEW_HUB)
        return table_reader_half(reader);
    if (view->section == TABLE_EVENTS) {
        table_reader_events(reader, &first, &next);
        return table_reader_event(reader, first + index);
    }
    const char *rows = table_reader_rows(reader, (enum table_section)view->section, &count);
    return rows + index * table_section_info[view->section].row_bytes;
}

const struct column *view_column(const struct view *view, const char *key, size_t len)
{
    for (unsigned i = 0; i < view->column_count; i++)
        if (strlen(view->columns[i].key) == len && strncmp(view->columns[i].key, key, len) == 0)
            return &view->columns[i];
    return NULL;
}

void cell_print(const struct cell *cell, char *dst, size_t cap)
{
    char number[FORMAT_CAP];
    switch (cell->kind) {
    case CELL_TEXT:
        if (cell->text[0])
            text_escape(dst, cap, cell->text, strlen(cell->text));
        else
            snprintf(dst, cap, "-");
        return;
    case CELL_NUMBER:
        snprintf(dst, cap, "%lld", (long long)cell->number);
        return;
    case CELL_BIG:
        snprintf(dst, cap, "%llu", (unsigned long long)cell->number);
        return;
    case CELL_BOOL:
        snprintf(dst, cap, "%s", cell->number ? "yes" : "no");
        return;
    case CELL_DURATION:
        format_duration_ms(number, cell->number);
        break;
    case CELL_BYTES:
        format_bytes(number, (uint64_t)cell->number);
        break;
    case CELL_TIME:
        format_time(number, cell->number);
        break;
    case CELL_NONE:
        snprintf(number, sizeof(number), "-");
        break;
    }
    snprintf(dst, cap, "%s", number);
}

int cell_compare(const struct cell *a, const struct cell *b)
{
    if (a->kind == CELL_NONE || b->kind == CELL_NONE)
        return (a->kind != CELL_NONE) - (b->kind != CELL_NONE);
    if (a->kind == CELL_TEXT && b->kind == CELL_TEXT)
        return strcmp(a->text, b->text);
    if (a->kind == CELL_BIG)
        return ((uint64_t)a->number > (uint64_t)b->number) - ((uint64_t)a->number < (uint64_t)b->number);
    return (a->number > b->number) - (a->number < b->number);
}
