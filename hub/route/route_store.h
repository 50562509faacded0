/*
 * What an instance has learnt and keeps beyond the hub's life: routes, addresses
 * of brokers, lists of nameservers; each with where and when it was learnt. The
 * layers above give the functions (hub.c over hub/store); all run on the loop's
 * thread and none may block.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/remoting/channel.h"

struct broker_data;
struct topic_route_data;

enum kept_kind {
    KEPT_ROUTE,        /* scope: nameserver list or cluster; name: topic; content: body of the answer */
    KEPT_BROKER,       /* scope: the same; name: broker; content: "id=host:port;id=host:port" */
    KEPT_NAME_SERVERS, /* scope: ""; name: URL of the HTTP discovery; content: "host:port;host:port" */
};

struct kept_origin {
    char from[CHANNEL_ADDRESS_MAX + 1]; /* the server that said so */
    int64_t saved_ms, expires_ms;       /* wall clock */
};

/** NULL functions: nothing is kept. */
struct route_store {
    /** What was kept last. 0, *len bytes in a block that the caller frees and where they are from; -ENOENT; other -errno. */
    int (*load)(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                struct kept_origin *origin);
    /** Copies the content and returns. */
    void (*save)(void *ctx, enum kept_kind kind, const char *scope, const char *name, const void *content, size_t len, const char *from);
    void (*forget)(void *ctx, enum kept_kind kind, const char *scope, const char *name);
    /** True while some instance uses this topic's route. NULL: no other instance does. */
    bool (*in_use)(void *ctx, const char *scope, const char *topic);
    void *ctx;
};

/** Keeps a broker's addresses. */
void route_store_save_broker(const struct route_store *store, const char *scope, const struct broker_data *broker, const char *from);

/**
 * A kept route as it should be used now: where a broker's addresses were learnt later than the route, by the answer for another
 * topic, the later ones count. 0 and a block to be freed | -ENOENT | -EBADMSG not a route | -ENOMEM.
 */
int route_store_load_route(const struct route_store *store, const char *scope, const char *topic, void **body, size_t *len,
                           struct kept_origin *origin);

/** Each forgets or loads nothing when the store has no such function. */
void route_store_forget_route(const struct route_store *store, const char *scope, const char *topic);
