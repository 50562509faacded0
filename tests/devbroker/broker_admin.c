/*
 * Looking around: offsets of queues, single messages, topics.
 */
#include "tests/devbroker/devbroker.h"

static struct store_queue *asked_queue(const struct request *r)
{
    struct span name = remoting_command_ext(r->command, "topic");
    struct topic *t = name.data ? store_topic(&r->broker->store, name) : NULL;
    return t ? topic_queue(t, request_i64(r, "queueId", -1)) : NULL;
}

static int64_t min_offset(const struct broker *b, const struct store_queue *q)
{
    return b->store.log || !q ? 0 : (int64_t)q->count;
}

void broker_max_offset(struct request *r)
{
    const struct store_queue *q = asked_queue(r);
    reply_ext_i64(r, "offset", q ? (int64_t)q->count : 0);
}

void broker_min_offset(struct request *r)
{
    reply_ext_i64(r, "offset", min_offset(r->broker, asked_queue(r)));
}

void broker_earliest_time(struct request *r)
{
    const struct store_queue *q = asked_queue(r);
    bool any = q && q->count && q->entries;
    reply_ext_i64(r, "timestamp", any ? store_record_time_ms(&r->broker->store, &q->entries[0]) : -1);
}

/* The message stored at that time, else the nearer of its neighbours (the earlier one on a tie), as 4.9.3. */
static int64_t offset_at_time(const struct broker *b, const struct store_queue *q, int64_t time_ms)
{
    if (!q || q->count == 0 || !q->entries)
        return min_offset(b, q);
    uint64_t low = 0, high = q->count; /* first entry not older than time_ms */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (store_record_time_ms(&b->store, &q->entries[middle]) < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return 0;
    if (low == q->count)
        return (int64_t)low - 1;
    int64_t after = store_record_time_ms(&b->store, &q->entries[low]) - time_ms;
    int64_t before = time_ms - store_record_time_ms(&b->store, &q->entries[low - 1]);
    return (int64_t)(after < before ? low : low - 1);
}

void broker_search_offset(struct request *r)
{
    reply_ext_i64(r, "offset", offset_at_time(r->broker, asked_queue(r), request_i64(r, "timestamp", 0)));
}

void broker_view_message(struct request *r)
{
    int64_t offset = request_i64(r, "offset", -1);
    struct span record = offset >= 0 ? store_record_at(&r->broker->store, (uint64_t)offset) : (struct span){0};
    if (record.data)
        reply_body(r, record);
    else
        replyf(r, RESPONSE_SYSTEM_ERROR, "can not find message by the offset, %lld", (long long)offset);
}

void broker_create_topic(struct request *r)
{
    struct span name = remoting_command_ext(r->command, "topic");
    int64_t readable = request_i64(r, "readQueueNums", 0), writable = request_i64(r, "writeQueueNums", 0);
    int64_t perm = request_i64(r, "perm", PERM_READ | PERM_WRITE);
    bool sane = name.len > 0 && name.len <= TOPIC_NAME_MAX && readable >= 0 && readable <= TOPIC_QUEUES_MAX && writable >= 0 &&
                writable <= TOPIC_QUEUES_MAX && perm >= 0 && perm <= 15;
    if (!sane) {
        replyf(r, RESPONSE_SYSTEM_ERROR, "illegal topic, or more than %d queues", TOPIC_QUEUES_MAX);
        return;
    }
    struct topic *t = broker_ensure_topic(r->broker, name, (int32_t)readable, (int32_t)perm);
    if (!t)
        return;
    t->read_queue_nums = (int32_t)readable;
    t->write_queue_nums = (int32_t)writable;
    t->perm = (int32_t)perm;
    reply(r, RESPONSE_SUCCESS, "not set any response code"); /* a real broker leaves this remark behind */
}
