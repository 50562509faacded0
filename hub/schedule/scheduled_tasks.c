#include "hub/schedule/scheduled_tasks.h"

#include <errno.h>

#include "shm/base/clock.h"

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

static void run_task(void *ctx)
{
    struct scheduled_task *task = ctx;
    struct event_loop *loop = task->timer.loop;
    uint64_t now = event_loop_now_ns(loop);
    /* Fixed rate: the next run follows the plan, not the end of this one; what was missed is skipped. */
    task->next_ns += task->period_ns;
    if (task->next_ns <= now)
        task->next_ns += (now - task->next_ns) / task->period_ns * task->period_ns + task->period_ns;
    /* After its first run a task runs on whole seconds: an idle hub wakes once for all of them. */
    uint64_t whole = task->next_ns / NS_PER_S * NS_PER_S;
    if (whole > now)
        task->next_ns = whole;
    loop_timer_schedule(&task->timer, task->next_ns);
    task->last_start_ns = now;
    task->last_start_ms = event_loop_now_ms(loop);
    task->runs++;
    uint64_t start = mono_now_ns();
    task->run(task->ctx);
    task->last_duration_ns = mono_now_ns() - start;
    if (task->last_duration_ns > task->worst_duration_ns)
        task->worst_duration_ns = task->last_duration_ns;
}

int scheduled_tasks_add(struct scheduled_tasks *tasks, const char *name, uint64_t first_delay_ns, uint64_t period_ns,
                        void (*run)(void *ctx), void *ctx)
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
