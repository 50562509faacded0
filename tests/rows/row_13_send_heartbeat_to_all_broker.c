/*
 * Row 13: MQClientInstance.cleanOfflineBroker and sendHeartbeatToAllBrokerWithLock.
 * First at 1 s, then every heartbeat_broker_interval; at once on a new connection,
 * for a new group and for a new broker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "hub/instance/registration.h"
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

static unsigned heartbeats(unsigned broker)
{
    return fake_server_count(fx.brokers[broker], REQUEST_HEART_BEAT);
}

static struct broker *broker(unsigned index)
{
    return fx.instance->brokers.brokers[index];
}

static void first_after_a_second_then_every_interval(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    net_join(&fx, "G");
    net_connect(&fx);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(heartbeats(i), 1); /* the one of the connection */
    net_advance(&fx, 950);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(heartbeats(i), 1);
    net_advance(&fx, 100);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(heartbeats(i), 2);
    net_advance(&fx, 90000);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(heartbeats(i), 5);
}

static void one_heartbeat_carries_all_groups_and_goes_to_masters_only(void **state)
{
    (void)state;
    snprintf(fx.route_body, sizeof(fx.route_body),
             "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"%s\",1:\"%s\"},\"brokerName\":\"broker-a\",\"cluster\":\"C\"}],\"queueDatas\":[{"
             "\"brokerName\":\"broker-a\",\"perm\":6,\"readQueueNums\":2,\"topicSysFlag\":0,\"writeQueueNums\":2}]}",
             fx.brokers[0]->address, fx.brokers[1]->address);
    net_join(&fx, "G");
    net_join(&fx, "H");
    net_join(&fx, "H");
    net_connect(&fx);
    net_advance(&fx, 1050);
    const struct fake_request *last = fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT);
    assert_int_equal(last->groups, 4); /* G, H, the inner group, the marker */
    assert_true(fake_request_names(last, "G") && fake_request_names(last, "H"));
    assert_true(fake_request_names(last, "CLIENT_INNER_PRODUCER") && fake_request_names(last, fx.instance->marker->group));
    assert_string_equal(last->client_id, "192.0.2.2@unit");
    assert_int_equal(fx.brokers[1]->accepted, 0);
    assert_int_equal(broker(0)->heartbeat.broker_version, PROTOCOL_VERSION_4_9_3);
}

static void many_new_groups_share_heartbeats(void **state)
{
    (void)state;
    char name[8];
    net_join(&fx, "G");
    net_connect(&fx);
    net_advance(&fx, 200);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "N%u", i);
        net_join(&fx, name);
        net_pump(&fx);
    }
    assert_int_equal(heartbeats(0), 2); /* the first of them at once */
    net_advance(&fx, 95);
    assert_int_equal(heartbeats(0), 2);
    net_advance(&fx, 10);
    assert_int_equal(heartbeats(0), 3); /* all the others after 100 ms */
    assert_int_equal(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT)->groups, 53);
}

/* 4.9.3's start waits for that answer; nobody waits here, but the order on the connection is the same. */
static void a_new_group_is_announced_before_its_first_send(void **state)
{
    (void)state;
    struct net_send send;
    net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    net_advance(&fx, 200);
    net_join(&fx, "H");
    net_pump(&fx);
    struct producer *p = net_join(&fx, "I"); /* within 100 ms of the last heartbeat */
    unsigned from = fx.brokers[0]->log_count;
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_pump(&fx);
    assert_int_equal(fx.brokers[0]->log[from].code, REQUEST_HEART_BEAT);
    assert_true(fake_request_names(&fx.brokers[0]->log[from], "I"));
    assert_int_equal(fx.brokers[0]->log[from + 1].code, REQUEST_SEND_MESSAGE_V2);
    net_advance(&fx, 300);
    assert_int_equal(fx.brokers[0]->log_count, from + 2); /* and not once more */
}

static void silence_of_one_broker_holds_up_no_other(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute_code = REQUEST_HEART_BEAT;
    net_advance(&fx, 1050);
    assert_int_equal(heartbeats(0), 2);
    assert_int_equal(heartbeats(1), 2);
    assert_int_equal(broker(1)->heartbeat.ok, 2);
    net_join(&fx, "H"); /* at most one is on its way to a broker: the next waits for its end */
    net_advance(&fx, 1000);
    assert_int_equal(heartbeats(0), 2);
    assert_int_equal(heartbeats(1), 3);
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT)->opaque, 0, NULL, NULL, 0,
                      (struct span){"", 0});
    net_pump(&fx);
    assert_int_equal(heartbeats(0), 3);
    assert_true(broker(0)->heartbeat.worst_late_ms >= 950);
}

static const struct scheduled_task *heartbeat_task(void)
{
    for (unsigned i = 0; i < fx.instance->tasks.count; i++)
        if (strstr(fx.instance->tasks.tasks[i].name, "heartbeat"))
            return &fx.instance->tasks.tasks[i];
    fail();
    return NULL;
}

static void missed_runs_become_one(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    net_advance(&fx, 2000);
    unsigned before = heartbeats(0);
    fx.now_ns += 95 * NS_PER_S; /* the machine was suspended */
    net_pump(&fx);
    assert_int_equal(heartbeats(0), before + 1);
    assert_int_equal(heartbeat_task()->runs, 2);
    assert_int_equal(heartbeat_task()->skipped, 2); /* at 31 s one ran late; 61 s and 91 s are gone */
    assert_true(heartbeat_task()->last_late_ns > 60 * NS_PER_S);
}

static void a_broker_without_a_route_is_left(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    net_join(&fx, "G");
    net_connect(&fx);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 1);
    net_set_route(&fx, 1, 1);
    net_advance(&fx, 32000); /* the poll at 30 s, the task at 31 s */
    assert_int_equal(broker(1)->addr_count, 0);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 0);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_int_equal(fake_server_count(fx.brokers[1], REQUEST_UNREGISTER_CLIENT), 3);
}

static void lateness_is_a_problem_until_it_ends(void **state)
{
    (void)state;
    char object[512];
    struct problem problem;
    net_join(&fx, "G");
    net_connect(&fx);
    snprintf(object, sizeof(object), "%s, client %s", fx.brokers[0]->address, fx.instance->client_id);
    net_advance(&fx, 2000);
    fake_server_unlisten(fx.brokers[0]);
    fake_server_drop_conns(fx.brokers[0], true);
    net_advance(&fx, 60000);
    assert_false(problem_find("heartbeat-late", object, &problem));
    net_advance(&fx, 30000);
    assert_true(problem_find("heartbeat-late", object, &problem));
    fake_server_listen(fx.brokers[0]);
    net_advance(&fx, 30000);
    assert_false(problem_find("heartbeat-late", object, &problem));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(first_after_a_second_then_every_interval), T(one_heartbeat_carries_all_groups_and_goes_to_masters_only),
        T(many_new_groups_share_heartbeats),         T(a_new_group_is_announced_before_its_first_send),
        T(silence_of_one_broker_holds_up_no_other),  T(missed_runs_become_one),
        T(a_broker_without_a_route_is_left),         T(lateness_is_a_problem_until_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
