/*
 * Who is registered at one broker, kept as 4.9.3 keeps it, hazards included:
 *
 *  - a registration is (group, connection); heartbeats refresh only the groups they list;
 *  - groups first seen in one heartbeat share one time stamp;
 *  - an entry not refreshed for the expiry time is dropped and its connection closed;
 *  - clientId -> connection is one map for all producer groups: it is written when a
 *    group is new to a connection, and erased when any producer group of that
 *    clientId is unregistered or expires, or its connection closes.
 */
#pragma once

#include "shm/base/bytes.h"
#include "shm/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct connection;

/** One heartbeat's word about its sender; shared by the groups it was first to register. */
struct client_info {
    unsigned references;
    struct connection *connection;
    uint64_t last_update_ns;
    int32_t version;
    uint8_t language;
    char client_id[];
};

struct client_member {
    struct list_link link;
    struct client_info *info;
};

/** What a consumer group subscribed to; one per (group, topic). */
struct subscription {
    struct list_link link;
    int64_t sub_version;
    int32_t *codes; /* tag hashes as sent; none and sub_string "*": everything */
    unsigned code_count;
    char *topic, *sub_string, *expression_type;
    struct span raw; /* the member of the heartbeat as it came, for GET_CONSUMER_CONNECTION_LIST */
    bool mentioned;  /* in the heartbeat being read */
};

struct client_group {
    struct list_link link;
    struct list_link members;
    struct list_link subscriptions; /* consumer groups */
    char consume_type[32], message_model[32], consume_from_where[64];
    char name[];
};

struct clients {
    struct list_link producer_groups, consumer_groups;
    struct list_link routes;                                 /* clientId -> connection, see above */
    uint64_t producer_registrations, consumer_registrations; /* entries ever made */
    uint64_t expiries;
    /** Tells that the members of a consumer group changed. */
    void (*on_consumers_changed)(void *ctx, struct client_group *group);
    void *ctx;
};

void clients_init(struct clients *clients);
void clients_deinit(struct clients *clients);

/** A description of the sender of a heartbeat, to be released by the caller; NULL without memory. */
struct client_info *client_info_new(struct connection *connection, struct span client_id, uint8_t language, int32_t version,
                                    uint64_t now_ns);
void client_info_release(struct client_info *info);

/** Registers or refreshes. True when the group was new to this connection. */
bool clients_register_producer(struct clients *clients, struct span group, struct client_info *info, uint64_t now_ns);

/** The group, created when missing; NULL without memory. */
struct client_group *clients_consumer_group(struct clients *clients, struct span name);
bool clients_register_consumer(struct clients *clients, struct client_group *group, struct client_info *info, uint64_t now_ns);

/** Sets the subscription of one topic. True when the topic was new to the group. */
struct subscription_data {
    struct span topic, sub_string, expression_type, raw;
    int64_t sub_version;
    int32_t codes[64];
    unsigned code_count;
};
bool client_group_subscribe(struct client_group *group, const struct subscription_data *data);

/** Removes the subscriptions not mentioned since the last call. True when there was one. */
bool client_group_forget_unmentioned(struct client_group *group);

/** True when there was such an entry. */
bool clients_unregister_producer(struct clients *clients, struct span group, struct connection *connection, struct span client_id);
bool clients_unregister_consumer(struct clients *clients, struct span group, struct connection *connection);

void clients_connection_closed(struct clients *clients, struct connection *connection);

/** Drops entries older than @p expiry_ns and hands each one's connection to @p expired, which closes it. */
void clients_scan(struct clients *clients, uint64_t now_ns, uint64_t expiry_ns,
                  void (*expired)(void *ctx, const char *group, struct connection *connection), void *ctx);

struct client_group *clients_find_group(struct list_link *groups, struct span name);
struct subscription *client_group_subscription(struct client_group *group, struct span topic);

/** Connection to which request-reply traffic for a client id would go; NULL when none is known. */
struct connection *clients_route(const struct clients *clients, struct span client_id);
