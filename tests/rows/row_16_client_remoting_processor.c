/*
 * Row 16: ClientRemotingProcessor.processRequest. Every request that a broker may
 * send is answered as 4.9.3 answers it, or refused with a code; recorded frames of
 * real brokers are the good ones. Whatever else comes changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/protocol/message_codec.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "tests/frames/frames.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct {
    unsigned count;
    int32_t code, opaque;
    char remark[512], body[256];
} answers; /* what the broker got, and the last of it */

static bool note_answer(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd)
{
    (void)s;
    (void)c;
    if (!remoting_command_is_response(cmd))
        return false;
    answers.count++;
    answers.code = cmd->code;
    answers.opaque = cmd->opaque;
    snprintf(answers.remark, sizeof(answers.remark), "%.*s", (int)cmd->remark.len, cmd->remark.data ? cmd->remark.data : "");
    snprintf(answers.body, sizeof(answers.body), "%.*s", (int)cmd->body.len, cmd->body.data ? cmd->body.data : "");
    return true;
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    net_set_route(&fx, 2, 1);
    for (unsigned i = 0; i < 2; i++)
        fx.brokers[i]->hook = note_answer;
    memset(&answers, 0, sizeof(answers));
    net_join(&fx, "G");
    net_connect(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    return 0;
}

static const struct processor_counters *counters(enum processor_row row)
{
    return &fx.instance->processor.counters[row];
}

static void send_frame(unsigned broker, const void *frame, size_t len)
{
    fake_server_send(fake_server_last_conn(fx.brokers[broker]), frame, len);
    net_pump(&fx);
}

/* One with an empty header but for @p fields, and a body of zeroes. */
static void send_request(unsigned broker, int32_t code, int32_t flag, const struct ext_field *fields, unsigned field_count, size_t body_len)
{
    static char frame[16384];
    size_t len;
    struct remoting_encoder e;
    remoting_encode_begin(&e, frame, sizeof(frame), SERIALIZE_JSON, code, LANGUAGE_JAVA, 399, 7000, flag);
    for (unsigned i = 0; i < field_count; i++)
        remoting_encode_ext(&e, fields[i].key.data, fields[i].value);
    void *body = remoting_encode_body(&e, body_len, &len);
    assert_non_null(body);
    memset(body, 0, body_len);
    send_frame(broker, frame, len);
}

/* ---- the good ones ---- */

static void recorded_requests_get_the_answers_of_4_9_3(void **state)
{
    (void)state;
    static const struct {
        const char *frame;
        enum processor_row row;
        int32_t code; /* -1: nothing is sent */
        const char *remark, *body;
    } cases[] = {
        {"java_push_check_transaction_state.bin", PROCESSOR_CHECK_TRANSACTION_STATE, -1, "", ""},
        {"java_push_notify_consumer_ids_changed.bin", PROCESSOR_NOTIFY_CONSUMER_IDS_CHANGED, -1, "", ""},
        {"py_push_notify_consumer_ids_changed.bin", PROCESSOR_NOTIFY_CONSUMER_IDS_CHANGED, -1, "", ""},
        {"py_push_reset_offset_java.bin", PROCESSOR_RESET_CONSUMER_CLIENT_OFFSET, -1, "", ""},
        {"py_push_reset_offset_cpp.bin", PROCESSOR_RESET_CONSUMER_CLIENT_OFFSET, -1, "", ""},
        {"py_push_consumer_status.bin", PROCESSOR_GET_CONSUMER_STATUS_FROM_CLIENT, 0, "",
         "{\"consumerTable\":{},\"messageQueueTable\":{}}"},
        {"py_push_consumer_running_info.bin", PROCESSOR_GET_CONSUMER_RUNNING_INFO, 1, "SpecPushGroup", ""},
        {"java_push_reply_message.bin", PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT, 0, "", ""},
        {"py_push_reply_message.bin", PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT, 0, "", ""},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char frame[FRAME_MAX_BYTES];
        struct remoting_command command;
        static char scratch[REMOTING_SCRATCH_BYTES];
        size_t len = frame_load(cases[i].frame, frame);
        struct processor_counters before = *counters(cases[i].row);
        unsigned count = answers.count;
        assert_int_equal(remoting_command_decode(&command, frame, len, scratch, sizeof(scratch)), 0);
        send_frame(0, frame, len);
        assert_int_equal(counters(cases[i].row)->received, before.received + 1);
        if (counters(cases[i].row)->refused)
            fail_msg("%s is refused", cases[i].frame);
        assert_int_equal(counters(cases[i].row)->answered - before.answered, cases[i].code >= 0);
        assert_int_equal(counters(cases[i].row)->ignored - before.ignored, cases[i].code < 0);
        assert_int_equal(answers.count - count, cases[i].code >= 0);
        if (cases[i].code < 0)
            continue;
        assert_int_equal(answers.code, cases[i].code);
        assert_int_equal(answers.opaque, command.opaque);
        assert_non_null(strstr(answers.remark, cases[i].remark));
        assert_string_equal(answers.body, cases[i].body);
    }
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
}

static void consume_directly_is_refused_for_want_of_the_group(void **state)
{
    (void)state;
    char frame[FRAME_MAX_BYTES], whole[FRAME_MAX_BYTES];
    static char scratch[REMOTING_SCRATCH_BYTES];
    struct remoting_command command;
    struct remoting_encoder e;
    size_t len = frame_load("java_push_check_transaction_state.bin", frame); /* for the message in its body */
    assert_int_equal(remoting_command_decode(&command, frame, len, scratch, sizeof(scratch)), 0);
    remoting_encode_begin(&e, whole, sizeof(whole), SERIALIZE_JSON, REQUEST_CONSUME_MESSAGE_DIRECTLY, LANGUAGE_JAVA, 399, 4, 0);
    remoting_encode_ext(&e, "consumerGroup", SPAN_LITERAL("C"));
    void *body = remoting_encode_body(&e, command.body.len, &len);
    assert_non_null(body);
    memcpy(body, command.body.data, command.body.len);
    send_frame(0, whole, len);
    assert_int_equal(answers.code, 1);
    assert_non_null(strstr(answers.remark, "<C>"));
    assert_int_equal(counters(PROCESSOR_CONSUME_MESSAGE_DIRECTLY)->answered, 1);
}

/* A reply with @p queue_id and properties of @p properties_len bytes, each of which JSON must escape. */
static void push_reply(const char *queue_id, size_t properties_len)
{
    static char frame[300000], properties[INT16_MAX];
    static const struct span text = SPAN_LITERAL("/10.0.0.1:1");
    struct remoting_encoder e;
    size_t len;
    memset(properties, '\x01', sizeof(properties));
    remoting_encode_begin(&e, frame, sizeof(frame), SERIALIZE_JSON, REQUEST_PUSH_REPLY_MESSAGE_TO_CLIENT, LANGUAGE_JAVA, 399, 5, 0);
    static const char *const names[] = {"producerGroup", "topic", "defaultTopic", "bornHost", "storeHost"};
    static const char *const numbers[] = {"defaultTopicQueueNums", "sysFlag", "bornTimestamp", "flag", "storeTimestamp"};
    for (unsigned i = 0; i < 5; i++) {
        remoting_encode_ext(&e, names[i], text);
        remoting_encode_ext(&e, numbers[i], SPAN_LITERAL("0"));
    }
    remoting_encode_ext(&e, "queueId", span_of(queue_id));
    remoting_encode_ext(&e, "properties", (struct span){properties, properties_len});
    assert_non_null(remoting_encode_body(&e, 0, &len));
    send_frame(0, frame, len);
}

static void a_reply_may_have_the_longest_properties(void **state)
{
    (void)state;
    push_reply("0", MESSAGE_PROPERTIES_MAX);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_int_equal(counters(PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT)->answered, 1);
    assert_int_equal(answers.count, 1);
    assert_int_equal(answers.code, 0);
}

/* The fast reader of send replies looks at the same fields, and has no say about requests. */
static void a_field_that_is_no_number_is_refused_by_its_decoder(void **state)
{
    (void)state;
    push_reply("zero", 1);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_int_equal(counters(PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT)->refused, 1);
    assert_int_equal(answers.code, 1);
}

/* ---- all others ---- */

static void other_codes_are_refused_even_when_no_answer_is_asked_for(void **state)
{
    (void)state;
    static const int32_t codes[] = {-1, 0, 10, 34, 41, 219, 222, 308, 310, 327, 999, INT32_MAX};
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        unsigned count = answers.count;
        send_request(0, codes[i], i % 2 ? REMOTING_FLAG_ONEWAY : 0, NULL, 0, 0);
        assert_int_equal(answers.count, count + 1);
        assert_int_equal(answers.code, 3);
        assert_int_equal(answers.opaque, 7000);
        net_advance(&fx, 200);
    }
    assert_int_equal(counters(PROCESSOR_OTHERS)->refused, sizeof(codes) / sizeof(codes[0]));
}

static void a_malformed_request_is_refused(void **state)
{
    (void)state;
    static const struct ext_field strange[] = {{SPAN_LITERAL("consumerGroup"), SPAN_LITERAL("")},
                                               {SPAN_LITERAL("tranStateTableOffset"), SPAN_LITERAL("x")},
                                               {SPAN_LITERAL("timestamp"), SPAN_LITERAL("99999999999999999999")}};
    for (unsigned row = 0; row < PROCESSOR_OTHERS; row++) {
        int32_t code = client_remoting_processor_code((enum processor_row)row);
        unsigned count = answers.count;
        send_request(0, code, 0, NULL, 0, 0);
        send_request(0, code, 0, strange, 3, 17);
        assert_int_equal(answers.count, count + 2);
        assert_int_equal(answers.code, 1);
        assert_non_null(strstr(answers.remark, "malformed"));
        send_request(0, code, REMOTING_FLAG_ONEWAY, NULL, 0, 0);
        assert_int_equal(answers.count, count + 2);
        assert_int_equal(counters((enum processor_row)row)->refused, 3);
    }
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
}

static void a_body_that_does_not_belong_there_is_too_big(void **state)
{
    (void)state;
    static const struct ext_field fields[] = {{SPAN_LITERAL("consumerGroup"), SPAN_LITERAL("C")},
                                              {SPAN_LITERAL("clientId"), SPAN_LITERAL("x@y")}};
    send_request(0, REQUEST_GET_CONSUMER_RUNNING_INFO, 0, fields, 2, 4096);
    assert_int_equal(counters(PROCESSOR_GET_CONSUMER_RUNNING_INFO)->answered, 1);
    send_request(0, REQUEST_GET_CONSUMER_RUNNING_INFO, 0, fields, 2, 4097);
    assert_int_equal(answers.code, 1);
    assert_int_equal(counters(PROCESSOR_GET_CONSUMER_RUNNING_INFO)->too_big, 1);
    assert_int_equal(counters(PROCESSOR_GET_CONSUMER_RUNNING_INFO)->answered, 1);
}

static void a_flood_is_limited_by_code_and_connection(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 15; i++)
        send_request(0, 999, 0, NULL, 0, 0);
    assert_int_equal(counters(PROCESSOR_OTHERS)->refused, 10);
    assert_int_equal(counters(PROCESSOR_OTHERS)->limited, 5);
    assert_int_equal(answers.code, 2);
    send_request(0, REQUEST_GET_CONSUMER_RUNNING_INFO, 0, NULL, 0, 0); /* another code */
    assert_int_equal(answers.code, 1);
    send_request(1, 999, 0, NULL, 0, 0); /* another connection */
    assert_int_equal(answers.code, 3);
    net_advance(&fx, 1000);
    send_request(0, 999, 0, NULL, 0, 0);
    assert_int_equal(answers.code, 3);
    assert_int_equal(counters(PROCESSOR_OTHERS)->limited, 5);
}

/* What could be different afterwards. */
struct image {
    unsigned groups, registrations;
    uint32_t topics, brokers, refs;
    enum service_state state;
    char client_id[CLIENT_ID_MAX + 1];
};

static struct image image_of(const struct mq_client_instance *in)
{
    struct image i;
    memset(&i, 0, sizeof(i));
    i.groups = in->producers.count;
    for (const struct list_link *it = in->registrations.next; it != &in->registrations; it = it->next)
        i.registrations++;
    i.topics = in->routes.count;
    i.brokers = in->brokers.count;
    i.refs = producer_table_find(&in->producers, "G", 1)->refs;
    i.state = in->state;
    memcpy(i.client_id, in->client_id, sizeof(i.client_id));
    return i;
}

/* Recorded requests with bytes changed, cut and repeated: each is answered or refused, or its channel is closed; nothing else. */
static void garbage_changes_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"java_push_check_transaction_state.bin", "py_push_reset_offset_java.bin",
                                        "py_push_reset_offset_cpp.bin", "py_push_consumer_running_info.bin", "java_push_reply_message.bin"};
    static char scratch[REMOTING_SCRATCH_BYTES];
    struct channel *channel = fx.instance->brokers.brokers[0]->master;
    struct image before = image_of(fx.instance), after;
    unsigned decoded = 0;
    srand(16);
    for (unsigned round = 0; round < 20000; round++) {
        char frame[FRAME_MAX_BYTES];
        struct remoting_command command;
        size_t len = frame_load(names[round % 5], frame);
        for (unsigned n = 1 + (unsigned)rand() % 4; n > 0; n--)
            frame[8 + (size_t)rand() % (len - 8)] = (char)rand();
        if (round % 1000 == 0)
            fx.now_ns += NS_PER_S;
        if (remoting_command_decode(&command, frame, len, scratch, sizeof(scratch)) < 0)
            continue; /* the channel would be closed */
        decoded++;
        client_remoting_processor_run(fx.instance, channel, &command);
        if (round % 100 == 0)
            net_pump(&fx);
    }
    net_pump(&fx);
    after = image_of(fx.instance);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_true(decoded > 5000);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(recorded_requests_get_the_answers_of_4_9_3),
        T(consume_directly_is_refused_for_want_of_the_group),
        T(a_reply_may_have_the_longest_properties),
        T(a_field_that_is_no_number_is_refused_by_its_decoder),
        T(other_codes_are_refused_even_when_no_answer_is_asked_for),
        T(a_malformed_request_is_refused),
        T(a_body_that_does_not_belong_there_is_too_big),
        T(a_flood_is_limited_by_code_and_connection),
        T(garbage_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
