/*
 * The periodic work of one instance, as a table that anyone can read: what, when
 * first, how often, when last, how late, how long it took, when next. Fixed rate, as
 * 4.9.3's scheduleAtFixedRate; missed runs become one and are counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/loop/event_loop.h"

#define SCHEDULED_TASKS_MAX 16u

struct scheduled_task {
    const char *name;
    uint64_t first_delay_ns, period_ns;
    int (*run)(void *ctx); /* a negative errno is counted and told; the task goes on */
    void *ctx;
    struct loop_timer timer;
    uint64_t next_ns;       /* monotonic */
    uint64_t last_start_ns; /* 0: never ran */
    uint64_t last_duration_ns, worst_duration_ns;
    uint64_t last_late_ns, worst_late_ns; /* start behind the plan */
    uint64_t runs;
    uint64_t skipped; /* runs of the plan whose time had passed when the task's turn came: one run stands for them all */
    uint64_t errors;
    int last_error; /* -errno of the last run that failed */
};

struct scheduled_tasks {
    struct event_loop *loop;
    struct scheduled_task tasks[SCHEDULED_TASKS_MAX];
    unsigned count;
};

void scheduled_tasks_init(struct scheduled_tasks *tasks, struct event_loop *loop);
void scheduled_tasks_deinit(struct scheduled_tasks *tasks);
/** Adds and starts one. 0 | -ENOSPC | -ENOMEM. @p name must stay valid. */
int scheduled_tasks_add(struct scheduled_tasks *tasks, const char *name, uint64_t first_delay_ns, uint64_t period_ns, int (*run)(void *ctx),
                        void *ctx);
