/*
 * The three outcomes: STORED is what the broker said, NOT_STORED is proved, and
 * everything else is UNKNOWN.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/producer/send_frame.h"
#include "hub/protocol/codes.h"
#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct producer *producer;
static struct topic_entry *topic;
static struct net_send message;

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    return 0;
}

static void join_topic(const char *name)
{
    net_instance(&fx);
    if (!producer)
        assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 1000, &producer, NULL), 0);
    topic = topic_entry_acquire(fx.instance, span_of(name), NULL);
    assert_non_null(topic);
    net_send_init(&message, &fx, producer, topic);
}

/* A producer on topic T, connected. */
static void warm_up(void)
{
    producer = NULL;
    join_topic("T");
    net_pump(&fx);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
}

static void cold(void)
{
    producer = NULL;
    join_topic("T");
}

static void expect(uint8_t outcome, int32_t code, const char *reason_part)
{
    assert_int_equal(message.completions, 1);
    assert_int_equal(message.outcome.outcome, outcome);
    assert_int_equal(message.outcome.code, code);
    if (reason_part && !strstr(message.reason, reason_part))
        fail_msg("\"%s\" does not say \"%s\"", message.reason, reason_part);
}

static void a_stored_message_carries_what_the_broker_said(void **state)
{
    (void)state;
    warm_up();
    fx.brokers[0]->next_offset = INT64_C(5000000000);
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_STORED, 0, "");
    assert_int_equal(message.outcome.send_status, SEND_STATUS_OK);
    assert_int_equal(message.outcome.queue_offset, INT64_C(5000000000));
    assert_int_equal(message.outcome.queue_id, fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2)->queue_id);
    assert_int_equal(message.outcome.offset_msg_id_len, 16);
    assert_memory_equal(message.outcome.offset_msg_id, "\x7f\0\0\1\0\0\x51\xaf\0\0\0\0\x20\xf5\x63\x4c", 16);
    assert_string_equal(message.broker, "broker-a");
    assert_int_equal(message.outcome.attempts, 1);
    assert_int_equal(message.outcome.flags, 0);
    assert_int_equal(producer->stored, 1);
    assert_int_equal(fx.instance->brokers.brokers[0]->stored, 1);
}

static void late_flushes_are_stored_too(void **state)
{
    (void)state;
    static const uint8_t status[] = {SEND_STATUS_FLUSH_DISK_TIMEOUT, SEND_STATUS_SLAVE_NOT_AVAILABLE, SEND_STATUS_FLUSH_SLAVE_TIMEOUT};
    warm_up();
    for (int i = 0; i < 3; i++) {
        fx.brokers[0]->send_code = 10 + i;
        net_send_init(&message, &fx, producer, topic);
        producer_send(&message.request);
        net_pump(&fx);
        expect(SEND_STORED, 10 + i, "");
        assert_int_equal(message.outcome.send_status, status[i]);
    }
}

static void a_refusal_is_not_stored_and_says_why(void **state)
{
    (void)state;
    warm_up();
    fx.brokers[0]->send_code = RESPONSE_SERVICE_NOT_AVAILABLE;
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_NOT_STORED, RESPONSE_SERVICE_NOT_AVAILABLE, "broker broker-a answered 14: scripted");
}

static void queues_are_taken_in_turn(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 2);
    warm_up();
    unsigned hits[2][2] = {{0}};
    for (int i = 0; i < 8; i++) {
        net_send_init(&message, &fx, producer, topic);
        producer_send(&message.request);
        net_pump(&fx);
        expect(SEND_STORED, 0, "");
        hits[message.outcome.broker_ix][message.outcome.queue_id]++;
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(hits[i / 2][i % 2], 2);
}

static void an_explicit_queue_is_kept(void **state)
{
    (void)state;
    warm_up();
    for (int i = 0; i < 4; i++) {
        net_send_init(&message, &fx, producer, topic);
        message.request.queue_id = 1;
        producer_send(&message.request);
        net_pump(&fx);
        assert_int_equal(message.outcome.queue_id, 1);
    }
    net_send_init(&message, &fx, producer, topic);
    message.request.queue_id = 9;
    producer_send(&message.request);
    expect(SEND_NOT_STORED, CLIENT_ERROR_NOT_FOUND_TOPIC, "no writable queue 9");
}

static void no_answer_is_unknown_at_the_deadline(void **state)
{
    (void)state;
    warm_up();
    fx.brokers[0]->mute = true;
    producer_send(&message.request);
    net_advance(&fx, 2999);
    assert_int_equal(message.completions, 0);
    net_advance(&fx, 20);
    expect(SEND_UNKNOWN, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, "did not answer before the deadline");
    assert_true(message.outcome.wire_us >= 2999000);
    /* The late answer meets nobody. */
    const struct fake_request *r = fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2);
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), r->opaque, 0, NULL, NULL, 0, (struct span){"", 0});
    net_pump(&fx);
    assert_int_equal(message.completions, 1);
    assert_int_equal(fx.instance->remoting.responses.counters.late_or_unknown, 1);
    assert_int_equal(fx.instance->brokers.brokers[0]->master->counters.unknown_replies, 1);
}

static void a_lost_connection_is_unknown_at_once(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        warm_up();
        fx.brokers[0]->mute_code = REQUEST_SEND_MESSAGE_V2;
        producer_send(&message.request);
        net_pump(&fx);
        fake_server_drop_conns(fx.brokers[0], reset);
        net_pump(&fx);
        expect(SEND_UNKNOWN, CLIENT_ERROR_CONNECT_BROKER, "lost the connection to broker broker-a");
        net_advance(&fx, 300);
    }
}

static void a_refused_connection_proves_not_stored(void **state)
{
    (void)state;
    cold();
    fake_server_unlisten(fx.brokers[0]);
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_NOT_STORED, CLIENT_ERROR_CONNECT_BROKER, "Connection refused");
    assert_non_null(strstr(message.reason, fx.brokers[0]->address));
    assert_int_equal(message.outcome.attempts, 0);
    /* During the back-off a new one waits for the next attempt, and gets through. */
    net_send_init(&message, &fx, producer, topic);
    producer_send(&message.request);
    assert_int_equal(message.completions, 0);
    fake_server_listen(fx.brokers[0]);
    net_advance(&fx, 200);
    expect(SEND_STORED, 0, "");
    assert_true(message.outcome.connect_us > 0);
}

static void no_route_is_not_stored_at_once(void **state)
{
    (void)state;
    producer = NULL;
    fx.name_servers[0]->topic_count = 0;
    join_topic("missing");
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_NOT_STORED, CLIENT_ERROR_NOT_FOUND_TOPIC, "no route for topic missing: create it");
    assert_non_null(strstr(message.reason, "answered 17"));
}

static void a_new_topic_takes_the_default_topics_queues(void **state)
{
    (void)state;
    producer = NULL;
    net_set_route(&fx, 1, 8);
    join_topic("fresh");
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_STORED, 0, "");
    assert_int_equal(topic->source, ROUTE_DEFAULT_TOPIC);
    assert_int_equal(topic->info.count, 4);
    fake_server_add_topic(fx.name_servers[0], "fresh"); /* the broker has registered it meanwhile */
    net_advance(&fx, 31000);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_int_equal(topic->info.count, 8);
}

static void a_topic_that_nobody_may_write_is_refused(void **state)
{
    (void)state;
    char *perm;
    while ((perm = strstr(fx.route_body, "\"perm\":6")) != NULL)
        perm[7] = '4';
    cold();
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_NOT_STORED, CLIENT_ERROR_NOT_FOUND_TOPIC, "has no writable queue");
}

static void silent_nameservers_are_named_at_the_deadline(void **state)
{
    (void)state;
    cold();
    fake_server_unlisten(fx.name_servers[0]);
    producer_send(&message.request);
    net_advance(&fx, 2990);
    assert_int_equal(message.completions, 0);
    net_advance(&fx, 30);
    expect(SEND_NOT_STORED, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, "waiting for the route of topic T");
    assert_non_null(strstr(message.reason, fx.name_servers[0]->address));
    assert_int_equal(topic->waiting_count, 0);
}

static void a_nameserver_that_hangs_is_named_at_the_deadline(void **state)
{
    (void)state;
    cold();
    fx.name_servers[0]->mute = true;
    message.request.deadline_ns = event_loop_now_ns(fx.loop) + NS_PER_S;
    producer_send(&message.request);
    net_advance(&fx, 1030);
    expect(SEND_NOT_STORED, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, "has not answered");
    assert_non_null(strstr(message.reason, fx.name_servers[0]->address));
}

static void a_nameserver_that_returns_lets_the_waiting_go(void **state)
{
    (void)state;
    cold();
    fake_server_unlisten(fx.name_servers[0]);
    producer_send(&message.request);
    net_advance(&fx, 500);
    fake_server_listen(fx.name_servers[0]);
    net_advance(&fx, 2400);
    expect(SEND_STORED, 0, "");
}

static void a_passed_deadline_is_never_sent(void **state)
{
    (void)state;
    warm_up();
    message.request.deadline_ns = fx.now_ns;
    producer_send(&message.request);
    expect(SEND_NOT_STORED, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, "had passed before");
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_SEND_MESSAGE_V2), 0);
}

/* A peer that does not read: what the kernel took is UNKNOWN, what it did not take is taken back and NOT_STORED. */
static void a_blocked_connection_gives_each_message_its_true_outcome(void **state)
{
    (void)state;
    enum { N = 300, BODY = 65536 };
    static char body[BODY];
    struct net_send *sends = calloc(N, sizeof(*sends));
    unsigned unknown = 0, not_stored = 0;
    fx.config.socket_snd_buf_bytes = 65536;
    fx.config.client_channel_max_idle_time_ms = 0;
    warm_up();
    fx.brokers[0]->stop_reading = true;
    for (unsigned i = 0; i < N; i++) {
        net_send_init(&sends[i], &fx, producer, topic);
        sends[i].request.body = body;
        sends[i].request.body_len = BODY;
        producer_send(&sends[i].request);
    }
    net_pump(&fx);
    struct channel *ch = fx.instance->brokers.brokers[0]->master;
    assert_true(ch->write_blocked);
    assert_true(ch->waiting_count > 0); /* held back, not buffered without limit */
    assert_true(ch->out.cap <= (2u << 20));
    net_advance(&fx, 3030);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sends[i].completions, 1);
        unknown += sends[i].outcome.outcome == SEND_UNKNOWN;
        not_stored += sends[i].outcome.outcome == SEND_NOT_STORED;
    }
    assert_int_equal(unknown + not_stored, N);
    assert_true(unknown > 0 && not_stored > 0);
    fx.brokers[0]->stop_reading = false;
    net_advance(&fx, 100);
    /* Only what was reported UNKNOWN arrives; the last of them may have been cut nowhere. */
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_SEND_MESSAGE_V2), unknown);
    net_send_init(&message, &fx, producer, topic);
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_STORED, 0, "");
    free(sends);
}

static void held_back_senders_go_on_in_order_once_there_is_room(void **state)
{
    (void)state;
    enum { N = 200, BODY = 65536 };
    static char body[BODY];
    struct net_send *sends = calloc(N, sizeof(*sends));
    fx.config.write_buffer_high_water_mark_bytes = 262144;
    warm_up();
    fx.brokers[0]->stop_reading = true;
    for (unsigned i = 0; i < N; i++) {
        net_send_init(&sends[i], &fx, producer, topic);
        sends[i].request.body = body;
        sends[i].request.body_len = BODY;
        sends[i].request.queue_id = 0;
        producer_send(&sends[i].request);
    }
    net_pump(&fx);
    fx.brokers[0]->stop_reading = false;
    net_advance(&fx, 200);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sends[i].outcome.outcome, SEND_STORED);
        assert_int_equal(sends[i].outcome.queue_offset, i);
    }
    free(sends);
}

static void the_largest_message_passes(void **state)
{
    (void)state;
    size_t len = (size_t)4 << 20;
    char *body = calloc(1, len);
    warm_up();
    message.request.body = body;
    message.request.body_len = (uint32_t)(len / 8); /* the scripted broker reads 1 MiB at most */
    producer_send(&message.request);
    net_advance(&fx, 50);
    expect(SEND_STORED, 0, "");
    assert_int_equal(fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2)->body_len, len / 8);
    free(body);
}

static void oneway_completes_when_written(void **state)
{
    (void)state;
    warm_up();
    message.request.mode = SEND_ONEWAY;
    producer_send(&message.request);
    assert_int_equal(message.completions, 0);
    net_pump(&fx);
    expect(SEND_UNKNOWN, 0, "oneway");
    const struct fake_request *r = fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2);
    assert_int_equal(r->flag, REMOTING_FLAG_ONEWAY);
    assert_int_equal(fx.instance->remoting.responses.count, 0);
    assert_int_equal(producer->oneway, 1);
}

static void oneway_before_a_connection_is_not_stored_when_there_is_none(void **state)
{
    (void)state;
    cold();
    fake_server_unlisten(fx.brokers[0]);
    message.request.mode = SEND_ONEWAY;
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_NOT_STORED, CLIENT_ERROR_CONNECT_BROKER, NULL);
}

static void a_tainted_message_is_never_not_stored(void **state)
{
    (void)state;
    warm_up();
    message.request.tainted = true;
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_STORED, 0, "");
    assert_int_equal(message.outcome.flags, SEND_FLAG_MAYBE_DUPLICATED);
    fx.brokers[0]->send_code = 1;
    net_send_init(&message, &fx, producer, topic);
    message.request.tainted = true;
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_UNKNOWN, 1, "answered 1");
}

static void bad_properties_are_refused_from_the_copy(void **state)
{
    (void)state;
    warm_up();
    message.request.properties = "novalue\1\2x";
    message.request.properties_len = 10;
    producer_send(&message.request);
    expect(SEND_NOT_STORED, RESPONSE_MESSAGE_ILLEGAL, "properties");
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_SEND_MESSAGE_V2), 0);
    assert_int_equal(fx.instance->remoting.responses.count, 0);
    net_send_init(&message, &fx, producer, topic);
    message.request.properties_len = 32768;
    producer_send(&message.request);
    expect(SEND_NOT_STORED, RESPONSE_MESSAGE_ILLEGAL, "properties");
}

static void a_cancel_takes_back_what_was_not_written(void **state)
{
    (void)state;
    warm_up();
    producer_send(&message.request);
    producer_cancel(&message.request, "evicted"); /* still in the round's buffer */
    expect(SEND_NOT_STORED, -1, "evicted");
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_SEND_MESSAGE_V2), 0);
    fx.brokers[0]->mute = true;
    net_send_init(&message, &fx, producer, topic);
    producer_send(&message.request);
    net_pump(&fx);
    producer_cancel(&message.request, "evicted");
    expect(SEND_UNKNOWN, -1, "evicted");
    producer = NULL;
    join_topic("elsewhere");
    fake_server_unlisten(fx.name_servers[0]);
    fake_server_drop_conns(fx.name_servers[0], false);
    producer_send(&message.request);
    producer_cancel(&message.request, "evicted"); /* while it waits for a route */
    expect(SEND_NOT_STORED, -1, "evicted");
    assert_int_equal(topic->waiting_count, 0);
}

static void the_end_of_the_hub_completes_what_is_left(void **state)
{
    (void)state;
    struct net_send waiting;
    warm_up();
    fx.brokers[0]->mute = true;
    producer_send(&message.request);
    net_pump(&fx);
    struct topic_entry *other = topic_entry_acquire(fx.instance, SPAN_LITERAL("other"), NULL);
    fx.name_servers[0]->mute = true;
    net_send_init(&waiting, &fx, producer, other);
    producer_send(&waiting.request);
    fx.manager = mq_client_manager_free(fx.manager);
    expect(SEND_UNKNOWN, -1, "the hub stops");
    assert_int_equal(waiting.completions, 1);
    assert_int_equal(waiting.outcome.outcome, SEND_NOT_STORED);
}

/* The binary frame, and the same in JSON, say the same as the general encoder. */
static void both_header_encodings_say_the_same(void **state)
{
    (void)state;
    warm_up();
    message.request.msg_flag = -7;
    message.request.sys_flag = 1;
    for (int json = 0; json < 2; json++) {
        char scratch[REMOTING_SCRATCH_BYTES];
        const char *missing;
        size_t len;
        struct remoting_command cmd;
        struct send_message_header h;
        fx.instance->remoting.settings.serialize_type = json ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ;
        size_t bound = send_frame_bound(&message.request);
        char *buf = malloc(bound);
        assert_int_equal(send_frame_encode(&message.request, -5, 3, INT64_C(1700000000123), buf, bound, &len), 0);
        assert_true(len <= bound);
        size_t split;
        assert_int_equal(remoting_frame_split(buf, len, &split), 0);
        assert_int_equal(split, len);
        assert_int_equal(remoting_command_decode(&cmd, buf, len, scratch, sizeof(scratch)), 0);
        assert_int_equal(cmd.code, REQUEST_SEND_MESSAGE_V2);
        assert_int_equal(cmd.opaque, -5);
        assert_int_equal(cmd.version, 399);
        assert_int_equal(cmd.serialize_type, json ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ);
        assert_int_equal(send_message_header_decode(&cmd, &h, &missing), 0);
        assert_true(span_equals(h.producer_group, SPAN_LITERAL("G")));
        assert_true(span_equals(h.topic, SPAN_LITERAL("T")));
        assert_true(span_equals(h.default_topic, SPAN_LITERAL("TBW102")));
        assert_true(span_equals(h.properties, (struct span){message.request.properties, message.request.properties_len}));
        assert_int_equal(h.default_topic_queue_nums, 4);
        assert_int_equal(h.queue_id, 3);
        assert_int_equal(h.born_timestamp_ms, INT64_C(1700000000123));
        assert_int_equal(h.flag, -7);
        assert_int_equal(h.sys_flag, 1);
        assert_int_equal(h.reconsume_times, 0);
        assert_false(h.batch || h.unit_mode);
        assert_true(span_equals(cmd.body, SPAN_LITERAL("hello")));
        free(buf);
    }
    fx.instance->remoting.settings.serialize_type = SERIALIZE_JSON;
    producer_send(&message.request);
    net_pump(&fx);
    expect(SEND_STORED, 0, "");
}

static void many_in_flight_all_complete_once(void **state)
{
    (void)state;
    enum { N = 2000 };
    struct net_send *sends = calloc(N, sizeof(*sends));
    fx.config.client_async_semaphore = 500; /* the rest waits its turn */
    warm_up();
    for (unsigned i = 0; i < N; i++) {
        net_send_init(&sends[i], &fx, producer, topic);
        producer_send(&sends[i].request);
    }
    net_advance(&fx, 50);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sends[i].completions, 1);
        assert_int_equal(sends[i].outcome.outcome, SEND_STORED);
    }
    assert_int_equal(fx.instance->remoting.responses.count, 0);
    assert_int_equal(fx.brokers[0]->accepted, 1);
    free(sends);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_stored_message_carries_what_the_broker_said),
        T(late_flushes_are_stored_too),
        T(a_refusal_is_not_stored_and_says_why),
        T(queues_are_taken_in_turn),
        T(an_explicit_queue_is_kept),
        T(no_answer_is_unknown_at_the_deadline),
        T(a_lost_connection_is_unknown_at_once),
        T(a_refused_connection_proves_not_stored),
        T(no_route_is_not_stored_at_once),
        T(a_new_topic_takes_the_default_topics_queues),
        T(a_topic_that_nobody_may_write_is_refused),
        T(silent_nameservers_are_named_at_the_deadline),
        T(a_nameserver_that_hangs_is_named_at_the_deadline),
        T(a_nameserver_that_returns_lets_the_waiting_go),
        T(a_passed_deadline_is_never_sent),
        T(a_blocked_connection_gives_each_message_its_true_outcome),
        T(held_back_senders_go_on_in_order_once_there_is_room),
        T(the_largest_message_passes),
        T(oneway_completes_when_written),
        T(oneway_before_a_connection_is_not_stored_when_there_is_none),
        T(a_tainted_message_is_never_not_stored),
        T(bad_properties_are_refused_from_the_copy),
        T(a_cancel_takes_back_what_was_not_written),
        T(the_end_of_the_hub_completes_what_is_left),
        T(both_header_encodings_say_the_same),
        T(many_in_flight_all_complete_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
