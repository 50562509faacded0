#include "libclient/arena.h"

#include <string.h>

#define NIL UINT16_MAX

static void push(struct arena *a, unsigned order, unsigned block)
{
    a->free_order[block] = (uint8_t)(order + 1);
    a->prev[block] = NIL;
    a->next[block] = a->head[order];
    if (a->head[order] != NIL)
        a->prev[a->head[order]] = (uint16_t)block;
    a->head[order] = (uint16_t)block;
}

static void take_out(struct arena *a, unsigned order, unsigned block)
{
    a->free_order[block] = 0;
    if (a->prev[block] != NIL)
        a->next[a->prev[block]] = a->next[block];
    else
        a->head[order] = a->next[block];
    if (a->next[block] != NIL)
        a->prev[a->next[block]] = a->prev[block];
}

void arena_init(struct arena *a)
{
    memset(a, 0, sizeof(*a));
    for (unsigned i = 0; i < ARENA_ORDERS; i++)
        a->head[i] = NIL;
    push(a, ARENA_ORDERS - 1, 0);
}

uint32_t arena_alloc(struct arena *a, uint32_t bytes)
{
    unsigned order = 0;
    while (order < ARENA_ORDERS && (ARENA_BLOCK_BYTES << order) < bytes)
        order++;
    unsigned found = order;
    while (found < ARENA_ORDERS && a->head[found] == NIL)
        found++;
    if (found >= ARENA_ORDERS)
        return ARENA_NONE;
    unsigned block = a->head[found];
    take_out(a, found, block);
    while (found > order) { /* keep the lower half, free the upper */
        found--;
        push(a, found, block + (1u << found));
    }
    a->used_order[block] = (uint8_t)order;
    return block * ARENA_BLOCK_BYTES;
}

void arena_free(struct arena *a, uint32_t offset)
{
    unsigned block = offset / ARENA_BLOCK_BYTES;
    unsigned order = a->used_order[block];
    for (; order < ARENA_ORDERS - 1; order++) {
        unsigned buddy = block ^ (1u << order);
        if (a->free_order[buddy] != order + 1)
            break;
        take_out(a, order, buddy);
        block &= ~(1u << order);
    }
    push(a, order, block);
}
