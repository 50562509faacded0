/*
 * A lane, from both of its sides. The client owns C and reads H; the hub owns H and reads
 * C. Neither believes the other's memory: masks, counts and sequence numbers that matter
 * are private copies in the structs below, never read back from the segment.
 *
 * Nothing here allocates, blocks or makes a system call; futexes and doorbells belong to
 * the callers. The client side is called under the caller's lock, the hub side from the
 * hub's one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/layout.h"

/* -------------------------------------------------------------- client side */

struct lane_client {
    struct shm_c *c;
    const struct shm_h *h;
    uint64_t tail, async_head;
    unsigned async_scan;       /* slots still to be looked at after the ring was lapped */
    uint64_t seq[SHM_SLOTS];   /* use count of each slot */
    uint64_t index[SHM_SLOTS]; /* submission index of the slot's present use */
    uint8_t free_slots[SHM_SLOTS];
    unsigned free_count;
};

void lane_client_init(struct lane_client *lane, struct shm_c *c, const struct shm_h *h);

/** Takes the free slot used last (its lines are warm), or -1. */
int lane_client_take_slot(struct lane_client *lane);

/**
 * Publishes @p record in @p slot: the store of tail inside is the moment of acceptance.
 * Fills in record->index. @return true when the hub sleeps and its doorbell must be rung.
 */
bool lane_client_submit(struct lane_client *lane, unsigned slot, struct shm_slot_record *record);

/** True once the mailbox holds the answer to the slot's present use. Any thread. */
bool lane_client_is_answered(const struct lane_client *lane, unsigned slot);

/** Copies an answer; @p reason takes SHM_REASON_BYTES and is terminated. Only after lane_client_is_answered. */
void lane_client_read_answer(const struct lane_client *lane, unsigned slot, struct shm_mbox_record *record, char *reason);

/** Ends the slot's present use; it can be taken again. */
void lane_client_free_slot(struct lane_client *lane, unsigned slot);

/**
 * Next slot in the async ring whose answer is readable, or -1. Skips entries of uses that ended; but the slot may be in
 * use again, and by a sync caller, so the caller of this skips those that are not async. Such entries can pile up until
 * the ring is lapped; then every slot is looked at once.
 */
int lane_client_next_async(struct lane_client *lane);
bool lane_client_has_async(const struct lane_client *lane);

/** True when the hub of this H never took the slot's present use. Final only once that hub has hung up. */
bool lane_client_was_not_taken(const struct lane_client *lane, unsigned slot);

/** After the H at the same address was replaced by another hub's. */
void lane_client_enter_new_h(struct lane_client *lane);

/* ----------------------------------------------------------------- hub side */

struct lane_hub {
    const struct shm_c *c;
    struct shm_h *h;
    uint64_t head, async_tail;
    uint64_t seq[SHM_SLOTS]; /* of the use taken; 0 = slot is not in the hub's hands */
};

/** For a client that attaches for the first time: its lane must be empty. */
int lane_hub_init(struct lane_hub *lane, const struct shm_c *c, struct shm_h *h, const char **why);

enum lane_take { LANE_TAKE_NONE, LANE_TAKE_RECORD, LANE_TAKE_REVOKED };

/**
 * Takes the next submission: copies it once into @p record and checks what can be checked
 * without knowing handles (number, state, index, offsets and lengths inside the arena).
 * @return enum lane_take, or -EBADMSG with *@p why set: the client broke the protocol.
 */
int lane_hub_take(struct lane_hub *lane, struct shm_slot_record *record, unsigned *slot, const char **why);

/** Writes the mailbox of a slot that was taken; with SHM_SLOT_ASYNC (and not QUIET) in @p flags also async_idx. */
void lane_hub_complete(struct lane_hub *lane, unsigned slot, uint8_t flags, const struct shm_mbox_record *record, const char *reason);

/** Before sleeping: asks for the doorbell. @return false when something came in meanwhile (then armed is off again). */
bool lane_hub_arm(struct lane_hub *lane);
void lane_hub_disarm(struct lane_hub *lane);

/** One slot that the next hub finds in C. */
struct lane_found {
    struct shm_slot_record record;
    unsigned slot;
    bool tainted; /* the old hub took it: it may be stored */
};

/**
 * Takes over a client from a hub that went away. Answers that the old hub wrote and the client
 * had not read are carried over to the new H; every other accepted slot is returned in @p found
 * (SHM_SLOTS entries), in submission order, and is in the hub's hands from then on.
 * @param old_h the old hub's H, mapped read-only; trusted for nothing but this client's own fate.
 * @param head_is_final false when a hub of which the client has no H may have taken more: then every message is tainted.
 * @return how many were found, or -EBADMSG with *@p why set.
 */
int lane_hub_take_over(struct lane_hub *lane, const struct shm_c *c, struct shm_h *h, const struct shm_h *old_h, bool head_is_final,
                       struct lane_found *found, const char **why);
