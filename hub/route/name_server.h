/*
 * The nameservers of one instance: a shuffled list, one chosen address that
 * sticks while its connection works, and failover along the list (4.9.3's
 * getAndCreateNameserverChannel, without its lock). The list may change at any
 * time, and may be empty until HTTP discovery has found one.
 */
#pragma once

#include "hub/remoting/remoting_client.h"

#define NAMESRV_MAX 32u

struct name_server {
    struct remoting_client *client;
    char addresses[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1];
    unsigned count;                                     /* 0: none known yet */
    uint32_t generation;                                /* of the list: grows with every change */
    int chosen;                                         /* index, -1: none yet */
    uint32_t next;                                      /* where the next walk goes on; starts at random */
    uint64_t random;                                    /* generator for the shuffle */
    char retired[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1]; /* no longer listed; their connections go when nobody uses them */
    unsigned retired_count;
    uint64_t failovers;
    uint64_t requests, failures;
    uint64_t silences; /* calls that a living connection did not answer */
    uint64_t list_changes;
    int64_t last_ok_ms; /* wall clock, 0: never */
    char last_error[192];
};

/** Takes "host:port;host:port", an http:// endpoint, or nothing (NULL, ""), and shuffles. 0 | -EINVAL an entry without host or port |
 * -E2BIG. */
int name_server_init(struct name_server *ns, struct remoting_client *client, const char *list, uint64_t seed);

/** Checks a list, or an http:// endpoint, without using it. 0 | -EINVAL (empty too) | -E2BIG. */
int name_server_check_list(const char *list);

/**
 * updateNameServerAddressList: takes over a list that has another length or a new address, shuffled; a mere reordering is
 * ignored. The chosen address stays if it is still listed. Calls on their way end where they are.
 * 0 nothing changed | 1 changed | -EINVAL | -E2BIG (the list in use stays).
 */
int name_server_update_list(struct name_server *ns, const char *list);
/** Closes connections to addresses that are no longer listed and that nobody waits for. */
void name_server_tidy(struct name_server *ns);

/** The nameserver behind @p channel sent nonsense: the next call goes to another one, if there is any. */
void name_server_pass_over(struct name_server *ns, const struct channel *channel);

/** Address in use, or NULL. */
const char *name_server_chosen(const struct name_server *ns);

/**
 * Calls the chosen nameserver; on a failed connection, a lost one or silence goes on with the next address, each at most once.
 * @p timeout_ms is for all of them together: each gets an equal share of what is left. The callback runs once, never inside this
 * call; its result is the last one. Keys of ext fields must be literals. 0 | -EDESTADDRREQ no address is known | -ENOMEM | -EMSGSIZE.
 */
int name_server_invoke(struct name_server *ns, int32_t code, const struct ext_field *ext, unsigned ext_count, uint32_t timeout_ms,
                       invoke_fn fn, void *ctx);
/** True if @p channel leads to a nameserver of the list. */
bool name_server_owns(const struct name_server *ns, const struct channel *channel);
