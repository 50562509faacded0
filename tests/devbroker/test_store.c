/* Topics, queues, commit log and journal of one broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/devbroker/journal.h"
#include "tests/devbroker/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct stored_message message(const char *body, int32_t queue_id)
{
    return (struct stored_message){.body = span_of(body),
                                   .properties = SPAN_LITERAL("TAGS\x01TagA"),
                                   .queue_id = queue_id,
                                   .store_timestamp_ms = 1700000000000,
                                   .born_host.addr_len = 4,
                                   .store_host.addr_len = 4};
}

static void records_lie_where_their_offsets_say(void **state)
{
    (void)state;
    struct store s;
    assert_int_equal(store_init(&s, false, 4 << 20), 0);
    struct topic *t = store_create_topic(&s, SPAN_LITERAL("T"), 4, 4, 6);
    for (int i = 0; i < 1000; i++) {
        char body[32];
        snprintf(body, sizeof(body), "body %d", i);
        struct stored_message m = message(body, i % 4), back;
        assert_int_equal(store_put(&s, t, &m, 7), 0);
        assert_int_equal(m.queue_offset, i / 4);
        struct span record = store_record_at(&s, (uint64_t)m.commit_log_offset);
        struct byte_reader reader = byte_reader_of(record.data, record.len);
        assert_int_equal(stored_message_next(&reader, &back), 0);
        assert_true(span_equals(back.body, span_of(body)));
        assert_true(span_equals(back.topic, SPAN_LITERAL("T")));
        assert_int_equal(back.queue_offset, m.queue_offset);
    }
    const struct store_queue *q = topic_queue(t, 3);
    assert_int_equal(q->count, 250);
    assert_int_equal(q->entries[249].tag_code, 7);
    assert_int_equal(store_record_time_ms(&s, &q->entries[249]), 1700000000000);
    assert_null(store_record_at(&s, s.log_end).data);
    assert_null(store_record_at(&s, 5).data);
    store_deinit(&s);
}

static void what_does_not_fit_is_illegal(void **state)
{
    (void)state;
    struct store s;
    assert_int_equal(store_init(&s, false, 200), 0);
    struct topic *t = store_create_topic(&s, SPAN_LITERAL("T"), 4, 2, 6);
    static char long_body[200];
    memset(long_body, 'x', sizeof(long_body) - 1);
    struct stored_message too_long = message(long_body, 0), no_queue = message("x", 4), fits = message("x", 3);
    assert_int_equal(store_put(&s, t, &too_long, 0), STORE_MESSAGE_ILLEGAL);
    assert_int_equal(store_put(&s, t, &no_queue, 0), STORE_MESSAGE_ILLEGAL);
    assert_int_equal(store_put(&s, t, &fits, 0), 0); /* the larger of both queue numbers counts */
    assert_null(topic_queue(t, -1));
    store_deinit(&s);
}

static void topics_are_found_by_name(void **state)
{
    (void)state;
    struct store s;
    char name[16];
    assert_int_equal(store_init(&s, true, 4 << 20), 0);
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "topic-%u", i);
        assert_non_null(store_create_topic(&s, span_of(name), 1, 1, 6));
    }
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "topic-%u", i);
        assert_string_equal(store_topic(&s, span_of(name))->name, name);
    }
    assert_null(store_topic(&s, SPAN_LITERAL("topic")));
    store_deinit(&s);
}

static void discarded_messages_still_count(void **state)
{
    (void)state;
    struct store s;
    assert_int_equal(store_init(&s, true, 4 << 20), 0);
    struct topic *t = store_create_topic(&s, SPAN_LITERAL("T"), 1, 1, 6);
    for (int i = 0; i < 10; i++) {
        struct stored_message m = message("x", 0);
        assert_int_equal(store_put(&s, t, &m, 0), 0);
        assert_int_equal(m.queue_offset, i);
    }
    assert_null(store_record_at(&s, 0).data);
    store_deinit(&s);
}

static void tags_hash_as_in_java(void **state)
{
    (void)state;
    assert_int_equal(java_string_hash(SPAN_LITERAL("")), 0);
    assert_int_equal(java_string_hash(SPAN_LITERAL("a")), 97);
    assert_int_equal(java_string_hash(SPAN_LITERAL("TagA")), 2598919);
    assert_int_equal(java_string_hash(SPAN_LITERAL("TagA ")), 80566521);
    assert_int_equal(java_string_hash(SPAN_LITERAL("order-created")), -392709271);
    assert_int_equal(java_string_hash(SPAN_LITERAL("\xe8\xae\xa2\xe5\x8d\x95")), 1129459);
    assert_int_equal(java_string_hash(SPAN_LITERAL("\xf0\x9f\x98\x80")), 1772899);
    assert_int_equal(java_string_hash(SPAN_LITERAL("polygenelubricants")), INT32_MIN);
}

static const char *broker_name(void *ctx, unsigned i)
{
    (void)ctx;
    return i == 0 ? "broker-a" : "broker-b";
}

static void the_journal_is_lines_in_order(void **state)
{
    (void)state;
    struct journal j = {0};
    struct topic t = {.name = "T"};
    char path[] = "/tmp/rmqhub-journal-XXXXXX", line[1024];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct journal_stored s = {.topic = &t, .time_ms = 5, .connection = 1, .queue_id = 2, .queue_offset = 3, .body_len = 4, .body_crc = 6};
    journal_add_event(&j, "accept", 1, 4, "peer=%s", "a\tb");
    s.unique_key = SPAN_LITERAL("KEY");
    journal_add_stored(&j, &s);
    s.unique_key = (struct span){0};
    s.broker = 1;
    journal_add_stored(&j, &s);
    for (unsigned i = 0; i < 50000; i++) /* over several chunks */
        journal_add_stored(&j, &s);
    assert_int_equal(journal_write(&j, path, broker_name, NULL), 0);
    FILE *f = fopen(path, "r");
    static const char *const expected[] = {
        "#stored\ttime_ms\tconnection\tuniq_key\ttopic\tbroker\tqueue\toffset\tbody_bytes\tbody_crc\n",
        "#event\ttime_ms\tconnection\tdetails\n",
        "accept\t4\t1\tpeer=a\\x09b\n",
        "stored\t5\t1\tKEY\tT\tbroker-a\t2\t3\t4\t6\n",
        "stored\t5\t1\t-\tT\tbroker-b\t2\t3\t4\t6\n",
    };
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(fgets(line, sizeof(line), f), expected[i]);
    unsigned more = 0;
    while (fgets(line, sizeof(line), f))
        more++;
    assert_int_equal(more, 50000);
    fclose(f);
    unlink(path);
    assert_int_equal(journal_write(&j, "/nonexistent/file", broker_name, NULL), -ENOENT);
    journal_deinit(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_lie_where_their_offsets_say),
        cmocka_unit_test(what_does_not_fit_is_illegal),
        cmocka_unit_test(topics_are_found_by_name),
        cmocka_unit_test(discarded_messages_still_count),
        cmocka_unit_test(tags_hash_as_in_java),
        cmocka_unit_test(the_journal_is_lines_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
