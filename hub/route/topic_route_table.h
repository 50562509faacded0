/*
 * Routes of one instance: what each topic's nameserver answer was, when, and the
 * publish info made from it. Topics are polled while somebody uses them and until
 * they have been idle for long; senders that have no route yet wait here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/protocol/topic_route_data.h"
#include "hub/remoting/response_table.h"
#include "hub/route/broker_addr_table.h"
#include "hub/route/name_server.h"
#include "hub/route/route_store.h"
#include "hub/route/topic_publish_info.h"
#include "shm/base/bytes.h"
#include "shm/message/validators.h"

#define TOPICS_MAX 5000u /* per instance */
#define TOPIC_HEADER_MAX (TOPIC_MAX_LENGTH + 7u)
#define TOPIC_POLL_CONCURRENCY 64u /* route requests in flight during a poll */

enum route_source {
    ROUTE_NONE,          /* not known */
    ROUTE_NAMESRV,       /* the nameserver's answer for this topic */
    ROUTE_DEFAULT_TOPIC, /* made from that of the create-topic key: the topic does not exist yet */
    ROUTE_STORE,         /* kept from an earlier run; nameservers have not answered yet */
};

/** Why a route that a nameserver sent was not taken over. The one in use stays. */
enum route_refusal {
    ROUTE_REFUSED_UNREADABLE,      /* not JSON, too deep, not a route, or larger than topic_route_data.h believes */
    ROUTE_REFUSED_EMPTY,           /* no queues or no brokers */
    ROUTE_REFUSED_DUPLICATE,       /* a broker, a broker's queues or an id twice */
    ROUTE_REFUSED_BAD_BROKER,      /* a name too long, an address that is none */
    ROUTE_REFUSED_TOO_MANY_QUEUES, /* TOPIC_PUBLISH_QUEUES_MAX */
    ROUTE_REFUSED_NO_MEMORY,
    ROUTE_REFUSALS,
};

/** What a sender says of topics that do not exist yet: 4.9.3's createTopicKey and defaultTopicQueueNums. */
struct create_topic {
    const char *key;
    uint32_t queue_nums;
};

struct topic_entry {
    struct topic_route_table *table;
    struct topic_entry *hash_next;
    struct list_link poll_link; /* in the table's queue of the present poll */
    char name[TOPIC_MAX_LENGTH + 1];
    uint8_t name_len;
    uint16_t header_len;
    uint8_t header[TOPIC_HEADER_MAX]; /* ext field b of a send, ready in the binary encoding */
    uint32_t refs;
    uint64_t last_used_ns; /* of the last acquisition, release or send */
    enum route_source source;
    struct topic_publish_info info;
    struct topic_route_data *route;
    uint64_t route_ns;                  /* monotonic time of the last good answer, 0: never in this run */
    uint64_t changed_ns;                /* monotonic time of the last change, 0: no route yet in this run */
    int64_t route_ms;                   /* wall clock of that answer (of saving, for ROUTE_STORE) */
    char from[CHANNEL_ADDRESS_MAX + 1]; /* the nameserver that gave it, in this run or the one that kept it; "": none */
    uint64_t saved_ns;
    struct list_link waiting; /* response_future, parked until there is a route */
    uint32_t waiting_count;
    char create_topic_key[TOPIC_MAX_LENGTH + 1]; /* of the first that waits: whose route will do if the topic does not exist */
    uint32_t create_topic_queue_nums;
    uint64_t body_hash; /* of the answer that the route was made from; the same again need not be read */
    size_t body_len;    /* 0: none */
    bool fetching;      /* a request is on its way */
    bool dormant;       /* held by somebody, but unused for long: no route, not polled; the next send wakes it */
    bool incomplete;    /* a broker of the route found no room in the broker table: look again at every answer */
    bool store_tried;
    uint32_t fetches, fetch_failures, failures_in_a_row, changes;
    uint32_t changes_told; /* how many there were at the last line about it */
    uint64_t told_ns;
    int32_t last_code; /* of the last reply; 17: does not exist */
    char last_error[192];
    uint64_t sends;
};

struct topic_route_table_ops {
    /** A broker's addresses changed, or brokers came or went. */
    void (*brokers_changed)(void *ctx);
    void *ctx;
    /** Some topic's route changed. May be NULL. */
    void (*routes_changed)(void *ctx);
};

struct topic_route_table {
    struct event_loop *loop;
    struct name_server *name_server;
    struct broker_addr_table *brokers;
    struct topic_route_table_ops ops;
    struct route_store store;
    const char *cluster; /* name under which routes are kept */
    const char *create_topic_key;
    uint32_t default_topic_queue_nums, api_timeout_ms;
    uint64_t idle_expiry_ns;
    struct topic_entry **buckets;
    uint32_t bucket_count;        /* power of two */
    struct topic_entry **entries; /* dense, for iteration */
    uint32_t count;
    struct list_link poll_queue;
    uint32_t in_flight;            /* route requests on their way */
    struct loop_timer retry_timer; /* senders wait and the nameservers did not answer */
    uint32_t retry_backoff_ms;
    uint64_t polls;
    uint64_t answers_unchanged; /* the same bytes as before */
    uint64_t refused[ROUTE_REFUSALS];
    uint64_t brokers_left_out; /* the broker table is full */
    uint64_t expired;
};

/** Fill in store, cluster, create_topic_key, the numbers; then initialise. 0 | -ENOMEM. */
int topic_route_table_init(struct topic_route_table *table, struct event_loop *loop, struct name_server *name_server,
                           struct broker_addr_table *brokers, const struct topic_route_table_ops *ops);
void topic_route_table_deinit(struct topic_route_table *table);

struct topic_entry *topic_route_table_find(const struct topic_route_table *table, const char *name, size_t len);
/** Finds or adds, and counts a reference. 0 | -EINVAL bad name | -EDQUOT table full | -ENOMEM. */
int topic_route_table_acquire(struct topic_route_table *table, const char *name, size_t len, struct topic_entry **out);
void topic_entry_unref(struct topic_entry *entry);

/**
 * Lets a future wait here until the topic has a route (its resume()) or its deadline passes, and asks for the route. If the
 * topic does not exist, the queues of @p create's key will do (NULL: the table's); the first one's key that has a route decides
 * for all. It stays until the wait is over.
 */
void topic_entry_park(struct topic_entry *entry, struct response_future *future, uint64_t deadline_ns, const struct create_topic *create);
/** To be called when a parked future ended in another way than resume(). */
void topic_entry_forget_waiting(struct topic_entry *entry);

/** Starts a fetch unless one is on its way. */
void topic_entry_refresh(struct topic_entry *entry);
/** Expires idle topics and queues every other for a refresh, a bounded number at a time (poll_name_server_interval). */
void topic_route_table_poll(struct topic_route_table *table);
/**
 * Topics unused for longer than the expiry are forgotten, in the store too unless another instance uses them; those that somebody
 * holds go dormant. Returns how many.
 */
unsigned topic_route_table_expire(struct topic_route_table *table);
/** True while @p topic is neither idle nor dormant here, and its route is kept under @p scope. */
bool topic_route_table_uses(const struct topic_route_table *table, const char *scope, const char *topic);
/** cleanOfflineBroker: forgets addresses that occur in no stored route. Returns how many brokers changed. */
unsigned topic_route_table_clean_brokers(struct topic_route_table *table);

const char *route_source_name(enum route_source source);
const char *route_refusal_name(enum route_refusal refusal);
