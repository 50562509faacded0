/*
 * Row 6: MQClientInstance.start. Its parts in 4.9.3's order, no server needed, and a
 * start that fails at any allocation can be tried again and leaves nothing behind.
 * Allocation is led through the functions below by the linker (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "tests/unit/hub/net_fixture.h"

/* ---- allocation that can fail ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);

static long live;                  /* blocks that the hub holds */
static long fail_after = LONG_MAX; /* allocations that succeed before one fails */

static bool fails(void)
{
    return fail_after != LONG_MAX && fail_after-- == 0;
}

void *__wrap_malloc(size_t size)
{
    void *p = fails() ? NULL : __real_malloc(size);
    live += p != NULL;
    return p;
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *p = fails() ? NULL : __real_calloc(count, size);
    live += p != NULL;
    return p;
}

void *__wrap_realloc(void *p, size_t size)
{
    void *q = fails() ? NULL : __real_realloc(p, size);
    live += q && !p;
    return q;
}

char *__wrap_strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    char *p = __wrap_malloc(len);
    return p ? memcpy(p, text, len) : NULL;
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

/* ---- the fixture ---- */

static struct net_fixture fx;
static struct resolver *resolver;

static int setup(void **state)
{
    (void)state;
    fail_after = LONG_MAX;
    net_setup(&fx);
    return resolver_new(&resolver, fx.loop);
}

static int teardown(void **state)
{
    (void)state;
    fail_after = LONG_MAX;
    resolver_free(resolver);
    net_teardown(&fx);
    problems_deinit();
    return 0;
}

/* One that was never started, as the manager prepares it. */
static struct mq_client_instance *new_instance(void)
{
    struct mq_client_instance *in = calloc(1, sizeof(*in));
    assert_non_null(in);
    in->loop = fx.loop;
    in->config = fx.config;
    snprintf(in->cluster, sizeof(in->cluster), "default");
    snprintf(in->namesrv_addr, sizeof(in->namesrv_addr), "%s", fx.namesrv_addr);
    snprintf(in->instance_name, sizeof(in->instance_name), "unit");
    snprintf(in->client_id, sizeof(in->client_id), "192.0.2.2@unit");
    return in;
}

static int start(struct mq_client_instance *in)
{
    return mq_client_instance_start(in, resolver, &fx.store, "default");
}

static const struct scheduled_task *task(const struct mq_client_instance *in, const char *name)
{
    for (unsigned i = 0; i < in->tasks.count; i++)
        if (strcmp(in->tasks.tasks[i].name, name) == 0)
            return &in->tasks.tasks[i];
    return NULL;
}

/* ---- the row ---- */

static void it_runs_with_everything_prepared(void **state)
{
    (void)state;
    struct mq_client_instance *in = new_instance();
    assert_int_equal(in->state, SERVICE_CREATE_JUST);
    assert_int_equal(start(in), 0);
    assert_int_equal(in->state, SERVICE_RUNNING);
    assert_int_equal(task(in, "update topic routes")->first_delay_ns, 10 * NS_PER_MS);
    assert_int_equal(task(in, "update topic routes")->period_ns, 30 * NS_PER_S);
    assert_int_equal(task(in, "clean offline brokers, heartbeat")->first_delay_ns, NS_PER_S);
    assert_int_equal(task(in, "clean offline brokers, heartbeat")->period_ns, 30 * NS_PER_S);
    assert_null(task(in, "fetch name server address")); /* an address is configured */
    assert_string_equal(in->inner_producer->group, "CLIENT_INNER_PRODUCER");
    assert_ptr_equal(producer_table_find(&in->producers, "CLIENT_INNER_PRODUCER", 21), in->inner_producer);
    assert_int_equal(in->inner_producer->state, PRODUCER_ACTIVE);
    mq_client_instance_free(in);
}

static void nothing_needs_a_server_to_be_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        fake_server_unlisten(fx.name_servers[i]);
        fake_server_unlisten(fx.brokers[i]);
    }
    struct mq_client_instance *in = net_instance(&fx);
    assert_int_equal(in->state, SERVICE_RUNNING);
    assert_true(list_is_empty(&in->remoting.channels)); /* not even dialled */
    net_join(&fx, "G");
    net_advance(&fx, 5000);
    assert_int_equal(in->state, SERVICE_RUNNING);
    fake_server_listen(fx.name_servers[0]);
    fake_server_listen(fx.brokers[0]);
    net_advance(&fx, 35000);
    assert_true(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT) > 0);
}

static void the_create_topic_key_is_polled_from_the_start(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_pump(&fx);
    assert_int_equal(fake_server_count(fx.name_servers[0], 0), 0);
    net_advance(&fx, 10);
    assert_int_equal(fake_server_count(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC), 1);
    assert_string_equal(fx.name_servers[0]->log[0].text, "TBW102");
    net_advance(&fx, 60000);
    assert_int_equal(fake_server_count(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC), 3);
}

static void the_inner_producer_is_in_every_heartbeat(void **state)
{
    (void)state;
    net_join(&fx, "G");
    net_advance(&fx, 62000);
    assert_true(fake_server_count(fx.brokers[0], REQUEST_HEART_BEAT) >= 3);
    for (unsigned i = 0; i < fx.brokers[0]->log_count; i++)
        if (fx.brokers[0]->log[i].code == REQUEST_HEART_BEAT)
            assert_true(fake_request_names(&fx.brokers[0]->log[i], "CLIENT_INNER_PRODUCER"));
}

static void without_an_address_it_is_asked_for_over_http(void **state)
{
    (void)state;
    struct mq_client_instance *in = new_instance();
    in->namesrv_addr[0] = '\0';
    snprintf(in->config.namesrv_domain, sizeof(in->config.namesrv_domain), "127.0.0.1:9");
    assert_int_equal(start(in), 0);
    assert_string_equal(in->top_addressing.url, "http://127.0.0.1:9/rocketmq/nsaddr");
    assert_true(in->top_addressing.fetches == 1 || in->top_addressing.resolving); /* at start */
    assert_int_equal(task(in, "fetch name server address")->first_delay_ns, 10 * NS_PER_S);
    assert_int_equal(task(in, "fetch name server address")->period_ns, 120 * NS_PER_S);
    mq_client_instance_free(in);
}

static void a_second_start_does_nothing(void **state)
{
    (void)state;
    struct mq_client_instance *in = new_instance();
    assert_int_equal(start(in), 0);
    unsigned tasks = in->tasks.count, groups = in->producers.count;
    long held = live;
    assert_int_equal(start(in), 0);
    assert_int_equal(in->tasks.count, tasks);
    assert_int_equal(in->producers.count, groups);
    assert_int_equal(live, held);
    mq_client_instance_shutdown(in);
    assert_int_equal(start(in), 0);
    assert_int_equal(in->state, SERVICE_SHUTDOWN_ALREADY);
    mq_client_instance_free(in);
}

static bool flush(void *ctx)
{
    remoting_client_flush(&((struct mq_client_instance *)ctx)->remoting);
    return false;
}

static void a_failed_start_leaves_nothing_and_can_be_tried_again(void **state)
{
    (void)state;
    struct mq_client_instance *in = new_instance();
    assert_int_equal(start(in), 0); /* the loop keeps room for as many timers as it ever had */
    mq_client_instance_free(in);
    long before = live;
    in = new_instance();
    long prepared = live;
    int r = -1;
    unsigned failures = 0;
    for (long n = 0; r < 0; n++) {
        fail_after = n;
        r = start(in);
        fail_after = LONG_MAX;
        if (r == 0)
            break;
        failures++;
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(in->state, SERVICE_START_FAILED);
        assert_int_equal(live, prepared);
        assert_int_equal(in->tasks.count, 0);
        net_advance(&fx, 50); /* nothing of it runs on */
    }
    assert_true(failures >= 5);
    assert_int_equal(in->state, SERVICE_RUNNING);
    assert_int_equal(event_loop_add_hook(fx.loop, LOOP_PHASE_FLUSH, flush, in), 0);
    net_advance(&fx, 1000);
    assert_true(fake_server_count(fx.name_servers[0], REQUEST_GET_ROUTEINFO_BY_TOPIC) > 0); /* and it works */
    event_loop_remove_hook(fx.loop, LOOP_PHASE_FLUSH, flush, in);
    mq_client_instance_free(in);
    net_pump(&fx);
    assert_int_equal(live, before);
}

static void a_manager_that_fails_to_create_keeps_nothing(void **state)
{
    (void)state;
    const struct instance_key key = {.instance_name = "later"};
    struct mq_client_instance *in = NULL;
    const char *why = NULL;
    net_instance(&fx);
    unsigned count = mq_client_manager_count(fx.manager);
    int r = -1;
    long before = live;
    for (long n = 0; r < 0; n++) {
        fail_after = n;
        r = mq_client_manager_get_or_create(fx.manager, &key, &in, &why);
        fail_after = LONG_MAX;
        if (r == 0)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_non_null(why);
        assert_int_equal(live, before);
        assert_int_equal(mq_client_manager_count(fx.manager), count);
    }
    assert_int_equal(mq_client_manager_count(fx.manager), count + 1);
    assert_int_equal(in->state, SERVICE_RUNNING);
    assert_int_equal(in->factory_index, count); /* none was used up */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_runs_with_everything_prepared),
        T(nothing_needs_a_server_to_be_up),
        T(the_create_topic_key_is_polled_from_the_start),
        T(the_inner_producer_is_in_every_heartbeat),
        T(without_an_address_it_is_asked_for_over_http),
        T(a_second_start_does_nothing),
        T(a_failed_start_leaves_nothing_and_can_be_tried_again),
        T(a_manager_that_fails_to_create_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
