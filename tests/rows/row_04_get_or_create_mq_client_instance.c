/*
 * Row 4: MQClientManager.getOrCreateMQClientInstance. One configuration is one
 * instance for every process; different nameservers, names, units, TLS settings or
 * credentials never share one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/instance/instance_key.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "shm/base/log.h"
#include "tests/unit/hub/net_fixture.h"

enum { HOME, SIGNED, SIGNED_OTHERWISE, SECURE, SECURE_OTHERWISE, CLUSTERS };
static const char *const names[CLUSTERS] = {"home", "signed", "signed-otherwise", "secure", "secure-otherwise"};

static struct net_fixture fx;
static struct client_config *configs;
static char directory[64];
static char info[4096]; /* lines of level info */

static void on_log(enum log_level level, const char *who, const char *message)
{
    size_t used = strlen(info);
    if (level == LOG_LEVEL_INFO)
        snprintf(info + used, sizeof(info) - used, "%s: %s\n", who, message);
}

static int cluster_of(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr,
                      const struct client_config **config)
{
    (void)ctx;
    for (unsigned i = 0; i < CLUSTERS; i++) {
        if (name && strcmp(name, names[i]) != 0)
            continue;
        *cluster_name = names[i];
        *namesrv_addr = fx.namesrv_addr;
        *config = &configs[i];
        return 0;
    }
    return -ENOENT;
}

static void write_credentials(const char *path, mode_t mode)
{
    static const char text[] = "access_key = someone\nsecret_key = 0123456789\n";
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    struct mq_client_manager_ops ops = {.cluster_of = cluster_of, .ctx = &fx};
    configs = calloc(CLUSTERS, sizeof(*configs));
    assert_non_null(configs);
    snprintf(directory, sizeof(directory), "/tmp/rmqhub-row-04-XXXXXX");
    assert_non_null(mkdtemp(directory));
    for (unsigned i = 0; i < CLUSTERS; i++)
        configs[i] = fx.config;
    for (unsigned i = SIGNED; i <= SIGNED_OTHERWISE; i++) {
        snprintf(configs[i].credentials_file, sizeof(configs[i].credentials_file), "%s/%u", directory, i);
        write_credentials(configs[i].credentials_file, 0600);
    }
    configs[SECURE].tls.enable = configs[SECURE_OTHERWISE].tls.enable = true;
    snprintf(configs[SECURE_OTHERWISE].tls.server_name, sizeof(configs[0].tls.server_name), "broker.example");
    info[0] = '\0';
    log_set_tap(on_log);
    return mq_client_manager_new(&fx.manager, fx.loop, &ops);
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    log_set_tap(NULL);
    problems_deinit();
    for (unsigned i = SIGNED; i <= SIGNED_OTHERWISE; i++)
        unlink(configs[i].credentials_file);
    rmdir(directory);
    free(configs);
    return 0;
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

static void one_configuration_is_one_instance(void **state)
{
    (void)state;
    struct mq_client_instance *a = get(NULL, NULL, "app", NULL);
    assert_int_equal(a->state, SERVICE_RUNNING);
    assert_int_equal(a->factory_index, 0);
    assert_ptr_equal(get("home", NULL, "app", NULL), a);
    assert_int_equal(mq_client_manager_count(fx.manager), 1);
}

static void creating_and_finding_are_logged(void **state)
{
    (void)state;
    struct mq_client_instance *a = get(NULL, NULL, "app", NULL);
    assert_non_null(strstr(info, "192.0.2.2@app: created new client instance, factory index 0"));
    assert_null(strstr(info, "returned previous"));
    assert_ptr_equal(get("home", fx.namesrv_addr, "app", ""), a);
    assert_non_null(strstr(info, "192.0.2.2@app: returned previous client instance, factory index 0"));
    assert_int_equal(get(NULL, NULL, "app2", NULL)->factory_index, 1);
    assert_non_null(strstr(info, "192.0.2.2@app2: created new client instance, factory index 1"));
}

static void different_ones_do_not_share(void **state)
{
    (void)state;
    const struct mq_client_instance *all[] = {get(NULL, NULL, "app", NULL), get(NULL, NULL, "app2", NULL), get(NULL, NULL, "app", "u"),
                                              get(NULL, "127.0.0.1:1", "app", NULL), get(NULL, NULL, NULL, NULL)};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < i; k++) {
            assert_ptr_not_equal(all[i], all[k]);
            assert_string_not_equal(all[i]->client_id, all[k]->client_id);
        }
    for (unsigned i = 0; i < 5; i++)
        assert_false(mq_client_manager_is_extra(fx.manager, all[i]));
}

static void other_credentials_or_tls_settings_never_share(void **state)
{
    (void)state;
    const struct mq_client_instance *all[CLUSTERS];
    for (unsigned i = 0; i < CLUSTERS; i++) {
        all[i] = get(names[i], NULL, "app", NULL);
        assert_ptr_equal(get(names[i], NULL, "app", NULL), all[i]);
        assert_int_equal(mq_client_manager_is_extra(fx.manager, all[i]), i != HOME); /* what it costs is shown */
    }
    for (unsigned i = 0; i < CLUSTERS; i++)
        for (unsigned k = 0; k < i; k++) {
            assert_ptr_not_equal(all[i], all[k]);
            assert_string_not_equal(all[i]->client_id, all[k]->client_id);
            assert_string_not_equal(all[i]->identity, all[k]->identity);
        }
    char expected[64];
    snprintf(expected, sizeof(expected), "192.0.2.2@app#%08x", instance_key_fingerprint(all[SIGNED]->identity));
    assert_string_equal(all[SIGNED]->client_id, expected);
    assert_int_equal(all[HOME]->credentials_fingerprint, 0);
    assert_int_equal(all[HOME]->tls_fingerprint, 0);
    assert_int_not_equal(all[SIGNED]->credentials_fingerprint, all[SIGNED_OTHERWISE]->credentials_fingerprint);
    assert_int_not_equal(all[SECURE]->tls_fingerprint, all[SECURE_OTHERWISE]->tls_fingerprint);
    assert_non_null(all[SIGNED]->remoting.hook);
    assert_null(all[HOME]->remoting.hook);
}

static void it_keeps_a_copy_of_the_configuration(void **state)
{
    (void)state;
    struct mq_client_instance *in = get(NULL, NULL, "app", NULL);
    configs[HOME].heartbeat_broker_interval_ms = 1;
    configs[HOME].mq_client_api_timeout_ms = 1;
    snprintf(configs[HOME].client_ip, sizeof(configs[HOME].client_ip), "192.0.2.99");
    net_advance(&fx, 500);
    assert_int_equal(in->config.heartbeat_broker_interval_ms, 30000);
    assert_int_equal(in->config.mq_client_api_timeout_ms, 3000);
    assert_string_equal(in->client_id, "192.0.2.2@app");
    snprintf(configs[HOME].client_ip, sizeof(configs[HOME].client_ip), "192.0.2.2");
    assert_ptr_equal(get(NULL, NULL, "app", NULL), in); /* nor does a later process bring it along */
    assert_int_equal(in->config.heartbeat_broker_interval_ms, 30000);
}

static void credentials_that_cannot_be_used_refuse_the_start(void **state)
{
    (void)state;
    const struct instance_key key = {"signed", NULL, "app", NULL};
    struct mq_client_instance *in = NULL;
    struct problem problem;
    const char *why = NULL;
    write_credentials(configs[SIGNED].credentials_file, 0644);
    assert_true(mq_client_manager_get_or_create(fx.manager, &key, &in, &why) < 0);
    assert_non_null(strstr(why, configs[SIGNED].credentials_file));
    assert_null(strstr(why, "0123456789"));
    assert_int_equal(mq_client_manager_count(fx.manager), 0);
    assert_true(problem_find("instance-start", "signed", &problem));
    assert_non_null(strstr(problem.text, "app"));
    write_credentials(configs[SIGNED].credentials_file, 0600);
    assert_int_equal(get("signed", NULL, "app", NULL)->state, SERVICE_RUNNING);
    assert_false(problem_find("instance-start", "signed", &problem));
}

static void count_problem(void *ctx, const struct problem *problem)
{
    unsigned *count = ctx;
    (void)problem;
    (*count)++;
}

static void failed_starts_are_one_problem_of_their_cluster(void **state)
{
    (void)state;
    struct mq_client_instance *in;
    struct problem problem;
    unsigned count = 0;
    char name[16];
    write_credentials(configs[SIGNED].credentials_file, 0644);
    for (unsigned i = 0; i < PROBLEMS_MAX + 44; i++) {
        snprintf(name, sizeof(name), "i%u", i);
        const struct instance_key key = {"signed", NULL, name, NULL};
        assert_true(mq_client_manager_get_or_create(fx.manager, &key, &in, NULL) < 0);
    }
    problem_raise("heartbeat-late", "another", TABLE_SEVERITY_WARN, "there is room for it");
    assert_true(problem_find("heartbeat-late", "another", &problem));
    write_credentials(configs[SIGNED].credentials_file, 0600);
    get("signed", NULL, "app", NULL); /* any one shows that the cluster's can start */
    problems_for_each(count_problem, &count);
    assert_int_equal(count, 1);
    assert_true(problem_find("heartbeat-late", "another", &problem));
}

static void a_reload_reads_credentials_again_or_keeps_them(void **state)
{
    (void)state;
    struct mq_client_instance *in = get("signed", NULL, "app", NULL);
    const struct rpc_hook *hook = in->remoting.hook;
    struct problem problem;
    write_credentials(configs[SIGNED].credentials_file, 0666);
    assert_true(mq_client_instance_reload(in) < 0);
    assert_ptr_equal(in->remoting.hook, hook);
    assert_true(problem_find("credentials", in->client_id, &problem));
    write_credentials(configs[SIGNED].credentials_file, 0600);
    assert_int_equal(mq_client_instance_reload(in), 0);
    assert_non_null(in->remoting.hook);
    assert_false(problem_find("credentials", in->client_id, &problem));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_configuration_is_one_instance),
        T(creating_and_finding_are_logged),
        T(different_ones_do_not_share),
        T(other_credentials_or_tls_settings_never_share),
        T(it_keeps_a_copy_of_the_configuration),
        T(credentials_that_cannot_be_used_refuse_the_start),
        T(failed_starts_are_one_problem_of_their_cluster),
        T(a_reload_reads_credentials_again_or_keeps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
