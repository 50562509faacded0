/*
 * Row 8: TlsHelper.buildSslContext. A context from files, and what its connections
 * accept: everything that is wrong with a server is refused with its own words,
 * and where TLS is wanted, no byte goes out in plain text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/resolver.h"
#include "hub/remoting/tls_context.h"
#include "hub/remoting/tls_session.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"
#include "tests/unit/hub/tls_fixture.h"

#define DAY_S (24L * 3600)
#define PASSWORD "open sesame"

static struct net_fixture fx;
static struct remoting_client client;
static struct resolver *resolver;
static struct channel *channel;
static struct tls_server server;
static struct tls_identity authority, stranger, good, own, strange_own;
static struct tls_settings settings;
static char folder[64], path[8][128], why[512];

static struct {
    unsigned count, failed;
    int error;
    bool maybe_written;
    char reason[512];
} got;

static const char *file(unsigned i, const char *name)
{
    snprintf(path[i], sizeof(path[i]), "%s/%s", folder, name);
    return path[i];
}

static void set_path(char *field, const char *name)
{
    snprintf(field, TLS_PATH_MAX + 1, "%s/%s", folder, name);
}

/* ---- set-up ---- */

static int make_certificates(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/rmqhub-tls-XXXXXX");
    assert_non_null(mkdtemp(folder));
    tls_identity_issue(&authority, NULL, &(struct tls_wish){.name = "Authority", .authority = true});
    tls_identity_issue(&stranger, NULL, &(struct tls_wish){.name = "Stranger", .authority = true});
    tls_identity_issue(&good, &authority, &(struct tls_wish){.name = "server", .san = "IP:127.0.0.1,DNS:localhost"});
    tls_identity_issue(&own, &authority, &(struct tls_wish){.name = "hub"});
    tls_identity_issue(&strange_own, &stranger, &(struct tls_wish){.name = "strange hub"});
    tls_write_certificate(file(0, "ca.pem"), &authority);
    tls_write_certificate(file(0, "stranger.pem"), &stranger);
    tls_write_certificate(file(0, "own.pem"), &own);
    tls_write_key(file(0, "own.key"), &own, NULL);
    tls_write_key(file(0, "locked.key"), &own, PASSWORD);
    tls_write_certificate(file(0, "strange.pem"), &strange_own);
    tls_write_key(file(0, "strange.key"), &strange_own, NULL);
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    static const char *const names[] = {"ca.pem",      "stranger.pem", "own.pem",  "own.key",   "locked.key", "strange.pem",
                                        "strange.key", "password",     "link.key", "empty.pem", "other"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(file(0, names[i]));
    assert_int_equal(rmdir(folder), 0);
    tls_identity_clear(&authority);
    tls_identity_clear(&stranger);
    tls_identity_clear(&good);
    tls_identity_clear(&own);
    tls_identity_clear(&strange_own);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    memset(&got, 0, sizeof(got));
    memset(&settings, 0, sizeof(settings));
    memset(&client, 0, sizeof(client));
    memset(&server, 0, sizeof(server));
    settings.enable = true;
    set_path(settings.ca_file, "ca.pem");
    struct remoting_client_settings s = {.connect_timeout_ms = 3000,
                                         .max_idle_ms = 120000,
                                         .high_water_bytes = 1 << 20,
                                         .low_water_bytes = 1 << 19,
                                         .max_response_bytes = 1 << 16,
                                         .version = 399,
                                         .use_tls = true};
    struct remoting_client_ops ops = {0};
    assert_int_equal(resolver_new(&resolver, fx.loop), 0);
    assert_int_equal(remoting_client_start(&client, fx.loop, resolver, &s, &ops), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remoting_client_deinit(&client);
    resolver_free(resolver);
    tls_server_close(&server);
    net_teardown(&fx);
    return 0;
}

static void serve(const struct tls_identity *identity)
{
    tls_server_close(&server);
    tls_server_open(&server, identity);
    assert_int_equal(remoting_client_channel(&client, server.address, &channel), 0);
}

static void load(void)
{
    struct tls_context *context = NULL;
    int r = tls_context_new(&context, &settings, why, sizeof(why));
    if (r != 0)
        fail_msg("%s", why);
    assert_non_null(context);
    remoting_client_set_tls(&client, context);
}

static void pump(void)
{
    uint64_t events = 0;
    for (unsigned quiet = 0; quiet < 4; quiet++) {
        remoting_client_flush(&client);
        assert_int_equal(event_loop_round(fx.loop, false), 0);
        uint64_t seen = event_loop_counters(fx.loop)->io_events;
        if (tls_server_poll(&server) || seen != events)
            quiet = 0;
        events = seen;
    }
}

static void advance(uint64_t ms)
{
    for (uint64_t step; ms > 0; ms -= step) {
        step = ms > 100 ? 50 : ms > 10 ? 5 : 1;
        fx.now_ns += step * NS_PER_MS;
        pump();
    }
}

static void on_result(void *ctx, struct channel *ch, const struct invoke_result *result)
{
    (void)ctx;
    (void)ch;
    got.count++;
    got.failed += result->error < 0;
    got.error = result->error;
    got.maybe_written = result->maybe_written;
    snprintf(got.reason, sizeof(got.reason), "%s", result->reason);
}

static void call(size_t body_len, uint32_t timeout_ms)
{
    static char body[512 << 10];
    struct invoke_request request = {.code = REQUEST_GET_MAX_OFFSET, .body = {body, body_len}, .timeout_ms = timeout_ms};
    assert_int_equal(remoting_client_invoke(&client, channel, &request, on_result, NULL), 0);
}

static void assert_answered(void)
{
    pump();
    if (got.count != 1 || got.error != 0)
        fail_msg("not answered: %s %s", got.reason, channel->last_error);
}

/* Refused before anything was said, and with these words. */
static void assert_refused(const char *words)
{
    if (got.count != 1 || got.error >= 0)
        fail_msg("not refused; expected \"%s\"", words);
    if (!strstr(channel->last_error, words) || !strstr(got.reason, words))
        fail_msg("says \"%s\" (call: \"%s\") and not \"%s\"", channel->last_error, got.reason, words);
    assert_false(got.maybe_written);
    assert_int_equal(server.answered, 0);
    assert_int_equal(server.bytes_in, 0);
    assert_int_equal(channel->counters.connects, 0);
    memset(&got, 0, sizeof(got));
}

static void try_and_be_refused(const struct tls_identity *identity, const char *words)
{
    serve(identity);
    load();
    call(0, 10000);
    pump();
    assert_refused(words);
}

/* ---- good servers ---- */

static void a_good_server_is_verified_and_answers(void **state)
{
    (void)state;
    char peer[64];
    serve(&good);
    load();
    call(0, 3000);
    assert_answered();
    assert_non_null(channel->tls);
    assert_string_equal(tls_session_protocol(channel->tls), "TLSv1.3");
    assert_true(strlen(tls_session_cipher(channel->tls)) > 0);
    assert_true(tls_session_is_verified(channel->tls));
    tls_session_peer(channel->tls, peer, sizeof(peer));
    assert_string_equal(peer, "server");
    channel_disconnect(channel, "test");
    assert_null(channel->tls);
}

static void tls_1_2_is_spoken_too_and_host_names_are_verified(void **state)
{
    (void)state;
    serve(&good);
    load();
    SSL_CTX_set_max_proto_version(server.ssl, TLS1_2_VERSION);
    assert_int_equal(remoting_client_channel(&client, server.by_name, &channel), 0);
    call(0, 3000);
    net_wait_for_the_resolver(channel, pump);
    assert_answered();
    assert_string_equal(tls_session_protocol(channel->tls), "TLSv1.2");
}

static void a_server_name_replaces_the_dialled_one(void **state)
{
    (void)state;
    struct tls_identity named;
    tls_identity_issue(&named, &authority, &(struct tls_wish){.name = "named", .san = "DNS:broker.example"});
    snprintf(settings.server_name, sizeof(settings.server_name), "broker.example");
    serve(&named);
    load();
    call(0, 3000);
    assert_answered();
    tls_identity_clear(&named);
}

/* ---- everything that is wrong with a server ---- */

static void each_wrong_certificate_has_its_own_words(void **state)
{
    (void)state;
    const struct {
        struct tls_wish wish;
        const struct tls_identity *issuer;
        const char *words;
    } cases[] = {
        {{.name = "server", .san = "IP:127.0.0.1"}, &stranger, "authority that is not trusted"},
        {{.name = "server", .san = "IP:127.0.0.1"}, NULL, "signed by itself"},
        {{.name = "server", .san = "IP:127.0.0.1", .from_s = -9 * DAY_S, .until_s = -DAY_S}, &authority, "has expired"},
        {{.name = "server", .san = "IP:127.0.0.1", .from_s = DAY_S, .until_s = 9 * DAY_S}, &authority, "not valid yet"},
        {{.name = "server", .san = "IP:192.0.2.1"}, &authority, "another IP address"},
        {{.name = "127.0.0.1"}, &authority, "another IP address"},
        {{.name = "server", .san = "IP:127.0.0.1", .rsa_bits = 1024}, &authority, "key is too small"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_identity wrong;
        tls_identity_issue(&wrong, cases[i].issuer, &cases[i].wish);
        try_and_be_refused(&wrong, cases[i].words);
        tls_identity_clear(&wrong);
    }
}

static void another_host_name_is_refused(void **state)
{
    (void)state;
    struct tls_identity other;
    tls_identity_issue(&other, &authority, &(struct tls_wish){.name = "other", .san = "DNS:other.example,IP:127.0.0.1"});
    serve(&other);
    load();
    assert_int_equal(remoting_client_channel(&client, server.by_name, &channel), 0);
    call(0, 3000);
    net_wait_for_the_resolver(channel, pump);
    assert_refused("another host name");
    tls_identity_clear(&other);
}

static void old_protocols_are_refused(void **state)
{
    (void)state;
    serve(&good);
    load();
    SSL_CTX_set_max_proto_version(server.ssl, TLS1_1_VERSION);
    call(0, 3000);
    pump();
    assert_refused("no TLS 1.2 or 1.3");
}

static void plaintext_silence_and_hanging_up_are_told_apart(void **state)
{
    (void)state;
    serve(&good);
    load();
    server.manner = TLS_PLAINTEXT;
    call(0, 10000);
    pump();
    assert_refused("is not TLS");

    serve(&good);
    server.manner = TLS_HANGS_UP;
    call(0, 10000);
    pump();
    assert_refused("closed by the peer during the TLS handshake");

    serve(&good);
    server.manner = TLS_STALLS;
    call(0, 10000);
    advance(2990);
    assert_int_equal(got.count, 0);
    advance(20);
    assert_refused("the TLS handshake was not finished in time");
}

static void insecure_accepts_everything_and_says_so(void **state)
{
    (void)state;
    struct tls_identity wrong;
    tls_identity_issue(&wrong, NULL, &(struct tls_wish){.name = "whoever", .from_s = -9 * DAY_S, .until_s = -DAY_S});
    settings.insecure = true;
    settings.ca_file[0] = '\0';
    serve(&wrong);
    load();
    call(0, 3000);
    assert_answered();
    assert_false(tls_session_is_verified(channel->tls));
    tls_identity_clear(&wrong);
}

/* ---- no context, no connection ---- */

static void without_a_context_nothing_is_dialled(void **state)
{
    (void)state;
    serve(&good);
    call(0, 10000);
    advance(5);
    assert_int_equal(got.count, 1);
    assert_int_equal(server.accepted, 0);
    assert_refused("no TLS context could be built");
    load(); /* and as soon as there is one, the next call goes out */
    call(0, 10000);
    advance(1100);
    assert_answered();
}

static void assert_no_context(const char *words)
{
    struct tls_context *context = NULL;
    int r = tls_context_new(&context, &settings, why, sizeof(why));
    if (r >= 0 || !strstr(why, words))
        fail_msg("%d, says \"%s\" and not \"%s\"", r, why, words);
    assert_null(context);
}

static void write_text(const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(file(1, name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path[1], mode), 0);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    set_path(settings.ca_file, "none.pem");
    assert_no_context("none.pem cannot be read: No such file");
    write_text("empty.pem", "", 0644);
    set_path(settings.ca_file, "empty.pem");
    assert_no_context("empty.pem holds no certificates");
    set_path(settings.ca_file, "ca.pem");

    set_path(settings.cert_file, "none.pem");
    set_path(settings.key_file, "own.key");
    assert_no_context("tls_cert_file");
    set_path(settings.cert_file, "own.pem");
    set_path(settings.key_file, "none.key");
    assert_no_context("none.key cannot be opened");
    set_path(settings.key_file, "strange.key");
    assert_no_context("does not belong to tls_cert_file");
    assert_int_equal(symlink(file(2, "own.key"), file(3, "link.key")), 0);
    set_path(settings.key_file, "link.key");
    assert_no_context("is a symbolic link");
    set_path(settings.key_file, "own.key");
    chmod(file(2, "own.key"), 0644);
    assert_no_context("has mode 0644");
    chmod(path[2], 0600);

    set_path(settings.key_file, "locked.key");
    assert_no_context("without a password file");
    set_path(settings.key_password_file, "password");
    write_text("password", "wrong\n", 0600);
    assert_no_context("with the password file");
    write_text("password", PASSWORD "\n", 0640);
    assert_no_context("password has mode 0640");
    assert_null(strstr(why, PASSWORD));
}

/* ---- our own certificate ---- */

static void a_client_certificate_is_shown_and_its_lack_is_named(void **state)
{
    (void)state;
    set_path(settings.cert_file, "own.pem");
    set_path(settings.key_file, "locked.key");
    set_path(settings.key_password_file, "password");
    write_text("password", PASSWORD "\n", 0600);
    serve(&good);
    tls_server_require(&server, &authority);
    load();
    call(0, 3000);
    assert_answered();
    channel_disconnect(channel, "test");

    memset(&got, 0, sizeof(got));
    settings.cert_file[0] = settings.key_file[0] = settings.key_password_file[0] = '\0';
    serve(&good);
    tls_server_require(&server, &authority);
    load();
    call(0, 3000); /* in TLS 1.3 the server refuses us after our side of the handshake */
    pump();
    assert_int_equal(server.answered, 0);
    assert_non_null(strstr(channel->last_error, "certificate"));
    assert_non_null(strstr(channel->last_error, "asks for"));

    set_path(settings.cert_file, "strange.pem");
    set_path(settings.key_file, "strange.key");
    serve(&good);
    tls_server_require(&server, &authority);
    load();
    call(0, 3000);
    pump();
    assert_int_equal(server.answered, 0);
    assert_non_null(strstr(channel->last_error, "does not accept our certificate"));
}

/* ---- sessions and reloads ---- */

static void sessions_are_resumed_until_a_reload(void **state)
{
    (void)state;
    serve(&good);
    load();
    for (unsigned i = 0; i < 3; i++) {
        memset(&got, 0, sizeof(got));
        call(0, 3000);
        assert_answered();
        assert_int_equal(tls_session_is_resumed(channel->tls), i > 0);
        assert_true(tls_session_is_verified(channel->tls));
        channel_disconnect(channel, "test");
        pump();
    }
    assert_int_equal(server.resumed, 2);
    assert_int_equal(channel->counters.tls_resumed, 2);
    load();
    memset(&got, 0, sizeof(got));
    call(0, 3000);
    assert_answered();
    assert_false(tls_session_is_resumed(channel->tls)); /* what the new files say is verified anew */
}

static void a_reload_disturbs_no_connection(void **state)
{
    (void)state;
    serve(&good);
    load();
    call(0, 3000);
    assert_answered();
    server.mute = true;
    call(0, 3000);
    pump();
    call(0, 3000); /* in the buffer */
    set_path(settings.ca_file, "stranger.pem");
    load();
    server.mute = false;
    call(0, 3000);
    pump();
    assert_int_equal(got.count, 3); /* all but the one that met a mute server */
    assert_int_equal(got.failed, 0);
    assert_int_equal(server.accepted, 1);
    channel_disconnect(channel, "test"); /* the next connection is made by the new rules */
    call(0, 3000);
    pump();
    assert_non_null(strstr(channel->last_error, "not trusted"));
}

/* ---- bytes ---- */

static void a_peer_that_does_not_read_holds_senders_back(void **state)
{
    (void)state;
    enum { CALLS = 64, BODY = 400 << 10 };
    serve(&good);
    load();
    call(0, 60000);
    assert_answered();
    server.stop_reading = true;
    for (unsigned i = 0; i < CALLS; i++) {
        call(BODY, 60000);
        pump();
    }
    assert_true(channel->held_back);
    assert_true(channel->waiting_count > 0);
    assert_true(channel->out.tail - channel->out.head <= 1 << 20);
    assert_true(channel->write_blocked);
    assert_int_equal(got.count, 1);
    uint64_t rounds = event_loop_counters(fx.loop)->io_events;
    pump();
    assert_in_range(event_loop_counters(fx.loop)->io_events - rounds, 0, 1); /* nobody spins */
    server.stop_reading = false;
    pump();
    assert_int_equal(got.count, CALLS + 1);
    assert_int_equal(got.failed, 0);
    assert_int_equal(server.answered, CALLS + 1);
    assert_false(channel->held_back);
}

static void what_was_encrypted_may_have_been_written(void **state)
{
    (void)state;
    serve(&good);
    load();
    call(0, 60000);
    assert_answered();
    server.stop_reading = true;
    unsigned before = 0;
    while (!channel->write_blocked && before++ < 64) {
        call(400 << 10, 1000);
        pump();
    }
    assert_true(channel->write_blocked);
    memset(&got, 0, sizeof(got));
    call(100, 500); /* behind them: not a byte of it was encrypted */
    advance(520);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.error, -ETIMEDOUT);
    assert_false(got.maybe_written);
    advance(600); /* those before it; the first ones are on their way */
    assert_int_equal(got.count, before + 1);
    server.stop_reading = false; /* the stream must still be whole: what was taken back was not encrypted yet */
    advance(50);
    memset(&got, 0, sizeof(got));
    call(0, 3000);
    assert_answered();
    assert_int_equal(server.accepted, 1);
}

/* More at once than a round reads: what OpenSSL holds already makes no socket readable. */
static void nothing_is_left_lying_in_the_decoder(void **state)
{
    (void)state;
    enum { REPLIES = 12000 };
    char frame[512];
    size_t len = 0;
    struct remoting_encoder e;
    serve(&good);
    load();
    call(0, 60000);
    assert_answered();
    remoting_encode_begin(&e, frame, sizeof(frame), SERIALIZE_JSON, 0, LANGUAGE_JAVA, 399, 77777, REMOTING_FLAG_RESPONSE);
    assert_non_null(remoting_encode_body(&e, 200, &len));
    unsigned sent = 0;
    while (sent < REPLIES) { /* a record each */
        int n = SSL_write(server.conns[0].ssl, frame, (int)len);
        if (n == (int)len)
            sent++;
        else
            pump();
    }
    pump();
    assert_int_equal(channel->counters.unknown_replies, REPLIES);
    assert_true(channel->counters.reads <= REPLIES + 10);
    fx.now_ns += 2 * NS_PER_S;
    remoting_client_scan(&client); /* gives buffers back */
    memset(&got, 0, sizeof(got));
    call(0, 3000);
    assert_answered();
}

static void ends_of_connections_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        bool polite, reset;
        const char *words;
    } ends[] = {{true, false, "closed by the peer"}, {false, false, "without the end of TLS"}, {false, true, "reset"}};
    serve(&good);
    load();
    for (unsigned i = 0; i < 3; i++) {
        memset(&got, 0, sizeof(got));
        call(0, 3000);
        advance(1100);
        assert_int_equal(got.error, 0);
        server.mute = true;
        call(0, 3000);
        pump();
        tls_server_drop(&server, ends[i].polite, ends[i].reset);
        assert_int_equal(got.count, 1);
        remoting_client_flush(&client);
        event_loop_round(fx.loop, false);
        assert_int_equal(got.count, 2); /* in the round that reads the end */
        assert_true(got.maybe_written);
        if (!strstr(channel->last_error, ends[i].words))
            fail_msg("says \"%s\" and not \"%s\"", channel->last_error, ends[i].words);
        server.mute = false;
    }
}

/* A write to a connection that was reset raises no SIGPIPE, whatever the process does about that signal. */
static void writing_to_a_dead_connection_is_an_error_only(void **state)
{
    (void)state;
    serve(&good);
    load();
    call(0, 3000);
    assert_answered();
    tls_server_drop(&server, false, true);
    for (unsigned i = 0; i < 3; i++) {
        call(0, 3000);
        remoting_client_flush(&client);
    }
    pump();
    advance(1100);
    memset(&got, 0, sizeof(got));
    call(0, 3000);
    assert_answered();
}

static bool spoil_next_record;

/* Ends the sending side behind the record that is under way: the next one is refused by OpenSSL itself. */
static void on_tls_message(int is_write, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
    (void)version;
    (void)buf;
    (void)len;
    (void)arg;
    if (spoil_next_record && is_write && type == SSL3_RT_HEADER)
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN);
}

static void records_before_one_that_fails_may_have_been_written(void **state)
{
    (void)state;
    spoil_next_record = false;
    serve(&good);
    load();
    SSL_CTX_set_msg_callback(tls_context_ssl(client.tls), on_tls_message);
    call(0, 60000);
    assert_answered();
    memset(&got, 0, sizeof(got));
    spoil_next_record = true;
    call(40 << 10, 60000); /* three records */
    remoting_client_flush(&client);
    spoil_next_record = false;
    assert_int_equal(got.count, 1); /* at once, and not sent again */
    assert_true(got.error < 0);
    assert_true(got.maybe_written);
    assert_int_equal(channel->state, CHANNEL_BACKOFF);
    advance(2000);
    assert_int_equal(got.count, 1);
}

static void buffers_are_given_back_between_records_only(void **state)
{
    (void)state;
    char frame[512];
    unsigned char *record;
    size_t len = 0;
    struct remoting_encoder e;
    serve(&good);
    load();
    call(0, 60000);
    assert_answered();
    SSL *ssl = server.conns[0].ssl;
    BIO *socket = SSL_get_wbio(ssl), *memory = BIO_new(BIO_s_mem());
    assert_non_null(memory);
    assert_true(tls_session_trim(channel->tls));
    remoting_encode_begin(&e, frame, sizeof(frame), SERIALIZE_JSON, 0, LANGUAGE_JAVA, 399, 77777, REMOTING_FLAG_RESPONSE);
    assert_non_null(remoting_encode_body(&e, 200, &len));
    BIO_up_ref(socket);
    SSL_set0_wbio(ssl, memory);
    assert_int_equal(SSL_write(ssl, frame, (int)len), (int)len);
    long bytes = BIO_get_mem_data(memory, &record);
    static const long cuts[] = {3, 5, 100}; /* within the header, behind it, within the body */
    long at = 0;
    for (unsigned i = 0; i < 3; at = cuts[i++]) {
        assert_int_equal(send(server.conns[0].fd, record + at, (size_t)(cuts[i] - at), MSG_NOSIGNAL), cuts[i] - at);
        pump();
        assert_false(tls_session_trim(channel->tls));
    }
    assert_int_equal(send(server.conns[0].fd, record + at, (size_t)(bytes - at), MSG_NOSIGNAL), bytes - at);
    SSL_set0_wbio(ssl, socket);
    pump();
    assert_int_equal(channel->counters.unknown_replies, 1);
    assert_true(tls_session_trim(channel->tls));
    memset(&got, 0, sizeof(got));
    call(0, 3000);
    assert_answered();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_good_server_is_verified_and_answers),
        T(tls_1_2_is_spoken_too_and_host_names_are_verified),
        T(a_server_name_replaces_the_dialled_one),
        T(each_wrong_certificate_has_its_own_words),
        T(another_host_name_is_refused),
        T(old_protocols_are_refused),
        T(plaintext_silence_and_hanging_up_are_told_apart),
        T(insecure_accepts_everything_and_says_so),
        T(without_a_context_nothing_is_dialled),
        T(files_that_cannot_be_used_are_named),
        T(a_client_certificate_is_shown_and_its_lack_is_named),
        T(sessions_are_resumed_until_a_reload),
        T(a_reload_disturbs_no_connection),
        T(a_peer_that_does_not_read_holds_senders_back),
        T(what_was_encrypted_may_have_been_written),
        T(nothing_is_left_lying_in_the_decoder),
        T(ends_of_connections_are_told_apart),
        T(writing_to_a_dead_connection_is_an_error_only),
        T(records_before_one_that_fails_may_have_been_written),
        T(buffers_are_given_back_between_records_only),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
