
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/remoting/channel.h"
#include "hub/remoting/response_table.h"
#include "shm/base/clock.h"

static struct channel one, two;

static void add(struct response_table *t, struct response_future *f)
{
    f->channel = &one;
    assert_int_equal(response_table_add(t, f), 0);
}

static void a_reply_finds_its_request_once(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future a = {0}, b = {0};
    assert_int_equal(response_table_init(&t, 100), 0);
    add(&t, &a);
    add(&t, &b);
    assert_int_not_equal(a.opaque, b.opaque);
    assert_ptr_equal(response_table_take(&t, b.opaque, &one), &b);
    assert_null(response_table_take(&t, b.opaque, &one)); /* a duplicate */
    assert_null(response_table_take(&t, 12345, &one));    /* nobody's */
    assert_int_equal(t.counters.late_or_unknown, 2);
    assert_null(response_table_take(&t, a.opaque, &two)); /* somebody else's connection */
    assert_int_equal(t.counters.wrong_channel, 1);
    assert_ptr_equal(response_table_take(&t, a.opaque, &one), &a);
    assert_int_equal(t.count, 0);
    assert_int_equal(t.counters.replied, 2);
    response_table_deinit(&t);
    response_table_deinit(&t);
}

static void the_generation_keeps_late_replies_from_new_requests(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future old = {0}, fresh = {0};
    response_table_init(&t, 100);
    add(&t, &old);
    int32_t opaque = old.opaque;
    response_table_remove(&t, &old);
    t.next_opaque = (uint32_t)opaque + t.slot_count; /* the same slot, a turn later */
    add(&t, &fresh);
    assert_int_equal((uint32_t)fresh.opaque % t.slot_count, (uint32_t)opaque % t.slot_count);
    assert_null(response_table_take(&t, opaque, &one));
    response_table_remove(&t, &old); /* not in it: harmless */
    assert_int_equal(t.count, 1);
    assert_ptr_equal(response_table_take(&t, fresh.opaque, &one), &fresh);
    response_table_deinit(&t);
}

static void opaques_wrap_like_javas_int(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future f[8];
    memset(f, 0, sizeof(f));
    response_table_init(&t, 100);
    t.next_opaque = INT32_MAX - 2;
    for (unsigned i = 0; i < 4; i++)
        add(&t, &f[i]);
    assert_int_equal(f[2].opaque, INT32_MAX);
    assert_int_equal(f[3].opaque, INT32_MIN);
    for (unsigned i = 0; i < 4; i++)
        assert_ptr_equal(response_table_take(&t, f[i].opaque, &one), &f[i]);
    t.next_opaque = UINT32_MAX;
    for (unsigned i = 4; i < 8; i++)
        add(&t, &f[i]);
    assert_int_equal(f[4].opaque, -1);
    assert_int_equal(f[5].opaque, 0);
    for (unsigned i = 4; i < 8; i++)
        assert_ptr_equal(response_table_take(&t, f[i].opaque, &one), &f[i]);
    response_table_deinit(&t);
}

static void an_opaque_in_use_is_never_drawn(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future slow = {0}, next = {0};
    response_table_init(&t, 100);
    add(&t, &slow);
    t.next_opaque = (uint32_t)slow.opaque; /* the counter came around */
    int32_t drawn = response_table_draw(&t);
    assert_int_not_equal(drawn, slow.opaque);
    t.next_opaque = (uint32_t)slow.opaque + t.slot_count;
    add(&t, &next);
    assert_ptr_equal(response_table_take(&t, slow.opaque, &one), &slow);
    response_table_deinit(&t);
}

static void it_grows_with_its_futures_and_stops_at_its_limit(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future *f = calloc(RESPONSE_TABLE_MAX_PENDING + 1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(response_table_init(&t, 0), 0);
    for (unsigned i = 0; i < RESPONSE_TABLE_MAX_PENDING; i++)
        add(&t, &f[i]);
    assert_int_equal(response_table_add(&t, &f[RESPONSE_TABLE_MAX_PENDING]), -EAGAIN);
    assert_int_equal(t.counters.refused_full, 1);
    uint32_t cursor = 0;
    unsigned seen = 0;
    while (response_table_next(&t, &cursor))
        seen++;
    assert_int_equal(seen, RESPONSE_TABLE_MAX_PENDING);
    for (unsigned i = 0; i < RESPONSE_TABLE_MAX_PENDING; i++)
        assert_ptr_equal(response_table_take(&t, f[i].opaque, &one), &f[i]);
    cursor = 0;
    assert_null(response_table_next(&t, &cursor));
    response_table_deinit(&t);
    free(f);
}

static void senders_and_the_client_itself_have_credits_of_their_own(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future sender[3] = {0}, *own = calloc(RESPONSE_TABLE_OWN_RESERVE + 1, sizeof(*own));
    assert_non_null(own);
    assert_int_equal(response_table_init(&t, 2), 0);
    for (unsigned i = 0; i <= RESPONSE_TABLE_OWN_RESERVE; i++) {
        own[i].own = true;
        own[i].channel = &one;
        assert_int_equal(response_table_add(&t, &own[i]), i < RESPONSE_TABLE_OWN_RESERVE ? 0 : -EAGAIN);
    }
    assert_int_equal(response_table_async_in_use(&t), 0);
    assert_int_equal(t.counters.refused_full, 0);
    add(&t, &sender[0]);
    add(&t, &sender[1]);
    assert_int_equal(response_table_add(&t, &sender[2]), -EAGAIN);
    assert_int_equal(t.counters.refused_full, 1);
    assert_int_equal(response_table_async_in_use(&t), 2);
    assert_int_equal(t.count, RESPONSE_TABLE_OWN_RESERVE + 2);

    assert_false(response_table_may_retry(&t));
    response_table_remove(&t, &own[0]);
    assert_true(response_table_may_retry(&t)); /* for the client's own that was refused */
    t.own_wanted = false;
    assert_false(response_table_may_retry(&t));
    assert_ptr_equal(response_table_take(&t, sender[0].opaque, &one), &sender[0]);
    assert_true(response_table_may_retry(&t));
    assert_int_equal(response_table_async_in_use(&t), 1);
    response_table_deinit(&t);
    free(own);
}

static void found(void *ctx, struct response_future *future)
{
    response_table_remove(ctx, future);
}

static void the_scan_finds_only_what_is_a_second_overdue(void **state)
{
    (void)state;
    struct response_table t;
    struct response_future f[3];
    memset(f, 0, sizeof(f));
    uint64_t now = 100 * NS_PER_S;
    response_table_init(&t, 100);
    for (unsigned i = 0; i < 3; i++) {
        add(&t, &f[i]);
        f[i].deadline.at_ns = now - i * NS_PER_S; /* due now, a second ago, two seconds ago */
    }
    assert_int_equal(response_table_scan(&t, now, found, &t), 2);
    assert_int_equal(t.count, 1);
    assert_int_equal(response_table_scan(&t, now, found, &t), 0);
    assert_int_equal(t.counters.scans, 2);
    assert_int_equal(t.counters.scan_found, 2);
    response_table_deinit(&t);
}

static void random_traffic_never_confuses_two_requests(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct response_table t;
    struct response_future *f = calloc(N, sizeof(*f));
    bool *in = calloc(N, sizeof(*in));
    assert_non_null(f);
    assert_non_null(in);
    response_table_init(&t, 2500);
    t.next_opaque = UINT32_MAX - 50000;
    srand(5);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned i = (unsigned)rand() % N;
        if (in[i]) {
            assert_ptr_equal(response_table_take(&t, f[i].opaque, &one), &f[i]);
            in[i] = false;
        } else {
            f[i].channel = &one;
            in[i] = response_table_add(&t, &f[i]) == 0;
            assert_true(in[i] || t.count == 2500);
        }
    }
    response_table_deinit(&t);
    free(in);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_finds_its_request_once),
        cmocka_unit_test(the_generation_keeps_late_replies_from_new_requests),
        cmocka_unit_test(opaques_wrap_like_javas_int),
        cmocka_unit_test(an_opaque_in_use_is_never_drawn),
        cmocka_unit_test(it_grows_with_its_futures_and_stops_at_its_limit),
        cmocka_unit_test(senders_and_the_client_itself_have_credits_of_their_own),
        cmocka_unit_test(the_scan_finds_only_what_is_a_second_overdue),
        cmocka_unit_test(random_traffic_never_confuses_two_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
