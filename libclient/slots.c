/*
 * The life of a slot on the client's side: credit, acceptance, the wait, and the one outcome
 * that its caller gets.
 *
 *   free ── slot_acquire ──▶ filled ── slot_submit ──▶ accepted ──┬─ answered ──────────▶ slot_finish ──▶ free
 *                                                                 └─ deadline + grace ──▶ slot_give_up ─┬▶ free     revoked: NOT_STORED
 *                                                                                                       └▶ told     UNKNOWN; freed by the late answer
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libclient/internal.h"
#include "shm/base/clock.h"

/* A quiet slot's answer wakes nobody, so who needs its credit looks this often. */
#define QUIET_SLICE_NS (1 * NS_PER_MS)

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static void free_slot(struct rmqhub *hub, unsigned slot)
{
    struct pending *p = &hub->pending[slot];
    if (p->told || (p->flags & SHM_SLOT_QUIET))
        hub->quiet_or_told--;
    if (p->is_message && !p->told)
        hub->in_flight--;
    if (p->body_off != ARENA_NONE)
        arena_free(&hub->arena, p->body_off);
    if (p->properties_off != ARENA_NONE)
        arena_free(&hub->arena, p->properties_off);
    p->in_use = false;
    if (hub->credit_waiters)
        pthread_cond_signal(&hub->credit);
}

unsigned slots_reap(struct rmqhub *hub)
{
    unsigned reaped = 0;
    for (unsigned i = 0; i < SHM_SLOTS && hub->quiet_or_told; i++) {
        struct pending *p = &hub->pending[i];
        if (!p->in_use || !(p->told || (p->flags & SHM_SLOT_QUIET)) || !lane_client_is_answered(&hub->lane, i))
            continue;
        if (p->told)
            hub->stats.late++;
        else
            hub->stats.unknown++; /* oneway without a callback: unknown by nature */
        lane_client_free_slot(&hub->lane, i);
        free_slot(hub, i);
        reaped++;
    }
    return reaped;
}

static bool take_space(struct rmqhub *hub, uint32_t bytes, uint32_t *off)
{
    *off = bytes ? arena_alloc(&hub->arena, bytes) : ARENA_NONE;
    return !bytes || *off != ARENA_NONE;
}

static bool try_acquire(struct rmqhub *hub, uint32_t properties_len, uint32_t body_len, unsigned *slot_out)
{
    uint32_t body_off, properties_off;
    if (hub->lane.free_count == 0 || !take_space(hub, body_len, &body_off))
        return false;
    if (!take_space(hub, properties_len, &properties_off)) {
        if (body_off != ARENA_NONE)
            arena_free(&hub->arena, body_off);
        return false;
    }
    int slot = lane_client_take_slot(&hub->lane);
    hub->pending[slot] = (struct pending){.body_off = body_off, .properties_off = properties_off, .in_use = true};
    *slot_out = (unsigned)slot;
    return true;
}

static void wait_for_credit(struct rmqhub *hub, uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t slice = hub->quiet_or_told                         ? QUIET_SLICE_NS
                     : atomic_load(&hub->link.state) == LINK_UP ? WAIT_SLICE_NS
                                                                : WAIT_SLICE_LINK_DOWN_NS;
    uint64_t until = now_ns + slice < deadline_ns ? now_ns + slice : deadline_ns;
    struct timespec ts = timespec_of(until);
    hub->credit_waiters++;
    pthread_cond_timedwait(&hub->credit, &hub->lane_lock, &ts);
    hub->credit_waiters--;
}

int slot_acquire(struct rmqhub *hub, uint32_t properties_len, uint32_t body_len, uint64_t deadline_ns, bool may_wait, unsigned *slot_out)
{
    for (;;) {
        if (atomic_load(&hub->link.state) == LINK_REFUSED)
            return hub->link.final_error;
        if (try_acquire(hub, properties_len, body_len, slot_out))
            return RMQHUB_OK;
        if (slots_reap(hub))
            continue;
        if (!may_wait)
            return RMQHUB_ERR_WOULD_BLOCK;
        uint64_t now_ns = mono_now_ns();
        if (now_ns >= deadline_ns)
            return RMQHUB_ERR_TIMEOUT;
        wait_for_credit(hub, now_ns, deadline_ns);
        pthread_mutex_unlock(&hub->lane_lock);
        now_ns = mono_now_ns();
        link_look(hub, now_ns);
        link_step(hub, now_ns);
        pthread_mutex_lock(&hub->lane_lock);
    }
}

void slot_submit(struct rmqhub *hub, unsigned slot, struct shm_slot_record *record)
{
    struct pending *p = &hub->pending[slot];
    if (record->deadline_ns > DEADLINE_MAX_NS)
        record->deadline_ns = DEADLINE_MAX_NS;
    p->flags = record->flags;
    p->deadline_ns = record->deadline_ns;
    p->uniq_len = record->uniq_len;
    for (unsigned i = 0; i < record->uniq_len; i++)
        p->uniq[i] = record->uniq[i];
    p->is_message = record->op == SHM_OP_SEND || record->op == SHM_OP_ONEWAY;
    p->needs_link = record->op == SHM_OP_UNREGISTER;
    if (p->flags & SHM_SLOT_QUIET)
        hub->quiet_or_told++;
    if (p->is_message) {
        hub->in_flight++;
        hub->stats.accepted++;
    }
    if (p->flags & SHM_SLOT_ASYNC) {
        hub->async_in_flight++;
        if (p->deadline_ns < hub->earliest_async_ns)
            hub->earliest_async_ns = p->deadline_ns;
    }
    if (lane_client_submit(&hub->lane, slot, record))
        link_ring(hub);
}

static void count_outcome(struct rmqhub *hub, enum rmqhub_outcome outcome)
{
    hub->stats.stored += outcome == RMQHUB_STORED;
    hub->stats.not_stored += outcome == RMQHUB_NOT_STORED;
    hub->stats.unknown += outcome == RMQHUB_UNKNOWN;
}

void slot_finish(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result)
{
    struct pending *p = &hub->pending[slot];
    result_set_answer(result, hub, slot);
    if (p->is_message)
        count_outcome(hub, result->outcome);
    if (p->flags & SHM_SLOT_ASYNC)
        hub->async_in_flight--;
    lane_client_free_slot(&hub->lane, slot);
    free_slot(hub, slot);
}

void slot_give_up(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result)
{
    struct pending *p = &hub->pending[slot];
    int state = atomic_load(&hub->link.state);
    bool revoke = (state == LINK_DOWN || state == LINK_REFUSED) && hub->head_is_final && lane_client_was_not_taken(&hub->lane, slot);
    if (revoke) {
        result_set_local(result, p, RMQHUB_NOT_STORED,
                         state == LINK_DOWN ? "no hub was running before the deadline: start rmqhubd" : "the hub refused this process");
    } else {
        result_set_local(result, p, RMQHUB_UNKNOWN, "the hub gave no answer in time: it hangs, or it died with the message in hand");
    }
    if (p->is_message)
        count_outcome(hub, result->outcome);
    if (p->flags & SHM_SLOT_ASYNC)
        hub->async_in_flight--;
    if (revoke) {
        lane_client_free_slot(&hub->lane, slot);
        free_slot(hub, slot);
        return;
    }
    if (p->is_message)
        hub->in_flight--;
    if (!(p->flags & SHM_SLOT_QUIET))
        hub->quiet_or_told++;
    p->told = true;
}

bool slot_is_overdue(const struct rmqhub *hub, unsigned slot, uint64_t now_ns)
{
    const struct pending *p = &hub->pending[slot];
    int state = atomic_load(&hub->link.state);
    return now_ns > p->deadline_ns + ANSWER_GRACE_NS || state == LINK_REFUSED || (p->needs_link && state == LINK_DOWN);
}

/* Sleeps until the mailbox changes, the hub is worth a look, or the deadline with its grace is over. */
static void wait_on_mailbox(struct rmqhub *hub, unsigned slot, uint64_t seq, uint64_t deadline_ns)
{
    uint64_t slice = atomic_load(&hub->link.state) == LINK_UP ? WAIT_SLICE_NS : WAIT_SLICE_LINK_DOWN_NS;
    uint64_t until = mono_now_ns() + slice;
    if (until > deadline_ns + ANSWER_GRACE_NS)
        until = deadline_ns + ANSWER_GRACE_NS + 1;
    uint64_t seen = shm_load_acquire(&hub->h->mbox[slot].seq);
    if (seen == seq)
        return;
    struct timespec ts = timespec_of(until);
    /* The low half of the word is the futex; an absolute time, because a relative one would begin again at each signal. */
    syscall(SYS_futex, (const void *)&hub->h->mbox[slot].seq, FUTEX_WAIT_BITSET, (uint32_t)seen, &ts, NULL, FUTEX_BITSET_MATCH_ANY);
}

void slot_wait(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result)
{
    uint64_t seq = hub->lane.seq[slot], deadline_ns = hub->pending[slot].deadline_ns;
    for (;;) {
        if (!lane_client_is_answered(&hub->lane, slot)) {
            wait_on_mailbox(hub, slot, seq, deadline_ns);
        }
        uint64_t now_ns = 0;
        if (!lane_client_is_answered(&hub->lane, slot)) {
            now_ns = mono_now_ns();
            link_look(hub, now_ns);
            link_step(hub, now_ns);
        }
        pthread_mutex_lock(&hub->lane_lock);
        bool ended = true;
        if (lane_client_is_answered(&hub->lane, slot))
            slot_finish(hub, slot, result);
        else if (slot_is_overdue(hub, slot, now_ns))
            slot_give_up(hub, slot, result);
        else
            ended = false;
        pthread_mutex_unlock(&hub->lane_lock);
        if (ended)
            return;
    }
}
