/*
 * TopicRouteData: which brokers hold a topic, with how many queues. A decoded
 * route is one block of memory, sorted, and never changes afterwards, so that
 * it can be shared and compared cheaply.
 */
#pragma once

#include "shm/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Most of each that a route may have; a body with more is refused. */
#define ROUTE_MAX_BROKER_DATAS 256
#define ROUTE_MAX_QUEUE_DATAS 1024
#define ROUTE_MAX_BROKER_ADDRS 1024 /* in all brokers together */
/** Largest readQueueNums and writeQueueNums that we believe. */
#define ROUTE_MAX_QUEUE_NUMS 65536

struct queue_data {
    struct span broker_name;
    int32_t read_queue_nums, write_queue_nums;
    int32_t perm; /* PERM_* */
    int32_t topic_sys_flag;
};

struct broker_addr {
    int64_t broker_id; /* MASTER_ID is the master */
    struct span addr;  /* "ip:port" */
};

struct broker_data {
    struct span broker_name, cluster;
    const struct broker_addr *addrs; /* sorted by id */
    unsigned addr_count;
};

struct topic_route_data {
    const struct queue_data *queue_datas; /* sorted by broker name */
    unsigned queue_data_count;
    const struct broker_data *broker_datas; /* sorted by broker name */
    unsigned broker_data_count;
    struct span order_topic_conf;    /* data == NULL when absent, which is the rule */
    struct span filter_server_table; /* raw JSON; empty when absent or {} */
};

/**
 * Decodes the body of a route reply of 4.9.3 or 5.x. Members that we do not know are passed over.
 *
 * @param out  one block, to be freed with topic_route_data_free(); it keeps nothing of @p body
 * @return 0, -EPROTO (not a route, or beyond a limit above), -ENOMEM
 */
int topic_route_data_decode(struct topic_route_data **out, const void *body, size_t len);

/** Frees a decoded route; NULL is allowed. Returns NULL. */
struct topic_route_data *topic_route_data_free(struct topic_route_data *route);

/**
 * Writes the body of a route reply as a 4.9.3 nameserver does (bare integer keys), or with quoted keys when
 * @p standard_json. Arrays are written in the order given; nothing needs to be sorted.
 *
 * @param len  bytes written, or needed when the buffer is too small
 * @return 0, -ENOBUFS
 */
int topic_route_data_encode(const struct topic_route_data *route, bool standard_json, void *buf, size_t cap, size_t *len);

/**
 * Whether two decoded routes are the same in what matters to a client: order configuration, queue datas, address
 * maps by broker name, filter servers. Names of clusters do not count (nor in 4.9.3).
 */
bool topic_route_data_equals(const struct topic_route_data *a, const struct topic_route_data *b);

/** The broker of that name; NULL when the route has none. Decoded routes only (they are sorted). */
const struct broker_data *topic_route_data_broker(const struct topic_route_data *route, struct span broker_name);

/** The address with that id; data == NULL when there is none. */
struct span broker_data_addr(const struct broker_data *broker, int64_t broker_id);
