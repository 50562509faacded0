/*
 * Channels, calls and the resolver, seen from a remoting client with a scripted
 * peer: connecting, back-off, ends of connections, frames whole, split and foul.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct remoting_client client;
static struct resolver *resolver;
static struct channel *channel;
static struct fake_server *server;
static unsigned connected_calls, lost_calls;

static struct {
    unsigned count;
    int error, code;
    bool maybe_written;
    char reason[512], remark[64];
} got;

static void on_connected(void *ctx, struct channel *ch)
{
    (void)ctx;
    (void)ch;
    connected_calls++;
}

static void on_lost(void *ctx, struct channel *ch)
{
    (void)ctx;
    (void)ch;
    lost_calls++;
}

static void on_result(void *ctx, struct channel *ch, const struct invoke_result *result)
{
    (void)ctx;
    assert_non_null(ch);
    got.count++;
    got.error = result->error;
    got.maybe_written = result->maybe_written;
    got.code = result->error ? -1 : result->response->code;
    snprintf(got.reason, sizeof(got.reason), "%s", result->reason);
    got.remark[0] = '\0';
    if (!result->error && result->response->remark.data)
        snprintf(got.remark, sizeof(got.remark), "%.*s", (int)result->response->remark.len, result->response->remark.data);
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    memset(&got, 0, sizeof(got));
    connected_calls = lost_calls = 0;
    server = fx.brokers[0];
    struct remoting_client_settings settings = {.connect_timeout_ms = 3000,
                                                .max_idle_ms = 120000,
                                                .high_water_bytes = 1 << 20,
                                                .low_water_bytes = 1 << 19,
                                                .max_response_bytes = 1 << 16,
                                                .version = 399};
    struct remoting_client_ops ops = {.connected = on_connected, .lost = on_lost};
    assert_int_equal(resolver_new(&resolver, fx.loop), 0);
    assert_int_equal(remoting_client_start(&client, fx.loop, resolver, &settings, &ops), 0);
    assert_int_equal(remoting_client_channel(&client, server->address, &channel), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remoting_client_deinit(&client);
    remoting_client_deinit(&client);
    resolver_free(resolver);
    net_teardown(&fx);
    return 0;
}

static void pump(void)
{
    net_pump_client(&fx, &client);
}

static void advance(uint64_t ms)
{
    while (ms > 0) {
        uint64_t step = ms > 20 ? 10 : 1;
        net_advance(&fx, step);
        remoting_client_flush(&client);
        ms -= step;
    }
    pump();
}

static void call(uint32_t timeout_ms)
{
    struct ext_field ext[] = {{SPAN_LITERAL("topic"), SPAN_LITERAL("T")}};
    struct invoke_request request = {.code = REQUEST_GET_MAX_OFFSET, .ext = ext, .ext_count = 1, .timeout_ms = timeout_ms};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), 0);
}

static void a_call_dials_asks_and_gets_its_answer(void **state)
{
    (void)state;
    call(3000);
    assert_int_equal(got.count, 0);
    pump();
    assert_int_equal(got.count, 1);
    assert_int_equal(got.error, 0);
    assert_int_equal(got.code, 0);
    assert_int_equal(connected_calls, 1);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    assert_true(channel->local_port > 0);
    struct channel *same;
    assert_int_equal(remoting_client_channel(&client, server->address, &same), 0);
    assert_ptr_equal(same, channel);
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "host", ":1", "host:", "host:0", "host:65536", "host:x"};
    struct channel *ch;
    char host[300], port[8], many[400];
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(remoting_client_channel(&client, bad[i], &ch), -EINVAL);
    memset(many, 'a', 300);
    strcpy(many + 300, ":1");
    assert_int_equal(remoting_client_channel(&client, many, &ch), -EINVAL);
    assert_int_equal(address_split("[::1]:80", host, sizeof(host), port, sizeof(port)), 0);
    assert_string_equal(host, "::1");
    assert_string_equal(port, "80");
    for (unsigned i = client.channel_count; i < CHANNELS_MAX; i++) {
        snprintf(many, sizeof(many), "10.0.0.1:%u", i + 1);
        assert_int_equal(remoting_client_channel(&client, many, &ch), 0);
    }
    assert_int_equal(remoting_client_channel(&client, "10.0.0.2:1", &ch), -EDQUOT);
}

static void a_refused_connection_fails_those_who_wait(void **state)
{
    (void)state;
    fake_server_unlisten(server);
    call(3000);
    pump();
    assert_int_equal(got.error, -ECONNREFUSED);
    assert_false(got.maybe_written);
    assert_non_null(strstr(got.reason, server->address));
    assert_int_equal(channel->state, CHANNEL_BACKOFF);
}

static void the_back_off_doubles_to_its_cap_with_jitter(void **state)
{
    (void)state;
    fake_server_unlisten(server);
    uint64_t expected_ms = 100;
    for (unsigned i = 0; i < 6; i++) {
        call(60000);
        for (int step = 0; got.count <= i && step < 2000; step++)
            advance(1);
        assert_int_equal(got.count, i + 1);
        assert_int_equal(channel->state, CHANNEL_BACKOFF);
        uint64_t wait_ms = (channel->timer.at_ns - channel->state_since_ns + NS_PER_MS / 2) / NS_PER_MS;
        assert_in_range(wait_ms, expected_ms / 2, expected_ms);
        expected_ms = expected_ms * 2 > 1000 ? 1000 : expected_ms * 2;
    }
    fake_server_listen(server);
    call(3000);
    advance(1100);
    assert_int_equal(got.error, 0);
    assert_int_equal(channel->backoff_ms, 0);
}

static void a_peer_that_hangs_up_at_once_is_dialled_ever_more_slowly(void **state)
{
    (void)state;
    channel->keep_connected = true;
    channel_want(channel);
    for (unsigned i = 0; i < 400; i++) {
        advance(25);
        fake_server_drop_conns(server, false);
    }
    assert_in_range(connected_calls, 5, 12); /* in 10 s; one reply begins the back-off anew */
    advance(11000);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    assert_true(channel->backoff_ms > 1000);
    call(3000);
    pump();
    assert_int_equal(channel->backoff_ms, 0);
}

static void an_unwanted_channel_goes_idle_after_its_back_off(void **state)
{
    (void)state;
    fake_server_unlisten(server);
    call(3000);
    pump();
    advance(150);
    assert_int_equal(channel->state, CHANNEL_IDLE);
    assert_int_equal(channel->counters.connect_failures, 1);
}

static void a_connection_that_never_comes_has_a_time_limit(void **state)
{
    (void)state;
    struct black_hole hole;
    black_hole_open(&hole);
    assert_int_equal(remoting_client_channel(&client, hole.address, &channel), 0);
    call(10000);
    advance(2990);
    assert_int_equal(got.count, 0);
    advance(20);
    assert_int_equal(got.error, -ETIMEDOUT);
    assert_false(got.maybe_written);
    black_hole_close(&hole);
}

static void fin_and_rst_resolve_what_is_pending_at_once(void **state)
{
    (void)state;
    server->mute = true;
    for (int reset = 0; reset < 2; reset++) {
        memset(&got, 0, sizeof(got));
        call(3000);
        advance(200);
        assert_int_equal(got.count, 0);
        fake_server_drop_conns(server, reset);
        pump();
        assert_int_equal(got.count, 1);
        assert_true(got.maybe_written);
        assert_true(got.error < 0);
        assert_non_null(strstr(got.reason, "lost"));
    }
    assert_int_equal(lost_calls, 2);
    assert_int_equal(client.responses.count, 0);
    assert_int_equal(channel->pending_count, 0);
}

static void unwritten_requests_survive_a_reconnect(void **state)
{
    (void)state;
    call(3000);
    pump();
    memset(&got, 0, sizeof(got));
    /* The frame lies in the buffer when the connection ends. */
    call(3000);
    assert_int_equal(channel->pending_count, 1);
    channel_fail(channel, ECONNRESET, "test");
    assert_int_equal(got.count, 0);
    assert_int_equal(channel->waiting_count, 1);
    assert_int_equal(channel->pending_count, 0);
    advance(200);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.error, 0);
    assert_int_equal(server->accepted, 2);
}

static void bound_requests_end_with_their_connection(void **state)
{
    (void)state;
    call(3000);
    pump();
    memset(&got, 0, sizeof(got));
    struct invoke_request request = {.code = REQUEST_GET_MIN_OFFSET, .timeout_ms = 3000, .bound = true};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), 0);
    channel_fail(channel, ECONNRESET, "test");
    assert_int_equal(got.count, 1);
    assert_false(got.maybe_written);
    advance(300);
    assert_int_equal(fake_server_count(server, REQUEST_GET_MIN_OFFSET), 0);
}

static void a_timeout_keeps_the_connection(void **state)
{
    (void)state;
    server->mute = true;
    call(100);
    advance(99);
    assert_int_equal(got.count, 0);
    advance(21);
    assert_int_equal(got.error, -ETIMEDOUT);
    assert_true(got.maybe_written);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    assert_int_equal(client.responses.counters.expired, 1);
}

static void late_duplicate_and_wrong_replies_meet_nobody(void **state)
{
    (void)state;
    static const struct span none = {"", 0};
    call(3000);
    pump();
    int32_t opaque = server->log[0].opaque;
    struct fake_conn *conn = fake_server_last_conn(server);
    fake_server_reply(conn, opaque, 0, NULL, NULL, 0, none);
    fake_server_reply(conn, opaque + 77, 0, NULL, NULL, 0, none);
    pump();
    assert_int_equal(got.count, 1);
    assert_int_equal(client.responses.counters.late_or_unknown, 2);
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    /* A reply on another connection than the request's is not believed. */
    struct channel *other;
    server->mute = true;
    call(3000);
    pump();
    assert_int_equal(remoting_client_channel(&client, fx.brokers[1]->address, &other), 0);
    channel_want(other);
    pump();
    fake_server_reply(fake_server_last_conn(fx.brokers[1]), server->log[1].opaque, 0, NULL, NULL, 0, none);
    pump();
    assert_int_equal(got.count, 1);
    assert_int_equal(client.responses.counters.wrong_channel, 1);
}

static size_t encode_reply(char *frame, size_t cap, int32_t opaque, const char *remark, size_t body_len)
{
    struct remoting_encoder e;
    size_t len = 0;
    remoting_encode_begin(&e, frame, cap, SERIALIZE_JSON, 0, LANGUAGE_JAVA, 399, opaque, REMOTING_FLAG_RESPONSE);
    remoting_encode_remark(&e, span_of(remark));
    void *body = remoting_encode_body(&e, body_len, &len);
    assert_non_null(body);
    memset(body, 'x', body_len);
    return len;
}

static void frames_may_come_in_any_pieces(void **state)
{
    (void)state;
    char frame[512];
    server->mute = true;
    call(3000);
    call(3000);
    pump();
    struct fake_conn *conn = fake_server_last_conn(server);
    for (int i = 0; i < 2; i++) {
        size_t len = encode_reply(frame, sizeof(frame), server->log[i].opaque, "piece by piece", 0);
        for (size_t at = 0; at < len; at++) {
            fake_server_send(conn, frame + at, 1);
            if (at % 7 == 0)
                pump();
        }
    }
    pump();
    assert_int_equal(got.count, 2);
    assert_string_equal(got.remark, "piece by piece");
}

static void a_reply_larger_than_the_buffer_is_read_whole(void **state)
{
    (void)state;
    static char frame[60000];
    server->mute = true;
    call(3000);
    pump();
    size_t len = encode_reply(frame, sizeof(frame), server->log[0].opaque, "large", 50000);
    fake_server_send(fake_server_last_conn(server), frame, len);
    pump();
    assert_int_equal(got.error, 0);
    assert_string_equal(got.remark, "large");
}

/* A length is a claim: what is kept for it is twice what came, at most. */
static void memory_follows_the_bytes_not_the_length(void **state)
{
    (void)state;
    enum { BODY_BYTES = 5000000, PIECE_BYTES = 30000, BUFFER_BYTES = 256 << 10 };
    char *frame = malloc(BODY_BYTES + 512);
    assert_non_null(frame);
    client.settings.max_response_bytes = 16u << 20;
    server->mute = true;
    call(30000);
    pump();
    size_t len = encode_reply(frame, BODY_BYTES + 512, server->log[0].opaque, "late but whole", BODY_BYTES);
    struct fake_conn *conn = fake_server_last_conn(server);
    for (size_t at = 0, n = 8; at < len; at += n, n = len - at < PIECE_BYTES ? len - at : PIECE_BYTES) {
        fake_server_send(conn, frame + at, n);
        pump();
        assert_true(channel->in.cap <= BUFFER_BYTES || channel->in.cap <= 2 * (at + n));
    }
    assert_string_equal(got.remark, "late but whole");
    free(frame);
}

static void garbage_and_oversize_close_the_connection(void **state)
{
    (void)state;
    static const uint8_t huge[8] = {0, 2, 0, 0, 0, 0, 0, 10}; /* 128 KiB, over our limit of 64 */
    static const uint8_t bad_header[] = {0, 0, 0, 6, 0, 0, 0, 2, '{', '['};
    const struct {
        const void *data;
        size_t len;
        const char *says;
    } cases[] = {{"GET / HTTP/1.1\r\n\r\n", 18, "not a remoting frame"}, {huge, 8, "over the limit"}, {bad_header, 10, "undecodable"}};
    server->mute = true;
    for (unsigned i = 0; i < 3; i++) {
        memset(&got, 0, sizeof(got));
        call(3000);
        advance(200);
        fake_server_send(fake_server_last_conn(server), cases[i].data, cases[i].len);
        pump();
        assert_int_equal(got.count, 1);
        assert_non_null(strstr(channel->last_error, cases[i].says));
        assert_int_equal(channel->state, CHANNEL_BACKOFF);
    }
}

static void an_idle_connection_is_closed(void **state)
{
    (void)state;
    call(3000);
    pump();
    for (int i = 0; i < 122; i++) {
        fx.now_ns += NS_PER_S;
        pump();
        assert_int_equal(remoting_client_scan(&client), 0);
    }
    pump();
    assert_int_equal(channel->state, CHANNEL_IDLE);
    assert_string_equal(channel->last_error, "idle");
    assert_int_equal(fake_server_open_conns(server), 0);
    call(3000);
    pump();
    assert_int_equal(got.count, 2);
}

static void names_are_looked_up_off_the_loop(void **state)
{
    (void)state;
    char address[64];
    snprintf(address, sizeof(address), "localhost:%u", server->port);
    assert_int_equal(remoting_client_channel(&client, address, &channel), 0);
    call(3000);
    assert_int_equal(channel->state, CHANNEL_RESOLVING);
    net_wait_for_the_resolver(channel, pump);
    assert_int_not_equal(channel->state, CHANNEL_RESOLVING);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.error, 0); /* whatever else localhost is, 127.0.0.1 is tried */
}

static void idle_buffers_are_given_back(void **state)
{
    (void)state;
    char body[40000];
    struct invoke_request request = {.code = REQUEST_GET_MIN_OFFSET, .timeout_ms = 3000, .body = {body, sizeof(body)}};
    memset(body, 'x', sizeof(body));
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), 0);
    pump();
    assert_int_equal(got.count, 1);
    assert_true(channel->out.cap >= sizeof(body));
    advance(1100);
    remoting_client_scan(&client);
    assert_int_equal(channel->out.cap, 0);
    call(3000);
    pump();
    assert_int_equal(got.count, 2);
}

static void a_name_that_does_not_exist_is_named(void **state)
{
    (void)state;
    assert_int_equal(remoting_client_channel(&client, "no-such-host.invalid:1", &channel), 0);
    call(3000);
    net_wait_for_the_resolver(channel, pump);
    assert_true(got.error < 0);
    assert_non_null(strstr(got.reason, "name look-up: "));
    assert_null(strstr(got.reason, "No route to host"));
}

static void dropping_a_channel_while_resolving_is_safe(void **state)
{
    (void)state;
    assert_int_equal(remoting_client_channel(&client, "no-such-host.invalid:2", &channel), 0);
    call(3000);
    remoting_client_drop(&client, channel);
    remoting_client_drop(&client, channel);
    assert_int_equal(got.error, -ECANCELED);
    call(3000); /* a call on a dropped channel ends as well */
    assert_int_equal(got.count, 2);
    pump();
}

static void oversize_requests_are_refused(void **state)
{
    (void)state;
    struct invoke_request request = {.code = 1, .timeout_ms = 1, .ext_count = 5};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), -EMSGSIZE);
    request = (struct invoke_request){.code = 1, .timeout_ms = 1, .body = {"", (size_t)16 << 20}};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), -EMSGSIZE);
}

/* The end of one call may be the end of any channel: a look-up that fails leaves no use for the other nameservers. */
static void drop_it(void *ctx, struct channel *ch, const struct invoke_result *result)
{
    on_result(NULL, ch, result);
    remoting_client_drop(&client, ctx);
}

static void a_callback_may_drop_the_channel_that_the_scan_comes_to_next(void **state)
{
    (void)state;
    struct channel *next;
    struct invoke_request request = {.code = REQUEST_GET_MAX_OFFSET, .timeout_ms = 600000};
    client.settings.probe_silence_ms = 60000;
    assert_int_equal(remoting_client_channel(&client, fx.brokers[1]->address, &next), 0);
    server->mute = fx.brokers[1]->mute = true;
    channel_want(next);
    assert_int_equal(remoting_client_invoke(&client, channel, &request, drop_it, next), 0);
    pump();
    assert_int_equal(channel->state, CHANNEL_CONNECTED);
    assert_int_equal(next->state, CHANNEL_CONNECTED);
    advance(1);
    remoting_client_suspect(&client, channel);
    fx.now_ns += 31 * NS_PER_S;
    net_pump(&fx);
    remoting_client_scan(&client);
    assert_int_equal(got.count, 1);
    assert_true(got.error < 0);
    assert_int_equal(client.channel_count, 1);
    assert_int_equal(channel->state, CHANNEL_BACKOFF);
    pump();
}

static void a_callback_may_drop_a_channel_while_all_are_closed(void **state)
{
    (void)state;
    struct channel *next;
    struct invoke_request request = {.code = REQUEST_GET_MAX_OFFSET, .timeout_ms = 600000};
    assert_int_equal(remoting_client_channel(&client, fx.brokers[1]->address, &next), 0);
    assert_int_equal(remoting_client_invoke(&client, channel, &request, drop_it, next), 0);
    remoting_client_close_all(&client);
    assert_int_equal(got.error, -ECANCELED);
    assert_int_equal(channel->state, CHANNEL_CLOSED);
    pump();
}

/* ---- senders: they need credits, the client's own calls do not ---- */

struct sender {
    struct response_future future;
    unsigned ended;
    enum future_end end;
};

static int sender_write(struct response_future *future, struct channel *ch)
{
    enum { FRAME_BYTES = 256 };
    struct remoting_encoder e;
    size_t len;
    void *at = channel_reserve(ch, FRAME_BYTES);
    if (!at || response_table_add(&client.responses, future) < 0)
        return -EAGAIN;
    remoting_encode_begin(&e, at, FRAME_BYTES, SERIALIZE_JSON, future->code, LANGUAGE_CPP, 399, future->opaque, 0);
    assert_non_null(remoting_encode_body(&e, 0, &len));
    channel_commit_future(ch, future, len, false);
    return 0;
}

static void sender_done(struct response_future *future, const struct future_result *result)
{
    struct sender *sender = LIST_ENTRY(future, struct sender, future);
    sender->ended++;
    sender->end = result->end;
}

static void submit(struct sender *sender, struct channel *ch)
{
    static const struct future_ops ops = {.write = sender_write, .done = sender_done, .kind = "test"};
    *sender = (struct sender){.future = {.ops = &ops, .code = REQUEST_GET_MIN_OFFSET, .begin_ns = fx.now_ns}};
    remoting_client_submit(&client, ch, &sender->future, fx.now_ns + 60 * NS_PER_S);
}

static void answer(struct fake_server *to, const struct sender *sender)
{
    fake_server_reply(fake_server_last_conn(to), sender->future.opaque, 0, NULL, NULL, 0, (struct span){"", 0});
}

/* A credit comes back while the buffer is above the low mark, and the whole buffer goes at once: nothing else wakes who waits. */
static void who_waits_for_a_credit_goes_on_when_the_buffer_empties_at_once(void **state)
{
    (void)state;
    static struct sender senders[2];
    client.settings.low_water_bytes = 1;
    client.responses.max = 1;
    call(3000);
    pump();
    server->mute = true;
    submit(&senders[0], channel);
    submit(&senders[1], channel);
    pump();
    assert_int_equal(channel->waiting_count, 1);
    answer(server, &senders[0]);
    net_pump(&fx);
    assert_int_equal(senders[0].ended, 1);
    call(60000);
    pump();
    assert_int_equal(channel->waiting_count, 0);
    assert_int_equal(senders[1].future.state, FUTURE_PENDING);
    assert_int_equal(fake_server_count(server, REQUEST_GET_MIN_OFFSET), 2);
}

/* One credit, given back by the same broker again and again: whoever waits for another one has his turn. */
static void credits_go_round(void **state)
{
    (void)state;
    enum { QUEUED = 6 };
    static struct sender many[QUEUED], other, late;
    struct channel *second;
    client.responses.max = 1;
    assert_int_equal(remoting_client_channel(&client, fx.brokers[1]->address, &second), 0);
    channel_want(channel);
    channel_want(second);
    pump();
    server->mute = fx.brokers[1]->mute = true;
    for (unsigned i = 0; i < QUEUED; i++)
        submit(&many[i], channel);
    submit(&other, second);
    pump();
    assert_int_equal(many[0].future.state, FUTURE_PENDING);
    assert_int_equal(other.future.state, FUTURE_WAITING);
    unsigned answered = 0;
    for (; answered < 2 && other.future.state == FUTURE_WAITING; answered++) {
        answer(server, &many[answered]);
        pump();
    }
    assert_int_equal(other.future.state, FUTURE_PENDING);
    assert_int_equal(channel->waiting_count, QUEUED - answered);
    answer(fx.brokers[1], &other);
    net_pump(&fx);
    assert_int_equal(other.ended, 1);
    submit(&late, second); /* the credit is there, but others waited for it before */
    pump();
    assert_int_equal(late.future.state, FUTURE_WAITING);
    assert_int_equal(many[answered].future.state, FUTURE_PENDING);
    answer(server, &many[answered]);
    pump();
    assert_int_equal(late.future.state, FUTURE_PENDING);
}

static void own_requests_wait_behind_no_sender_after_a_reconnect_either(void **state)
{
    (void)state;
    static struct sender senders[3];
    client.settings.high_water_bytes = 400;
    client.settings.low_water_bytes = 1;
    call(3000);
    pump();
    server->mute = true;
    for (unsigned i = 0; i < 2; i++)
        submit(&senders[i], channel);
    call(60000); /* no room */
    submit(&senders[2], channel);
    assert_int_equal(channel->pending_count, 2);
    assert_int_equal(channel->waiting_count, 2);
    channel_fail(channel, ECONNRESET, "test");
    assert_int_equal(channel->waiting_count, 4);
    unsigned before = server->log_count;
    advance(200);
    assert_int_equal(server->log_count, before + 4);
    assert_int_equal(server->log[before].code, REQUEST_GET_MAX_OFFSET);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(server->log[before + 1 + i].opaque, senders[i].future.opaque);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_call_dials_asks_and_gets_its_answer),
        T(bad_addresses_are_refused),
        T(a_refused_connection_fails_those_who_wait),
        T(the_back_off_doubles_to_its_cap_with_jitter),
        T(a_peer_that_hangs_up_at_once_is_dialled_ever_more_slowly),
        T(an_unwanted_channel_goes_idle_after_its_back_off),
        T(a_connection_that_never_comes_has_a_time_limit),
        T(fin_and_rst_resolve_what_is_pending_at_once),
        T(unwritten_requests_survive_a_reconnect),
        T(bound_requests_end_with_their_connection),
        T(a_timeout_keeps_the_connection),
        T(late_duplicate_and_wrong_replies_meet_nobody),
        T(frames_may_come_in_any_pieces),
        T(a_reply_larger_than_the_buffer_is_read_whole),
        T(memory_follows_the_bytes_not_the_length),
        T(garbage_and_oversize_close_the_connection),
        T(an_idle_connection_is_closed),
        T(idle_buffers_are_given_back),
        T(names_are_looked_up_off_the_loop),
        T(a_name_that_does_not_exist_is_named),
        T(dropping_a_channel_while_resolving_is_safe),
        T(oversize_requests_are_refused),
        T(a_callback_may_drop_the_channel_that_the_scan_comes_to_next),
        T(a_callback_may_drop_a_channel_while_all_are_closed),
        T(who_waits_for_a_credit_goes_on_when_the_buffer_empties_at_once),
        T(credits_go_round),
        T(own_requests_wait_behind_no_sender_after_a_reconnect_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
