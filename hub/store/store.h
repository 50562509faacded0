/*
 * What a hub remembers over its restarts: what its instances learnt of routes,
 * brokers and nameservers, its last good configuration, and the names it drew for
 * instances called DEFAULT. Kept in memory, and written
 * behind by a thread of its own, so that the loop never waits for a disk.
 *
 * All functions are for the loop's thread (or before it runs) and none blocks,
 * but store_open() and store_close().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/store/store_record.h"

#define STORE_ENTRIES_MAX 6000u
#define STORE_BYTES_MAX (12u << 20)

struct store;

enum store_state {
    STORE_OK,        /* what is saved reaches the disk within about a second */
    STORE_DISK_FULL, /* memory only; tried again every minute */
    STORE_OFF,       /* memory only until the next start */
};

struct store_status {
    enum store_state state;
    unsigned entries, unwritten; /* known; of these not yet on disk */
    size_t bytes;
    uint64_t commits, failures, evicted;
    uint64_t last_commit_ns; /* how long it took */
};

/**
 * Loads what an earlier hub left in the state directory, replaces the file and starts the writer. Forks a child
 * for a moment: call it while the process has one thread. A damaged file or a full disk is told in the log and
 * costs only the cache. The descriptor stays the caller's and must outlive the store. 0 or -ENOMEM.
 */
int store_open(struct store **out, int state_dirfd);

/** Writes what is still unwritten and joins the writer; blocks for as long as the disk does. NULL is fine. */
void store_close(struct store *store);

/** Kinds of records. Of each there is one per scope and name. */
#define STORE_KIND_ROUTE "route"
#define STORE_KIND_BROKER "broker"
#define STORE_KIND_NAME_SERVERS "servers"
#define STORE_KIND_CONFIG "config"

#define STORE_LIFETIME_MS (INT64_C(30) * 24 * 3600 * 1000) /* of what was not seen again */

/**
 * What was saved last, in a block that the caller frees (a NUL follows it), and where it is from. 0; -ENOENT, also when it has
 * expired; or -ENOMEM.
 */
int store_load(struct store *store, const char *kind, const char *scope, const char *name, void **content, size_t *len,
               struct store_origin *origin);

/** Copies everything. What is too long for the cache is not kept. @p from: the server that said so; may be "". */
void store_save(struct store *store, const char *kind, const char *scope, const char *name, const void *content, size_t len,
                const char *from);

/** Here at once, in the file with the next commit. */
void store_forget(struct store *store, const char *kind, const char *scope, const char *name);

/**
 * Forgets records of a kind that were saved before @p before_ms (wall clock) and that @p in_use, which must not call the store,
 * has no use for; at most 64 at a time. Returns how many.
 */
unsigned store_forget_unused(struct store *store, const char *kind, int64_t before_ms,
                             bool (*in_use)(void *ctx, const char *scope, const char *name), void *ctx);

/**
 * The instance name PID#NANOTIME that stands for DEFAULT under @p key_text: drawn at the first call since the
 * machine booted, the same ever after. 0, or -ENAMETOOLONG.
 */
int store_instance_name(struct store *store, const char *key_text, char *out, size_t cap);

void store_status(struct store *store, struct store_status *out);
