#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hub/metrics/events.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define CAPACITY 32u

static int64_t now_ms;

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return (uint64_t)now_ms * NS_PER_MS;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static void silent(void *ctx, enum log_level level, const char *line)
{
    (void)level;
    (void)line;
    ++*(unsigned *)ctx;
}

static const struct table_event *event_at(uint64_t seq)
{
    const struct table_event_ring *ring = events_lock();
    const struct table_event *e = &ring->rows[seq % CAPACITY];
    events_unlock();
    return e;
}

static uint64_t next_seq(void)
{
    uint64_t next = events_lock()->next_seq;
    events_unlock();
    return next;
}

static void test_log_lines_become_events(void **state)
{
    (void)state;
    static const struct clock_source source = {fake_monotonic, fake_realtime, NULL};
    unsigned printed = 0;
    clock_set_source(&source);
    log_set_sink(silent, &printed);
    log_configure(LOG_LEVEL_ERROR, false);
    assert_int_equal(events_init(CAPACITY), 0);
    now_ms = 1000;
    LOG_INFO("broker-a", "connected from %s", "10.0.0.1:1");
    LOG_DEBUG("broker-a", "not an event");
    assert_int_equal(next_seq(), 1);
    assert_int_equal(printed, 0); /* below the threshold of stderr, yet an event */
    for (unsigned i = 0; i < 5; i++) {
        now_ms += 1000;
        LOG_ERROR("broker-b", "refused");
        LOG_INFO("hub", "tick %u", i);
    }
    assert_int_equal(next_seq(), 7);
    assert_int_equal(printed, 5);
    const struct table_event *e = event_at(1);
    assert_string_equal(e->who, "broker-b");
    assert_string_equal(e->text, "refused");
    assert_int_equal(e->level, LOG_LEVEL_ERROR);
    assert_int_equal(e->count, 5);
    assert_int_equal(e->first_wall_ms, 2000);
    assert_int_equal(e->last_wall_ms, 6000);
    for (unsigned i = 0; i < 100; i++) {
        now_ms += 1000;
        LOG_WARN("hub", "line %u", i);
    }
    assert_int_equal(next_seq(), 107);
    assert_int_equal(event_at(106)->seq, 106);
    assert_int_equal(event_at(75)->seq, 75);
    events_deinit();
    LOG_ERROR("hub", "after the end");
    log_set_sink(NULL, NULL);
    log_configure(LOG_LEVEL_INFO, false);
    clock_set_source(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log_lines_become_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
