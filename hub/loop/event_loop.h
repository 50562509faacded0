/*
 * The hub's one thread: readiness, timers, hooks and messages from helper threads,
 * in a round whose order is written down. The only module that includes libevent.
 *
 * One round:
 *   1. wait for readiness (not at all while a hook of the last round was hot), read the clock once
 *   2. readiness callbacks          sockets, doorbells, listeners
 *   3. timers that are due          in order of their time
 *   4. posted functions             from helper threads, in order of posting
 *   5. hooks LANES                  take new work in, each within its budget
 *   6. hooks FLUSH                  write what the round produced, once per socket
 *   7. hooks BEFORE_SLEEP           only when nothing was hot: last look before the next round sleeps
 *
 * Everything here is for the loop's thread, but event_loop_post() and event_loop_wake().
 * Time inside a round stands still: event_loop_now_ns() is read at most once a round.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_loop;

enum loop_phase { LOOP_PHASE_LANES, LOOP_PHASE_FLUSH, LOOP_PHASE_BEFORE_SLEEP, LOOP_PHASE_COUNT };

/** Interest and readiness. LOOP_EDGE: one callback per change, nothing need be read (doorbells). */
enum loop_event { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_EDGE = 4 };

typedef void (*loop_io_fn)(void *ctx, unsigned events);
typedef void (*loop_fn)(void *ctx);
/** Returns true when more is to be done at once, so that the next round must not sleep. */
typedef bool (*loop_hook_fn)(void *ctx);

/** Duty cycle, for the table. Durations from the end of waiting to the end of the round. */
struct loop_counters {
    uint64_t rounds, sleeps; /* rounds run; rounds that waited in the kernel */
    uint64_t io_events, timers_fired, posted;
    uint64_t busy_ns;        /* sum over all rounds */
    uint64_t worst_round_ns; /* since the last event_loop_forget_worst() */
    uint64_t last_round_ns;
};

/** One watched descriptor; embedded by its owner, who also owns the descriptor. */
struct loop_io {
    struct event_loop *loop;
    void *event; /* libevent's */
    int fd;
    unsigned events; /* interest, enum loop_event */
    bool started;
    loop_io_fn callback;
    void *ctx;
};

/** One timer; embedded by its owner. Fires once per schedule. */
struct loop_timer {
    struct event_loop *loop;
    uint64_t at_ns;
    size_t heap_ix; /* position + 1; 0: not scheduled */
    loop_fn callback;
    void *ctx;
};

/** 0 | -ENOMEM | -errno of epoll or eventfd. May be freed with NULL; io and timers must be deinitialised first. */
int event_loop_new(struct event_loop **out);
struct event_loop *event_loop_free(struct event_loop *loop);

/** Runs one round; sleeps until something happens if @p may_sleep and nothing is hot. 0 | -errno: the kernel refused to wait. */
int event_loop_round(struct event_loop *loop, bool may_sleep);

/** CLOCK_MONOTONIC, and milliseconds since 1970, both as of this round. */
uint64_t event_loop_now_ns(struct event_loop *loop);
int64_t event_loop_now_ms(struct event_loop *loop);

/** Hooks of one phase run in the order in which they were added. 0 | -ENOSPC (8 per phase). */
int event_loop_add_hook(struct event_loop *loop, enum loop_phase phase, loop_hook_fn fn, void *ctx);
void event_loop_remove_hook(struct event_loop *loop, enum loop_phase phase, loop_hook_fn fn, void *ctx);

/** Any thread. Runs @p fn(ctx) on the loop's thread in its next round, waking it. 0 | -ENOMEM. Never blocks for long. */
int event_loop_post(struct event_loop *loop, loop_fn fn, void *ctx);
/** Any thread, signal handlers too: ends the present sleep. */
void event_loop_wake(struct event_loop *loop);

struct event_base;
/** libevent's, for this folder only. */
struct event_base *event_loop_base(struct event_loop *loop);

const struct loop_counters *event_loop_counters(const struct event_loop *loop);
void event_loop_forget_worst(struct event_loop *loop);

/** Prepares a watch of @p fd (not yet started). 0 | -ENOMEM. */
int loop_io_init(struct loop_io *io, struct event_loop *loop, int fd, unsigned events, loop_io_fn fn, void *ctx);
int loop_io_start(struct loop_io *io);
void loop_io_stop(struct loop_io *io);
/** Changes the interest of a watch, started or not. 0 | -ENOMEM | -EIO. */
int loop_io_set(struct loop_io *io, unsigned events);
/** Harmless on a zeroed struct and when repeated. Does not close the descriptor. */
void loop_io_deinit(struct loop_io *io);

/** Reserves room, so that loop_timer_schedule() cannot fail. 0 | -ENOMEM. */
int loop_timer_init(struct loop_timer *timer, struct event_loop *loop, loop_fn fn, void *ctx);
/** (Re)schedules at a monotonic time; the past means "in this round or the next". */
void loop_timer_schedule(struct loop_timer *timer, uint64_t at_ns);
void loop_timer_cancel(struct loop_timer *timer);
static inline bool loop_timer_is_scheduled(const struct loop_timer *timer)
{
    return timer->heap_ix != 0;
}
void loop_timer_deinit(struct loop_timer *timer);
