/* Which configurations share an instance, and what it is called. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/mq_client_manager.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

static struct event_loop *loop;
static struct mq_client_manager *manager;
static struct client_config config;
static unsigned names_drawn;

static int cluster_of(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr, const struct client_config **out)
{
    (void)ctx;
    *out = &config;
    *cluster_name = name ? name : "main";
    if (strcmp(*cluster_name, "main") == 0)
        *namesrv_addr = "127.0.0.1:1";
    else if (strcmp(*cluster_name, "other") == 0)
        *namesrv_addr = "127.0.0.1:2;127.0.0.1:3";
    else if (strcmp(*cluster_name, "empty") == 0)
        *namesrv_addr = NULL;
    else
        return -ENOENT;
    return 0;
}

static int default_instance_name(void *ctx, const char *key_text, char *out, size_t cap)
{
    (void)ctx;
    assert_non_null(strstr(key_text, "DEFAULT"));
    snprintf(out, cap, "4711#%u", ++names_drawn);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    struct mq_client_manager_ops ops = {.cluster_of = cluster_of, .default_instance_name = default_instance_name};
    names_drawn = 0;
    log_configure(LOG_LEVEL_ERROR, false);
    client_config_init(&config);
    snprintf(config.client_ip, sizeof(config.client_ip), "192.0.2.7");
    assert_int_equal(event_loop_new(&loop), 0);
    return mq_client_manager_new(&manager, loop, &ops);
}

static int teardown(void **state)
{
    (void)state;
    manager = mq_client_manager_free(manager);
    loop = event_loop_free(loop);
    return 0;
}

static struct mq_client_instance *get(const char *cluster, const char *addr, const char *name, const char *unit)
{
    struct instance_key key = {cluster, addr, name, unit};
    struct mq_client_instance *in = NULL;
    const char *why = NULL;
    assert_int_equal(mq_client_manager_get_or_create(manager, &key, &in, &why), 0);
    return in;
}

static void equal_keys_share_an_instance(void **state)
{
    (void)state;
    struct mq_client_instance *a = get(NULL, NULL, "app", NULL);
    assert_ptr_equal(a, get("main", "127.0.0.1:1", "app", ""));
    assert_ptr_not_equal(a, get(NULL, NULL, "app", "unit1"));
    assert_ptr_not_equal(a, get(NULL, NULL, "app2", NULL));
    assert_ptr_not_equal(a, get("other", NULL, "app", NULL));
    assert_int_equal(mq_client_manager_count(manager), 4);
    assert_ptr_equal(mq_client_manager_at(manager, 0), a);
    assert_null(mq_client_manager_at(manager, 4));
    assert_int_equal(a->state, SERVICE_RUNNING);
}

static void client_ids_follow_the_rules(void **state)
{
    (void)state;
    assert_string_equal(get(NULL, NULL, "app", NULL)->client_id, "192.0.2.7@app");
    assert_string_equal(get(NULL, NULL, "app", "u")->client_id, "192.0.2.7@app@u");
    assert_string_equal(get(NULL, NULL, NULL, NULL)->client_id, "192.0.2.7@4711#1");
    assert_ptr_equal(get(NULL, NULL, "DEFAULT", NULL), get(NULL, NULL, "", NULL)); /* drawn once */
    assert_int_equal(names_drawn, 1);
    /* An explicit name away from home never makes the same clientId twice. */
    const char *other = get("other", NULL, "app", NULL)->client_id;
    const char *own = get(NULL, "127.0.0.1:9", "app", NULL)->client_id;
    assert_int_equal(strncmp(other, "192.0.2.7@app#", 14), 0);
    assert_int_equal(strlen(other), 14 + 8);
    assert_int_equal(strncmp(own, "192.0.2.7@app#", 14), 0);
    assert_string_not_equal(other, own);
}

static void bad_keys_are_refused_by_name(void **state)
{
    (void)state;
    char long_name[200];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    const struct {
        struct instance_key key;
        int error;
        const char *says;
    } cases[] = {
        {{"nowhere", NULL, NULL, NULL}, -ENOENT, "no such cluster"}, {{NULL, "host", NULL, NULL}, -EINVAL, "nameserver list"},
        {{NULL, NULL, "a@b", NULL}, -EINVAL, "instance name"},       {{NULL, NULL, "a b", NULL}, -EINVAL, "instance name"},
        {{NULL, NULL, long_name, NULL}, -EINVAL, "instance name"},   {{NULL, NULL, "a", "b@c"}, -EINVAL, "unit name"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mq_client_instance *in;
        const char *why = NULL;
        assert_int_equal(mq_client_manager_get_or_create(manager, &cases[i].key, &in, &why), cases[i].error);
        assert_non_null(strstr(why, cases[i].says));
    }
    assert_int_equal(mq_client_manager_count(manager), 0);
}

static void instances_are_bounded(void **state)
{
    (void)state;
    char name[16];
    struct mq_client_instance *in;
    const char *why = NULL;
    for (unsigned i = 0; i < MQ_CLIENT_INSTANCES_MAX; i++) {
        snprintf(name, sizeof(name), "i%u", i);
        get(NULL, NULL, name, NULL);
    }
    struct instance_key key = {.instance_name = "more"};
    assert_int_equal(mq_client_manager_get_or_create(manager, &key, &in, &why), -EDQUOT);
    assert_non_null(why);
}

static void the_start_order_fills_the_tables(void **state)
{
    (void)state;
    struct mq_client_instance *in = get(NULL, NULL, "app", NULL);
    static const char *const names[] = {"update topic routes", "clean offline brokers, heartbeat",
                                        "scan response table", "expire lingering groups",
                                        "expire idle topics",  "check for a duplicate clientId"};
    static const uint64_t first_ms[] = {10, 1000, 3000, 1000, 60000, 10000}, period_ms[] = {30000, 30000, 1000, 1000, 60000, 60000};
    assert_int_equal(in->tasks.count, 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(in->tasks.tasks[i].name, names[i]);
        assert_int_equal(in->tasks.tasks[i].first_delay_ns, first_ms[i] * NS_PER_MS);
        assert_int_equal(in->tasks.tasks[i].period_ns, period_ms[i] * NS_PER_MS);
    }
    assert_string_equal(in->inner_producer->group, "CLIENT_INNER_PRODUCER");
    assert_string_equal(in->create_topic_entry->name, "TBW102");
}

static void an_address_is_always_found(void **state)
{
    (void)state;
    char ip[64] = "", id[32];
    client_config_find_ip(ip, sizeof(ip));
    assert_true(strlen(ip) > 0);
    assert_int_equal(client_config_build_client_id(id, sizeof(id), "1.2.3.4", "0123456789012345678901234567890", ""), -ENAMETOOLONG);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(equal_keys_share_an_instance), T(client_ids_follow_the_rules),      T(bad_keys_are_refused_by_name),
        T(instances_are_bounded),        T(the_start_order_fills_the_tables), T(an_address_is_always_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
