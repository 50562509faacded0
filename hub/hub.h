/*
 * One hub: its parts in the order in which they start, its loop, and its end.
 */
#pragma once

#include "hub/config/hub_config.h"
#include "hub/remoting/tls_settings.h"

/** Exit codes of rmqhubd. */
enum hub_exit { HUB_EXIT_OK = 0, HUB_EXIT_FAILED = 1, HUB_EXIT_USAGE = 2 };

/**
 * Runs a hub until SIGTERM or SIGINT. Takes over @p config. @p arguments must stay valid: a reload reads the file
 * again under the same command line. Says on the log why it could not start. Returns an exit code.
 */
int hub_run(struct hub_config *config, const struct config_arguments *arguments);

/** A cluster's keys as the connections take them. */
void hub_tls_settings(struct tls_settings *out, const struct cluster_section *keys);
