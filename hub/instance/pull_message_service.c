/*
 * 4.9.3 has a thread that blocks on a queue and a scheduler that appends to it. Here
 * the queue is served from a timer that is due whenever something is queued, a
 * bounded number of pulls in a round of the loop; requests and tasks that wait stand
 * in a wheel each, because a stop ends the one at once and the other after a while.
 */
#include "hub/instance/pull_message_service.h"

#include <errno.h>
#include <string.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"

const char *pull_service_state_name(enum pull_service_state state)
{
    static const char *const names[] = {"IDLE", "RUNNING", "STOPPING"};
    return names[state];
}

/* ---- the queue ---- */

static void enqueue(struct pull_message_service *s, struct pull_request *request)
{
    request->state = PULL_REQUEST_QUEUED;
    list_append(&s->queue, &request->link);
    if (++s->queued_count > s->queued_high)
        s->queued_high = s->queued_count;
    if (!loop_timer_is_scheduled(&s->round_timer))
        loop_timer_schedule(&s->round_timer, event_loop_now_ns(s->loop));
}

static void release(struct pull_message_service *s, struct pull_request *request)
{
    if (request->state == PULL_REQUEST_QUEUED)
        s->queued_count--;
    else if (request->state == PULL_REQUEST_DELAYED)
        s->delayed_count--;
    deadline_disarm(&request->deadline);
    list_unlink(&request->link);
    request->state = PULL_REQUEST_FREE;
}

static void pull_message(struct pull_message_service *s, struct pull_request *request)
{
    struct span group = request->consumer_group;
    const struct pull_consumer *consumer = s->ops.select_consumer ? s->ops.select_consumer(s->ops.ctx, group) : NULL;
    release(s, request);
    if (!consumer) {
        s->counters.dropped++;
        LOG_WARN(s->who, "no consumer of group %.*s here: a pull request is dropped", (int)group.len, group.data);
        return;
    }
    s->counters.executed++;
    int r = consumer->pull_message(consumer->ctx, request);
    if (r >= 0)
        return;
    s->counters.errors++;
    LOG_WARN(s->who, "a pull could not be started (%s), again in %u ms", strerror(-r), PULL_TIME_DELAY_WHEN_ERROR_MS);
    pull_message_service_execute_pull_request_later(s, request, PULL_TIME_DELAY_WHEN_ERROR_MS);
}

/* PullMessageService.run: whatever one pull does, the next has its turn. What is submitted meanwhile has its turn in the next round. */
static void on_round(void *ctx)
{
    struct pull_message_service *s = ctx;
    uint64_t round = event_loop_counters(s->loop)->rounds + 1;
    uint32_t n = s->queued_count < PULL_MESSAGE_BUDGET ? s->queued_count : PULL_MESSAGE_BUDGET;
    if (round != s->last_loop_round) {
        s->last_loop_round = round;
        s->counters.rounds++;
        s->counters.full_rounds += s->queued_count > PULL_MESSAGE_BUDGET;
        for (struct list_link *it; n > 0 && (it = list_first(&s->queue)) != NULL; n--)
            pull_message(s, LIST_ENTRY(it, struct pull_request, link));
    }
    if (s->queued_count > 0)
        loop_timer_schedule(&s->round_timer, event_loop_now_ns(s->loop));
}

static void on_request_due(void *ctx, struct deadline *deadline)
{
    struct pull_message_service *s = ctx;
    struct pull_request *request = LIST_ENTRY(deadline, struct pull_request, deadline);
    release(s, request);
    enqueue(s, request);
}

/* ---- tasks ---- */

static void remove_task(struct pull_message_service *s, struct pull_task *task)
{
    deadline_disarm(&task->deadline);
    list_unlink(&task->link);
    s->task_count--;
}

static void let_tasks_go(struct pull_message_service *s)
{
    for (struct list_link *it; (it = list_first(&s->tasks)) != NULL;) {
        remove_task(s, LIST_ENTRY(it, struct pull_task, link));
        s->counters.cancelled++;
    }
}

static void finish_stop(struct pull_message_service *s)
{
    let_tasks_go(s);
    loop_timer_cancel(&s->join_timer);
    s->state = PULL_SERVICE_IDLE;
    LOG_INFO(s->who, "pull message service ended");
}

static void on_task_due(void *ctx, struct deadline *deadline)
{
    struct pull_message_service *s = ctx;
    struct pull_task *task = LIST_ENTRY(deadline, struct pull_task, deadline);
    remove_task(s, task);
    s->counters.tasks++;
    task->run(task->ctx);
    if (s->state == PULL_SERVICE_STOPPING && s->task_count == 0)
        finish_stop(s);
}

static void on_join_time(void *ctx)
{
    finish_stop(ctx);
}

/* ---- life ---- */

static int prepare(struct pull_message_service *s, struct event_loop *loop)
{
    s->loop = loop;
    list_init(&s->queue);
    list_init(&s->delayed);
    list_init(&s->tasks);
    int r = deadline_wheel_init(&s->requests_wheel, loop, on_request_due, s);
    if (r == 0)
        r = deadline_wheel_init(&s->tasks_wheel, loop, on_task_due, s);
    if (r == 0)
        r = loop_timer_init(&s->round_timer, loop, on_round, s);
    if (r == 0)
        r = loop_timer_init(&s->join_timer, loop, on_join_time, s);
    if (r < 0)
        pull_message_service_deinit(s);
    return r;
}

int pull_message_service_start(struct pull_message_service *s, struct event_loop *loop, const char *who,
                               const struct pull_message_service_ops *ops)
{
    if (s->state == PULL_SERVICE_RUNNING)
        return 0;
    int r = s->loop ? 0 : prepare(s, loop);
    if (r < 0)
        return r;
    loop_timer_cancel(&s->join_timer);
    s->who = who;
    s->ops = ops ? *ops : (struct pull_message_service_ops){0};
    s->state = PULL_SERVICE_RUNNING;
    LOG_INFO(who, "pull message service started");
    return 0;
}

static void let_requests_go(struct pull_message_service *s, struct list_link *list)
{
    for (struct list_link *it; (it = list_first(list)) != NULL;) {
        release(s, LIST_ENTRY(it, struct pull_request, link));
        s->counters.cancelled++;
    }
}

void pull_message_service_shutdown(struct pull_message_service *s)
{
    if (s->state != PULL_SERVICE_RUNNING)
        return;
    s->state = PULL_SERVICE_STOPPING;
    loop_timer_cancel(&s->round_timer);
    let_requests_go(s, &s->queue);
    let_requests_go(s, &s->delayed);
    if (s->task_count == 0)
        finish_stop(s);
    else
        loop_timer_schedule(&s->join_timer, event_loop_now_ns(s->loop) + PULL_MESSAGE_JOIN_MS * NS_PER_MS);
}

bool pull_message_service_is_stopped(const struct pull_message_service *s)
{
    return s->state == PULL_SERVICE_IDLE;
}

void pull_message_service_deinit(struct pull_message_service *s)
{
    if (!s->loop)
        return;
    let_requests_go(s, &s->queue);
    let_requests_go(s, &s->delayed);
    if (s->state != PULL_SERVICE_IDLE)
        finish_stop(s);
    deadline_wheel_deinit(&s->requests_wheel);
    deadline_wheel_deinit(&s->tasks_wheel);
    loop_timer_deinit(&s->round_timer);
    loop_timer_deinit(&s->join_timer);
    s->loop = NULL;
}

/* ---- submissions ---- */

static bool refuses(struct pull_message_service *s)
{
    bool refused = s->state != PULL_SERVICE_RUNNING;
    s->counters.refused += refused;
    return refused;
}

int pull_message_service_execute_pull_request_immediately(struct pull_message_service *s, struct pull_request *request)
{
    if (refuses(s))
        return -ESHUTDOWN;
    if (request->state == PULL_REQUEST_QUEUED)
        return -EALREADY;
    release(s, request);
    enqueue(s, request);
    return 0;
}

int pull_message_service_execute_pull_request_later(struct pull_message_service *s, struct pull_request *request, uint32_t delay_ms)
{
    if (refuses(s))
        return -ESHUTDOWN;
    if (request->state == PULL_REQUEST_QUEUED)
        return -EALREADY;
    release(s, request);
    request->state = PULL_REQUEST_DELAYED;
    list_append(&s->delayed, &request->link);
    s->delayed_count++;
    s->counters.delayed++;
    deadline_wheel_arm(&s->requests_wheel, &request->deadline, event_loop_now_ns(s->loop) + delay_ms * NS_PER_MS);
    return 0;
}

void pull_message_service_cancel_pull_request(struct pull_message_service *s, struct pull_request *request)
{
    release(s, request);
}

int pull_message_service_execute_task_later(struct pull_message_service *s, struct pull_task *task, uint32_t delay_ms)
{
    if (refuses(s))
        return -ESHUTDOWN;
    if (!list_is_linked(&task->link)) {
        list_append(&s->tasks, &task->link);
        s->task_count++;
    }
    deadline_wheel_arm(&s->tasks_wheel, &task->deadline, event_loop_now_ns(s->loop) + delay_ms * NS_PER_MS);
    return 0;
}

void pull_message_service_cancel_task(struct pull_message_service *s, struct pull_task *task)
{
    if (list_is_linked(&task->link))
        remove_task(s, task);
}
