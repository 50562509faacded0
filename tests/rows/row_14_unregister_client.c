/*
 * Row 14: MQClientInstance.unregisterClient, and what brokers do around it (the
 * specification's hazards 15 to 18). The broker is played by the model below, built
 * from what 4.9.3 and 5.3.3 do: groups by connection, one table clientId ->
 * connection that any unregister empties and only a new group fills, connections
 * closed when one of their groups falls silent.
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

#define MODEL_GROUPS 64

/* What a broker holds of one connection. */
struct model {
    char groups[MODEL_GROUPS][GROUP_MAX_LENGTH + 1];
    unsigned count;
    bool reply_route;  /* clientId -> this connection */
    bool left_behind;  /* a group was missing from a heartbeat without having been unregistered */
    unsigned conn;     /* of which it speaks */
    unsigned analysed; /* requests of the log that it has seen */
};

static struct net_fixture fx;
static struct model model;

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    model = (struct model){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    return 0;
}

/* ---- the model ---- */

static int model_find(const char *group)
{
    for (unsigned i = 0; i < model.count; i++)
        if (strcmp(model.groups[i], group) == 0)
            return (int)i;
    return -1;
}

static void model_heartbeat(const struct fake_request *r)
{
    char text[FAKE_TEXT], *save = NULL;
    for (unsigned i = 0; i < model.count; i++)
        model.left_behind |= !fake_request_names(r, model.groups[i]);
    snprintf(text, sizeof(text), "%s", r->text);
    for (char *g = strtok_r(text, ",", &save); g; g = strtok_r(NULL, ",", &save)) {
        if (model_find(g) >= 0)
            continue;
        assert_true(model.count < MODEL_GROUPS);
        snprintf(model.groups[model.count++], sizeof(model.groups[0]), "%s", g);
        model.reply_route = true;
    }
}

static void model_unregister(const struct fake_request *r)
{
    int at = model_find(r->text);
    if (at >= 0)
        memmove(&model.groups[at], &model.groups[at + 1], (--model.count - (unsigned)at) * sizeof(model.groups[0]));
    model.reply_route = false;
}

/* Goes on through the log of broker-a; a new connection starts with nothing. */
static void model_follow(void)
{
    const struct fake_server *s = fx.brokers[0];
    for (; model.analysed < s->log_count; model.analysed++) {
        const struct fake_request *r = &s->log[model.analysed];
        if (r->conn != model.conn)
            model = (struct model){.conn = r->conn, .analysed = model.analysed, .left_behind = model.left_behind};
        if (r->code == REQUEST_HEART_BEAT)
            model_heartbeat(r);
        else if (r->code == REQUEST_UNREGISTER_CLIENT)
            model_unregister(r);
    }
}

/* ---- helpers ---- */

static void answer(const struct fake_request *r)
{
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), r->opaque, 0, NULL, NULL, 0, (struct span){"", 0});
    net_pump(&fx);
}

static unsigned unregisters(void)
{
    return fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT);
}

/* ---- the row ---- */

static void unregister_tells_every_broker(void **state)
{
    (void)state;
    net_set_route(&fx, 3, 1);
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    producer_release(g, true);
    net_pump(&fx);
    for (unsigned i = 0; i < 3; i++) {
        unsigned first = 0;
        while (first < fx.brokers[i]->log_count && fx.brokers[i]->log[first].code != REQUEST_UNREGISTER_CLIENT)
            first++;
        assert_true(first < fx.brokers[i]->log_count);
        const struct fake_request *r = &fx.brokers[i]->log[first];
        assert_string_equal(r->text, "G");
        assert_string_equal(r->client_id, "192.0.2.2@unit");
        assert_int_equal(r->conn, fx.brokers[i]->log[0].conn); /* on the connection that registered it */
    }
}

/* Hazard 16. */
static void the_reply_route_is_repaired_after_every_unregister(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    model_follow();
    assert_true(model.reply_route);
    producer_release(g, true);
    net_pump(&fx);
    model_follow();
    assert_true(model.reply_route);
    assert_int_equal(model_find("G"), -1);
    assert_true(model_find(fx.instance->marker->group) >= 0);
    assert_int_equal(unregisters(), 2);
}

static void the_marker_is_private_and_in_every_heartbeat(void **state)
{
    (void)state;
    struct producer *p;
    const char *why = NULL;
    net_join(&fx, "G");
    net_connect(&fx);
    net_advance(&fx, 62000);
    for (unsigned i = 0; i < fx.brokers[0]->log_count; i++)
        if (fx.brokers[0]->log[i].code == REQUEST_HEART_BEAT)
            assert_true(fake_request_names(&fx.brokers[0]->log[i], fx.instance->marker->group));
    assert_memory_equal(fx.instance->marker->group, MARKER_GROUP_PREFIX, strlen(MARKER_GROUP_PREFIX));
    assert_int_equal(producer_acquire(fx.instance, span_of(fx.instance->marker->group), 1000, &p, &why), -EINVAL);
}

/* Consumer.md 8.3.3: the end of the old connection, noticed late, takes the new mapping away. */
static void the_reply_route_is_repaired_after_a_reconnect(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    net_advance(&fx, 5000);
    assert_int_equal(unregisters(), 0); /* nothing to repair on the first connection */
    fake_server_drop_conns(fx.brokers[0], true);
    net_advance(&fx, 2500);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    model_follow();
    assert_true(model.reply_route);
    model.reply_route = false; /* now the broker notices */
    net_advance(&fx, 1000);
    model_follow();
    assert_true(model.reply_route);
    assert_int_equal(unregisters(), 1);
    assert_string_equal(fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT)->text, fx.instance->marker->group);
}

/* A registration that ended while its connection was lost is forgotten here, its connection perhaps not at the broker. */
static void the_reply_route_is_repaired_when_a_lost_broker_comes_back(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    net_join(&fx, "G");
    net_connect(&fx);
    fake_server_unlisten(fx.brokers[1]);
    fake_server_drop_conns(fx.brokers[1], true);
    net_set_route(&fx, 1, 1);
    net_advance(&fx, 31000);
    assert_ptr_equal(fx.instance->registrations.next, fx.instance->registrations.prev); /* only broker-a's is left */
    fake_server_listen(fx.brokers[1]);
    net_set_route(&fx, 2, 1);
    net_advance(&fx, 36000);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 1);
    const struct fake_request *r = fake_server_last(fx.brokers[1], REQUEST_UNREGISTER_CLIENT);
    assert_non_null(r);
    assert_string_equal(r->text, fx.instance->marker->group);
    assert_int_equal(unregisters(), 0);
}

static void a_repair_that_is_not_answered_is_repeated(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    net_connect(&fx);
    producer_release(g, true);
    fake_server_poll(fx.brokers[0]);
    net_pump(&fx);
    fx.brokers[0]->mute_code = REQUEST_UNREGISTER_CLIENT;
    struct producer *i = net_join(&fx, "I");
    net_advance(&fx, 200);
    producer_release(i, true);
    net_advance(&fx, 3100); /* silence, once */
    fx.brokers[0]->mute_code = 0;
    net_advance(&fx, 2000);
    model_follow();
    assert_true(model.reply_route);
    assert_false(model.left_behind);
    assert_int_equal(model_find("I"), -1);
    assert_int_equal(fx.brokers[0]->accepted, 1);
}

static void a_group_joined_during_its_unregister_is_registered_after_the_answer(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute = true;
    producer_release(g, true);
    net_pump(&fx);
    unsigned from = fx.brokers[0]->log_count;
    const struct fake_request *r = fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT);
    assert_string_equal(r->text, "G");
    assert_ptr_equal(net_join(&fx, "G"), g);
    net_advance(&fx, 1500);
    assert_int_equal(fx.brokers[0]->log_count, from); /* nothing overtakes it: brokers run the two in different pools */
    fx.brokers[0]->mute = false;
    answer(r);
    model_follow();
    assert_true(model_find("G") >= 0);
    assert_true(model.reply_route);
    assert_int_equal(g->state, PRODUCER_ACTIVE);
}

static void a_group_is_not_unregistered_while_its_request_is_outstanding(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_join(&fx, "H");
    struct topic_entry *topic = net_connect(&fx);
    struct net_send send;
    net_advance(&fx, 1100);
    net_send_init(&send, &fx, g, topic);
    fx.brokers[0]->mute_code = REQUEST_SEND_MESSAGE_V2;
    producer_send(&send.request);
    net_pump(&fx);
    assert_int_equal(g->outstanding, 1);
    producer_release(g, true);
    net_join(&fx, "I");
    net_advance(&fx, 500);
    assert_int_equal(unregisters(), 0);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G")); /* until then it goes on being announced */
    fake_server_reply(fake_server_last_conn(fx.brokers[0]), fake_server_last(fx.brokers[0], REQUEST_SEND_MESSAGE_V2)->opaque, 0, NULL, NULL,
                      0, (struct span){"", 0});
    net_advance(&fx, 20);
    assert_int_equal(send.completions, 1);
    assert_int_equal(unregisters(), 2);
    model_follow();
    assert_int_equal(model_find("G"), -1);
    assert_false(model.left_behind);
}

/* One whose last request ends after its last connection is gone must not stay for ever. */
static void a_group_that_nobody_knows_any_more_leaves_the_table(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    struct topic_entry *topic = net_connect(&fx);
    struct net_send send;
    net_send_init(&send, &fx, g, topic);
    fx.brokers[0]->mute_code = REQUEST_SEND_MESSAGE_V2;
    producer_send(&send.request);
    net_pump(&fx);
    producer_release(g, true);
    fake_server_unlisten(fx.brokers[0]);
    fake_server_drop_conns(fx.brokers[0], true);
    net_advance(&fx, 2500);
    assert_int_equal(send.completions, 1);
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
    fake_server_listen(fx.brokers[0]);
}

/* Answers the next refusals UNREGISTERs with SYSTEM_BUSY: brokers do so with a full queue, and ACLs refuse as well. */
static unsigned refusals;

static bool refuse_unregister(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd)
{
    (void)s;
    if (cmd->code != REQUEST_UNREGISTER_CLIENT || refusals == 0)
        return false;
    refusals--;
    fake_server_reply(c, cmd->opaque, RESPONSE_SYSTEM_BUSY, "[REJECTREQUEST]", NULL, 0, (struct span){"", 0});
    return true;
}

static unsigned unregisters_of(const char *group)
{
    unsigned n = 0;
    for (unsigned i = 0; i < fx.brokers[0]->log_count; i++)
        n += fx.brokers[0]->log[i].code == REQUEST_UNREGISTER_CLIENT && strcmp(fx.brokers[0]->log[i].text, group) == 0;
    return n;
}

/* A broker that refuses has forgotten nothing: the group is announced (hazard 17) until it is unregistered indeed. */
static void a_refused_unregister_is_repeated_and_the_group_announced_until_then(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->hook = refuse_unregister;
    refusals = 1;
    producer_release(g, true);
    net_pump(&fx);
    assert_int_equal(unregisters_of("G"), 1);
    assert_int_equal(g->state, PRODUCER_UNREGISTERING);
    net_advance(&fx, 200);
    net_join(&fx, "H");
    net_pump(&fx);
    const struct fake_request *heartbeat = fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT);
    assert_true(fake_request_names(heartbeat, "H"));
    assert_true(fake_request_names(heartbeat, "G"));
    assert_int_equal(unregisters_of("G"), 1); /* not again at once */
    net_advance(&fx, 1000);
    assert_int_equal(unregisters_of("G"), 2);
    assert_false(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
    model_follow();
    assert_true(model.reply_route);
    assert_int_equal(fx.brokers[0]->accepted, 1);
}

/* Neither other groups nor heartbeats nor the marker wait for a broker that never lets a group go, and it is not pestered. */
static void a_broker_that_refuses_for_ever_holds_nobody_up(void **state)
{
    (void)state;
    struct producer *h = net_join(&fx, "H"), *g = net_join(&fx, "G");
    net_join(&fx, "I");
    net_connect(&fx);
    fx.brokers[0]->hook = refuse_unregister;
    refusals = 1;
    producer_release(g, true);
    net_pump(&fx);
    producer_release(h, true);
    net_advance(&fx, 1100);
    assert_int_equal(unregisters_of("H"), 1); /* its turn is before G's second */
    assert_null(producer_table_find(&fx.instance->producers, "H", 1));
    refusals = UINT32_MAX;
    unsigned before = fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT);
    producer_release(net_join(&fx, "G"), true);
    net_advance(&fx, 300000);
    assert_true(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT) >= before + 9);
    assert_true(unregisters() < 40);
    refusals = 0;
    net_advance(&fx, 65000);
    model_follow();
    assert_int_equal(model_find("G"), -1);
    assert_true(model.reply_route);
    assert_false(model.left_behind);
}

static void a_refused_repair_is_repeated(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->hook = refuse_unregister;
    fake_server_drop_conns(fx.brokers[0], true);
    net_advance(&fx, 2500);
    refusals = 1; /* the repair after the reconnect */
    net_advance(&fx, 1000);
    assert_int_equal(refusals, 0);
    assert_int_equal(unregisters_of(fx.instance->marker->group), 1);
    net_advance(&fx, 1100);
    assert_int_equal(unregisters_of(fx.instance->marker->group), 2);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), fx.instance->marker->group));
}

static void a_drain_ends_though_a_broker_refuses(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        char name[8];
        snprintf(name, sizeof(name), "G%u", i);
        net_join(&fx, name);
    }
    net_connect(&fx);
    fx.brokers[0]->hook = refuse_unregister;
    refusals = UINT32_MAX;
    mq_client_manager_drain(fx.manager);
    net_advance(&fx, 1500);
    assert_false(mq_client_manager_is_drained(fx.manager)); /* it may have been busy for a moment only */
    net_advance(&fx, 3000);
    assert_true(mq_client_manager_is_drained(fx.manager));
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 0);
}

/* A heartbeat without an answer may be executed late. An UNREGISTER that overtook it would be undone by it. */
static void no_unregister_overtakes_a_heartbeat(void **state)
{
    (void)state;
    struct producer *g = net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute_code = REQUEST_HEART_BEAT;
    net_advance(&fx, 200);
    net_join(&fx, "H");
    net_advance(&fx, 3100); /* its heartbeat times out */
    producer_release(g, true);
    net_advance(&fx, 500);
    assert_int_equal(unregisters(), 0);
    fx.brokers[0]->mute_code = 0;
    unsigned before = fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT);
    net_advance(&fx, 700);
    assert_int_equal(unregisters_of("G"), 1);
    assert_true(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT) > before);
    assert_int_equal(fx.brokers[0]->accepted, 1);
    model_follow();
    assert_int_equal(model_find("G"), -1);
    assert_true(model.reply_route);
}

static void a_drain_lets_no_unregister_overtake_a_heartbeat(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_connect(&fx);
    fx.brokers[0]->mute_code = REQUEST_HEART_BEAT;
    net_advance(&fx, 200);
    net_join(&fx, "H");
    net_advance(&fx, 3100);
    mq_client_manager_drain(fx.manager);
    net_advance(&fx, 3000);
    assert_int_equal(unregisters(), 0);
    net_advance(&fx, 2000); /* the second silence ends the connection, and the drain with it */
    assert_true(mq_client_manager_is_drained(fx.manager));
}

/* Hazard 17: as many groups as there can be are in every heartbeat. */
static void no_group_is_dropped_from_a_heartbeat(void **state)
{
    (void)state;
    char name[GROUP_MAX_LENGTH + 1];
    net_instance(&fx);
    for (unsigned i = 2; i < PRODUCER_GROUPS_MAX; i++) { /* with the longest names */
        snprintf(name, sizeof(name), "%0250u%05u", 0u, i);
        net_join(&fx, name);
    }
    net_connect(&fx);
    net_advance(&fx, 1050);
    const struct fake_request *last = fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT);
    assert_int_equal(fx.instance->brokers.brokers[0]->heartbeat.ok, 2);
    assert_int_equal(last->groups, PRODUCER_GROUPS_MAX);
    assert_true(last->body_len > 255u * (PRODUCER_GROUPS_MAX - 2));
}

/* Hazards 16 and 17 over a random life, with lost connections and silent brokers in it. */
static void a_random_life_leaves_nothing_behind(void **state)
{
    (void)state;
    struct producer *users[6] = {0};
    char name[8];
    fx.config.linger_ms = 5000;
    net_join(&fx, "keep");
    net_connect(&fx);
    srand(4);
    for (int step = 0; step < 400; step++) {
        unsigned i = (unsigned)rand() % 6;
        snprintf(name, sizeof(name), "R%u", i);
        if (!users[i]) {
            users[i] = net_join(&fx, name);
        } else {
            producer_release(users[i], rand() % 2 == 0);
            users[i] = NULL;
        }
        if (rand() % 40 == 0)
            fake_server_drop_conns(fx.brokers[0], rand() % 2 == 0);
        fx.brokers[0]->mute_code = rand() % 30 == 0 ? REQUEST_UNREGISTER_CLIENT : 0;
        net_advance(&fx, (unsigned)rand() % 3000);
        model_follow();
        assert_false(model.left_behind);
    }
    fx.brokers[0]->mute_code = 0;
    net_advance(&fx, 45000);
    model_follow();
    assert_false(model.left_behind);
    assert_true(model.reply_route);
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "R%u", i);
        assert_int_equal(model_find(name) >= 0, users[i] != NULL);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(unregister_tells_every_broker),
        T(the_reply_route_is_repaired_after_every_unregister),
        T(the_marker_is_private_and_in_every_heartbeat),
        T(the_reply_route_is_repaired_after_a_reconnect),
        T(the_reply_route_is_repaired_when_a_lost_broker_comes_back),
        T(a_repair_that_is_not_answered_is_repeated),
        T(a_group_joined_during_its_unregister_is_registered_after_the_answer),
        T(a_group_is_not_unregistered_while_its_request_is_outstanding),
        T(a_group_that_nobody_knows_any_more_leaves_the_table),
        T(a_refused_unregister_is_repeated_and_the_group_announced_until_then),
        T(a_broker_that_refuses_for_ever_holds_nobody_up),
        T(a_refused_repair_is_repeated),
        T(a_drain_ends_though_a_broker_refuses),
        T(no_unregister_overtakes_a_heartbeat),
        T(a_drain_lets_no_unregister_overtake_a_heartbeat),
        T(no_group_is_dropped_from_a_heartbeat),
        T(a_random_life_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
