/*
 * Where bodies and properties live between acceptance and completion: a buddy allocator over
 * the arena of segment C. All of its state is private to the process, so a crash leaves nothing
 * to mend and the hub has nothing to believe. The caller holds the lane lock.
 */
#pragma once

#include <stdint.h>

#include "shm/layout.h"

#define ARENA_BLOCK_BYTES 256u
#define ARENA_BLOCKS (SHM_ARENA_BYTES / ARENA_BLOCK_BYTES)
#define ARENA_ORDERS 12 /* 256 B << 11 = 512 KiB */
#define ARENA_NONE UINT32_MAX

struct arena {
    /* Per order a list of free runs, linked through next/prev by their first block. */
    uint16_t head[ARENA_ORDERS];
    uint16_t next[ARENA_BLOCKS], prev[ARENA_BLOCKS];
    uint8_t free_order[ARENA_BLOCKS]; /* order + 1 of the free run that begins here, 0 = none */
    uint8_t used_order[ARENA_BLOCKS]; /* order of the allocation that begins here */
};

void arena_init(struct arena *arena);

/** Offset of a run of at least @p bytes (> 0), or ARENA_NONE when none is free now. */
uint32_t arena_alloc(struct arena *arena, uint32_t bytes);

/** @p offset as returned by arena_alloc. */
void arena_free(struct arena *arena, uint32_t offset);
