/*
 * The nameserver's side: routes, made from what the brokers hold right now.
 */
#include "tests/devbroker/devbroker.h"

#include "hub/protocol/topic_route_data.h"

#include <stdio.h>
#include <string.h>

static struct span broker_address(const struct broker *b, char text[32])
{
    int n = snprintf(text, 32, "127.0.0.1:%u", b->listener.port);
    return (struct span){text, (size_t)n};
}

static void route(struct request *r)
{
    struct devbroker *dev = r->dev;
    struct span name = remoting_command_ext(r->command, "topic");
    struct queue_data queues[BROKERS_MAX];
    struct broker_data brokers[BROKERS_MAX];
    struct broker_addr addrs[BROKERS_MAX];
    char addresses[BROKERS_MAX][32];
    unsigned count = 0;
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        struct broker *b = &dev->brokers[i];
        const struct topic *t = name.data && !b->hidden ? store_topic(&b->store, name) : NULL;
        if (!t)
            continue;
        queues[count] = (struct queue_data){.broker_name = span_of(b->name),
                                            .read_queue_nums = t->read_queue_nums,
                                            .write_queue_nums = t->write_queue_nums,
                                            .perm = t->perm,
                                            .topic_sys_flag = t->topic_sys_flag};
        addrs[count] = (struct broker_addr){.broker_id = MASTER_ID, .addr = broker_address(b, addresses[count])};
        brokers[count] = (struct broker_data){
            .broker_name = span_of(b->name), .cluster = span_of(dev->options.cluster), .addrs = &addrs[count], .addr_count = 1};
        count++;
    }
    if (count == 0) {
        if (!name.data)
            name = SPAN_LITERAL("null");
        replyf(r, RESPONSE_TOPIC_NOT_EXIST, "No topic route info in name server for the topic: %.*s" FAQ_LINE, (int)name.len, name.data);
        return;
    }
    struct topic_route_data data = {.queue_datas = queues, .queue_data_count = count, .broker_datas = brokers, .broker_data_count = count};
    size_t len = 0;
    topic_route_data_encode(&data, false, NULL, 0, &len);
    char *body = devbroker_body_buffer(dev, len);
    if (body && topic_route_data_encode(&data, false, body, len, &len) == 0)
        reply_body(r, (struct span){body, len});
}

static void write_cluster_info(const struct devbroker *dev, struct json_writer *w)
{
    char address[32];
    bool first = true;
    json_write_raw(w, SPAN_LITERAL("{\"brokerAddrTable\":{"));
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        const struct broker *b = &dev->brokers[i];
        write_separator(w, &first);
        json_write_string(w, span_of(b->name));
        json_write_raw(w, SPAN_LITERAL(":{\"brokerAddrs\":{0:"));
        json_write_string(w, broker_address(b, address));
        json_write_raw(w, SPAN_LITERAL("},\"brokerName\":"));
        json_write_string(w, span_of(b->name));
        json_write_raw(w, SPAN_LITERAL(",\"cluster\":"));
        json_write_string(w, span_of(dev->options.cluster));
        json_write_raw(w, SPAN_LITERAL("}"));
    }
    json_write_raw(w, SPAN_LITERAL("},\"clusterAddrTable\":{"));
    json_write_string(w, span_of(dev->options.cluster));
    json_write_raw(w, SPAN_LITERAL(":["));
    first = true;
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        write_separator(w, &first);
        json_write_string(w, span_of(dev->brokers[i].name));
    }
    json_write_raw(w, SPAN_LITERAL("]}}"));
}

static bool held_by_earlier_broker(struct devbroker *dev, unsigned broker, const struct topic *t)
{
    for (unsigned i = 0; i < broker; i++)
        if (store_topic(&dev->brokers[i].store, (struct span){t->name, t->name_len}))
            return true;
    return false;
}

static void write_topic_list(struct devbroker *dev, struct json_writer *w)
{
    bool first = true;
    json_write_raw(w, SPAN_LITERAL("{\"topicList\":["));
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        for (const struct topic *t = dev->brokers[i].store.first; t; t = t->next_created) {
            if (held_by_earlier_broker(dev, i, t))
                continue;
            write_separator(w, &first);
            json_write_string(w, (struct span){t->name, t->name_len});
        }
    json_write_raw(w, SPAN_LITERAL("]}"));
}

static void cluster_info(struct request *r)
{
    size_t cap = 256 + r->dev->options.broker_count * 512;
    char *body = devbroker_body_buffer(r->dev, cap);
    if (!body)
        return;
    struct json_writer w = json_writer_of(body, cap);
    write_cluster_info(r->dev, &w);
    if (json_writer_fits(&w))
        reply_body(r, (struct span){body, w.len});
}

static void topic_list(struct request *r)
{
    struct json_writer measure = json_writer_of(NULL, 0);
    write_topic_list(r->dev, &measure);
    char *body = devbroker_body_buffer(r->dev, measure.len);
    if (!body)
        return;
    struct json_writer w = json_writer_of(body, measure.len);
    write_topic_list(r->dev, &w);
    reply_body(r, (struct span){body, w.len});
}

void nameserver_handle(struct request *r)
{
    switch (r->command->code) {
    case REQUEST_GET_ROUTEINFO_BY_TOPIC:
        route(r);
        break;
    case REQUEST_GET_BROKER_CLUSTER_INFO:
        cluster_info(r);
        break;
    case REQUEST_GET_ALL_TOPIC_LIST_FROM_NAMESERVER:
        topic_list(r);
        break;
    default: /* 4.9.3 logs an unknown code and says nothing: the caller runs into its timeout */
        break;
    }
}
