/*
 * TopicRouteData. The body is read twice: once to count, once to fill, so that a
 * route is exactly one block, cheap to free and bounded before it is allocated.
 * Sorting happens here, once, because everything that is done with a route
 * (comparing, building publish info) wants it sorted by broker name.
 */
#include "hub/protocol/topic_route_data.h"

#include "hub/protocol/codes.h"
#include "hub/remoting/wire_json.h"

#include <errno.h>
#include <stdlib.h>

/* The block that topic_route_data_decode() returns: the route, then what it points at. */
struct route_block {
    struct topic_route_data route; /* first, so that the route's address is the block's */
    struct queue_data *queues;
    struct broker_data *brokers;
    struct broker_addr *addrs;
    char *text, *text_end;
};

/* State of one pass; block is NULL in the counting pass. */
struct route_pass {
    struct json_reader r;
    struct route_block *block;
    unsigned queue_count, broker_count, addr_count;
    size_t text_bytes;
};

/* Copies a text into the block. In the counting pass it stays where it is and is only counted. */
static struct span keep(struct route_pass *pass, struct span text)
{
    struct route_block *b = pass->block;
    if (!text.data)
        return text;
    pass->text_bytes += text.len;
    if (!b)
        return text;
    if (text.len > (size_t)(b->text_end - b->text)) {
        json_fail(&pass->r);
        return (struct span){NULL, 0};
    }
    struct span kept = {b->text, text.len};
    if (text.len)
        memcpy(b->text, text.data, text.len);
    b->text += text.len;
    return kept;
}

/* Counts one element of a list; false when the route has too many. */
static bool count_up(struct route_pass *pass, unsigned *count, unsigned max)
{
    if (*count == max)
        json_fail(&pass->r);
    else
        ++*count;
    return pass->r.error == 0;
}

static int32_t read_queue_nums(struct json_reader *r)
{
    int32_t n = json_read_i32(r);
    if (n < 0 || n > ROUTE_MAX_QUEUE_NUMS)
        json_fail(r);
    return n;
}

static void read_queue_data(struct route_pass *pass)
{
    struct json_reader *r = &pass->r;
    struct queue_data queue = {0};
    struct span key;
    if (json_enter_object(r))
        while (json_next_key(r, &key)) {
            if (span_equals(key, SPAN_LITERAL("brokerName")))
                queue.broker_name = keep(pass, json_read_text(r));
            else if (span_equals(key, SPAN_LITERAL("perm")))
                queue.perm = json_read_i32(r);
            else if (span_equals(key, SPAN_LITERAL("readQueueNums")))
                queue.read_queue_nums = read_queue_nums(r);
            else if (span_equals(key, SPAN_LITERAL("writeQueueNums")))
                queue.write_queue_nums = read_queue_nums(r);
            else if (span_equals(key, SPAN_LITERAL("topicSysFlag")))
                queue.topic_sys_flag = json_read_i32(r);
            else
                json_skip(r);
        }
    if (!queue.broker_name.data)
        json_fail(r);
    if (count_up(pass, &pass->queue_count, ROUTE_MAX_QUEUE_DATAS) && pass->block)
        pass->block->queues[pass->queue_count - 1] = queue;
}

static void read_broker_addrs(struct route_pass *pass, struct broker_data *broker)
{
    struct json_reader *r = &pass->r;
    struct span key;
    if (!json_enter_object(r))
        return;
    if (pass->block)
        broker->addrs = pass->block->addrs + pass->addr_count;
    while (json_next_key(r, &key)) {
        struct broker_addr addr = {0};
        if (!span_to_i64(key, &addr.broker_id))
            json_fail(r);
        addr.addr = keep(pass, json_read_text(r));
        /* fastjson leaves null values out; so do we. */
        if (addr.addr.data && count_up(pass, &pass->addr_count, ROUTE_MAX_BROKER_ADDRS)) {
            broker->addr_count++;
            if (pass->block)
                pass->block->addrs[pass->addr_count - 1] = addr;
        }
    }
}

static void read_broker_data(struct route_pass *pass)
{
    struct json_reader *r = &pass->r;
    struct broker_data broker = {0};
    struct span key;
    if (json_enter_object(r))
        while (json_next_key(r, &key)) {
            if (span_equals(key, SPAN_LITERAL("brokerName"))) {
                broker.broker_name = keep(pass, json_read_text(r));
            } else if (span_equals(key, SPAN_LITERAL("cluster"))) {
                broker.cluster = keep(pass, json_read_text(r));
            } else if (span_equals(key, SPAN_LITERAL("brokerAddrs"))) {
                broker.addr_count = 0;
                read_broker_addrs(pass, &broker);
            } else {
                json_skip(r);
            }
        }
    if (!broker.broker_name.data)
        json_fail(r);
    if (count_up(pass, &pass->broker_count, ROUTE_MAX_BROKER_DATAS) && pass->block)
        pass->block->brokers[pass->broker_count - 1] = broker;
}

static void read_list(struct route_pass *pass, void (*read_item)(struct route_pass *), const unsigned *count)
{
    /* The same list a second time would make the two passes disagree about its length. */
    if (*count > 0)
        json_fail(&pass->r);
    if (json_enter_array(&pass->r))
        while (json_next_item(&pass->r))
            read_item(pass);
}

static int read_route(struct route_pass *pass, const void *body, size_t len, char *scratch)
{
    struct json_reader *r = &pass->r;
    struct topic_route_data ignored = {0}, *route = pass->block ? &pass->block->route : &ignored;
    struct span key;
    json_reader_init(r, body, len, scratch, len);
    if (!json_enter_object(r))
        json_fail(r);
    while (json_next_key(r, &key)) {
        if (span_equals(key, SPAN_LITERAL("queueDatas"))) {
            read_list(pass, read_queue_data, &pass->queue_count);
        } else if (span_equals(key, SPAN_LITERAL("brokerDatas"))) {
            read_list(pass, read_broker_data, &pass->broker_count);
        } else if (span_equals(key, SPAN_LITERAL("orderTopicConf"))) {
            route->order_topic_conf = keep(pass, json_read_text(r));
        } else if (span_equals(key, SPAN_LITERAL("filterServerTable"))) {
            struct span raw = json_skip(r);
            bool empty = span_equals(raw, SPAN_LITERAL("{}")) || span_equals(raw, SPAN_LITERAL("null"));
            route->filter_server_table = empty ? (struct span){NULL, 0} : keep(pass, raw);
        } else {
            json_skip(r);
        }
    }
    return json_finish(r);
}

/* ---- order ---- */

static int span_compare(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int c = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int i64_compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Ties are broken by all other members, so that two replies with the same content sort alike. */
static int queue_compare(const void *a, const void *b)
{
    const struct queue_data *x = a, *y = b;
    int c = span_compare(x->broker_name, y->broker_name);
    c = c ? c : i64_compare(x->perm, y->perm);
    c = c ? c : i64_compare(x->read_queue_nums, y->read_queue_nums);
    c = c ? c : i64_compare(x->write_queue_nums, y->write_queue_nums);
    return c ? c : i64_compare(x->topic_sys_flag, y->topic_sys_flag);
}

static int addr_compare(const void *a, const void *b)
{
    const struct broker_addr *x = a, *y = b;
    int c = i64_compare(x->broker_id, y->broker_id);
    return c ? c : span_compare(x->addr, y->addr);
}

static int broker_compare(const void *a, const void *b)
{
    const struct broker_data *x = a, *y = b;
    int c = span_compare(x->broker_name, y->broker_name);
    c = c ? c : i64_compare(x->addr_count, y->addr_count);
    for (unsigned i = 0; c == 0 && i < x->addr_count; i++)
        c = addr_compare(&x->addrs[i], &y->addrs[i]);
    return c;
}

static void sort_route(struct route_block *b)
{
    struct topic_route_data *route = &b->route;
    if (route->queue_data_count)
        qsort(b->queues, route->queue_data_count, sizeof(b->queues[0]), queue_compare);
    for (unsigned i = 0; i < route->broker_data_count; i++)
        if (b->brokers[i].addr_count)
            qsort(b->addrs + (b->brokers[i].addrs - b->addrs), b->brokers[i].addr_count, sizeof(b->addrs[0]), addr_compare);
    if (route->broker_data_count)
        qsort(b->brokers, route->broker_data_count, sizeof(b->brokers[0]), broker_compare);
}

/* ---- public ---- */

static struct route_block *block_new(const struct route_pass *counted)
{
    size_t queues = counted->queue_count * sizeof(struct queue_data);
    size_t brokers = counted->broker_count * sizeof(struct broker_data);
    size_t addrs = counted->addr_count * sizeof(struct broker_addr);
    struct route_block *b = calloc(1, sizeof(*b) + queues + brokers + addrs + counted->text_bytes);
    if (!b)
        return NULL;
    char *p = (char *)(b + 1);
    b->queues = (struct queue_data *)(void *)p;
    b->brokers = (struct broker_data *)(void *)(p + queues);
    b->addrs = (struct broker_addr *)(void *)(p + queues + brokers);
    b->text = p + queues + brokers + addrs;
    b->text_end = b->text + counted->text_bytes;
    return b;
}

int topic_route_data_decode(struct topic_route_data **out, const void *body, size_t len)
{
    struct route_pass count = {0}, fill = {0};
    char *scratch = malloc(len ? len : 1);
    if (!scratch)
        return -ENOMEM;
    int rc = read_route(&count, body, len, scratch);
    if (rc == 0 && !(fill.block = block_new(&count)))
        rc = -ENOMEM;
    if (rc == 0)
        rc = read_route(&fill, body, len, scratch);
    free(scratch);
    if (rc != 0) {
        free(fill.block);
        return rc;
    }
    struct topic_route_data *route = &fill.block->route;
    route->queue_datas = fill.block->queues;
    route->queue_data_count = fill.queue_count;
    route->broker_datas = fill.block->brokers;
    route->broker_data_count = fill.broker_count;
    sort_route(fill.block);
    *out = route;
    return 0;
}

struct topic_route_data *topic_route_data_free(struct topic_route_data *route)
{
    free(route);
    return NULL;
}

bool topic_route_data_equals(const struct topic_route_data *a, const struct topic_route_data *b)
{
    if (a->queue_data_count != b->queue_data_count || a->broker_data_count != b->broker_data_count ||
        !span_equals(a->order_topic_conf, b->order_topic_conf) || !span_equals(a->filter_server_table, b->filter_server_table))
        return false;
    for (unsigned i = 0; i < a->queue_data_count; i++)
        if (queue_compare(&a->queue_datas[i], &b->queue_datas[i]) != 0)
            return false;
    for (unsigned i = 0; i < a->broker_data_count; i++)
        if (broker_compare(&a->broker_datas[i], &b->broker_datas[i]) != 0)
            return false;
    return true;
}

const struct broker_data *topic_route_data_broker(const struct topic_route_data *route, struct span broker_name)
{
    unsigned low = 0, high = route->broker_data_count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int c = span_compare(route->broker_datas[middle].broker_name, broker_name);
        if (c == 0)
            return &route->broker_datas[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

struct span broker_data_addr(const struct broker_data *broker, int64_t broker_id)
{
    for (unsigned i = 0; i < broker->addr_count; i++)
        if (broker->addrs[i].broker_id == broker_id)
            return broker->addrs[i].addr;
    return (struct span){NULL, 0};
}

/* ---- encoding ---- */

static void write_member(struct json_writer *w, const char *name, struct span text)
{
    json_write_raw(w, span_of(name));
    json_write_string(w, text);
}

static void write_number(struct json_writer *w, const char *name, int64_t value)
{
    json_write_raw(w, span_of(name));
    json_write_i64(w, value);
}

static void write_broker_data(struct json_writer *w, const struct broker_data *broker, bool quoted)
{
    json_write_raw(w, SPAN_LITERAL("{\"brokerAddrs\":{"));
    for (unsigned i = 0; i < broker->addr_count; i++) {
        if (i)
            json_write_raw(w, SPAN_LITERAL(","));
        write_number(w, quoted ? "\"" : "", broker->addrs[i].broker_id);
        write_member(w, quoted ? "\":" : ":", broker->addrs[i].addr);
    }
    write_member(w, "},\"brokerName\":", broker->broker_name);
    write_member(w, ",\"cluster\":", broker->cluster);
    json_write_raw(w, SPAN_LITERAL("}"));
}

static void write_queue_data(struct json_writer *w, const struct queue_data *queue)
{
    write_member(w, "{\"brokerName\":", queue->broker_name);
    write_number(w, ",\"perm\":", queue->perm);
    write_number(w, ",\"readQueueNums\":", queue->read_queue_nums);
    write_number(w, ",\"topicSysFlag\":", queue->topic_sys_flag);
    write_number(w, ",\"writeQueueNums\":", queue->write_queue_nums);
    json_write_raw(w, SPAN_LITERAL("}"));
}

int topic_route_data_encode(const struct topic_route_data *route, bool standard_json, void *buf, size_t cap, size_t *len)
{
    struct json_writer w = json_writer_of(buf, cap);
    json_write_raw(&w, SPAN_LITERAL("{\"brokerDatas\":["));
    for (unsigned i = 0; i < route->broker_data_count; i++) {
        if (i)
            json_write_raw(&w, SPAN_LITERAL(","));
        write_broker_data(&w, &route->broker_datas[i], standard_json);
    }
    json_write_raw(&w, SPAN_LITERAL("],\"filterServerTable\":"));
    json_write_raw(&w, route->filter_server_table.len ? route->filter_server_table : SPAN_LITERAL("{}"));
    if (route->order_topic_conf.data)
        write_member(&w, ",\"orderTopicConf\":", route->order_topic_conf);
    json_write_raw(&w, SPAN_LITERAL(",\"queueDatas\":["));
    for (unsigned i = 0; i < route->queue_data_count; i++) {
        if (i)
            json_write_raw(&w, SPAN_LITERAL(","));
        write_queue_data(&w, &route->queue_datas[i]);
    }
    json_write_raw(&w, SPAN_LITERAL("]}"));
    *len = w.len;
    return json_writer_fits(&w) ? 0 : -ENOBUFS;
}
