/*
 * Row 3: ClientConfig.changeInstanceNameToPID and buildMQClientId. One clientId is
 * one client: never twice within a hub, whatever is combined; elsewhere found at the
 * brokers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/instance/duplicate_client_id.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
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

/* ---- the name ---- */

#define KEPT_MAX 64

/* A store as the hub's: it draws a name at the first question for a key, and keeps it. */
static struct kept {
    struct {
        char key[256], name[64];
    } at[KEPT_MAX];
    unsigned count, asked;
    bool broken, stuck, fresh; /* fails; gives the same name to everybody; draws as of now */
} kept;

static int keep_name(void *ctx, const char *key_text, char *out, size_t cap)
{
    (void)ctx;
    kept.asked++;
    if (kept.broken)
        return -EIO;
    for (unsigned i = 0; i < kept.count; i++)
        if (kept.stuck || strcmp(kept.at[i].key, key_text) == 0) {
            snprintf(out, cap, "%s", kept.at[i].name);
            return 0;
        }
    assert_true(kept.count < KEPT_MAX);
    snprintf(kept.at[kept.count].key, sizeof(kept.at[0].key), "%s", key_text);
    snprintf(kept.at[kept.count].name, sizeof(kept.at[0].name), "4711#%" PRIu64, kept.count + (kept.fresh ? fx.now_ns : 1));
    snprintf(out, cap, "%s", kept.at[kept.count++].name);
    return 0;
}

static void default_becomes_pid_and_nanotime(void **state)
{
    (void)state;
    char name[INSTANCE_NAME_MAX + 1] = "DEFAULT", second[INSTANCE_NAME_MAX + 1] = "DEFAULT", expected[32];
    client_config_change_instance_name_to_pid(name, sizeof(name), NULL, "key");
    snprintf(expected, sizeof(expected), "%ld#", (long)getpid());
    assert_int_equal(strncmp(name, expected, strlen(expected)), 0);
    assert_true(strtoull(name + strlen(expected), NULL, 10) >= fx.now_ns);
    client_config_change_instance_name_to_pid(second, sizeof(second), NULL, "key");
    assert_string_not_equal(name, second); /* although the clock stands still */
    static const char *const explicit[] = {"app", "default", "DEFAULT2", "1#2"};
    for (unsigned i = 0; i < sizeof(explicit) / sizeof(explicit[0]); i++) {
        snprintf(name, sizeof(name), "%s", explicit[i]);
        client_config_change_instance_name_to_pid(name, sizeof(name), NULL, "key");
        assert_string_equal(name, explicit[i]);
    }
}

/* ---- clusters of a hub, to be combined ---- */

struct cluster {
    const char *name, *namesrv_addr;
    struct client_config config;
};

#define CLUSTERS 9
static struct cluster *clusters;

static int cluster_of(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr,
                      const struct client_config **config)
{
    (void)ctx;
    for (unsigned i = 0; i < CLUSTERS; i++) {
        if (name && strcmp(name, clusters[i].name) != 0)
            continue;
        *cluster_name = clusters[i].name;
        *namesrv_addr = clusters[i].namesrv_addr;
        *config = &clusters[i].config;
        return 0;
    }
    return -ENOENT;
}

static struct client_config *set_cluster(unsigned i, const char *name, const char *namesrv_addr)
{
    clusters[i].name = name;
    clusters[i].namesrv_addr = namesrv_addr;
    client_config_init(&clusters[i].config);
    snprintf(clusters[i].config.client_ip, sizeof(clusters[i].config.client_ip), "192.0.2.2");
    return &clusters[i].config;
}

static struct mq_client_manager *new_manager(void)
{
    struct mq_client_manager_ops ops = {.cluster_of = cluster_of, .default_instance_name = keep_name, .ctx = &fx};
    struct mq_client_manager *m = NULL;
    assert_int_equal(mq_client_manager_new(&m, fx.loop, &ops), 0);
    return m;
}

static int setup_clusters(void **state)
{
    setup(state);
    kept = (struct kept){0};
    clusters = calloc(CLUSTERS, sizeof(*clusters));
    assert_non_null(clusters);
    set_cluster(0, "main", "127.0.0.1:1");
    set_cluster(1, "twin", "127.0.0.1:1"); /* the same under another name */
    set_cluster(2, "other", "127.0.0.1:2;127.0.0.1:3");
    struct client_config *tls = set_cluster(3, "tls", "127.0.0.1:1");
    tls->tls.enable = true;
    tls = set_cluster(4, "insecure", "127.0.0.1:1");
    tls->tls.enable = tls->tls.insecure = true;
    tls = set_cluster(5, "own-key", "127.0.0.1:1");
    tls->tls.enable = true;
    snprintf(tls->tls.cert_file, sizeof(tls->tls.cert_file), "/nowhere/hub.pem");
    snprintf(set_cluster(6, "unit", "127.0.0.1:1")->unit_name, sizeof(tls->unit_name), "u");
    snprintf(set_cluster(7, "address", "127.0.0.1:1")->client_ip, sizeof(tls->client_ip), "192.0.2.3");
    snprintf(set_cluster(8, "found", "")->namesrv_domain, sizeof(tls->namesrv_domain), "127.0.0.1:9");
    fx.manager = new_manager();
    log_configure(LOG_LEVEL_ERROR, false);
    return 0;
}

static int teardown_clusters(void **state)
{
    int r = teardown(state);
    free(clusters);
    return r;
}

static struct mq_client_instance *get(const char *cluster, const char *addr, const char *name, const char *unit)
{
    const struct instance_key key = {cluster, addr, name, unit};
    struct mq_client_instance *in = NULL;
    const char *why = NULL;
    if (mq_client_manager_get_or_create(fx.manager, &key, &in, &why) != 0)
        print_error("%s: %s\n", cluster ? cluster : "", why ? why : "?");
    assert_non_null(in);
    return in;
}

static void a_name_is_drawn_once_and_outlives_the_hub(void **state)
{
    (void)state;
    char before[CLIENT_ID_MAX + 1], other[CLIENT_ID_MAX + 1];
    snprintf(before, sizeof(before), "%s", get("main", NULL, NULL, NULL)->client_id);
    snprintf(other, sizeof(other), "%s", get("other", NULL, NULL, NULL)->client_id);
    assert_string_equal(before, "192.0.2.2@4711#1");
    assert_string_not_equal(before, other);
    assert_ptr_equal(get(NULL, NULL, "DEFAULT", NULL), get("main", "127.0.0.1:1", "", ""));
    assert_ptr_equal(get("twin", NULL, NULL, NULL), get("main", NULL, NULL, NULL)); /* the servers count, not what they are called */
    assert_int_equal(kept.asked, 2);
    mq_client_manager_free(fx.manager); /* the next hub, with the same state directory; asked in another order */
    fx.manager = new_manager();
    assert_string_equal(get("other", NULL, NULL, NULL)->client_id, other);
    assert_string_equal(get("main", NULL, NULL, NULL)->client_id, before);
    assert_int_equal(kept.count, 2);
}

static void a_store_that_fails_does_not_stop_anybody(void **state)
{
    (void)state;
    kept.broken = true;
    const struct mq_client_instance *a = get("main", NULL, NULL, NULL), *b = get("main", NULL, NULL, "u");
    assert_string_not_equal(a->instance_name, b->instance_name);
    assert_ptr_equal(get("main", NULL, NULL, NULL), a);
}

static void a_store_that_repeats_itself_makes_no_duplicate(void **state)
{
    (void)state;
    kept.stuck = true;
    assert_string_not_equal(get("main", NULL, NULL, NULL)->client_id, get("other", NULL, NULL, NULL)->client_id);
}

static void client_ids_read_as_in_4_9_3(void **state)
{
    (void)state;
    assert_string_equal(get("main", NULL, "app", NULL)->client_id, "192.0.2.2@app");
    assert_string_equal(get("main", NULL, "app", "u")->client_id, "192.0.2.2@app@u");
    assert_string_equal(get("unit", NULL, "app2", NULL)->client_id, "192.0.2.2@app2@u"); /* the cluster's unit */
    assert_string_equal(get("address", NULL, "app", NULL)->client_id, "192.0.2.3@app");  /* the cluster's address */
    clusters[0].config.client_ip[0] = '\0';                                              /* found on the interfaces */
    char ip[64] = "", expected[CLIENT_ID_MAX + 1];
    client_config_find_ip(ip, sizeof(ip));
    snprintf(expected, sizeof(expected), "%s@found", ip);
    assert_string_equal(get("main", NULL, "found", NULL)->client_id, expected);
}

/* Every cluster with and without an own list and units, under names that were chosen to collide: two requests give one
 * clientId exactly when they give one instance. */
static void no_client_id_twice_in_one_hub(void **state)
{
    (void)state;
    static const char *const lists[] = {NULL, "127.0.0.1:1", "127.0.0.1:2;127.0.0.1:3", "127.0.0.1:4"};
    static const char *const units[] = {NULL, "u"};
    char fingerprint[INSTANCE_NAME_MAX + 1], pid_name[INSTANCE_NAME_MAX + 1];
    snprintf(pid_name, sizeof(pid_name), "%s", get("main", NULL, NULL, NULL)->instance_name);
    snprintf(fingerprint, sizeof(fingerprint), "%s", get("other", NULL, "app", NULL)->instance_name);
    assert_int_equal(strncmp(fingerprint, "app#", 4), 0);
    assert_int_equal(strlen(fingerprint), 12);
    const char *const names[] = {NULL, "app", fingerprint, pid_name};
    for (unsigned n = 0; n < 4; n++) { /* name by name: a hub has room for 64 instances */
        fx.manager = mq_client_manager_free(fx.manager);
        fx.manager = new_manager();
        get("main", NULL, NULL, NULL); /* the owner of pid_name */
        get("other", NULL, "app", NULL);
        for (unsigned c = 0; c < CLUSTERS; c++)
            for (unsigned l = 0; l < 4; l++)
                for (unsigned u = 0; u < 2; u++)
                    if (mq_client_manager_count(fx.manager) < MQ_CLIENT_INSTANCES_MAX)
                        get(clusters[c].name, lists[l], names[n], units[u]);
        unsigned count = mq_client_manager_count(fx.manager);
        assert_true(count > 20 && count < MQ_CLIENT_INSTANCES_MAX);
        for (unsigned i = 0; i < count; i++)
            for (unsigned k = 0; k < i; k++)
                assert_string_not_equal(mq_client_manager_at(fx.manager, i)->client_id, mq_client_manager_at(fx.manager, k)->client_id);
    }
}

/* ---- elsewhere ---- */

static struct script {
    unsigned addresses; /* under our clientId */
    char group[64];
    const char *client_id;
} script;

static bool answer_connections(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd)
{
    char body[1024];
    size_t used;
    if (cmd->code != REQUEST_GET_PRODUCER_CONNECTION_LIST)
        return false;
    struct span group = remoting_command_ext(cmd, "producerGroup");
    snprintf(script.group, sizeof(script.group), "%.*s", (int)group.len, group.data);
    used = (size_t)snprintf(body, sizeof(body), "{\"connectionSet\":[{\"clientAddr\":\"10.0.0.9:1\",\"clientId\":\"somebody@else\"}");
    for (unsigned i = 0; i < script.addresses; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used,
                                 ",{\"clientAddr\":\"10.0.0.%u:4000\",\"clientId\":\"%s\",\"language\":\"CPP\",\"version\":399}", i,
                                 script.client_id);
    snprintf(body + used, sizeof(body) - used, "]}");
    fake_server_reply(c, cmd->opaque, s->mute_code ? 1 : 0, NULL, NULL, 0, span_of(body));
    return true;
}

static void connect_broker(void)
{
    script = (struct script){.addresses = 1, .client_id = "192.0.2.2@unit"};
    fx.brokers[0]->hook = answer_connections;
    net_join(&fx, "G");
    net_connect(&fx);
}

static bool is_problem(struct problem *problem)
{
    return problem_find("duplicate-client-id", "192.0.2.2@unit", problem);
}

static void another_address_under_our_id_is_a_problem_until_it_goes(void **state)
{
    (void)state;
    struct problem problem;
    connect_broker();
    net_advance(&fx, 11000);
    assert_string_equal(script.group, fx.instance->marker->group); /* it is asked for by task, about the private group */
    assert_int_equal(fx.instance->duplicates.answers, 1);
    assert_false(is_problem(&problem));
    script.addresses = 2;
    net_advance(&fx, 60000);
    assert_true(is_problem(&problem));
    assert_non_null(strstr(problem.text, "10.0.0.0:4000"));
    assert_non_null(strstr(problem.text, "10.0.0.1:4000"));
    assert_int_equal(fx.instance->duplicates.brokers, 1);
    script.addresses = 1;
    net_advance(&fx, 60000);
    assert_false(is_problem(&problem));
}

static void an_old_connection_of_our_own_is_none(void **state)
{
    (void)state;
    struct problem problem;
    connect_broker();
    net_advance(&fx, 5000);
    fake_server_drop_conns(fx.brokers[0], true);
    script.addresses = 2; /* the broker has not noticed yet */
    net_advance(&fx, 100000);
    assert_int_equal(fx.instance->duplicates.checks, 0);
    assert_false(is_problem(&problem));
    net_advance(&fx, 100000); /* but by now it would have */
    assert_true(is_problem(&problem));
}

/* The instance DEFAULT of a hub with a store, connected. */
static void connect_default(void)
{
    struct producer *p;
    const char *why;
    clusters[0].namesrv_addr = fx.namesrv_addr;
    fx.instance = get("main", NULL, NULL, NULL);
    script = (struct script){.addresses = 2, .client_id = fx.instance->client_id};
    fx.brokers[0]->hook = answer_connections;
    assert_int_equal(producer_acquire(fx.instance, SPAN_LITERAL("G"), 1000, &p, &why), 0);
    assert_non_null(topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL));
    net_pump(&fx);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
}

static unsigned unregisters(void)
{
    return fake_server_count(fx.brokers[0], REQUEST_UNREGISTER_CLIENT);
}

/* To a broker the first connection under a kept name is a reconnect: the hub that had the name before may have died. */
static void a_kept_name_connects_as_if_again(void **state)
{
    (void)state;
    struct problem problem;
    connect_default();
    assert_string_equal(fx.instance->instance_name, "4711#1");
    net_advance(&fx, 2500);
    assert_int_equal(unregisters(), 0);
    net_advance(&fx, 1000);
    assert_int_equal(unregisters(), 1); /* the reply route is repaired */
    assert_string_equal(fake_server_last(fx.brokers[0], REQUEST_UNREGISTER_CLIENT)->text, fx.instance->marker->group);
    net_skip(&fx, 125000);
    assert_int_equal(fx.instance->duplicates.checks, 0); /* the second address may be the predecessor's */
    net_skip(&fx, 70000);
    assert_true(problem_find("duplicate-client-id", fx.instance->client_id, &problem));
}

static void a_name_of_this_hub_connects_for_the_first_time(void **state)
{
    (void)state;
    kept.fresh = true;
    connect_default();
    net_advance(&fx, 11000);
    assert_int_equal(unregisters(), 0);
    assert_int_equal(fx.instance->duplicates.checks, 1);
}

static bool answer_garbage(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd)
{
    static const char *const bodies[] = {
        "{\"connectionSet\":null}",
        "{\"connectionSet\":[null]}",
        "[]",
        "{\"connectionSet\":[{\"clientAddr\":7}]}",
        "{\"connectionSet\":[{\"clientId\":\"192.0.2.2@unit\"},{\"clientId\":\"192.0.2.2@unit\"}]}",
        "{\"connectionSet\":[{\"clientAddr\":\"a\",\"clientId\":\"192.0.2.2@unit\"},{\"clientAddr\":\"b\""};
    if (cmd->code != REQUEST_GET_PRODUCER_CONNECTION_LIST)
        return false;
    unsigned *next = s->hook_ctx;
    fake_server_reply(c, cmd->opaque, 0, NULL, NULL, 0, span_of(bodies[(*next)++ % 6]));
    return true;
}

static void garbage_is_no_answer(void **state)
{
    (void)state;
    struct problem problem;
    unsigned next = 0;
    connect_broker();
    fx.brokers[0]->hook = answer_garbage;
    fx.brokers[0]->hook_ctx = &next;
    net_advance(&fx, 330000);
    assert_int_equal(next, 6);
    assert_int_equal(fake_server_open_conns(fx.brokers[0]), 1);
    assert_false(is_problem(&problem));
}

static void answers_that_tell_nothing_change_nothing(void **state)
{
    (void)state;
    struct problem problem;
    connect_broker();
    script.addresses = 2;
    net_advance(&fx, 11000);
    assert_true(is_problem(&problem));
    fx.brokers[0]->mute_code = 9999; /* refused, for instance for want of a permission */
    script.addresses = 1;
    net_advance(&fx, 60000);
    assert_true(is_problem(&problem));
    fx.brokers[0]->hook = NULL; /* an empty body */
    net_advance(&fx, 60000);
    assert_true(is_problem(&problem));
    assert_int_equal(fx.instance->duplicates.failures, 2);
    mq_client_manager_free(fx.manager); /* what an instance raised goes with it */
    fx.manager = NULL;
    assert_false(is_problem(&problem));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define C(f) cmocka_unit_test_setup_teardown(f, setup_clusters, teardown_clusters)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(default_becomes_pid_and_nanotime),
        C(a_name_is_drawn_once_and_outlives_the_hub),
        C(a_store_that_fails_does_not_stop_anybody),
        C(a_store_that_repeats_itself_makes_no_duplicate),
        C(client_ids_read_as_in_4_9_3),
        C(no_client_id_twice_in_one_hub),
        T(another_address_under_our_id_is_a_problem_until_it_goes),
        T(an_old_connection_of_our_own_is_none),
        C(a_kept_name_connects_as_if_again),
        C(a_name_of_this_hub_connects_for_the_first_time),
        T(garbage_is_no_answer),
        T(answers_that_tell_nothing_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
