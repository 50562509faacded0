/*
 * Row 11: NettyRemotingClient.getAndCreateNameserverChannel. A random start, one
 * address that sticks while its connection is there, the next one on failure, all
 * within the time of one call; silence hurts nobody but who asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/net_fixture.h"

#define UNKNOWN_CODE 9999
#define CALL_MS 3000

static struct net_fixture fx;

/** One call with its end. Those that may be open when a test fails outlive it. */
static struct call {
    unsigned ends;
    int error;
    int32_t code;
    uint64_t at_ns;
    char address[CHANNEL_ADDRESS_MAX + 1];
} calls[5], *const call = &calls[0];

static int setup(void **state)
{
    (void)state;
    memset(calls, 0, sizeof(calls));
    net_setup(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_teardown(&fx);
    return 0;
}

static void list_name_servers(unsigned count)
{
    fx.namesrv_addr[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        size_t used = strlen(fx.namesrv_addr);
        snprintf(fx.namesrv_addr + used, sizeof(fx.namesrv_addr) - used, "%s%s", i ? ";" : "", fx.name_servers[i]->address);
    }
}

/* A group keeps the instance in use. */
static struct name_server *name_server(void)
{
    struct producer *p;
    if (!fx.instance)
        assert_int_equal(producer_acquire(net_instance(&fx), SPAN_LITERAL("G"), 0, &p, NULL), 0);
    return &fx.instance->name_server;
}

static struct fake_server *server_at(const char *address)
{
    for (unsigned i = 0; address && i < 3; i++)
        if (strcmp(fx.name_servers[i]->address, address) == 0)
            return fx.name_servers[i];
    return NULL;
}

static struct fake_server *chosen(void)
{
    return server_at(name_server_chosen(name_server()));
}

static void on_end(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct call *c = ctx;
    c->ends++;
    c->error = result->error;
    c->code = result->response ? result->response->code : -1;
    c->at_ns = fx.now_ns;
    snprintf(c->address, sizeof(c->address), "%s", channel->address);
}

static void begin(struct call *c, int32_t code)
{
    struct ext_field ext[] = {{SPAN_LITERAL("topic"), SPAN_LITERAL("T")}};
    *c = (struct call){.code = -1};
    assert_int_equal(name_server_invoke(name_server(), code, ext, 1, CALL_MS, on_end, c), 0);
    assert_int_equal(c->ends, 0); /* never inside the call */
}

/* A route that comes without waiting; returns who sent it. */
static struct fake_server *ask_route(void)
{
    static struct call route;
    begin(&route, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_pump(&fx);
    assert_int_equal(route.ends, 1);
    assert_int_equal(route.error, 0);
    return server_at(route.address);
}

static unsigned asked(int32_t code)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        n += fake_server_count(fx.name_servers[i], code);
    return n;
}

static unsigned connections(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        n += fake_server_open_conns(fx.name_servers[i]);
    return n;
}

static void clients_start_at_different_places(void **state)
{
    (void)state;
    struct name_server ns;
    unsigned starts[3] = {0}, first[3] = {0};
    const char *list = "a:1;b:1;c:1";
    for (uint64_t seed = 0; seed < 60; seed++) {
        assert_int_equal(name_server_init(&ns, NULL, list, seed * 7919), 0);
        assert_int_equal(ns.chosen, -1);
        assert_true(ns.next < 999);
        starts[ns.next % 3]++;
        first[ns.addresses[0][0] - 'a']++;
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_true(starts[i] > 5);
        assert_true(first[i] > 5);
    }
}

static void nothing_is_dialled_before_it_is_needed_and_then_one(void **state)
{
    (void)state;
    list_name_servers(3);
    name_server();
    net_pump(&fx);
    assert_int_equal(connections(), 0);
    ask_route();
    assert_int_equal(connections(), 1);
}

static void the_chosen_one_sticks(void **state)
{
    (void)state;
    list_name_servers(3);
    ask_route();
    struct fake_server *first = chosen();
    for (unsigned i = 0; i < 20; i++)
        assert_ptr_equal(ask_route(), first);
    assert_int_equal(name_server()->failovers, 0);
    assert_int_equal(connections(), 1);
}

static void a_lost_connection_moves_the_choice_on_and_never_back(void **state)
{
    (void)state;
    list_name_servers(3);
    ask_route();
    struct fake_server *first = chosen();
    fake_server_drop_conns(first, true); /* it still listens */
    net_pump(&fx);
    struct fake_server *second = ask_route();
    assert_non_null(second);
    assert_ptr_not_equal(second, first);
    net_skip(&fx, 60000);
    assert_ptr_equal(chosen(), second);
}

static void the_next_one_is_asked_when_one_refuses(void **state)
{
    (void)state;
    list_name_servers(3);
    ask_route();
    struct fake_server *first = chosen();
    fake_server_unlisten(first);
    fake_server_drop_conns(first, true);
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC); /* written to a connection that is gone: lost, asked again elsewhere */
    net_pump(&fx);
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, 0);
    assert_ptr_not_equal(server_at(call->address), first);
    assert_true(name_server()->failovers >= 1);
    assert_int_equal(call->at_ns, fx.now_ns); /* no time was lost */
}

static void all_refuse(void **state)
{
    (void)state;
    list_name_servers(3);
    name_server();
    for (unsigned i = 0; i < 3; i++)
        fake_server_unlisten(fx.name_servers[i]);
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_advance(&fx, 10);
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, -ECONNREFUSED);
    assert_int_equal(name_server()->failures, 1);
    fake_server_listen(fx.name_servers[1]);
    net_advance(&fx, 1100); /* the longest back-off while somebody waits */
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_advance(&fx, 1100);
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, 0);
    assert_ptr_equal(server_at(call->address), fx.name_servers[1]);
}

static void a_black_hole_does_not_eat_the_budget(void **state)
{
    (void)state;
    struct black_hole hole;
    black_hole_open(&hole);
    snprintf(fx.namesrv_addr, sizeof(fx.namesrv_addr), "%s;%s", hole.address, fx.name_servers[0]->address);
    struct name_server *ns = name_server();
    for (unsigned i = 0; i < ns->count; i++)
        if (strcmp(ns->addresses[i], hole.address) == 0)
            ns->chosen = (int)i;
    uint64_t from = fx.now_ns;
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_advance(&fx, CALL_MS / 2 - 100);
    assert_int_equal(call->ends, 0);
    net_advance(&fx, 150);
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, 0);
    assert_ptr_equal(server_at(call->address), fx.name_servers[0]);
    assert_true(call->at_ns - from <= (CALL_MS / 2 + 50) * NS_PER_MS);
    assert_ptr_equal(ask_route(), fx.name_servers[0]); /* at once from now on */
    black_hole_close(&hole);
}

static void all_silent_ends_in_time_each_asked_once(void **state)
{
    (void)state;
    list_name_servers(3);
    name_server();
    for (unsigned i = 0; i < 3; i++)
        fx.name_servers[i]->mute = true;
    uint64_t from = fx.now_ns;
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_advance(&fx, CALL_MS - 50);
    assert_int_equal(call->ends, 0);
    net_advance(&fx, 100);
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, -ETIMEDOUT);
    assert_true(call->at_ns - from <= (CALL_MS + 20) * NS_PER_MS);
    for (unsigned i = 0; i < 3; i++) /* TBW102's poll and a probe are the others */
        assert_in_range(fake_server_count(fx.name_servers[i], REQUEST_GET_ROUTEINFO_BY_TOPIC), 1, 3);
}

static void silence_to_an_unknown_code_harms_nobody(void **state)
{
    (void)state;
    list_name_servers(2);
    for (unsigned i = 0; i < 2; i++)
        fx.name_servers[i]->mute_code = UNKNOWN_CODE; /* as a 4.9.3 nameserver */
    ask_route();
    struct fake_server *first = chosen();
    begin(call, UNKNOWN_CODE);
    for (unsigned i = 0; i < 31; i++) {
        net_advance(&fx, 100);
        assert_ptr_equal(ask_route(), first);
    }
    assert_int_equal(call->ends, 1);
    assert_int_equal(call->error, -ETIMEDOUT);
    assert_int_equal(asked(UNKNOWN_CODE), 2); /* once each */
    assert_int_equal(first->accepted, 1);     /* its connection is the same */
    assert_true(name_server()->silences >= 1);
    assert_ptr_equal(chosen(), first);
}

static void silence_to_everything_moves_all_calls_on(void **state)
{
    (void)state;
    list_name_servers(2);
    ask_route();
    struct fake_server *first = chosen();
    net_advance(&fx, 50);
    first->mute = true;
    for (unsigned i = 0; i < 5; i++) {
        begin(&calls[i], REQUEST_GET_ROUTEINFO_BY_TOPIC);
        net_advance(&fx, 20);
    }
    net_advance(&fx, CALL_MS / 2);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(calls[i].ends, 1);
        assert_int_equal(calls[i].error, 0);
        assert_ptr_not_equal(server_at(calls[i].address), first);
    }
    assert_int_equal(fake_server_open_conns(first), 1); /* not as 4.9.3: one timeout leads to a probe */
    net_advance(&fx, 4500);
    assert_int_equal(fake_server_open_conns(first), 0); /* which stayed unanswered */
}

static void no_address_is_said_at_once(void **state)
{
    (void)state;
    struct name_server ns;
    name_server();
    assert_int_equal(name_server_init(&ns, &fx.instance->remoting, "", 1), 0);
    assert_int_equal(name_server_invoke(&ns, REQUEST_GET_ROUTEINFO_BY_TOPIC, NULL, 0, CALL_MS, on_end, call), -EDESTADDRREQ);
    assert_int_equal(call->ends, 0);
    assert_null(name_server_chosen(&ns));
}

static void a_call_survives_a_change_of_the_list(void **state)
{
    (void)state;
    list_name_servers(1);
    ask_route();
    fx.name_servers[0]->mute = true;
    begin(call, REQUEST_GET_ROUTEINFO_BY_TOPIC);
    net_pump(&fx);
    assert_int_equal(name_server_update_list(name_server(), fx.name_servers[1]->address), 1);
    assert_null(name_server_chosen(name_server()));
    assert_int_equal(fake_server_open_conns(fx.name_servers[0]), 1); /* somebody waits there */
    assert_ptr_equal(ask_route(), fx.name_servers[1]);
    net_advance(&fx, CALL_MS + 50);
    assert_int_equal(call->ends, 1);
    net_advance(&fx, 4500); /* a probe had its time, too */
    assert_int_equal(fake_server_open_conns(fx.name_servers[0]), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(clients_start_at_different_places),
        T(nothing_is_dialled_before_it_is_needed_and_then_one),
        T(the_chosen_one_sticks),
        T(a_lost_connection_moves_the_choice_on_and_never_back),
        T(the_next_one_is_asked_when_one_refuses),
        T(all_refuse),
        T(a_black_hole_does_not_eat_the_budget),
        T(all_silent_ends_in_time_each_asked_once),
        T(silence_to_an_unknown_code_harms_nobody),
        T(silence_to_everything_moves_all_calls_on),
        T(no_address_is_said_at_once),
        T(a_call_survives_a_change_of_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
