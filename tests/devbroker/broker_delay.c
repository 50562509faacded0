/*
 * Messages that come later: delay levels, and messages that consumers send back.
 * As in a real broker a delayed message first lies in SCHEDULE_TOPIC_XXXX, queue
 * level - 1, and is stored again under its own topic when its time has come.
 */
#include "tests/devbroker/devbroker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_LEVEL_MAX 18
#define DEFAULT_MAX_RECONSUME_TIMES 16

struct delayed_message {
    struct list_link link;
    struct server_timer timer;
    struct broker *broker;
    struct topic *topic;
    uint64_t connection;
    struct stored_message message; /* body and properties point into data */
    char data[];
};

uint64_t delay_level_ms(int64_t level)
{
    static const uint32_t seconds[] = {1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200};
    if (level < 1)
        return 0;
    return seconds[(level < DELAY_LEVEL_MAX ? level : DELAY_LEVEL_MAX) - 1] * UINT64_C(1000);
}

static void delayed_free(struct delayed_message *d)
{
    list_unlink(&d->link);
    server_timer_deinit(&d->timer);
    free(d);
}

void broker_forget_delayed(struct broker *b)
{
    for (struct list_link *l; (l = list_first(&b->delayed));)
        delayed_free(LIST_ENTRY(l, struct delayed_message, link));
}

static void deliver(void *ctx)
{
    struct delayed_message *d = ctx;
    d->message.store_timestamp_ms = server_now_ms(d->broker->dev->server);
    broker_store(d->broker, d->topic, &d->message, d->connection);
    delayed_free(d);
}

static size_t append(char *dst, size_t len, struct span name, struct span value)
{
    if (len && dst[len - 1] != PROPERTY_SEPARATOR)
        dst[len++] = PROPERTY_SEPARATOR;
    memcpy(dst + len, name.data, name.len);
    len += name.len;
    dst[len++] = PROPERTY_NAME_VALUE_SEPARATOR;
    memcpy(dst + len, value.data, value.len);
    return len + value.len;
}

int broker_store_delayed(struct broker *b, struct topic *t, struct stored_message *m, int64_t level, uint64_t connection)
{
    struct topic *schedule = store_topic(&b->store, SPAN_LITERAL("SCHEDULE_TOPIC_XXXX"));
    struct delayed_message *d = calloc(1, sizeof(*d) + m->body.len + m->properties.len + TOPIC_NAME_MAX + 64);
    if (!d || !schedule) {
        free(d);
        return -ENOSPC;
    }
    char *body = d->data, *properties = d->data + m->body.len, queue_text[24];
    if (m->body.len)
        memcpy(body, m->body.data, m->body.len);
    if (m->properties.len)
        memcpy(properties, m->properties.data, m->properties.len);
    struct span queue = {queue_text, i64_to_text(queue_text, m->queue_id)};
    size_t len = append(properties, m->properties.len, SPAN_LITERAL("REAL_TOPIC"), (struct span){t->name, t->name_len});
    len = append(properties, len, SPAN_LITERAL("REAL_QID"), queue);
    d->broker = b;
    d->topic = t;
    d->connection = connection;
    d->message = *m;
    d->message.body.data = body;
    d->message.properties = (struct span){properties, len};
    int32_t real_queue = m->queue_id;
    struct stored_message waiting = d->message;
    waiting.queue_id = (int32_t)(level < DELAY_LEVEL_MAX ? level : DELAY_LEVEL_MAX) - 1;
    int err = broker_store(b, schedule, &waiting, connection);
    list_append(&b->delayed, &d->link);
    if (!err && server_timer_start(&d->timer, b->dev->server, delay_level_ms(level), deliver, d) < 0)
        err = -ENOSPC;
    if (err) {
        delayed_free(d);
        return err;
    }
    m->queue_id = real_queue; /* the reply names the real queue, and the offset in the schedule topic */
    m->queue_offset = waiting.queue_offset;
    m->commit_log_offset = waiting.commit_log_offset;
    return 0;
}

/* Copies the properties without those that a send-back sets anew; returns the length. */
static size_t copy_without_marks(char *dst, struct span properties)
{
    static const char *const marks[] = {"DELAY", "WAIT", "REAL_TOPIC", "REAL_QID", "RETRY_TOPIC", "ORIGIN_MESSAGE_ID"};
    size_t len = 0;
    while (properties.len) {
        const char *end = memchr(properties.data, PROPERTY_SEPARATOR, properties.len);
        size_t entry = end ? (size_t)(end - properties.data) : properties.len;
        const char *split = memchr(properties.data, PROPERTY_NAME_VALUE_SEPARATOR, entry);
        struct span name = {properties.data, split ? (size_t)(split - properties.data) : 0};
        bool dropped = name.len == 0;
        for (unsigned i = 0; i < sizeof(marks) / sizeof(*marks); i++)
            dropped = dropped || span_equals(name, span_of(marks[i]));
        if (!dropped)
            len = append(dst, len, name, (struct span){split + 1, entry - name.len - 1});
        size_t step = entry + (end ? 1 : 0);
        properties.data += step;
        properties.len -= step;
    }
    return len;
}

static bool record_to_return(struct request *r, struct stored_message *m)
{
    int64_t offset = request_i64(r, "offset", -1);
    struct span record = offset >= 0 ? store_record_at(&r->broker->store, (uint64_t)offset) : (struct span){0};
    struct byte_reader reader = byte_reader_of(record.data, record.len);
    if (record.data && stored_message_next(&reader, m) == 0)
        return true;
    replyf(r, RESPONSE_SYSTEM_ERROR, "look message by offset failed, %lld", (long long)offset);
    return false;
}

void broker_send_back(struct request *r)
{
    struct broker *b = r->broker;
    struct span group = remoting_command_ext(r->command, "group");
    struct stored_message m;
    char name[TOPIC_NAME_MAX + 1], level_text[24], id[OFFSET_MESSAGE_ID_MAX + 1];
    if (!group.data || group.len > TOPIC_NAME_MAX - 7) {
        reply(r, RESPONSE_SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group not exist" FAQ_LINE);
        return;
    }
    if (!record_to_return(r, &m))
        return;
    int64_t level = request_i64(r, "delayLevel", 0);
    bool dead = level < 0 || m.reconsume_times >= request_i64(r, "maxReconsumeTimes", DEFAULT_MAX_RECONSUME_TIMES);
    if (dead)
        level = 0;
    else if (level == 0)
        level = 3 + m.reconsume_times;
    size_t prefix = dead ? 5 : 7;
    memcpy(name, dead ? "%DLQ%" : "%RETRY%", prefix);
    memcpy(name + prefix, group.data, group.len);
    struct topic *t = broker_ensure_topic(b, (struct span){name, prefix + group.len}, 1, PERM_READ | PERM_WRITE);
    struct span origin_topic = message_property(m.properties, SPAN_LITERAL("RETRY_TOPIC"));
    struct span first_id = message_property(m.properties, SPAN_LITERAL("ORIGIN_MESSAGE_ID"));
    char *properties = devbroker_body_buffer(b->dev, m.properties.len + 1024);
    if (!t || !properties)
        return;
    struct offset_message_id place = {.store_host = m.store_host, .commit_log_offset = m.commit_log_offset};
    struct span this_id = {id, offset_message_id_format(id, &place)};
    struct span level_span = {level_text, i64_to_text(level_text, level)};
    size_t len = copy_without_marks(properties, m.properties);
    len = append(properties, len, SPAN_LITERAL("RETRY_TOPIC"), origin_topic.data ? origin_topic : m.topic);
    len = append(properties, len, SPAN_LITERAL("ORIGIN_MESSAGE_ID"), first_id.data ? first_id : this_id);
    len = append(properties, len, SPAN_LITERAL("WAIT"), SPAN_LITERAL("false"));
    len = append(properties, len, SPAN_LITERAL("DELAY"), level_span);
    m.properties = (struct span){properties, len};
    m.queue_id = 0;
    m.reconsume_times++;
    m.store_timestamp_ms = server_now_ms(b->dev->server);
    int err = level > 0 ? broker_store_delayed(b, t, &m, level, r->connection->number) : broker_store(b, t, &m, r->connection->number);
    if (err)
        reply(r, RESPONSE_SYSTEM_ERROR, "the message could not be stored");
    else
        reply(r, RESPONSE_SUCCESS, NULL);
}
