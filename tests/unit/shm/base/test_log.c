/* What reaches stderr: escaped, limited, and not twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"

static uint64_t now_ns;
static unsigned lines, taps;
static char last[2048];

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return 0;
}

static void sink(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    lines++;
    snprintf(last, sizeof(last), "%s", line);
}

static void tap(enum log_level level, const char *who, const char *message)
{
    (void)level;
    (void)who;
    (void)message;
    taps++;
}

static int setup(void **state)
{
    static const struct clock_source clock = {fake_monotonic, fake_realtime, NULL};
    (void)state;
    clock_set_source(&clock);
    log_set_sink(sink, NULL);
    log_set_tap(tap);
    log_configure(LOG_LEVEL_INFO, false);
    now_ns = 1000 * NS_PER_S;
    lines = taps = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clock_set_source(NULL);
    log_set_sink(NULL, NULL);
    log_set_tap(NULL);
    return 0;
}

static void warn(const char *who, const char *text)
{
    LOG_WARN(who, "%s", text);
}

static void test_foreign_bytes_are_escaped(void **state)
{
    (void)state;
    LOG_INFO("topic \033[31m", "%s", "a\nb\x80");
    assert_string_equal(last, "topic \\x1b[31m: a\\x0ab\\x80");
}

static void test_a_storm_is_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        LOG_INFO("who", "line %d", i);
    assert_int_equal(lines, LOG_BURST);
}

static void test_the_same_warning_is_printed_once_a_minute_with_its_count(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++, now_ns += NS_PER_S)
        warn("ns", "no connection");
    assert_int_equal(lines, 1);
    assert_int_equal(taps, 30); /* the event ring counts each */
    warn("other", "no connection");
    assert_int_equal(lines, 2);
    now_ns += 60 * NS_PER_S;
    warn("ns", "no connection");
    assert_int_equal(lines, 3);
    assert_string_equal(last, "ns: no connection (29 more times before)");
}

static void test_different_warnings_of_one_site_are_all_printed(void **state)
{
    (void)state;
    char text[32];
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "text %d", i);
        warn("ns", text);
    }
    assert_int_equal(lines, 20);
}

static void test_levels_below_the_threshold_reach_the_tap_alone(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_ERROR, false);
    LOG_INFO("who", "info");
    LOG_DEBUG("who", "debug");
    assert_int_equal(lines, 0);
    assert_int_equal(taps, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_foreign_bytes_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_storm_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_warning_is_printed_once_a_minute_with_its_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_different_warnings_of_one_site_are_all_printed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels_below_the_threshold_reach_the_tap_alone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
