/* Nameserver choice, routes, publish info, polling, the kept route, offline brokers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct topic_entry *topic;

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

static void use_topic(const char *name)
{
    topic = topic_entry_acquire(net_instance(&fx), span_of(name), NULL);
    assert_non_null(topic);
    net_pump(&fx);
}

static void all_name_servers(void)
{
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s;%s;%s", fx.name_servers[0]->address, fx.name_servers[1]->address,
             fx.name_servers[2]->address);
}

static struct fake_server *chosen_name_server(void)
{
    const char *address = name_server_chosen(&fx.instance->name_server);
    for (unsigned i = 0; address && i < 3; i++)
        if (strcmp(fx.name_servers[i]->address, address) == 0)
            return fx.name_servers[i];
    return NULL;
}

static unsigned route_requests(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        n += fake_server_count(fx.name_servers[i], REQUEST_GET_ROUTEINFO_BY_TOPIC);
    return n;
}

/* ---- nameservers ---- */

static void lists_are_checked(void **state)
{
    (void)state;
    char many[33 * 16] = "";
    assert_int_equal(name_server_check_list("a:1;b:2;"), 0);
    assert_int_equal(name_server_check_list(""), -EINVAL);
    assert_int_equal(name_server_check_list(";;"), -EINVAL);
    assert_int_equal(name_server_check_list("a:1;b"), -EINVAL);
    for (unsigned i = 0; i < 33; i++)
        strcat(many, "10.0.0.1:9876;");
    assert_int_equal(name_server_check_list(many), -E2BIG);
}

static void the_chosen_name_server_sticks(void **state)
{
    (void)state;
    all_name_servers();
    use_topic("T");
    struct fake_server *chosen = chosen_name_server();
    assert_non_null(chosen);
    net_skip(&fx, 95000);
    assert_ptr_equal(chosen_name_server(), chosen);
    assert_int_equal(route_requests(), fake_server_count(chosen, REQUEST_GET_ROUTEINFO_BY_TOPIC));
    assert_int_equal(fx.instance->name_server.failovers, 0);
}

static void a_dead_name_server_is_passed_over(void **state)
{
    (void)state;
    all_name_servers();
    use_topic("T");
    struct fake_server *first = chosen_name_server();
    fake_server_unlisten(first);
    fake_server_drop_conns(first, false);
    use_topic("U"); /* does not exist: 17 from whoever answers */
    net_advance(&fx, 100);
    assert_int_equal(topic->last_code, RESPONSE_TOPIC_NOT_EXIST);
    assert_ptr_not_equal(chosen_name_server(), first);
    assert_true(fx.instance->name_server.failovers >= 1);
    fake_server_listen(first);
    struct fake_server *second = chosen_name_server();
    net_skip(&fx, 31000);
    assert_ptr_equal(chosen_name_server(), second); /* no fail-back */
}

static void a_silent_name_server_costs_its_timeout(void **state)
{
    (void)state;
    all_name_servers();
    use_topic("T");
    chosen_name_server()->mute = true;
    use_topic("U");
    assert_int_equal(topic->last_code, 0);
    net_advance(&fx, 3050);
    assert_int_equal(topic->last_code, RESPONSE_TOPIC_NOT_EXIST);
    net_advance(&fx, 4500); /* the silent one is probed first */
    unsigned open = 0;
    for (unsigned i = 0; i < 3; i++)
        open += fake_server_open_conns(fx.name_servers[i]);
    assert_int_equal(open, 1); /* the silent one was left */
}

static void all_dead_name_servers_are_an_error(void **state)
{
    (void)state;
    all_name_servers();
    for (unsigned i = 0; i < 3; i++)
        fake_server_unlisten(fx.name_servers[i]);
    use_topic("T");
    net_advance(&fx, 50);
    assert_int_equal(topic->source, ROUTE_NONE);
    assert_int_equal(topic->fetch_failures > 0, 1);
    assert_non_null(strstr(topic->last_error, "cannot connect"));
    assert_true(fx.instance->name_server.failures > 0);
}

static void orders_differ_between_clients(void **state)
{
    (void)state;
    struct name_server a, b;
    unsigned differ = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_int_equal(name_server_init(&a, NULL, "a:1;b:1;c:1;d:1;e:1", seed), 0);
        assert_int_equal(name_server_init(&b, NULL, "a:1;b:1;c:1;d:1;e:1", seed + 1000), 0);
        differ += memcmp(a.addresses, b.addresses, sizeof(a.addresses)) != 0;
    }
    assert_true(differ > 10);
}

/* ---- routes ---- */

static void routes_are_polled_from_the_start(void **state)
{
    (void)state;
    net_instance(&fx);
    net_advance(&fx, 15);
    assert_int_equal(route_requests(), 1);
    assert_string_equal(fake_server_last(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC)->text, "TBW102");
    use_topic("T");
    unsigned before = route_requests();
    net_skip(&fx, 30000);
    assert_int_equal(route_requests(), before + 2);
}

static void an_unchanged_route_changes_nothing(void **state)
{
    (void)state;
    use_topic("T");
    const struct message_queue *queues = topic->info.queues;
    assert_int_equal(topic->changes, 1);
    net_skip(&fx, 31000);
    assert_ptr_equal(topic->info.queues, queues);
    assert_int_equal(topic->changes, 1);
    net_set_route(&fx, 2, 3);
    net_skip(&fx, 30000);
    assert_int_equal(topic->changes, 2);
    assert_int_equal(topic->info.count, 6);
    assert_string_equal(topic->info.queues[0].broker->name, "broker-a");
    assert_string_equal(topic->info.queues[5].broker->name, "broker-b");
    assert_int_equal(topic->info.queues[5].queue_id, 2);
}

static void old_data_is_kept_whatever_happens(void **state)
{
    (void)state;
    use_topic("T");
    fx.name_servers[0]->topic_count = 0; /* deleted */
    net_skip(&fx, 31000);
    assert_int_equal(topic->info.count, 2);
    assert_int_equal(topic->last_code, RESPONSE_TOPIC_NOT_EXIST);
    assert_true(topic->fetch_failures > 0);
    fake_server_unlisten(fx.name_servers[0]);
    fake_server_drop_conns(fx.name_servers[0], true);
    net_skip(&fx, 31000);
    assert_int_equal(topic->info.count, 2);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
}

static void unreadable_routes_are_refused(void **state)
{
    (void)state;
    snprintf(fx.route_body, sizeof(fx.route_body), "{\"brokerDatas\":[{]}");
    use_topic("T");
    assert_int_equal(topic->source, ROUTE_NONE);
    assert_non_null(strstr(topic->last_error, "cannot be read"));
}

static void only_writable_queues_with_a_master_count(void **state)
{
    (void)state;
    snprintf(fx.route_body, sizeof(fx.route_body),
             "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"%s\",1:\"10.0.0.9:1\"},\"brokerName\":\"b2\",\"cluster\":\"C\"},"
             "{\"brokerAddrs\":{1:\"10.0.0.8:1\"},\"brokerName\":\"noMaster\",\"cluster\":\"C\"},"
             "{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"b1\",\"cluster\":\"C\"}],"
             "\"queueDatas\":[{\"brokerName\":\"b2\",\"perm\":2,\"readQueueNums\":1,\"topicSysFlag\":0,\"writeQueueNums\":1},"
             "{\"brokerName\":\"noMaster\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4},"
             "{\"brokerName\":\"unknown\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4},"
             "{\"brokerName\":\"b1\",\"perm\":6,\"readQueueNums\":9,\"topicSysFlag\":0,\"writeQueueNums\":2}]}",
             fx.brokers[1]->address, fx.brokers[0]->address);
    use_topic("T");
    assert_int_equal(topic->info.count, 3);
    assert_string_equal(topic->info.queues[0].broker->name, "b1");
    assert_string_equal(topic->info.queues[2].broker->name, "b2");
    assert_int_equal(fx.instance->brokers.count, 3);
    struct broker *none = broker_addr_table_find(&fx.instance->brokers, "noMaster", 8);
    assert_null(broker_master_address(none));
    assert_null(none->master);
}

static void order_topics_keep_their_order(void **state)
{
    (void)state;
    snprintf(fx.route_body, sizeof(fx.route_body),
             "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"b1\",\"cluster\":\"C\"},"
             "{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"b2\",\"cluster\":\"C\"}],\"orderTopicConf\":\"b2:2;b1:1;bad;b9:3\","
             "\"queueDatas\":[{\"brokerName\":\"b1\",\"perm\":4,\"readQueueNums\":1,\"topicSysFlag\":0,\"writeQueueNums\":1}]}",
             fx.brokers[0]->address, fx.brokers[1]->address);
    use_topic("T");
    assert_true(topic->info.order_topic);
    assert_int_equal(topic->info.count, 3);
    assert_string_equal(topic->info.queues[0].broker->name, "b2");
    assert_int_equal(topic->info.queues[1].queue_id, 1);
    assert_string_equal(topic->info.queues[2].broker->name, "b1");
}

static void brokers_that_left_every_route_go_offline(void **state)
{
    (void)state;
    net_set_route(&fx, 2, 1);
    use_topic("T");
    net_advance(&fx, 50);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 1);
    net_set_route(&fx, 1, 1);
    net_skip(&fx, 62000);
    struct broker *gone = broker_addr_table_find(&fx.instance->brokers, "broker-b", 8);
    assert_int_equal(gone->addr_count, 0);
    assert_null(gone->master);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 0);
    net_set_route(&fx, 2, 1);
    net_skip(&fx, 31000);
    assert_int_equal(fake_server_open_conns(fx.brokers[1]), 1);
}

/* Brokers that come and go for months must not use up the table. */
static void places_of_forgotten_brokers_are_taken(void **state)
{
    (void)state;
    struct producer *p;
    char name[16];
    struct broker_addr addr = {0, SPAN_LITERAL("127.0.0.1:1")};
    assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 0, &p, NULL), 0);
    struct broker_addr_table *brokers = &fx.instance->brokers;
    for (unsigned i = 0; i < BROKERS_MAX; i++) {
        snprintf(name, sizeof(name), "old-%u", i);
        struct broker_data data = {.broker_name = span_of(name), .cluster = SPAN_LITERAL("C"), .addrs = &addr, .addr_count = 1};
        assert_int_equal(broker_addr_table_put(brokers, &data), 1);
        assert_int_equal(broker_addr_table_put(brokers, &data), 0);
    }
    use_topic("T");
    assert_int_equal(topic->info.count, 0); /* left out: the others are too young to be forgotten */
    assert_true(topic->incomplete);
    assert_true(fx.instance->routes.brokers_left_out > 0);
    net_skip(&fx, 590000);
    assert_int_equal(topic->info.count, 0);
    net_skip(&fx, 70000);
    assert_int_equal(topic->info.count, 2);
    assert_false(topic->incomplete);
    assert_int_equal(brokers->count, BROKERS_MAX);
    struct broker *broker = topic->info.queues[0].broker;
    assert_string_equal(broker->name, "broker-a");
    assert_ptr_equal(brokers->brokers[broker->index], broker);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
}

static void idle_topics_are_dropped(void **state)
{
    (void)state;
    fx.config.idle_expiry_topic_ms = 100000;
    fx.config.linger_ms = 300000;
    struct producer *p;
    net_instance(&fx);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0);
    use_topic("T");
    topic_entry_release(topic);
    use_topic("U");
    net_skip(&fx, 90000);
    assert_non_null(topic_route_table_find(&fx.instance->routes, "T", 1));
    net_skip(&fx, 91000);
    assert_null(topic_route_table_find(&fx.instance->routes, "T", 1));
    assert_non_null(topic_route_table_find(&fx.instance->routes, "U", 1));
    assert_non_null(topic_route_table_find(&fx.instance->routes, "TBW102", 6));
}

static void the_topic_table_is_bounded(void **state)
{
    (void)state;
    char name[16];
    const char *why = NULL;
    net_instance(&fx);
    fake_server_unlisten(fx.name_servers[0]);
    for (unsigned i = 1; i < TOPICS_MAX; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        assert_non_null(topic_entry_acquire(fx.instance, span_of(name), NULL));
    }
    assert_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("more"), &why));
    assert_non_null(strstr(why, "too many topics"));
    assert_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("a b"), &why));
    assert_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("SCHEDULE_TOPIC_XXXX"), &why));
    struct topic_entry *held = topic_entry_acquire(fx.instance, SPAN_LITERAL("t77"), &why);
    assert_non_null(held);
    topic_entry_release(held);
    topic_entry_release(topic_route_table_find(&fx.instance->routes, "t5", 2));
    assert_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("more"), &why)); /* its route is still asked for */
    net_advance(&fx, 1000);
    topic_entry_release(topic_route_table_find(&fx.instance->routes, "t6", 2));
    assert_non_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("more"), &why));
    assert_null(topic_route_table_find(&fx.instance->routes, "t5", 2));
    assert_non_null(topic_route_table_find(&fx.instance->routes, "t6", 2));
    assert_non_null(topic_route_table_find(&fx.instance->routes, "t77", 3));
}

static void a_poll_of_many_topics_is_paced(void **state)
{
    (void)state;
    char name[16];
    net_instance(&fx);
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        topic_entry_acquire(fx.instance, span_of(name), NULL);
    }
    net_pump(&fx);
    assert_int_equal(fx.instance->routes.in_flight, 0);
    fx.name_servers[0]->mute = true;
    topic_route_table_poll(&fx.instance->routes);
    assert_int_equal(fx.instance->routes.in_flight, TOPIC_POLL_CONCURRENCY);
    net_pump(&fx);
    assert_int_equal(fx.instance->routes.in_flight, TOPIC_POLL_CONCURRENCY);
}

/* ---- the kept route ---- */

static char kept_body[1536];
static unsigned saves;

static char kept_from[CHANNEL_ADDRESS_MAX + 1], kept_broker[256], kept_broker_from[CHANNEL_ADDRESS_MAX + 1];
static int64_t kept_broker_ms;
static unsigned forgets;

static int load(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                struct kept_origin *origin)
{
    (void)ctx;
    const char *kept = kind == KEPT_ROUTE ? kept_body : kept_broker;
    assert_string_equal(scope, "default");
    if (!kept[0] || (kind == KEPT_ROUTE && strcmp(name, "T") != 0))
        return -ENOENT;
    *len = strlen(kept);
    *content = strdup(kept);
    *origin = (struct kept_origin){.saved_ms = kind == KEPT_ROUTE ? INT64_C(1699999990000) : kept_broker_ms};
    snprintf(origin->from, sizeof(origin->from), "%s", kept_from);
    return 0;
}
static void save(void *ctx, enum kept_kind kind, const char *scope, const char *name, const void *content, size_t len, const char *from)
{
    (void)ctx;
    (void)scope;
    if (kind == KEPT_BROKER) {
        snprintf(kept_broker, sizeof(kept_broker), "%.*s", (int)len, (const char *)content);
        snprintf(kept_broker_from, sizeof(kept_broker_from), "%s", from);
    }
    if (kind != KEPT_ROUTE || strcmp(name, "T") != 0)
        return;
    saves++;
    snprintf(kept_body, sizeof(kept_body), "%.*s", (int)len, (const char *)content);
    snprintf(kept_from, sizeof(kept_from), "%s", from);
}
static void forget(void *ctx, enum kept_kind kind, const char *scope, const char *name)
{
    (void)ctx;
    (void)scope;
    if (kind != KEPT_ROUTE || strcmp(name, "T") != 0)
        return;
    forgets++;
    kept_body[0] = '\0';
}
static bool in_use(void *ctx, const char *scope, const char *name)
{
    (void)ctx;
    for (unsigned i = 0; i < mq_client_manager_count(fx.manager); i++)
        if (topic_route_table_uses(&mq_client_manager_at(fx.manager, i)->routes, scope, name))
            return true;
    return false;
}
static void use_store(void)
{
    fx.store = (struct route_store){.load = load, .save = save, .forget = forget, .in_use = in_use};
    saves = forgets = 0;
    kept_broker[0] = '\0';
}

/* What an earlier run of the hub left behind, learnt from the fixture's nameserver. */
static void keep_route(const char *body)
{
    snprintf(kept_body, sizeof(kept_body), "%s", body);
    snprintf(kept_from, sizeof(kept_from), "%s", fx.name_servers[0]->address);
}

static void good_routes_are_kept(void **state)
{
    (void)state;
    kept_body[0] = '\0';
    use_store();
    use_topic("T");
    assert_int_equal(saves, 1);
    assert_string_equal(kept_body, fx.route_body);
    net_skip(&fx, 95000);
    assert_int_equal(saves, 1); /* unchanged */
    net_set_route(&fx, 1, 5);
    net_skip(&fx, 31000);
    assert_int_equal(saves, 2);
    net_skip(&fx, 660000);
    assert_int_equal(saves, 3); /* its age stays honest */
}

static void a_kept_route_serves_until_a_nameserver_answers(void **state)
{
    (void)state;
    struct producer *p;
    struct net_send send;
    keep_route(fx.route_body);
    use_store();
    fake_server_unlisten(fx.name_servers[0]);
    net_instance(&fx);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0);
    use_topic("T");
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_pump(&fx);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_int_equal(topic->source, ROUTE_STORE);
    assert_int_equal(topic->route_ms, INT64_C(1699999990000));
    fake_server_listen(fx.name_servers[0]);
    net_advance(&fx, 3000);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_int_equal(saves, 1);
}

static void nameservers_that_are_silent_from_the_start_are_not_waited_for(void **state)
{
    (void)state;
    struct producer *p;
    struct net_send send;
    keep_route(fx.route_body);
    use_store();
    fx.name_servers[0]->mute = true;
    net_instance(&fx);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0);
    use_topic("T");
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_advance(&fx, 20);
    assert_int_equal(send.completions, 0);
    net_advance(&fx, 20);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
}

static void a_nameserver_that_has_answered_is_given_half_a_second(void **state)
{
    (void)state;
    struct producer *p;
    struct net_send send;
    keep_route(fx.route_body);
    use_store();
    net_instance(&fx);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0);
    net_pump(&fx); /* the create-topic key's route */
    net_advance(&fx, 100);
    fx.name_servers[0]->mute = true;
    use_topic("T");
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_advance(&fx, 400);
    assert_int_equal(send.completions, 0);
    net_advance(&fx, 200);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
}

/* "T2" is kept as well, with the same content. */
static int load_both(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                     struct kept_origin *origin)
{
    return load(ctx, kind, scope, strcmp(name, "T2") == 0 ? "T" : name, content, len, origin);
}

static void send_to_a_kept_topic(struct producer *p, const char *name)
{
    struct net_send send;
    use_topic(name);
    net_send_init(&send, &fx, p, topic);
    producer_send(&send.request);
    net_advance(&fx, 100);
    assert_int_equal(send.outcome.outcome, SEND_STORED);
    assert_int_equal(topic->source, ROUTE_STORE);
}

static void later_topics_wait_no_longer_than_the_first(bool silent)
{
    struct producer *p;
    keep_route(fx.route_body);
    use_store();
    fx.store.load = load_both;
    fx.name_servers[0]->mute = silent;
    if (!silent)
        fake_server_unlisten(fx.name_servers[0]);
    net_instance(&fx);
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0);
    send_to_a_kept_topic(p, "T");
    const struct topic_entry *first = topic;
    net_advance(&fx, 2930); /* the retries for the first are a second apart by now */
    send_to_a_kept_topic(p, "T2");
    uint32_t most = first->fetches + 11;
    net_advance(&fx, 10000); /* and stay so */
    assert_true(first->fetches <= most);
}

static void later_kept_routes_are_as_quick_when_nameservers_refuse(void **state)
{
    (void)state;
    later_topics_wait_no_longer_than_the_first(false);
}

static void later_kept_routes_are_as_quick_when_nameservers_are_silent(void **state)
{
    (void)state;
    later_topics_wait_no_longer_than_the_first(true);
}

static void a_kept_route_of_somebody_elses_nameserver_is_not_used(void **state)
{
    (void)state;
    keep_route(fx.route_body);
    snprintf(kept_from, sizeof(kept_from), "ns.of.another.cluster:9876");
    use_store();
    fake_server_unlisten(fx.name_servers[0]);
    use_topic("T");
    net_advance(&fx, 700);
    assert_int_equal(topic->source, ROUTE_NONE);
}

static void a_missing_topic_stays_missing(void **state)
{
    (void)state;
    keep_route(fx.route_body);
    use_store();
    fake_server_unlisten(fx.name_servers[0]);
    use_topic("T");
    net_advance(&fx, 100);
    assert_int_equal(topic->source, ROUTE_STORE);
    assert_string_equal(topic->from, fx.name_servers[0]->address);
    fx.name_servers[0]->route_code = RESPONSE_TOPIC_NOT_EXIST;
    fake_server_listen(fx.name_servers[0]);
    net_advance(&fx, 3000);
    assert_int_equal(topic->source, ROUTE_NONE);
    assert_int_equal(topic->info.count, 0);
    assert_true(forgets > 0);
    assert_string_equal(kept_body, "");
    /* It comes back as it was, and is worth keeping again. */
    fx.name_servers[0]->route_code = 0;
    net_skip(&fx, 31000);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_string_equal(kept_body, fx.route_body);
    /* What an answer of this run said stays in use, as in 4.9.3, but not for the next run. */
    fx.name_servers[0]->route_code = RESPONSE_TOPIC_NOT_EXIST;
    net_skip(&fx, 31000);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_true(topic->info.count > 0);
    assert_string_equal(kept_body, "");
}

static void an_idle_topic_leaves_the_store(void **state)
{
    (void)state;
    struct producer *p;
    use_store();
    use_topic("T");
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &p, NULL), 0); /* the instance stays */
    assert_int_equal(saves, 1);
    topic_entry_release(topic);
    net_skip(&fx, 3700000);
    assert_null(topic_route_table_find(&fx.instance->routes, "T", 1));
    assert_int_equal(forgets, 1);
    assert_string_equal(kept_body, "");
}

static void a_topic_that_another_instance_uses_stays_in_the_store(void **state)
{
    (void)state;
    struct producer *idle, *busy;
    struct net_send send;
    struct mq_client_instance *other;
    const struct instance_key key = {.instance_name = "other"};
    fx.config.idle_expiry_topic_ms = 100000;
    use_store();
    use_topic("T"); /* held, but nothing is sent */
    const struct topic_entry *unused = topic;
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 0, &idle, NULL), 0);
    assert_int_equal(mq_client_manager_get_or_create(fx.manager, &key, &other, NULL), 0);
    assert_ptr_not_equal(other, fx.instance);
    assert_int_equal(producer_acquire(other, SPAN_LITERAL("G"), 0, &busy, NULL), 0);
    topic = topic_entry_acquire(other, SPAN_LITERAL("T"), NULL);
    assert_non_null(topic);
    for (unsigned i = 0; i < 4; i++) {
        net_send_init(&send, &fx, busy, topic);
        producer_send(&send.request);
        net_skip(&fx, 60000);
        assert_int_equal(send.outcome.outcome, SEND_STORED);
    }
    assert_true(unused->dormant);
    assert_int_equal(forgets, 0);
    net_skip(&fx, 140000);
    assert_true(topic->dormant);
    assert_true(forgets > 0); /* by the last one that used it */
}

static void later_addresses_of_a_broker_count_in_older_routes(void **state)
{
    (void)state;
    char *old = strdup(fx.route_body), *port = strrchr(old, ':');
    use_store();
    use_topic("T"); /* keeps the broker's present address */
    assert_non_null(strstr(kept_broker, "0=127.0.0.1:"));
    assert_string_equal(kept_broker_from, fx.name_servers[0]->address);
    assert_non_null(port);
    const struct route_store *store = &fx.store;
    struct kept_origin origin;
    void *body = NULL;
    size_t len;
    keep_route(old);
    char present[sizeof(kept_broker)];
    memcpy(present, kept_broker, sizeof(present));
    static const struct {
        const char *record; /* NULL: as it is */
        int64_t saved_ms;
        const char *expected;
    } rows[] = {
        {"0=10.9.8.7:65;1=10.9.8.8:66", INT64_C(1699999990001), "10.9.8.7:65"},
        {"0=10.9.8.7:65", INT64_C(1699999990000), "127.0.0.1:"},
        {"0=10.9.8.7:65;x=1", INT64_C(1699999990001), "127.0.0.1:"},
        {"nonsense", INT64_C(1699999990001), "127.0.0.1:"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct topic_route_data *route = NULL;
        snprintf(kept_broker, sizeof(kept_broker), "%s", rows[i].record);
        kept_broker_ms = rows[i].saved_ms;
        assert_int_equal(route_store_load_route(store, "default", "T", &body, &len, &origin), 0);
        assert_int_equal(topic_route_data_decode(&route, body, len), 0);
        struct span addr = broker_data_addr(&route->broker_datas[0], 0);
        assert_true(addr.len >= strlen(rows[i].expected));
        assert_memory_equal(addr.data, rows[i].expected, strlen(rows[i].expected));
        topic_route_data_free(route);
        free(body);
    }
    free(old);
}

static void a_damaged_kept_route_is_ignored(void **state)
{
    (void)state;
    keep_route("{\"brokerDatas\":7}");
    use_store();
    fake_server_unlisten(fx.name_servers[0]);
    use_topic("T");
    net_advance(&fx, 700);
    assert_int_equal(topic->source, ROUTE_NONE);
}

/* The route's own numbers are small; only its length is not. */
static int load_padded(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                       struct kept_origin *origin)
{
    int r = load(ctx, kind, scope, name, content, len, origin);
    char *padded = r == 0 && kind == KEPT_ROUTE ? realloc(*content, 3u << 20) : NULL;
    if (!padded)
        return r;
    memset(padded + *len, ' ', (3u << 20) - *len);
    *content = padded;
    *len = 3u << 20;
    return r;
}

static void no_route_is_megabytes_long(void **state)
{
    (void)state;
    keep_route(fx.route_body);
    use_store();
    fx.store.load = load_padded;
    fake_server_unlisten(fx.name_servers[0]);
    use_topic("T");
    net_advance(&fx, 700);
    assert_int_equal(topic->source, ROUTE_NONE);
}

static void names_of_sources_exist(void **state)
{
    (void)state;
    assert_string_equal(route_source_name(ROUTE_STORE), "STORE");
    assert_string_equal(channel_state_name(CHANNEL_BACKOFF), "BACKOFF");
    assert_string_equal(producer_state_name(PRODUCER_LINGERING), "LINGERING");
    assert_string_equal(service_state_name(SERVICE_RUNNING), "RUNNING");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lists_are_checked),
        T(the_chosen_name_server_sticks),
        T(a_dead_name_server_is_passed_over),
        T(a_silent_name_server_costs_its_timeout),
        T(all_dead_name_servers_are_an_error),
        T(orders_differ_between_clients),
        T(routes_are_polled_from_the_start),
        T(an_unchanged_route_changes_nothing),
        T(old_data_is_kept_whatever_happens),
        T(unreadable_routes_are_refused),
        T(only_writable_queues_with_a_master_count),
        T(order_topics_keep_their_order),
        T(brokers_that_left_every_route_go_offline),
        T(places_of_forgotten_brokers_are_taken),
        T(idle_topics_are_dropped),
        T(the_topic_table_is_bounded),
        T(a_poll_of_many_topics_is_paced),
        T(good_routes_are_kept),
        T(a_kept_route_serves_until_a_nameserver_answers),
        T(nameservers_that_are_silent_from_the_start_are_not_waited_for),
        T(a_nameserver_that_has_answered_is_given_half_a_second),
        T(later_kept_routes_are_as_quick_when_nameservers_refuse),
        T(later_kept_routes_are_as_quick_when_nameservers_are_silent),
        T(a_kept_route_of_somebody_elses_nameserver_is_not_used),
        T(a_missing_topic_stays_missing),
        T(an_idle_topic_leaves_the_store),
        T(a_topic_that_another_instance_uses_stays_in_the_store),
        T(later_addresses_of_a_broker_count_in_older_routes),
        T(a_damaged_kept_route_is_ignored),
        T(no_route_is_megabytes_long),
        T(names_of_sources_exist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
