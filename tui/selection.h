/*
 * Which rows of a view are shown, in which order, with which columns.
 */
#pragma once

#include "tui/view.h"

#define SELECTION_FILTERS_MAX 8
#define SELECTION_COLUMNS_MAX 80

struct selection {
    const struct view *view;
    const struct column *columns[SELECTION_COLUMNS_MAX]; /* in order of output */
    unsigned column_count;
    bool columns_chosen; /* else: JSON shows all, text the titled ones */
    const char *filters[SELECTION_FILTERS_MAX];
    unsigned filter_count;
    const char *exact; /* the first column equals this; NULL: any */
    const struct column *sort;
    bool descending;
    const void **rows; /* result of selection_apply() */
    size_t row_count, hidden;
};

/** Each returns NULL or what is wrong (static buffer or literal). @p text must outlive the selection. */
const char *selection_set_columns(struct selection *s, const char *text);
const char *selection_set_sort(struct selection *s, const char *text);
const char *selection_add_filter(struct selection *s, const char *text);

/** Fills in the columns for text or for JSON when none were chosen. */
void selection_default_columns(struct selection *s, bool json);

/** Selects from the loaded table. 0 or -ENOMEM. */
int selection_apply(struct selection *s, const struct table_reader *reader);
void selection_deinit(struct selection *s);
