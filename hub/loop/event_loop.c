/*
 * libevent tells which descriptors are ready and sleeps; everything else of a
 * round is ours. Timers live in a heap here and not in libevent, so that they obey
 * the replaceable clock (tests never sleep) and so that a round reads the clock
 * once. libevent gets one timeout per sleep.
 */
#include "hub/loop/event_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shm/base/clock.h"

#define HOOKS_PER_PHASE 8

struct hook {
    loop_hook_fn fn;
    void *ctx;
};

struct posted {
    struct posted *next;
    loop_fn fn;
    void *ctx;
};

struct event_loop {
    struct event_base *base;
    struct event *sleep_limit, *wake;
    int wake_fd;
    bool hot; /* a hook of the last round has more to do */
    bool time_known;
    bool wall_known;
    uint64_t now_ns;
    int64_t now_ms;
    struct loop_timer **heap;
    size_t heap_count, heap_cap, timers;
    struct hook hooks[LOOP_PHASE_COUNT][HOOKS_PER_PHASE];
    unsigned hook_count[LOOP_PHASE_COUNT];
    pthread_mutex_t post_lock;
    struct posted *post_first, **post_last;
    struct loop_counters counters;
};

static void ignore_event(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    (void)ctx;
}

int event_loop_new(struct event_loop **out)
{
    struct event_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->post_last = &loop->post_first;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = loop->wake_fd < 0 ? -errno : -ENOMEM;
    struct event_config *config = event_config_new();
    if (config && loop->wake_fd >= 0) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(config);
    }
    if (config)
        event_config_free(config);
    if (loop->base) {
        loop->sleep_limit = evtimer_new(loop->base, ignore_event, NULL);
        /* Edge-triggered: a write wakes once, and nobody needs to read the counter. */
        loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST | EV_ET, ignore_event, NULL);
    }
    if (!loop->sleep_limit || !loop->wake || event_add(loop->wake, NULL) != 0) {
        event_loop_free(loop);
        return error;
    }
    *out = loop;
    return 0;
}

struct event_loop *event_loop_free(struct event_loop *loop)
{
    if (!loop)
        return NULL;
    while (loop->post_first) {
        struct posted *p = loop->post_first;
        loop->post_first = p->next;
        free(p);
    }
    if (loop->sleep_limit)
        event_free(loop->sleep_limit);
    if (loop->wake)
        event_free(loop->wake);
    if (loop->base)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_mutex_destroy(&loop->post_lock);
    free(loop->heap);
    free(loop);
    return NULL;
}

struct event_base *event_loop_base(struct event_loop *loop)
{
    return loop->base;
}

uint64_t event_loop_now_ns(struct event_loop *loop)
{
    if (!loop->time_known) {
        loop->now_ns = mono_now_ns();
        loop->time_known = true;
    }
    return loop->now_ns;
}

int64_t event_loop_now_ms(struct event_loop *loop)
{
    if (!loop->wall_known) {
        loop->now_ms = wall_now_ms();
        loop->wall_known = true;
    }
    return loop->now_ms;
}

/* ---- timers: a binary heap by time ---- */

static void heap_set(struct event_loop *loop, size_t i, struct loop_timer *timer)
{
    loop->heap[i] = timer;
    timer->heap_ix = i + 1;
}

static void heap_up(struct event_loop *loop, size_t i, struct loop_timer *timer)
{
    while (i > 0 && loop->heap[(i - 1) / 2]->at_ns > timer->at_ns) {
        heap_set(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(loop, i, timer);
}

static void heap_down(struct event_loop *loop, size_t i, struct loop_timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count && loop->heap[child + 1]->at_ns < loop->heap[child]->at_ns)
            child++;
        if (loop->heap[child]->at_ns >= timer->at_ns)
            break;
        heap_set(loop, i, loop->heap[child]);
        i = child;
    }
    heap_set(loop, i, timer);
}

static void heap_place(struct event_loop *loop, size_t i, struct loop_timer *timer)
{
    if (i > 0 && loop->heap[(i - 1) / 2]->at_ns > timer->at_ns)
        heap_up(loop, i, timer);
    else
        heap_down(loop, i, timer);
}

int loop_timer_init(struct loop_timer *timer, struct event_loop *loop, loop_fn fn, void *ctx)
{
    if (loop->timers == loop->heap_cap) {
        size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 32;
        struct loop_timer **heap = realloc(loop->heap, cap * sizeof(struct loop_timer *));
        if (!heap)
            return -ENOMEM;
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    loop->timers++;
    *timer = (struct loop_timer){.loop = loop, .callback = fn, .ctx = ctx};
    return 0;
}

void loop_timer_schedule(struct loop_timer *timer, uint64_t at_ns)
{
    struct event_loop *loop = timer->loop;
    timer->at_ns = at_ns;
    if (timer->heap_ix)
        heap_place(loop, timer->heap_ix - 1, timer);
    else
        heap_up(loop, loop->heap_count++, timer);
}

void loop_timer_cancel(struct loop_timer *timer)
{
    if (!timer->heap_ix)
        return;
    struct event_loop *loop = timer->loop;
    size_t i = timer->heap_ix - 1;
    timer->heap_ix = 0;
    struct loop_timer *last = loop->heap[--loop->heap_count];
    if (last != timer)
        heap_place(loop, i, last);
}

void loop_timer_deinit(struct loop_timer *timer)
{
    if (!timer->loop)
        return;
    loop_timer_cancel(timer);
    timer->loop->timers--;
    timer->loop = NULL;
}

static void run_due_timers(struct event_loop *loop)
{
    uint64_t now = event_loop_now_ns(loop);
    /* A timer that schedules itself for the past gets its turn in the next round. */
    for (size_t budget = loop->heap_count; budget > 0 && loop->heap_count > 0 && loop->heap[0]->at_ns <= now; budget--) {
        struct loop_timer *timer = loop->heap[0];
        loop_timer_cancel(timer);
        loop->counters.timers_fired++;
        timer->callback(timer->ctx);
    }
}

/* ---- descriptors ---- */

static void on_ready(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_io *io = ctx;
    (void)fd;
    io->loop->counters.io_events++;
    unsigned events = ((what & EV_READ) ? LOOP_READ : 0u) | ((what & EV_WRITE) ? LOOP_WRITE : 0u);
    io->callback(io->ctx, events);
}

static short event_flags(unsigned events)
{
    return (short)(EV_PERSIST | ((events & LOOP_READ) ? EV_READ : 0) | ((events & LOOP_WRITE) ? EV_WRITE : 0) |
                   ((events & LOOP_EDGE) ? EV_ET : 0));
}

int loop_io_init(struct loop_io *io, struct event_loop *loop, int fd, unsigned events, loop_io_fn fn, void *ctx)
{
    *io = (struct loop_io){.loop = loop, .fd = fd, .events = events, .callback = fn, .ctx = ctx};
    io->event = event_new(loop->base, fd, event_flags(events), on_ready, io);
    return io->event ? 0 : -ENOMEM;
}

int loop_io_start(struct loop_io *io)
{
    if (!io->started && event_add(io->event, NULL) != 0)
        return -EIO;
    io->started = true;
    return 0;
}

void loop_io_stop(struct loop_io *io)
{
    if (io->started)
        event_del(io->event);
    io->started = false;
}

int loop_io_set(struct loop_io *io, unsigned events)
{
    if (events == io->events)
        return 0;
    bool restart = io->started;
    loop_io_stop(io);
    if (event_assign(io->event, io->loop->base, io->fd, event_flags(events), on_ready, io) != 0)
        return -EIO;
    io->events = events;
    return restart ? loop_io_start(io) : 0;
}

void loop_io_deinit(struct loop_io *io)
{
    if (!io->event)
        return;
    loop_io_stop(io);
    event_free(io->event);
    io->event = NULL;
}

/* ---- other threads ---- */

void event_loop_wake(struct event_loop *loop)
{
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the loop is awake anyway. */
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));
    (void)n;
}

int event_loop_post(struct event_loop *loop, loop_fn fn, void *ctx)
{
    struct posted *p = malloc(sizeof(*p));
    if (!p)
        return -ENOMEM;
    *p = (struct posted){.fn = fn, .ctx = ctx};
    pthread_mutex_lock(&loop->post_lock);
    *loop->post_last = p;
    loop->post_last = &p->next;
    pthread_mutex_unlock(&loop->post_lock);
    event_loop_wake(loop);
    return 0;
}

static void run_posted(struct event_loop *loop)
{
    pthread_mutex_lock(&loop->post_lock);
    struct posted *p = loop->post_first;
    loop->post_first = NULL;
    loop->post_last = &loop->post_first;
    pthread_mutex_unlock(&loop->post_lock);
    while (p) {
        struct posted *next = p->next;
        loop->counters.posted++;
        p->fn(p->ctx);
        free(p);
        p = next;
    }
}

/* ---- rounds ---- */

int event_loop_add_hook(struct event_loop *loop, enum loop_phase phase, loop_hook_fn fn, void *ctx)
{
    if (loop->hook_count[phase] == HOOKS_PER_PHASE)
        return -ENOSPC;
    loop->hooks[phase][loop->hook_count[phase]++] = (struct hook){fn, ctx};
    return 0;
}

void event_loop_remove_hook(struct event_loop *loop, enum loop_phase phase, loop_hook_fn fn, void *ctx)
{
    struct hook *hooks = loop->hooks[phase];
    unsigned kept = 0;
    for (unsigned i = 0; i < loop->hook_count[phase]; i++)
        if (hooks[i].fn != fn || hooks[i].ctx != ctx)
            hooks[kept++] = hooks[i];
    loop->hook_count[phase] = kept;
}

static bool run_hooks(struct event_loop *loop, enum loop_phase phase)
{
    bool hot = false;
    for (unsigned i = 0; i < loop->hook_count[phase]; i++)
        hot |= loop->hooks[phase][i].fn(loop->hooks[phase][i].ctx);
    return hot;
}

/* Bounds the coming sleep by the next timer. A timer that is due already forbids it. */
static bool arm_sleep(struct event_loop *loop)
{
    if (loop->heap_count == 0) {
        event_del(loop->sleep_limit);
        return true;
    }
    uint64_t now = mono_now_ns(), at = loop->heap[0]->at_ns;
    if (at <= now)
        return false;
    uint64_t us = (at - now + NS_PER_US - 1) / NS_PER_US;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return event_add(loop->sleep_limit, &tv) == 0;
}

static int wait_for_events(struct event_loop *loop, bool may_sleep)
{
    bool sleeps = may_sleep && !loop->hot && arm_sleep(loop);
    loop->counters.sleeps += sleeps;
    loop->time_known = loop->wall_known = false;
    return event_base_loop(loop->base, EVLOOP_ONCE | (sleeps ? 0 : EVLOOP_NONBLOCK)) < 0 ? -EIO : 0;
}

int event_loop_round(struct event_loop *loop, bool may_sleep)
{
    int r = wait_for_events(loop, may_sleep);
    if (r < 0)
        return r;
    uint64_t start_ns = event_loop_now_ns(loop);
    run_due_timers(loop);
    run_posted(loop);
    loop->hot = run_hooks(loop, LOOP_PHASE_LANES);
    loop->hot |= run_hooks(loop, LOOP_PHASE_FLUSH);
    if (!loop->hot)
        loop->hot = run_hooks(loop, LOOP_PHASE_BEFORE_SLEEP);

    struct loop_counters *c = &loop->counters;
    c->rounds++;
    c->last_round_ns = mono_now_ns() - start_ns;
    c->busy_ns += c->last_round_ns;
    if (c->last_round_ns > c->worst_round_ns)
        c->worst_round_ns = c->last_round_ns;
    return 0;
}

const struct loop_counters *event_loop_counters(const struct event_loop *loop)
{
    return &loop->counters;
}

void event_loop_forget_worst(struct event_loop *loop)
{
    loop->counters.worst_round_ns = 0;
}
