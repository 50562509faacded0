/*
 * Row 18: MQClientInstance.shutdown. Groups leave every broker before the inner
 * producer does, answers are awaited, then tasks and connections end, and nothing is
 * left: no connection, no descriptor, no problem, no row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;

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
    problems_deinit();
    return 0;
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* The groups in the order in which they were unregistered at a broker, joined by ','. */
static const char *unregistered(const struct fake_server *s)
{
    static char text[640];
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < s->log_count; i++)
        if (s->log[i].code == REQUEST_UNREGISTER_CLIENT && used < sizeof(text))
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? "," : "", s->log[i].text);
    return text;
}

static unsigned open_connections(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        n += fake_server_open_conns(fx.brokers[i]) + fake_server_open_conns(fx.name_servers[i]);
    return n;
}

static void it_leaves_every_broker_in_order_and_nothing_behind(void **state)
{
    (void)state;
    char expected[640];
    net_instance(&fx); /* the manager's own descriptors are there from now on */
    net_advance(&fx, 2500);
    assert_int_equal(mq_client_manager_count(fx.manager), 0);
    unsigned before = descriptors();
    fx.brokers[0]->log_count = 0;
    net_set_route(&fx, 3, 1);
    struct producer *g = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    assert_true(descriptors() > before);
    snprintf(expected, sizeof(expected), "G,%s,%s,CLIENT_INNER_PRODUCER", fx.instance->marker->group, fx.instance->marker->group);
    topic_entry_release(topic);
    producer_release(g, true);
    net_advance(&fx, 2500); /* the task that sees that nobody is left runs every second */
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(unregistered(fx.brokers[i]), expected);
    assert_int_equal(mq_client_manager_count(fx.manager), 0);
    assert_int_equal(open_connections(), 0);
    assert_int_equal(descriptors(), before);
}

static void answers_are_awaited_before_a_connection_closes(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute_code = REQUEST_UNREGISTER_CLIENT;
    mq_client_instance_shutdown(fx.instance);
    net_pump(&fx);
    assert_int_equal(fx.instance->state, SERVICE_SHUTDOWN_ALREADY);
    assert_string_equal(unregistered(fx.brokers[0]), "G");
    net_advance(&fx, 1000);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_false(mq_client_instance_is_drained(fx.instance));
    fx.brokers[0]->mute_code = 0;
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT)->opaque, 0, NULL,
                      NULL, 0, (struct span){"", 0});
    net_pump(&fx);
    assert_true(mq_client_instance_is_drained(fx.instance));
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 0);
    unsigned heartbeats = fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT);
    net_advance(&fx, 35000);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT), heartbeats);
}

static void a_request_on_its_way_is_waited_for(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    struct net_send send;
    net_send_init(&send, &fx, g, topic);
    fx.brokers[0]->mute_code = REQUEST_SEND_MESSAGE_V2;
    producer_send(&send.request);
    net_pump(&fx);
    mq_client_instance_shutdown(fx.instance);
    net_advance(&fx, 500);
    assert_string_equal(unregistered(fx.brokers[0]), "");
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2)->opaque, 0, NULL, NULL,
                      0, (struct span){"", 0});
    net_advance(&fx, 150);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_true(mq_client_instance_is_drained(fx.instance));
}

static void patience_ends_and_what_is_pending_is_resolved(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    struct net_send send[2];
    for (unsigned i = 0; i < 2; i++)
        net_send_init(&send[i], &fx, g, topic);
    fx.brokers[0]->mute_code = REQUEST_SEND_MESSAGE_V2;
    producer_send(&send[0].request);
    net_pump(&fx);
    mq_client_instance_shutdown(fx.instance);
    net_advance(&fx, 1500);
    assert_non_null(strstr(unregistered(fx.brokers[0]), "CLIENT_INNER_PRODUCER"));
    assert_int_equal(send[0].completions, 0);
    /* The hub does not wait longer than that either. */
    fx.manager = mq_client_manager_free(fx.manager);
    assert_int_equal(send[0].completions, 1);
    assert_int_equal(send[0].outcome.outcome, SEND_UNKNOWN);
    net_pump(&fx);
    assert_int_equal(open_connections(), 0);
}

static void a_hub_that_stops_takes_all_instances_along(void **state)
{
    (void)state;
    struct instance_key key = {.instance_name = "other"};
    struct mq_client_instance *other;
    struct producer *p;
    const char *why = NULL;
    net_join(&fx, "G");
    net_connect(&fx);
    assert_int_equal(mq_client_manager_get_or_create(fx.manager, &key, &other, &why), 0);
    assert_int_equal(producer_acquire(other, SPAN_LITERAL("H"), 1000, &p, &why), 0);
    assert_non_null(topic_entry_acquire(other, SPAN_LITERAL("T"), NULL));
    net_pump(&fx);
    mq_client_manager_drain(fx.manager);
    net_pump(&fx);
    assert_true(mq_client_manager_is_drained(fx.manager));
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT), 6);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 0);
    key.instance_name = "late";
    assert_int_equal(mq_client_manager_get_or_create(fx.manager, &key, &other, &why), -ESHUTDOWN);
    assert_non_null(why);
    fx.manager = mq_client_manager_free(fx.manager);
    net_pump(&fx);
    assert_int_equal(open_connections(), 0);
}

static void what_comes_back_meanwhile_finds_the_instance_running(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    struct mq_client_instance *before = fx.instance;
    fx.brokers[0]->mute_code = REQUEST_UNREGISTER_CLIENT;
    mq_client_instance_shutdown(fx.instance);
    net_pump(&fx);
    assert_ptr_equal(net_instance(&fx), before);
    assert_int_equal(fx.instance->state, SERVICE_RUNNING);
    fx.brokers[0]->mute_code = 0;
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT)->opaque, 0, NULL,
                      NULL, 0, (struct span){"", 0});
    net_advance(&fx, 200);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    assert_int_equal(fx.brokers[0]->log[fx.brokers[0]->log_count - 1].code, REQUEST_HEART_BEAT);
}

/* 4.9.3: a clientId that was shut down can be created afresh. */
static void afterwards_it_can_be_created_afresh(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    uint32_t index = fx.instance->factory_index;
    producer_release(g, true);
    net_advance(&fx, 2500);
    assert_int_equal(mq_client_manager_count(fx.manager), 0);
    net_join(&fx, "G");
    net_connect(&fx);
    assert_int_equal(fx.instance->state, SERVICE_RUNNING);
    assert_string_equal(fx.instance->client_id, "192.0.2.2@unit");
    assert_int_equal(fx.instance->factory_index, index + 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_leaves_every_broker_in_order_and_nothing_behind),
        T(answers_are_awaited_before_a_connection_closes),
        T(a_request_on_its_way_is_waited_for),
        T(patience_ends_and_what_is_pending_is_resolved),
        T(a_hub_that_stops_takes_all_instances_along),
        T(what_comes_back_meanwhile_finds_the_instance_running),
        T(afterwards_it_can_be_created_afresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
