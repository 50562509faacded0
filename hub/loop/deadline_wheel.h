/*
 * Thousands of deadlines behind one timer. Putting one in and taking it out is a
 * list operation; nothing is allocated. A deadline fires at most one tick
 * (8.4 ms) after its time, never before it. Far deadlines stay in their slot and
 * are looked at once per turn of the wheel (8.6 s).
 */
#pragma once

#include "hub/loop/event_loop.h"
#include "shm/base/list.h"

#define DEADLINE_WHEEL_SLOTS 1024u
#define DEADLINE_WHEEL_TICK_SHIFT 23 /* a tick is 2^23 ns */

/** Embedded in whatever may expire. Zeroed = not armed. */
struct deadline {
    struct list_link link;
    uint64_t at_ns;
};

struct deadline_wheel {
    struct event_loop *loop;
    struct loop_timer timer;
    void (*expired)(void *ctx, struct deadline *deadline);
    void *ctx;
    uint64_t tick;                            /* everything due before this tick has been fired */
    uint64_t timer_tick;                      /* tick the timer is set for; UINT64_MAX: none */
    uint64_t used[DEADLINE_WHEEL_SLOTS / 64]; /* slots that may hold something */
    struct list_link slots[DEADLINE_WHEEL_SLOTS];
};

/** 0 | -ENOMEM. @p expired gets each deadline once, already disarmed; it may arm and disarm others. */
int deadline_wheel_init(struct deadline_wheel *wheel, struct event_loop *loop, void (*expired)(void *ctx, struct deadline *deadline),
                        void *ctx);
void deadline_wheel_deinit(struct deadline_wheel *wheel);

/** Arms (or moves) @p deadline to the monotonic time @p at_ns. */
void deadline_wheel_arm(struct deadline_wheel *wheel, struct deadline *deadline, uint64_t at_ns);

static inline void deadline_disarm(struct deadline *deadline)
{
    list_unlink(&deadline->link);
}
