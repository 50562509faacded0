/*
 * What a nameserver setting may look like, as text only (4.9.3's
 * NameServerAddressUtils): a list "host:port;host:port", or one HTTP endpoint of
 * which everything after the last '/' counts. An endpoint whose host is labelled
 * MQ_INST_<word>_<word> names the namespace too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define NAME_SERVER_LIST_MAX 1023 /* bytes of a whole list */

/** The list behind a setting: what follows the last '/' of an http:// endpoint, else the text without blanks around it.
 * 0 | -EINVAL nothing is left | -E2BIG. */
int name_server_address_list(const char *setting, char *out, size_t cap);

/** True, and the label MQ_INST_<word>_<word> in @p out, if the setting is an instance endpoint: the namespace of those who set none. */
bool name_server_address_namespace(const char *setting, char *out, size_t cap);
