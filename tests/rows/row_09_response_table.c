/*
 * Row 9: NettyRemotingAbstract.scanResponseTable and the table it scans. Requests and their replies by opaque, credits,
 * deadlines, the scan as a backstop, the end of connections, and peers that fall silent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

#define SENDS 12
#define LARGE_SENDS 200 /* together more than the kernel's buffers hold */
#define LARGE_BYTES 65536u

static struct net_fixture fx;
static struct producer *group;
static struct topic_entry *topic;
static struct net_send sends[LARGE_SENDS];
static struct fake_server *server;
static char large[LARGE_BYTES];

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    server = fx.brokers[0];
    memset(large, 'x', sizeof(large));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    return 0;
}

static struct response_table *table(void)
{
    return &fx.instance->remoting.responses;
}

/* A connection to every broker, with its first heartbeats behind it. */
static void connect_brokers(void)
{
    const char *why = NULL;
    assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 1000, &group, &why), 0);
    topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    assert_non_null(topic);
    net_advance(&fx, 1500);
}

static struct net_send *send_within(unsigned i, uint64_t timeout_ms)
{
    net_send_init(&sends[i], &fx, group, topic);
    sends[i].request.deadline_ns = fx.now_ns + timeout_ms * NS_PER_MS;
    producer_send(&sends[i].request);
    net_pump(&fx);
    return &sends[i];
}

static void send_large_oneway(unsigned i)
{
    net_send_init(&sends[i], &fx, group, topic);
    sends[i].request.mode = SEND_ONEWAY;
    sends[i].request.body = large;
    sends[i].request.body_len = sizeof(large);
    sends[i].request.deadline_ns = fx.now_ns + 30 * NS_PER_S;
    producer_send(&sends[i].request);
    net_pump(&fx);
}

static unsigned completed(unsigned count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_true(sends[i].completions <= 1);
        n += sends[i].completions;
    }
    return n;
}

static unsigned heartbeats(void)
{
    return fake_server_count(server, REQUEST_HEART_BEAT);
}

/* ---- opaques and replies ---- */

static void replies_meet_their_requests_where_the_opaque_wraps(void **state)
{
    (void)state;
    static const uint32_t edges[] = {INT32_MAX - 2, UINT32_MAX - 2};
    connect_brokers();
    for (unsigned e = 0; e < 2; e++) {
        table()->next_opaque = edges[e];
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(send_within(i, 3000)->outcome.outcome, SEND_STORED);
    }
    assert_int_equal(table()->count, 0);
    assert_int_equal(table()->counters.late_or_unknown, 0);
}

static struct fake_conn *asked_by;
static int32_t asked_opaque;

static bool keep_the_question(struct fake_server *s, struct fake_conn *conn, const struct remoting_command *command)
{
    (void)s;
    if (command->code != REQUEST_SEND_MESSAGE_V2)
        return false;
    asked_by = conn;
    asked_opaque = command->opaque;
    return true;
}

static void late_replies_are_counted_and_dropped(void **state)
{
    (void)state;
    connect_brokers();
    server->hook = keep_the_question;
    struct net_send *late = send_within(0, 1000);
    net_advance(&fx, 1100);
    assert_int_equal(late->outcome.outcome, SEND_UNKNOWN);
    for (unsigned i = 0; i < 2; i++) { /* late, and twice */
        fake_server_reply(asked_by, asked_opaque, RESPONSE_SUCCESS, NULL, NULL, 0, (struct span){NULL, 0});
        net_pump(&fx);
    }
    assert_int_equal(late->completions, 1);
    assert_int_equal(table()->counters.late_or_unknown, 2);
    server->hook = NULL;
    assert_int_equal(send_within(1, 3000)->outcome.outcome, SEND_STORED);
    assert_int_equal(server->accepted, 1);
}

/* ---- credits ---- */

static void async_credits_hold_senders_back(void **state)
{
    (void)state;
    fx.config.client_async_semaphore = 4;
    connect_brokers();
    unsigned before = server->log_count;
    server->mute = true;
    for (unsigned i = 0; i < 8; i++)
        send_within(i, i < 4 ? 1000 : 9000);
    assert_int_equal(server->log_count - before, 4);
    assert_int_equal(table()->count, 4);
    assert_true(table()->counters.refused_full > 0);
    server->mute = false;
    net_advance(&fx, 3500);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(sends[i].outcome.outcome, i < 4 ? SEND_UNKNOWN : SEND_STORED);
    assert_int_equal(table()->count, 0);
}

static void a_credit_that_is_free_again_serves_other_connections_at_once(void **state)
{
    (void)state;
    fx.config.client_async_semaphore = 1;
    net_set_route(&fx, 2, 1);
    connect_brokers();
    fx.brokers[0]->mute = fx.brokers[1]->mute = true;
    send_within(0, 400);
    send_within(1, 9000); /* the other broker's turn */
    net_advance(&fx, 390);
    fx.brokers[0]->mute = fx.brokers[1]->mute = false;
    assert_int_equal(completed(2), 0);
    net_advance(&fx, 30); /* long before the next scan */
    assert_int_equal(sends[0].outcome.outcome, SEND_UNKNOWN);
    assert_int_equal(sends[1].outcome.outcome, SEND_STORED);
    assert_string_not_equal(sends[0].broker, sends[1].broker);
}

/* In 4.9.3 heartbeats, routes and unregisters take no permit: senders who fill the table must not cost a registration. */
static void the_clients_own_requests_need_no_credit(void **state)
{
    (void)state;
    fx.config.client_async_semaphore = 1;
    connect_brokers();
    server->mute_code = REQUEST_SEND_MESSAGE_V2;
    send_within(0, 50000);
    send_within(1, 50000); /* waits for the credit */
    unsigned before = fake_server_count(server, REQUEST_HEART_BEAT);
    net_advance(&fx, 31000);
    assert_true(fake_server_count(server, REQUEST_HEART_BEAT) > before);
    assert_int_equal(completed(2), 0);
    assert_int_equal(table()->count, 1);
}

static void the_clients_own_requests_take_no_credit_from_senders(void **state)
{
    (void)state;
    fx.config.client_async_semaphore = 1;
    connect_brokers();
    server->mute_code = REQUEST_HEART_BEAT;
    for (unsigned i = 0; i < 400 && table()->count == 0; i++)
        net_advance(&fx, 100);
    assert_int_equal(table()->count, 1); /* the heartbeat, unanswered */
    assert_int_equal(send_within(0, 1000)->outcome.outcome, SEND_STORED);
    assert_int_equal(table()->count, 1);
    assert_int_equal(table()->counters.refused_full, 0);
}

static void oneway_credits_belong_to_all_connections_of_the_instance(void **state)
{
    (void)state;
    fx.config.client_oneway_semaphore = 2;
    net_set_route(&fx, 2, 1);
    connect_brokers();
    server->stop_reading = true;
    for (unsigned i = 0; i < LARGE_SENDS; i++)
        send_large_oneway(i);
    assert_int_equal(table()->oneways, 2);
    assert_true(table()->counters.refused_oneway > 0);
    assert_true(completed(LARGE_SENDS) < LARGE_SENDS);
    server->stop_reading = false;
    net_advance(&fx, 200);
    assert_int_equal(completed(LARGE_SENDS), LARGE_SENDS);
    assert_int_equal(table()->oneways, 0);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_SEND_MESSAGE_V2) + fake_server_count(fx.brokers[1], REQUEST_SEND_MESSAGE_V2),
                     LARGE_SENDS);
}

static void oneway_credits_survive_the_end_of_a_connection(void **state)
{
    (void)state;
    fx.config.client_oneway_semaphore = 3;
    connect_brokers();
    server->stop_reading = true;
    for (unsigned i = 0; i < LARGE_SENDS; i++)
        send_large_oneway(i);
    assert_int_equal(table()->oneways, 3);
    server->stop_reading = false;
    fake_server_drop_conns(server, true);
    net_advance(&fx, 3000);
    assert_int_equal(completed(LARGE_SENDS), LARGE_SENDS); /* what was begun is UNKNOWN, the rest went over the new connection */
    assert_int_equal(table()->oneways, 0);
    send_large_oneway(0);
    assert_int_equal(sends[0].completions, 1);
}

/* ---- deadlines and the scan ---- */

static void a_try_ends_at_its_deadline_and_at_most_20_ms_late(void **state)
{
    (void)state;
    connect_brokers();
    server->mute = true;
    for (unsigned i = 0; i < SENDS; i++)
        send_within(i, 700 + 37 * i);
    uint64_t start_ns = fx.now_ns;
    while (completed(SENDS) < SENDS) {
        fx.now_ns += NS_PER_MS;
        net_pump(&fx);
        for (unsigned i = 0; i < SENDS; i++) {
            uint64_t due_ns = start_ns + (700 + 37 * i) * NS_PER_MS;
            if (fx.now_ns < due_ns)
                assert_int_equal(sends[i].completions, 0);
            if (fx.now_ns >= due_ns + 20 * NS_PER_MS)
                assert_int_equal(sends[i].completions, 1);
        }
    }
}

static void the_scan_runs_after_3_s_and_then_every_second(void **state)
{
    (void)state;
    connect_brokers();
    net_advance(&fx, 1400);
    assert_int_equal(table()->counters.scans, 0);
    net_advance(&fx, 200);
    assert_int_equal(table()->counters.scans, 1);
    net_advance(&fx, 60000);
    assert_in_range(table()->counters.scans, 60, 62);
    assert_int_equal(table()->counters.scan_found, 0);
}

static void end_the_other(struct send_request *request, const struct send_outcome *outcome)
{
    (void)outcome;
    LIST_ENTRY(request, struct net_send, request)->completions++;
    producer_cancel(&sends[1].request, "ended by another's callback");
}

/* Whatever may have lost a deadline: a second later the scan ends the request, whatever callbacks do meanwhile. */
static void the_scan_ends_what_the_deadlines_missed(void **state)
{
    (void)state;
    connect_brokers();
    net_advance(&fx, 2500);
    server->mute_code = REQUEST_SEND_MESSAGE_V2;
    for (unsigned i = 0; i < 3; i++)
        deadline_disarm(&send_within(i, 1000)->request.future.deadline);
    sends[0].request.complete = end_the_other;
    net_advance(&fx, 1900);
    assert_int_equal(completed(3), 0);
    net_advance(&fx, 1200);
    assert_int_equal(completed(3), 3);
    assert_int_equal(table()->count, 0);
    assert_true(table()->counters.scan_found >= 2);
    assert_int_equal(sends[2].outcome.outcome, SEND_UNKNOWN);
    assert_true(table()->counters.scans > 3);
}

/* ---- the end of a connection ---- */

static void fin_and_reset_resolve_what_is_pending_in_the_turn_that_reads_them(void **state)
{
    (void)state;
    connect_brokers();
    server->mute_code = REQUEST_SEND_MESSAGE_V2;
    for (unsigned reset = 0; reset < 2; reset++) {
        for (unsigned i = 0; i < SENDS; i++)
            send_within(i, 30000);
        assert_int_equal(completed(SENDS), 0);
        fake_server_drop_conns(server, reset);
        assert_int_equal(event_loop_round(fx.loop, false), 0);
        assert_int_equal(completed(SENDS), SENDS);
        for (unsigned i = 0; i < SENDS; i++)
            assert_int_equal(sends[i].outcome.outcome, SEND_UNKNOWN);
        assert_int_equal(table()->count, 0);
        net_advance(&fx, 2000); /* dialled again */
    }
}

/* ---- silence ---- */

static void one_timeout_does_not_close_a_shared_connection(void **state)
{
    (void)state;
    connect_brokers();
    server->mute_code = REQUEST_SEND_MESSAGE_V2;
    send_within(0, 1000);
    net_advance(&fx, 1100);
    assert_int_equal(sends[0].outcome.outcome, SEND_UNKNOWN);
    server->mute_code = 0;
    assert_int_equal(send_within(1, 3000)->outcome.outcome, SEND_STORED);
    assert_int_equal(server->accepted, 1);
    assert_int_equal(table()->counters.suspicions, 0);
}

static void expire_three(void)
{
    for (unsigned i = 0; i < 3; i++)
        send_within(i, 500);
    net_advance(&fx, 600);
    assert_int_equal(completed(3), 3);
}

static void three_timeouts_in_a_row_are_probed_and_a_silent_peer_is_left(void **state)
{
    (void)state;
    connect_brokers();
    unsigned before = heartbeats();
    server->mute = true;
    expire_three();
    assert_int_equal(table()->counters.suspicions, 1);
    assert_int_equal(heartbeats(), before + 1);
    assert_int_equal(server->accepted, 1);
    server->mute = false;
    net_advance(&fx, 3500); /* one heartbeat timeout and a dial */
    assert_int_equal(server->accepted, 2);
    assert_int_equal(send_within(3, 3000)->outcome.outcome, SEND_STORED);
}

static void three_timeouts_in_a_row_and_an_answered_probe_keep_the_connection(void **state)
{
    (void)state;
    connect_brokers();
    unsigned before = heartbeats();
    server->mute_code = REQUEST_SEND_MESSAGE_V2;
    expire_three();
    assert_int_equal(heartbeats(), before + 1);
    net_advance(&fx, 5000);
    assert_int_equal(server->accepted, 1);
    assert_int_equal(table()->counters.suspicions, 1);
}

static void silence_of_two_heartbeat_timeouts_is_probed_and_left(void **state)
{
    (void)state;
    connect_brokers();
    net_advance(&fx, 20000); /* silence while nothing is asked means nothing */
    assert_int_equal(table()->counters.suspicions, 0);
    connect_brokers();
    unsigned before = heartbeats();
    server->mute = true;
    send_within(0, 60000);
    net_advance(&fx, 5900);
    assert_int_equal(heartbeats(), before);
    net_advance(&fx, 1200);
    assert_int_equal(heartbeats(), before + 1);
    assert_int_equal(completed(1), 0);
    net_advance(&fx, 3200);
    assert_int_equal(sends[0].outcome.outcome, SEND_UNKNOWN);
    assert_true(server->accepted >= 2);
}

static void a_peer_that_answers_others_is_not_silent(void **state)
{
    (void)state;
    connect_brokers();
    server->hook = keep_the_question;
    send_within(0, 20000); /* slow, but the probes in between are answered */
    net_advance(&fx, 15000);
    assert_int_equal(completed(1), 0);
    assert_int_equal(server->accepted, 1);
    fake_server_reply_send(server, asked_by, &(struct remoting_command){.code = REQUEST_SEND_MESSAGE_V2, .opaque = asked_opaque},
                           RESPONSE_SUCCESS);
    net_pump(&fx);
    assert_int_equal(sends[0].outcome.outcome, SEND_STORED);
}

static void on_route(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    (void)channel;
    *(int *)ctx = result->error;
}

static void ask_name_server(const char *of, int *error)
{
    struct ext_field ext = {SPAN_LITERAL("topic"), span_of(of)};
    *error = 1;
    assert_int_equal(name_server_invoke(&fx.instance->name_server, REQUEST_GET_ROUTEINFO_BY_TOPIC, &ext, 1, 3000, on_route, error), 0);
}

/* Nothing is registered there, so the probe is a question for a route. */
static void a_name_server_is_probed_as_well_before_it_is_left(void **state)
{
    (void)state;
    int error;
    connect_brokers();
    struct fake_server *name_server = fx.name_servers[0];
    assert_int_equal(name_server->accepted, 1);
    name_server->mute = true;
    ask_name_server("T", &error);
    net_advance(&fx, 3100);
    assert_int_equal(error, -ETIMEDOUT);
    assert_int_equal(fake_server_open_conns(name_server), 1);
    assert_string_equal(fake_server_last(name_server, REQUEST_GET_ROUTEINFO_BY_TOPIC)->text, "TBW102");
    name_server->mute = false; /* but the probe stays unanswered */
    net_advance(&fx, 4500);
    assert_int_equal(fake_server_open_conns(name_server), 0);
    ask_name_server("T", &error);
    net_advance(&fx, 1100);
    assert_int_equal(error, 0);
    assert_int_equal(name_server->accepted, 2);

    name_server->mute = true;
    ask_name_server("T", &error);
    net_advance(&fx, 2900);
    name_server->mute = false; /* this probe is answered */
    net_advance(&fx, 6000);
    assert_int_equal(error, -ETIMEDOUT);
    assert_int_equal(name_server->accepted, 2);
    assert_int_equal(fake_server_open_conns(name_server), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(replies_meet_their_requests_where_the_opaque_wraps),
        T(late_replies_are_counted_and_dropped),
        T(async_credits_hold_senders_back),
        T(a_credit_that_is_free_again_serves_other_connections_at_once),
        T(the_clients_own_requests_need_no_credit),
        T(the_clients_own_requests_take_no_credit_from_senders),
        T(oneway_credits_belong_to_all_connections_of_the_instance),
        T(oneway_credits_survive_the_end_of_a_connection),
        T(a_try_ends_at_its_deadline_and_at_most_20_ms_late),
        T(the_scan_runs_after_3_s_and_then_every_second),
        T(the_scan_ends_what_the_deadlines_missed),
        T(fin_and_reset_resolve_what_is_pending_in_the_turn_that_reads_them),
        T(one_timeout_does_not_close_a_shared_connection),
        T(three_timeouts_in_a_row_are_probed_and_a_silent_peer_is_left),
        T(three_timeouts_in_a_row_and_an_answered_probe_keep_the_connection),
        T(silence_of_two_heartbeat_timeouts_is_probed_and_left),
        T(a_peer_that_answers_others_is_not_silent),
        T(a_name_server_is_probed_as_well_before_it_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
