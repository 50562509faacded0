/*
 * Row 1: DefaultMQProducer.start, and what belongs to the handle that it starts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/producer/default_mq_producer.h"
#include "hub/protocol/codes.h"
#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct default_mq_producer producers[4];
static struct default_mq_producer_options options;
static int process_a, process_b; /* their addresses stand for processes */

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    net_instance(&fx); /* makes the manager */
    for (unsigned i = 0; i < 4; i++)
        default_mq_producer_init(&producers[i]);
    options = (struct default_mq_producer_options){
        .group = SPAN_LITERAL("G"), .key = {.instance_name = "unit"}, .uid = 1000, .client = &process_a};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        default_mq_producer_shutdown(&producers[i], true);
    net_teardown(&fx);
    return 0;
}

static int start(unsigned i)
{
    return default_mq_producer_start(&producers[i], fx.manager, &options);
}

static void expect_refused(unsigned i, int error, const char *reason_part)
{
    assert_int_equal(start(i), error);
    if (!strstr(producers[i].reason, reason_part))
        fail_msg("\"%s\" does not say \"%s\"", producers[i].reason, reason_part);
}

/* ---- the name ---- */

static void the_namespace_wraps_the_group_before_its_rules_apply(void **state)
{
    (void)state;
    char group[256];
    memset(group, 'g', 255);
    group[255] = '\0';
    options.group = (struct span){group, 255};
    assert_int_equal(start(0), 0);
    options.name_space = "ns";
    expect_refused(1, -EINVAL, "longer than 255");
    assert_int_equal(producers[1].service_state, SERVICE_START_FAILED);
    options.group.len = 252;
    assert_int_equal(start(2), 0);
    assert_int_equal(producers[2].group_len, 255);
    /* The name that 4.9.3 forbids is none any more once it is wrapped. */
    options.group = SPAN_LITERAL("DEFAULT_PRODUCER");
    assert_int_equal(start(3), 0);
    assert_string_equal(producers[3].group, "ns%DEFAULT_PRODUCER");
}

static void a_group_that_carries_its_namespace_is_not_wrapped_twice(void **state)
{
    (void)state;
    options.name_space = "ns";
    options.group = SPAN_LITERAL("ns%G");
    assert_int_equal(start(0), 0);
    assert_string_equal(producers[0].group, "ns%G");
}

static void the_cluster_s_namespace_is_for_handles_that_set_none(void **state)
{
    (void)state;
    snprintf(fx.config.name_space, sizeof(fx.config.name_space), "cluster");
    assert_int_equal(start(0), 0);
    assert_string_equal(producers[0].group, "cluster%G");
    options.name_space = "own";
    assert_int_equal(start(1), 0);
    assert_string_equal(producers[1].group, "own%G");
}

static void an_instance_endpoint_names_the_namespace(void **state)
{
    (void)state;
    snprintf(fx.config.name_space, sizeof(fx.config.name_space), "cluster");
    options.key.namesrv_addr = "http://MQ_INST_123_abc.example.invalid:8080";
    assert_int_equal(start(0), 0);
    assert_string_equal(producers[0].group, "MQ_INST_123_abc%G");
}

static void a_namespace_has_rules_too(void **state)
{
    (void)state;
    char long_name[130];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    options.name_space = long_name;
    expect_refused(0, -EINVAL, "namespace is longer than 127");
    options.name_space = "a b";
    expect_refused(1, -EINVAL, "namespace is longer than 127 characters or has one outside");
}

/* ---- states ---- */

static void a_start_leads_to_running_and_a_second_one_is_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(producers[0].service_state, SERVICE_CREATE_JUST);
    assert_int_equal(start(0), 0);
    assert_int_equal(producers[0].service_state, SERVICE_RUNNING);
    expect_refused(0, -EALREADY, "RUNNING");
    assert_int_equal(producers[0].service_state, SERVICE_RUNNING);
    default_mq_producer_shutdown(&producers[0], true);
    assert_int_equal(producers[0].service_state, SERVICE_SHUTDOWN_ALREADY);
    expect_refused(0, -EALREADY, "SHUTDOWN_ALREADY");
}

static void an_error_leaves_start_failed(void **state)
{
    (void)state;
    options.group = SPAN_LITERAL("a b");
    expect_refused(0, -EINVAL, "a b");
    assert_int_equal(producers[0].service_state, SERVICE_START_FAILED);
    options.group = SPAN_LITERAL("G");
    expect_refused(0, -EALREADY, "START_FAILED");
    options.key.cluster = "nowhere";
    expect_refused(1, -ENOENT, "no such cluster");
    assert_int_equal(producers[1].service_state, SERVICE_START_FAILED);
}

static void a_group_that_this_process_has_may_be_tried_under_another_name(void **state)
{
    (void)state;
    assert_int_equal(start(0), 0);
    expect_refused(1, -EEXIST, "created before");
    assert_int_equal(producers[1].service_state, SERVICE_CREATE_JUST);
    options.group = SPAN_LITERAL("G2");
    assert_int_equal(start(1), 0);
    assert_int_equal(producers[1].service_state, SERVICE_RUNNING);
    /* Another process joins, and so does this one once it gave its handle up. */
    options.group = SPAN_LITERAL("G");
    options.client = &process_b;
    assert_int_equal(start(2), 0);
    assert_ptr_equal(producers[2].producer, producers[0].producer);
    default_mq_producer_disown(&producers[0]);
    options.client = &process_a;
    assert_int_equal(start(3), 0);
}

static void under_the_name_default_a_group_may_be_had_twice(void **state)
{
    (void)state;
    options.key.instance_name = "DEFAULT";
    assert_int_equal(start(0), 0);
    options.key.instance_name = NULL;
    assert_int_equal(start(1), 0);
    assert_ptr_equal(producers[0].instance, producers[1].instance);
}

static void another_user_s_group_is_refused_and_nothing_is_left_of_the_try(void **state)
{
    (void)state;
    assert_int_equal(start(0), 0);
    uint32_t refs = producers[0].producer->refs;
    options.uid = 1001;
    options.client = &process_b;
    expect_refused(1, -EPERM, "another user");
    assert_int_equal(producers[1].service_state, SERVICE_START_FAILED);
    assert_int_equal(producers[0].producer->refs, refs);
    assert_null(producers[1].create_topic_entry);
}

/* ---- what the start does ---- */

static void nothing_needs_to_be_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        fake_server_unlisten(fx.name_servers[i]);
        fake_server_unlisten(fx.brokers[i]);
    }
    assert_int_equal(start(0), 0);
    net_pump(&fx);
    assert_int_equal(producers[0].service_state, SERVICE_RUNNING);
}

static unsigned times_asked_for(const char *topic)
{
    unsigned times = 0;
    for (unsigned i = 0; i < fx.name_servers[0]->log_count; i++)
        times += strcmp(fx.name_servers[0]->log[i].text, topic) == 0;
    return times;
}

static void the_create_topic_key_is_polled_from_the_start(void **state)
{
    (void)state;
    options.create_topic_key = "OwnKey";
    assert_int_equal(start(0), 0);
    net_pump(&fx);
    assert_int_equal(times_asked_for("OwnKey"), 0); /* the first poll is due after 10 ms, and nothing before it */
    net_advance(&fx, 20);
    assert_int_equal(times_asked_for("OwnKey"), 1);
    net_advance(&fx, 31000);
    assert_int_equal(times_asked_for("OwnKey"), 2);
}

static void the_group_is_announced_under_its_wrapped_name(void **state)
{
    (void)state;
    options.name_space = "ns";
    assert_int_equal(start(0), 0);
    net_connect(&fx);
    net_advance(&fx, 200);
    assert_non_null(strstr(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT)->text, "ns%G"));
    default_mq_producer_shutdown(&producers[0], true);
    net_advance(&fx, 200);
    bool seen = false;
    for (unsigned i = 0; i < fx.brokers[0]->log_count; i++)
        seen |= fx.brokers[0]->log[i].code == REQUEST_UNREGISTER_CLIENT && strcmp(fx.brokers[0]->log[i].text, "ns%G") == 0;
    assert_true(seen);
}

/* ---- tracing ---- */

static struct {
    unsigned starts, stops;
    enum service_state state;
    char namesrv_addr[64];
    enum access_channel access_channel;
    int result;
} trace;

static int trace_start(struct trace_dispatcher *d, const char *namesrv_addr, enum access_channel access_channel)
{
    (void)d;
    trace.starts++;
    trace.state = producers[0].service_state;
    snprintf(trace.namesrv_addr, sizeof(trace.namesrv_addr), "%s", namesrv_addr);
    trace.access_channel = access_channel;
    return trace.result;
}

static void trace_shutdown(struct trace_dispatcher *d)
{
    (void)d;
    trace.stops++;
}

static struct trace_dispatcher dispatcher = {trace_start, trace_shutdown};

static void the_trace_dispatcher_is_started_last(void **state)
{
    (void)state;
    memset(&trace, 0, sizeof(trace));
    options.trace_dispatcher = &dispatcher;
    options.access_channel = ACCESS_CHANNEL_CLOUD;
    assert_int_equal(start(0), 0);
    assert_int_equal(trace.starts, 1);
    assert_int_equal(trace.state, SERVICE_RUNNING);
    assert_string_equal(trace.namesrv_addr, fx.namesrv_addr);
    assert_int_equal(trace.access_channel, ACCESS_CHANNEL_CLOUD);
    default_mq_producer_shutdown(&producers[0], true);
    default_mq_producer_shutdown(&producers[0], true);
    assert_int_equal(trace.stops, 1);
}

static void a_trace_dispatcher_that_fails_stops_nobody(void **state)
{
    (void)state;
    memset(&trace, 0, sizeof(trace));
    trace.result = -EIO;
    options.trace_dispatcher = &dispatcher;
    assert_int_equal(start(0), 0);
    assert_int_equal(producers[0].service_state, SERVICE_RUNNING);
    default_mq_producer_shutdown(&producers[0], true);
    assert_int_equal(trace.stops, 0);
    options.group = SPAN_LITERAL("a b");
    trace.starts = 0;
    expect_refused(1, -EINVAL, "a b");
    assert_int_equal(trace.starts, 0);
}

/* ---- settings of the handle ---- */

static struct {
    char default_topic[64];
    int32_t queue_nums;
} sent;

static bool read_send(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *command)
{
    struct send_message_header header;
    const char *missing;
    (void)server;
    (void)conn;
    if (command->code != REQUEST_SEND_MESSAGE_V2)
        return false;
    assert_int_equal(send_message_header_decode(command, &header, &missing), 0);
    snprintf(sent.default_topic, sizeof(sent.default_topic), "%.*s", (int)header.default_topic.len, header.default_topic.data);
    sent.queue_nums = header.default_topic_queue_nums;
    return false;
}

static void begin_send(struct net_send *send, unsigned i, struct topic_entry *topic)
{
    net_send_init(send, &fx, producers[i].producer, topic);
    send->request.settings = &producers[i].settings;
    producer_send(&send->request);
}

static void send_from(unsigned i, struct topic_entry *topic)
{
    struct net_send send;
    begin_send(&send, i, topic);
    net_pump(&fx);
    assert_int_equal(send.completions, 1);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
}

static void two_processes_of_one_group_may_differ_in_their_settings(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        fx.config.json_header = json;
        options.key.instance_name = json ? "json" : "unit";
        options.client = &process_a;
        options.create_topic_key = NULL;
        options.default_topic_queue_nums = 0;
        default_mq_producer_init(&producers[0]);
        default_mq_producer_init(&producers[1]);
        assert_int_equal(start(0), 0);
        options.client = &process_b;
        options.create_topic_key = "OwnKey";
        options.default_topic_queue_nums = 16;
        options.max_message_size = 1000;
        assert_int_equal(start(1), 0);
        assert_ptr_equal(producers[0].producer, producers[1].producer);
        assert_int_equal(producers[0].settings.max_message_size, 4194304);
        assert_int_equal(producers[1].settings.max_message_size, 1000);
        options.max_message_size = 0;
        struct topic_entry *topic = net_connect(&fx);
        fx.brokers[0]->hook = read_send;
        send_from(0, topic);
        assert_string_equal(sent.default_topic, "TBW102");
        assert_int_equal(sent.queue_nums, 4);
        send_from(1, topic);
        assert_string_equal(sent.default_topic, "OwnKey");
        assert_int_equal(sent.queue_nums, 16);
        topic_entry_release(topic);
        default_mq_producer_shutdown(&producers[0], true);
        default_mq_producer_shutdown(&producers[1], true);
    }
}

static void each_handle_s_key_routes_the_topics_that_do_not_exist(void **state)
{
    (void)state;
    struct net_send first, second, third;
    fake_server_add_topic(fx.name_servers[0], "OwnKey");
    options.create_topic_key = "NoSuchKey";
    assert_int_equal(start(0), 0);
    options.client = &process_b;
    options.create_topic_key = "OwnKey";
    options.default_topic_queue_nums = 1;
    assert_int_equal(start(1), 0);
    struct topic_entry *topic = net_topic(&fx, "New");
    begin_send(&first, 0, topic);
    begin_send(&second, 1, topic);
    begin_send(&third, 0, topic);
    net_pump(&fx);
    assert_int_equal(first.outcome.outcome, SEND_NOT_STORED);
    assert_int_equal(first.outcome.code, CLIENT_ERROR_NOT_FOUND_TOPIC);
    assert_int_equal(third.outcome.outcome, SEND_NOT_STORED);
    assert_int_equal(second.outcome.outcome, SEND_STORED);
    assert_int_equal(topic->info.count, 1);
    topic_entry_release(topic);
}

static void settings_have_rules(void **state)
{
    (void)state;
    options.create_topic_key = "a b";
    expect_refused(0, -EINVAL, "create_topic_key has a character outside");
    options.create_topic_key = NULL;
    options.default_topic_queue_nums = 65536;
    expect_refused(1, -EINVAL, "default_topic_queue_nums is not 1 to 65535");
    options.default_topic_queue_nums = 0;
    options.max_message_size = 4194305;
    expect_refused(2, -EINVAL, "max_message_size is not 1 to 4194304");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_namespace_wraps_the_group_before_its_rules_apply),
        TEST(a_group_that_carries_its_namespace_is_not_wrapped_twice),
        TEST(the_cluster_s_namespace_is_for_handles_that_set_none),
        TEST(an_instance_endpoint_names_the_namespace),
        TEST(a_namespace_has_rules_too),
        TEST(a_start_leads_to_running_and_a_second_one_is_refused_by_name),
        TEST(an_error_leaves_start_failed),
        TEST(a_group_that_this_process_has_may_be_tried_under_another_name),
        TEST(under_the_name_default_a_group_may_be_had_twice),
        TEST(another_user_s_group_is_refused_and_nothing_is_left_of_the_try),
        TEST(nothing_needs_to_be_up),
        TEST(the_create_topic_key_is_polled_from_the_start),
        TEST(the_group_is_announced_under_its_wrapped_name),
        TEST(the_trace_dispatcher_is_started_last),
        TEST(a_trace_dispatcher_that_fails_stops_nobody),
        TEST(two_processes_of_one_group_may_differ_in_their_settings),
        TEST(each_handle_s_key_routes_the_topics_that_do_not_exist),
        TEST(settings_have_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
