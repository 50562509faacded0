/* Requests of brokers: recorded ones field by field, and each field missing, too long or of another kind. */
#include "hub/protocol/broker_request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hub/remoting/remoting_codec.h"
#include "tests/frames/frames.h"

static char frame[FRAME_MAX_BYTES], scratch[FRAME_MAX_BYTES];
static struct remoting_command command;

static void load(const char *name)
{
    size_t len = frame_load(name, frame);
    assert_int_equal(remoting_command_decode(&command, frame, len, scratch, sizeof(scratch)), 0);
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

static void test_check_transaction_state(void **state)
{
    (void)state;
    struct check_transaction_state_request r;
    load("java_push_check_transaction_state.bin");
    assert_int_equal(check_transaction_state_decode(&r, &command), 0);
    assert_int_equal(r.tran_state_table_offset, 3);
    assert_int_equal(r.commit_log_offset, 551891999);
    assert_span(r.transaction_id, "FD0000000000000000000000000000025CBB30946E09757B9159001A");
    assert_span(r.offset_msg_id, "7F000001000051AF0000000020E5341F");
    assert_span(r.producer_group, "SpecTxGroup");
    assert_span(r.unique_key, "FD0000000000000000000000000000025CBB30946E09757B9159001A");
    assert_span(r.message.topic, "SpecJava");
    command.body.len--;
    assert_int_equal(check_transaction_state_decode(&r, &command), -EPROTO);
}

static void test_push_reply_message(void **state)
{
    (void)state;
    struct push_reply_message_request r;
    load("java_push_reply_message.bin");
    assert_int_equal(push_reply_message_decode(&r, &command), 0);
    assert_span(r.producer_group, "SpecReplyProd");
    assert_span(r.topic, "DefaultCluster_REPLY_TOPIC");
    assert_span(r.default_topic, "TBW102");
    assert_int_equal(r.default_topic_queue_nums, 4);
    assert_int_equal(r.born_timestamp_ms, 1795462236443);
    assert_int_equal(r.store_timestamp_ms, 1795462236444);
    assert_span(r.born_host.ip, "127.0.0.1");
    assert_int_equal(r.born_host.port, 53126);
    assert_int_equal(r.store_host.port, 20911);
    assert_false(r.unit_mode);
    assert_span(r.correlation_id, "5b9da305-a4c9-49ee-b1b5-8f51664efa6a");
    assert_span(r.body, "replybody");
}

static void test_running_info_and_status(void **state)
{
    (void)state;
    struct get_consumer_running_info_request info;
    struct get_consumer_status_request status;
    load("py_push_consumer_running_info.bin");
    assert_int_equal(get_consumer_running_info_decode(&info, &command), 0);
    assert_span(info.consumer_group, "SpecPushGroup");
    assert_span(info.client_id, "10.1.2.3@specPush");
    assert_false(info.jstack_enable);
    load("py_push_consumer_status.bin");
    assert_int_equal(get_consumer_status_decode(&status, &command), 0);
    assert_span(status.topic, "SpecPy");
    assert_span(status.group, "SpecPushGroup");
    assert_null(status.client_addr.data);
}

static void add_queue(void *ctx, const struct queue_offset *entry)
{
    unsigned *seen = ctx;
    assert_span(entry->queue.topic, "SpecPy");
    assert_span(entry->queue.broker_name, "broker-a");
    *seen |= 1u << entry->queue.queue_id;
}

static void test_reset_offset_in_both_forms(void **state)
{
    (void)state;
    static const char *const names[] = {"py_push_reset_offset_java.bin", "py_push_reset_offset_cpp.bin"};
    for (unsigned i = 0; i < 2; i++) {
        struct reset_offset_request r;
        unsigned seen = 0;
        load(names[i]);
        assert_int_equal(reset_offset_decode(&r, &command), 0);
        assert_span(r.topic, "SpecPy");
        assert_span(r.group, "SpecPushGroup");
        assert_int_equal(r.timestamp_ms, 0);
        assert_false(r.is_force);
        assert_int_equal(r.offset_count, 4);
        assert_int_equal(queue_offsets_for_each(r.offset_table, add_queue, &seen), 4);
        assert_int_equal(seen, 0xf);
    }
}

static int count_offsets(const char *table)
{
    return queue_offsets_for_each(span_of(table), NULL, NULL);
}

#define QUEUE "{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}"

static void test_offset_tables(void **state)
{
    (void)state;
    assert_int_equal(count_offsets(""), 0);
    assert_int_equal(count_offsets("{}"), 0);
    assert_int_equal(count_offsets("{\"offsetTable\":null}"), 0);
    assert_int_equal(count_offsets("{\"offsetTable\":{" QUEUE ":9007199254740993}}"), 1);
    assert_int_equal(count_offsets("{\"new\":[1],\"offsetTable\":{}}"), 0);
    static const char *const wrong[] = {
        "[]",
        "{\"offsetTable\":7}",
        "{\"offsetTable\":{" QUEUE ":-1}}",
        "{\"offsetTable\":{" QUEUE ":9223372036854775808}}",
        "{\"offsetTable\":{" QUEUE ":1.5}}",
        "{\"offsetTable\":{" QUEUE ":0}",
        "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":-1,\"topic\":\"T\"}:0}}",
        "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":2147483648,\"topic\":\"T\"}:0}}",
        "{\"offsetTable\":{{\"brokerName\":\"b\",\"topic\":\"T\"}:0}}",
        "{\"offsetTable\":{{\"brokerName\":\"\",\"queueId\":0,\"topic\":\"T\"}:0}}",
        "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":0}:0}}",
        "{\"offsetTable\":{{\"$ref\":\"$\"}:0}}",
        "{\"offsetTable\":{7:0}}",
        "{\"offsetTable\":[" QUEUE "]}",
        "{\"offsetTable\":[7]}",
        "{\"offsetTable\":[{\"brokerName\":\"b\",\"offset\":-7,\"queueId\":0,\"topic\":\"T\"}]}",
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (count_offsets(wrong[i]) != -EPROTO)
            fail_msg("accepted: %s", wrong[i]);
}

/* Keys with escapes take scratch one after the other, not all at once. */
static void test_many_queues_with_quoted_keys(void **state)
{
    (void)state;
    static char table[1 << 20];
    size_t len = (size_t)sprintf(table, "{\"offsetTable\":{");
    for (unsigned i = 0; i < 5000; i++)
        len += (size_t)sprintf(table + len, "%s\"{\\\"brokerName\\\":\\\"b\\\",\\\"queueId\\\":%u,\\\"topic\\\":\\\"T\\\"}\":%u",
                               i ? "," : "", i, i);
    len += (size_t)sprintf(table + len, "}}");
    assert_int_equal(queue_offsets_for_each((struct span){table, len}, NULL, NULL), 5000);
}

static void test_more_offsets_than_a_topic_has_queues(void **state)
{
    (void)state;
    static const char entry[] = QUEUE ":0,";
    size_t size = sizeof(entry) - 1, count = BROKER_REQUEST_MAX_OFFSETS + 1;
    char *table = malloc(size * count + 32);
    assert_non_null(table);
    size_t len = (size_t)sprintf(table, "{\"offsetTable\":{");
    for (size_t i = 0; i < count; i++, len += size)
        memcpy(table + len, entry, size);
    memcpy(table + len - 1, "}}", 2);
    assert_int_equal(queue_offsets_for_each((struct span){table, len + 1}, NULL, NULL), -EPROTO);
    memcpy(table + len - size - 1, "}}", 2);
    assert_int_equal(queue_offsets_for_each((struct span){table, len - size + 1}, NULL, NULL), BROKER_REQUEST_MAX_OFFSETS);
    free(table);
}

/* ---- fields ---- */

static int reset_of(const struct remoting_command *c)
{
    struct reset_offset_request r;
    return reset_offset_decode(&r, c);
}

static int reply_of(const struct remoting_command *c)
{
    struct push_reply_message_request r;
    return push_reply_message_decode(&r, c);
}

static int info_of(const struct remoting_command *c)
{
    struct get_consumer_running_info_request r;
    return get_consumer_running_info_decode(&r, c);
}

static int check_of(const struct remoting_command *c)
{
    struct check_transaction_state_request r;
    return check_transaction_state_decode(&r, c);
}

static struct ext_field *field(const char *key)
{
    for (unsigned i = 0; i < command.ext_count; i++)
        if (span_equals(command.ext[i].key, span_of(key)))
            return &command.ext[i];
    fail_msg("no field %s", key);
    return NULL;
}

static void test_fields_that_are_not_acceptable(void **state)
{
    (void)state;
    static char long_text[300];
    memset(long_text, 'x', sizeof(long_text) - 1);
    const struct {
        const char *frame;
        int (*decode)(const struct remoting_command *c);
        const char *key, *value;
    } cases[] = {
        {"py_push_reset_offset_java.bin", reset_of, "topic", ""},
        {"py_push_reset_offset_java.bin", reset_of, "topic", long_text},
        {"py_push_reset_offset_java.bin", reset_of, "group", long_text},
        {"py_push_reset_offset_java.bin", reset_of, "timestamp", "now"},
        {"py_push_reset_offset_java.bin", reset_of, "isForce", "maybe"},
        {"py_push_consumer_running_info.bin", info_of, "clientId", long_text},
        {"py_push_consumer_running_info.bin", info_of, "jstackEnable", "1"},
        {"java_push_check_transaction_state.bin", check_of, "commitLogOffset", "9223372036854775808"},
        {"java_push_check_transaction_state.bin", check_of, "msgId", long_text},
        {"java_push_reply_message.bin", reply_of, "queueId", "2147483648"},
        {"java_push_reply_message.bin", reply_of, "sysFlag", ""},
        {"java_push_reply_message.bin", reply_of, "bornHost", "/127.0.0.1"},
        {"java_push_reply_message.bin", reply_of, "bornHost", "/:1"},
        {"java_push_reply_message.bin", reply_of, "storeHost", "/127.0.0.1:65536"},
        {"java_push_reply_message.bin", reply_of, "storeHost", "/127.0.0.1:-1"},
        {"java_push_reply_message.bin", reply_of, "unitMode", "no"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load(cases[i].frame);
        assert_int_equal(cases[i].decode(&command), 0);
        field(cases[i].key)->value = span_of(cases[i].value);
        if (cases[i].decode(&command) != -EPROTO)
            fail_msg("%s: accepted %s = %s", cases[i].frame, cases[i].key, cases[i].value);
    }
}

static void test_spellings_of_hosts(void **state)
{
    (void)state;
    struct push_reply_message_request r;
    static const struct {
        const char *text, *ip;
        uint16_t port;
    } cases[] = {
        {"10.0.0.1:10911", "10.0.0.1", 10911}, {"name/10.0.0.1:1", "10.0.0.1", 1}, {"/0:0:0:0:0:0:0:1:65535", "0:0:0:0:0:0:0:1", 65535}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load("java_push_reply_message.bin");
        field("bornHost")->value = span_of(cases[i].text);
        assert_int_equal(push_reply_message_decode(&r, &command), 0);
        assert_span(r.born_host.ip, cases[i].ip);
        assert_int_equal(r.born_host.port, cases[i].port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_transaction_state),
        cmocka_unit_test(test_push_reply_message),
        cmocka_unit_test(test_running_info_and_status),
        cmocka_unit_test(test_reset_offset_in_both_forms),
        cmocka_unit_test(test_offset_tables),
        cmocka_unit_test(test_many_queues_with_quoted_keys),
        cmocka_unit_test(test_more_offsets_than_a_topic_has_queues),
        cmocka_unit_test(test_fields_that_are_not_acceptable),
        cmocka_unit_test(test_spellings_of_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
