/*
 * Start and end of the devbroker, and the way of a frame through it: decode,
 * scripted faults, execution.
 *
 * Faults work on the outside: a request is executed or not, and what execution
 * appended to the connection's output is then kept, dropped, repeated, replaced
 * or put off. No handler knows of them.
 */
#include "tests/devbroker/devbroker.h"

#include "shm/base/clock.h"
#include "tests/devbroker/acl.h"
#include "tests/devbroker/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Something that a scripted delay put off. */
struct later {
    struct list_link link;
    struct server_timer timer;
    struct devbroker *dev;
    uint64_t connection;
    enum later_kind { LATER_REQUEST, LATER_REPLY, LATER_RESUME } kind;
    size_t len;
    uint8_t data[];
};

static void later_free(struct later *l)
{
    list_unlink(&l->link);
    server_timer_deinit(&l->timer);
    free(l);
}

static void write_bytes(struct connection *c, const uint8_t *data, size_t len)
{
    uint8_t *room = connection_reserve(c, len);
    if (!room)
        return;
    memcpy(room, data, len);
    connection_commit(c, len);
}

static void later_fire(void *ctx)
{
    struct later *l = ctx;
    struct connection *c = server_connection(l->dev->server, l->connection);
    if (c && l->kind == LATER_REQUEST)
        devbroker_handle_frame(l->dev, c, l->data, l->len, false);
    else if (c && l->kind == LATER_REPLY)
        write_bytes(c, l->data, l->len);
    else if (c)
        connection_resume(c);
    later_free(l);
}

static void put_off(struct request *r, enum later_kind kind, const uint8_t *data, size_t len, int64_t after_ms)
{
    struct later *l = calloc(1, sizeof(*l) + len);
    if (!l)
        return;
    l->dev = r->dev;
    l->connection = r->connection->number;
    l->kind = kind;
    l->len = len;
    if (len)
        memcpy(l->data, data, len);
    list_append(&r->dev->later, &l->link);
    if (server_timer_start(&l->timer, r->dev->server, (uint64_t)after_ms, later_fire, l) < 0)
        later_free(l);
}

static void execute(struct request *r)
{
    if (!r->broker)
        nameserver_handle(r);
    else if (acl_allows(r))
        broker_handle(r);
}

/* Executes, and drops what was written from @p keep bytes of the reply on. */
static void execute_and_cut(struct request *r, size_t keep)
{
    size_t before = r->connection->out_len;
    execute(r);
    size_t written = r->connection->out_len - before;
    r->connection->out_len = before + (written < keep ? written : keep);
}

static void execute_and_put_off(struct request *r, int64_t after_ms)
{
    struct connection *c = r->connection;
    size_t before = c->out_len;
    execute(r);
    put_off(r, LATER_REPLY, c->out + before, c->out_len - before, after_ms);
    c->out_len = before;
}

static void execute_and_repeat(struct request *r)
{
    size_t before = r->connection->out_len;
    execute(r);
    size_t len = r->connection->out_len - before;
    uint8_t *room = connection_reserve(r->connection, len);
    if (!room)
        return;
    memcpy(room, r->connection->out + before, len);
    connection_commit(r->connection, len);
}

static void write_garbage(struct request *r, size_t len)
{
    uint8_t *room = connection_reserve(r->connection, len);
    if (!room)
        return;
    fault_plan_garbage(&r->dev->faults, room, len);
    connection_commit(r->connection, len);
}

static void refuse(struct request *r, int64_t code)
{
    reply(r, (int32_t)code, "[DEVBROKER] refused by a scripted fault");
}

static void execute_with_fault(struct request *r, const struct fault_rule *rule, bool repeated, const uint8_t *frame, size_t len)
{
    struct connection *c = r->connection;
    switch (rule->action) {
    case FAULT_ERROR:
        refuse(r, rule->arg);
        break;
    case FAULT_STATUS:
        r->status = (int32_t)rule->arg;
        execute(r);
        break;
    case FAULT_NO_REPLY:
        break;
    case FAULT_STORE_REFUSE:
        if (repeated)
            refuse(r, rule->arg);
        else
            execute_and_cut(r, 0);
        break;
    case FAULT_STORE_SILENT:
        execute_and_cut(r, 0);
        break;
    case FAULT_DELAY:
        put_off(r, LATER_REQUEST, frame, len, rule->arg);
        break;
    case FAULT_LATE:
        execute_and_put_off(r, rule->arg);
        break;
    case FAULT_DUPLICATE:
        execute_and_repeat(r);
        break;
    case FAULT_WRONG_OPAQUE:
        r->opaque ^= 0x40000000;
        execute(r);
        break;
    case FAULT_GARBAGE:
        execute_and_cut(r, 0);
        write_garbage(r, (size_t)rule->arg);
        break;
    case FAULT_RAW:
        execute_and_cut(r, 0);
        write_bytes(c, rule->raw, rule->raw_len);
        break;
    case FAULT_CUT:
        execute_and_cut(r, (size_t)rule->arg);
        connection_drain(c);
        break;
    case FAULT_CLOSE:
        connection_drain(c);
        break;
    case FAULT_STORE_CLOSE:
        execute_and_cut(r, 0);
        connection_drain(c);
        break;
    case FAULT_RESET:
        connection_reset(c, "scripted fault");
        break;
    case FAULT_STORE_RESET:
        execute_and_cut(r, 0);
        connection_reset(c, "scripted fault");
        break;
    case FAULT_STOP_READING:
        connection_stop_reading(c);
        if (rule->arg > 0)
            put_off(r, LATER_RESUME, NULL, 0, rule->arg);
        break;
    case FAULT_NONE:
        execute(r);
        break;
    }
}

static struct span unique_key(const struct request *r)
{
    const char *field = r->command->code == REQUEST_SEND_MESSAGE ? "properties" : "i";
    struct span properties = remoting_command_ext(r->command, field);
    return properties.data ? message_property(properties, SPAN_LITERAL("UNIQ_KEY")) : (struct span){0};
}

static void execute_by_plan(struct request *r, const uint8_t *frame, size_t len)
{
    struct fault_request asked = {.code = r->command->code,
                                  .broker = r->broker ? r->broker->name : "nameserver",
                                  .unique_key = r->broker ? unique_key(r) : (struct span){0}};
    const struct fault_rule *rule = fault_plan_match(&r->dev->faults, &asked);
    if (!rule) {
        execute(r);
        return;
    }
    journal_add_event(&r->dev->journal, "fault", r->connection->number, server_now_ms(r->dev->server), "rule=%u code=%d opaque=%d",
                      rule->number, r->command->code, r->command->opaque);
    execute_with_fault(r, rule, asked.repeated, frame, len);
}

static bool scratch_fits(struct devbroker *dev, size_t bytes)
{
    if (bytes <= dev->scratch_cap)
        return true;
    char *bigger = realloc(dev->scratch, bytes * 2);
    if (!bigger)
        return false;
    dev->scratch = bigger;
    dev->scratch_cap = bytes * 2;
    return true;
}

char *devbroker_body_buffer(struct devbroker *dev, size_t bytes)
{
    if (bytes <= dev->body_cap)
        return dev->body;
    char *bigger = realloc(dev->body, bytes * 2);
    if (!bigger)
        return NULL;
    dev->body = bigger;
    dev->body_cap = bytes * 2;
    return dev->body;
}

void devbroker_handle_frame(struct devbroker *dev, struct connection *c, const uint8_t *frame, size_t len, bool faults)
{
    struct remoting_command command;
    if (!scratch_fits(dev, len) || remoting_command_decode(&command, frame, len, dev->scratch, dev->scratch_cap) < 0) {
        connection_close(c, "undecodable frame");
        return;
    }
    if (remoting_command_is_response(&command))
        return; /* an answer to one of our pushes */
    struct request r = {.dev = dev, .broker = c->listener->owner, .connection = c, .command = &command, .opaque = command.opaque};
    if (faults) {
        uint64_t *counts = r.broker ? r.broker->requests : dev->nameserver_requests;
        bool counted = command.code > 0 && command.code < COUNTED_CODES;
        counts[counted ? command.code : 0]++;
    }
    if (faults && !list_is_empty(&dev->faults.rules))
        execute_by_plan(&r, frame, len);
    else
        execute(&r);
}

static const char *listener_name(const struct listener *l)
{
    const struct broker *b = l->owner;
    return b ? b->name : "nameserver";
}

static void on_accept(void *ctx, struct connection *c)
{
    struct devbroker *dev = ctx;
    journal_add_event(&dev->journal, "accept", c->number, server_now_ms(dev->server), "at=%s peer=%s", listener_name(c->listener),
                      connection_peer(c));
}

static void on_frame(void *ctx, struct connection *c, const uint8_t *frame, size_t len)
{
    devbroker_handle_frame(ctx, c, frame, len, true);
}

static void on_close(void *ctx, struct connection *c, const char *reason)
{
    struct devbroker *dev = ctx;
    struct broker *b = c->listener->owner;
    journal_add_event(&dev->journal, "close", c->number, server_now_ms(dev->server), "at=%s peer=%s reason=%s", listener_name(c->listener),
                      connection_peer(c), reason);
    if (b) {
        broker_forget_pulls(b, c);
        clients_connection_closed(&b->clients, c);
    }
}

static void on_consumers_changed(void *ctx, struct client_group *group)
{
    struct broker *b = ctx;
    LIST_FOR_EACH_SAFE (it, next, &group->members)
        push_oneway(b->dev, LIST_ENTRY(it, struct client_member, link)->info->connection, REQUEST_NOTIFY_CONSUMER_IDS_CHANGED,
                    "consumerGroup", span_of(group->name));
}

static void on_expired(void *ctx, const char *group, struct connection *c)
{
    struct devbroker *dev = ctx;
    journal_add_event(&dev->journal, "expire", c->number, server_now_ms(dev->server), "group=%s", group);
    connection_close(c, "a registration expired");
}

static void close_when_idle(void *ctx, struct connection *c)
{
    struct devbroker *dev = ctx;
    if (server_now_ns(dev->server) - c->active_ns > dev->options.idle_limit_ms * NS_PER_MS)
        connection_close(c, "idle");
}

static void scan_connections(void *ctx)
{
    struct devbroker *dev = ctx;
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        clients_scan(&dev->brokers[i].clients, server_now_ns(dev->server), dev->options.channel_expiry_ms * NS_PER_MS, on_expired, dev);
    server_each_connection(dev->server, close_when_idle, dev);
    server_timer_start(&dev->scan_timer, dev->server, dev->options.scan_interval_ms, scan_connections, dev);
}

static void sweep_pulls(void *ctx)
{
    struct devbroker *dev = ctx;
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        broker_sweep_pulls(&dev->brokers[i]);
    server_timer_start(&dev->sweep_timer, dev->server, dev->options.hold_sweep_ms, sweep_pulls, dev);
}

/* The topics that a stock broker brings along, as far as clients meet them. */
static bool create_system_topics(struct broker *b)
{
    const struct devbroker_options *o = &b->dev->options;
    int32_t all = PERM_READ | PERM_WRITE;
    char reply_topic[CLUSTER_NAME_MAX + 16];
    int n = snprintf(reply_topic, sizeof(reply_topic), "%s_REPLY_TOPIC", o->cluster);
    bool ok = !o->auto_create || broker_ensure_topic(b, SPAN_LITERAL(TOPIC_AUTO_CREATE), o->default_queue_nums, all | PERM_INHERIT);
    return ok && broker_ensure_topic(b, SPAN_LITERAL("SELF_TEST_TOPIC"), 1, all) &&
           broker_ensure_topic(b, SPAN_LITERAL("SCHEDULE_TOPIC_XXXX"), 18, all) &&
           broker_ensure_topic(b, (struct span){reply_topic, (size_t)n}, 1, all);
}

static int broker_init(struct broker *b, struct devbroker *dev, unsigned index)
{
    const struct devbroker_options *o = &dev->options;
    b->dev = dev;
    b->index = index;
    b->listener.fd = -1;
    if (index < 26)
        snprintf(b->name, sizeof(b->name), "broker-%c", 'a' + (int)index);
    else
        snprintf(b->name, sizeof(b->name), "broker-%u", index);
    list_init(&b->consumer_offsets);
    list_init(&b->queue_locks);
    list_init(&b->held_pulls);
    list_init(&b->delayed);
    clients_init(&b->clients);
    b->clients.on_consumers_changed = on_consumers_changed;
    b->clients.ctx = b;
    int err = store_init(&b->store, o->discard, o->max_message_bytes);
    if (err)
        return err;
    if (!create_system_topics(b))
        return -ENOMEM;
    uint16_t port = o->port ? (uint16_t)(o->port + 1 + index) : 0;
    return listener_open(&b->listener, dev->server, b, port);
}

int devbroker_init(struct devbroker *dev, const struct devbroker_options *options, const char **what)
{
    *dev = (struct devbroker){.options = *options};
    dev->nameserver.fd = -1;
    dev->options.broker_count = 0;
    list_init(&dev->later);
    fault_plan_init(&dev->faults, options->seed);
    dev->journal.disabled = !options->journal;
    struct server_handler handler = {.ctx = dev, .on_accept = on_accept, .on_frame = on_frame, .on_close = on_close};
    int err = 0;
    *what = "event loop";
    if (!(dev->server = server_new(&handler)))
        return -ENOMEM;
    *what = "nameserver port";
    if ((err = listener_open(&dev->nameserver, dev->server, NULL, options->port)))
        return err;
    *what = "broker";
    for (unsigned i = 0; i < options->broker_count; i++) {
        dev->options.broker_count = i + 1;
        if ((err = broker_init(&dev->brokers[i], dev, i)))
            return err;
    }
    *what = "control socket";
    if (options->control_path && !(dev->control = control_new(dev, options->control_path, &err)))
        return err;
    server_timer_start(&dev->scan_timer, dev->server, options->scan_interval_ms, scan_connections, dev);
    server_timer_start(&dev->sweep_timer, dev->server, options->hold_sweep_ms, sweep_pulls, dev);
    return 0;
}

void devbroker_deinit(struct devbroker *dev)
{
    dev->control = control_free(dev->control);
    for (struct list_link *l; (l = list_first(&dev->later));)
        later_free(LIST_ENTRY(l, struct later, link));
    server_timer_deinit(&dev->scan_timer);
    server_timer_deinit(&dev->sweep_timer);
    listener_close(&dev->nameserver);
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        struct broker *b = &dev->brokers[i];
        listener_close(&b->listener);
        broker_forget_pulls(b, NULL);
        broker_forget_delayed(b);
        broker_forget_offsets(b);
        broker_forget_locks(b);
        clients_deinit(&b->clients);
        store_deinit(&b->store);
    }
    dev->server = server_free(dev->server);
    journal_deinit(&dev->journal);
    fault_plan_deinit(&dev->faults);
    free(dev->scratch);
    free(dev->body);
    dev->scratch = dev->body = NULL;
}
