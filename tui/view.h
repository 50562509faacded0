/*
 * A view is a section of the table and the columns by which a verb shows it. The
 * same rows feed text, JSON, sorting and filtering, so that they cannot disagree.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shm/table_reader.h"

enum cell_kind {
    CELL_NONE, /* "-" and null: it does not exist or did not happen */
    CELL_TEXT,
    CELL_NUMBER,
    CELL_DURATION, /* milliseconds */
    CELL_BYTES,
    CELL_TIME, /* milliseconds since the Unix epoch */
    CELL_BIG,  /* a 64-bit identifier: a string in JSON */
    CELL_BOOL
};

/** A value on its way from a row to the output. @c text points into the row or at @c buffer. */
struct cell {
    enum cell_kind kind;
    int64_t number;
    const char *text;
    char buffer[384];
};

struct column;
typedef void (*cell_fn)(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell);

struct column {
    const char *key;   /* JSON name, with its unit; also for --columns, --sort, --filter */
    const char *title; /* heading; NULL: not shown unless asked for */
    cell_fn get;
    enum cell_kind kind;
    uint32_t offset, bytes;   /* of the field that get reads */
    const char *const *names; /* of an enum's values */
    unsigned name_count;
};

struct view {
    const char *name; /* schema and verb */
    int section;      /* enum table_section, or VIEW_HUB */
    const struct column *columns;
    unsigned column_count;
    const char *empty;       /* said instead of an empty table */
    bool sheet;              /* one item, shown as lines "name value" */
    const struct view *more; /* its rows follow, if there are any; NULL: none */
};

#define VIEW_HUB (-1)

/** Number of rows, and one of them. */
uint64_t view_rows(const struct view *view, const struct table_reader *reader);
const void *view_row(const struct view *view, const struct table_reader *reader, uint64_t index);

/** The column of that key, or NULL. */
const struct column *view_column(const struct view *view, const char *key, size_t len);

/** A cell's text form, escaped. */
void cell_print(const struct cell *cell, char *dst, size_t cap);
/** Order of two cells of one column; nothing comes first. */
int cell_compare(const struct cell *a, const struct cell *b);

extern const struct view view_status, view_instances, view_groups, view_clients, view_routes, view_brokers, view_heartbeats, view_pending,
    view_connections, view_tasks, view_events, view_stats, view_config, view_problems, view_services, view_requests;
