/*
 * Row 17: RPCHook and AclClientRPCHook.doBeforeRequest. The servers of this test
 * verify every request as a 4.9.3 broker with aclEnable=true does, with an HMAC of
 * their own (OpenSSL's one-shot one).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/producer/default_mq_producer.h"
#include "hub/protocol/codes.h"
#include "hub/remoting/acl_client_rpc_hook.h"
#include "hub/remoting/acl_credentials.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct default_mq_producer producer;
static struct default_mq_producer_options options;
static char file[64];

static void write_file(const char *text, mode_t mode)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(file, mode), 0);
}

/* ---- a server that verifies ---- */

static struct {
    const char *access_key, *secret_key, *token;
    unsigned good, bad, unsigned_requests;
    unsigned codes_seen[400];
    unsigned json;
} verifier;

static int by_key(const void *a, const void *b)
{
    const struct ext_field *x = a, *y = b;
    size_t shorter = x->key.len < y->key.len ? x->key.len : y->key.len;
    int order = memcmp(x->key.data, y->key.data, shorter);
    return order ? order : (int)x->key.len - (int)y->key.len;
}

static size_t text_to_sign(char *out, const struct ext_field *ext, unsigned count, struct span body)
{
    struct ext_field sorted[REMOTING_MAX_EXT_FIELDS];
    size_t len = 0;
    memcpy(sorted, ext, count * sizeof(*ext));
    qsort(sorted, count, sizeof(*sorted), by_key);
    for (unsigned i = 0; i < count; i++) {
        if (span_equals(sorted[i].key, SPAN_LITERAL("Signature")))
            continue;
        memcpy(out + len, sorted[i].value.data, sorted[i].value.len);
        len += sorted[i].value.len;
    }
    if (body.len)
        memcpy(out + len, body.data, body.len);
    return len + body.len;
}

static bool is_signed_right(const struct remoting_command *c)
{
    char text[8192];
    unsigned char digest[EVP_MAX_MD_SIZE], base64[64];
    unsigned digest_len;
    size_t len = text_to_sign(text, c->ext, c->ext_count, c->body);
    assert_non_null(
        HMAC(EVP_sha1(), verifier.secret_key, (int)strlen(verifier.secret_key), (unsigned char *)text, len, digest, &digest_len));
    int n = EVP_EncodeBlock(base64, digest, (int)digest_len);
    struct span token = remoting_command_ext(c, "SecurityToken");
    bool right_token = verifier.token ? span_equals(token, span_of(verifier.token)) : !token.data;
    return right_token && span_equals(remoting_command_ext(c, "AccessKey"), span_of(verifier.access_key)) &&
           span_equals(remoting_command_ext(c, "Signature"), (struct span){(char *)base64, (size_t)n});
}

static bool verify(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *c)
{
    static const struct span none = {"", 0};
    (void)server;
    verifier.codes_seen[c->code < 400 ? c->code : 0]++;
    verifier.json += c->serialize_type == SERIALIZE_JSON;
    verifier.unsigned_requests += !remoting_command_ext(c, "Signature").data;
    if (is_signed_right(c)) {
        verifier.good++;
        return false;
    }
    verifier.bad++;
    fake_server_reply(conn, c->opaque, 1, "org.apache.rocketmq.acl.common.AclException: Check signature failed", NULL, 0, none);
    return true;
}

/* ---- */

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    memset(&verifier, 0, sizeof(verifier));
    verifier.access_key = "RocketMQ";
    verifier.secret_key = "12345678";
    snprintf(file, sizeof(file), "/tmp/row_17.%d", (int)getpid());
    write_file("access_key = RocketMQ\nsecret_key = 12345678\n", 0600);
    snprintf(fx.config.credentials_file, sizeof(fx.config.credentials_file), "%s", file);
    for (unsigned i = 0; i < 3; i++)
        fx.brokers[i]->hook = fx.name_servers[i]->hook = verify;
    default_mq_producer_init(&producer);
    options = (struct default_mq_producer_options){.group = SPAN_LITERAL("G"), .key = {.instance_name = "unit"}};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    default_mq_producer_shutdown(&producer, true);
    net_teardown(&fx);
    unlink(file);
    return 0;
}

static void start(void)
{
    if (!fx.manager)
        net_instance(&fx); /* makes it */
    if (default_mq_producer_start(&producer, fx.manager, &options) < 0)
        fail_msg("%s", producer.reason);
}

static void send_one(struct net_send *send, struct topic_entry *topic, uint8_t mode, const char *body)
{
    net_send_init(send, &fx, producer.producer, topic);
    send->request.mode = mode;
    send->request.body = body;
    send->request.body_len = (uint32_t)strlen(body);
    producer_send(&send->request);
    net_pump(&fx);
}

/* ---- the signature ---- */

static const struct ext_field vector[] = {
#define FIELD(key, value) \
    { \
        {key, sizeof(key) - 1}, \
        { \
            value, sizeof(value) - 1 \
        } \
    }
    FIELD("m", "false"),
    FIELD("a", "SpecAclGroup"),
    FIELD("b", "SpecAcl"),
    FIELD("c", "TBW102"),
    FIELD("d", "4"),
    FIELD("e", "0"),
    FIELD("f", "0"),
    FIELD("g", "1700000000000"),
    FIELD("h", "0"),
    FIELD("i", "UNIQ_KEY\1"
               "7F0000010BB863947C6B4D5C7A0A0000\2WAIT\1true\2TAGS\1TagA"),
    FIELD("j", "0"),
    FIELD("k", "false"),
};

/* Verified against a live 4.9.3 broker; the fields come unsorted here on purpose. */
static void the_vector_of_the_specification(void **state)
{
    (void)state;
    struct rpc_hook *hook;
    char why[256];
    assert_int_equal(acl_client_rpc_hook_new(&hook, file, why, sizeof(why)), 0);
    struct rpc_request request = {
        .code = 310, .ext = vector, .ext_count = sizeof(vector) / sizeof(vector[0]), .body = SPAN_LITERAL("hello")};
    for (int again = 0; again < 3; again++) {
        assert_int_equal(rpc_hook_before_request(hook, &request), 0);
        assert_int_equal(request.added_count, 2);
        assert_true(span_equals(request.added[0].key, SPAN_LITERAL("AccessKey")));
        assert_true(span_equals(request.added[0].value, SPAN_LITERAL("RocketMQ")));
        assert_true(span_equals(request.added[1].key, SPAN_LITERAL("Signature")));
        assert_true(span_equals(request.added[1].value, SPAN_LITERAL("kBsAOmNL1GMK95qK07idWL8Azjk=")));
    }
    rpc_hook_free(hook);
}

static void the_string_to_sign_of_the_specification(void **state)
{
    (void)state;
    struct acl_credentials *credentials;
    char why[256], signature[ACL_SIGNATURE_LEN];
    assert_int_equal(acl_credentials_load(&credentials, file, why, sizeof(why)), 0);
    const struct span parts[] = {SPAN_LITERAL("RocketMQSpecAclGroupSpecAclTBW10240017000000000000"),
                                 SPAN_LITERAL("UNIQ_KEY\1"
                                              "7F0000010BB863947C6B4D5C7A0A0000\2WAIT\1true\2TAGS\1TagA"),
                                 SPAN_LITERAL("0falsefalsehello")};
    acl_sign(credentials, parts, 3, signature);
    assert_memory_equal(signature, "kBsAOmNL1GMK95qK07idWL8Azjk=", ACL_SIGNATURE_LEN);
    acl_credentials_free(credentials);
}

static void names_sort_by_bytes(void **state)
{
    (void)state;
    struct rpc_hook *hook;
    char why[256], text[64] = "";
    assert_int_equal(acl_client_rpc_hook_new(&hook, file, why, sizeof(why)), 0);
    const struct ext_field ext[] = {FIELD("topic", "1"),    FIELD("Topic", "2"), FIELD("AccessKez", "3"),
                                    FIELD("AccessKe", "4"), FIELD("to", "5"),    FIELD("_UNIQUE_KEY_QUERY", "left out"),
                                    FIELD("\xc3\xa9", "6")};
    struct rpc_request request = {.ext = ext, .ext_count = 7};
    assert_int_equal(rpc_hook_before_request(hook, &request), 0);
    static const char expected[] = "4RocketMQ32516";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    HMAC(EVP_sha1(), "12345678", 8, (const unsigned char *)expected, sizeof(expected) - 1, digest, &len);
    EVP_EncodeBlock((unsigned char *)text, digest, (int)len);
    assert_true(span_equals(request.added[1].value, span_of(text)));
    rpc_hook_free(hook);
}

/* ---- every request ---- */

static void a_life_of_signed_requests(bool json)
{
    struct net_send send;
    fx.config.json_header = json;
    start();
    struct topic_entry *topic = topic_entry_acquire(producer.instance, SPAN_LITERAL("T"), NULL);
    net_advance(&fx, 200);
    send_one(&send, topic, SEND_SYNC, "hello");
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    send_one(&send, topic, SEND_ONEWAY, "a body that is longer than the one before");
    net_advance(&fx, 61000);
    topic_entry_release(topic);
    default_mq_producer_shutdown(&producer, true);
    net_advance(&fx, 500);
    assert_int_equal(verifier.bad, 0);
    assert_int_equal(verifier.unsigned_requests, 0);
    assert_int_equal(verifier.json, json ? verifier.good : 0);
    assert_true(verifier.codes_seen[REQUEST_GET_ROUTEINFO_BY_TOPIC] >= 4); /* the nameserver's are signed too */
    assert_int_equal(verifier.codes_seen[REQUEST_SEND_MESSAGE_V2], 2);
    assert_true(verifier.codes_seen[REQUEST_HEART_BEAT] >= 3);
    assert_true(verifier.codes_seen[REQUEST_UNREGISTER_CLIENT] >= 1);
}

static void every_request_is_signed_with_binary_headers(void **state)
{
    (void)state;
    a_life_of_signed_requests(false);
}

static void every_request_is_signed_with_json_headers(void **state)
{
    (void)state;
    a_life_of_signed_requests(true);
}

static void a_security_token_is_sent_and_signed(void **state)
{
    (void)state;
    write_file("# from the cloud\r\n\r\nAccessKey=K\xc3\xa9y\r\nSecretKey=s3cr\xc3\xa9t==\r\nSecurityToken=tok-1\r\n", 0600);
    verifier.access_key = "K\xc3\xa9y";
    verifier.secret_key = "s3cr\xc3\xa9t==";
    verifier.token = "tok-1";
    a_life_of_signed_requests(false);
}

static void bodies_of_every_length_are_where_they_belong(void **state)
{
    (void)state;
    static char body[3000];
    struct net_send send;
    start();
    struct topic_entry *topic = topic_entry_acquire(producer.instance, SPAN_LITERAL("T"), NULL);
    net_pump(&fx);
    for (unsigned len = 1; len < sizeof(body); len += 7) {
        memset(body, 'a' + (int)(len % 26), len);
        body[len] = '\0';
        send_one(&send, topic, SEND_SYNC, body);
        assert_int_equal(send.outcome.outcome, SEND_STORED);
        assert_int_equal(fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2)->body_len, len);
    }
    assert_int_equal(verifier.bad, 0);
    topic_entry_release(topic);
}

static void the_broker_s_refusal_is_told_in_its_words(void **state)
{
    (void)state;
    struct net_send send;
    start();
    struct topic_entry *topic = topic_entry_acquire(producer.instance, SPAN_LITERAL("T"), NULL);
    net_pump(&fx);
    verifier.secret_key = "87654321";
    send_one(&send, topic, SEND_SYNC, "hello");
    assert_int_equal(send.outcome.outcome, SEND_NOT_STORED);
    assert_int_equal(send.outcome.code, 1);
    assert_non_null(strstr(send.reason, "AclException: Check signature failed"));
    topic_entry_release(topic);
}

/* ---- a hook that sees and refuses ---- */

static struct {
    unsigned before, after;
    int32_t last_code, last_reply_code;
    char address[64];
    bool refuses;
    unsigned freed;
} seen;

static int see_before(struct rpc_hook *hook, struct rpc_request *request)
{
    seen.before++;
    seen.last_code = request->code;
    hook->reason = "no key today";
    request->added[request->added_count++] = (struct ext_field){SPAN_LITERAL("x"), SPAN_LITERAL("y")};
    return seen.refuses ? -EIO : 0;
}

static void see_after(struct rpc_hook *hook, const char *address, int32_t request_code, const struct send_response *response)
{
    (void)hook;
    seen.after++;
    seen.last_reply_code = response->code;
    seen.last_code = request_code;
    snprintf(seen.address, sizeof(seen.address), "%s", address);
}

static void see_free(struct rpc_hook *hook)
{
    seen.freed++;
    free(hook);
}

static struct rpc_hook *new_seeing_hook(void)
{
    static const struct rpc_hook_ops ops = {see_before, see_after, see_free};
    struct rpc_hook *hook = calloc(1, sizeof(*hook));
    assert_non_null(hook);
    *hook = (struct rpc_hook){.ops = &ops, .fields_max = 3, .bytes_max = 100};
    return hook;
}

static bool accept_all(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *c)
{
    (void)server;
    (void)conn;
    if (c->code == REQUEST_SEND_MESSAGE_V2 && !seen.refuses) {
        assert_true(span_equals(remoting_command_ext(c, "x"), SPAN_LITERAL("y")));
        assert_true(span_equals(c->body, SPAN_LITERAL("hello")));
    }
    return false;
}

static struct topic_entry *start_with_seeing_hook(void)
{
    memset(&seen, 0, sizeof(seen));
    fx.config.credentials_file[0] = '\0';
    for (unsigned i = 0; i < 3; i++)
        fx.brokers[i]->hook = fx.name_servers[i]->hook = accept_all;
    start();
    struct topic_entry *topic = topic_entry_acquire(producer.instance, SPAN_LITERAL("T"), NULL);
    net_advance(&fx, 200);
    assert_int_equal(seen.before, 0);
    remoting_client_set_hook(&producer.instance->remoting, new_seeing_hook());
    return topic;
}

static void a_hook_sees_each_request_and_each_reply(void **state)
{
    (void)state;
    struct net_send send;
    struct topic_entry *topic = start_with_seeing_hook();
    send_one(&send, topic, SEND_SYNC, "hello"); /* adds fewer bytes than it might: the body moves up */
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_int_equal(seen.before, 1);
    assert_int_equal(seen.after, 1);
    assert_int_equal(seen.last_code, REQUEST_SEND_MESSAGE_V2);
    assert_int_equal(seen.last_reply_code, 0);
    assert_string_equal(seen.address, fx.brokers[0]->address);
    net_advance(&fx, 31000);
    assert_true(seen.before >= 3);
    assert_int_equal(seen.after, seen.before);
    topic_entry_release(topic);
}

static void what_a_hook_refuses_is_not_sent(void **state)
{
    (void)state;
    struct net_send send;
    for (int json = 0; json < 2; json++) {
        fx.config.json_header = json;
        options.key.instance_name = json ? "json" : "unit";
        default_mq_producer_init(&producer);
        struct topic_entry *topic = start_with_seeing_hook();
        seen.refuses = true;
        for (unsigned i = 0; i < 3; i++)
            fx.brokers[i]->log_count = fx.name_servers[i]->log_count = 0;
        send_one(&send, topic, SEND_SYNC, "hello");
        assert_int_equal(send.outcome.outcome, SEND_NOT_STORED);
        assert_non_null(strstr(send.reason, "no key today"));
        send_one(&send, topic, SEND_ONEWAY, "hello");
        assert_int_equal(send.outcome.outcome, SEND_NOT_STORED);
        net_advance(&fx, 35000);
        assert_int_equal(fake_server_count(fx.brokers[0], 0), 0);
        assert_int_equal(fake_server_count(fx.name_servers[0], 0), 0);
        assert_true(seen.before >= 3);
        assert_int_equal(producer.instance->remoting.responses.count, 0);
        seen.refuses = false;
        send_one(&send, topic, SEND_SYNC, "hello"); /* it heals */
        assert_int_equal(send.outcome.outcome, SEND_STORED);
        topic_entry_release(topic);
        default_mq_producer_shutdown(&producer, true);
        net_advance(&fx, 3000);
    }
}

static void a_reload_leaves_requests_in_flight_alone(void **state)
{
    (void)state;
    struct net_send send;
    struct topic_entry *topic = start_with_seeing_hook();
    fx.brokers[0]->stop_reading = true;
    send_one(&send, topic, SEND_SYNC, "hello");
    assert_int_equal(send.completions, 0);
    remoting_client_set_hook(&producer.instance->remoting, NULL);
    assert_int_equal(seen.freed, 1);
    fx.brokers[0]->stop_reading = false;
    net_pump(&fx);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    topic_entry_release(topic);
}

/* ---- the file ---- */

static void expect_start_refused(const char *reason_part)
{
    struct default_mq_producer p;
    default_mq_producer_init(&p);
    assert_true(default_mq_producer_start(&p, fx.manager, &options) < 0);
    assert_int_equal(p.service_state, SERVICE_START_FAILED);
    if (!strstr(p.reason, reason_part))
        fail_msg("\"%s\" does not say \"%s\"", p.reason, reason_part);
}

static void a_start_without_the_credentials_that_are_wanted_fails(void **state)
{
    (void)state;
    char link[80];
    snprintf(link, sizeof(link), "%s.link", file);
    fx.config.credentials_file[0] = '\0';
    net_instance(&fx); /* for its manager: another instance */
    options.key.instance_name = "signed";
    snprintf(fx.config.credentials_file, sizeof(fx.config.credentials_file), "%s", file);
    assert_int_equal(chmod(file, 0644), 0);
    expect_start_refused("has mode 0644");
    unlink(link);
    assert_int_equal(symlink(file, link), 0);
    assert_int_equal(chmod(file, 0600), 0);
    snprintf(fx.config.credentials_file, sizeof(fx.config.credentials_file), "%s", link);
    expect_start_refused("is a symbolic link");
    unlink(link);
    expect_start_refused("cannot be opened: No such file");
    net_pump(&fx);
    assert_int_equal(verifier.good + verifier.bad, verifier.codes_seen[REQUEST_GET_ROUTEINFO_BY_TOPIC]);
    snprintf(fx.config.credentials_file, sizeof(fx.config.credentials_file), "%s", file);
    start();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_vector_of_the_specification),
        TEST(the_string_to_sign_of_the_specification),
        TEST(names_sort_by_bytes),
        TEST(every_request_is_signed_with_binary_headers),
        TEST(every_request_is_signed_with_json_headers),
        TEST(a_security_token_is_sent_and_signed),
        TEST(bodies_of_every_length_are_where_they_belong),
        TEST(the_broker_s_refusal_is_told_in_its_words),
        TEST(a_hook_sees_each_request_and_each_reply),
        TEST(what_a_hook_refuses_is_not_sent),
        TEST(a_reload_leaves_requests_in_flight_alone),
        TEST(a_start_without_the_credentials_that_are_wanted_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
