/*
 * Finds the nameservers of a client that has no address configured, as 4.9.3's
 * TopAddressing does: GET http://<domain>[:8080]/rocketmq/<subgroup>[-<unit>?nofix=1].
 * The name is looked up off the loop before each fetch. Whatever goes wrong
 * leaves the list in use alone and is counted; the last good answer outlives the
 * hub and is used at once by the next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/protocol/name_server_address_utils.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"

struct event_loop;
struct http_get;
struct name_server;
struct route_store;

#define TOP_ADDRESSING_URL_MAX 511
#define TOP_ADDRESSING_TIMEOUT_MS 3000u /* to connect and be answered; 4.9.3 */
#define TOP_ADDRESSING_FIRST_NS (10 * NS_PER_S)
#define TOP_ADDRESSING_PERIOD_NS (120 * NS_PER_S)
#define TOP_ADDRESSING_DEFAULT_DOMAIN "jmenv.tbsite.net"
#define TOP_ADDRESSING_DEFAULT_SUBGROUP "nsaddr"

enum top_addressing_refusal {
    TOP_ADDRESSING_NO_ADDRESS, /* the name leads nowhere */
    TOP_ADDRESSING_NO_ANSWER,  /* refused, silent, too slow, not HTTP */
    TOP_ADDRESSING_STATUS,     /* another status than 200 */
    TOP_ADDRESSING_TOO_LONG,   /* more than the 64 KiB that are read, or more than a list may be */
    TOP_ADDRESSING_EMPTY,
    TOP_ADDRESSING_GARBAGE, /* not host:port;host:port */
    TOP_ADDRESSING_REFUSALS,
};

struct top_addressing_settings {
    const char *domain, *subgroup; /* NULL or "": 4.9.3's; all are copied */
    const char *unit_name;         /* NULL or "": none */
    const char *client_version;    /* NULL: V4_9_3 */
    const struct route_store *store;
};

struct top_addressing {
    struct event_loop *loop;
    struct resolver *resolver;
    struct name_server *name_server;
    const struct route_store *store;
    char url[TOP_ADDRESSING_URL_MAX + 1];
    const char *path;  /* within url */
    char address[272]; /* host:port; the Host header too */
    char client_version[32];
    struct http_get *get; /* on its way */
    bool resolving;
    struct resolved found; /* where the name leads, and how far we are */
    unsigned next_address;
    void (*changed)(void *ctx);
    void *ctx;
    char list[NAME_SERVER_LIST_MAX + 1]; /* the last good answer; "": none */
    bool from_store;                     /* not confirmed by an answer yet */
    uint64_t saved_ns;
    uint64_t fetches, answers, changes;
    uint64_t refused[TOP_ADDRESSING_REFUSALS];
    int64_t last_ok_ms; /* wall clock, 0: never; of saving while from_store */
    char last_error[192];
};

/** The URL to ask. 0 | -EINVAL a domain that cannot be one | -E2BIG. */
int top_addressing_url(char *out, size_t cap, const char *domain, const char *subgroup, const char *unit_name);

/**
 * Prepares, and puts the list kept from an earlier run into @p name_server. @p changed (may be NULL) runs whenever an answer
 * changed the name server's list, never inside a call to this module. 0 | -EINVAL | -E2BIG.
 */
int top_addressing_init(struct top_addressing *top, struct event_loop *loop, struct resolver *resolver, struct name_server *name_server,
                        const struct top_addressing_settings *settings, void (*changed)(void *ctx), void *ctx);
/** Harmless on a zeroed struct and when repeated. */
void top_addressing_deinit(struct top_addressing *top);

/** fetchNameServerAddr: asks, unless a question is on its way. Returns at once. */
void top_addressing_fetch(struct top_addressing *top);

const char *top_addressing_refusal_name(enum top_addressing_refusal refusal);
