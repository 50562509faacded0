/*
 * Scheduled tasks on a clock that only the test moves: fixed rate, missed runs that
 * become one, errors that end nothing, and what an operator sees of all that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include "hub/schedule/scheduled_tasks.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define RUNS_MAX 64

static uint64_t now_ns;
static struct event_loop *loop;
static struct scheduled_tasks tasks;
static struct {
    uint64_t at_ms[RUNS_MAX]; /* since the start of the test */
    unsigned count;
    int answer;        /* what the next runs return */
    uint64_t takes_ns; /* how long each run takes */
} runs;

#define START_NS (500 * NS_PER_S)

static uint64_t monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t realtime(void *ctx)
{
    (void)ctx;
    return (int64_t)(now_ns / NS_PER_MS);
}

static const struct clock_source source = {monotonic, realtime, NULL};

static int setup(void **state)
{
    (void)state;
    now_ns = START_NS;
    runs.count = 0;
    runs.answer = 0;
    runs.takes_ns = 0;
    clock_set_source(&source);
    log_configure(LOG_LEVEL_ERROR, false);
    assert_int_equal(event_loop_new(&loop), 0);
    scheduled_tasks_init(&tasks, loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scheduled_tasks_deinit(&tasks);
    loop = event_loop_free(loop);
    clock_set_source(NULL);
    return 0;
}

static int run(void *ctx)
{
    (void)ctx;
    assert_true(runs.count < RUNS_MAX);
    runs.at_ms[runs.count++] = (now_ns - START_NS) / NS_PER_MS;
    now_ns += runs.takes_ns;
    return runs.answer;
}

static void advance_to(uint64_t ms)
{
    while (now_ns < START_NS + ms * NS_PER_MS) {
        now_ns += 10 * NS_PER_MS;
        assert_int_equal(event_loop_round(loop, false), 0);
    }
}

static void ignore(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static const struct scheduled_task *add(uint64_t first_ms, uint64_t period_ms)
{
    assert_int_equal(scheduled_tasks_add(&tasks, "a task", first_ms * NS_PER_MS, period_ms * NS_PER_MS, run, NULL), 0);
    return &tasks.tasks[tasks.count - 1];
}

static void the_rate_is_fixed(void **state)
{
    (void)state;
    const struct scheduled_task *task = add(1000, 30000);
    runs.takes_ns = 500 * NS_PER_MS; /* the end of a run moves nothing */
    advance_to(95000);
    assert_int_equal(runs.count, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(runs.at_ms[i], 1000 + i * 30000, 1000 + i * 30000 + 20);
    assert_int_equal(task->runs, 4);
    assert_int_equal(task->skipped, 0);
    assert_int_equal(task->last_duration_ns, 500 * NS_PER_MS);
    assert_true(task->worst_late_ns <= 20 * NS_PER_MS);
}

/* One that first ran between two seconds goes on upon whole ones, earlier by less than one: an idle hub wakes for all at once. */
static void later_runs_fall_on_whole_seconds(void **state)
{
    (void)state;
    add(10, 30000);
    advance_to(61000);
    assert_int_equal(runs.count, 3);
    assert_in_range(runs.at_ms[0], 10, 20);
    assert_in_range(runs.at_ms[1], 30000, 30010);
    assert_in_range(runs.at_ms[2], 60000, 60010);
}

static void a_period_of_no_whole_seconds_keeps_its_rate(void **state)
{
    (void)state;
    const struct scheduled_task *task = add(1000, 1500);
    advance_to(30000);
    assert_int_equal(runs.count, 20);
    for (unsigned i = 0; i < runs.count; i++)
        assert_in_range(runs.at_ms[i], 1000 + i * 1500, 1000 + i * 1500 + 20);
    assert_int_equal(task->skipped, 0);
}

static void missed_runs_become_one(void **state)
{
    (void)state;
    const struct scheduled_task *task = add(1000, 10000);
    advance_to(2000);
    now_ns = START_NS + 45500 * NS_PER_MS; /* 11 s, 21 s, 31 s, 41 s have passed */
    advance_to(46000);
    assert_int_equal(runs.count, 2);
    assert_int_equal(task->skipped, 3);
    assert_true(task->last_late_ns >= 34 * NS_PER_S);
    advance_to(52000); /* and the plan goes on */
    assert_int_equal(runs.count, 3);
    assert_in_range(runs.at_ms[2], 51000, 51010);
    assert_true(task->last_late_ns <= 10 * NS_PER_MS);
    assert_true(task->worst_late_ns >= 34 * NS_PER_S);
}

static void an_error_ends_nothing(void **state)
{
    (void)state;
    const struct scheduled_task *task = add(1000, 1000);
    log_set_sink(ignore, NULL);
    runs.answer = -EIO;
    advance_to(3500);
    runs.answer = 0;
    advance_to(5500);
    log_set_sink(NULL, NULL);
    assert_int_equal(task->runs, 5);
    assert_int_equal(task->errors, 3);
    assert_int_equal(task->last_error, -EIO);
}

static void the_table_of_tasks_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SCHEDULED_TASKS_MAX; i++)
        add(1000, 1000);
    assert_int_equal(scheduled_tasks_add(&tasks, "more", 1, 1, run, NULL), -ENOSPC);
    scheduled_tasks_deinit(&tasks);
    advance_to(5000);
    assert_int_equal(runs.count, 0);
    scheduled_tasks_deinit(&tasks);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_rate_is_fixed),
        T(later_runs_fall_on_whole_seconds),
        T(a_period_of_no_whole_seconds_keeps_its_rate),
        T(missed_runs_become_one),
        T(an_error_ends_nothing),
        T(the_table_of_tasks_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
