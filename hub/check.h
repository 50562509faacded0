/*
 * What `rmqhubd --check-config` looks at beyond the configuration itself: the
 * files that it names.
 */
#pragma once

#include "hub/config/hub_config.h"

/** Reads the credentials and TLS files of every cluster as a client instance would. Returns the number of problems reported. */
unsigned hub_check_files(const struct hub_config *config, config_report *report, void *ctx);
