/*
 * What brokers are told about producer groups, and when. The hazards are those of
 * every 4.9.3 and 5.3.3 broker: a group that falls silent kills the connection
 * (17), and an UNREGISTER makes the broker forget the clientId (16).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/registration.h"
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
    return 0;
}

static void the_heartbeat_precedes_every_send_on_a_connection(void **state)
{
    (void)state;
    struct producer *p = net_join(&fx, "G");
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    struct net_send send;
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_pump(&fx);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_int_equal(fx.brokers[0]->log[0].code, REQUEST_HEART_BEAT);
    assert_true(fake_request_names(&fx.brokers[0]->log[0], "G"));
    assert_true(fake_request_names(&fx.brokers[0]->log[0], "CLIENT_INNER_PRODUCER"));
    assert_string_equal(fx.brokers[0]->log[0].client_id, "192.0.2.2@unit");
    assert_int_equal(fx.brokers[0]->log[1].code, REQUEST_SEND_MESSAGE_V2);
}

static void a_new_group_is_announced_at_once(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    unsigned before = fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT);
    net_advance(&fx, 100); /* heartbeats to one broker are that far apart */
    net_join(&fx, "H");
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT), before + 1);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "H"));
    net_join(&fx, "H"); /* a second user of a known group is nobody's news */
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT), before + 1);
}

static void heartbeats_are_one_per_broker_and_interval(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    net_advance(&fx, 2000);
    unsigned before[2] = {fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT), fake_server_count(fx.brokers[1], REQUEST_HEART_BEAT)};
    net_advance(&fx, 90000);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(fake_server_count(fx.brokers[i], REQUEST_HEART_BEAT), before[i] + 3);
    assert_int_equal(fx.instance->brokers.brokers[1]->heartbeat.last_20 & 7, 7);
    assert_int_equal(fx.instance->brokers.brokers[1]->heartbeat.broker_version, PROTOCOL_VERSION_4_9_3);
}

/* Hazard 17: as long as it lingers a group goes on being announced, and it is unregistered on the connection that knows it. */
static void a_lingering_group_is_announced_until_it_is_unregistered(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    producer_release(g, false);
    assert_int_equal(g->state, PRODUCER_LINGERING);
    net_advance(&fx, 59000);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT), 0);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    net_advance(&fx, 2000);
    const struct fake_request *first = NULL;
    for (unsigned i = 0; i < fx.brokers[0]->log_count && !first; i++)
        if (fx.brokers[0]->log[i].code == REQUEST_UNREGISTER_CLIENT)
            first = &fx.brokers[0]->log[i];
    assert_non_null(first);
    assert_string_equal(first->text, "G");
    assert_string_equal(first->client_id, "192.0.2.2@unit");
    assert_int_equal(first->conn, fx.brokers[0]->log[0].conn);
    assert_false(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
}

/* Hazard 17, the general form: play the broker's table over a random life and look for a group left behind. */
static void no_group_is_ever_left_behind(void **state)
{
    (void)state;
    struct producer *users[8] = {0};
    char known[8] = {0};
    fx.config.linger_ms = 5000;
    net_join(&fx, "keep");
    net_connect(&fx);
    srand(7);
    for (int step = 0; step < 300; step++) {
        unsigned i = (unsigned)rand() % 8;
        char name[8];
        snprintf(name, sizeof(name), "R%u", i);
        if (!users[i]) {
            users[i] = net_join(&fx, name);
        } else {
            producer_release(users[i], rand() % 3 == 0);
            users[i] = NULL;
        }
        net_advance(&fx, (unsigned)rand() % 4000);
    }
    net_advance(&fx, 40000);
    for (unsigned n = 0; n < fx.brokers[0]->log_count; n++) {
        const struct fake_request *r = &fx.brokers[0]->log[n];
        for (unsigned i = 0; i < 8; i++) {
            char name[8];
            snprintf(name, sizeof(name), "R%u", i);
            if (r->code == REQUEST_HEART_BEAT) {
                /* A group that was announced may only be missing after its UNREGISTER. */
                assert_false(known[i] && !fake_request_names(r, name));
                known[i] = fake_request_names(r, name);
            } else if (r->code == REQUEST_UNREGISTER_CLIENT && strcmp(r->text, name) == 0) {
                known[i] = 0;
            }
        }
    }
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(known[i], users[i] != NULL);
    assert_int_equal(fx.brokers[0]->accepted, 1);
}

/* Hazard 16: UNREGISTER(group), UNREGISTER(marker), HEARTBEAT, each after the reply to the one before. */
static void an_unregister_is_followed_by_the_marker_dance(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    unsigned from = fx.brokers[0]->log_count;
    fx.brokers[0]->mute = true;
    producer_release(g, true);
    net_pump(&fx);
    assert_int_equal(fx.brokers[0]->log_count, from + 1); /* nothing more before the answer */
    const struct fake_request *r = &fx.brokers[0]->log[from];
    assert_int_equal(r->code, REQUEST_UNREGISTER_CLIENT);
    assert_string_equal(r->text, "G");
    fx.brokers[0]->mute = false;
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), r->opaque, 0, NULL, NULL, 0, (struct span){"", 0});
    net_pump(&fx);
    assert_int_equal(fx.brokers[0]->log_count, from + 3);
    assert_int_equal(r[1].code, REQUEST_UNREGISTER_CLIENT);
    assert_string_equal(r[1].text, fx.instance->marker->group);
    assert_int_equal(r[2].code, REQUEST_HEART_BEAT);
    assert_true(fake_request_names(&r[2], fx.instance->marker->group));
    assert_true(fake_request_names(&r[2], "CLIENT_INNER_PRODUCER"));
    assert_true(fake_request_names(&r[2], "H"));
    assert_false(fake_request_names(&r[2], "G"));
}

static void a_group_that_returns_while_it_is_unregistered_is_announced_again(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute = true;
    producer_release(g, true);
    net_pump(&fx);
    const struct fake_request *r = fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT);
    assert_ptr_equal(net_join(&fx, "G"), g);
    fx.brokers[0]->mute = false;
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), r->opaque, 0, NULL, NULL, 0, (struct span){"", 0});
    net_pump(&fx);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    assert_int_equal(g->state, PRODUCER_ACTIVE);
}

static void without_linger_a_release_unregisters_at_once(void **state)
{
    (void)state;
    fx.config.linger_ms = 0;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    producer_release(g, false);
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT), 2);
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
}

static void a_reconnect_announces_first_and_everything(void **state)
{
    (void)state;
    struct producer *p = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    unsigned from = fx.brokers[0]->log_count;
    fake_server_drop_conns(fx.brokers[0], false);
    net_pump(&fx);
    struct net_send send;
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_advance(&fx, 300);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_true(send.outcome.connect_us > 0);
    assert_int_equal(fx.brokers[0]->log[from].code, REQUEST_HEART_BEAT);
    assert_int_equal(fx.brokers[0]->log[from].conn, 2);
    assert_true(fake_request_names(&fx.brokers[0]->log[from], "G"));
}

static void a_lost_broker_is_dialled_again_without_any_send(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    fake_server_drop_conns(fx.brokers[0], true);
    net_advance(&fx, 300);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_int_equal(fx.instance->brokers.brokers[0]->master->counters.connections_lost, 1);
}

static void two_silent_heartbeats_end_a_connection(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute_code = REQUEST_HEART_BEAT;
    net_advance(&fx, 1000); /* the first periodic one */
    net_advance(&fx, 2900);
    assert_int_equal(fx.brokers[0]->accepted, 1);
    net_advance(&fx, 5000);
    assert_true(fx.brokers[0]->accepted > 1);
    assert_true(fx.instance->brokers.brokers[0]->heartbeat.failed >= 2);
}

static void expired_sends_ask_for_a_heartbeat(void **state)
{
    (void)state;
    struct producer *p = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    struct net_send send[3];
    net_advance(&fx, 1100);
    unsigned before = fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT);
    fx.brokers[0]->mute = true;
    for (unsigned i = 0; i < 3; i++) {
        net_send_init(&send[i], &fx, p, topic);
        producer_send(&send[i].request);
    }
    net_advance(&fx, 3050);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT), before + 1);
    assert_int_equal(fx.brokers[0]->accepted, 1);
    net_advance(&fx, 8000); /* that one and the next stay unanswered as well */
    assert_int_equal(fx.brokers[0]->accepted, 2);
}

static void a_refused_heartbeat_is_recorded_and_keeps_the_connection(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    struct channel *ch = fx.instance->brokers.brokers[0]->master;
    fx.brokers[0]->mute_code = REQUEST_HEART_BEAT;
    net_advance(&fx, 1000);
    const struct fake_request *r = fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT);
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), r->opaque, 1, "no thanks", NULL, 0, (struct span){"", 0});
    net_pump(&fx);
    assert_int_equal(ch->state, CHANNEL_CONNECTED);
    assert_string_equal(fx.instance->brokers.brokers[0]->heartbeat.last_error, "no thanks");
    assert_int_equal(fx.instance->brokers.brokers[0]->heartbeat.last_20 & 1, 0);
}

static void a_master_that_moves_is_left_politely(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    char moved[sizeof(fx.route_body)];
    snprintf(
        moved, sizeof(moved),
        "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"broker-a\",\"cluster\":\"C\"}],\"queueDatas\":[{\"brokerName\":"
        "\"broker-a\",\"perm\":6,\"readQueueNums\":2,\"topicSysFlag\":0,\"writeQueueNums\":2}]}",
        fx.brokers[1]->address);
    memcpy(fx.route_body, moved, sizeof(moved));
    net_advance(&fx, 31000);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 0);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 1);
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT), 3); /* G, the inner group, the marker */
    assert_true(fake_request_names(fake_server_last(fx.brokers[1], REQUEST_HEART_BEAT), "G"));
}

static unsigned count_links(const struct list_link *list)
{
    unsigned n = 0;
    for (const struct list_link *it = list->next; it != list; it = it->next)
        n++;
    return n;
}

/* Routes that change all the time, with sends in between, leave as much behind as one that stands still. */
static void flapping_routes_leave_nothing_behind(void **state)
{
    (void)state;
    struct net_send send;
    fx.config.poll_name_server_interval_ms = fx.config.heartbeat_broker_interval_ms = 1000;
    net_set_route(&fx, 3, 1);
    struct producer *p = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    srand(11);
    for (unsigned i = 0; i < 300; i++) {
        net_set_route(&fx, 1 + (unsigned)rand() % 3, 1 + (unsigned)rand() % 4);
        net_advance(&fx, 100 + (unsigned)rand() % 900);
        net_send_init(&send, &fx, p, topic);
        producer_send(&send.request);
        net_pump(&fx);
        assert_int_equal(send.outcome.outcome, SEND_STORED);
        for (unsigned b = 0; b < 3; b++)
            fx.brokers[b]->log_count = fx.name_servers[b]->log_count = 0; /* the log is finite */
    }
    net_set_route(&fx, 3, 1);
    net_advance(&fx, 5000);
    assert_int_equal(count_links(&fx.instance->registrations), 3);
    assert_int_equal(count_links(&fx.instance->remoting.channels), 4);
    for (unsigned b = 0; b < 3; b++)
        assert_int_equal(fake_server_open_conns(fx.brokers[b]), 1);
    net_set_route(&fx, 1, 1);
    net_advance(&fx, 5000);
    assert_int_equal(count_links(&fx.instance->registrations), 1);
    assert_int_equal(count_links(&fx.instance->remoting.channels), 2);
}

static void a_drain_unregisters_everything(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    mq_client_manager_drain(fx.manager);
    assert_false(mq_client_manager_is_drained(fx.manager));
    net_pump(&fx);
    assert_true(mq_client_manager_is_drained(fx.manager));
    assert_int_equal(fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT), 4); /* and the client's own two */
    struct instance_key key = {.instance_name = "late"};
    struct mq_client_instance *in;
    const char *why;
    assert_true(mq_client_manager_get_or_create(fx.manager, &key, &in, &why) < 0);
}

static void an_unused_instance_ends_and_can_come_back(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    topic_entry_release(topic);
    producer_release(g, true);
    net_advance(&fx, 2500);
    assert_int_equal(mq_client_manager_count(fx.manager), 0);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 0);
    assert_int_equal(fake_server_open_conns(fx.name_servers[0]), 0);
    net_join(&fx, "G");
    net_connect(&fx);
    assert_int_equal(mq_client_manager_count(fx.manager), 1);
}

static void groups_belong_to_the_user_who_registered_them(void **state)
{
    (void)state;
    struct producer *p = net_join(&fx, "G"), *q;
    const char *why = NULL;
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 1001, &q, &why), -EPERM);
    assert_non_null(why);
    producer_release(p, false); /* the linger keeps the owner */
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 1001, &q, &why), -EPERM);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("CLIENT_INNER_PRODUCER"), 1000, &q, &why), -EINVAL);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("DEFAULT_PRODUCER"), 1000, &q, &why), -EINVAL);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("a b"), 1000, &q, &why), -EINVAL);
    producer_acquire(fx.instance, SPAN_LITERAL("G"), 1000, &q, &why);
    assert_ptr_equal(p, q);
    assert_int_equal(p->linger_until_ns, 0);
}

static void the_group_table_is_bounded(void **state)
{
    (void)state;
    struct producer *p;
    const char *why = NULL;
    char name[16];
    net_instance(&fx);
    for (unsigned i = 2; i < PRODUCER_GROUPS_MAX; i++) { /* two are the client's own */
        snprintf(name, sizeof(name), "G%u", i);
        net_join(&fx, name);
    }
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("more"), 1000, &p, &why), -EDQUOT);
    assert_non_null(why);
    net_connect(&fx);
    assert_int_equal(fx.instance->brokers.brokers[0]->heartbeat.ok, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_heartbeat_precedes_every_send_on_a_connection),
        T(a_new_group_is_announced_at_once),
        T(heartbeats_are_one_per_broker_and_interval),
        T(a_lingering_group_is_announced_until_it_is_unregistered),
        T(no_group_is_ever_left_behind),
        T(an_unregister_is_followed_by_the_marker_dance),
        T(a_group_that_returns_while_it_is_unregistered_is_announced_again),
        T(without_linger_a_release_unregisters_at_once),
        T(a_reconnect_announces_first_and_everything),
        T(a_lost_broker_is_dialled_again_without_any_send),
        T(two_silent_heartbeats_end_a_connection),
        T(expired_sends_ask_for_a_heartbeat),
        T(a_refused_heartbeat_is_recorded_and_keeps_the_connection),
        T(a_master_that_moves_is_left_politely),
        T(flapping_routes_leave_nothing_behind),
        T(a_drain_unregisters_everything),
        T(an_unused_instance_ends_and_can_come_back),
        T(groups_belong_to_the_user_who_registered_them),
        T(the_group_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
