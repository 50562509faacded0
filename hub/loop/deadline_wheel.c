/*
 * Slot s holds the deadlines whose tick is s modulo the number of slots. A slot is
 * fired once its tick is wholly past, so that nothing fires early. The timer is set
 * for the first slot that holds something, so an idle wheel wakes nobody; a slot
 * that was emptied since costs one needless wake-up at most.
 */
#include "hub/loop/deadline_wheel.h"

static uint64_t tick_of(uint64_t ns)
{
    return ns >> DEADLINE_WHEEL_TICK_SHIFT;
}

static void set_timer(struct deadline_wheel *wheel, uint64_t tick)
{
    wheel->timer_tick = tick;
    if (tick == UINT64_MAX)
        loop_timer_cancel(&wheel->timer);
    else
        loop_timer_schedule(&wheel->timer, (tick + 1) << DEADLINE_WHEEL_TICK_SHIFT);
}

/* First tick from wheel->tick on whose slot holds something; forgets slots that turn out empty. */
static uint64_t first_used_tick(struct deadline_wheel *wheel)
{
    for (uint64_t i = 0; i < DEADLINE_WHEEL_SLOTS;) {
        unsigned slot = (unsigned)((wheel->tick + i) % DEADLINE_WHEEL_SLOTS);
        uint64_t word = wheel->used[slot / 64] >> (slot % 64);
        if (word == 0) {
            i += 64 - slot % 64;
            continue;
        }
        unsigned skip = (unsigned)__builtin_ctzll(word);
        i += skip;
        slot += skip;
        if (i >= DEADLINE_WHEEL_SLOTS)
            break;
        if (!list_is_empty(&wheel->slots[slot]))
            return wheel->tick + i;
        wheel->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    }
    return UINT64_MAX;
}

static void fire_slot(struct deadline_wheel *wheel, unsigned slot, uint64_t now_ns)
{
    struct list_link due;
    list_init(&due);
    LIST_FOR_EACH_SAFE (it, next, &wheel->slots[slot]) {
        if (LIST_ENTRY(it, struct deadline, link)->at_ns <= now_ns) {
            list_unlink(it);
            list_append(&due, it);
        }
    }
    /* One at a time from the front: a callback may disarm others that are due. */
    for (struct list_link *it; (it = list_first(&due)) != NULL;) {
        list_unlink(it);
        wheel->expired(wheel->ctx, LIST_ENTRY(it, struct deadline, link));
    }
}

static void on_timer(void *ctx)
{
    struct deadline_wheel *wheel = ctx;
    uint64_t now_ns = event_loop_now_ns(wheel->loop);
    uint64_t end = tick_of(now_ns);
    if (end > wheel->tick + DEADLINE_WHEEL_SLOTS)
        wheel->tick = end - DEADLINE_WHEEL_SLOTS;
    while (wheel->tick < end) {
        unsigned slot = (unsigned)(wheel->tick % DEADLINE_WHEEL_SLOTS);
        wheel->tick++;
        if (wheel->used[slot / 64] & UINT64_C(1) << (slot % 64))
            fire_slot(wheel, slot, now_ns);
    }
    set_timer(wheel, first_used_tick(wheel));
}

int deadline_wheel_init(struct deadline_wheel *wheel, struct event_loop *loop, void (*expired)(void *ctx, struct deadline *deadline),
                        void *ctx)
{
    *wheel = (struct deadline_wheel){.loop = loop, .expired = expired, .ctx = ctx, .timer_tick = UINT64_MAX};
    for (unsigned i = 0; i < DEADLINE_WHEEL_SLOTS; i++)
        list_init(&wheel->slots[i]);
    return loop_timer_init(&wheel->timer, loop, on_timer, wheel);
}

void deadline_wheel_deinit(struct deadline_wheel *wheel)
{
    loop_timer_deinit(&wheel->timer);
}

void deadline_wheel_arm(struct deadline_wheel *wheel, struct deadline *deadline, uint64_t at_ns)
{
    if (wheel->timer_tick == UINT64_MAX)
        wheel->tick = tick_of(event_loop_now_ns(wheel->loop));
    uint64_t tick = tick_of(at_ns);
    if (tick < wheel->tick)
        tick = wheel->tick;
    unsigned slot = (unsigned)(tick % DEADLINE_WHEEL_SLOTS);
    list_unlink(&deadline->link);
    deadline->at_ns = at_ns;
    list_append(&wheel->slots[slot], &deadline->link);
    wheel->used[slot / 64] |= UINT64_C(1) << (slot % 64);
    if (tick < wheel->timer_tick)
        set_timer(wheel, tick);
}
