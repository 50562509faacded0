/*
 * Row 12: MQClientInstance.updateTopicRouteInfoFromNameServer. Every topic of every
 * producer, 10 ms after the start and then at a fixed rate; only a good and a
 * changed answer changes anything, and nothing a nameserver does ends the task.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "tests/unit/hub/net_fixture.h"

#define INTERVAL_MS 30000
#define QUEUE(broker, n) "{\"brokerName\":\"" broker "\",\"perm\":6,\"readQueueNums\":" n ",\"topicSysFlag\":0,\"writeQueueNums\":" n "}"
#define BROKER(name, addrs) "{\"brokerAddrs\":{" addrs "},\"brokerName\":\"" name "\",\"cluster\":\"C\"}"
#define ROUTE(brokers, queues) "{\"brokerDatas\":[" brokers "],\"filterServerTable\":{},\"queueDatas\":[" queues "]}"
#define AT(id, port) id ":\"127.0.0.1:" port "\""

static struct net_fixture fx;
static struct producer *producer;
static struct net_send sends[3];
static unsigned warnings;

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    producer = NULL;
    warnings = 0;
    memset(sends, 0, sizeof(sends));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_tap(NULL);
    net_teardown(&fx);
    return 0;
}

static struct mq_client_instance *instance(void)
{
    if (!producer)
        assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 0, &producer, NULL), 0);
    return fx.instance;
}

static struct topic_entry *use(const char *name)
{
    struct topic_entry *topic = topic_entry_acquire(instance(), span_of(name), NULL);
    assert_non_null(topic);
    return topic;
}

static struct topic_entry *use_now(const char *name)
{
    struct topic_entry *topic = use(name);
    net_pump(&fx);
    return topic;
}

static unsigned asked(const char *name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < fx.name_servers[i]->log_count; j++)
            n += fx.name_servers[i]->log[j].code == REQUEST_GET_ROUTEINFO_BY_TOPIC && strcmp(fx.name_servers[i]->log[j].text, name) == 0;
    return n;
}

static void set_route(const char *body)
{
    snprintf(fx.route_body, sizeof(fx.route_body), "%s", body);
}

static void count_warning(enum log_level level, const char *who, const char *message)
{
    (void)who;
    (void)message;
    warnings += level <= LOG_LEVEL_WARN;
}

/* ---- when ---- */

static void first_after_ten_milliseconds_then_every_interval(void **state)
{
    (void)state;
    instance();
    net_pump(&fx);
    assert_int_equal(asked("TBW102"), 0);
    net_advance(&fx, 11);
    assert_int_equal(asked("TBW102"), 1);
    net_skip(&fx, INTERVAL_MS - 1100);
    assert_int_equal(asked("TBW102"), 1);
    net_advance(&fx, 1100);
    assert_int_equal(asked("TBW102"), 2);
    net_skip(&fx, 10 * INTERVAL_MS);
    assert_int_equal(asked("TBW102"), 12);
}

static void the_interval_is_a_setting(void **state)
{
    (void)state;
    fx.config.poll_name_server_interval_ms = 5000;
    instance();
    net_skip(&fx, 51000);
    assert_int_equal(asked("TBW102"), 11);
}

static void missed_runs_coalesce(void **state)
{
    (void)state;
    use("T");
    net_advance(&fx, 100);
    unsigned before = asked("T");
    fx.now_ns += 5 * INTERVAL_MS * NS_PER_MS + 10 * NS_PER_S; /* stopped for five intervals and a third */
    net_pump(&fx);
    assert_int_equal(asked("T"), before + 1);
    net_skip(&fx, INTERVAL_MS - 10000 + 1000); /* the plan goes on where it was */
    assert_int_equal(asked("T"), before + 2);
}

static void a_run_that_finds_the_last_one_unfinished_asks_nothing_twice(void **state)
{
    (void)state;
    fx.config.poll_name_server_interval_ms = 1000;
    use_now("T");
    fx.name_servers[0]->mute = true;
    unsigned before = asked("T");
    net_advance(&fx, 2900);
    assert_int_equal(asked("T"), before + 1);
}

/* ---- what ---- */

static void all_topics_of_all_producers_are_asked_at_once_but_bounded(void **state)
{
    (void)state;
    struct producer *other;
    char name[16];
    instance();
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G2"), 0, &other, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        use(name);
    }
    net_advance(&fx, 100);
    unsigned before = fake_server_count(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC);
    fx.name_servers[0]->mute = true;
    topic_route_table_poll(&fx.instance->routes);
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC), before + TOPIC_POLL_CONCURRENCY);
    fx.name_servers[0]->mute = false;
    fake_server_drop_conns(fx.name_servers[0], true); /* the answers will not come; the rest is asked for all the same */
    net_advance(&fx, 300);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        assert_true(asked(name) >= 2);
    }
}

static bool refuse_bad_topic(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *command)
{
    (void)server;
    if (!span_equals(remoting_command_ext(command, "topic"), SPAN_LITERAL("BAD")))
        return false;
    fake_server_reply(conn, command->opaque, RESPONSE_SYSTEM_ERROR, "java.lang.NullPointerException", NULL, 0, SPAN_LITERAL(""));
    return true;
}

static void one_failing_topic_does_not_stop_the_round(void **state)
{
    (void)state;
    fx.name_servers[0]->hook = refuse_bad_topic;
    fake_server_add_topic(fx.name_servers[0], "U");
    struct topic_entry *bad = use("BAD"), *good[] = {use("T"), use("U")};
    net_advance(&fx, 100);
    net_set_route(&fx, 2, 3);
    net_skip(&fx, INTERVAL_MS);
    assert_int_equal(bad->last_code, RESPONSE_SYSTEM_ERROR);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(good[i]->info.count, 6);
}

static void errors_never_end_the_task(void **state)
{
    (void)state;
    struct topic_entry *topic = use_now("T");
    for (unsigned i = 0; i < 3; i++) {
        fake_server_unlisten(fx.name_servers[0]);
        fake_server_drop_conns(fx.name_servers[0], true);
        net_skip(&fx, 2 * INTERVAL_MS);
        assert_true(topic->failures_in_a_row > 0);
        assert_int_equal(topic->info.count, 2 + i);
        assert_int_equal(topic->source, ROUTE_NAMESRV);
        fake_server_listen(fx.name_servers[0]);
        net_set_route(&fx, 1, 3 + i);
        net_skip(&fx, INTERVAL_MS);
        assert_int_equal(topic->failures_in_a_row, 0);
        assert_int_equal(topic->info.count, 3 + i);
    }
}

static void a_topic_is_asked_for_when_it_is_first_wanted(void **state)
{
    (void)state;
    instance();
    net_advance(&fx, 5000);
    struct topic_entry *topic = use("T");
    net_pump(&fx); /* not at the next poll */
    assert_int_equal(topic->info.count, 2);
    unsigned before = asked("T");
    topic_entry_refresh(topic);
    topic_entry_refresh(topic); /* one question at a time */
    net_pump(&fx);
    assert_int_equal(asked("T"), before + 1);
}

/* ---- changes ---- */

static unsigned changes_after(struct topic_entry *topic, const char *body)
{
    unsigned before = topic->changes;
    set_route(body);
    topic_entry_refresh(topic);
    net_pump(&fx);
    return topic->changes - before;
}

static void only_what_matters_is_a_change(void **state)
{
    (void)state;
    const char *base = ROUTE(BROKER("a", AT("0", "1")) "," BROKER("b", AT("0", "2")), QUEUE("a", "2") "," QUEUE("b", "2"));
    set_route(base);
    struct topic_entry *topic = use_now("T");
    const struct message_queue *queues = topic->info.queues;
    assert_int_equal(topic->changes, 1);
    assert_int_equal(topic->info.count, 4);
    assert_int_equal(changes_after(topic, base), 0);
    assert_true(fx.instance->routes.answers_unchanged > 0);
    /* Another order, another cluster, members that we do not know. */
    assert_int_equal(
        changes_after(topic, ROUTE(BROKER("b", AT("0", "2")) "," BROKER("a", AT("0", "1")), QUEUE("b", "2") "," QUEUE("a", "2"))), 0);
    assert_int_equal(
        changes_after(topic, "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"127.0.0.1:1\"},\"brokerName\":\"a\",\"cluster\":\"X\"}," BROKER(
                                 "b", AT("0", "2")) "],\"new\":{\"deep\":[1]},\"queueDatas\":[" QUEUE("a", "2") "," QUEUE("b", "2") "]}"),
        0);
    assert_ptr_equal(topic->info.queues, queues); /* and so the round robin went on */
    /* A queue more, an address, a permission, a flag, an order. */
    assert_int_equal(
        changes_after(topic, ROUTE(BROKER("a", AT("0", "1")) "," BROKER("b", AT("0", "2")), QUEUE("a", "3") "," QUEUE("b", "2"))), 1);
    assert_int_equal(topic->info.count, 5);
    assert_int_equal(
        changes_after(topic, ROUTE(BROKER("a", AT("0", "9")) "," BROKER("b", AT("0", "2")), QUEUE("a", "3") "," QUEUE("b", "2"))), 1);
    assert_string_equal(broker_master_address(broker_addr_table_find(&fx.instance->brokers, "a", 1)), "127.0.0.1:9");
    assert_int_equal(
        changes_after(topic, ROUTE(BROKER("a", AT("0", "9")), "{\"brokerName\":\"a\",\"perm\":4,\"readQueueNums\":3,\"topicSysFlag\":0,"
                                                              "\"writeQueueNums\":3}")),
        1);
    assert_int_equal(topic->info.count, 0);
    assert_int_equal(
        changes_after(topic, ROUTE(BROKER("a", AT("0", "9")), "{\"brokerName\":\"a\",\"perm\":4,\"readQueueNums\":3,\"topicSysFlag\":1,"
                                                              "\"writeQueueNums\":3}")),
        1);
    assert_int_equal(changes_after(topic, "{\"brokerDatas\":[" BROKER(
                                              "a", AT("0", "9")) "],\"orderTopicConf\":\"a:2\",\"queueDatas\":[" QUEUE("a", "3") "]}"),
                     1);
    assert_int_equal(topic->info.count, 2);
    assert_true(topic->info.order_topic);
}

static void a_whole_address_map_is_replaced(void **state)
{
    (void)state;
    set_route(ROUTE(BROKER("a", AT("0", "1") "," AT("1", "2")), QUEUE("a", "1")));
    struct topic_entry *topic = use_now("T");
    struct broker *broker = broker_addr_table_find(&fx.instance->brokers, "a", 1);
    assert_int_equal(broker->addr_count, 2);
    assert_int_equal(changes_after(topic, ROUTE(BROKER("a", AT("1", "2")), QUEUE("a", "1"))), 1);
    assert_int_equal(broker->addr_count, 1);
    assert_null(broker_master_address(broker));
    assert_int_equal(topic->info.count, 0); /* nothing is sent to a slave */
}

static void queues_go_by_broker_name_and_number(void **state)
{
    (void)state;
    set_route(ROUTE(BROKER("b", AT("0", "2")) "," BROKER("a", AT("0", "1")), QUEUE("b", "1") "," QUEUE("a", "2")));
    struct topic_entry *topic = use_now("T");
    const struct message_queue *q = topic->info.queues;
    assert_int_equal(topic->info.count, 3);
    assert_string_equal(q[0].broker->name, "a");
    assert_int_equal(q[1].queue_id, 1);
    assert_string_equal(q[2].broker->name, "b");
}

/* ---- topics that do not exist ---- */

static void send_to(struct net_send *send, struct topic_entry *topic)
{
    net_send_init(send, &fx, producer, topic);
    producer_send(&send->request);
    net_pump(&fx);
}

static void a_missing_topic_takes_the_queues_of_the_create_topic_key(void **state)
{
    (void)state;
    net_set_route(&fx, 1, 8);
    struct topic_entry *topic = use_now("NEW");
    assert_int_equal(topic->last_code, RESPONSE_TOPIC_NOT_EXIST);
    assert_int_equal(topic->source, ROUTE_NONE); /* nobody sends: nothing is made up */
    send_to(&sends[0], topic);
    assert_int_equal(sends[0].outcome.outcome, SEND_STORED);
    assert_int_equal(topic->source, ROUTE_DEFAULT_TOPIC);
    assert_int_equal(topic->info.count, 4); /* min(defaultTopicQueueNums, readQueueNums) */
    fake_server_add_topic(fx.name_servers[0], "NEW");
    net_skip(&fx, INTERVAL_MS + 1000);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_int_equal(topic->info.count, 8);
}

static void fewer_queues_than_the_default_are_not_made_more(void **state)
{
    (void)state;
    net_set_route(&fx, 1, 2);
    struct topic_entry *topic = use_now("NEW");
    send_to(&sends[0], topic);
    assert_int_equal(topic->info.count, 2);
}

static void a_sender_may_have_a_key_and_a_number_of_its_own(void **state)
{
    (void)state;
    net_set_route(&fx, 1, 8);
    fake_server_add_topic(fx.name_servers[0], "MyKey");
    struct topic_entry *topic = use_now("NEW");
    struct create_topic create = {.key = "MyKey", .queue_nums = 7};
    net_send_init(&sends[0], &fx, producer, topic);
    fake_server_add_topic(fx.name_servers[0], "T2");
    producer_send(&sends[0].request); /* asks, with the table's key */
    net_pump(&fx);
    assert_int_equal(topic->info.count, 4);
    struct topic_entry *other = use_now("NEW2");
    net_send_init(&sends[1], &fx, producer, other);
    sends[1].request.future.ops = sends[0].request.future.ops;
    sends[1].request.parked = true;
    topic_entry_park(other, &sends[1].request.future, fx.now_ns + NS_PER_S, &create);
    net_pump(&fx);
    assert_int_equal(asked("MyKey"), 1);
    assert_int_equal(other->info.count, 7);
    assert_int_equal(sends[1].outcome.outcome, SEND_STORED);
}

static void without_the_key_there_is_no_route(void **state)
{
    (void)state;
    fx.name_servers[0]->topic_count = 0;
    struct topic_entry *topic = use_now("NEW");
    send_to(&sends[0], topic);
    assert_int_equal(sends[0].completions, 1);
    assert_int_equal(sends[0].outcome.outcome, SEND_NOT_STORED);
    assert_int_equal(sends[0].outcome.code, CLIENT_ERROR_NOT_FOUND_TOPIC);
}

static void missing_retry_topics_are_nothing_to_talk_about(void **state)
{
    (void)state;
    instance();
    net_pump(&fx);
    fx.name_servers[0]->topic_count = 0;
    log_set_tap(count_warning);
    use_now("%RETRY%G");
    net_skip(&fx, 2 * INTERVAL_MS);         /* TBW102 is missing too */
    assert_int_equal(asked("%RETRY%G"), 4); /* when wanted, at 10 ms, and twice more */
    assert_int_equal(warnings, 0);
    use_now("PLAIN");
    assert_int_equal(warnings, 1);
    net_skip(&fx, 2 * INTERVAL_MS);
    assert_int_equal(warnings, 1);
}

/* ---- bad answers ---- */

static void old_data_is_kept(void **state)
{
    (void)state;
    struct topic_entry *topic = use_now("T");
    const struct message_queue *queues = topic->info.queues;
    fx.name_servers[0]->topic_count = 0; /* deleted */
    net_skip(&fx, INTERVAL_MS);
    assert_int_equal(topic->last_code, RESPONSE_TOPIC_NOT_EXIST);
    fx.name_servers[0]->route_code = RESPONSE_SYSTEM_ERROR;
    net_skip(&fx, INTERVAL_MS);
    fx.name_servers[0]->mute = true;
    net_skip(&fx, INTERVAL_MS);
    assert_ptr_equal(topic->info.queues, queues);
    assert_int_equal(topic->source, ROUTE_NAMESRV);
    assert_true(topic->fetch_failures >= 3);
}

static void bad_routes_are_refused_by_reason(void **state)
{
    (void)state;
    char deep[1200], huge[64], crowd[1400];
    char order[1400] = "{\"brokerDatas\":[" BROKER("a", AT("0", "1")) "],\"queueDatas\":[" QUEUE("a", "1") "],\"orderTopicConf\":\"";
    for (unsigned i = 0; i <= ROUTE_MAX_BROKER_DATAS; i++)
        strcat(order, "a:0;");
    strcat(order, "\"}");
    memset(deep, '[', 1000);
    deep[1000] = '\0';
    snprintf(huge, sizeof(huge), "%d", ROUTE_MAX_QUEUE_NUMS + 1);
    snprintf(crowd, sizeof(crowd), ROUTE(BROKER("a", AT("0", "1")), "{\"brokerName\":\"a\",\"perm\":6,\"writeQueueNums\":%s}"), huge);
    const struct {
        const char *body;
        enum route_refusal why;
    } bad[] = {
        {"", ROUTE_REFUSED_UNREADABLE},
        {"null", ROUTE_REFUSED_UNREADABLE},
        {"[]", ROUTE_REFUSED_UNREADABLE},
        {"{\"brokerDatas\":[{\"brokerName\":", ROUTE_REFUSED_UNREADABLE},
        {"{\"brokerDatas\":7,\"queueDatas\":7}", ROUTE_REFUSED_UNREADABLE},
        {deep, ROUTE_REFUSED_UNREADABLE},
        {crowd, ROUTE_REFUSED_UNREADABLE},
        {ROUTE(BROKER("a", AT("0", "1")), "{\"brokerName\":\"a\",\"perm\":6,\"writeQueueNums\":-1}"), ROUTE_REFUSED_UNREADABLE},
        {ROUTE(BROKER("a", "\"x\":\"127.0.0.1:1\""), QUEUE("a", "1")), ROUTE_REFUSED_UNREADABLE},
        {"{\"queueDatas\":[" QUEUE("a", "1") "],\"brokerDatas\":[" BROKER("a", AT("0", "1")) "],\"queueDatas\":[" QUEUE("a", "1") "]}",
         ROUTE_REFUSED_UNREADABLE},
        {"{}", ROUTE_REFUSED_EMPTY},
        {ROUTE("", ""), ROUTE_REFUSED_EMPTY},
        {ROUTE(BROKER("a", AT("0", "1")), ""), ROUTE_REFUSED_EMPTY},
        {ROUTE("", QUEUE("a", "1")), ROUTE_REFUSED_EMPTY},
        {ROUTE(BROKER("a", AT("0", "1")) "," BROKER("a", AT("0", "2")), QUEUE("a", "1")), ROUTE_REFUSED_DUPLICATE},
        {ROUTE(BROKER("a", AT("0", "1")), QUEUE("a", "1") "," QUEUE("a", "2")), ROUTE_REFUSED_DUPLICATE},
        {ROUTE(BROKER("a", AT("0", "1") "," AT("0", "2")), QUEUE("a", "1")), ROUTE_REFUSED_DUPLICATE},
        {ROUTE(BROKER("a", "0:\"nowhere\""), QUEUE("a", "1")), ROUTE_REFUSED_BAD_BROKER},
        {ROUTE(BROKER("a", AT("0", "70000")), QUEUE("a", "1")), ROUTE_REFUSED_BAD_BROKER},
        {ROUTE(BROKER("a", "0:\"\""), QUEUE("a", "1")), ROUTE_REFUSED_BAD_BROKER},
        {ROUTE(BROKER("", AT("0", "1")), QUEUE("", "1")), ROUTE_REFUSED_BAD_BROKER},
        {ROUTE(BROKER("a", AT("0", "1")), QUEUE("a", "16385")), ROUTE_REFUSED_TOO_MANY_QUEUES},
        {"{\"brokerDatas\":[" BROKER("a", AT("0", "1")) "],\"orderTopicConf\":\"a:60000\",\"queueDatas\":[" QUEUE("a", "1") "]}",
         ROUTE_REFUSED_TOO_MANY_QUEUES},
        {order, ROUTE_REFUSED_TOO_MANY_QUEUES},
    };
    struct topic_entry *topic = use_now("T");
    struct topic_route_table *table = &fx.instance->routes;
    const struct message_queue *queues = topic->info.queues;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t before = table->refused[bad[i].why];
        assert_int_equal(changes_after(topic, bad[i].body), 0);
        if (table->refused[bad[i].why] != before + 1)
            fail_msg("case %u (%s): expected %s, last error: %s", i, bad[i].body, route_refusal_name(bad[i].why), topic->last_error);
        assert_non_null(strstr(topic->last_error, "is ignored"));
        assert_ptr_equal(topic->info.queues, queues); /* the last good route stays */
        assert_int_equal(topic->source, ROUTE_NAMESRV);
    }
    send_to(&sends[0], topic);
    assert_int_equal(sends[0].outcome.outcome, SEND_STORED);
    assert_int_equal(fx.instance->brokers.count, 1); /* nothing of them was taken over */
    net_set_route(&fx, 1, 5);
    topic_entry_refresh(topic);
    net_pump(&fx);
    assert_int_equal(topic->info.count, 5);
    assert_string_equal(topic->last_error, "");
}

static void a_nameserver_that_sends_garbage_is_passed_over(void **state)
{
    (void)state;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s;%s", fx.name_servers[0]->address, fx.name_servers[1]->address);
    struct topic_entry *topic = use_now("T");
    for (unsigned i = 0; i < 2; i++)
        if (strcmp(name_server_chosen(&fx.instance->name_server), fx.name_servers[i]->address) == 0)
            fx.name_servers[i]->route_body = "{\"brokerDatas\":";
    net_set_route(&fx, 1, 6);
    net_skip(&fx, 2 * INTERVAL_MS);
    assert_int_equal(topic->info.count, 6);
}

static void a_sender_waits_for_a_better_answer(void **state)
{
    (void)state;
    set_route("{\"brokerDatas\":");
    struct topic_entry *topic = use_now("T");
    send_to(&sends[0], topic);
    net_advance(&fx, 300);
    assert_int_equal(sends[0].completions, 0);
    assert_int_equal(topic->source, ROUTE_NONE); /* not the create-topic key's: the topic exists */
    net_set_route(&fx, 1, 2);
    net_advance(&fx, 1100);
    assert_int_equal(sends[0].outcome.outcome, SEND_STORED);
    set_route("{}");
    send_to(&sends[1], use("U2"));
    net_advance(&fx, 3100);
    assert_int_equal(sends[1].outcome.outcome, SEND_NOT_STORED);
}

static void unreachable_brokers_harm_nobody_else(void **state)
{
    (void)state;
    char body[700];
    snprintf(body, sizeof(body),
             ROUTE(BROKER("gone", AT("0", "1")) ",{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"here\"}",
                   QUEUE("gone", "1") "," QUEUE("here", "1")),
             fx.brokers[0]->address);
    set_route(body);
    struct topic_entry *topic = use_now("T");
    net_advance(&fx, 2000);
    unsigned stored = 0;
    for (unsigned i = 0; i < 2; i++) {
        net_send_init(&sends[i], &fx, producer, topic);
        producer_send(&sends[i].request);
    }
    net_advance(&fx, 3100);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sends[i].completions, 1);
        stored += sends[i].outcome.outcome == SEND_STORED;
        assert_true(sends[i].outcome.outcome == SEND_STORED || sends[i].outcome.outcome == SEND_NOT_STORED);
    }
    assert_int_equal(stored, 1);
}

/* ---- for long ---- */

/** What must be the same whatever the routes did. */
struct objects {
    unsigned descriptors, channels, brokers, topics, registrations;
    size_t allocated;
};

static struct objects count_objects(void)
{
    struct objects o = {.channels = fx.instance->remoting.channel_count,
                        .brokers = fx.instance->brokers.count,
                        .topics = fx.instance->routes.count,
                        .allocated = mallinfo2().uordblks};
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while (readdir(fds))
        o.descriptors++;
    closedir(fds);
    for (const struct list_link *it = fx.instance->registrations.next; it != &fx.instance->registrations; it = it->next)
        o.registrations++;
    return o;
}

static void flap(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        net_set_route(&fx, 1 + i % 3, 1 + i % 5);
        net_advance(&fx, 100);
        for (unsigned j = 0; j < 3; j++)
            fx.brokers[j]->log_count = fx.name_servers[j]->log_count = 0; /* the log is finite */
    }
    net_set_route(&fx, 3, 1);
    net_skip(&fx, 15000); /* back-offs are over, idle buffers given back */
}

static uint32_t changes_of(const struct topic_entry *entry)
{
    return entry->changes;
}

static void a_minute_of_flapping_leaves_nothing_behind(void **state)
{
    (void)state;
    fx.config.poll_name_server_interval_ms = 100;
    fx.config.heartbeat_broker_interval_ms = 1000;
    struct topic_entry *topic = use_now("T");
    flap(100); /* warm-up */
    struct objects before = count_objects();
    uint32_t changes = changes_of(topic);
    flap(600);
    struct objects after = count_objects();
    assert_true(changes_of(topic) - changes >= 590);
    assert_int_equal(after.descriptors, before.descriptors);
    assert_int_equal(after.channels, before.channels);
    assert_int_equal(after.brokers, before.brokers);
    assert_int_equal(after.topics, before.topics);
    assert_int_equal(after.registrations, before.registrations);
    assert_true(after.allocated <= before.allocated + 16384); /* the same for six hundred and for thousands */
}

/* ---- the end of a topic ---- */

static void unused_topics_leave(void **state)
{
    (void)state;
    fx.config.idle_expiry_topic_ms = 100000;
    set_route(ROUTE(BROKER("a", AT("0", "1")), QUEUE("a", "1")));
    struct topic_entry *held = use_now("T");
    topic_entry_release(use_now("U"));
    net_skip(&fx, 95000);
    assert_non_null(topic_route_table_find(&fx.instance->routes, "U", 1));
    net_skip(&fx, 35000);
    assert_null(topic_route_table_find(&fx.instance->routes, "U", 1));
    assert_true(held->dormant);
    assert_null(held->route);
    assert_int_equal(held->info.count, 0);
    unsigned before = asked("T");
    unsigned keys = asked("TBW102");
    net_skip(&fx, 3 * INTERVAL_MS);
    assert_int_equal(asked("T"), before);
    assert_int_equal(asked("TBW102"), keys + 3); /* polled as long as the client lives */
    net_set_route(&fx, 1, 2);
    send_to(&sends[0], held);
    assert_int_equal(sends[0].outcome.outcome, SEND_STORED);
    assert_false(held->dormant);
    net_skip(&fx, INTERVAL_MS);
    assert_int_equal(asked("T"), before + 2);
}

static void used_topics_stay(void **state)
{
    (void)state;
    fx.config.idle_expiry_topic_ms = 100000;
    struct topic_entry *topic = use_now("T");
    for (unsigned i = 0; i < 5; i++) {
        send_to(&sends[0], topic);
        net_skip(&fx, 60000);
        assert_false(topic->dormant);
    }
    assert_int_equal(topic->info.count, 2);
}

static void a_topic_that_is_wanted_again_starts_anew(void **state)
{
    (void)state;
    fx.config.idle_expiry_topic_ms = 100000;
    struct topic_entry *topic = use_now("T");
    topic_entry_release(topic);
    net_skip(&fx, 90000);
    assert_ptr_equal(use_now("T"), topic);
    net_skip(&fx, 60000);
    assert_ptr_equal(topic_route_table_find(&fx.instance->routes, "T", 1), topic);
    assert_false(topic->dormant);
    assert_int_equal(topic->info.count, 2);
    /* One that went to sleep, too. */
    net_skip(&fx, 80000);
    assert_true(topic->dormant);
    assert_ptr_equal(use_now("T"), topic);
    net_skip(&fx, 60000);
    assert_false(topic->dormant);
    assert_int_equal(topic->info.count, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(first_after_ten_milliseconds_then_every_interval),
        T(the_interval_is_a_setting),
        T(missed_runs_coalesce),
        T(a_run_that_finds_the_last_one_unfinished_asks_nothing_twice),
        T(all_topics_of_all_producers_are_asked_at_once_but_bounded),
        T(one_failing_topic_does_not_stop_the_round),
        T(errors_never_end_the_task),
        T(a_topic_is_asked_for_when_it_is_first_wanted),
        T(only_what_matters_is_a_change),
        T(a_whole_address_map_is_replaced),
        T(queues_go_by_broker_name_and_number),
        T(a_missing_topic_takes_the_queues_of_the_create_topic_key),
        T(fewer_queues_than_the_default_are_not_made_more),
        T(a_sender_may_have_a_key_and_a_number_of_its_own),
        T(without_the_key_there_is_no_route),
        T(missing_retry_topics_are_nothing_to_talk_about),
        T(old_data_is_kept),
        T(bad_routes_are_refused_by_reason),
        T(a_nameserver_that_sends_garbage_is_passed_over),
        T(a_sender_waits_for_a_better_answer),
        T(unreachable_brokers_harm_nobody_else),
        T(a_minute_of_flapping_leaves_nothing_behind),
        T(unused_topics_leave),
        T(used_topics_stay),
        T(a_topic_that_is_wanted_again_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
