/*
 * The reading verbs. They look at the table file alone: no request reaches the hub,
 * so they work on a busy, hung or dead hub alike, and say which.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/text.h"
#include "tui/option.h"
#include "tui/output.h"

struct show {
    const struct command *command;
    struct selection selection;
    struct table_source source;
    const char *runtime_dir;
    bool json, no_headers, help;
    int64_t watch_ms; /* 0: once */
    int64_t fresh_ms; /* -1: any age will do */
};

static const char *take_json(void *ctx, const char *value)
{
    (void)value;
    ((struct show *)ctx)->json = true;
    return NULL;
}

static const char *take_filter(void *ctx, const char *value)
{
    return selection_add_filter(&((struct show *)ctx)->selection, value);
}

static const char *take_sort(void *ctx, const char *value)
{
    return selection_set_sort(&((struct show *)ctx)->selection, value);
}

static const char *take_columns(void *ctx, const char *value)
{
    return selection_set_columns(&((struct show *)ctx)->selection, value);
}

static const char *take_no_headers(void *ctx, const char *value)
{
    (void)value;
    ((struct show *)ctx)->no_headers = true;
    return NULL;
}

static const char *take_watch(void *ctx, const char *value)
{
    int64_t seconds = 1;
    if (value && !text_parse_i64(value, 1, 3600, &seconds))
        return "must be 1 to 3600 seconds";
    ((struct show *)ctx)->watch_ms = seconds * 1000;
    return NULL;
}

static const char *take_fresh(void *ctx, const char *value)
{
    return text_parse_i64(value, 0, INT64_C(1) << 40, &((struct show *)ctx)->fresh_ms) ? NULL : "must be a number of milliseconds";
}

static const char *take_runtime_dir(void *ctx, const char *value)
{
    ((struct show *)ctx)->runtime_dir = value;
    return *value ? NULL : "must not be empty";
}

static const char *take_help(void *ctx, const char *value)
{
    (void)value;
    ((struct show *)ctx)->help = true;
    return NULL;
}

static const char *take_name(void *ctx, const char *value)
{
    struct show *show = ctx;
    if (show->selection.exact)
        return "only one name is expected";
    if (show->selection.view->sheet)
        return "no name is expected";
    show->selection.exact = value;
    return NULL;
}

static const struct option_spec options[] = {
    {"json", OPTION_FLAG, NULL, "one JSON envelope instead of text (with --watch: one per line)", take_json},
    {"filter", OPTION_VALUE, "EXPR", "WORD, KEY=V, KEY!=V, KEY>N, KEY<N; '|' joins, '!' negates; may be repeated", take_filter},
    {"sort", OPTION_VALUE, "[-]KEY", "order by a column, with - the other way round", take_sort},
    {"columns", OPTION_VALUE, "KEY,...", "which columns, in this order", take_columns},
    {"no-headers", OPTION_FLAG, NULL, "data only on stdout", take_no_headers},
    {"watch", OPTION_MAYBE, "SECONDS", "again every second, or as often as given", take_watch},
    {"fresh", OPTION_VALUE, "MS", "exit 9 if the data is older", take_fresh},
    {"runtime-dir", OPTION_VALUE, "DIR", "of the hub; default: $RMQHUB_RUNTIME_DIR or the usual place", take_runtime_dir},
    {"help", OPTION_FLAG, NULL, "this text", take_help},
    {NULL, OPTION_FLAG, NULL, NULL, NULL},
};

static void print_help(const struct show *show)
{
    printf("usage: rmqhub %s %s\n\n%s.\n\n", show->command->name, show->command->args, show->command->help);
    options_print(options);
    printf("\ncolumns:");
    for (unsigned i = 0; i < show->selection.view->column_count; i++)
        printf(" %s", show->selection.view->columns[i].key);
    putchar('\n');
}

static int show_once(struct show *show)
{
    int code = table_source_load(&show->source, show->command);
    if (code != EXIT_OK)
        return code;
    struct selection *s = &show->selection;
    int r = selection_apply(s, show->source.reader);
    if (r == 0 && show->watch_ms && !show->json && isatty(STDOUT_FILENO))
        printf("\033[H\033[2J");
    if (r == 0)
        r = show->json ? output_json(s, &show->source) : output_text(s, &show->source, !show->no_headers);
    if (r < 0) {
        command_complain(show->command, "%s", strerror(-r));
        return EXIT_FAILED;
    }
    if (s->exact && s->row_count == 0) {
        command_complain(show->command, "no such %s: %s", s->view->columns[0].key, s->exact);
        return EXIT_NOT_FOUND;
    }
    if (show->fresh_ms >= 0 && show->source.age_ms > show->fresh_ms) {
        command_complain(show->command, "the data is %lld ms old, more than the %lld ms asked for", (long long)show->source.age_ms,
                         (long long)show->fresh_ms);
        return EXIT_STALE;
    }
    return EXIT_OK;
}

static int show_run(struct show *show)
{
    int code = table_source_open(&show->source, show->command, show->runtime_dir);
    selection_default_columns(&show->selection, show->json);
    while (code == EXIT_OK) {
        code = show_once(show);
        if (!show->watch_ms || code != EXIT_OK)
            break;
        if (fflush(stdout) != 0)
            return EXIT_FAILED;
        struct timespec pause = {show->watch_ms / 1000, 0};
        nanosleep(&pause, NULL);
    }
    return code;
}

int command_show(const struct command *self, int argc, char **argv)
{
    struct show show = {.command = self, .selection = {.view = self->data}, .fresh_ms = -1};
    const char *problem = options_parse(options, argc, argv, &show, take_name);
    if (problem) {
        command_complain(self, "%s", problem);
        return EXIT_USAGE;
    }
    if (show.help) {
        print_help(&show);
        return EXIT_OK;
    }
    int code = show_run(&show);
    selection_deinit(&show.selection);
    table_source_close(&show.source);
    return code;
}
