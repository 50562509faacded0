/*
 * The slot of an opaque is its low bits. Handing out an opaque only when its slot
 * is free turns a hash table into an array: no probing on the way back, and a
 * stale or invented opaque meets either an empty slot or another whole number.
 * The table holds at most half as many futures as slots, so a free slot is near.
 */
#include "hub/remoting/response_table.h"

#include <errno.h>
#include <stdlib.h>

#include "hub/remoting/channel.h"
#include "shm/base/clock.h"

int response_table_init(struct response_table *table, uint32_t max)
{
    *table = (struct response_table){.slot_count = RESPONSE_TABLE_MIN_SLOTS};
    table->max = max == 0 || max > RESPONSE_TABLE_MAX_PENDING ? RESPONSE_TABLE_MAX_PENDING : max;
    table->oneways_max = RESPONSE_TABLE_MAX_PENDING;
    table->slots = calloc(table->slot_count, sizeof(struct response_future *));
    return table->slots ? 0 : -ENOMEM;
}

void response_table_deinit(struct response_table *table)
{
    free(table->slots);
    table->slots = NULL;
    table->slot_count = table->count = table->own_count = 0;
}

static struct response_future **slot_of(const struct response_table *table, uint32_t opaque)
{
    return &table->slots[opaque & (table->slot_count - 1)];
}

/* Futures keep their opaques: what differed in the low bits still does with one bit more. */
static int grow(struct response_table *table)
{
    struct response_table bigger = {.slot_count = table->slot_count * 2};
    bigger.slots = calloc(bigger.slot_count, sizeof(struct response_future *));
    if (!bigger.slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->slot_count; i++)
        if (table->slots[i])
            *slot_of(&bigger, (uint32_t)table->slots[i]->opaque) = table->slots[i];
    free(table->slots);
    table->slots = bigger.slots;
    table->slot_count = bigger.slot_count;
    return 0;
}

int32_t response_table_draw(struct response_table *table)
{
    while (*slot_of(table, table->next_opaque))
        table->next_opaque++;
    return (int32_t)table->next_opaque++;
}

int response_table_add_oneway(struct response_table *table, struct response_future *future)
{
    if (table->oneways >= table->oneways_max) {
        table->counters.refused_oneway++;
        table->oneway_wanted = true;
        return -EAGAIN;
    }
    future->opaque = response_table_draw(table);
    table->oneways++;
    return 0;
}

void response_table_release_oneway(struct response_table *table)
{
    table->oneways--;
}

static bool has_async(const struct response_table *table)
{
    return response_table_async_in_use(table) < table->max;
}

static bool has_own(const struct response_table *table)
{
    return table->own_count < RESPONSE_TABLE_OWN_RESERVE;
}

bool response_table_may_retry(const struct response_table *table)
{
    return (table->wanted && has_async(table)) || (table->own_wanted && has_own(table)) ||
           (table->oneway_wanted && table->oneways < table->oneways_max);
}

int response_table_add(struct response_table *table, struct response_future *future)
{
    if (future->own ? !has_own(table) : !has_async(table)) {
        table->counters.refused_full += !future->own;
        *(future->own ? &table->own_wanted : &table->wanted) = true;
        return -EAGAIN;
    }
    if (table->count >= table->slot_count / 2 && grow(table) < 0)
        return -ENOMEM;
    future->opaque = response_table_draw(table);
    *slot_of(table, (uint32_t)future->opaque) = future;
    table->count++;
    table->own_count += future->own;
    table->counters.added++;
    return 0;
}

void response_table_remove(struct response_table *table, struct response_future *future)
{
    struct response_future **slot = slot_of(table, (uint32_t)future->opaque);
    if (*slot != future)
        return;
    *slot = NULL;
    table->count--;
    table->own_count -= future->own;
}

struct response_future *response_table_take(struct response_table *table, int32_t opaque, const struct channel *channel)
{
    struct response_future *future = *slot_of(table, (uint32_t)opaque);
    if (!future || future->opaque != opaque) {
        table->counters.late_or_unknown++;
        return NULL;
    }
    if (future->channel != channel) {
        table->counters.wrong_channel++;
        return NULL;
    }
    response_table_remove(table, future);
    table->counters.replied++;
    return future;
}

unsigned response_table_scan(struct response_table *table, uint64_t now_ns, void (*found)(void *ctx, struct response_future *future),
                             void *ctx)
{
    unsigned overdue = 0;
    table->counters.scans++;
    for (uint32_t i = 0; i < table->slot_count && table->count > 0; i++) {
        struct response_future *future = table->slots[i];
        if (!future || future->deadline.at_ns + RESPONSE_SCAN_GRACE_MS * NS_PER_MS > now_ns)
            continue;
        overdue++;
        found(ctx, future);
    }
    table->counters.scan_found += overdue;
    return overdue;
}

const struct response_future *response_table_next(const struct response_table *table, uint32_t *cursor)
{
    if (table->count == 0)
        return NULL;
    while (*cursor < table->slot_count) {
        const struct response_future *future = table->slots[(*cursor)++];
        if (future)
            return future;
    }
    return NULL;
}
