/*
 * Where messages of one topic can go: the writable queues in 4.9.3's order, and
 * the round robin over them (pre-incremented counter with a random start; a new
 * publish info starts a new counter).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct broker_addr_table;
struct topic_route_data;

#define TOPIC_PUBLISH_QUEUES_MAX 16384u

struct message_queue {
    struct broker *broker;
    int32_t queue_id;
};

struct topic_publish_info {
    struct message_queue *queues; /* sorted by broker name, then queue id (or as orderTopicConf says) */
    uint32_t count;
    uint32_t counter;
    bool order_topic;
};

void topic_publish_info_deinit(struct topic_publish_info *info);

/** How many queues a route would give, whatever of its brokers is known; UINT64_MAX for an orderTopicConf with more brokers than a route
 * may have. */
uint64_t topic_publish_info_size(const struct topic_route_data *route);

/** Builds the list from a route of at most TOPIC_PUBLISH_QUEUES_MAX. 0 (maybe with no queue: nothing is writable) | -ENOMEM; *info is
 * replaced on success only. */
int topic_publish_info_build(struct topic_publish_info *info, const struct topic_route_data *route, struct broker_addr_table *brokers);

/** The next queue, or NULL when there is none. */
static inline const struct message_queue *topic_publish_info_select(struct topic_publish_info *info)
{
    if (info->count == 0)
        return NULL;
    /* Java takes abs(++counter) % size; an unsigned counter needs no abs. */
    return &info->queues[++info->counter % info->count];
}
