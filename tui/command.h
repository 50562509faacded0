/*
 * The verbs of rmqhub and what they have in common. One table (main.c) feeds
 * dispatch and help.
 */
#pragma once

/** Exit codes that scripts may rely on (docs/cli.md). */
enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_HUB = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_PERMISSION = 5,
    EXIT_VERSION = 6,
    EXIT_TIMED_OUT = 7,
    EXIT_STALE = 9
};

struct command {
    const char *name, *args, *help;
    int (*run)(const struct command *self, int argc, char **argv); /* argv[0]: the verb; returns enum exit_code */
    const void *data;
};

/** Writes "rmqhub VERB: ..." to stderr; foreign bytes are escaped. */
void command_complain(const struct command *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int command_send(const struct command *self, int argc, char **argv);
/** @c data is a struct view. */
int command_show(const struct command *self, int argc, char **argv);
