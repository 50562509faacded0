/*
 * Who is there: heartbeats, unregistering, member lists, queue locks. The rules
 * are in clients.h; here are their requests and replies.
 */
#include "shm/base/clock.h"
#include "tests/devbroker/devbroker.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_LOCK_LIFE_NS (60 * NS_PER_S)

struct queue_lock {
    struct list_link link;
    uint64_t renewed_ns;
    int64_t queue_id;
    char *group, *topic, *client_id;
};

/* A consumer set is read twice: the first pass must see that the whole body can be read. */
struct heartbeat {
    struct request *r;
    struct client_info *info;
    uint64_t now_ns;
    bool apply;
};

static void read_codes(struct json_reader *j, struct subscription_data *d)
{
    if (json_enter_array(j)) {
        while (json_next_item(j)) {
            int32_t code = (int32_t)json_read_i64(j);
            if (d->code_count < sizeof(d->codes) / sizeof(*d->codes))
                d->codes[d->code_count++] = code;
            else
                json_fail(j);
        }
    }
}

static void read_subscription(struct json_reader *j, struct subscription_data *d)
{
    struct span key;
    *d = (struct subscription_data){.expression_type = SPAN_LITERAL("TAG")};
    if (json_enter_object(j)) {
        while (json_next_key(j, &key)) {
            if (span_equals(key, SPAN_LITERAL("topic")))
                d->topic = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("subString")))
                d->sub_string = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("expressionType")))
                d->expression_type = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("subVersion")))
                d->sub_version = json_read_i64(j);
            else if (span_equals(key, SPAN_LITERAL("codeSet")))
                read_codes(j, d);
            else
                json_skip(j);
        }
    }
    if (!d->topic.data)
        json_fail(j);
}

/* The item is read from its raw text, which is kept for GET_CONSUMER_CONNECTION_LIST. */
static bool subscribe_raw(struct devbroker *dev, struct client_group *group, struct span raw, bool *changed)
{
    struct subscription_data d;
    struct json_reader j;
    json_reader_init(&j, raw.data, raw.len, dev->scratch, dev->scratch_cap);
    read_subscription(&j, &d);
    if (json_finish(&j) < 0)
        return false;
    d.raw = raw;
    if (group && client_group_subscribe(group, &d))
        *changed = true;
    return true;
}

struct consumer_data {
    struct span group, consume_type, message_model, consume_from_where, subscriptions;
};

static void read_consumer(struct json_reader *j, struct consumer_data *d)
{
    struct span key;
    *d = (struct consumer_data){0};
    if (json_enter_object(j)) {
        while (json_next_key(j, &key)) {
            if (span_equals(key, SPAN_LITERAL("groupName")))
                d->group = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("consumeType")))
                d->consume_type = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("messageModel")))
                d->message_model = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("consumeFromWhere")))
                d->consume_from_where = json_read_text(j);
            else if (span_equals(key, SPAN_LITERAL("subscriptionDataSet")))
                d->subscriptions = json_skip(j);
            else
                json_skip(j);
        }
    }
    if (!d->group.data || !d->subscriptions.data)
        json_fail(j);
}

static void copy_text(char *dst, size_t cap, struct span text)
{
    size_t n = text.len < cap ? text.len : cap - 1;
    if (n)
        memcpy(dst, text.data, n);
    dst[n] = '\0';
}

static bool apply_consumer(struct heartbeat *h, const struct consumer_data *d)
{
    struct broker *b = h->r->broker;
    struct client_group *group = h->apply ? clients_consumer_group(&b->clients, d->group) : NULL;
    bool changed = false;
    if (group) {
        char retry[TOPIC_NAME_MAX + 1] = "%RETRY%";
        copy_text(retry + 7, sizeof(retry) - 7, d->group);
        broker_ensure_topic(b, span_of(retry), 1, PERM_READ | PERM_WRITE);
        copy_text(group->consume_type, sizeof(group->consume_type), d->consume_type);
        copy_text(group->message_model, sizeof(group->message_model), d->message_model);
        copy_text(group->consume_from_where, sizeof(group->consume_from_where), d->consume_from_where);
        if (clients_register_consumer(&b->clients, group, h->info, h->now_ns)) {
            changed = true;
            journal_add_event(&b->dev->journal, "register", h->r->connection->number, server_now_ms(b->dev->server),
                              "broker=%s consumer_group=%s client=%s", b->name, group->name, h->info->client_id);
        }
    }
    struct json_reader j;
    json_reader_init(&j, d->subscriptions.data, d->subscriptions.len, NULL, 0);
    if (json_enter_array(&j)) {
        while (json_next_item(&j)) {
            if (!subscribe_raw(b->dev, group, json_skip(&j), &changed))
                return false;
        }
    }
    if (json_finish(&j) < 0)
        return false;
    if (group && client_group_forget_unmentioned(group))
        changed = true;
    if (group && changed)
        b->clients.on_consumers_changed(b->clients.ctx, group);
    return true;
}

static void read_consumers(struct json_reader *j, struct heartbeat *h)
{
    struct consumer_data d;
    if (json_enter_array(j)) {
        while (json_next_item(j)) {
            read_consumer(j, &d);
            if (j->error == 0 && !apply_consumer(h, &d))
                json_fail(j);
        }
    } else {
        json_fail(j); /* null: the real broker runs into a NullPointerException */
    }
}

static void apply_producer(struct heartbeat *h, struct span group)
{
    struct broker *b = h->r->broker;
    if (h->apply && clients_register_producer(&b->clients, group, h->info, h->now_ns))
        journal_add_event(&b->dev->journal, "register", h->r->connection->number, server_now_ms(b->dev->server),
                          "broker=%s producer_group=%.*s client=%s", b->name, (int)group.len, group.data, h->info->client_id);
}

static void read_producers(struct json_reader *j, struct heartbeat *h)
{
    struct span key;
    if (!json_enter_array(j)) {
        json_fail(j);
        return;
    }
    while (json_next_item(j)) {
        struct span group = {0};
        if (json_enter_object(j)) {
            while (json_next_key(j, &key)) {
                if (span_equals(key, SPAN_LITERAL("groupName")))
                    group = json_read_text(j);
                else
                    json_skip(j);
            }
        }
        if (!group.data)
            json_fail(j);
        else if (j->error == 0)
            apply_producer(h, group);
    }
}

struct heartbeat_body {
    struct span client_id, consumers, producers;
};

static bool read_body(struct span body, char *scratch, size_t scratch_cap, struct heartbeat_body *out)
{
    struct json_reader j;
    struct span key;
    *out = (struct heartbeat_body){0};
    json_reader_init(&j, body.data, body.len, scratch, scratch_cap);
    if (json_enter_object(&j)) {
        while (json_next_key(&j, &key)) {
            if (span_equals(key, SPAN_LITERAL("clientID")))
                out->client_id = json_read_text(&j);
            else if (span_equals(key, SPAN_LITERAL("consumerDataSet")))
                out->consumers = json_skip(&j);
            else if (span_equals(key, SPAN_LITERAL("producerDataSet")))
                out->producers = json_skip(&j);
            else
                json_skip(&j);
        }
    } else {
        json_fail(&j);
    }
    return json_finish(&j) == 0;
}

static bool walk(struct heartbeat *h, const struct heartbeat_body *body)
{
    static char text[64 << 10]; /* group names with escapes; such names are refused everywhere else anyway */
    struct json_reader j;
    if (body->consumers.data) {
        json_reader_init(&j, body->consumers.data, body->consumers.len, text, sizeof(text));
        read_consumers(&j, h);
        if (json_finish(&j) < 0)
            return false;
    }
    if (body->producers.data) {
        json_reader_init(&j, body->producers.data, body->producers.len, text, sizeof(text));
        read_producers(&j, h);
        if (json_finish(&j) < 0)
            return false;
    }
    return true;
}

void broker_heartbeat(struct request *r)
{
    char client_id_text[1024];
    struct heartbeat_body body;
    struct heartbeat h = {.r = r, .now_ns = server_now_ns(r->dev->server)};
    if (!read_body(r->command->body, client_id_text, sizeof(client_id_text), &body) || !walk(&h, &body)) {
        reply(r, RESPONSE_SYSTEM_ERROR, "java.lang.NullPointerException: the heartbeat body cannot be read");
        return;
    }
    struct span client_id = body.client_id.data ? body.client_id : SPAN_LITERAL("null");
    h.info = client_info_new(r->connection, client_id, (uint8_t)r->command->language, r->command->version, h.now_ns);
    if (!h.info)
        return;
    h.apply = true;
    walk(&h, &body);
    journal_add_event(&r->dev->journal, "heartbeat", r->connection->number, server_now_ms(r->dev->server), "broker=%s client=%s",
                      r->broker->name, h.info->client_id);
    client_info_release(h.info);
    reply(r, RESPONSE_SUCCESS, NULL);
}

void broker_unregister(struct request *r)
{
    struct broker *b = r->broker;
    struct span client_id = remoting_command_ext(r->command, "clientID");
    struct span producers = remoting_command_ext(r->command, "producerGroup");
    struct span consumers = remoting_command_ext(r->command, "consumerGroup");
    if (producers.data) {
        bool known = clients_unregister_producer(&b->clients, producers, r->connection, client_id);
        journal_add_event(&r->dev->journal, "unregister", r->connection->number, server_now_ms(r->dev->server),
                          "broker=%s producer_group=%.*s client=%.*s known=%d", b->name, (int)producers.len, producers.data,
                          (int)client_id.len, client_id.data, known);
    }
    if (consumers.data) {
        bool known = clients_unregister_consumer(&b->clients, consumers, r->connection);
        journal_add_event(&r->dev->journal, "unregister", r->connection->number, server_now_ms(r->dev->server),
                          "broker=%s consumer_group=%.*s client=%.*s known=%d", b->name, (int)consumers.len, consumers.data,
                          (int)client_id.len, client_id.data, known);
    }
    struct reply_writer w;
    if (reply_begin(r, &w, RESPONSE_SUCCESS, NULL, 0, 0))
        reply_end(&w, (struct span){0});
}

static void write_connection_set(struct json_writer *w, struct client_group *g)
{
    bool first = true;
    json_write_raw(w, SPAN_LITERAL("\"connectionSet\":["));
    LIST_FOR_EACH_SAFE (it, next, &g->members) {
        const struct client_info *info = LIST_ENTRY(it, struct client_member, link)->info;
        const char *language = language_code_name((enum language_code)info->language);
        write_separator(w, &first);
        json_write_raw(w, SPAN_LITERAL("{\"clientAddr\":"));
        json_write_string(w, span_of(connection_peer(info->connection)));
        json_write_raw(w, SPAN_LITERAL(",\"clientId\":"));
        json_write_string(w, span_of(info->client_id));
        if (language) {
            json_write_raw(w, SPAN_LITERAL(",\"language\":"));
            json_write_string(w, span_of(language));
        }
        json_write_raw(w, SPAN_LITERAL(",\"version\":"));
        json_write_i64(w, info->version);
        json_write_raw(w, SPAN_LITERAL("}"));
    }
    json_write_raw(w, SPAN_LITERAL("]"));
}

static void write_producers(struct json_writer *w, struct client_group *g)
{
    json_write_raw(w, SPAN_LITERAL("{"));
    write_connection_set(w, g);
    json_write_raw(w, SPAN_LITERAL("}"));
}

static void write_consumer_connections(struct json_writer *w, struct client_group *g)
{
    bool first = true;
    json_write_raw(w, SPAN_LITERAL("{"));
    write_connection_set(w, g);
    json_write_raw(w, SPAN_LITERAL(",\"consumeFromWhere\":"));
    json_write_string(w, span_of(g->consume_from_where));
    json_write_raw(w, SPAN_LITERAL(",\"consumeType\":"));
    json_write_string(w, span_of(g->consume_type));
    json_write_raw(w, SPAN_LITERAL(",\"messageModel\":"));
    json_write_string(w, span_of(g->message_model));
    json_write_raw(w, SPAN_LITERAL(",\"subscriptionTable\":{"));
    LIST_FOR_EACH_SAFE (it, next, &g->subscriptions) {
        const struct subscription *s = LIST_ENTRY(it, struct subscription, link);
        write_separator(w, &first);
        json_write_string(w, span_of(s->topic));
        json_write_raw(w, SPAN_LITERAL(":"));
        json_write_raw(w, s->raw);
    }
    json_write_raw(w, SPAN_LITERAL("}}"));
}

static void write_consumer_ids(struct json_writer *w, struct client_group *g)
{
    bool first = true;
    json_write_raw(w, SPAN_LITERAL("{\"consumerIdList\":["));
    LIST_FOR_EACH_SAFE (it, next, &g->members) {
        write_separator(w, &first);
        json_write_string(w, span_of(LIST_ENTRY(it, struct client_member, link)->info->client_id));
    }
    json_write_raw(w, SPAN_LITERAL("]}"));
}

static void reply_group(struct request *r, struct client_group *g, void (*write)(struct json_writer *, struct client_group *))
{
    struct json_writer measure = json_writer_of(NULL, 0);
    write(&measure, g);
    char *body = devbroker_body_buffer(r->dev, measure.len);
    if (!body)
        return;
    struct json_writer w = json_writer_of(body, measure.len);
    write(&w, g);
    reply_body(r, (struct span){body, w.len});
}

void broker_list_producers(struct request *r)
{
    struct span name = remoting_command_ext(r->command, "producerGroup");
    struct client_group *g = clients_find_group(&r->broker->clients.producer_groups, name);
    if (g)
        reply_group(r, g, write_producers);
    else
        replyf(r, RESPONSE_SYSTEM_ERROR, "the producer group[%.*s] not exist", (int)name.len, name.data);
}

void broker_list_consumer_connections(struct request *r)
{
    struct span name = remoting_command_ext(r->command, "consumerGroup");
    struct client_group *g = clients_find_group(&r->broker->clients.consumer_groups, name);
    if (g)
        reply_group(r, g, write_consumer_connections);
    else
        replyf(r, 206, "the consumer group[%.*s] not online", (int)name.len, name.data);
}

void broker_list_consumers(struct request *r)
{
    struct span name = remoting_command_ext(r->command, "consumerGroup");
    struct client_group *g = clients_find_group(&r->broker->clients.consumer_groups, name);
    if (g)
        reply_group(r, g, write_consumer_ids);
    else
        replyf(r, RESPONSE_SYSTEM_ERROR, "no consumer for this group, %.*s", (int)name.len, name.data);
}

void broker_check_client_config(struct request *r)
{
    reply(r, RESPONSE_SYSTEM_ERROR, "The broker does not support consumer to filter message by SQL92");
}

/* Queue locks: (group, queue) -> clientId of the body; the connection does not matter. */

struct lock_request {
    struct span group, client_id, queues;
};

struct lock_queue {
    struct span raw, topic;
    int64_t queue_id;
};

static bool read_lock_request(struct request *r, struct lock_request *out)
{
    struct json_reader j;
    struct span key;
    *out = (struct lock_request){0};
    json_reader_init(&j, r->command->body.data, r->command->body.len, r->dev->scratch, r->dev->scratch_cap);
    if (json_enter_object(&j)) {
        while (json_next_key(&j, &key)) {
            if (span_equals(key, SPAN_LITERAL("clientId")))
                out->client_id = json_read_text(&j);
            else if (span_equals(key, SPAN_LITERAL("consumerGroup")))
                out->group = json_read_text(&j);
            else if (span_equals(key, SPAN_LITERAL("mqSet")))
                out->queues = json_skip(&j);
            else
                json_skip(&j);
        }
    }
    return json_finish(&j) == 0 && out->group.data && out->client_id.data && out->queues.data;
}

static bool read_lock_queue(struct span raw, struct lock_queue *out)
{
    static char text[1024];
    struct json_reader j;
    struct span key;
    *out = (struct lock_queue){.raw = raw};
    json_reader_init(&j, raw.data, raw.len, text, sizeof(text));
    if (json_enter_object(&j)) {
        while (json_next_key(&j, &key)) {
            if (span_equals(key, SPAN_LITERAL("topic")))
                out->topic = json_read_text(&j);
            else if (span_equals(key, SPAN_LITERAL("queueId")))
                out->queue_id = json_read_i64(&j);
            else
                json_skip(&j);
        }
    }
    return json_finish(&j) == 0 && out->topic.data;
}

static void queue_lock_free(struct queue_lock *lock)
{
    list_unlink(&lock->link);
    free(lock->group);
    free(lock->topic);
    free(lock->client_id);
    free(lock);
}

static struct queue_lock *find_lock(struct broker *b, struct span group, const struct lock_queue *q)
{
    LIST_FOR_EACH_SAFE (it, next, &b->queue_locks) {
        struct queue_lock *lock = LIST_ENTRY(it, struct queue_lock, link);
        if (lock->queue_id == q->queue_id && span_equals(span_of(lock->topic), q->topic) && span_equals(span_of(lock->group), group))
            return lock;
    }
    return NULL;
}

static bool take_lock(struct broker *b, const struct lock_request *request, const struct lock_queue *q)
{
    uint64_t now_ns = server_now_ns(b->dev->server);
    struct queue_lock *lock = find_lock(b, request->group, q);
    if (lock && !span_equals(span_of(lock->client_id), request->client_id)) {
        if (now_ns - lock->renewed_ns <= QUEUE_LOCK_LIFE_NS)
            return false;
        queue_lock_free(lock);
        lock = NULL;
    }
    if (!lock) {
        lock = calloc(1, sizeof(*lock));
        if (!lock)
            return false;
        list_append(&b->queue_locks, &lock->link);
        lock->queue_id = q->queue_id;
        lock->group = strndup(request->group.data, request->group.len);
        lock->topic = strndup(q->topic.data, q->topic.len);
        lock->client_id = strndup(request->client_id.data, request->client_id.len);
        if (!lock->group || !lock->topic || !lock->client_id) {
            queue_lock_free(lock);
            return false;
        }
    }
    lock->renewed_ns = now_ns;
    return true;
}

void broker_lock_queues(struct request *r)
{
    struct lock_request request;
    if (!read_lock_request(r, &request)) {
        reply(r, RESPONSE_SYSTEM_ERROR, "the lock request cannot be read");
        return;
    }
    size_t cap = request.queues.len + 64;
    char *body = devbroker_body_buffer(r->dev, cap);
    if (!body)
        return;
    struct json_writer w = json_writer_of(body, cap);
    struct json_reader j;
    bool first = true;
    json_write_raw(&w, SPAN_LITERAL("{\"lockOKMQSet\":["));
    json_reader_init(&j, request.queues.data, request.queues.len, NULL, 0);
    if (json_enter_array(&j)) {
        while (json_next_item(&j)) {
            struct lock_queue q;
            struct span raw = json_skip(&j);
            if (!read_lock_queue(raw, &q) || !take_lock(r->broker, &request, &q))
                continue;
            write_separator(&w, &first);
            json_write_raw(&w, raw);
        }
    }
    json_write_raw(&w, SPAN_LITERAL("]}"));
    if (json_writer_fits(&w))
        reply_body(r, (struct span){body, w.len});
}

void broker_unlock_queues(struct request *r)
{
    struct lock_request request;
    if (!read_lock_request(r, &request)) {
        reply(r, RESPONSE_SYSTEM_ERROR, "the unlock request cannot be read");
        return;
    }
    struct json_reader j;
    json_reader_init(&j, request.queues.data, request.queues.len, NULL, 0);
    if (json_enter_array(&j)) {
        while (json_next_item(&j)) {
            struct lock_queue q;
            if (!read_lock_queue(json_skip(&j), &q))
                continue;
            struct queue_lock *lock = find_lock(r->broker, request.group, &q);
            if (lock && span_equals(span_of(lock->client_id), request.client_id))
                queue_lock_free(lock);
        }
    }
    reply(r, RESPONSE_SUCCESS, NULL);
}

void broker_forget_locks(struct broker *b)
{
    LIST_FOR_EACH_SAFE (it, next, &b->queue_locks)
        queue_lock_free(LIST_ENTRY(it, struct queue_lock, link));
}
