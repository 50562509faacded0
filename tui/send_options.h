/* What `rmqhub send` was asked to do. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tui/command.h"

#define SEND_PROPERTIES_MAX 32

enum send_mode { SEND_MODE_SYNC, SEND_MODE_ASYNC, SEND_MODE_ONEWAY };

struct send_options {
    const char *runtime_dir, *group, *topic, *cluster, *namesrv, *instance, *unit, *name_space;
    const char *uniq_key, *tag, *key, *body, *file;
    const char *property_names[SEND_PROPERTIES_MAX]; /* point into argv, split at '=' */
    const char *property_values[SEND_PROPERTIES_MAX];
    unsigned property_count;
    enum send_mode mode;
    bool lines, json, help, count_given;
    int64_t count, size, rate, threads, in_flight, timeout_ms; /* size, rate: 0 when not given */
};

/** Fills @p out, or complains and returns EXIT_USAGE. Property arguments are split in place. */
int send_options_parse(struct send_options *out, const struct command *self, int argc, char **argv);
void send_options_print_help(const struct command *self);
