#include "hub/schedule/scheduled_tasks.h"

#include <errno.h>
#include <string.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"

void scheduled_tasks_init(struct scheduled_tasks *tasks, struct event_loop *loop)
{
    *tasks = (struct scheduled_tasks){.loop = loop};
}

void scheduled_tasks_deinit(struct scheduled_tasks *tasks)
{
    for (unsigned i = 0; i < tasks->count; i++)
        loop_timer_deinit(&tasks->tasks[i].timer);
    tasks->count = 0;
}

/* Fixed rate: the next run follows the plan, not the end of this one; what was missed is skipped. */
static void plan_next(struct scheduled_task *task, uint64_t now)
{
    task->next_ns += task->period_ns;
    if (task->next_ns <= now) {
        uint64_t missed = (now - task->next_ns) / task->period_ns + 1;
        task->next_ns += missed * task->period_ns;
        task->skipped += missed;
    }
    /* After its first run a task of whole seconds runs on whole seconds: an idle hub wakes once for all of them. */
    uint64_t whole = task->next_ns / NS_PER_S * NS_PER_S;
    if (task->period_ns % NS_PER_S == 0 && whole > now)
        task->next_ns = whole;
    loop_timer_schedule(&task->timer, task->next_ns);
}

static void note_start(struct scheduled_task *task, uint64_t now)
{
    task->last_late_ns = now > task->next_ns ? now - task->next_ns : 0;
    if (task->last_late_ns > task->worst_late_ns)
        task->worst_late_ns = task->last_late_ns;
    task->last_start_ns = now;
    task->runs++;
}

static void note_end(struct scheduled_task *task, uint64_t duration_ns, int error)
{
    task->last_duration_ns = duration_ns;
    if (duration_ns > task->worst_duration_ns)
        task->worst_duration_ns = duration_ns;
    if (error >= 0)
        return;
    task->errors++;
    task->last_error = error;
    LOG_ERROR(task->name, "this run failed (%s); the task goes on", strerror(-error));
}

static void run_task(void *ctx)
{
    struct scheduled_task *task = ctx;
    uint64_t now = event_loop_now_ns(task->timer.loop);
    note_start(task, now);
    plan_next(task, now);
    uint64_t start = mono_now_ns();
    int r = task->run(task->ctx);
    note_end(task, mono_now_ns() - start, r);
}

int scheduled_tasks_add(struct scheduled_tasks *tasks, const char *name, uint64_t first_delay_ns, uint64_t period_ns, int (*run)(void *ctx),
                        void *ctx)
{
    if (tasks->count == SCHEDULED_TASKS_MAX)
        return -ENOSPC;
    struct scheduled_task *task = &tasks->tasks[tasks->count];
    *task = (struct scheduled_task){.name = name, .first_delay_ns = first_delay_ns, .period_ns = period_ns, .run = run, .ctx = ctx};
    int r = loop_timer_init(&task->timer, tasks->loop, run_task, task);
    if (r < 0)
        return r;
    task->next_ns = event_loop_now_ns(tasks->loop) + first_delay_ns;
    loop_timer_schedule(&task->timer, task->next_ns);
    tasks->count++;
    return 0;
}
