/*
 * Row 5: MQClientInstance.registerProducer. A group is one producer however many
 * processes of one user join it; the last one out leaves it to its linger.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/producer/default_mq_producer.h"
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

static int try_join(const char *group, uid_t uid, struct producer **out, const char **why)
{
    *why = NULL;
    *out = NULL;
    return mq_client_instance_register_producer(net_instance(&fx), span_of(group), uid, out, why);
}

static struct producer *join(const char *group, uid_t uid)
{
    struct producer *p;
    const char *why;
    assert_int_equal(try_join(group, uid, &p, &why), 0);
    assert_non_null(p);
    return p;
}

static unsigned count(int32_t code)
{
    return fake_server_count(fx.brokers[0], code);
}

static void a_group_is_one_producer_with_a_count(void **state)
{
    (void)state;
    struct producer *p = join("G", 1000);
    unsigned groups = fx.instance->producers.count;
    assert_string_equal(p->group, "G");
    assert_ptr_equal(producer_table_find(&fx.instance->producers, "G", 1), p);
    assert_ptr_equal(join("G", 1000), p); /* another process */
    assert_int_equal(p->refs, 2);
    assert_int_equal(p->state, PRODUCER_ACTIVE);
    assert_int_equal(fx.instance->producers.count, groups);
    assert_ptr_not_equal(join("H", 1000), p);
    mq_client_instance_unregister_producer(p, false);
    assert_int_equal(p->refs, 1);
    assert_int_equal(p->state, PRODUCER_ACTIVE); /* the other one still uses it */
}

static void a_group_belongs_to_the_user_who_registered_it(void **state)
{
    (void)state;
    struct producer *p = join("G", 1000), *q;
    const char *why;
    net_connect(&fx);
    assert_int_equal(try_join("G", 1001, &q, &why), -EPERM);
    assert_non_null(strstr(why, "another user"));
    assert_int_equal(p->refs, 1);
    mq_client_instance_unregister_producer(p, false);
    assert_int_equal(try_join("G", 1001, &q, &why), -EPERM); /* the linger keeps the owner */
    net_advance(&fx, 62000);
    q = join("G", 1001);
    assert_int_equal(q->uid, 1001);
}

static void the_last_one_out_starts_the_linger(void **state)
{
    (void)state;
    struct producer *p = join("G", 1000);
    join("H", 1000);
    join("G", 1000);
    net_connect(&fx);
    mq_client_instance_unregister_producer(p, false);
    mq_client_instance_unregister_producer(p, false);
    assert_int_equal(p->state, PRODUCER_LINGERING);
    net_advance(&fx, 50000);
    assert_int_equal(count(REQUEST_UNREGISTER_CLIENT), 0);
    assert_true(fake_request_names(fake_server_last(fx.brokers[0], REQUEST_HEART_BEAT), "G"));
    unsigned heartbeats = count(REQUEST_HEART_BEAT);
    assert_ptr_equal(join("G", 1000), p); /* the restarted process finds it in place: nothing goes out */
    net_pump(&fx);
    assert_int_equal(p->state, PRODUCER_ACTIVE);
    assert_int_equal(count(REQUEST_HEART_BEAT), heartbeats);
    net_advance(&fx, 70000);
    assert_int_equal(count(REQUEST_UNREGISTER_CLIENT), 0);
    mq_client_instance_unregister_producer(p, false);
    net_advance(&fx, 62000);
    assert_true(count(REQUEST_UNREGISTER_CLIENT) > 0);
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
}

static void a_final_leave_does_not_linger(void **state)
{
    (void)state;
    struct producer *p = join("G", 1000);
    join("H", 1000);
    net_connect(&fx);
    mq_client_instance_unregister_producer(p, true);
    net_pump(&fx);
    assert_null(producer_table_find(&fx.instance->producers, "G", 1));
    assert_true(count(REQUEST_UNREGISTER_CLIENT) > 0);
}

static int start_handle(struct default_mq_producer *handle, const char *group, const char *instance_name, const void *client)
{
    const struct default_mq_producer_options options = {
        .group = span_of(group), .key = {.instance_name = instance_name}, .uid = 1000, .client = client};
    return default_mq_producer_start(handle, fx.manager, &options);
}

/* The "client" of 4.9.3's rule is a process here: others join. */
static void one_process_cannot_register_a_group_twice(void **state)
{
    (void)state;
    static const char one, other;
    struct default_mq_producer handles[5];
    net_instance(&fx);
    for (unsigned i = 0; i < 5; i++)
        default_mq_producer_init(&handles[i]);
    assert_int_equal(start_handle(&handles[0], "G", "unit", &one), 0);
    assert_int_equal(start_handle(&handles[1], "G", "unit", &one), -EEXIST);
    assert_int_equal(handles[1].service_state, SERVICE_CREATE_JUST);
    assert_int_equal(handles[0].producer->refs, 1);
    assert_int_equal(start_handle(&handles[1], "H", "unit", &one), 0); /* the same handle, another group */
    assert_int_equal(start_handle(&handles[2], "G", "unit", &other), 0);
    assert_ptr_equal(handles[2].producer, handles[0].producer);
    assert_int_equal(handles[0].producer->refs, 2);
    assert_int_equal(start_handle(&handles[3], "G", "DEFAULT", &one), 0); /* without an explicit name it joins */
    assert_int_equal(start_handle(&handles[4], "G", "DEFAULT", &one), 0);
    assert_int_equal(handles[4].producer->refs, 2);
    for (unsigned i = 0; i < 5; i++)
        default_mq_producer_shutdown(&handles[i], true);
}

static void what_is_refused_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *group, *says;
    } cases[] = {{"", "blank"}, {"a b", "character"}, {"DEFAULT_PRODUCER", "DEFAULT_PRODUCER"}, {"CLIENT_INNER_PRODUCER", "own"}};
    struct producer *p;
    const char *why;
    char name[16];
    net_instance(&fx);
    unsigned groups = fx.instance->producers.count;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(try_join(cases[i].group, 1000, &p, &why), -EINVAL);
        assert_non_null(strstr(why, cases[i].says));
        assert_null(p);
    }
    assert_int_equal(try_join(fx.instance->marker->group, 1000, &p, &why), -EINVAL);
    assert_int_equal(fx.instance->producers.count, groups);
    for (unsigned i = groups; i < PRODUCER_GROUPS_MAX; i++) {
        snprintf(name, sizeof(name), "G%u", i);
        join(name, 1000);
    }
    assert_int_equal(try_join("more", 1000, &p, &why), -EDQUOT);
    assert_non_null(strstr(why, "too many"));
    mq_client_instance_unregister_producer(join("G7", 1000), true);
    mq_client_instance_unregister_producer(producer_table_find(&fx.instance->producers, "G7", 2), true);
    join("more", 1000); /* its place is free again */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_group_is_one_producer_with_a_count), T(a_group_belongs_to_the_user_who_registered_it), T(the_last_one_out_starts_the_linger),
        T(a_final_leave_does_not_linger),        T(one_process_cannot_register_a_group_twice),     T(what_is_refused_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
