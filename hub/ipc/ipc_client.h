/*
 * One attached process: its segments, its handles, its submissions.
 *
 *   ATTACHED ──hang-up──▶ DETACHED ──same nonce──▶ ATTACHED
 *      │                     │ 30 s: ENDING
 *      ├──pidfd: dead, or hang-up after rmqhub_detach──▶ ENDING   what it had accepted is still sent, then the segments go
 *      └──violation──▶ QUARANTINED  taken no further; the row stays until the process dies
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/ipc/ipc_server.h"
#include "hub/loop/event_loop.h"
#include "hub/producer/default_mq_producer.h"
#include "hub/producer/producer_impl.h"
#include "shm/attach_protocol.h"
#include "shm/base/list.h"
#include "shm/lane.h"

enum ipc_client_state { IPC_CLIENT_ATTACHED, IPC_CLIENT_DETACHED, IPC_CLIENT_ENDING, IPC_CLIENT_QUARANTINED };

/* A registration as the hub knows it. Counted, because requests in flight outlive an UNREGISTER. */
struct ipc_handle {
    uint32_t refs;
    uint16_t kind, parent;                /* enum shm_registration_kind */
    bool final;                           /* leave the group without linger */
    struct default_mq_producer *producer; /* owned by kind PRODUCER, borrowed from the owner by TOPIC */
    struct ipc_handle *owner;             /* TOPIC: the producer's handle, counted */
    struct topic_entry *topic;
};

/* One submission in the hub's hands. */
struct ipc_request {
    struct send_request send; /* first: complete() gets back from it */
    struct list_link link;    /* in ipc_client.requests, or in the pool */
    struct ipc_client *client;
    struct ipc_handle *topic;
    uint64_t submit_ns;
    uint16_t slot;
    uint8_t flags;
};

struct ipc_client {
    struct ipc_server *server;
    enum ipc_client_state state;
    bool is_dead; /* its process ended */
    uint64_t number;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    char command[33]; /* escaped */
    char reason[160]; /* why it was quarantined */
    uint8_t nonce[SHM_NONCE_BYTES];
    int64_t clock_offset_ns; /* hub's clock minus the client's; 0 in the same time namespace */
    uint64_t attached_ns, last_submit_ns;
    uint64_t seen_want;
    const struct shm_c *c;
    struct shm_h *h;
    struct lane_hub lane;
    int h_fd, doorbell, socket, pid_fd;
    struct loop_io doorbell_io, socket_io, pid_io;
    struct loop_timer detach_timer;
    struct list_link hot;      /* in ipc_server.hot: may have submissions */
    struct list_link notify;   /* in ipc_server.notify: async completions of this round */
    struct list_link requests; /* in flight */
    uint32_t in_flight;
    uint8_t idle_rounds;
    uint8_t wake_slots[SHM_SLOTS]; /* sync callers answered in this round */
    uint16_t wake_count;
    struct ipc_handle *handles[SHM_REGISTRATIONS];
    uint16_t groups, topics;
    struct lane_found *left_over; /* by an earlier hub; between ipc_client_new and ipc_client_begin */
    int left_over_count;
    uint64_t taken, completed, stored, not_stored, unknown, bytes;
    struct {
        const struct mq_client_instance *instance;
        uint16_t ix[SHM_BROKERS]; /* instance's broker index -> index in H */
    } brokers;
};

/* ---- for ipc_server ---- */

/** What an ATTACH brought; descriptors are the client's from the moment it is made. */
struct ipc_newcomer {
    struct attach_request request;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    int socket, c_fd, pid_fd, previous_h_fd; /* -1: none */
};

/**
 * Makes the client and everything it needs, short of answering: then ipc_client_begin. On failure *@p status and @p text say
 * what the reply must say, and every descriptor but the socket is closed. 0 or -1.
 */
int ipc_client_new(struct ipc_client **out, struct ipc_server *server, const struct ipc_newcomer *newcomer, enum attach_status *status,
                   char *text, size_t text_cap);
/**
 * What to add to the client's monotonic times to get the hub's; 0 unless it lives in another time namespace, whose clock is
 * taken to differ by more than 10 s. @p unread_ns: how long the ATTACH may have lain unread, because a hub that was stopped
 * for a minute must not take that minute for a namespace.
 */
int64_t ipc_clock_offset(uint64_t hub_ns, uint64_t client_ns, uint64_t unread_ns);
/** After the reply went out: replays registrations and whatever the last hub left. */
void ipc_client_begin(struct ipc_client *client);
/** Another socket of the same process takes the place of the one that hung up. */
int ipc_client_adopt(struct ipc_client *client, int socket);
/** Takes up to the budget. @return true when more may be waiting. */
bool ipc_client_take(struct ipc_client *client);
/** Sends the wake byte if the client wishes one. */
void ipc_client_notify(struct ipc_client *client);
void ipc_client_set_hub_state(struct ipc_client *client, enum shm_hub_state state);
/** Leaves its groups, cancels what is in flight without answering, unmaps and frees. */
void ipc_client_free(struct ipc_client *client);

/** Whose message it is; NULL when its client is gone. For the instance table. */
const struct ipc_client *ipc_client_of_send(const struct send_request *send);
