/*
 * Row 10: MQClientAPIImpl.fetchNameServerAddr and updateNameServerAddressList. What
 * an address setting may be, and where the list comes from when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "hub/protocol/name_server_address_utils.h"
#include "hub/route/top_addressing.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/fake_http.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static struct fake_http http;
static struct producer *producer;
static char kept_list[1024], kept_url[256];
static unsigned saves;

static int load(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                struct kept_origin *origin)
{
    (void)ctx;
    (void)scope;
    if (kind != KEPT_NAME_SERVERS || !kept_list[0] || strcmp(name, kept_url) != 0)
        return -ENOENT;
    *content = strdup(kept_list);
    *len = strlen(kept_list);
    *origin = (struct kept_origin){.saved_ms = 77};
    return 0;
}

static void save(void *ctx, enum kept_kind kind, const char *scope, const char *name, const void *content, size_t len, const char *from)
{
    (void)ctx;
    (void)scope;
    if (kind != KEPT_NAME_SERVERS)
        return;
    saves++;
    snprintf(kept_list, sizeof(kept_list), "%.*s", (int)len, (const char *)content);
    snprintf(kept_url, sizeof(kept_url), "%s", name);
    assert_string_equal(from, http.address);
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    fake_http_open(&http);
    producer = NULL;
    kept_list[0] = kept_url[0] = '\0';
    saves = 0;
    fx.namesrv_addr[0] = '\0';
    fx.store = (struct route_store){.load = load, .save = save};
    snprintf(fx.config.namesrv_domain, sizeof(fx.config.namesrv_domain), "%s", http.address);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    fake_http_close(&http);
    return 0;
}

/* Loopback HTTP needs rounds, not time. */
static void pump(void)
{
    for (unsigned i = 0; i < 15; i++) {
        fake_http_poll(&http);
        net_pump(&fx);
    }
}

static void advance(uint64_t ms)
{
    for (; ms > 1000; ms -= 1000) {
        net_skip(&fx, 1000);
        pump();
    }
    net_advance(&fx, ms);
    pump();
}

static struct mq_client_instance *start(void)
{
    if (!producer)
        assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 0, &producer, NULL), 0);
    pump();
    return fx.instance;
}

static struct name_server *name_server(void)
{
    return &fx.instance->name_server;
}

static struct top_addressing *discovery(void)
{
    return &fx.instance->top_addressing;
}

static bool lists(const char *address)
{
    for (unsigned i = 0; i < name_server()->count; i++)
        if (strcmp(name_server()->addresses[i], address) == 0)
            return true;
    return false;
}

static const char *join(unsigned first, unsigned count)
{
    static char list[256];
    list[0] = '\0';
    for (unsigned i = first; i < first + count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i > first ? ";" : "", fx.name_servers[i]->address);
    }
    return list;
}

static unsigned task_runs(const char *name)
{
    for (unsigned i = 0; i < fx.instance->tasks.count; i++)
        if (strcmp(fx.instance->tasks.tasks[i].name, name) == 0)
            return (unsigned)fx.instance->tasks.tasks[i].runs + 1;
    return 0; /* not scheduled; n + 1: ran n times */
}

/* ---- settings ---- */

static void settings_are_lists_or_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *list;
        int result;
    } cases[] = {
        {"10.0.0.1:9876", "10.0.0.1:9876", 0},
        {"  a:1;b:2 \n", "a:1;b:2", 0},
        {"http://ns.example:9876", "ns.example:9876", 0},
        {" http://x/y/ns.example:9876 ", "ns.example:9876", 0},
        {"http://MQ_INST_1_2.ns.example:80", "MQ_INST_1_2.ns.example:80", 0},
        {"https://ns.example:9876", "https://ns.example:9876", 0}, /* not recognised by 4.9.3 */
        {"http://", "", -EINVAL},
        {"http://a:1/", "", -EINVAL},
        {"", "", -EINVAL},
        {" \t", "", -EINVAL},
    };
    char list[64];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(name_server_address_list(cases[i].setting, list, sizeof(list)), cases[i].result);
        if (cases[i].result == 0)
            assert_string_equal(list, cases[i].list);
    }
    assert_int_equal(name_server_address_list("10.0.0.1:9876", list, 5), -E2BIG);
}

static void lists_are_split_and_checked(void **state)
{
    (void)state;
    struct name_server ns;
    assert_int_equal(name_server_init(&ns, NULL, " a:1 ; b:2;;[::1]:3;", 7), 0);
    assert_int_equal(ns.count, 3);
    static const char *const bad[] = {"a", "a:", ":1", "a:0", "a:65536", "a:1;b", "<html>:80", "a b:1", "https://a:1", "a:1,b:2"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(name_server_check_list(bad[i]), -EINVAL);
    assert_int_equal(name_server_init(&ns, NULL, "http://x/a:1", 7), 0);
    assert_string_equal(ns.addresses[0], "a:1");
    assert_int_equal(name_server_init(&ns, NULL, NULL, 7), 0);
    assert_int_equal(ns.count, 0);
}

static void instance_endpoints_name_the_namespace(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *name_space;
    } cases[] = {
        {"http://MQ_INST_123_Abc.ns.example:80", "MQ_INST_123_Abc"},
        {"MQ_INST_123_Abc.ns.example:80", "MQ_INST_123_Abc"},
        {"  tcp://MQ_INST_a_b_c.x", "MQ_INST_a_b_c"},
        {"http://MQ_INST_a.x:80", NULL},
        {"http://MQ_INST_a_.x:80", NULL},
        {"http://MQ_INST__b.x:80", NULL},
        {"http://MQ_INST_a-b_c.x:80", NULL},
        {"http://MQ_INST_a_b:80", NULL},
        {"http://MQ_INST_a_b.x/y", NULL},
        {"http://x/MQ_INST_a_b.y:80", NULL},
        {"ns.example:9876", NULL},
        {"", NULL},
    };
    char label[64];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool found = name_server_address_namespace(cases[i].setting, label, sizeof(label));
        assert_int_equal(found, cases[i].name_space != NULL);
        if (found)
            assert_string_equal(label, cases[i].name_space);
    }
    assert_false(name_server_address_namespace("MQ_INST_123_Abc.x:1", label, 5));
}

static void the_url_follows_four_rules(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *subgroup, *unit, *url;
    } cases[] = {
        {NULL, NULL, NULL, "http://jmenv.tbsite.net:8080/rocketmq/nsaddr"},
        {"", "", "", "http://jmenv.tbsite.net:8080/rocketmq/nsaddr"},
        {"d.example", "group", NULL, "http://d.example:8080/rocketmq/group"},
        {"d.example:81", NULL, NULL, "http://d.example:81/rocketmq/nsaddr"},
        {NULL, NULL, "u1", "http://jmenv.tbsite.net:8080/rocketmq/nsaddr-u1?nofix=1"},
        {"d:81", "g", "u", "http://d:81/rocketmq/g-u?nofix=1"},
    };
    char url[TOP_ADDRESSING_URL_MAX + 1];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(top_addressing_url(url, sizeof(url), cases[i].domain, cases[i].subgroup, cases[i].unit), 0);
        assert_string_equal(url, cases[i].url);
    }
    assert_int_equal(top_addressing_url(url, sizeof(url), "a b", NULL, NULL), -EINVAL);
    assert_int_equal(top_addressing_url(url, sizeof(url), "a/b", NULL, NULL), -EINVAL);
    assert_int_equal(top_addressing_url(url, sizeof(url), NULL, NULL, "u\r\nX:"), -EINVAL);
    assert_int_equal(top_addressing_url(url, 20, NULL, NULL, NULL), -E2BIG);
}

/* ---- a list that changes ---- */

static void a_list_changes_by_size_or_by_a_new_address(void **state)
{
    (void)state;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "a:1;b:1;c:1");
    start();
    struct name_server *ns = name_server();
    uint32_t before = ns->generation;
    assert_int_equal(name_server_update_list(ns, "c:1;a:1;b:1"), 0); /* another order only */
    assert_int_equal(name_server_update_list(ns, ""), -EINVAL);
    assert_int_equal(name_server_update_list(ns, "a:1;nonsense"), -EINVAL);
    assert_int_equal(ns->generation, before);
    assert_int_equal(name_server_update_list(ns, "a:1;b:1"), 1);
    assert_int_equal(ns->count, 2);
    assert_int_equal(name_server_update_list(ns, "a:1;d:1"), 1);
    assert_true(lists("d:1"));
    assert_false(lists("b:1"));
    assert_int_equal(ns->list_changes, 2);
}

static void the_chosen_address_stays_if_it_is_listed(void **state)
{
    (void)state;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s", fx.name_servers[0]->address);
    start();
    net_advance(&fx, 100);
    assert_string_equal(name_server_chosen(name_server()), fx.name_servers[0]->address);
    for (unsigned i = 0; i < 5; i++) { /* shuffled each time */
        assert_int_equal(name_server_update_list(name_server(), i % 2 ? join(0, 2) : join(0, 3)), 1);
        assert_string_equal(name_server_chosen(name_server()), fx.name_servers[0]->address);
    }
    assert_int_equal(fx.name_servers[0]->accepted, 1);
    assert_int_equal(name_server_update_list(name_server(), join(1, 2)), 1);
    assert_null(name_server_chosen(name_server()));
    net_pump(&fx);
    assert_int_equal(fake_server_open_conns(fx.name_servers[0]), 0); /* nobody needs it any more */
    net_skip(&fx, 31000);
    assert_non_null(name_server_chosen(name_server()));
}

static void many_changes_leave_nothing_behind(void **state)
{
    (void)state;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s", fx.name_servers[0]->address);
    struct topic_entry *topic = topic_entry_acquire(start(), SPAN_LITERAL("T"), NULL);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(name_server_update_list(name_server(), fx.name_servers[(i + 1) % 3]->address), 1);
        topic_entry_refresh(topic);
        net_advance(&fx, 50);
    }
    assert_int_equal(name_server()->retired_count, 0);
    assert_int_equal(fx.instance->remoting.channel_count, 2); /* one nameserver, one broker */
    assert_int_equal(topic->fetch_failures, 0);
}

/* ---- HTTP discovery ---- */

static void an_address_forbids_discovery(void **state)
{
    (void)state;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s", fx.name_servers[0]->address);
    start();
    advance(130000);
    assert_int_equal(task_runs("fetch name server address"), 0);
    assert_int_equal(http.requests, 0);
}

static void the_first_fetch_is_at_start_then_ten_seconds_then_two_minutes(void **state)
{
    (void)state;
    fake_http_serve(&http, join(0, 1));
    start();
    assert_int_equal(http.requests, 1);
    assert_int_equal(task_runs("fetch name server address"), 1);
    assert_true(lists(fx.name_servers[0]->address));
    advance(9500);
    assert_int_equal(http.requests, 1);
    advance(1000);
    assert_int_equal(http.requests, 2);
    advance(118000);
    assert_int_equal(http.requests, 2);
    advance(3000);
    assert_int_equal(http.requests, 3);
}

static void the_request_is_that_of_the_java_client(void **state)
{
    (void)state;
    char host[64];
    fake_http_serve(&http, join(0, 1));
    start();
    snprintf(host, sizeof(host), "Host: %s\r\n", http.address);
    assert_non_null(strstr(http.last, "GET /rocketmq/nsaddr HTTP/1.1\r\n"));
    assert_non_null(strstr(http.last, host));
    assert_non_null(strstr(http.last, "Client-Version: V4_9_3\r\n"));
    assert_non_null(strstr(http.last, "Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n"));
    assert_non_null(strstr(http.last, "Metaq-Client-RequestTS: 17000000"));
}

static void a_start_waits_for_nobody(void **state)
{
    (void)state;
    http.answer = NULL; /* silence */
    start();
    assert_int_equal(fx.instance->state, SERVICE_RUNNING);
    assert_int_equal(name_server()->count, 0);
    static struct net_send send; /* outlives a test that fails */
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    net_send_init(&send, &fx, producer, topic);
    producer_send(&send.request);
    net_advance(&fx, 500);
    assert_int_equal(send.completions, 0);
    assert_non_null(strstr(topic->last_error, "no nameserver address is known"));
    fake_http_close(&http);
    fake_http_listen(&http);
    fake_http_serve(&http, join(0, 1));
    net_advance(&fx, 2000);
    pump();
    assert_int_equal(send.completions, 0); /* its deadline is 3 s; the next fetch at 10 s */
    net_advance(&fx, 600);
    assert_int_equal(send.outcome.outcome, SEND_NOT_STORED);
    advance(8000);
    assert_int_equal(name_server()->count, 1);
    net_send_init(&send, &fx, producer, topic);
    producer_send(&send.request);
    pump();
    assert_int_equal(send.outcome.outcome, SEND_STORED);
}

static void waiting_senders_go_on_when_the_list_comes(void **state)
{
    (void)state;
    static struct net_send send; /* outlives a test that fails */
    fake_http_serve(&http, join(0, 1));
    assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 0, &producer, NULL), 0);
    net_send_init(&send, &fx, producer, topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL));
    producer_send(&send.request);
    assert_int_equal(send.completions, 0);
    pump(); /* the clock stands still */
    assert_int_equal(send.outcome.outcome, SEND_STORED);
}

static void a_changed_answer_is_applied_live(void **state)
{
    (void)state;
    fake_http_serve(&http, join(0, 1));
    start();
    assert_string_equal(name_server_chosen(name_server()), fx.name_servers[0]->address);
    fake_http_serve(&http, join(1, 1));
    advance(11000);
    assert_false(lists(fx.name_servers[0]->address));
    assert_string_equal(name_server_chosen(name_server()), fx.name_servers[1]->address);
    assert_int_equal(discovery()->changes, 2);
    advance(121000);
    assert_int_equal(discovery()->changes, 2);
    assert_int_equal(discovery()->answers, 3);
    assert_int_equal(fx.name_servers[1]->accepted, 1);
}

static void answers_are_trimmed_and_cut_at_the_first_line(void **state)
{
    (void)state;
    char body[128];
    snprintf(body, sizeof(body), " \n%s\r\nnot;this", join(0, 2));
    fake_http_serve(&http, body);
    start();
    assert_int_equal(name_server()->count, 2);
    assert_string_equal(discovery()->list, join(0, 2));
}

static void what_goes_wrong_is_counted_and_changes_nothing(void **state)
{
    (void)state;
    char *large = malloc(80000);
    assert_non_null(large);
    int head = snprintf(large, 80000, "HTTP/1.0 200 OK\r\n\r\n");
    memset(large + head, 'a', 70000);
    large[head + 70000] = '\0';
    char longer[1200];
    memset(longer, 'a', sizeof(longer));
    snprintf(longer, sizeof(longer), "HTTP/1.0 200 OK\r\n\r\n");
    longer[strlen(longer)] = 'a';
    longer[sizeof(longer) - 1] = '\0';
    const struct {
        const char *answer;
        enum top_addressing_refusal why;
    } cases[] = {
        {"HTTP/1.0 404 Not Found\r\n\r\n10.9.9.9:1", TOP_ADDRESSING_STATUS},
        {"HTTP/1.0 500 No\r\n\r\n", TOP_ADDRESSING_STATUS},
        {"HTTP/1.0 200 OK\r\n\r\n", TOP_ADDRESSING_EMPTY},
        {"HTTP/1.0 200 OK\r\n\r\n \r\n ", TOP_ADDRESSING_EMPTY},
        {"HTTP/1.0 200 OK\r\n\r\n<html><a href=http://x:80>", TOP_ADDRESSING_GARBAGE},
        {"HTTP/1.0 200 OK\r\n\r\n10.9.9.9", TOP_ADDRESSING_GARBAGE},
        {"HTTP/1.0 200 OK\r\n\r\n10.9.9.9:1;nonsense", TOP_ADDRESSING_GARBAGE},
        {longer, TOP_ADDRESSING_TOO_LONG},
        {large, TOP_ADDRESSING_TOO_LONG},
        {"SSH-2.0-OpenSSH_9\r\n", TOP_ADDRESSING_NO_ANSWER},
    };
    fake_http_serve(&http, join(0, 1));
    start();
    uint32_t before = name_server()->generation;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t count = discovery()->refused[cases[i].why];
        http.answer = cases[i].answer;
        top_addressing_fetch(discovery());
        pump();
        if (discovery()->refused[cases[i].why] != count + 1)
            fail_msg("case %u: expected %s, last error: %s", i, top_addressing_refusal_name(cases[i].why), discovery()->last_error);
        assert_true(discovery()->last_error[0] != '\0');
        assert_true(problem_find("discovery-failed", discovery()->url, &(struct problem){0}));
    }
    fake_http_unlisten(&http);
    top_addressing_fetch(discovery());
    pump();
    assert_int_equal(discovery()->refused[TOP_ADDRESSING_NO_ANSWER], 2);
    assert_int_equal(name_server()->generation, before);
    assert_true(lists(fx.name_servers[0]->address));
    fake_http_listen(&http);
    fake_http_serve(&http, join(0, 2));
    top_addressing_fetch(discovery());
    pump();
    assert_int_equal(name_server()->count, 2);
    assert_string_equal(discovery()->last_error, "");
    assert_false(problem_find("discovery-failed", discovery()->url, &(struct problem){0}));
    free(large);
}

static void silence_ends_after_three_seconds(void **state)
{
    (void)state;
    http.answer = NULL;
    start();
    assert_non_null(discovery()->get);
    top_addressing_fetch(discovery()); /* one question at a time */
    pump();
    assert_int_equal(http.requests, 1);
    net_advance(&fx, 2900);
    assert_int_equal(discovery()->refused[TOP_ADDRESSING_NO_ANSWER], 0);
    net_advance(&fx, 150);
    assert_int_equal(discovery()->refused[TOP_ADDRESSING_NO_ANSWER], 1);
    assert_null(discovery()->get);
}

/* ---- names ---- */

static _Atomic unsigned look_ups;
static _Atomic bool name_leads_nowhere;

/* In the place of the C library's: "discovery.test" and "ns.test" are this host. Runs on the resolver's thread. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    struct addrinfo *a = calloc(1, sizeof(*a) + sizeof(struct sockaddr_in));
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(service))};
    (void)hints;
    look_ups++;
    bool numeric = inet_pton(AF_INET, node, &v4.sin_addr) == 1;
    if (!a || (!numeric && name_leads_nowhere)) {
        free(a);
        return EAI_NONAME;
    }
    if (!numeric)
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a->ai_family = AF_INET;
    a->ai_socktype = SOCK_STREAM;
    a->ai_protocol = IPPROTO_TCP;
    a->ai_addrlen = sizeof(v4);
    a->ai_addr = (struct sockaddr *)(void *)(a + 1);
    memcpy(a->ai_addr, &v4, sizeof(v4));
    *found = a;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    free(found);
}

/* The helper thread answers when it can; the fake clock does not move meanwhile. */
static void wait_until(bool (*there)(void))
{
    for (unsigned i = 0; i < 5000 && !there(); i++) {
        pump();
        usleep(1000);
    }
    assert_true(there());
}

static bool list_is_there(void)
{
    return name_server()->count > 0;
}

static bool look_up_failed(void)
{
    return discovery()->refused[TOP_ADDRESSING_NO_ADDRESS] > 0;
}

static void the_domain_is_looked_up_for_every_fetch_and_never_by_the_loop(void **state)
{
    (void)state;
    snprintf(fx.config.namesrv_domain, sizeof(fx.config.namesrv_domain), "discovery.test:%u", http.port);
    fx.store = (struct route_store){0};
    fake_http_serve(&http, join(0, 1));
    name_leads_nowhere = true;
    start();
    wait_until(look_up_failed);
    assert_int_equal(name_server()->count, 0);
    name_leads_nowhere = false;
    unsigned before = look_ups;
    top_addressing_fetch(discovery());
    assert_true(discovery()->resolving); /* the call has returned, the helper thread works */
    wait_until(list_is_there);
    assert_true(look_ups > before);
}

static bool connected_twice(void)
{
    return fx.name_servers[0]->accepted >= 2 && fake_server_open_conns(fx.name_servers[0]) == 1;
}

static bool connected_once(void)
{
    return fake_server_open_conns(fx.name_servers[0]) == 1;
}

static void nameservers_are_looked_up_for_every_connection(void **state)
{
    (void)state;
    name_leads_nowhere = false;
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "ns.test:%u", fx.name_servers[0]->port);
    start();
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    wait_until(connected_once);
    unsigned before = look_ups;
    fake_server_drop_conns(fx.name_servers[0], true);
    net_advance(&fx, 1000);
    topic_entry_refresh(topic);
    wait_until(connected_twice);
    assert_true(look_ups > before);
}

/* ---- kept beyond the hub's life ---- */

static void the_last_list_is_used_at_once_by_the_next_hub(void **state)
{
    (void)state;
    snprintf(kept_url, sizeof(kept_url), "http://%s/rocketmq/nsaddr", http.address);
    snprintf(kept_list, sizeof(kept_list), "%s", join(0, 1));
    fake_http_unlisten(&http);
    start();
    assert_true(lists(fx.name_servers[0]->address));
    assert_true(discovery()->from_store);
    assert_int_equal(discovery()->last_ok_ms, 77);
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    net_pump(&fx);
    assert_int_equal(topic->info.count, 2);
    fake_http_listen(&http);
    fake_http_serve(&http, join(0, 1));
    advance(11000);
    assert_false(discovery()->from_store);
    assert_int_equal(saves, 1); /* its age is that of the answer now */
    advance(121000);
    assert_int_equal(saves, 1);
    fake_http_serve(&http, join(0, 3));
    advance(121000);
    assert_int_equal(saves, 2);
    assert_string_equal(kept_list, join(0, 3));
}

static void a_damaged_kept_list_is_ignored(void **state)
{
    (void)state;
    snprintf(kept_url, sizeof(kept_url), "http://%s/rocketmq/nsaddr", http.address);
    snprintf(kept_list, sizeof(kept_list), "10.0.0.1:9876;\x7f\xff:1");
    fake_http_unlisten(&http);
    start();
    assert_int_equal(name_server()->count, 0);
    assert_false(discovery()->from_store);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(settings_are_lists_or_endpoints),
        T(lists_are_split_and_checked),
        T(instance_endpoints_name_the_namespace),
        T(the_url_follows_four_rules),
        T(a_list_changes_by_size_or_by_a_new_address),
        T(the_chosen_address_stays_if_it_is_listed),
        T(many_changes_leave_nothing_behind),
        T(an_address_forbids_discovery),
        T(the_first_fetch_is_at_start_then_ten_seconds_then_two_minutes),
        T(the_request_is_that_of_the_java_client),
        T(a_start_waits_for_nobody),
        T(waiting_senders_go_on_when_the_list_comes),
        T(a_changed_answer_is_applied_live),
        T(answers_are_trimmed_and_cut_at_the_first_line),
        T(what_goes_wrong_is_counted_and_changes_nothing),
        T(silence_ends_after_three_seconds),
        T(the_domain_is_looked_up_for_every_fetch_and_never_by_the_loop),
        T(nameservers_are_looked_up_for_every_connection),
        T(the_last_list_is_used_at_once_by_the_next_hub),
        T(a_damaged_kept_list_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
