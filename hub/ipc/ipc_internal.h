/* Shared between ipc_server.c and ipc_client.c only. */
#pragma once

#include "hub/ipc/ipc_client.h"

struct ipc_server {
    struct ipc_config config;
    struct event_loop *loop;
    struct mq_client_manager *manager;
    char socket_path[108];
    int listener, reserve_fd;
    struct loop_io listener_io;
    struct loop_timer accept_timer;
    struct list_link half_open; /* accepted, ATTACH not read yet */
    unsigned half_open_count;
    struct ipc_client *clients[IPC_CLIENTS_MAX];
    unsigned count;
    uint64_t next_number;
    struct list_link hot, notify, free_requests;
    struct list_link request_chunks;
    bool draining;
    uint64_t looked_ns; /* when the loop last waited for readiness; whatever is read now came after that */
    struct ipc_counters counters;
    char reason[320]; /* why the last registration was refused; valid until the next one */
};

/** A zeroed record from the pool, or NULL. */
struct ipc_request *ipc_request_new(struct ipc_server *server);
void ipc_request_free(struct ipc_server *server, struct ipc_request *request);
void ipc_server_mark_hot(struct ipc_server *server, struct ipc_client *client);
void ipc_server_forget(struct ipc_server *server, struct ipc_client *client);
