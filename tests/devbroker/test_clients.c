/* Registrations as 4.9.3 keeps them: the hazards that a hub must live with (spec section 15, items 15 to 17). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shm/base/clock.h"
#include "tests/devbroker/clients.h"
#include "tests/devbroker/server.h"

#include <stdlib.h>
#include <string.h>

#define EXPIRY_NS (120 * NS_PER_S)
#define AT_S(s) ((uint64_t)(s)*NS_PER_S)

static struct clients clients;
static struct connection first, second; /* only their addresses matter */
static unsigned notified;
static struct connection *closed;

static void count_notification(void *ctx, struct client_group *group)
{
    (void)ctx, (void)group;
    notified++;
}

static int setup(void **state)
{
    (void)state;
    clients_init(&clients);
    clients.on_consumers_changed = count_notification;
    notified = 0;
    closed = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clients_deinit(&clients);
    return 0;
}

/* One heartbeat of producer groups, NULL-terminated. */
static void heartbeat(struct connection *c, const char *client_id, uint64_t now_ns, const char *const *groups)
{
    struct client_info *info = client_info_new(c, span_of(client_id), 1, 399, now_ns);
    for (; *groups; groups++)
        clients_register_producer(&clients, span_of(*groups), info, now_ns);
    client_info_release(info);
}
#define HEARTBEAT(c, id, now_s, ...) heartbeat(c, id, AT_S(now_s), (const char *const[]){__VA_ARGS__, NULL})

static unsigned members(const char *group)
{
    struct client_group *g = clients_find_group(&clients.producer_groups, span_of(group));
    unsigned n = 0;
    if (g)
        LIST_FOR_EACH_SAFE (it, next, &g->members)
            n++;
    return n;
}

static void close_expired(void *ctx, const char *group, struct connection *c)
{
    (void)ctx, (void)group;
    closed = c;
    clients_connection_closed(&clients, c);
}

static struct connection *route(const char *client_id)
{
    return clients_route(&clients, span_of(client_id));
}

static void one_entry_for_each_group_and_connection(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G", "H");
    HEARTBEAT(&first, "hub", 30, "G", "H");
    HEARTBEAT(&second, "other", 30, "G");
    assert_int_equal(members("G"), 2);
    assert_int_equal(members("H"), 1);
    assert_int_equal(clients.producer_registrations, 3);
    clients_connection_closed(&clients, &first);
    assert_int_equal(members("G"), 1);
    assert_int_equal(members("H"), 0);
}

static void unregister_works_on_its_own_connection_only(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G");
    assert_false(clients_unregister_producer(&clients, SPAN_LITERAL("G"), &second, SPAN_LITERAL("x")));
    assert_int_equal(members("G"), 1);
    assert_true(clients_unregister_producer(&clients, SPAN_LITERAL("G"), &first, SPAN_LITERAL("hub")));
    assert_int_equal(members("G"), 0);
    assert_false(clients_unregister_producer(&clients, SPAN_LITERAL("G"), &first, SPAN_LITERAL("hub")));
}

static void hazard_16_unregistering_any_group_erases_the_reply_route(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G", "INNER");
    assert_ptr_equal(route("hub"), &first);
    clients_unregister_producer(&clients, SPAN_LITERAL("G"), &first, SPAN_LITERAL("hub"));
    assert_null(route("hub"));
    HEARTBEAT(&first, "hub", 30, "INNER"); /* a known group does not bring it back */
    assert_null(route("hub"));
    clients_unregister_producer(&clients, SPAN_LITERAL("INNER"), &first, SPAN_LITERAL("hub"));
    HEARTBEAT(&first, "hub", 31, "INNER"); /* one that is new to the connection does */
    assert_ptr_equal(route("hub"), &first);
}

static void hazard_17_a_group_left_out_of_heartbeats_closes_the_connection(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G");
    HEARTBEAT(&first, "hub", 1, "H");
    HEARTBEAT(&first, "hub", 100, "H");
    clients_scan(&clients, AT_S(120), EXPIRY_NS, close_expired, NULL);
    assert_null(closed);
    clients_scan(&clients, AT_S(121), EXPIRY_NS, close_expired, NULL);
    assert_ptr_equal(closed, &first);
    assert_int_equal(members("H"), 0);
    assert_int_equal(clients.expiries, 1);
}

static void groups_of_one_heartbeat_share_their_time(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G", "H");
    HEARTBEAT(&first, "hub", 100, "H");
    clients_scan(&clients, AT_S(160), EXPIRY_NS, close_expired, NULL);
    assert_null(closed);
    assert_int_equal(members("G"), 1);
}

static void a_late_close_of_the_old_connection_erases_the_new_route(void **state)
{
    (void)state;
    HEARTBEAT(&first, "hub", 0, "G");
    HEARTBEAT(&second, "hub", 1, "G");
    assert_ptr_equal(route("hub"), &second);
    clients_connection_closed(&clients, &first);
    assert_null(route("hub"));
}

static struct client_group *join(struct connection *c, const char *client_id, uint64_t now_ns)
{
    struct client_group *g = clients_consumer_group(&clients, SPAN_LITERAL("C"));
    struct client_info *info = client_info_new(c, span_of(client_id), 1, 399, now_ns);
    clients_register_consumer(&clients, g, info, now_ns);
    client_info_release(info);
    return g;
}

static const char *only_client_id(struct client_group *g)
{
    struct list_link *only = g->members.next;
    assert_ptr_equal(only, g->members.prev);
    return LIST_ENTRY(only, struct client_member, link)->info->client_id;
}

static void a_second_client_id_on_one_connection_replaces_the_first(void **state)
{
    (void)state;
    join(&first, "one", 0);
    struct client_group *g = join(&first, "two", 1);
    assert_string_equal(only_client_id(g), "two");
    assert_int_equal(clients.consumer_registrations, 1);
}

static void remaining_consumers_are_told_when_one_leaves(void **state)
{
    (void)state;
    join(&first, "one", 0);
    join(&second, "two", 0);
    assert_true(clients_unregister_consumer(&clients, SPAN_LITERAL("C"), &first));
    assert_int_equal(notified, 1);
    clients_connection_closed(&clients, &second); /* nobody is left to be told */
    assert_int_equal(notified, 1);
    assert_null(clients_find_group(&clients.consumer_groups, SPAN_LITERAL("C")));
}

static bool subscribe(struct client_group *g, const char *topic, const char *tags, int64_t version)
{
    struct subscription_data d = {.topic = span_of(topic), .sub_string = span_of(tags), .sub_version = version};
    return client_group_subscribe(g, &d);
}

static void subscriptions_change_with_their_version_and_vanish_when_unmentioned(void **state)
{
    (void)state;
    struct client_group *g = join(&first, "one", 0);
    assert_true(subscribe(g, "T", "A", 5));
    assert_true(subscribe(g, "U", "*", 5));
    assert_false(client_group_forget_unmentioned(g));
    assert_false(subscribe(g, "T", "B", 5)); /* same version: the older text stays */
    assert_string_equal(client_group_subscription(g, SPAN_LITERAL("T"))->sub_string, "A");
    assert_false(subscribe(g, "T", "B", 6));
    assert_string_equal(client_group_subscription(g, SPAN_LITERAL("T"))->sub_string, "B");
    assert_true(client_group_forget_unmentioned(g));
    assert_null(client_group_subscription(g, SPAN_LITERAL("U")));
    assert_non_null(client_group_subscription(g, SPAN_LITERAL("T")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_entry_for_each_group_and_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(unregister_works_on_its_own_connection_only, setup, teardown),
        cmocka_unit_test_setup_teardown(hazard_16_unregistering_any_group_erases_the_reply_route, setup, teardown),
        cmocka_unit_test_setup_teardown(hazard_17_a_group_left_out_of_heartbeats_closes_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(groups_of_one_heartbeat_share_their_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_close_of_the_old_connection_erases_the_new_route, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_client_id_on_one_connection_replaces_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(remaining_consumers_are_told_when_one_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(subscriptions_change_with_their_version_and_vanish_when_unmentioned, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
