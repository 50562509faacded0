/*
 * The nameservers of one instance: a shuffled list, one chosen address that
 * sticks while its connection works, and failover along the list (4.9.3's
 * getAndCreateNameserverChannel, without its lock).
 */
#pragma once

#include "hub/remoting/remoting_client.h"

#define NAMESRV_MAX 32u

struct name_server {
    struct remoting_client *client;
    char addresses[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1];
    unsigned count;
    int chosen;      /* index, -1: none yet */
    uint32_t next;   /* where the next walk goes on; starts at random */
    uint64_t random; /* generator for the shuffle */
    uint64_t failovers;
    uint64_t requests, failures;
    int64_t last_ok_ms; /* wall clock, 0: never */
    char last_error[192];
};

/** Parses "host:port;host:port" and shuffles. 0 | -EINVAL (empty, or an entry without host or port) | -E2BIG. */
int name_server_init(struct name_server *ns, struct remoting_client *client, const char *list, uint64_t seed);

/** Checks a list without using it. 0 | -EINVAL | -E2BIG. */
int name_server_check_list(const char *list);

/** Address in use, or NULL. */
const char *name_server_chosen(const struct name_server *ns);

/**
 * Calls the chosen nameserver; on a failed connection, a lost one or a timeout goes on with the next address, each at most once.
 * The callback runs once, never inside this call; its result is the last one. Keys of ext fields must be literals. 0 | -ENOMEM | -EMSGSIZE.
 */
int name_server_invoke(struct name_server *ns, int32_t code, const struct ext_field *ext, unsigned ext_count, uint32_t timeout_ms,
                       invoke_fn fn, void *ctx);
/** True if @p channel leads to a nameserver of the list. */
bool name_server_owns(const struct name_server *ns, const struct channel *channel);
