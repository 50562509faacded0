/*
 * Where the reading verbs get their data: the table of one runtime directory, and
 * whether its hub still lives.
 */
#pragma once

#include <stdbool.h>

#include "shm/runtime_dir.h"
#include "shm/table_reader.h"
#include "tui/command.h"

/** A living hub publishes every second; older data means that it hangs. */
#define TABLE_SILENT_MS 3000

enum hub_liveness { HUB_ALIVE, HUB_SILENT, HUB_DEAD };

struct table_source {
    char dir[RUNTIME_DIR_CAP];
    struct table_reader *reader;
    enum hub_liveness liveness;
    int64_t age_ms;
};

/** @p dir: the flag, or NULL. Prints what is wrong and what to do; returns an exit code. */
int table_source_open(struct table_source *source, const struct command *command, const char *dir);
/** Takes the newest snapshot. As open. */
int table_source_load(struct table_source *source, const struct command *command);
void table_source_close(struct table_source *source);

/** "running", ..., or "silent" or "dead". */
const char *table_source_hub_state(const struct table_source *source);
/** Lines about a hub that is not well, or that trusts whoever answers; "" otherwise. No newline at the end. */
void table_source_banner(const struct table_source *source, char *dst, size_t cap);
