/*
 * 4.9.3 reads these headers by reflection and checks little: a missing field turns
 * into a null that fails somewhere later. Here a request is either whole or refused,
 * so that what acts on it needs no checks of its own.
 */
#include "hub/protocol/broker_request.h"

#include <errno.h>
#include <strings.h>

#include "hub/remoting/wire_json.h"

/* Room for the names of one offset table entry when they carry escapes. */
#define ENTRY_SCRATCH_BYTES 1024

/* Reads fields and remembers whether one of them was not acceptable. */
struct field_reader {
    const struct remoting_command *command;
    bool failed;
};

static struct span text_or_absent(struct field_reader *r, const char *key, size_t max)
{
    struct span text = remoting_command_ext(r->command, key);
    if (text.len > max)
        r->failed = true;
    return text;
}

static struct span text(struct field_reader *r, const char *key, size_t max)
{
    struct span value = text_or_absent(r, key, max);
    if (value.len == 0)
        r->failed = true;
    return value;
}

static int64_t number(struct field_reader *r, const char *key, int64_t min, int64_t max)
{
    int64_t value;
    if (remoting_command_ext_i64(r->command, key, &value) && value >= min && value <= max)
        return value;
    r->failed = true;
    return 0;
}

static int64_t long_number(struct field_reader *r, const char *key)
{
    return number(r, key, INT64_MIN, INT64_MAX);
}

static int32_t int_number(struct field_reader *r, const char *key)
{
    return (int32_t)number(r, key, INT32_MIN, INT32_MAX);
}

static bool span_is(struct span value, const char *word)
{
    return value.len == strlen(word) && strncasecmp(value.data, word, value.len) == 0;
}

static bool boolean(struct field_reader *r, const char *key)
{
    struct span value = remoting_command_ext(r->command, key);
    if (value.data && span_is(value, "true"))
        return true;
    if (!value.data || !span_is(value, "false"))
        r->failed = true;
    return false;
}

static bool boolean_or_false(struct field_reader *r, const char *key)
{
    return remoting_command_ext(r->command, key).data && boolean(r, key);
}

static struct host_text host(struct field_reader *r, const char *key)
{
    struct span value = text(r, key, BROKER_REQUEST_ID_MAX);
    struct host_text out = {{"", 0}, 0};
    if (value.len == 0)
        return out;
    const char *slash = memrchr(value.data, '/', value.len), *colon = memrchr(value.data, ':', value.len);
    const char *start = slash ? slash + 1 : value.data, *end = value.data + value.len;
    int64_t port;
    if (!colon || colon <= start || !span_to_i64((struct span){colon + 1, (size_t)(end - colon - 1)}, &port) || port < 0 ||
        port > UINT16_MAX) {
        r->failed = true;
        return out;
    }
    return (struct host_text){{start, (size_t)(colon - start)}, (uint16_t)port};
}

/* The body is one record and nothing after it. */
static void one_message(struct field_reader *r, struct stored_message *out)
{
    struct byte_reader bytes = byte_reader_of(r->command->body.data, r->command->body.len);
    if (stored_message_next(&bytes, out) != 0 || bytes.pos != bytes.len)
        r->failed = true;
}

static int result(const struct field_reader *r)
{
    return r->failed ? -EPROTO : 0;
}

int check_transaction_state_decode(struct check_transaction_state_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->tran_state_table_offset = long_number(&r, "tranStateTableOffset");
    out->commit_log_offset = long_number(&r, "commitLogOffset");
    out->msg_id = text_or_absent(&r, "msgId", BROKER_REQUEST_ID_MAX);
    out->transaction_id = text_or_absent(&r, "transactionId", BROKER_REQUEST_ID_MAX);
    out->offset_msg_id = text_or_absent(&r, "offsetMsgId", BROKER_REQUEST_ID_MAX);
    one_message(&r, &out->message);
    if (r.failed)
        return -EPROTO;
    out->producer_group = message_property(out->message.properties, SPAN_LITERAL("PGROUP"));
    out->unique_key = message_property(out->message.properties, SPAN_LITERAL("UNIQ_KEY"));
    return out->producer_group.len > BROKER_REQUEST_GROUP_MAX || out->unique_key.len > BROKER_REQUEST_ID_MAX ? -EPROTO : 0;
}

int notify_consumer_ids_changed_decode(struct notify_consumer_ids_changed_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->consumer_group = text(&r, "consumerGroup", BROKER_REQUEST_GROUP_MAX);
    return result(&r);
}

int get_consumer_status_decode(struct get_consumer_status_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->topic = text(&r, "topic", BROKER_REQUEST_TOPIC_MAX);
    out->group = text(&r, "group", BROKER_REQUEST_GROUP_MAX);
    out->client_addr = text_or_absent(&r, "clientAddr", BROKER_REQUEST_ID_MAX);
    return result(&r);
}

int get_consumer_running_info_decode(struct get_consumer_running_info_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->consumer_group = text(&r, "consumerGroup", BROKER_REQUEST_GROUP_MAX);
    out->client_id = text(&r, "clientId", BROKER_REQUEST_ID_MAX);
    out->jstack_enable = boolean_or_false(&r, "jstackEnable");
    return result(&r);
}

int consume_message_directly_decode(struct consume_message_directly_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->consumer_group = text(&r, "consumerGroup", BROKER_REQUEST_GROUP_MAX);
    out->client_id = text_or_absent(&r, "clientId", BROKER_REQUEST_ID_MAX);
    out->msg_id = text_or_absent(&r, "msgId", BROKER_REQUEST_ID_MAX);
    out->broker_name = text_or_absent(&r, "brokerName", BROKER_REQUEST_ID_MAX);
    one_message(&r, &out->message);
    return result(&r);
}

int push_reply_message_decode(struct push_reply_message_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->producer_group = text(&r, "producerGroup", BROKER_REQUEST_GROUP_MAX);
    out->topic = text(&r, "topic", BROKER_REQUEST_TOPIC_MAX);
    out->default_topic = text(&r, "defaultTopic", BROKER_REQUEST_TOPIC_MAX);
    out->default_topic_queue_nums = int_number(&r, "defaultTopicQueueNums");
    out->queue_id = int_number(&r, "queueId");
    out->sys_flag = int_number(&r, "sysFlag");
    out->born_timestamp_ms = long_number(&r, "bornTimestamp");
    out->flag = int_number(&r, "flag");
    out->born_host = host(&r, "bornHost");
    out->store_host = host(&r, "storeHost");
    out->store_timestamp_ms = long_number(&r, "storeTimestamp");
    out->reconsume_times = remoting_command_ext(command, "reconsumeTimes").data ? int_number(&r, "reconsumeTimes") : 0;
    out->unit_mode = boolean_or_false(&r, "unitMode");
    out->properties = text_or_absent(&r, "properties", MESSAGE_PROPERTIES_MAX);
    if (!out->properties.data)
        out->properties = SPAN_LITERAL("");
    out->correlation_id = message_property(out->properties, SPAN_LITERAL("CORRELATION_ID"));
    if (out->correlation_id.len > BROKER_REQUEST_ID_MAX)
        r.failed = true;
    out->body = command->body.len ? command->body : SPAN_LITERAL("");
    return result(&r);
}

/* ---- offset tables ---- */

struct entry_reader {
    struct queue_offset entry;
    bool has_queue_id, has_offset;
    char scratch[ENTRY_SCRATCH_BYTES];
};

/* Members of a queue, and of an entry of the list form, where the offset stands beside them. */
static void read_members(struct json_reader *r, struct entry_reader *into)
{
    struct span key;
    into->entry = (struct queue_offset){0};
    into->has_queue_id = into->has_offset = false;
    if (json_enter_object(r))
        while (json_next_key(r, &key)) {
            if (span_equals(key, SPAN_LITERAL("topic")))
                into->entry.queue.topic = json_read_text(r);
            else if (span_equals(key, SPAN_LITERAL("brokerName")))
                into->entry.queue.broker_name = json_read_text(r);
            else if (span_equals(key, SPAN_LITERAL("queueId"))) {
                into->entry.queue.queue_id = json_read_i32(r);
                into->has_queue_id = true;
            } else if (span_equals(key, SPAN_LITERAL("offset"))) {
                into->entry.offset = json_read_i64(r);
                into->has_offset = true;
            } else
                json_skip(r);
        }
}

static bool is_queue(const struct entry_reader *e)
{
    const struct message_queue_name *q = &e->entry.queue;
    return e->has_queue_id && q->queue_id >= 0 && q->topic.len > 0 && q->topic.len <= BROKER_REQUEST_TOPIC_MAX && q->broker_name.len > 0 &&
           q->broker_name.len <= BROKER_REQUEST_ID_MAX;
}

struct table_reader {
    struct json_reader *json;
    void (*each)(void *ctx, const struct queue_offset *entry);
    void *ctx;
    int count;
};

static void take_entry(struct table_reader *t, const struct entry_reader *e)
{
    if (!is_queue(e) || e->entry.offset < 0 || t->count == BROKER_REQUEST_MAX_OFFSETS) {
        json_fail(t->json);
        return;
    }
    t->count++;
    if (t->each)
        t->each(t->ctx, &e->entry);
}

/* {{queue}:offset}; a strict writer has the queue's text as a string. */
static void read_map(struct table_reader *t)
{
    struct entry_reader e;
    struct span key;
    char *scratch = t->json->scratch;
    if (!json_enter_object(t->json))
        return;
    for (; json_next_key(t->json, &key); t->json->scratch = scratch) {
        struct json_reader queue;
        json_reader_init(&queue, key.data, key.len, e.scratch, sizeof(e.scratch));
        read_members(&queue, &e);
        if (json_finish(&queue) < 0)
            json_fail(t->json);
        e.entry.offset = json_read_i64(t->json);
        if (!t->json->error)
            take_entry(t, &e);
    }
}

/* [{"brokerName","offset","queueId","topic"}]. The entry's text is read again with a scratch of its own. */
static void read_list(struct table_reader *t)
{
    struct entry_reader e;
    if (!json_enter_array(t->json))
        return;
    while (json_next_item(t->json)) {
        struct span item = json_skip(t->json);
        struct json_reader one;
        json_reader_init(&one, item.data, item.len, e.scratch, sizeof(e.scratch));
        read_members(&one, &e);
        if (json_finish(&one) < 0 || !e.has_offset)
            json_fail(t->json);
        if (!t->json->error)
            take_entry(t, &e);
    }
}

int queue_offsets_for_each(struct span table, void (*each)(void *ctx, const struct queue_offset *entry), void *ctx)
{
    struct json_reader r;
    struct span key;
    char scratch[ENTRY_SCRATCH_BYTES];
    if (table.len == 0)
        return 0;
    json_reader_init(&r, table.data, table.len, scratch, sizeof(scratch));
    struct table_reader t = {&r, each, ctx, 0};
    if (json_enter_object(&r))
        while (json_next_key(&r, &key)) {
            if (!span_equals(key, SPAN_LITERAL("offsetTable")))
                json_skip(&r);
            else if (json_peek(&r) == JSON_ARRAY)
                read_list(&t);
            else
                read_map(&t);
        }
    return json_finish(&r) < 0 ? -EPROTO : t.count;
}

int reset_offset_decode(struct reset_offset_request *out, const struct remoting_command *command)
{
    struct field_reader r = {command, false};
    out->topic = text(&r, "topic", BROKER_REQUEST_TOPIC_MAX);
    out->group = text(&r, "group", BROKER_REQUEST_GROUP_MAX);
    out->timestamp_ms = long_number(&r, "timestamp");
    out->is_force = boolean(&r, "isForce");
    out->offset_table = command->body;
    int count = queue_offsets_for_each(command->body, NULL, NULL);
    if (r.failed || count < 0)
        return -EPROTO;
    out->offset_count = (unsigned)count;
    return 0;
}
