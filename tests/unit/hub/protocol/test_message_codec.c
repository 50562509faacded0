/* Batch members, stored records, ids, properties: layouts and what their lengths may claim. */
#include "hub/protocol/message_codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

static void assert_same_host(const struct message_host *a, const struct message_host *b)
{
    assert_int_equal(a->addr_len, b->addr_len);
    assert_int_equal(a->port, b->port);
    assert_memory_equal(a->addr, b->addr, sizeof(a->addr));
}

/* ---- batch ---- */

static void test_batch_round_trip(void **state)
{
    (void)state;
    char buf[256];
    struct byte_writer w = byte_writer_of(buf, sizeof(buf));
    struct batch_member in = {-3, SPAN_LITERAL("body"), SPAN_LITERAL("k\x01v")}, empty = {0, SPAN_LITERAL(""), SPAN_LITERAL("")}, out;
    batch_append(&w, &in);
    batch_append(&w, &empty);
    assert_int_equal(w.pos, 22 + 7 + 22);
    struct byte_reader r = byte_reader_of(buf, w.pos);
    assert_int_equal(batch_next(&r, &out), 0);
    assert_int_equal(out.flag, -3);
    assert_span(out.body, "body");
    assert_span(out.properties, "k\x01v");
    assert_int_equal(batch_next(&r, &out), 0);
    assert_int_equal(out.body.len + out.properties.len, 0);
    assert_int_equal(batch_next(&r, &out), MESSAGE_END);
    assert_int_equal(batch_next(&r, &out), MESSAGE_END);
}

static void test_batch_refuses(void **state)
{
    (void)state;
    char buf[64], bad[64];
    struct byte_writer w = byte_writer_of(buf, sizeof(buf));
    struct batch_member in = {0, SPAN_LITERAL("body"), SPAN_LITERAL("k\x01v")}, out;
    batch_append(&w, &in);
    for (size_t cut = 1; cut < w.pos; cut++) {
        struct byte_reader r = byte_reader_of(buf, cut);
        assert_int_equal(batch_next(&r, &out), -EPROTO);
        assert_int_equal(batch_next(&r, &out), -EPROTO); /* and stays so */
    }
    static const struct {
        size_t at;
        uint32_t value;
    } rows[] = {{0, 0}, {0, 3}, {0, 4}, {0, 28}, {0, 30}, {0, 0xffffffff}, {16, 5}, {16, 3}, {16, 0xffffffff}, {16, 0x7fffffff}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(bad, buf, w.pos);
        be32_store(bad + rows[i].at, rows[i].value);
        struct byte_reader r = byte_reader_of(bad, w.pos);
        assert_int_equal(batch_next(&r, &out), -EPROTO);
    }
    memcpy(bad, buf, w.pos);
    be16_store(bad + 24, 0x8003); /* negative for Java */
    struct byte_reader r = byte_reader_of(bad, w.pos);
    assert_int_equal(batch_next(&r, &out), -EPROTO);
}

static void test_batch_does_not_fit(void **state)
{
    (void)state;
    char buf[32];
    static char properties[MESSAGE_PROPERTIES_MAX + 1];
    struct batch_member in = {0, SPAN_LITERAL("12345678901"), SPAN_LITERAL("")};
    struct byte_writer w = byte_writer_of(buf, sizeof(buf));
    batch_append(&w, &in);
    assert_true(w.failed);
    in.properties = (struct span){properties, sizeof(properties)};
    char *large = malloc(40000);
    w = byte_writer_of(large, 40000);
    batch_append(&w, &in);
    assert_true(w.failed);
    in.properties.len--;
    w = byte_writer_of(large, 40000);
    batch_append(&w, &in);
    assert_false(w.failed);
    struct byte_reader r = byte_reader_of(large, w.pos);
    assert_int_equal(batch_next(&r, &in), 0);
    free(large);
}

/* ---- stored message ---- */

static struct stored_message sample(void)
{
    return (struct stored_message){
        .body_crc = 0x7fffffff,
        .queue_id = 1,
        .flag = -2,
        .sys_flag = SYS_FLAG_TRANSACTION_PREPARED,
        .reconsume_times = 3,
        .queue_offset = 4,
        .commit_log_offset = INT64_MAX,
        .born_timestamp_ms = 5,
        .store_timestamp_ms = 6,
        .prepared_transaction_offset = 7,
        .born_host = {.addr = {10, 0, 0, 1}, .addr_len = 4, .port = 65535},
        .store_host = {.addr = {10, 0, 0, 2}, .addr_len = 4, .port = 10911},
        .body = SPAN_LITERAL("body"),
        .topic = SPAN_LITERAL("Topic"),
        .properties = SPAN_LITERAL("k\x01v"),
    };
}

static void assert_same_message(const struct stored_message *a, const struct stored_message *b)
{
    assert_int_equal(a->body_crc, b->body_crc);
    assert_int_equal(a->queue_id, b->queue_id);
    assert_int_equal(a->flag, b->flag);
    assert_int_equal(a->reconsume_times, b->reconsume_times);
    assert_true(a->queue_offset == b->queue_offset);
    assert_true(a->commit_log_offset == b->commit_log_offset);
    assert_true(a->born_timestamp_ms == b->born_timestamp_ms);
    assert_true(a->store_timestamp_ms == b->store_timestamp_ms);
    assert_true(a->prepared_transaction_offset == b->prepared_transaction_offset);
    assert_same_host(&a->born_host, &b->born_host);
    assert_same_host(&a->store_host, &b->store_host);
    assert_true(span_equals(a->body, b->body));
    assert_true(span_equals(a->topic, b->topic));
    assert_true(span_equals(a->properties, b->properties));
}

static size_t encode(const struct stored_message *m, char *buf, size_t cap)
{
    struct byte_writer w = byte_writer_of(buf, cap);
    stored_message_encode(&w, m);
    assert_false(w.failed);
    assert_int_equal(w.pos, stored_message_bytes(m));
    return w.pos;
}

static void test_stored_round_trip(void **state)
{
    (void)state;
    char buf[1024];
    struct stored_message m = sample(), out;
    size_t len = encode(&m, buf, sizeof(buf));
    assert_int_equal(len, 91 + 4 + 5 + 3);
    struct byte_reader r = byte_reader_of(buf, len);
    assert_int_equal(stored_message_next(&r, &out), 0);
    assert_same_message(&m, &out);
    assert_int_equal(out.sys_flag, SYS_FLAG_TRANSACTION_PREPARED);
    assert_int_equal(stored_message_next(&r, &out), MESSAGE_END);
}

static void test_stored_ipv6_and_long_topic(void **state)
{
    (void)state;
    char buf[1024], topic[200];
    struct stored_message m = sample(), out;
    memset(topic, 't', sizeof(topic));
    memset(m.born_host.addr, 0xfd, 16);
    m.born_host.addr_len = m.store_host.addr_len = 16;
    m.topic = (struct span){topic, sizeof(topic)};
    size_t len = encode(&m, buf, sizeof(buf));
    assert_int_equal(be32_load(buf + 4), 0xdaa320ab);
    struct byte_reader r = byte_reader_of(buf, len);
    assert_int_equal(stored_message_next(&r, &out), 0);
    assert_same_message(&m, &out);
    assert_int_equal(out.sys_flag, SYS_FLAG_TRANSACTION_PREPARED | SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6);
    /* The flag says what the hosts are, whatever it said before. */
    m.born_host.addr_len = 4;
    m.sys_flag = out.sys_flag;
    len = encode(&m, buf, sizeof(buf));
    r = byte_reader_of(buf, len);
    assert_int_equal(stored_message_next(&r, &out), 0);
    assert_int_equal(out.sys_flag, SYS_FLAG_TRANSACTION_PREPARED | SYS_FLAG_STORE_HOST_V6);
}

static void test_stored_refuses(void **state)
{
    (void)state;
    char buf[256], bad[256];
    struct stored_message m = sample(), out;
    size_t len = encode(&m, buf, sizeof(buf));
    for (size_t cut = 1; cut < len; cut++) {
        struct byte_reader r = byte_reader_of(buf, cut);
        assert_int_equal(stored_message_next(&r, &out), -EPROTO);
    }
    static const struct {
        size_t at;
        uint32_t value;
    } rows[] = {{0, 0},     {0, 8},     {0, 102},    {0, 104},      {0, 0xffffffff}, {4, 0xcbd43194},  {4, 0xdaa320ab},
                {36, 0x10}, {36, 0x20}, {52, 65536}, {68, 0x10000}, {84, 5},         {84, 0xffffffff}, {84, 0x80000000}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(bad, buf, len);
        be32_store(bad + rows[i].at, rows[i].value);
        struct byte_reader r = byte_reader_of(bad, len);
        assert_int_equal(stored_message_next(&r, &out), -EPROTO);
    }
    memcpy(bad, buf, len);
    bad[92] = (char)0x85; /* topic length, negative for Java */
    struct byte_reader r = byte_reader_of(bad, len);
    assert_int_equal(stored_message_next(&r, &out), -EPROTO);
    memcpy(bad, buf, len);
    be16_store(bad + 98, 0x8003);
    r = byte_reader_of(bad, len);
    assert_int_equal(stored_message_next(&r, &out), -EPROTO);
}

static void test_stored_does_not_fit(void **state)
{
    (void)state;
    char buf[64];
    static char text[40000];
    struct stored_message m = sample();
    struct byte_writer w = byte_writer_of(buf, sizeof(buf));
    stored_message_encode(&w, &m);
    assert_true(w.failed);
    m.properties = (struct span){text, MESSAGE_PROPERTIES_MAX + 1};
    w = byte_writer_of(text, sizeof(text));
    stored_message_encode(&w, &m);
    assert_true(w.failed);
    m = sample();
    m.topic = (struct span){text, 32768};
    w = byte_writer_of(text, sizeof(text));
    stored_message_encode(&w, &m);
    assert_true(w.failed);
}

/* ---- CRC, ids, properties ---- */

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(message_body_crc("hello", 5), 907060870);
    assert_int_equal(message_body_crc("", 0), 0);
    assert_int_equal(message_body_crc("123456789", 9), 0xcbf43926 & 0x7fffffff);
    /* However the length falls on the eight byte steps: against one bit at a time. */
    uint8_t data[64];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof(data); len++) {
        uint32_t crc = 0xffffffff;
        for (size_t i = 0; i < len; i++) {
            crc ^= data[i];
            for (int bit = 0; bit < 8; bit++)
                crc = crc & 1 ? 0xedb88320 ^ crc >> 1 : crc >> 1;
        }
        assert_int_equal(message_body_crc(data, len), ~crc & 0x7fffffff);
    }
}

static void test_offset_message_id(void **state)
{
    (void)state;
    struct offset_message_id id = {{.addr = {127, 0, 0, 1}, .addr_len = 4, .port = 20911}, 552952652}, back;
    char text[OFFSET_MESSAGE_ID_MAX + 1];
    assert_int_equal(offset_message_id_format(text, &id), 32);
    assert_string_equal(text, "7F000001000051AF0000000020F5634C");
    assert_int_equal(offset_message_id_parse(span_of(text), &back), 0);
    assert_int_equal(back.store_host.port, 20911);
    assert_int_equal(back.store_host.addr_len, 4);
    assert_true(back.commit_log_offset == 552952652);
    assert_int_equal(offset_message_id_parse(SPAN_LITERAL("7f000001000051af0000000020f5634c"), &back), 0);
    id.store_host = (struct message_host){.addr = {0xfd}, .addr_len = 16, .port = 1};
    assert_int_equal(offset_message_id_format(text, &id), OFFSET_MESSAGE_ID_MAX);
    assert_int_equal(offset_message_id_parse(span_of(text), &back), 0);
    assert_same_host(&back.store_host, &id.store_host);
    static const char *const bad[] = {"",
                                      "7F",
                                      "7F000001000051AF0000000020F5634",
                                      "7F000001000051AF0000000020F5634G",
                                      "7F000001000151AF0000000020F5634C" /* port above 65535 */,
                                      "7F000001000051AF0000000020F5634C,"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(offset_message_id_parse(span_of(bad[i]), &back), -EPROTO);
}

static void test_property(void **state)
{
    (void)state;
    struct span p = SPAN_LITERAL("KEYS\x01"
                                 "a b\x02TAGS\x01t\x02U\x01x\x01y\x02TAGS\x01last\x02"
                                 "E\x01\x02\x01v\x02no\x02W\x01z\x02");
    assert_span(message_property(p, SPAN_LITERAL("KEYS")), "a b");
    assert_span(message_property(p, SPAN_LITERAL("TAGS")), "last");
    assert_span(message_property(p, SPAN_LITERAL("U")), "x\x01y");
    assert_span(message_property(p, SPAN_LITERAL("W")), "z");
    assert_null(message_property(p, SPAN_LITERAL("E")).data);
    assert_null(message_property(p, SPAN_LITERAL("")).data);
    assert_null(message_property(p, SPAN_LITERAL("no")).data);
    assert_null(message_property(p, SPAN_LITERAL("TAG")).data);
    assert_null(message_property((struct span){NULL, 0}, SPAN_LITERAL("K")).data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_round_trip),           cmocka_unit_test(test_batch_refuses),
        cmocka_unit_test(test_batch_does_not_fit),         cmocka_unit_test(test_stored_round_trip),
        cmocka_unit_test(test_stored_ipv6_and_long_topic), cmocka_unit_test(test_stored_refuses),
        cmocka_unit_test(test_stored_does_not_fit),        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_offset_message_id),          cmocka_unit_test(test_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
