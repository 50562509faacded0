/*
 * Reading back: pulls with long polling, and the offsets of consumer groups.
 */
#include "tests/devbroker/devbroker.h"

#include "shm/base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    PULL_MAX_MESSAGES = 32,
    PULL_MAX_BYTES = 256 << 10,
    PULL_MAX_SCANNED = 800, /* queue entries looked at for one pull */
    PULL_FLAG_COMMIT_OFFSET = 1,
    PULL_FLAG_SUSPEND = 2,
    PULL_FLAG_SUBSCRIPTION = 4,
    FILTER_MAX_CODES = 64,
};

/* Which tags are wanted, by the hash that queue entries carry. */
struct tag_filter {
    bool everything;
    unsigned count;
    int32_t codes[FILTER_MAX_CODES];
};

struct pull {
    struct connection *connection;
    int32_t opaque;
    bool oneway;
    struct topic *topic;
    struct store_queue *queue;
    int64_t queue_id, offset, max_messages;
    struct tag_filter filter;
};

struct held_pull {
    struct list_link queue_link, broker_link;
    uint64_t deadline_ns;
    struct pull pull;
};

struct consumer_offset {
    struct list_link link;
    char *group;
    struct span topic;
    int64_t offsets[TOPIC_QUEUES_MAX]; /* -1: never committed */
};

struct pull_result {
    int32_t code;
    const char *remark;
    int64_t next_offset, min_offset, max_offset;
    unsigned count;
    size_t bytes;
    const struct store_entry *found[PULL_MAX_MESSAGES];
};

/* Consumer offsets. Any topic name is taken, known or not, as 4.9.3 does. */

static struct consumer_offset *offset_row(struct broker *b, struct span group, struct span topic, bool create)
{
    LIST_FOR_EACH_SAFE (it, next, &b->consumer_offsets) {
        struct consumer_offset *row = LIST_ENTRY(it, struct consumer_offset, link);
        if (span_equals(row->topic, topic) && span_equals(span_of(row->group), group))
            return row;
    }
    if (!create)
        return NULL;
    struct consumer_offset *row = malloc(sizeof(*row));
    char *names = malloc(group.len + 1 + topic.len + 1);
    if (!row || !names) {
        free(row);
        free(names);
        return NULL;
    }
    memcpy(names, group.data, group.len);
    names[group.len] = '\0';
    memcpy(names + group.len + 1, topic.data, topic.len);
    row->group = names;
    row->topic = (struct span){names + group.len + 1, topic.len};
    for (unsigned i = 0; i < TOPIC_QUEUES_MAX; i++)
        row->offsets[i] = -1;
    list_append(&b->consumer_offsets, &row->link);
    return row;
}

static void commit_offset(struct broker *b, struct span group, struct span topic, int64_t queue_id, int64_t offset)
{
    if (!group.data || !topic.data || queue_id < 0 || queue_id >= TOPIC_QUEUES_MAX)
        return;
    struct consumer_offset *row = offset_row(b, group, topic, true);
    if (row)
        row->offsets[queue_id] = offset;
}

void broker_forget_offsets(struct broker *b)
{
    LIST_FOR_EACH_SAFE (it, next, &b->consumer_offsets) {
        struct consumer_offset *row = LIST_ENTRY(it, struct consumer_offset, link);
        list_unlink(&row->link);
        free(row->group);
        free(row);
    }
}

void broker_query_offset(struct request *r)
{
    struct span group = remoting_command_ext(r->command, "consumerGroup");
    struct span topic = remoting_command_ext(r->command, "topic");
    int64_t queue_id = request_i64(r, "queueId", 0);
    const struct consumer_offset *row = group.data && topic.data ? offset_row(r->broker, group, topic, false) : NULL;
    bool in_range = queue_id >= 0 && queue_id < TOPIC_QUEUES_MAX;
    int64_t offset = row && in_range ? row->offsets[queue_id] : -1;
    if (offset >= 0)
        reply_ext_i64(r, "offset", offset);
    else if (!r->broker->store.log)
        reply(r, RESPONSE_QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
    else /* nothing was ever removed, so the queue's first message is still there */
        reply_ext_i64(r, "offset", 0);
}

void broker_update_offset(struct request *r)
{
    commit_offset(r->broker, remoting_command_ext(r->command, "consumerGroup"), remoting_command_ext(r->command, "topic"),
                  request_i64(r, "queueId", 0), request_i64(r, "commitOffset", 0));
    reply(r, RESPONSE_SUCCESS, NULL);
}

/* Filters */

static void filter_add(struct tag_filter *f, int32_t code)
{
    if (f->count < FILTER_MAX_CODES)
        f->codes[f->count++] = code;
}

static struct span trimmed(struct span s)
{
    for (; s.len && s.data[0] == ' '; s.data++)
        s.len--;
    while (s.len && s.data[s.len - 1] == ' ')
        s.len--;
    return s;
}

static void filter_from_expression(struct tag_filter *f, struct span expression)
{
    *f = (struct tag_filter){.everything = !expression.data || expression.len == 0 || span_equals(expression, SPAN_LITERAL("*"))};
    while (!f->everything && expression.len) {
        const char *bars = memmem(expression.data, expression.len, "||", 2);
        struct span tag = {expression.data, bars ? (size_t)(bars - expression.data) : expression.len};
        size_t step = tag.len + (bars ? 2 : 0);
        expression.data += step;
        expression.len -= step;
        tag = trimmed(tag);
        if (tag.len)
            filter_add(f, java_string_hash(tag));
    }
}

static void filter_from_subscription(struct tag_filter *f, const struct subscription *s)
{
    *f = (struct tag_filter){.everything = strcmp(s->sub_string, "*") == 0};
    for (unsigned i = 0; i < s->code_count; i++)
        filter_add(f, s->codes[i]);
}

static bool filter_matches(const struct tag_filter *f, int64_t tag_code)
{
    if (f->everything)
        return true;
    for (unsigned i = 0; i < f->count; i++)
        if (f->codes[i] == tag_code)
            return true;
    return false;
}

/* One pull */

static void scan_queue(const struct pull *p, struct pull_result *out)
{
    int64_t at = p->offset;
    unsigned wanted = p->max_messages < PULL_MAX_MESSAGES ? (unsigned)p->max_messages : PULL_MAX_MESSAGES;
    for (unsigned scanned = 0; at < out->max_offset && scanned < PULL_MAX_SCANNED; scanned++, at++) {
        const struct store_entry *e = &p->queue->entries[at];
        if (!filter_matches(&p->filter, e->tag_code))
            continue;
        if (out->count == wanted || (out->count && out->bytes + e->size > PULL_MAX_BYTES))
            break;
        out->found[out->count++] = e;
        out->bytes += e->size;
    }
    out->next_offset = at;
    out->code = out->count ? RESPONSE_SUCCESS : RESPONSE_PULL_RETRY_IMMEDIATELY;
    out->remark = out->count ? "FOUND" : "NO_MATCHED_MESSAGE";
}

static void look(const struct broker *b, const struct pull *p, struct pull_result *out)
{
    int64_t max = (int64_t)p->queue->count;
    *out = (struct pull_result){.max_offset = max, .min_offset = b->store.log ? 0 : max};
    if (max == 0) {
        out->code = p->offset == 0 ? RESPONSE_PULL_NOT_FOUND : RESPONSE_PULL_OFFSET_MOVED;
        out->remark = "NO_MESSAGE_IN_QUEUE";
    } else if (p->offset < out->min_offset) {
        out->code = RESPONSE_PULL_OFFSET_MOVED;
        out->remark = "OFFSET_TOO_SMALL";
        out->next_offset = out->min_offset;
    } else if (p->offset == max) {
        out->code = RESPONSE_PULL_NOT_FOUND;
        out->remark = "OFFSET_OVERFLOW_ONE";
        out->next_offset = p->offset;
    } else if (p->offset > max) { /* 4.9.3 sends such a reader back to a min offset of 0 */
        out->code = RESPONSE_PULL_OFFSET_MOVED;
        out->remark = "OFFSET_OVERFLOW_BADLY";
        out->next_offset = out->min_offset == 0 ? 0 : max;
    } else {
        scan_queue(p, out);
    }
}

static void answer(struct broker *b, const struct pull *p, const struct pull_result *result)
{
    struct remoting_command asked = {.flag = p->oneway ? REMOTING_FLAG_ONEWAY : 0};
    struct request r = {.dev = b->dev, .broker = b, .connection = p->connection, .command = &asked, .opaque = p->opaque};
    struct reply_writer w;
    if (!reply_begin(&r, &w, result->code, result->remark, 160, result->bytes))
        return;
    remoting_encode_ext_i64(&w.encoder, "suggestWhichBrokerId", 0);
    remoting_encode_ext_i64(&w.encoder, "nextBeginOffset", result->next_offset);
    remoting_encode_ext_i64(&w.encoder, "maxOffset", result->max_offset);
    remoting_encode_ext_i64(&w.encoder, "minOffset", result->min_offset);
    size_t frame_len;
    char *body = remoting_encode_body(&w.encoder, result->bytes, &frame_len);
    if (!body)
        return;
    for (unsigned i = 0; i < result->count; i++) {
        struct span record = store_record(&b->store, result->found[i]);
        memcpy(body, record.data, record.len);
        body += record.len;
    }
    connection_commit(p->connection, frame_len);
}

/* Held pulls */

static void held_free(struct held_pull *held)
{
    list_unlink(&held->queue_link);
    list_unlink(&held->broker_link);
    free(held);
}

static void hold(struct broker *b, const struct pull *p, int64_t timeout_ms)
{
    struct held_pull *held = calloc(1, sizeof(*held));
    if (!held)
        return;
    held->pull = *p;
    held->deadline_ns = server_now_ns(b->dev->server) + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * NS_PER_MS;
    list_append(&p->queue->held_pulls, &held->queue_link);
    list_append(&b->held_pulls, &held->broker_link);
}

static void answer_held(struct broker *b, struct held_pull *held)
{
    struct pull_result result;
    look(b, &held->pull, &result);
    answer(b, &held->pull, &result);
    held_free(held);
}

void broker_wake_pulls(struct broker *b, struct topic *t, int32_t queue_id)
{
    struct store_queue *q = topic_queue(t, queue_id);
    if (!q || list_is_empty(&q->held_pulls))
        return;
    LIST_FOR_EACH_SAFE (it, next, &q->held_pulls) {
        struct held_pull *held = LIST_ENTRY(it, struct held_pull, queue_link);
        if (!b->store.log || filter_matches(&held->pull.filter, q->entries[q->count - 1].tag_code))
            answer_held(b, held);
    }
}

void broker_sweep_pulls(struct broker *b)
{
    uint64_t now_ns = server_now_ns(b->dev->server);
    LIST_FOR_EACH_SAFE (it, next, &b->held_pulls) {
        struct held_pull *held = LIST_ENTRY(it, struct held_pull, broker_link);
        bool grown = (int64_t)held->pull.queue->count > held->pull.offset; /* by what its filter does not want */
        if (grown || now_ns >= held->deadline_ns)
            answer_held(b, held);
    }
}

void broker_forget_pulls(struct broker *b, const struct connection *c)
{
    LIST_FOR_EACH_SAFE (it, next, &b->held_pulls) {
        struct held_pull *held = LIST_ENTRY(it, struct held_pull, broker_link);
        if (!c || held->pull.connection == c)
            held_free(held);
    }
}

/* The filter of a registered group. False after having replied. */
static bool registered_filter(struct request *r, struct span group_name, const struct topic *t, struct tag_filter *out)
{
    struct client_group *group = clients_find_group(&r->broker->clients.consumer_groups, group_name);
    if (!group) {
        reply(r, RESPONSE_SUBSCRIPTION_NOT_EXIST, "the consumer's group info not exist" FAQ_LINE);
        return false;
    }
    const struct subscription *s = client_group_subscription(group, (struct span){t->name, t->name_len});
    if (!s) {
        reply(r, RESPONSE_SUBSCRIPTION_NOT_EXIST, "the consumer's subscription not exist" FAQ_LINE);
        return false;
    }
    if (s->sub_version < request_i64(r, "subVersion", 0)) {
        reply(r, RESPONSE_SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest");
        return false;
    }
    filter_from_subscription(out, s);
    return true;
}

static bool is_tag_expression(struct span type)
{
    return type.len == 0 || span_equals(type, SPAN_LITERAL("TAG"));
}

void broker_pull(struct request *r)
{
    struct broker *b = r->broker;
    struct span topic = remoting_command_ext(r->command, "topic");
    struct span group = remoting_command_ext(r->command, "consumerGroup");
    int64_t flags = request_i64(r, "sysFlag", 0);
    struct pull p = {.connection = r->connection,
                     .opaque = r->opaque,
                     .oneway = remoting_command_is_oneway(r->command),
                     .topic = topic.data ? store_topic(&b->store, topic) : NULL,
                     .queue_id = request_i64(r, "queueId", 0),
                     .offset = request_i64(r, "queueOffset", 0),
                     .max_messages = request_i64(r, "maxMsgNums", PULL_MAX_MESSAGES)};
    if (!p.topic) {
        replyf(r, RESPONSE_TOPIC_NOT_EXIST, "topic[%.*s] not exist, apply first please! " FAQ_LINE, (int)topic.len, topic.data);
        return;
    }
    if (!(p.topic->perm & PERM_READ)) {
        replyf(r, RESPONSE_NO_PERMISSION, "the topic[%s] pulling message is forbidden", p.topic->name);
        return;
    }
    p.queue = p.queue_id < p.topic->read_queue_nums ? topic_queue(p.topic, p.queue_id) : NULL;
    if (!p.queue) {
        replyf(r, RESPONSE_SYSTEM_ERROR, "queueId[%lld] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
               (long long)p.queue_id, p.topic->name, p.topic->read_queue_nums, connection_peer(r->connection));
        return;
    }
    if (!is_tag_expression(remoting_command_ext(r->command, "expressionType"))) {
        reply(r, RESPONSE_SYSTEM_ERROR, "The broker does not support consumer to filter message by SQL92");
        return;
    }
    if (flags & PULL_FLAG_SUBSCRIPTION)
        filter_from_expression(&p.filter, remoting_command_ext(r->command, "subscription"));
    else if (!registered_filter(r, group, p.topic, &p.filter))
        return;
    if (flags & PULL_FLAG_COMMIT_OFFSET)
        commit_offset(b, group, topic, p.queue_id, request_i64(r, "commitOffset", 0));
    struct pull_result result;
    look(b, &p, &result);
    if (result.code == RESPONSE_PULL_NOT_FOUND && (flags & PULL_FLAG_SUSPEND))
        hold(b, &p, request_i64(r, "suspendTimeoutMillis", 0));
    else
        answer(b, &p, &result);
}
