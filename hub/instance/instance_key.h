/*
 * What makes one client instance another one than the next: its nameservers (a list,
 * or the address they are discovered at), TLS settings and credentials, which
 * together are its identity; its address, instance name and unit. Everything else of
 * a configuration is the first one's that asked (4.9.3 goes by the clientId alone).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/instance/client_config.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/route/top_addressing.h"

/** Nameservers, seven settings of TLS, credentials. */
#define IDENTITY_MAX (NAMESRV_ADDR_MAX + TOP_ADDRESSING_URL_MAX + 6u * (TLS_PATH_MAX + 2u) + 16u)
#define INSTANCE_NAME_ASKED_MAX (INSTANCE_NAME_MAX - 9u) /* leaves room for '#' and a fingerprint */

struct resolved_key {
    const char *cluster, *instance_name, *unit_name;
    const char *namesrv_addr; /* "": discovered */
    const struct client_config *config;
    bool at_home;  /* the identity is that of the default cluster */
    bool own_list; /* the nameserver list is not the cluster's */
    char identity[IDENTITY_MAX];
};

/**
 * Fills in what @p key leaves to its cluster and to defaults. 0 | -ENOENT | -EINVAL, and *reason says why. The texts are those of
 * the key and of the configuration.
 */
int instance_key_resolve(const struct instance_key *key, const struct mq_client_manager_ops *ops, struct resolved_key *out,
                         const char **reason);

/** 8 hex digits of it name it for people; there is no secret in it. 0: the text is empty. */
uint32_t instance_key_fingerprint(const char *text);
/** The part of an identity's text that says how TLS is done ("": without) and the one with the credentials file. */
void instance_key_tls_text(char *out, size_t cap, const struct client_config *config);

/**
 * The instance name that servers see. DEFAULT: see client_config_change_instance_name_to_pid(). An explicit name is kept at home;
 * elsewhere, and where it looks like one of the hub's own making, it gets '#' and 8 hex digits of its identity.
 */
void instance_key_name(const struct resolved_key *key, const struct instance_name_keeper *keeper, char *out, size_t cap);
