/*
 * The cache file of the state directory (LMDB), for one process and one thread at
 * a time. A file that an earlier hub left is never opened by this process, only by
 * a throw-away child; see store_file.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/store/store_record.h"

#define STORE_FILE "data.mdb"
#define STORE_MAP_BYTES (64u << 20)
#define STORE_DAMAGED_KEPT 3

struct store_file;

/** One sealed value; an empty one deletes. The pointers are only valid during the call that passes them. */
struct store_item {
    struct span key, value;
};

/** Receives each item whose checksum holds. */
typedef void store_item_fn(void *ctx, struct span key, const struct store_origin *origin, struct span content);

/** What salvaging found. */
struct store_salvage {
    bool found;                         /* there was a file */
    bool damaged;                       /* it could not be read to its end, or an item was not what was sealed */
    unsigned items, bad, other_version; /* the last are no damage: a hub of another version wrote them */
    char set_aside[64];                 /* name the damaged file got; empty if it could not be renamed */
    char reason[96];
};

/**
 * Reads what is left of the file in directory @p dirfd and moves a damaged one out of the way (at most
 * STORE_DAMAGED_KEPT are kept). Forks: call it before any thread exists. Bounded to less than a second.
 * 0, also when nothing could be saved, or -errno when no child could be started.
 */
int store_file_salvage(int dirfd, store_item_fn *take, void *ctx, struct store_salvage *out);

/** Removes the file by an atomic replacement with a new one that holds @p items. 0 or -errno; nothing changed then. */
int store_file_create(struct store_file **out, int dirfd, const struct store_item *items, unsigned count);

/**
 * Writes all items in one synced transaction; may block for as long as the disk does. 0, -ENOSPC (disk or
 * map full; the file is as before and may be written later), or another -errno: the file must not be used again.
 */
int store_file_write(struct store_file *file, const struct store_item *items, unsigned count);

/** NULL is fine. */
void store_file_close(struct store_file *file);
