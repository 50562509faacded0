/* Send headers in both spellings, and replies: the fast reader must agree with the general one, and refuse what that refuses. */
#include "hub/protocol/send_message_header.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static char scratch[4096];

/* ---- request ---- */

static const struct send_message_header SAMPLE = {
    .producer_group = {"G", 1},
    .topic = {"T", 1},
    .default_topic = {TOPIC_AUTO_CREATE, 6},
    .properties = {"a\x01"
                   "b",
                   3},
    .born_timestamp_ms = INT64_MAX,
    .default_topic_queue_nums = INT32_MIN,
    .queue_id = -1,
    .sys_flag = 1,
    .flag = INT32_MAX,
    .reconsume_times = 3,
    .max_reconsume_times = 16,
    .unit_mode = true,
    .batch = true,
};

static void assert_same_header(const struct send_message_header *a, const struct send_message_header *b)
{
    assert_true(span_equals(a->producer_group, b->producer_group));
    assert_true(span_equals(a->topic, b->topic));
    assert_true(span_equals(a->default_topic, b->default_topic));
    assert_true(span_equals(a->properties, b->properties));
    assert_true(a->born_timestamp_ms == b->born_timestamp_ms);
    assert_int_equal(a->default_topic_queue_nums, b->default_topic_queue_nums);
    assert_int_equal(a->queue_id, b->queue_id);
    assert_int_equal(a->sys_flag, b->sys_flag);
    assert_int_equal(a->flag, b->flag);
    assert_int_equal(a->reconsume_times, b->reconsume_times);
    assert_int_equal(a->max_reconsume_times, b->max_reconsume_times);
    assert_int_equal(a->unit_mode, b->unit_mode);
    assert_int_equal(a->batch, b->batch);
}

static void test_request_round_trip(void **state)
{
    (void)state;
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++)
        for (int batch = 0; batch < 2; batch++) {
            char buf[1024];
            size_t len;
            struct remoting_command command;
            struct send_message_header header = SAMPLE, back;
            const char *missing;
            struct remoting_identity identity = {(enum serialize_type)type, LANGUAGE_CPP, PROTOCOL_VERSION_4_9_3, 5, 0};
            header.batch = batch;
            assert_non_null(send_message_encode(buf, sizeof(buf), &identity, &header, 0, &len));
            assert_true(len <= send_message_frame_bound((enum serialize_type)type, &header, 0));
            assert_int_equal(remoting_command_decode(&command, buf, len, scratch, sizeof(scratch)), 0);
            assert_int_equal(command.code, batch ? REQUEST_SEND_BATCH_MESSAGE : REQUEST_SEND_MESSAGE_V2);
            assert_int_equal(send_message_header_decode(&command, &back, &missing), 0);
            assert_same_header(&header, &back);
        }
}

static void test_request_does_not_fit(void **state)
{
    (void)state;
    char buf[1024];
    size_t len, whole;
    struct remoting_identity identity = {SERIALIZE_ROCKETMQ, LANGUAGE_CPP, PROTOCOL_VERSION_4_9_3, 5, 0};
    assert_non_null(send_message_encode(buf, sizeof(buf), &identity, &SAMPLE, 100, &whole));
    assert_null(send_message_encode(buf, whole - 1, &identity, &SAMPLE, 100, &len));
    assert_non_null(send_message_encode(buf, whole, &identity, &SAMPLE, 100, &len));
}

static struct remoting_command command_of(int32_t code, const char *const (*fields)[2], unsigned count)
{
    struct remoting_command c = {.code = code};
    for (unsigned i = 0; i < count; i++)
        c.ext[c.ext_count++] = (struct ext_field){span_of(fields[i][0]), span_of(fields[i][1])};
    return c;
}

static const char *const LETTERS[][2] = {{"a", "G"},  {"b", "T"}, {"c", "TBW102"}, {"d", "4"},
                                         {"e", "-1"}, {"f", "0"}, {"g", "7"},      {"h", "2"}};
static const char *const LONG_NAMES[][2] = {{"producerGroup", "G"},         {"topic", "T"},    {"defaultTopic", "TBW102"},
                                            {"defaultTopicQueueNums", "4"}, {"queueId", "-1"}, {"sysFlag", "0"},
                                            {"bornTimestamp", "7"},         {"flag", "2"}};

static void mandatory_fields(int32_t code, const char *const (*fields)[2])
{
    struct send_message_header header;
    const char *missing;
    struct remoting_command c = command_of(code, fields, 8);
    assert_int_equal(send_message_header_decode(&c, &header, &missing), 0);
    assert_null(missing);
    assert_int_equal(header.queue_id, -1);
    assert_int_equal(header.flag, 2);
    assert_null(header.properties.data);
    assert_int_equal(header.max_reconsume_times, MAX_RECONSUME_TIMES_ABSENT);
    assert_false(header.batch);
    for (unsigned absent = 0; absent < 8; absent++) {
        c = command_of(code, fields, 8);
        c.ext[absent].key = SPAN_LITERAL("other");
        assert_int_equal(send_message_header_decode(&c, &header, &missing), -EBADMSG);
        assert_string_equal(missing, fields[absent][0]);
        if (absent >= 3) {
            c.ext[absent] = (struct ext_field){span_of(fields[absent][0]), SPAN_LITERAL("x")};
            assert_int_equal(send_message_header_decode(&c, &header, &missing), -EBADMSG);
            assert_string_equal(missing, fields[absent][0]);
        }
    }
}

static void test_request_mandatory_fields(void **state)
{
    (void)state;
    mandatory_fields(REQUEST_SEND_MESSAGE_V2, LETTERS);
    mandatory_fields(REQUEST_SEND_BATCH_MESSAGE, LETTERS);
    mandatory_fields(REQUEST_SEND_REPLY_MESSAGE_V2, LETTERS);
    mandatory_fields(REQUEST_SEND_MESSAGE, LONG_NAMES);
    mandatory_fields(REQUEST_SEND_REPLY_MESSAGE, LONG_NAMES);
}

static void test_request_optional_fields(void **state)
{
    (void)state;
    struct send_message_header header;
    const char *missing;
    struct remoting_command c = command_of(REQUEST_SEND_MESSAGE_V2, LETTERS, 8);
    static const char *const extra[][2] = {{"i", ""}, {"j", "3"}, {"k", "TRUE"}, {"l", "16"}, {"m", "yes"}, {"n", "broker-a"}, {"zz", "?"}};
    for (unsigned i = 0; i < 7; i++)
        c.ext[c.ext_count++] = (struct ext_field){span_of(extra[i][0]), span_of(extra[i][1])};
    assert_int_equal(send_message_header_decode(&c, &header, &missing), 0);
    assert_non_null(header.properties.data);
    assert_int_equal(header.properties.len, 0);
    assert_int_equal(header.reconsume_times, 3);
    assert_true(header.unit_mode);
    assert_int_equal(header.max_reconsume_times, 16);
    assert_false(header.batch); /* only "true" is */
    c.ext[9].value = SPAN_LITERAL("2147483648");
    assert_int_equal(send_message_header_decode(&c, &header, &missing), -EBADMSG);
    assert_string_equal(missing, "j");
}

/* ---- reply ---- */

static char frame[4096];

static size_t frame_of(const char *header)
{
    size_t len = strlen(header);
    be32_store(frame, (uint32_t)(4 + len));
    be32_store(frame + 4, (uint32_t)len);
    memcpy(frame + 8, header, len);
    return 8 + len;
}

static int read_response(struct send_response *out, const char *header)
{
    return send_response_decode(frame, frame_of(header), out, scratch, sizeof(scratch));
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

static void test_response(void **state)
{
    (void)state;
    struct send_response r;
    assert_int_equal(read_response(&r, "{\"code\":10,\"extFields\":{\"queueId\":\"3\",\"TRACE_ON\":\"true\",\"transactionId\":\"TX\","
                                       "\"msgId\":\"7F000001000051AF0000000020F5634C\",\"queueOffset\":\"9007199254740993\"},\"flag\":1,"
                                       "\"language\":\"JAVA\",\"opaque\":-5,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":399}"),
                     0);
    assert_int_equal(r.code, 10);
    assert_int_equal(r.opaque, -5);
    assert_int_equal(r.flag, 1);
    assert_int_equal(r.version, 399);
    assert_int_equal(r.queue_id, 3);
    assert_true(r.queue_offset == INT64_C(9007199254740993));
    assert_span(r.msg_id, "7F000001000051AF0000000020F5634C");
    assert_span(r.transaction_id, "TX");
    assert_null(r.remark.data);
}

static void test_response_without_fields(void **state)
{
    (void)state;
    struct send_response r;
    static const char *const headers[] = {"{\"code\":2,\"flag\":1,\"opaque\":1}", "{\"code\":2,\"extFields\":{},\"flag\":1,\"opaque\":1}",
                                          "{\"code\":2,\"extFields\":null,\"flag\":1,\"opaque\":1}"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(read_response(&r, headers[i]), 0);
        assert_int_equal(r.code, 2);
        assert_int_equal(r.opaque, 1);
        assert_int_equal(r.queue_id, -1);
        assert_true(r.queue_offset == -1);
        assert_null(r.msg_id.data);
        assert_null(r.transaction_id.data);
    }
}

static void test_response_surprises_take_the_general_way(void **state)
{
    (void)state;
    struct send_response r;
    /* Escapes, white space, unknown members, nulls, quoted and unquoted numbers, repeated members. */
    assert_int_equal(read_response(&r, "{\"code\":1,\"remark\":\"two\\nlines\",\"flag\":1,\"opaque\":7}"), 0);
    assert_span(r.remark, "two\nlines");
    assert_int_equal(read_response(&r, "{ \"code\" : 17 , \"opaque\" : 8 }"), 0);
    assert_int_equal(r.code, 17);
    assert_int_equal(read_response(&r, "{\"code\":\"14\",\"zone\":{\"x\":[1]},\"opaque\":9}"), 0);
    assert_int_equal(r.code, 14);
    assert_int_equal(r.opaque, 9);
    assert_int_equal(read_response(&r, "{\"extFields\":{\"queueId\":2,\"msg\\u0049d\":\"ID\",\"queueOffset\":null},\"opaque\":1}"), 0);
    assert_int_equal(r.queue_id, 2);
    assert_true(r.queue_offset == -1);
    assert_span(r.msg_id, "ID");
    assert_int_equal(read_response(&r, "{\"extFields\":{\"msgId\":\"A\",\"msgId\":\"B\"},\"code\":1,\"code\":0,\"opaque\":1}"), 0);
    assert_span(r.msg_id, "B");
    assert_int_equal(r.code, 0);
    assert_int_equal(read_response(&r, "{\"extFields\":{\"msgId\":\"A\"},\"extFields\":{},\"opaque\":1}"), 0);
    assert_null(r.msg_id.data);
    assert_int_equal(read_response(&r, "{}"), 0);
    assert_int_equal(r.opaque, 0);
    assert_int_equal(read_response(&r, "{\"remark\":\"plain\",\"versions\":1,\"cods\":1,\"opaquf\":1,\"extField0\":1,\"languagf\":1}"), 0);
    assert_span(r.remark, "plain");
}

static void test_response_in_binary(void **state)
{
    (void)state;
    struct remoting_encoder e;
    struct send_response r;
    size_t len;
    remoting_encode_begin(&e, frame, sizeof(frame), SERIALIZE_ROCKETMQ, 0, LANGUAGE_JAVA, 399, 77, REMOTING_FLAG_RESPONSE);
    remoting_encode_ext(&e, "msgId", SPAN_LITERAL("ID"));
    remoting_encode_ext_i64(&e, "queueId", 2);
    remoting_encode_ext_i64(&e, "queueOffset", 12);
    assert_non_null(remoting_encode_body(&e, 0, &len));
    assert_int_equal(send_response_decode(frame, len, &r, NULL, 0), 0);
    assert_int_equal(r.opaque, 77);
    assert_int_equal(r.queue_id, 2);
    assert_true(r.queue_offset == 12);
    assert_span(r.msg_id, "ID");
}

static void test_response_refuses(void **state)
{
    (void)state;
    struct send_response r;
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"code\":0",
                                      "{\"code\":}",
                                      "{\"code\":-}",
                                      "{\"code\":2147483648}",
                                      "{\"code\":99999999999999999999}",
                                      "{\"code\":0}}",
                                      "{\"code\":0,}",
                                      "{\"code\":0 1}",
                                      "{\"code\"0}",
                                      "{\"language\":\"JAVA}",
                                      "{\"extFields\":{\"queueId\":\"\"}}",
                                      "{\"extFields\":{\"queueId\":\"x\"}}",
                                      "{\"extFields\":{\"queueId\":\"2147483648\"}}",
                                      "{\"extFields\":{\"queueOffset\":\"9223372036854775808\"}}",
                                      "{\"extFields\":{\"queueOffset\":\"1\"}",
                                      "{\"extFields\":{\"$ref\":\"1\"}}",
                                      "{\"extFields\":{\"a\":\"1\",}}",
                                      "{\"$ref\":\"1\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(read_response(&r, bad[i]), -EPROTO);
    size_t len = frame_of("{\"code\":0}");
    assert_int_equal(send_response_decode(frame, len - 1, &r, scratch, sizeof(scratch)), -EPROTO);
    assert_int_equal(send_response_decode(frame, 3, &r, scratch, sizeof(scratch)), -EPROTO);
}

static void test_response_ext_fields_are_counted(void **state)
{
    (void)state;
    struct send_response r;
    char header[2048];
    for (int fields = REMOTING_MAX_EXT_FIELDS; fields <= REMOTING_MAX_EXT_FIELDS + 1; fields++) {
        int n = snprintf(header, sizeof(header), "{\"extFields\":{");
        for (int i = 0; i < fields; i++)
            n += snprintf(header + n, sizeof(header) - (size_t)n, "%s\"k%d\":\"%d\"", i ? "," : "", i, i);
        snprintf(header + n, sizeof(header) - (size_t)n, "}}");
        assert_int_equal(read_response(&r, header), fields == REMOTING_MAX_EXT_FIELDS ? 0 : -EPROTO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_round_trip),
        cmocka_unit_test(test_request_does_not_fit),
        cmocka_unit_test(test_request_mandatory_fields),
        cmocka_unit_test(test_request_optional_fields),
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_response_without_fields),
        cmocka_unit_test(test_response_surprises_take_the_general_way),
        cmocka_unit_test(test_response_in_binary),
        cmocka_unit_test(test_response_refuses),
        cmocka_unit_test(test_response_ext_fields_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
