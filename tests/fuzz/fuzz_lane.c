/*
 * A lane whose client writes what it likes: the input is a list of 8-byte commands (what, where, value) that store words
 * and slots, submit properly, and let the hub take, answer, or be followed by another one that finds an old H full of lies.
 * Whatever the hub's side hands out must be usable as it is.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "shm/lane.h"
#include "tests/fuzz/fuzz.h"

#define COMMAND_BYTES 8

enum what { STORE_TAIL, STORE_IDX, STORE_STATE, CHANGE_RECORD, SUBMIT, TAKE, ANSWER, CHANGE_OLD_H, TAKE_OVER, READ_ASYNC, WHATS };

static struct shm_c c;
static struct shm_h h[2];
static unsigned present;
static struct lane_client client;
static struct lane_hub hub;
static struct lane_found found[SHM_SLOTS];

static void start(void)
{
    const char *why = NULL;
    memset((char *)&c + offsetof(struct shm_c, tail), 0, offsetof(struct shm_c, arena) - offsetof(struct shm_c, tail));
    memset(h, 0, sizeof(h));
    present = 0;
    lane_client_init(&client, &c, &h[0]);
    FUZZ_CHECK(lane_hub_init(&hub, &c, &h[0], &why) == 0);
}

static void check_record(const struct shm_slot_record *r, unsigned slot)
{
    FUZZ_CHECK(slot < SHM_SLOTS && hub.seq[slot] != 0);
    FUZZ_CHECK(r->body_off <= SHM_ARENA_BYTES && r->body_len <= SHM_ARENA_BYTES - r->body_off);
    FUZZ_CHECK(r->properties_off <= SHM_ARENA_BYTES && r->properties_len <= SHM_ARENA_BYTES - r->properties_off);
    FUZZ_CHECK(r->producer_h < SHM_REGISTRATIONS && r->topic_h < SHM_REGISTRATIONS && r->uniq_len <= SHM_UNIQ_MAX);
}

/* False when the client broke the protocol: the hub would go no further. */
static bool take(void)
{
    struct shm_slot_record record;
    unsigned slot = SHM_SLOTS;
    const char *why = NULL;
    int r = lane_hub_take(&hub, &record, &slot, &why);
    if (r == LANE_TAKE_RECORD)
        check_record(&record, slot);
    else if (r < 0)
        FUZZ_CHECK(r == -EBADMSG && why);
    return r >= 0;
}

static bool take_over(bool head_is_final)
{
    const char *why = NULL;
    const struct shm_h *old = &h[present];
    present = !present;
    memset(&h[present], 0, sizeof(h[present]));
    int n = lane_hub_take_over(&hub, &c, &h[present], old, head_is_final, found, &why);
    FUZZ_CHECK(n <= (int)SHM_SLOTS && (n >= 0 || (n == -EBADMSG && why)));
    client.h = &h[present];
    lane_client_enter_new_h(&client);
    for (int i = 0; i < n; i++)
        check_record(&found[i].record, found[i].slot);
    return n >= 0;
}

static void submit(uint32_t value)
{
    struct shm_slot_record record = {.op = SHM_OP_SEND, .flags = value & SHM_SLOT_FLAGS_ALL, .body_len = value >> 8 & 0xff};
    int slot = lane_client_take_slot(&client);
    if (slot >= 0)
        lane_client_submit(&client, (unsigned)slot, &record);
}

static void read_async(void)
{
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    for (int slot, left = 2 * (int)SHM_SLOTS; left > 0 && (slot = lane_client_next_async(&client)) >= 0; left--) {
        FUZZ_CHECK(slot < (int)SHM_SLOTS);
        lane_client_read_answer(&client, (unsigned)slot, &record, reason);
        FUZZ_CHECK(memchr(reason, '\0', sizeof(reason)));
    }
}

/* False when the hub is done with this client. */
static bool obey(const uint8_t *command)
{
    unsigned at = command[1];
    uint16_t offset;
    uint32_t value;
    memcpy(&offset, command + 2, sizeof(offset));
    memcpy(&value, command + 4, sizeof(value));
    switch (command[0] % WHATS) {
    case STORE_TAIL:
        shm_store_release(&c.tail, hub.head + (uint64_t)(int64_t)(int32_t)value);
        return true;
    case STORE_IDX:
        atomic_store(&c.idx[at], value);
        return true;
    case STORE_STATE:
        shm_store_release(&c.slot[at].state, value);
        return true;
    case CHANGE_RECORD:
        memcpy((char *)c.slot[at].words + offset % (sizeof(c.slot[at].words) - 3), &value, sizeof(value));
        return true;
    case SUBMIT:
        submit(value);
        return true;
    case TAKE:
        return take();
    case ANSWER: {
        const struct shm_mbox_record record = {.outcome = SHM_STORED, .code = (int32_t)value};
        if (hub.seq[at])
            lane_hub_complete(&hub, at, offset & SHM_SLOT_FLAGS_ALL, &record, "reason");
        return true;
    }
    case CHANGE_OLD_H:
        memcpy((char *)&h[present] + (offset * 4u + at % 4) % (sizeof(h[0]) - 3), &value, sizeof(value));
        return true;
    case TAKE_OVER:
        return take_over(value & 1);
    default:
        read_async();
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    start();
    for (size_t i = 0; i + COMMAND_BYTES <= len && obey(data + i); i += COMMAND_BYTES)
        ;
    return 0;
}
