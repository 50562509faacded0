
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hub/loop/deadline_wheel.h"
#include "hub/loop/event_loop.h"
#include "shm/base/clock.h"

static uint64_t now_ns;
static struct event_loop *loop;
static char trace[256];
static unsigned traced;

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return (int64_t)(now_ns / NS_PER_MS);
}

static const struct clock_source fake = {fake_monotonic, fake_realtime, NULL};

static int setup(void **state)
{
    (void)state;
    now_ns = 1000 * NS_PER_S;
    traced = 0;
    clock_set_source(&fake);
    return event_loop_new(&loop);
}

static int teardown(void **state)
{
    (void)state;
    event_loop_free(loop);
    clock_set_source(NULL);
    return 0;
}

static void mark(void *ctx)
{
    trace[traced++] = *(const char *)ctx;
    trace[traced] = '\0';
}

static void round_at(uint64_t ns)
{
    now_ns = ns;
    assert_int_equal(event_loop_round(loop, false), 0);
}

static void timers_fire_in_the_order_of_their_times(void **state)
{
    (void)state;
    struct loop_timer t[4];
    char names[] = "abcd";
    uint64_t start = now_ns, order[] = {30, 10, 20, 40};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(loop_timer_init(&t[i], loop, mark, &names[i]), 0);
        loop_timer_schedule(&t[i], start + order[i]);
    }
    loop_timer_schedule(&t[3], start + 5); /* moved to the front */
    loop_timer_cancel(&t[2]);
    assert_false(loop_timer_is_scheduled(&t[2]));
    round_at(start + 4);
    assert_int_equal(traced, 0);
    round_at(start + 100);
    assert_string_equal(trace, "dba");
    for (unsigned i = 0; i < 4; i++) {
        loop_timer_deinit(&t[i]);
        loop_timer_deinit(&t[i]); /* twice is harmless */
    }
}

static void a_thousand_timers_keep_the_heap_in_order(void **state)
{
    (void)state;
    struct loop_timer *t = calloc(1000, sizeof(*t));
    char dot = '.';
    srand(3);
    for (unsigned i = 0; i < 1000; i++) {
        loop_timer_init(&t[i], loop, mark, &dot);
        loop_timer_schedule(&t[i], now_ns + (unsigned)rand() % 1000);
    }
    for (unsigned i = 0; i < 1000; i += 3)
        loop_timer_cancel(&t[i]);
    for (unsigned i = 1; i < 1000; i += 3)
        loop_timer_schedule(&t[i], now_ns + 1000 + (unsigned)rand() % 1000);
    unsigned fired = 0;
    for (uint64_t at = now_ns, end = now_ns + 2000; at <= end; at++) {
        traced = 0;
        round_at(at);
        fired += traced;
        for (unsigned i = 0; i < 1000; i++)
            assert_true(!loop_timer_is_scheduled(&t[i]) || t[i].at_ns > at);
    }
    assert_int_equal(fired, 666);
    for (unsigned i = 0; i < 1000; i++)
        loop_timer_deinit(&t[i]);
    free(t);
}

static struct loop_timer again;

static void reschedule_for_the_past(void *ctx)
{
    mark(ctx);
    loop_timer_schedule(&again, now_ns - 1);
}

static void a_timer_cannot_hold_a_round(void **state)
{
    (void)state;
    char name = 'r';
    loop_timer_init(&again, loop, reschedule_for_the_past, &name);
    loop_timer_schedule(&again, now_ns);
    round_at(now_ns);
    assert_int_equal(traced, 1);
    round_at(now_ns);
    assert_int_equal(traced, 2);
    loop_timer_deinit(&again);
}

static void time_stands_still_within_a_round(void **state)
{
    (void)state;
    round_at(now_ns);
    uint64_t before = event_loop_now_ns(loop);
    now_ns += 5 * NS_PER_MS;
    assert_int_equal(event_loop_now_ns(loop), before);
    round_at(now_ns);
    assert_int_equal(event_loop_now_ns(loop), before + 5 * NS_PER_MS);
    assert_int_equal(event_loop_now_ms(loop), (int64_t)(now_ns / NS_PER_MS));
}

static bool hot;
static char lanes = 'L', flush = 'F', sleepy = 'S', posted = 'P', timed = 'T', ready = 'R';

static bool hook(void *ctx)
{
    mark(ctx);
    return hot && ctx == &lanes;
}

static void on_ready(void *ctx, unsigned events)
{
    assert_true(events & LOOP_READ);
    mark(ctx);
}

static void a_round_keeps_its_written_order(void **state)
{
    (void)state;
    struct loop_timer t;
    struct loop_io io;
    int fd = eventfd(1, EFD_NONBLOCK);
    assert_int_equal(loop_io_init(&io, loop, fd, LOOP_READ | LOOP_EDGE, on_ready, &ready), 0);
    assert_int_equal(loop_io_start(&io), 0);
    loop_timer_init(&t, loop, mark, &timed);
    loop_timer_schedule(&t, now_ns);
    event_loop_post(loop, mark, &posted);
    event_loop_add_hook(loop, LOOP_PHASE_BEFORE_SLEEP, hook, &sleepy);
    event_loop_add_hook(loop, LOOP_PHASE_FLUSH, hook, &flush);
    event_loop_add_hook(loop, LOOP_PHASE_LANES, hook, &lanes);
    round_at(now_ns);
    assert_string_equal(trace, "RTPLFS");
    traced = 0;
    hot = true;
    round_at(now_ns); /* the doorbell was never read, and rings no second time */
    assert_string_equal(trace, "LF");
    hot = false;
    traced = 0;
    event_loop_remove_hook(loop, LOOP_PHASE_FLUSH, hook, &flush);
    round_at(now_ns);
    assert_string_equal(trace, "LS");
    for (unsigned i = 0; i < 8; i++)
        event_loop_add_hook(loop, LOOP_PHASE_FLUSH, hook, &flush);
    assert_int_equal(event_loop_add_hook(loop, LOOP_PHASE_FLUSH, hook, &flush), -ENOSPC);
    loop_io_deinit(&io);
    loop_io_deinit(&io);
    loop_timer_deinit(&t);
    close(fd);
}

static void interest_can_change_while_started(void **state)
{
    (void)state;
    struct loop_io io;
    int fd = eventfd(1, EFD_NONBLOCK);
    loop_io_init(&io, loop, fd, LOOP_READ, on_ready, &ready);
    loop_io_start(&io);
    round_at(now_ns);
    round_at(now_ns);
    assert_string_equal(trace, "RR"); /* level-triggered */
    assert_int_equal(loop_io_set(&io, LOOP_READ | LOOP_EDGE), 0);
    round_at(now_ns);
    round_at(now_ns);
    assert_string_equal(trace, "RRR");
    loop_io_stop(&io);
    uint64_t one = 1;
    assert_int_equal(write(fd, &one, 8), 8);
    round_at(now_ns);
    assert_int_equal(traced, 3);
    loop_io_deinit(&io);
    close(fd);
}

static void *post_from_thread(void *ctx)
{
    for (unsigned i = 0; i < 20; i++)
        event_loop_post(loop, mark, ctx);
    return NULL;
}

static void other_threads_wake_a_sleeping_loop(void **state)
{
    (void)state;
    pthread_t thread;
    char name = 'x';
    clock_set_source(NULL);
    pthread_create(&thread, NULL, post_from_thread, &name);
    while (traced < 20)
        event_loop_round(loop, true);
    pthread_join(thread, NULL);
    assert_int_equal(event_loop_counters(loop)->posted, 20);
    event_loop_wake(loop);
    event_loop_round(loop, true);
}

static void a_sleep_ends_with_the_next_timer(void **state)
{
    (void)state;
    struct loop_timer t;
    clock_set_source(NULL);
    loop_timer_init(&t, loop, mark, &timed);
    uint64_t start = mono_now_ns();
    loop_timer_schedule(&t, start + 20 * NS_PER_MS);
    while (traced == 0)
        event_loop_round(loop, true);
    assert_true(mono_now_ns() - start >= 20 * NS_PER_MS);
    assert_true(event_loop_counters(loop)->sleeps >= 1);
    assert_true(event_loop_counters(loop)->worst_round_ns >= event_loop_counters(loop)->last_round_ns);
    event_loop_forget_worst(loop);
    assert_int_equal(event_loop_counters(loop)->worst_round_ns, 0);
    loop_timer_deinit(&t);
}

/* ---- the wheel ---- */

#define TICK (UINT64_C(1) << DEADLINE_WHEEL_TICK_SHIFT)

struct timed_deadline {
    struct deadline deadline;
    uint64_t fired_ns;
};

static struct deadline_wheel wheel;
static struct deadline *victim;
static unsigned expired;

static void on_expired(void *ctx, struct deadline *deadline)
{
    (void)ctx;
    struct timed_deadline *t = (struct timed_deadline *)deadline;
    assert_false(list_is_linked(&deadline->link));
    assert_true(deadline->at_ns <= now_ns);
    t->fired_ns = now_ns;
    expired++;
    if (victim)
        deadline_disarm(victim);
}

static void deadlines_fire_once_never_early_and_within_a_tick(void **state)
{
    (void)state;
    struct timed_deadline *d = calloc(2000, sizeof(*d));
    uint64_t start = now_ns;
    expired = 0;
    victim = NULL;
    deadline_wheel_init(&wheel, loop, on_expired, NULL);
    srand(11);
    for (unsigned i = 0; i < 2000; i++) /* up to 20 s: more than two turns of the wheel */
        deadline_wheel_arm(&wheel, &d[i].deadline, start + (uint64_t)rand() % (20 * NS_PER_S));
    for (unsigned i = 0; i < 2000; i += 4)
        deadline_disarm(&d[i].deadline);
    for (uint64_t at = start; at < start + 21 * NS_PER_S; at += NS_PER_MS)
        round_at(at);
    assert_int_equal(expired, 1500);
    for (unsigned i = 0; i < 2000; i++)
        if (i % 4)
            assert_true(d[i].fired_ns - d[i].deadline.at_ns <= TICK + NS_PER_MS);
    assert_false(loop_timer_is_scheduled(&wheel.timer)); /* an empty wheel wakes nobody */
    deadline_wheel_deinit(&wheel);
    free(d);
}

static void a_far_deadline_costs_few_wake_ups(void **state)
{
    (void)state;
    struct timed_deadline d = {0};
    expired = 0;
    deadline_wheel_init(&wheel, loop, on_expired, NULL);
    deadline_wheel_arm(&wheel, &d.deadline, now_ns + 3 * NS_PER_S);
    uint64_t before = event_loop_counters(loop)->timers_fired;
    for (unsigned i = 0; i < 3100; i++)
        round_at(now_ns + NS_PER_MS);
    assert_int_equal(expired, 1);
    assert_int_equal(event_loop_counters(loop)->timers_fired - before, 1);
    deadline_wheel_deinit(&wheel);
}

static void a_callback_may_disarm_what_is_due_as_well(void **state)
{
    (void)state;
    struct timed_deadline a = {0}, b = {0}, late = {0};
    expired = 0;
    deadline_wheel_init(&wheel, loop, on_expired, NULL);
    deadline_wheel_arm(&wheel, &a.deadline, now_ns + 1);
    deadline_wheel_arm(&wheel, &b.deadline, now_ns + 1);
    victim = &b.deadline;
    round_at(now_ns + 3 * TICK);
    assert_int_equal(expired, 1);
    victim = NULL;
    deadline_wheel_arm(&wheel, &a.deadline, now_ns + NS_PER_S);
    deadline_wheel_arm(&wheel, &late.deadline, now_ns - NS_PER_S); /* in the past: next tick */
    round_at(now_ns + 2 * TICK);
    assert_int_equal(expired, 2);
    round_at(now_ns + 600 * NS_PER_S); /* a long stall of the loop */
    assert_int_equal(expired, 3);
    deadline_wheel_deinit(&wheel);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(timers_fire_in_the_order_of_their_times),
        T(a_thousand_timers_keep_the_heap_in_order),
        T(a_timer_cannot_hold_a_round),
        T(time_stands_still_within_a_round),
        T(a_round_keeps_its_written_order),
        T(interest_can_change_while_started),
        T(other_threads_wake_a_sleeping_loop),
        T(a_sleep_ends_with_the_next_timer),
        T(deadlines_fire_once_never_early_and_within_a_tick),
        T(a_far_deadline_costs_few_wake_ups),
        T(a_callback_may_disarm_what_is_due_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
