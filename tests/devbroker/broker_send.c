/*
 * Sends: the checks of 4.9.3 in its order, with its codes, and what it changes in
 * a message when storing it (WAIT out, CLUSTER in).
 */
#include "hub/protocol/send_message_header.h"
#include "tests/devbroker/devbroker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMARK_ILLEGAL \
    "the message is illegal, maybe msg body or properties length not matched. msg body length limit 128k, msg properties " \
    "length limit 32k."

/* What the broker looks at in a message's properties. */
struct known_properties {
    struct span unique_key, tags, delay;
};

static bool property_is(struct span name, const char *text, size_t len)
{
    return name.len == len && memcmp(name.data, text, len) == 0;
}
#define PROPERTY_IS(name, literal) property_is(name, literal, sizeof(literal) - 1)

/* Splits one entry off; false at the end. Entries that readers drop (no separator, empty name or value) come with name.len 0. */
static bool next_property(struct span *rest, struct span *entry, struct span *name, struct span *value)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->data, PROPERTY_SEPARATOR, rest->len);
    entry->data = rest->data;
    entry->len = end ? (size_t)(end - rest->data) : rest->len;
    size_t step = entry->len + (end ? 1 : 0);
    rest->data += step;
    rest->len -= step;
    const char *split = memchr(entry->data, PROPERTY_NAME_VALUE_SEPARATOR, entry->len);
    *name = (struct span){entry->data, split ? (size_t)(split - entry->data) : 0};
    *value = split ? (struct span){split + 1, entry->len - name->len - 1} : (struct span){NULL, 0};
    if (value->len == 0)
        name->len = 0;
    return true;
}

static char *put(char *at, struct span text)
{
    memcpy(at, text.data, text.len);
    return at + text.len;
}

/* Finds what the broker needs; with @p dst also writes the string to store, which needs in.len + 9 + cluster bytes. */
static size_t scan_properties(struct span in, struct span cluster, char *dst, struct known_properties *known)
{
    char *at = dst;
    struct span entry, name, value;
    *known = (struct known_properties){0};
    while (next_property(&in, &entry, &name, &value)) {
        if (name.len == 0)
            continue;
        if (PROPERTY_IS(name, "UNIQ_KEY"))
            known->unique_key = value;
        else if (PROPERTY_IS(name, "TAGS"))
            known->tags = value;
        else if (PROPERTY_IS(name, "DELAY"))
            known->delay = value;
        else if (PROPERTY_IS(name, "WAIT") || PROPERTY_IS(name, "CLUSTER"))
            continue;
        if (!dst)
            continue;
        memcpy(at, entry.data, entry.len);
        at += entry.len;
        *at++ = PROPERTY_SEPARATOR;
    }
    if (!dst)
        return 0;
    at = put(put(at, SPAN_LITERAL("CLUSTER\x01")), cluster);
    return (size_t)(at - dst);
}

static void reply_send_error(struct request *r, int32_t code, const char *remark)
{
    struct reply_writer w;
    if (!reply_begin(r, &w, code, remark, 64, 0))
        return;
    remoting_encode_ext(&w.encoder, "TRACE_ON", SPAN_LITERAL("true"));
    remoting_encode_ext(&w.encoder, "MSG_REGION", SPAN_LITERAL("DefaultRegion"));
    reply_end(&w, (struct span){0});
}

/*
 * The reply that nearly every request gets, member by member as a 4.9.3 broker writes it. Written by hand because it
 * is half of the work for a message when the general encoder does it.
 */
static void reply_plain_ok(struct request *r, const struct stored_message *m, struct span id)
{
    const size_t bound = 320 + id.len;
    char *frame = (char *)connection_reserve(r->connection, bound);
    if (!frame)
        return;
    char *at = put(frame + REMOTING_PREFIX_BYTES, SPAN_LITERAL("{\"code\":0,\"extFields\":{\"queueId\":\""));
    at += i64_to_text(at, m->queue_id);
    at = put(at, SPAN_LITERAL("\",\"TRACE_ON\":\"true\",\"MSG_REGION\":\"DefaultRegion\",\"msgId\":\""));
    at = put(at, id);
    at = put(at, SPAN_LITERAL("\",\"queueOffset\":\""));
    at += i64_to_text(at, m->queue_offset);
    at = put(at, SPAN_LITERAL("\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":"));
    at += i64_to_text(at, r->opaque);
    at = put(at, SPAN_LITERAL(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":399}"));
    size_t len = (size_t)(at - frame);
    be32_store(frame, (uint32_t)len - 4);
    be32_store(frame + 4, (uint32_t)(len - REMOTING_PREFIX_BYTES));
    connection_commit(r->connection, len);
}

static void reply_send_ok(struct request *r, const struct stored_message *first, struct span ids)
{
    if (remoting_command_is_oneway(r->command))
        return;
    if (r->status == RESPONSE_SUCCESS && !r->dev->options.binary_replies) {
        reply_plain_ok(r, first, ids);
        return;
    }
    struct reply_writer w;
    if (!reply_begin(r, &w, r->status, NULL, 128 + ids.len, 0))
        return;
    remoting_encode_ext_i64(&w.encoder, "queueId", first->queue_id);
    remoting_encode_ext(&w.encoder, "TRACE_ON", SPAN_LITERAL("true"));
    remoting_encode_ext(&w.encoder, "MSG_REGION", SPAN_LITERAL("DefaultRegion"));
    remoting_encode_ext(&w.encoder, "msgId", ids);
    remoting_encode_ext_i64(&w.encoder, "queueOffset", first->queue_offset);
    reply_end(&w, (struct span){0});
}

static bool topic_characters_legal(struct span topic)
{
    for (size_t i = 0; i < topic.len; i++) {
        char c = topic.data[i];
        bool legal =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '%' || c == '|' || c == '-' || c == '_';
        if (!legal)
            return false;
    }
    return true;
}

static bool topic_is_blank(struct span topic)
{
    for (size_t i = 0; i < topic.len; i++)
        if (topic.data[i] != ' ' && topic.data[i] != '\t')
            return false;
    return true;
}

static bool topic_is_forbidden(struct span topic)
{
    static const char *const names[] = {"SCHEDULE_TOPIC_XXXX",        "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
                                        "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC",          "OFFSET_MOVED_EVENT"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (span_equals(topic, span_of(names[i])))
            return true;
    return false;
}

static bool has_prefix(struct span text, struct span prefix)
{
    return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

struct topic *broker_ensure_topic(struct broker *b, struct span name, int32_t queues, int32_t perm)
{
    struct topic *t = store_topic(&b->store, name);
    return t ? t : store_create_topic(&b->store, name, queues, queues, perm);
}

struct topic *broker_topic_for_send(struct broker *b, struct span name, struct span default_topic, int32_t queue_nums)
{
    struct topic *t = store_topic(&b->store, name);
    if (t)
        return t;
    const struct topic *model = store_topic(&b->store, default_topic);
    if (model && (model->perm & PERM_INHERIT)) {
        int32_t queues = queue_nums < model->write_queue_nums ? queue_nums : model->write_queue_nums;
        return store_create_topic(&b->store, name, queues > 0 ? queues : 0, queues > 0 ? queues : 0, model->perm & ~PERM_INHERIT);
    }
    return has_prefix(name, SPAN_LITERAL("%RETRY%")) ? broker_ensure_topic(b, name, 1, PERM_READ | PERM_WRITE) : NULL;
}

/* The checks before a message is looked at. Returns the topic, or NULL after having replied. */
static struct topic *checked_topic(struct request *r, const struct send_message_header *h)
{
    char remark[512];
    if (topic_is_blank(h->topic)) {
        reply_send_error(r, RESPONSE_SYSTEM_ERROR, "The specified topic is blank.");
        return NULL;
    }
    if (!topic_characters_legal(h->topic)) {
        reply_send_error(r, RESPONSE_SYSTEM_ERROR, "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
        return NULL;
    }
    if (h->topic.len > TOPIC_NAME_MAX) {
        reply_send_error(r, RESPONSE_SYSTEM_ERROR, "The specified topic is longer than topic max length.");
        return NULL;
    }
    if (topic_is_forbidden(h->topic)) {
        snprintf(remark, sizeof(remark), "Sending message to topic[%.*s] is forbidden.", (int)h->topic.len, h->topic.data);
        reply_send_error(r, RESPONSE_NO_PERMISSION, remark);
        return NULL;
    }
    struct topic *t = broker_topic_for_send(r->broker, h->topic, h->default_topic, h->default_topic_queue_nums);
    if (!t) {
        snprintf(remark, sizeof(remark), "topic[%.*s] not exist, apply first please!" FAQ_LINE, (int)h->topic.len, h->topic.data);
        reply_send_error(r, RESPONSE_TOPIC_NOT_EXIST, remark);
        return NULL;
    }
    if (h->queue_id >= 0 && !topic_queue(t, h->queue_id)) {
        snprintf(remark, sizeof(remark),
                 "request queueId[%d] is illegal, TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%c%c%c, "
                 "topicFilterType=SINGLE_TAG, topicSysFlag=%d, order=%s] Producer: %s",
                 h->queue_id, t->name, t->read_queue_nums, t->write_queue_nums, t->perm & PERM_READ ? 'R' : '-',
                 t->perm & PERM_WRITE ? 'W' : '-', t->perm & PERM_INHERIT ? 'X' : '-', t->topic_sys_flag, t->order ? "true" : "false",
                 connection_peer(r->connection));
        reply_send_error(r, RESPONSE_SYSTEM_ERROR, remark);
        return NULL;
    }
    if ((h->sys_flag & SYS_FLAG_TRANSACTION_MASK) == SYS_FLAG_TRANSACTION_PREPARED) {
        /* As a broker with rejectTransactionMessage=true; half messages are not kept here. */
        reply_send_error(r, RESPONSE_NO_PERMISSION, "the broker[127.0.0.1] sending transaction message is forbidden");
        return NULL;
    }
    return t;
}

static void fill_message(const struct request *r, const struct send_message_header *h, const struct topic *t, struct stored_message *m)
{
    const struct connection *c = r->connection;
    *m = (struct stored_message){
        .queue_id = h->queue_id,
        .flag = h->flag,
        .sys_flag = h->sys_flag,
        .reconsume_times = h->reconsume_times,
        .born_timestamp_ms = h->born_timestamp_ms,
        .store_timestamp_ms = server_now_ms(r->dev->server),
        .born_host = {.addr_len = 4, .port = c->peer_port},
        .store_host = {.addr = {127, 0, 0, 1}, .addr_len = 4, .port = r->broker->listener.port},
    };
    be32_store(m->born_host.addr, c->peer_ip);
    if (h->queue_id < 0 && t->write_queue_nums > 0)
        m->queue_id = (int32_t)(r->broker->next_random_queue++ % (uint32_t)t->write_queue_nums);
}

int broker_store(struct broker *b, struct topic *t, struct stored_message *m, uint64_t connection)
{
    struct known_properties known;
    scan_properties(m->properties, (struct span){0}, NULL, &known);
    m->body_crc = message_body_crc(m->body.data, m->body.len);
    int err = store_put(&b->store, t, m, known.tags.len ? java_string_hash(known.tags) : 0);
    if (err)
        return err;
    b->stored_messages++;
    b->stored_bytes += m->body.len;
    journal_add_stored(&b->dev->journal, &(struct journal_stored){
                                             .topic = t,
                                             .time_ms = m->store_timestamp_ms,
                                             .connection = connection,
                                             .queue_offset = (uint64_t)m->queue_offset,
                                             .queue_id = (uint32_t)m->queue_id,
                                             .body_len = (uint32_t)m->body.len,
                                             .body_crc = m->body_crc,
                                             .broker = (uint16_t)b->index,
                                             .unique_key = known.unique_key,
                                         });
    broker_wake_pulls(b, t, m->queue_id);
    return 0;
}

static size_t offset_id(const struct stored_message *m, char *dst)
{
    struct offset_message_id id = {.store_host = m->store_host, .commit_log_offset = m->commit_log_offset};
    return offset_message_id_format(dst, &id);
}

static void reply_store_failure(struct request *r, int err)
{
    if (err == STORE_MESSAGE_ILLEGAL)
        reply_send_error(r, RESPONSE_MESSAGE_ILLEGAL, REMARK_ILLEGAL);
    else
        reply_send_error(r, RESPONSE_SERVICE_NOT_AVAILABLE,
                         "service not available now. It may be caused by one of the following reasons: the broker's disk is full");
}

static void send_one(struct request *r, const struct send_message_header *h, struct topic *t)
{
    struct span cluster = span_of(r->dev->options.cluster);
    struct known_properties known;
    struct stored_message m;
    char *properties = devbroker_body_buffer(r->dev, h->properties.len + 16 + cluster.len);
    if (!properties)
        return;
    fill_message(r, h, t, &m);
    m.body = r->command->body;
    m.properties = (struct span){properties, scan_properties(h->properties, cluster, properties, &known)};
    int64_t level = 0;
    if (known.delay.len)
        span_to_i64(known.delay, &level);
    int err = level > 0 ? broker_store_delayed(r->broker, t, &m, level, r->connection->number)
                        : broker_store(r->broker, t, &m, r->connection->number);
    if (err) {
        reply_store_failure(r, err);
        return;
    }
    char id[OFFSET_MESSAGE_ID_MAX + 1];
    reply_send_ok(r, &m, (struct span){id, offset_id(&m, id)});
}

/* Members keep their WAIT; the batch's own properties, with CLUSTER, are appended to each. */
static size_t member_properties(char *dst, struct span member, struct span batch, struct span cluster)
{
    char *at = dst;
    if (member.len) {
        memcpy(at, member.data, member.len);
        at += member.len;
        if (at[-1] != PROPERTY_SEPARATOR)
            *at++ = PROPERTY_SEPARATOR;
    }
    if (batch.len) {
        memcpy(at, batch.data, batch.len);
        at += batch.len;
        if (at[-1] != PROPERTY_SEPARATOR)
            *at++ = PROPERTY_SEPARATOR;
    }
    at = put(put(at, SPAN_LITERAL("CLUSTER\x01")), cluster);
    return (size_t)(at - dst);
}

/* A batch is stored whole or not at all, so it is checked first. 0, STORE_MESSAGE_ILLEGAL, or -EPROTO. */
static int check_batch(const struct request *r, const struct send_message_header *h, const struct topic *t, unsigned *count)
{
    struct byte_reader reader = byte_reader_of(r->command->body.data, r->command->body.len);
    struct batch_member member;
    size_t extra = h->properties.len + 10 + strlen(r->dev->options.cluster);
    struct stored_message m = {.born_host.addr_len = 4, .store_host.addr_len = 4, .topic = {t->name, t->name_len}};
    int err;
    *count = 0;
    while ((err = batch_next(&reader, &member)) == 0) {
        m.body = member.body;
        m.properties = (struct span){NULL, member.properties.len + extra};
        if (m.properties.len > MESSAGE_PROPERTIES_MAX || stored_message_bytes(&m) > r->broker->store.max_message_bytes)
            return STORE_MESSAGE_ILLEGAL;
        ++*count;
    }
    if (err != MESSAGE_END || *count == 0)
        return -EPROTO;
    return r->command->body.len > r->broker->store.max_message_bytes ? STORE_MESSAGE_ILLEGAL : 0;
}

static void send_batch(struct request *r, const struct send_message_header *h, struct topic *t)
{
    unsigned count;
    int err = check_batch(r, h, t, &count);
    if (err == -EPROTO) {
        reply_send_error(r, RESPONSE_SYSTEM_ERROR, "the batch body cannot be read");
        return;
    }
    if (err) {
        reply_store_failure(r, err);
        return;
    }
    struct span cluster = span_of(r->dev->options.cluster);
    size_t ids_cap = (size_t)count * (OFFSET_MESSAGE_ID_MAX + 1) + 1, ids_len = 0;
    char *room = devbroker_body_buffer(r->dev, ids_cap + MESSAGE_PROPERTIES_MAX + 64);
    if (!room)
        return;
    char *ids = room, *properties = room + ids_cap;
    struct byte_reader reader = byte_reader_of(r->command->body.data, r->command->body.len);
    struct batch_member member;
    struct stored_message first = {0}, m;
    fill_message(r, h, t, &m);
    for (unsigned i = 0; i < count && batch_next(&reader, &member) == 0; i++) {
        m.flag = member.flag;
        m.body = member.body;
        m.properties = (struct span){properties, member_properties(properties, member.properties, h->properties, cluster)};
        if ((err = broker_store(r->broker, t, &m, r->connection->number))) {
            reply_store_failure(r, err);
            return;
        }
        if (i == 0)
            first = m;
        else
            ids[ids_len++] = ',';
        ids_len += offset_id(&m, ids + ids_len);
    }
    reply_send_ok(r, &first, (struct span){ids, ids_len});
}

void broker_send(struct request *r)
{
    struct send_message_header h;
    const char *missing;
    if (send_message_header_decode(r->command, &h, &missing) < 0) {
        replyf(r, RESPONSE_SYSTEM_ERROR, "org.apache.rocketmq.remoting.exception.RemotingCommandException: the custom field <%s> is null",
               missing);
        return;
    }
    struct topic *t = checked_topic(r, &h);
    if (!t)
        return;
    if (h.batch)
        send_batch(r, &h, t);
    else
        send_one(r, &h, t);
}
