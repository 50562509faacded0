/*
 * A request from a broker, through its decoders and through the processor: what decodes is within its limits, nothing but
 * the processor's counters changes, and what is answered is one frame with the request's opaque. The input is a frame
 * without its total length (1 byte encoding, 3 bytes header length, header, body), so that every input is a whole frame.
 */
#include <errno.h>

#include "hub/instance/client_remoting_processor.h"
#include "hub/instance/mq_client_instance.h"
#include "hub/protocol/broker_request.h"
#include "shm/base/log.h"
#include "tests/fuzz/fuzz_command.h"

#define FRAME_MAX (1u << 20)

static struct mq_client_instance instance;
static char before[sizeof(instance)]; /* its image */
static struct channel channel;
static struct event_loop *loop; /* never freed: the program ends with it */

static void ignore_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static void start(void)
{
    static const struct remoting_client_settings settings = {.high_water_bytes = 1u << 20, .max_pending = 16, .version = 399};
    static const struct remoting_client_ops ops = {0};
    log_set_sink(ignore_line, NULL);
    FUZZ_CHECK(event_loop_new(&loop) == 0);
    instance.loop = loop;
    FUZZ_CHECK(remoting_client_start(&instance.remoting, loop, NULL, &settings, &ops) == 0);
    channel = (struct channel){.client = &instance.remoting, .state = CHANNEL_CONNECTED, .id = 1, .fd = -1, .address = "fuzz"};
    list_init(&channel.waiting);
    list_init(&channel.pending);
    list_init(&channel.oneways);
    memcpy(before, &instance, sizeof(before));
}

/* Reads every byte, so that a sanitizer sees a text that lies elsewhere. */
static void check_text(struct span text, size_t max)
{
    unsigned sum = 0;
    FUZZ_CHECK(text.len <= max && (text.data || text.len == 0));
    for (size_t i = 0; i < text.len; i++)
        sum += (unsigned char)text.data[i];
    FUZZ_CHECK(sum <= text.len * 255);
}

static void check_name(struct span text, size_t max)
{
    FUZZ_CHECK(text.len > 0);
    check_text(text, max);
}

static void check_message(const struct stored_message *m)
{
    check_text(m->body, FRAME_MAX);
    check_text(m->topic, INT16_MAX);
    check_text(m->properties, MESSAGE_PROPERTIES_MAX);
}

static void check_offset(void *ctx, const struct queue_offset *entry)
{
    unsigned *count = ctx;
    ++*count;
    check_name(entry->queue.topic, BROKER_REQUEST_TOPIC_MAX);
    check_name(entry->queue.broker_name, BROKER_REQUEST_ID_MAX);
    FUZZ_CHECK(entry->queue.queue_id >= 0 && entry->offset >= 0);
}

static bool decoded(int r)
{
    FUZZ_CHECK(r == 0 || r == -EPROTO);
    return r == 0;
}

static void decode_about_producers(const struct remoting_command *command)
{
    struct check_transaction_state_request check;
    struct push_reply_message_request reply;
    if (decoded(check_transaction_state_decode(&check, command))) {
        check_message(&check.message);
        check_text(check.msg_id, BROKER_REQUEST_ID_MAX);
        check_text(check.transaction_id, BROKER_REQUEST_ID_MAX);
        check_text(check.offset_msg_id, BROKER_REQUEST_ID_MAX);
        check_text(check.producer_group, BROKER_REQUEST_GROUP_MAX);
        check_text(check.unique_key, BROKER_REQUEST_ID_MAX);
    }
    if (decoded(push_reply_message_decode(&reply, command))) {
        check_name(reply.producer_group, BROKER_REQUEST_GROUP_MAX);
        check_name(reply.topic, BROKER_REQUEST_TOPIC_MAX);
        check_name(reply.default_topic, BROKER_REQUEST_TOPIC_MAX);
        check_name(reply.born_host.ip, BROKER_REQUEST_ID_MAX);
        check_name(reply.store_host.ip, BROKER_REQUEST_ID_MAX);
        check_text(reply.properties, MESSAGE_PROPERTIES_MAX);
        check_text(reply.correlation_id, BROKER_REQUEST_ID_MAX);
        check_text(reply.body, FRAME_MAX);
    }
}

static void decode_about_consumers(const struct remoting_command *command)
{
    struct notify_consumer_ids_changed_request notify;
    struct reset_offset_request reset;
    struct get_consumer_status_request status;
    struct get_consumer_running_info_request info;
    struct consume_message_directly_request consume;
    if (decoded(notify_consumer_ids_changed_decode(&notify, command)))
        check_name(notify.consumer_group, BROKER_REQUEST_GROUP_MAX);
    if (decoded(reset_offset_decode(&reset, command))) {
        unsigned count = 0;
        check_name(reset.topic, BROKER_REQUEST_TOPIC_MAX);
        check_name(reset.group, BROKER_REQUEST_GROUP_MAX);
        FUZZ_CHECK(queue_offsets_for_each(reset.offset_table, check_offset, &count) == (int)reset.offset_count);
        FUZZ_CHECK(count == reset.offset_count && count <= BROKER_REQUEST_MAX_OFFSETS);
    }
    if (decoded(get_consumer_status_decode(&status, command))) {
        check_name(status.topic, BROKER_REQUEST_TOPIC_MAX);
        check_name(status.group, BROKER_REQUEST_GROUP_MAX);
        check_text(status.client_addr, BROKER_REQUEST_ID_MAX);
    }
    if (decoded(get_consumer_running_info_decode(&info, command))) {
        check_name(info.consumer_group, BROKER_REQUEST_GROUP_MAX);
        check_name(info.client_id, BROKER_REQUEST_ID_MAX);
    }
    if (decoded(consume_message_directly_decode(&consume, command))) {
        check_message(&consume.message);
        check_name(consume.consumer_group, BROKER_REQUEST_GROUP_MAX);
        check_text(consume.client_id, BROKER_REQUEST_ID_MAX);
        check_text(consume.msg_id, BROKER_REQUEST_ID_MAX);
        check_text(consume.broker_name, BROKER_REQUEST_ID_MAX);
    }
}

static bool is_known(int32_t code)
{
    for (int row = 0; row < PROCESSOR_OTHERS; row++)
        if (client_remoting_processor_code((enum processor_row)row) == code)
            return true;
    return false;
}

static void check_answer(const struct remoting_command *command)
{
    static char scratch[4096];
    struct remoting_command answer;
    size_t len = channel.out.tail - channel.out.head, frame_len;
    if (len == 0) {
        FUZZ_CHECK(is_known(command->code)); /* another code is refused, asked for an answer or not */
        return;
    }
    const uint8_t *frame = channel.out.data + channel.out.head;
    FUZZ_CHECK(remoting_frame_split(frame, len, &frame_len) == 0 && frame_len == len);
    FUZZ_CHECK(remoting_command_decode(&answer, frame, len, scratch, sizeof(scratch)) == 0);
    FUZZ_CHECK(remoting_command_is_response(&answer) && answer.opaque == command->opaque);
    FUZZ_CHECK(!remoting_command_is_oneway(command) || !is_known(command->code));
}

static void process(const struct remoting_command *command)
{
    uint64_t received = 0, ended = 0;
    client_remoting_processor_run(&instance, &channel, command);
    check_answer(command);
    for (int row = 0; row < PROCESSOR_ROWS; row++) {
        const struct processor_counters *c = &instance.processor.counters[row];
        received += c->received;
        ended += c->answered + c->ignored + c->refused + c->limited + c->too_big;
    }
    FUZZ_CHECK(received == 1 && ended == 1);
    channel.out.head = channel.out.tail = 0;
    list_unlink(&channel.dirty_link);
    memset(&instance.processor, 0, sizeof(instance.processor));
    const char *after = (const char *)&instance;
    FUZZ_CHECK(memcmp(before, after, sizeof(before)) == 0);
}

static const void *frame_of(const uint8_t *data, size_t len, size_t *frame_len)
{
    static char frame[FRAME_MAX];
    size_t rest = len - 4 < sizeof(frame) - 8 ? len - 4 : sizeof(frame) - 8, header = be32_load(data) & 0xffffff;
    if (header > rest)
        header = rest;
    be32_store(frame, (uint32_t)(4 + rest));
    be32_store(frame + 4, (uint32_t)(data[0] & 1) << 24 | (uint32_t)header);
    memcpy(frame + 8, data + 4, rest);
    *frame_len = 8 + rest;
    return frame;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct remoting_command command;
    size_t frame_len;
    if (!loop)
        start();
    if (len < 4)
        return 0;
    const void *frame = frame_of(data, len, &frame_len);
    if (!fuzz_decode(&command, frame, frame_len))
        return 0;
    decode_about_producers(&command);
    decode_about_consumers(&command);
    process(&command);
    return 0;
}
