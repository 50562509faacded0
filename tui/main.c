/*
 * rmqhub: one program for operators and scripts. This file is the table of verbs.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libclient/include/rmqhub.h"
#include "shm/base/text.h"
#include "shm/table_layout.h"
#include "tui/command.h"
#include "tui/option.h"
#include "tui/view.h"

static int command_help(const struct command *self, int argc, char **argv);
static int command_version(const struct command *self, int argc, char **argv);

#define READING "[NAME] [options]"

static const struct command commands[] = {
    {"send", "--group G --topic T (--body S | --file F | --lines | --size B) [options]", "Send messages and print what became of each",
     command_send, NULL},
    {"status", "[options]", "The hub itself: state, age, memory, what it holds", command_show, &view_status},
    {"instances", READING, "Client instances, by clientId", command_show, &view_instances},
    {"groups", READING, "Producer groups and how many processes use each", command_show, &view_groups},
    {"clients", READING, "Attached processes", command_show, &view_clients},
    {"routes", READING, "Topics: queues, permissions, age and source of the route", command_show, &view_routes},
    {"brokers", READING, "Brokers: addresses, results, oldest request", command_show, &view_brokers},
    {"heartbeats", READING, "Heartbeats per broker: last answer, the last twenty", command_show, &view_heartbeats},
    {"pending", READING, "Requests waiting for a route, a connection or an answer", command_show, &view_pending},
    {"connections", READING, "TCP connections: state, addresses, bytes, reconnects, last error", command_show, &view_connections},
    {"tasks", READING, "Scheduled tasks: period, last and next run, duration", command_show, &view_tasks},
    {"services", READING, "Services with a queue: the pull message service", command_show, &view_services},
    {"requests", READING, "Requests that brokers sent to us, by code, and what became of them", command_show, &view_requests},
    {"problems", READING, "What is wrong now, worst first", command_show, &view_problems},
    {"events", "[options]", "What happened, oldest first", command_show, &view_events},
    {"stats", READING, "Counters", command_show, &view_stats},
    {"config", READING, "The effective configuration and where each value came from", command_show, &view_config},
    {"help", "[VERB]", "This text, or that of a verb", command_help, NULL},
    {"version", "", "Versions of this program, its library and the table it reads", command_version, NULL},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

void command_complain(const struct command *self, const char *fmt, ...)
{
    char text[6144], safe[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text_escape(safe, sizeof(safe), text, strlen(text));
    fprintf(stderr, "rmqhub %s: %s\n", self->name, safe);
}

static const char *command_name(const void *ctx, size_t i)
{
    (void)ctx;
    return commands[i].name;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    char safe[160];
    text_escape(safe, sizeof(safe), name, strlen(name));
    const char *near = nearest_name(name, COMMAND_COUNT, command_name, NULL);
    if (near)
        fprintf(stderr, "rmqhub: unknown verb %s; did you mean %s?\n", safe, near);
    else
        fprintf(stderr, "rmqhub: unknown verb %s; see rmqhub help\n", safe);
    return NULL;
}

static void print_overview(FILE *out)
{
    fprintf(out, "usage: rmqhub VERB [options]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nrmqhub VERB --help tells a verb's options. Exit codes: 0 ok, 1 failed or NOT_STORED, 2 usage, 3 no hub and no "
                 "table,\n4 not found, 5 permission, 6 version mismatch, 7 timeout or UNKNOWN, 9 stale (with --fresh).\n");
}

static int command_help(const struct command *self, int argc, char **argv)
{
    (void)self;
    if (argc < 2) {
        print_overview(stdout);
        return EXIT_OK;
    }
    const struct command *command = find_command(argv[1]);
    if (!command)
        return EXIT_USAGE;
    if (!command->data && command->run != command_send) {
        printf("usage: rmqhub %s %s\n\n%s.\n", command->name, command->args, command->help);
        return EXIT_OK;
    }
    char help_flag[] = "--help", *help_argv[] = {argv[1], help_flag, NULL};
    return command->run(command, 2, help_argv);
}

static int command_version(const struct command *self, int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        command_complain(self, "no argument is expected");
        return EXIT_USAGE;
    }
    printf("rmqhub %s, librmqhub %s, table %u.%u (layout %016llx)\n", RMQHUB_VERSION, rmqhub_version(), TABLE_VERSION_MAJOR,
           TABLE_VERSION_MINOR, (unsigned long long)table_fingerprint());
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *verb = strcmp(argv[1], "--help") == 0 ? "help" : strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    const struct command *command = find_command(verb);
    if (!command)
        return EXIT_USAGE;
    int code = command->run(command, argc - 1, argv + 1);
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        command_complain(command, "cannot write the output");
        code = EXIT_FAILED;
    }
    return code;
}
