/*
 * The last good configuration: the effective settings of the last hub that
 * started, or reloaded, kept in the state directory. The next start says what
 * changed since; when a file has become invalid, it can be written out again.
 */
#pragma once

#include <stdio.h>

#include "hub/config/hub_config.h"

struct store;

/** Logs what differs from the configuration kept by an earlier run, if there is one. */
void last_good_compare(struct store *store, const struct hub_config *config);

void last_good_save(struct store *store, const struct hub_config *config);

/**
 * Writes what is kept in the state directory of these arguments to @p out as a configuration file. 0, or -errno after one
 * line on stderr: -EBUSY while a hub runs there, -ENOENT when nothing is kept.
 */
int last_good_print(const struct config_arguments *arguments, FILE *out);
