/*
 * One client as RocketMQ sees it: a clientId with its nameservers, brokers,
 * routes, producer groups, network client and scheduled tasks (4.9.3's
 * MQClientInstance). Everything runs on the loop's thread. The struct is open for
 * reading (the instance table walks it); only this module and its neighbours write.
 *
 * Where it is written down:
 *   mq_client_instance.c    start, shutdown, reload, each in 4.9.3's order
 *   instance_security.c     credentials and TLS, from their files
 *   instance_tasks.c        the scheduled tasks
 *   instance_heartbeat.c    masters, their registrations, heartbeats
 *   instance_producers.c    producer groups: joined, lingering, unregistered
 *   duplicate_client_id.c   whether another host uses our clientId
 */
#pragma once

#include "hub/instance/client_config.h"
#include "hub/instance/client_remoting_processor.h"
#include "hub/instance/producer_table.h"
#include "hub/instance/pull_message_service.h"
#include "hub/remoting/remoting_client.h"
#include "hub/route/broker_addr_table.h"
#include "hub/route/name_server.h"
#include "hub/route/top_addressing.h"
#include "hub/route/topic_route_table.h"
#include "hub/schedule/scheduled_tasks.h"

#define MARKER_GROUP_PREFIX "RMQHUB_"

struct mq_client_manager;
struct resolver;
struct registration;

enum service_state { SERVICE_CREATE_JUST, SERVICE_RUNNING, SERVICE_SHUTDOWN_ALREADY, SERVICE_START_FAILED };

struct mq_client_instance {
    struct mq_client_manager *manager;
    struct event_loop *loop;
    struct client_config config; /* a copy: what the configuration becomes later reaches it by mq_client_instance_reload() only */
    char cluster[CLUSTER_NAME_MAX_LENGTH + 1];
    char namesrv_addr[NAMESRV_ADDR_MAX + 1];   /* as configured; "": HTTP discovery */
    char instance_name[INSTANCE_NAME_MAX + 1]; /* as in the clientId */
    char asked_name[INSTANCE_NAME_MAX + 1];    /* as in the key */
    char unit_name[UNIT_NAME_MAX + 1];
    char client_id[CLIENT_ID_MAX + 1];
    uint32_t factory_index;                            /* 0, 1, ... in the order of creation (4.9.3's instanceIndex) */
    char *identity;                                    /* what it shares with nobody who differs in it; see instance_key.h */
    uint32_t tls_fingerprint, credentials_fingerprint; /* of the settings, not of what the files contain; 0: none */
    char start_problem[192];                           /* why the last start failed, where errno does not say it */
    enum service_state state;
    int64_t started_ms; /* wall clock */
    struct remoting_client remoting;
    struct name_server name_server;
    struct top_addressing top_addressing; /* used without a configured address only */
    struct broker_addr_table brokers;
    struct topic_route_table routes;
    struct producer_table producers;
    struct scheduled_tasks tasks;
    struct pull_message_service pull_message_service; /* runs; consumers come with their own issue */
    struct producer *inner_producer;
    struct producer *marker;                /* RMQHUB_<hash of the clientId>: nobody else's, see registration.h and duplicate_client_id.h */
    struct topic_entry *create_topic_entry; /* the create-topic key, polled from the start */
    struct list_link registrations;         /* struct registration: what each broker connection knows of us */
    bool has_predecessors;                  /* brokers may hold connections of this clientId that no registration knows of */
    bool draining;                          /* unregisters everything; of no use any more, or the hub stops */
    uint64_t drain_patience_ns;             /* until then a group's requests are waited for before it is unregistered */
    struct client_remoting_processor processor;
    struct duplicate_client_id {
        uint64_t checks, answers, failures; /* requests sent, answered, not answered with a list */
        uint32_t brokers;                   /* that know another address under our clientId now */
        char other[128];                    /* two of the addresses there */
    } duplicates;
    void (*changed)(void *ctx);
    void *changed_ctx;
};

/**
 * The entry of a topic (name already wrapped with its namespace), counted; polled while referenced and until idle expiry.
 * NULL: bad name, table full or no memory; *reason (if not NULL) says which.
 */
struct topic_entry *topic_entry_acquire(struct mq_client_instance *instance, struct span topic, const char **reason);
/** The same, but nothing is asked now: the next poll will (4.9.3's way with the topic that others are made after). */
struct topic_entry *topic_entry_hold(struct mq_client_instance *instance, struct span topic, const char **reason);
void topic_entry_release(struct topic_entry *entry);

/* ---- producer groups ---- */

/**
 * Joins or adds a group. A new one is announced at once. 0 | -EINVAL | -EPERM another uid's | -EDQUOT | -ENOMEM.
 */
int mq_client_instance_register_producer(struct mq_client_instance *instance, struct span group, uid_t uid, struct producer **out,
                                         const char **reason);
/** The last user starts the linger, or unregisters at once when @p final or without a linger. */
void mq_client_instance_unregister_producer(struct producer *producer, bool final);
/** CLIENT_INNER_PRODUCER and the marker, which no client can join. 0 | -ENOMEM. */
int mq_client_instance_register_own_groups(struct mq_client_instance *instance);
/** Unregisters the groups whose linger is over. */
void mq_client_instance_expire_producers(struct mq_client_instance *instance);
/** Groups that no connection knows any more leave the table. For registration.c. */
void mq_client_instance_forget_producers(struct mq_client_instance *instance);

/* ---- brokers ---- */

/** sendHeartbeatToAllBrokerWithLock: to every known master, concurrently; where one is on its way the next waits for it. */
void mq_client_instance_send_heartbeat_to_all_broker(struct mq_client_instance *instance);
/** A group is new: heartbeats soon, many new groups in one. */
void mq_client_instance_announce(struct mq_client_instance *instance);
/** Connects and registers with masters that are new, leaves those that no route names. */
void mq_client_instance_update_brokers(struct mq_client_instance *instance);
struct remoting_client_ops mq_client_instance_remoting_ops(struct mq_client_instance *instance);

/* ---- life ---- */

/** The scheduled tasks of 4.9.3, and ours. 0 | -ENOMEM. */
int mq_client_instance_start_scheduled_tasks(struct mq_client_instance *instance);

/**
 * For mq_client_manager. @p instance has its names and config filled in. No server need be up. Once started or shut down:
 * nothing happens, 0. On failure everything is undone, the state is START_FAILED, and it may be tried again (4.9.3 refuses that).
 * 0 | -EINVAL | -ENOMEM.
 */
int mq_client_instance_start(struct mq_client_instance *instance, struct resolver *resolver, const struct route_store *store,
                             const char *store_name);
/** Reads credentials and TLS files. 0 | -errno with start_problem filled in; what is in use stays then. */
int mq_client_instance_load_security(struct mq_client_instance *instance);
/** The same for a running client: connections that exist keep what they have, nothing in flight is lost. */
int mq_client_instance_reload(struct mq_client_instance *instance);
struct mq_client_instance *mq_client_instance_free(struct mq_client_instance *instance);
/** Unregisters everything on every connection; then mq_client_instance_is_drained(), and mq_client_instance_free() ends the rest. */
void mq_client_instance_shutdown(struct mq_client_instance *instance);
bool mq_client_instance_is_drained(const struct mq_client_instance *instance);
/** Takes a shutdown back, if it was only for lack of use. */
void mq_client_instance_revive(struct mq_client_instance *instance);
/** Nobody uses it: no group but its own, no topic, no hold. */
bool mq_client_instance_is_unused(const struct mq_client_instance *instance);
/** Something visible changed. */
void mq_client_instance_changed(struct mq_client_instance *instance);

const char *service_state_name(enum service_state state);
