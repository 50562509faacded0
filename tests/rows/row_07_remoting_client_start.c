/*
 * Row 7: NettyRemotingClient.start. The socket options and limits of the settings
 * hold on the sockets themselves, the water marks hold senders back, what is idle
 * is closed, and the listener hears of it all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_client.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

#define HIGH_WATER ((size_t)256 << 10)
#define LOW_WATER ((size_t)64 << 10)
#define MAX_IDLE_MS 120000u

static struct net_fixture fx;
static struct remoting_client client;
static struct remoting_client_settings settings;
static struct channel *channel;
static struct fake_server *server;
static char heard[256]; /* events, in words */

static struct {
    unsigned count;
    int error;
    bool maybe_written;
    char reason[512];
} got;

static void on_event(void *ctx, struct channel *ch, enum channel_event event)
{
    static const char *const names[] = {"CONNECT", "CLOSE", "EXCEPTION", "IDLE"};
    size_t len = strlen(heard);
    assert_ptr_equal(ctx, &fx);
    assert_ptr_equal(ch, channel);
    snprintf(heard + len, sizeof(heard) - len, "%s%s", len ? " " : "", names[event]);
}

static void on_result(void *ctx, struct channel *ch, const struct invoke_result *result)
{
    (void)ctx;
    (void)ch;
    got.count++;
    got.error = result->error;
    got.maybe_written = result->maybe_written;
    snprintf(got.reason, sizeof(got.reason), "%s", result->reason);
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    memset(&client, 0, sizeof(client));
    memset(&got, 0, sizeof(got));
    heard[0] = '\0';
    server = fx.brokers[0];
    settings = (struct remoting_client_settings){.connect_timeout_ms = 3000,
                                                 .max_idle_ms = MAX_IDLE_MS,
                                                 .high_water_bytes = HIGH_WATER,
                                                 .low_water_bytes = LOW_WATER,
                                                 .max_response_bytes = 1 << 16,
                                                 .version = 399};
    return 0;
}

static void start(void)
{
    struct remoting_client_ops ops = {.event = on_event, .ctx = &fx};
    assert_int_equal(remoting_client_start(&client, fx.loop, NULL, &settings, &ops), 0);
    assert_int_equal(remoting_client_channel(&client, server->address, &channel), 0);
}

static int teardown(void **state)
{
    (void)state;
    remoting_client_deinit(&client);
    net_teardown(&fx);
    return 0;
}

static void pump(void)
{
    net_pump_client(&fx, &client);
}

static void call(size_t body_len)
{
    static char body[512 << 10];
    struct invoke_request request = {.code = REQUEST_GET_MAX_OFFSET, .body = {body, body_len}, .timeout_ms = 600000};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), 0);
}

static void connect_now(void)
{
    call(0);
    pump();
    assert_int_equal(got.error, 0);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
}

/* A second at a time, with what happens every second. */
static void advance_s(unsigned seconds)
{
    while (seconds-- > 0) {
        fx.now_ns += NS_PER_S;
        pump();
        remoting_client_scan(&client);
    }
    pump();
}

static int option(int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(channel->fd, level, name, &value, &len), 0);
    return value;
}

static void sockets_have_the_options_of_4_9_3(void **state)
{
    (void)state;
    start();
    connect_now();
    int untouched_snd = option(SOL_SOCKET, SO_SNDBUF);
    assert_int_equal(option(IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    remoting_client_deinit(&client);

    settings.socket_snd_buf_bytes = 32768;
    settings.socket_rcv_buf_bytes = 65536;
    settings.tcp_user_timeout_ms = 20000;
    start();
    connect_now();
    assert_int_equal(option(SOL_SOCKET, SO_SNDBUF), 2 * 32768); /* the kernel doubles what it is told */
    assert_int_equal(option(SOL_SOCKET, SO_RCVBUF), 2 * 65536);
    assert_int_not_equal(untouched_snd, 2 * 32768);
    assert_int_equal(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 20000);
}

static void an_attempt_ends_with_the_connect_timeout(void **state)
{
    (void)state;
    struct black_hole hole;
    black_hole_open(&hole);
    settings.connect_timeout_ms = 700;
    start();
    assert_int_equal(remoting_client_channel(&client, hole.address, &channel), 0);
    call(0);
    fx.now_ns += 699 * NS_PER_MS;
    pump();
    assert_int_equal(got.count, 0);
    fx.now_ns += 2 * NS_PER_MS;
    pump();
    assert_int_equal(got.error, -ETIMEDOUT);
    assert_false(got.maybe_written);
    assert_string_equal(heard, ""); /* there was no connection yet */
    black_hole_close(&hole);
}

static size_t buffered(void)
{
    return channel->out.tail - channel->out.head;
}

static void senders_wait_from_the_high_mark_to_the_low_one(void **state)
{
    (void)state;
    enum { BODY = 32 << 10 };
    settings.socket_snd_buf_bytes = 16384; /* the kernel is not to swallow it all */
    start();
    connect_now();
    server->stop_reading = true;
    unsigned calls = 1;
    for (; !channel->held_back && calls < 1000; calls++) {
        call(BODY);
        if (calls % 3 == 0)
            remoting_client_flush(&client);
        assert_true(buffered() <= HIGH_WATER);
    }
    assert_true(channel->held_back);
    assert_true(buffered() > HIGH_WATER - BODY - 4096);
    assert_int_equal(channel->waiting_count, 1);
    assert_int_equal(channel->counters.held_back, 1);

    /* A small one would fit below the high mark, but the low one was not reached: it waits, in its turn. */
    unsigned late = calls++;
    call(0);
    pump();
    assert_int_equal(channel->waiting_count, 2);
    assert_null(channel_reserve(channel, 16));

    server->stop_reading = false;
    bool between = false;
    for (unsigned i = 0; i < 10000 && got.count < calls; i++) {
        size_t before = buffered();
        uint32_t waiting = channel->waiting_count;
        event_loop_round(fx.loop, false);
        remoting_client_flush(&client);
        if (before > LOW_WATER && waiting > 0 && buffered() > LOW_WATER) {
            between = true;
            assert_int_equal(channel->waiting_count, waiting);
        }
        fake_server_poll(server);
    }
    assert_true(between);
    assert_int_equal(got.count, calls);
    assert_int_equal(got.error, 0);
    assert_false(channel->held_back);
    assert_int_equal(server->log[late].body_len, 0); /* everything arrived in the order of sending */
}

/* The whole buffer goes at once, so that no readiness follows: those who wait must not wait for the next second. */
static void what_waits_goes_on_when_the_buffer_empties_at_once(void **state)
{
    (void)state;
    enum { BODY = 100 << 10 };
    start();
    connect_now();
    for (unsigned i = 0; i < 8; i++)
        call(BODY);
    assert_true(channel->held_back || channel->counters.writes > 1);
    pump();
    assert_int_equal(channel->waiting_count, 0);
    assert_int_equal(got.count, 9);
}

static void a_single_frame_above_the_high_mark_is_sent(void **state)
{
    (void)state;
    start();
    connect_now();
    call(HIGH_WATER + 1000);
    pump();
    assert_int_equal(got.count, 2);
    assert_int_equal(got.error, 0);
    assert_int_equal(channel->out.cap, 0); /* and its buffer is not kept */
}

static void a_request_keeps_a_connection_from_being_idle(void **state)
{
    (void)state;
    start();
    connect_now();
    for (unsigned i = 0; i < 5; i++) {
        advance_s(100);
        call(0);
        pump();
    }
    assert_int_equal(server->accepted, 1);
    assert_string_equal(heard, "CONNECT");
}

/* 4.9.3's ALL_IDLE: either direction alone keeps it open. */
static void reading_alone_and_writing_alone_keep_it_open(void **state)
{
    (void)state;
    start();
    connect_now();
    server->mute = true;
    for (unsigned i = 0; i < 5; i++) { /* nothing is read */
        advance_s(100);
        call(0);
        pump();
    }
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    for (unsigned i = 0; i < 5; i++) { /* nothing is written */
        advance_s(100);
        fake_server_reply(fake_server_last_conn(server), 77777, 0, NULL, NULL, 0, (struct span){"", 0});
        pump();
    }
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    assert_int_equal(server->accepted, 1);
}

static void an_idle_connection_is_closed_and_dialled_when_needed(void **state)
{
    (void)state;
    start();
    connect_now();
    advance_s(119);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    advance_s(3);
    assert_int_equal(channel->state, CHANNEL_IDLE);
    assert_string_equal(heard, "CONNECT IDLE CLOSE");
    assert_int_equal(fake_server_open_conns(server), 0);
    call(0);
    pump();
    assert_int_equal(got.count, 2);
    assert_int_equal(got.error, 0);
    remoting_client_deinit(&client);

    settings.max_idle_ms = 0; /* never */
    start();
    connect_now();
    advance_s(1000);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
}

static void the_encoder_and_the_decoder_have_their_limits(void **state)
{
    (void)state;
    static const uint8_t too_long[8] = {0, 1, 0, 1, 0, 0, 0, 10}; /* one byte over max_response_bytes, told by the prefix alone */
    static char body[1];
    struct invoke_request request = {.code = 1, .body = {body, (size_t)16 << 20}, .timeout_ms = 1000};
    start();
    connect_now();
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), -EMSGSIZE);
    server->mute = true;
    call(0);
    pump();
    size_t cap = channel->in.cap;
    fake_server_send(fake_server_last_conn(server), too_long, sizeof(too_long));
    net_pump(&fx);
    assert_int_equal(got.count, 2);
    assert_true(got.error < 0);
    assert_true(got.maybe_written);
    assert_non_null(strstr(channel->last_error, "frame over the limit"));
    assert_true(channel->in.cap <= cap); /* nothing is allocated from a claim */
}

static void the_listener_hears_connect_close_exception_and_idle(void **state)
{
    (void)state;
    start();
    connect_now();
    fake_server_drop_conns(server, false);
    pump();
    assert_string_equal(heard, "CONNECT CLOSE"); /* a FIN is no exception */
    heard[0] = '\0';
    for (unsigned i = 0; i < 200 && channel->state != CHANNEL_IDLE; i++)
        net_advance(&fx, 10);
    connect_now();
    fake_server_drop_conns(server, true);
    pump();
    assert_string_equal(heard, "CONNECT EXCEPTION CLOSE");
    heard[0] = '\0';
    for (unsigned i = 0; i < 200 && channel->state != CHANNEL_IDLE; i++)
        net_advance(&fx, 10);
    connect_now();
    remoting_client_drop(&client, channel);
    assert_string_equal(heard, "CONNECT CLOSE");
    assert_int_equal(channel->counters.events[CHANNEL_EVENT_CONNECT], 3);
    assert_int_equal(channel->counters.events[CHANNEL_EVENT_CLOSE], 3);
    assert_int_equal(channel->counters.events[CHANNEL_EVENT_EXCEPTION], 1);
    assert_int_equal(channel->counters.events[CHANNEL_EVENT_IDLE], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(sockets_have_the_options_of_4_9_3),
        T(an_attempt_ends_with_the_connect_timeout),
        T(senders_wait_from_the_high_mark_to_the_low_one),
        T(what_waits_goes_on_when_the_buffer_empties_at_once),
        T(a_single_frame_above_the_high_mark_is_sent),
        T(a_request_keeps_a_connection_from_being_idle),
        T(reading_alone_and_writing_alone_keep_it_open),
        T(an_idle_connection_is_closed_and_dialled_when_needed),
        T(the_encoder_and_the_decoder_have_their_limits),
        T(the_listener_hears_connect_close_exception_and_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
