/*
 * What the collectors write about an instance in a known state, read back through
 * the table, on the clock of the network fixture.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/control/snapshot_rows.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "shm/runtime_dir.h"
#include "shm/table_reader.h"
#include "tests/unit/hub/net_fixture.h"

static struct net_fixture fx;
static char dir[64];
static struct table_writer *writer;
static struct table_reader *reader;
static struct group_rows *groups;

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    snprintf(dir, sizeof(dir), "/tmp/rmqhub-rows-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(table_writer_new(&writer, dir, NULL), 0);
    assert_int_equal(table_reader_new(&reader, dir), 0);
    groups = group_rows_new();
    assert_non_null(groups);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof(path), "%s/" RUNTIME_FILE_TABLE, dir);
    net_teardown(&fx);
    problems_deinit();
    table_reader_free(reader);
    table_writer_free(writer);
    free(groups);
    unlink(path);
    return rmdir(dir);
}

/* An instance that nobody uses goes away. */
static struct producer *use_group(void)
{
    struct producer *producer;
    assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 1000, &producer, NULL), 0);
    return producer;
}

static void take(void)
{
    struct snapshot_now now = {mono_now_ns(), wall_now_ms(), groups};
    table_writer_begin(writer);
    group_rows_begin(groups);
    snapshot_add_instance(writer, &now, fx.instance);
    snapshot_add_problems(writer, &now);
    assert_int_equal(table_writer_publish(writer, NULL), 0);
    assert_int_equal(table_reader_load(reader), TABLE_LOADED);
}

static const void *rows(enum table_section section, uint32_t at_least)
{
    uint32_t count;
    const void *first = table_reader_rows(reader, section, &count);
    assert_true(count >= at_least);
    return first;
}

static const struct table_task *task_named(const char *name)
{
    uint32_t count;
    const struct table_task *task = table_reader_rows(reader, TABLE_TASKS, &count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(task[i].name, name) == 0)
            return &task[i];
    fail_msg("no task %s", name);
    return NULL;
}

static void an_instance_that_sent(void **state)
{
    (void)state;
    struct net_send send;
    struct producer *producer = use_group();
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    net_advance(&fx, 2000);
    net_send_init(&send, &fx, producer, topic);
    producer_send(&send.request);
    net_pump(&fx);
    assert_int_equal(send.completions, 1);
    take();

    const struct table_instance *instance = rows(TABLE_INSTANCES, 1);
    assert_string_equal(instance->client_id, fx.instance->client_id);
    assert_int_equal(instance->state, TABLE_RUNNING);
    assert_int_equal(instance->factory_index, fx.instance->factory_index);
    assert_int_equal(instance->groups, 1);
    assert_int_equal(instance->handles, 1);
    assert_int_equal(instance->stored, 1);
    assert_int_equal(instance->connections, 2);
    assert_string_equal(instance->namesrv_chosen, fx.name_servers[0]->address);
    assert_string_equal(instance->namesrv_list, fx.name_servers[0]->address);
    assert_true(instance->namesrv_ok_age_ms >= 0);
    assert_int_equal(instance->async_in_use, 0);
    assert_int_equal(instance->async_limit, 65535);
    assert_int_equal(instance->discovery_ok_age_ms, TABLE_NEVER);
    assert_int_equal(instance->tls, TABLE_TLS_OFF);

    const struct table_group *group = rows(TABLE_GROUPS, 1);
    assert_string_equal(group->group, "G");
    assert_int_equal(group->handles, 1);
    assert_int_equal(group->clients, 0); /* no process: the test itself is the user */

    const struct table_heartbeat *heartbeat = rows(TABLE_HEARTBEATS, 1);
    assert_true(heartbeat->ok >= 2);
    assert_true(heartbeat->last_ok_age_ms <= 2000);
    assert_int_equal(task_named("clean offline brokers, heartbeat")->errors, 0);

    const struct table_connection *connection = rows(TABLE_CONNECTIONS, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(connection[i].state, TABLE_CHANNEL_CONNECTED);
        assert_int_equal(connection[i].tls, TABLE_TLS_OFF);
    }
    const struct table_service *service = rows(TABLE_SERVICES, 1);
    assert_string_equal(service->name, "PullMessageService");
    assert_string_equal(service->state, pull_service_state_name(fx.instance->pull_message_service.state));
    topic_entry_release(topic);
}

static const struct table_route *route_named(const char *topic)
{
    uint32_t count;
    const struct table_route *route = table_reader_rows(reader, TABLE_ROUTES, &count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(route[i].topic, topic) == 0)
            return &route[i];
    fail_msg("no route of %s", topic);
    return NULL;
}

static void an_unused_topic_tells_when_it_leaves(void **state)
{
    (void)state;
    fx.config.idle_expiry_topic_ms = 100000;
    use_group();
    struct topic_entry *topic = topic_entry_acquire(fx.instance, SPAN_LITERAL("T"), NULL);
    net_advance(&fx, 1000);
    take();
    assert_int_equal(route_named("TBW102")->expires_in_ms, TABLE_NEVER);
    assert_int_equal(route_named("T")->unconfirmed, 0);
    topic_entry_release(topic);
    net_advance(&fx, 10000);
    take();
    int64_t left = route_named("T")->expires_in_ms;
    assert_true(left > 80000 && left <= 100000);
    net_advance(&fx, 200000);
    uint32_t count;
    take();
    table_reader_rows(reader, TABLE_ROUTES, &count);
    assert_int_equal(count, 1); /* the create-topic key */
    assert_int_equal(((const struct table_instance *)rows(TABLE_INSTANCES, 1))->topics_expired, 1);
}

static void problems_come_worst_first(void **state)
{
    (void)state;
    use_group();
    problem_raise("mild", "a", TABLE_SEVERITY_WARN, "one");
    problem_raise("severe", "b", TABLE_SEVERITY_CRIT, "two");
    problem_raise("mild", "c", TABLE_SEVERITY_WARN, "three");
    net_advance(&fx, 1500);
    take();
    const struct table_problem *problem = rows(TABLE_PROBLEMS, 3);
    assert_string_equal(problem[0].rule, "severe");
    assert_string_equal(problem[1].object, "a");
    assert_string_equal(problem[2].object, "c");
    assert_int_equal(problem[0].since_age_ms, 1500);
    assert_int_equal(table_reader_half(reader)->hub.problems_crit, 1);
    assert_int_equal(table_reader_half(reader)->hub.problems_warn, 2);
    problem_clear("severe", "b");
    take();
    assert_int_equal(table_reader_half(reader)->hub.problems_crit, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_instance_that_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unused_topic_tells_when_it_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(problems_come_worst_first, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
