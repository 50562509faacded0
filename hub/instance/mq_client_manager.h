/*
 * All client instances of the hub, by their key (4.9.3's MQClientManager). Two
 * processes that ask for the same nameservers, instance name and unit under the same
 * TLS settings and credentials get the same instance: same clientId, same connections.
 * The first one's other settings count for all.
 */
#pragma once

#include "hub/instance/client_config.h"
#include "hub/route/topic_route_table.h"

struct event_loop;
struct mq_client_instance;
struct mq_client_manager;
struct resolver;

#define MQ_CLIENT_INSTANCES_MAX 64u

struct instance_key {
    const char *cluster;       /* name of the configured cluster; NULL or "": the default one */
    const char *namesrv_addr;  /* "host:port;host:port"; NULL or "": the cluster's; that is empty too: HTTP discovery */
    const char *instance_name; /* NULL or "": DEFAULT */
    const char *unit_name;     /* NULL or "": the cluster's */
};

/** What the manager asks of the layers above it (hub.c). Every pointer may be NULL but cluster_of. */
struct mq_client_manager_ops {
    /**
     * Settings and nameserver list of a configured cluster; @p name NULL asks for the default one. Returns 0, or -ENOENT.
     * The pointers must stay valid until the next reload; both are copied.
     */
    int (*cluster_of)(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr,
                      const struct client_config **config);
    /** The kept name for instance DEFAULT of @p key_text (one line, stable over restarts); 0 and a text in @p out, or -errno. */
    int (*default_instance_name)(void *ctx, const char *key_text, char *out, size_t cap);
    /** A connection, group, route or heartbeat changed: the table may be worth publishing early. */
    void (*changed)(void *ctx);
    struct route_store route_store;
    void *ctx;
};

/** 0 | -ENOMEM. @p ops is copied. The loop outlives the manager. */
int mq_client_manager_new(struct mq_client_manager **out, struct event_loop *loop, const struct mq_client_manager_ops *ops);
/** Closes every connection at once, without unregistering (see mq_client_manager_drain()). */
struct mq_client_manager *mq_client_manager_free(struct mq_client_manager *manager);

/**
 * Finds or starts the instance of @p key. Nothing is contacted: an instance starts with everything down.
 * 0 | -ENOENT no such cluster | -EINVAL a bad nameserver list or name | -EADDRINUSE its clientId is another instance's |
 * -EDQUOT too many instances | -ESHUTDOWN stopping | -ENOMEM | -errno of a start that failed, which leaves nothing behind.
 * On refusal *reason (if not NULL) is a static text or one valid until the next call.
 */
int mq_client_manager_get_or_create(struct mq_client_manager *manager, const struct instance_key *key, struct mq_client_instance **out,
                                    const char **reason);

/** True for an instance that exists beside an older, like-named one only because its TLS settings or credentials are others. */
bool mq_client_manager_is_extra(const struct mq_client_manager *manager, const struct mq_client_instance *instance);

/** Unregisters every group everywhere; afterwards mq_client_manager_is_drained() becomes true within the API timeout. */
void mq_client_manager_drain(struct mq_client_manager *manager);
bool mq_client_manager_is_drained(const struct mq_client_manager *manager);

/** Settings of a configured cluster (NULL or "": the default one), valid until the next reload. 0 | -ENOENT. */
int mq_client_manager_cluster_config(const struct mq_client_manager *manager, const char *cluster, const struct client_config **out);

/** Plain iteration: index 0 .. count-1; the order is that of creation. */
unsigned mq_client_manager_count(const struct mq_client_manager *manager);
struct mq_client_instance *mq_client_manager_at(const struct mq_client_manager *manager, unsigned index);
