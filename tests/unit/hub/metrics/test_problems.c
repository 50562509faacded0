#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hub/metrics/problems.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

static uint64_t now_ns;
static unsigned lines;

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return 1;
}

static void count_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
    lines++;
}

static int set_up(void **state)
{
    (void)state;
    static const struct clock_source source = {fake_monotonic, fake_realtime, NULL};
    clock_set_source(&source);
    log_set_sink(count_line, NULL);
    now_ns = 1000 * NS_PER_S;
    lines = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    problems_deinit();
    log_set_sink(NULL, NULL);
    clock_set_source(NULL);
    return 0;
}

static void count_problem(void *ctx, const struct problem *problem)
{
    (void)problem;
    ++*(unsigned *)ctx;
}

static unsigned count_problems(void)
{
    unsigned n = 0;
    problems_for_each(count_problem, &n);
    return n;
}

static void test_raise_and_clear(void **state)
{
    (void)state;
    struct problem p;
    problem_raise("heartbeat-late", "broker-a", TABLE_SEVERITY_WARN, "last answer %d s ago", 61);
    now_ns += NS_PER_S;
    problem_raise("heartbeat-late", "broker-a", TABLE_SEVERITY_CRIT, "last answer %d s ago", 121);
    problem_raise("heartbeat-late", "broker-b", TABLE_SEVERITY_WARN, "last answer 61 s ago");
    assert_int_equal(count_problems(), 2);
    assert_int_equal(lines, 2); /* the condition is told once, not with every change of its text */
    assert_true(problem_find("heartbeat-late", "broker-a", &p));
    assert_string_equal(p.text, "last answer 121 s ago");
    assert_int_equal(p.severity, TABLE_SEVERITY_CRIT);
    assert_int_equal(p.since_ns, 1000 * NS_PER_S);
    problem_clear("heartbeat-late", "broker-a");
    problem_clear("heartbeat-late", "broker-a");
    problem_clear("other", "broker-b");
    assert_false(problem_find("heartbeat-late", "broker-a", &p));
    assert_true(problem_find("heartbeat-late", "broker-b", &p));
    assert_int_equal(lines, 3);
    problem_raise("other", "broker-b", TABLE_SEVERITY_WARN, "x");
    problem_raise("other", "broker-c", TABLE_SEVERITY_WARN, "x");
    problem_clear_object("broker-b");
    assert_int_equal(count_problems(), 1);
    problem_raise("other", "broker-d", TABLE_SEVERITY_WARN, "x");
    problem_clear("other", NULL);
    assert_int_equal(count_problems(), 0);
}

static void test_bounded(void **state)
{
    (void)state;
    char name[32];
    unsigned n = 0;
    for (unsigned i = 0; i < PROBLEMS_MAX + 3; i++) {
        snprintf(name, sizeof(name), "object-%u", i);
        problem_raise("rule", name, TABLE_SEVERITY_WARN, "x");
    }
    assert_int_equal(problems_for_each(count_problem, &n), 3);
    assert_int_equal(n, PROBLEMS_MAX);
    problem_clear("rule", "object-0");
    problem_raise("rule", "new", TABLE_SEVERITY_WARN, "x");
    assert_int_equal(count_problems(), PROBLEMS_MAX);
}

static void test_long_names_are_cut_the_same_way(void **state)
{
    (void)state;
    char name[1024], text[1024];
    memset(name, 'n', sizeof(name) - 1);
    memset(text, 't', sizeof(text) - 1);
    name[sizeof(name) - 1] = text[sizeof(text) - 1] = '\0';
    problem_raise("rule", name, TABLE_SEVERITY_WARN, "%s", text);
    problem_raise("rule", name, TABLE_SEVERITY_WARN, "%s", text);
    assert_int_equal(count_problems(), 1);
    problem_clear("rule", name);
    assert_int_equal(count_problems(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raise_and_clear, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_names_are_cut_the_same_way, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
