/*
 * Order of stores is everything here. Submit: words, LIVE (release), idx, tail (release);
 * complete: words and reason, seq (release), then the async ring. Each release is paired
 * with the acquire load named beside it.
 */
#include "shm/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t slot_mask = SHM_SLOTS - 1;

/* -------------------------------------------------------------- client side */

void lane_client_init(struct lane_client *lane, struct shm_c *c, const struct shm_h *h)
{
    memset(lane, 0, sizeof(*lane));
    lane->c = c;
    lane->h = h;
    for (unsigned i = 0; i < SHM_SLOTS; i++)
        lane->free_slots[i] = (uint8_t)(SHM_SLOTS - 1 - i);
    lane->free_count = SHM_SLOTS;
}

int lane_client_take_slot(struct lane_client *lane)
{
    return lane->free_count ? lane->free_slots[--lane->free_count] : -1;
}

bool lane_client_submit(struct lane_client *lane, unsigned slot, struct shm_slot_record *record)
{
    struct shm_slot *s = &lane->c->slot[slot];
    uint64_t seq = ++lane->seq[slot];
    lane->index[slot] = record->index = lane->tail;
    SHM_RECORD_STORE(s, record);
    /* Read with acquire by lane_hub_take and lane_hub_take_over. */
    shm_store_release(&s->state, shm_slot_word(seq, SHM_SLOT_LIVE));
    atomic_store_explicit(&lane->c->idx[lane->tail & slot_mask], slot, memory_order_relaxed);
    /* Read with acquire by the hub: from here on the message is accepted. */
    shm_store_release(&lane->c->tail, ++lane->tail);
    shm_fence(); /* tail before armed; the hub stores armed before it looks at tail once more */
    return shm_load_relaxed(&lane->h->armed) != 0;
}

bool lane_client_is_answered(const struct lane_client *lane, unsigned slot)
{
    return shm_load_acquire(&lane->h->mbox[slot].seq) == lane->seq[slot];
}

void lane_client_read_answer(const struct lane_client *lane, unsigned slot, struct shm_mbox_record *record, char *reason)
{
    SHM_RECORD_LOAD(record, &lane->h->mbox[slot]);
    size_t len = record->reason_len < SHM_REASON_BYTES ? record->reason_len : SHM_REASON_BYTES - 1;
    memcpy(reason, lane->h->reason[slot], len);
    reason[len] = '\0';
}

void lane_client_free_slot(struct lane_client *lane, unsigned slot)
{
    shm_store_release(&lane->c->slot[slot].state, shm_slot_word(lane->seq[slot], SHM_SLOT_FREE));
    lane->free_slots[lane->free_count++] = (uint8_t)slot;
}

/* An entry may speak of a use that ended without the ring: told UNKNOWN before, or read at the old hub. */
static bool is_live_and_answered(const struct lane_client *lane, uint32_t slot)
{
    return slot < SHM_SLOTS && shm_load_relaxed(&lane->c->slot[slot].state) == shm_slot_word(lane->seq[slot], SHM_SLOT_LIVE) &&
           lane_client_is_answered(lane, slot);
}

int lane_client_next_async(struct lane_client *lane)
{
    uint64_t tail = shm_load_acquire(&lane->h->async_tail);
    if (tail - lane->async_head > SHM_SLOTS) {
        lane->async_head = tail;
        lane->async_scan = SHM_SLOTS;
    }
    while (lane->async_scan > 0) {
        if (is_live_and_answered(lane, --lane->async_scan))
            return (int)lane->async_scan;
    }
    while (lane->async_head != tail) {
        uint32_t slot = atomic_load_explicit(&lane->h->async_idx[lane->async_head++ & slot_mask], memory_order_relaxed);
        if (is_live_and_answered(lane, slot))
            return (int)slot;
    }
    return -1;
}

bool lane_client_has_async(const struct lane_client *lane)
{
    return lane->async_scan > 0 || shm_load_acquire(&lane->h->async_tail) != lane->async_head;
}

bool lane_client_was_not_taken(const struct lane_client *lane, unsigned slot)
{
    return lane->index[slot] >= shm_load_acquire(&lane->h->sq_head);
}

void lane_client_enter_new_h(struct lane_client *lane)
{
    lane->async_head = 0;
    lane->async_scan = 0;
}

/* ----------------------------------------------------------------- hub side */

static void hub_reset(struct lane_hub *lane, const struct shm_c *c, struct shm_h *h)
{
    memset(lane, 0, sizeof(*lane));
    lane->c = c;
    lane->h = h;
}

int lane_hub_init(struct lane_hub *lane, const struct shm_c *c, struct shm_h *h, const char **why)
{
    hub_reset(lane, c, h);
    if (shm_load_acquire(&c->tail) != 0) {
        *why = "lane: not empty at the first attach";
        return -EBADMSG;
    }
    return 0;
}

static bool inside_arena(uint32_t off, uint32_t len)
{
    return (uint64_t)off + len <= SHM_ARENA_BYTES;
}

static const char *reason_to_refuse(const struct shm_slot_record *r)
{
    if (!inside_arena(r->properties_off, r->properties_len) || !inside_arena(r->body_off, r->body_len))
        return "slot: bytes outside the arena";
    if (r->body_segment != 0)
        return "slot: there is no body segment";
    if (r->uniq_len > SHM_UNIQ_MAX || (r->flags & ~SHM_SLOT_FLAGS_ALL))
        return "slot: impossible uniq length or flag";
    if (r->producer_h >= SHM_REGISTRATIONS || r->topic_h >= SHM_REGISTRATIONS)
        return "slot: handle out of range";
    for (size_t i = 0; i < sizeof(r->reserved); i++) {
        if (r->reserved[i])
            return "slot: reserved bytes are not zero";
    }
    return NULL;
}

int lane_hub_take(struct lane_hub *lane, struct shm_slot_record *record, unsigned *slot, const char **why)
{
    uint64_t waiting = shm_load_acquire(&lane->c->tail) - lane->head;
    if (waiting == 0)
        return LANE_TAKE_NONE;
    if (waiting > SHM_SLOTS) {
        *why = "lane: tail is not within one lap of head";
        return -EBADMSG;
    }
    uint32_t number = atomic_load_explicit(&lane->c->idx[lane->head & slot_mask], memory_order_relaxed);
    if (number >= SHM_SLOTS || lane->seq[number] != 0) {
        *why = number >= SHM_SLOTS ? "lane: slot number out of range" : "lane: slot submitted while in the hub's hands";
        return -EBADMSG;
    }
    const struct shm_slot *s = &lane->c->slot[number];
    uint64_t state = shm_load_acquire(&s->state);
    SHM_RECORD_LOAD(record, s);
    uint64_t index = lane->head;
    /* Stored before anything is done with the copy: a client that sees the hub gone reads here what was taken. */
    shm_store_release(&lane->h->sq_head, ++lane->head);
    if ((state & 3) == SHM_SLOT_FREE || record->index != index)
        return LANE_TAKE_REVOKED; /* given up by the client while no hub ran */
    *why = (state & 3) != SHM_SLOT_LIVE || state >> 2 == 0 ? "slot: impossible state" : reason_to_refuse(record);
    if (*why)
        return -EBADMSG;
    lane->seq[number] = state >> 2;
    *slot = number;
    return LANE_TAKE_RECORD;
}

static void enter_async(struct lane_hub *lane, unsigned slot)
{
    atomic_store_explicit(&lane->h->async_idx[lane->async_tail & slot_mask], slot, memory_order_relaxed);
    shm_store_release(&lane->h->async_tail, ++lane->async_tail); /* acquire in lane_client_next_async */
}

void lane_hub_complete(struct lane_hub *lane, unsigned slot, uint8_t flags, const struct shm_mbox_record *record, const char *reason)
{
    struct shm_mbox *mbox = &lane->h->mbox[slot];
    struct shm_mbox_record copy = *record;
    size_t len = reason ? strnlen(reason, SHM_REASON_BYTES - 1) : 0;
    if (len)
        memcpy(lane->h->reason[slot], reason, len);
    copy.reason_len = (uint16_t)len;
    SHM_RECORD_STORE(mbox, &copy);
    uint64_t seq = lane->seq[slot];
    lane->seq[slot] = 0;
    shm_store_release(&mbox->seq, seq); /* acquire in lane_client_is_answered */
    if ((flags & (SHM_SLOT_ASYNC | SHM_SLOT_QUIET)) == SHM_SLOT_ASYNC)
        enter_async(lane, slot);
}

bool lane_hub_arm(struct lane_hub *lane)
{
    shm_store_relaxed(&lane->h->armed, 1);
    shm_fence(); /* armed before tail; the client stores tail before it looks at armed */
    if (shm_load_acquire(&lane->c->tail) == lane->head)
        return true;
    lane_hub_disarm(lane);
    return false;
}

void lane_hub_disarm(struct lane_hub *lane)
{
    shm_store_relaxed(&lane->h->armed, 0);
}

static int by_index(const void *a, const void *b)
{
    uint64_t x = ((const struct lane_found *)a)->record.index, y = ((const struct lane_found *)b)->record.index;
    return x < y ? -1 : x > y;
}

static void carry_over(struct lane_hub *lane, unsigned slot, uint64_t seq, uint8_t flags, const struct shm_h *old_h)
{
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    SHM_RECORD_LOAD(&record, &old_h->mbox[slot]);
    size_t len = record.reason_len < SHM_REASON_BYTES ? record.reason_len : SHM_REASON_BYTES - 1;
    memcpy(reason, old_h->reason[slot], len);
    reason[len] = '\0';
    if (record.broker_ix >= SHM_BROKERS)
        record.broker_ix = 0;
    lane->seq[slot] = seq;
    lane_hub_complete(lane, slot, flags, &record, reason);
}

int lane_hub_take_over(struct lane_hub *lane, const struct shm_c *c, struct shm_h *h, const struct shm_h *old_h, bool head_is_final,
                       struct lane_found *found, const char **why)
{
    hub_reset(lane, c, h);
    uint64_t tail = shm_load_acquire(&c->tail);
    uint64_t taken = shm_load_acquire(&old_h->sq_head);
    /* How far the tail is ahead says nothing: without a hub, slots are revoked and submitted again any number of times. */
    if (taken > tail) {
        *why = "lane: tail is behind the old head";
        return -EBADMSG;
    }
    memcpy(h->broker, old_h->broker, sizeof(h->broker));
    for (unsigned i = 0; i < SHM_BROKERS; i++)
        h->broker[i][SHM_BROKER_NAME_BYTES - 1] = '\0';
    int count = 0;
    for (unsigned i = 0; i < SHM_SLOTS; i++) {
        struct lane_found *f = &found[count];
        uint64_t state = shm_load_acquire(&c->slot[i].state);
        if ((state & 3) != SHM_SLOT_LIVE || state >> 2 == 0)
            continue;
        SHM_RECORD_LOAD(&f->record, &c->slot[i]);
        atomic_thread_fence(memory_order_acquire);
        /* Not accepted yet, or read and freed by another thread of the client just now: it comes by the tail, or never. */
        if (f->record.index >= tail || shm_load_relaxed(&c->slot[i].state) != state)
            continue;
        /* Before the record is judged: an answered slot is the client's to reuse, at this very moment. */
        if (shm_load_acquire(&old_h->mbox[i].seq) == state >> 2) {
            carry_over(lane, i, state >> 2, f->record.flags, old_h);
            continue;
        }
        *why = reason_to_refuse(&f->record);
        if (*why)
            return -EBADMSG;
        lane->seq[i] = state >> 2;
        f->slot = i;
        f->tainted = !head_is_final || f->record.index < taken;
        count++;
    }
    qsort(found, (size_t)count, sizeof(*found), by_index);
    lane->head = tail;
    shm_store_release(&h->sq_head, tail);
    return count;
}
