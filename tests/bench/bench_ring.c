/*
 * The ring alone: what a message costs between a client's submit and the hub's take, and back, with
 * no wake-up and no network. One thread plays both sides, so this is instructions, not cache traffic;
 * callgrind repeats it exactly. Prints JSON.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shm/base/clock.h"
#include "shm/lane.h"

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    struct shm_c *c = aligned_alloc(4096, sizeof(*c));
    struct shm_h *h = aligned_alloc(4096, sizeof(*h));
    struct lane_client client;
    struct lane_hub hub;
    const char *why = NULL;
    if (!c || !h)
        return 1;
    for (size_t i = 0; i < sizeof(*c); i++)
        ((volatile char *)c)[i] = 0;
    for (size_t i = 0; i < sizeof(*h); i++)
        ((volatile char *)h)[i] = 0;
    lane_client_init(&client, c, h);
    if (lane_hub_init(&hub, c, h, &why) < 0)
        return 1;
    struct shm_slot_record record = {.op = SHM_OP_SEND, .flags = SHM_SLOT_ASYNC, .body_len = 100}, taken;
    struct shm_mbox_record answer = {.outcome = SHM_STORED}, read_back;
    char reason[SHM_REASON_BYTES];
    unsigned slot = 0;
    uint64_t began = mono_now_ns();
    for (uint32_t i = 0; i < count; i++) {
        unsigned mine = (unsigned)lane_client_take_slot(&client);
        lane_client_submit(&client, mine, &record);
        if (lane_hub_take(&hub, &taken, &slot, &why) != LANE_TAKE_RECORD)
            return 1;
        lane_hub_complete(&hub, slot, taken.flags, &answer, NULL);
        int done = lane_client_next_async(&client);
        if (done < 0)
            return 1;
        lane_client_read_answer(&client, (unsigned)done, &read_back, reason);
        lane_client_free_slot(&client, (unsigned)done);
    }
    printf("{\"count\":%u,\"ns_per_round_trip\":%.1f}\n", count, (double)(mono_now_ns() - began) / count);
    free(c);
    free(h);
    return 0;
}
