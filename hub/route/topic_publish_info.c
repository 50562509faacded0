#include "hub/route/topic_publish_info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/protocol/topic_route_data.h"
#include "hub/route/broker_addr_table.h"
#include "shm/base/clock.h"

void topic_publish_info_deinit(struct topic_publish_info *info)
{
    free(info->queues);
    *info = (struct topic_publish_info){0};
}

static bool add_queues(struct topic_publish_info *info, struct broker *broker, uint32_t queue_nums)
{
    if (queue_nums > TOPIC_PUBLISH_QUEUES_MAX - info->count)
        queue_nums = TOPIC_PUBLISH_QUEUES_MAX - info->count;
    if (queue_nums == 0)
        return true;
    struct message_queue *queues = realloc(info->queues, (info->count + queue_nums) * sizeof(*queues));
    if (!queues)
        return false;
    info->queues = queues;
    for (uint32_t i = 0; i < queue_nums; i++)
        info->queues[info->count++] = (struct message_queue){broker, (int32_t)i};
    return true;
}

/* Writable, and its broker has a master in this very route. */
static uint32_t queues_to_write(const struct topic_route_data *route, const struct queue_data *qd)
{
    const struct broker_data *bd = topic_route_data_broker(route, qd->broker_name);
    if (!(qd->perm & PERM_WRITE) || !bd || !broker_data_addr(bd, MASTER_ID).data || qd->write_queue_nums <= 0)
        return 0;
    return (uint32_t)qd->write_queue_nums;
}

/* The route is sorted by broker name, and so is the result. */
static bool add_from_queue_datas(struct topic_publish_info *info, const struct topic_route_data *route, struct broker_addr_table *brokers)
{
    for (unsigned i = 0; i < route->queue_data_count; i++) {
        const struct queue_data *qd = &route->queue_datas[i];
        uint32_t nums = queues_to_write(route, qd);
        struct broker *broker = nums ? broker_addr_table_find(brokers, qd->broker_name.data, qd->broker_name.len) : NULL;
        if (broker && !add_queues(info, broker, nums))
            return false;
    }
    return true;
}

/* Takes the next "broker:queues" off @p conf. False at its end. */
static bool next_in_order_conf(struct span *conf, struct span *name, uint32_t *nums)
{
    const char *at = conf->data, *end = conf->data + conf->len;
    if (at >= end)
        return false;
    const char *stop = memchr(at, ';', (size_t)(end - at));
    stop = stop ? stop : end;
    const char *colon = memchr(at, ':', (size_t)(stop - at));
    *name = (struct span){at, (size_t)((colon ? colon : stop) - at)};
    *nums = 0;
    for (const char *p = colon ? colon + 1 : stop; p < stop && *p >= '0' && *p <= '9' && *nums < ROUTE_MAX_QUEUE_NUMS; p++)
        *nums = *nums * 10 + (uint32_t)(*p - '0');
    at = stop < end ? stop + 1 : end;
    *conf = (struct span){at, (size_t)(end - at)};
    return true;
}

/* orderTopicConf, "brokerA:4;brokerB:2": in that order, whatever the permissions say. */
static bool add_from_order_conf(struct topic_publish_info *info, struct span conf, struct broker_addr_table *brokers)
{
    struct span name;
    uint32_t nums;
    info->order_topic = true;
    while (next_in_order_conf(&conf, &name, &nums)) {
        struct broker *broker = nums ? broker_addr_table_find(brokers, name.data, name.len) : NULL;
        if (broker && !add_queues(info, broker, nums))
            return false;
    }
    return true;
}

uint64_t topic_publish_info_size(const struct topic_route_data *route)
{
    struct span conf = route->order_topic_conf, name;
    uint64_t size = 0;
    uint32_t nums, brokers = 0;
    if (conf.len == 0) {
        for (unsigned i = 0; i < route->queue_data_count; i++)
            size += queues_to_write(route, &route->queue_datas[i]);
        return size;
    }
    while (brokers <= ROUTE_MAX_BROKER_DATAS && next_in_order_conf(&conf, &name, &nums)) {
        size += nums;
        brokers++;
    }
    return brokers > ROUTE_MAX_BROKER_DATAS ? UINT64_MAX : size;
}

int topic_publish_info_build(struct topic_publish_info *info, const struct topic_route_data *route, struct broker_addr_table *brokers)
{
    struct topic_publish_info fresh = {0};
    bool ordered = route->order_topic_conf.len > 0;
    bool ok = ordered ? add_from_order_conf(&fresh, route->order_topic_conf, brokers) : add_from_queue_datas(&fresh, route, brokers);
    if (!ok) {
        topic_publish_info_deinit(&fresh);
        return -ENOMEM;
    }
    /* Anything that differs between processes serves as a random start. */
    fresh.counter = (uint32_t)(mono_now_ns() >> 3) & INT32_MAX;
    topic_publish_info_deinit(info);
    *info = fresh;
    return 0;
}
