/*
 * Row 15: PullMessageService.run. One queue per instance; what one pull does ends
 * nothing; what waits enters the queue in its time; a stop lets requests go at once
 * and waits a second for tasks. The consumer is played here: those of the hub come
 * with their own issue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/instance/pull_message_service.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "tests/unit/hub/net_fixture.h"

#define REQUESTS 200

static struct net_fixture fx;
static struct pull_message_service service;
static struct pull_request requests[REQUESTS];
static char lines[4096];

/* What the consumer does with each pull. */
static struct player {
    unsigned order[4 * REQUESTS], count; /* numbers of the requests, in the order of their pulls */
    int answer;
    bool again;        /* submit at once */
    uint32_t later_ms; /* or later */
} player;

static int play(void *ctx, struct pull_request *request)
{
    (void)ctx;
    assert_int_equal(request->state, PULL_REQUEST_FREE);
    assert_true(player.count < sizeof(player.order) / sizeof(player.order[0]));
    player.order[player.count++] = (unsigned)(request - requests);
    if (player.answer == 0 && player.again)
        assert_int_equal(pull_message_service_execute_pull_request_immediately(&service, request), 0);
    else if (player.answer == 0 && player.later_ms)
        assert_int_equal(pull_message_service_execute_pull_request_later(&service, request, player.later_ms), 0);
    return player.answer;
}

static const struct pull_consumer consumer = {play, NULL};

static const struct pull_consumer *select_consumer(void *ctx, struct span group)
{
    (void)ctx;
    return span_equals(group, SPAN_LITERAL("G")) ? &consumer : NULL;
}

static const struct pull_message_service_ops ops = {select_consumer, NULL};

static void on_log(enum log_level level, const char *who, const char *message)
{
    size_t used = strlen(lines);
    (void)level;
    snprintf(lines + used, sizeof(lines) - used, "%s: %s\n", who, message);
}

static int setup(void **state)
{
    (void)state;
    net_setup(&fx);
    memset(&service, 0, sizeof(service));
    memset(requests, 0, sizeof(requests));
    player = (struct player){0};
    lines[0] = '\0';
    log_set_tap(on_log);
    for (unsigned i = 0; i < REQUESTS; i++)
        requests[i].consumer_group = SPAN_LITERAL("G");
    return pull_message_service_start(&service, fx.loop, "me@here", &ops);
}

static int teardown(void **state)
{
    (void)state;
    pull_message_service_deinit(&service);
    log_set_tap(NULL);
    net_teardown(&fx);
    return 0;
}

static int submit(unsigned i)
{
    return pull_message_service_execute_pull_request_immediately(&service, &requests[i]);
}

static void requests_are_pulled_in_their_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(submit(4 - i), 0);
    assert_int_equal(player.count, 0); /* never inside the submission */
    assert_int_equal(service.queued_count, 5);
    net_pump(&fx);
    assert_int_equal(player.count, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(player.order[i], 4 - i);
    assert_int_equal(service.queued_count, 0);
    assert_int_equal(service.queued_high, 5);
    assert_int_equal(service.counters.executed, 5);
}

static void a_request_is_in_the_queue_once(void **state)
{
    (void)state;
    assert_int_equal(submit(0), 0);
    assert_int_equal(submit(0), -EALREADY);
    assert_int_equal(pull_message_service_execute_pull_request_later(&service, &requests[0], 10), -EALREADY);
    net_pump(&fx);
    assert_int_equal(player.count, 1);
}

static void a_delayed_one_enters_the_queue_in_its_time(void **state)
{
    (void)state;
    assert_int_equal(pull_message_service_execute_pull_request_later(&service, &requests[0], 3000), 0);
    assert_int_equal(pull_message_service_execute_pull_request_later(&service, &requests[1], 50), 0);
    assert_int_equal(service.delayed_count, 2);
    net_advance(&fx, 45);
    assert_int_equal(player.count, 0);
    net_advance(&fx, 25);
    assert_int_equal(player.count, 1);
    assert_int_equal(player.order[0], 1);
    assert_int_equal(submit(0), 0); /* one that waits may be wanted at once */
    net_pump(&fx);
    assert_int_equal(player.count, 2);
    net_advance(&fx, 4000);
    assert_int_equal(player.count, 2);
    assert_int_equal(service.delayed_count, 0);
}

static void an_error_ends_nothing(void **state)
{
    (void)state;
    player.answer = -EIO;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(i), 0);
    net_pump(&fx);
    assert_int_equal(player.count, 3); /* the next one has its turn all the same */
    assert_int_equal(service.counters.errors, 3);
    assert_int_equal(service.delayed_count, 3);
    player.answer = 0;
    net_advance(&fx, PULL_TIME_DELAY_WHEN_ERROR_MS + 20);
    assert_int_equal(player.count, 6);
    assert_int_equal(service.delayed_count, 0);
}

static void an_unknown_group_is_dropped_with_a_warning(void **state)
{
    (void)state;
    requests[0].consumer_group = SPAN_LITERAL("nobody");
    assert_int_equal(submit(0), 0);
    assert_int_equal(submit(1), 0);
    net_pump(&fx);
    assert_int_equal(player.count, 1);
    assert_int_equal(service.counters.dropped, 1);
    assert_int_equal(requests[0].state, PULL_REQUEST_FREE);
    assert_non_null(strstr(lines, "me@here: no consumer of group nobody"));
}

static void one_round_starts_so_many_pulls(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_int_equal(submit(i), 0);
    assert_int_equal(event_loop_round(fx.loop, false), 0);
    assert_int_equal(player.count, PULL_MESSAGE_BUDGET);
    assert_int_equal(event_loop_round(fx.loop, false), 0);
    assert_int_equal(player.count, 2 * PULL_MESSAGE_BUDGET);
    net_pump(&fx);
    assert_int_equal(player.count, REQUESTS);
    assert_int_equal(service.counters.full_rounds, 3);
    assert_int_equal(service.counters.rounds, 4);
}

/* One queue with messages at hand all the time must not keep the loop. */
static void what_is_submitted_again_has_its_turn_in_the_next_round(void **state)
{
    (void)state;
    player.again = true;
    assert_int_equal(submit(0), 0);
    for (unsigned i = 1; i <= 10; i++) {
        assert_int_equal(event_loop_round(fx.loop, false), 0);
        assert_int_equal(player.count, i);
    }
    player.again = false;
    net_pump(&fx);
}

static void a_request_can_be_taken_back(void **state)
{
    (void)state;
    assert_int_equal(submit(0), 0);
    assert_int_equal(pull_message_service_execute_pull_request_later(&service, &requests[1], 10), 0);
    for (unsigned i = 0; i < 3; i++)
        pull_message_service_cancel_pull_request(&service, &requests[i]);
    net_advance(&fx, 100);
    assert_int_equal(player.count, 0);
    assert_int_equal(service.queued_count + service.delayed_count, 0);
}

/* ---- tasks, and the end ---- */

static void count_run(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void tasks_run_once_in_their_time(void **state)
{
    (void)state;
    unsigned ran[3] = {0};
    struct pull_task tasks[3];
    memset(tasks, 0, sizeof(tasks));
    for (unsigned i = 0; i < 3; i++) {
        tasks[i].run = count_run;
        tasks[i].ctx = &ran[i];
        assert_int_equal(pull_message_service_execute_task_later(&service, &tasks[i], 100), 0);
    }
    assert_int_equal(pull_message_service_execute_task_later(&service, &tasks[1], 10000), 0); /* moved */
    pull_message_service_cancel_task(&service, &tasks[2]);
    pull_message_service_cancel_task(&service, &tasks[2]);
    assert_int_equal(service.task_count, 2);
    net_advance(&fx, 5000);
    assert_int_equal(ran[0], 1);
    assert_int_equal(ran[1], 0);
    net_advance(&fx, 6000);
    assert_int_equal(ran[1], 1);
    assert_int_equal(ran[2], 0);
    assert_int_equal(service.counters.tasks, 2);
}

static void a_stop_lets_requests_go_and_waits_a_second_for_tasks(void **state)
{
    (void)state;
    unsigned ran[2] = {0};
    struct pull_task tasks[2];
    memset(tasks, 0, sizeof(tasks));
    for (unsigned i = 0; i < 2; i++) {
        tasks[i].run = count_run;
        tasks[i].ctx = &ran[i];
        assert_int_equal(pull_message_service_execute_task_later(&service, &tasks[i], i ? 5000 : 500), 0);
    }
    assert_int_equal(submit(0), 0);
    assert_int_equal(pull_message_service_execute_pull_request_later(&service, &requests[1], 10), 0);
    pull_message_service_shutdown(&service);
    assert_false(pull_message_service_is_stopped(&service));
    assert_int_equal(submit(2), -ESHUTDOWN);
    assert_int_equal(pull_message_service_execute_task_later(&service, &tasks[1], 1), -ESHUTDOWN);
    net_advance(&fx, 990);
    assert_int_equal(ran[0], 1);
    assert_false(pull_message_service_is_stopped(&service));
    net_advance(&fx, 20);
    assert_true(pull_message_service_is_stopped(&service));
    net_advance(&fx, 6000);
    assert_int_equal(ran[1], 0);
    assert_int_equal(player.count, 0);
    assert_int_equal(service.counters.cancelled, 3);
    assert_int_equal(service.counters.refused, 2);
}

static void start_and_end_are_logged_and_may_be_repeated(void **state)
{
    (void)state;
    assert_non_null(strstr(lines, "me@here: pull message service started"));
    assert_null(strstr(lines, "ended"));
    pull_message_service_shutdown(&service); /* nothing to wait for */
    assert_true(pull_message_service_is_stopped(&service));
    assert_non_null(strstr(lines, "me@here: pull message service ended"));
    pull_message_service_shutdown(&service);
    assert_int_equal(pull_message_service_start(&service, fx.loop, "me@here", &ops), 0);
    assert_int_equal(pull_message_service_start(&service, fx.loop, "me@here", &ops), 0);
    assert_int_equal(submit(0), 0);
    net_pump(&fx);
    assert_int_equal(player.count, 1);
    pull_message_service_deinit(&service);
    pull_message_service_deinit(&service);
    assert_int_equal(submit(0), -ESHUTDOWN);
}

static void it_runs_in_every_instance_until_its_end(void **state)
{
    (void)state;
    struct mq_client_instance *in = net_instance(&fx);
    assert_int_equal(in->pull_message_service.state, PULL_SERVICE_RUNNING);
    struct pull_request request = {.consumer_group = SPAN_LITERAL("G")};
    assert_int_equal(pull_message_service_execute_pull_request_immediately(&in->pull_message_service, &request), 0);
    net_pump(&fx);
    assert_int_equal(in->pull_message_service.counters.dropped, 1); /* no consumers yet */
    mq_client_instance_shutdown(in);
    assert_true(pull_message_service_is_stopped(&in->pull_message_service));
    assert_ptr_equal(net_instance(&fx), in); /* somebody came in time */
    assert_int_equal(in->pull_message_service.state, PULL_SERVICE_RUNNING);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(requests_are_pulled_in_their_order),
        T(a_request_is_in_the_queue_once),
        T(a_delayed_one_enters_the_queue_in_its_time),
        T(an_error_ends_nothing),
        T(an_unknown_group_is_dropped_with_a_warning),
        T(one_round_starts_so_many_pulls),
        T(what_is_submitted_again_has_its_turn_in_the_next_round),
        T(a_request_can_be_taken_back),
        T(tasks_run_once_in_their_time),
        T(a_stop_lets_requests_go_and_waits_a_second_for_tasks),
        T(start_and_end_are_logged_and_may_be_repeated),
        T(it_runs_in_every_instance_until_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
