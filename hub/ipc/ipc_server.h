/*
 * Attach: who may come in, with what, and how many. Owns the listening socket and the table of
 * clients; what a client does once it is in is ipc_client's.
 *
 * Everything runs on the loop's thread and nothing blocks. Nobody is disconnected for being slow:
 * a client that does not read its answers only fills its own slots.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct event_loop;
struct ipc_client;
struct ipc_server;
struct mq_client_manager;

#define IPC_CLIENTS_MAX 1024u

struct ipc_config {
    const char *runtime_dir;
    uint64_t epoch;       /* grows with each hub of this runtime directory */
    uint32_t max_clients; /* <= IPC_CLIENTS_MAX */
    uint32_t max_clients_per_uid;
    uint64_t max_bytes_per_uid; /* of segments, C and H together */
    /** Whether this user may attach, by uid or any of its groups. */
    bool (*is_allowed)(void *ctx, uid_t uid, const gid_t *gids, size_t count);
    /** The client table changed: worth publishing early. */
    void (*changed)(void *ctx);
    void *ctx;
};

/** Counters since the start. */
struct ipc_counters {
    uint64_t attached, adopted, taken_over, refused, quarantined, died, detached;
    uint64_t taken, completed, expired, revoked, resubmitted, wake_bytes, doorbells;
    uint32_t in_flight;
};

/**
 * Binds hub.sock in the runtime directory (replacing a socket that nobody answers: the caller holds the directory's lock)
 * and starts to listen. The loop and the manager outlive it. 0 or -errno.
 */
int ipc_server_new(struct ipc_server **out, const struct ipc_config *config, struct event_loop *loop, struct mq_client_manager *manager);

/** Stops taking new submissions and new clients; what was taken goes on. Clients keep the rest for the next hub. */
void ipc_server_drain(struct ipc_server *server);
/** No message is in the hub's hands. */
bool ipc_server_is_drained(const struct ipc_server *server);

/** Hangs up on every client and frees. Messages still in hand end without an answer: the next hub finds them taken. */
struct ipc_server *ipc_server_free(struct ipc_server *server);

const struct ipc_counters *ipc_server_counters(const struct ipc_server *server);
/** Present clients: index 0 .. count-1, in no order that lasts. */
unsigned ipc_server_count(const struct ipc_server *server);
const struct ipc_client *ipc_server_at(const struct ipc_server *server, unsigned index);
