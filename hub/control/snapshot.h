/*
 * Publishing what the hub knows: walks instances, clients, loop and configuration
 * into rows of the instance table, once a second, and at most ten times a second
 * after a change. Everything on the loop's thread; nothing per message.
 */
#pragma once

#include <stdint.h>

#include "shm/table_layout.h"

struct event_loop;
struct hub_config;
struct ipc_server;
struct mq_client_manager;
struct snapshot;
struct store;

/** What is walked. All pointers outlive the snapshot; @c config may change between rounds (reload). */
struct snapshot_sources {
    struct event_loop *loop;
    struct mq_client_manager *instances;
    const struct ipc_server *clients; /* may be set later: snapshot_set_clients() */
    const struct hub_config *config;
    struct store *store;
    uint64_t epoch;
};

/**
 * Creates the table in the configured runtime directory (whose lock the caller holds) and publishes for the first
 * time, in state STARTING. The event ring, if collected, has TABLE_EVENTS' default capacity. 0 or -errno.
 */
int snapshot_new(struct snapshot **out, const struct snapshot_sources *sources);

/** Publishes a last time, in state STOPPED, and leaves the table for readers. NULL is fine. Returns NULL. */
struct snapshot *snapshot_free(struct snapshot *snapshot);

/** NULL when the attach server goes away before the snapshot does. */
void snapshot_set_clients(struct snapshot *snapshot, const struct ipc_server *clients);

/** Publishes the new state soon. */
void snapshot_set_state(struct snapshot *snapshot, enum table_hub_state state);

/** Something that people wait for changed (a client, a connection, a route): publish within 100 ms. Cheap; for changed() callbacks. */
void snapshot_mark_dirty(struct snapshot *snapshot);
