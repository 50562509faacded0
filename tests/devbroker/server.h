/*
 * Sockets of the devbroker: loopback listeners and connections, one thread, one
 * contiguous input and output buffer per connection. What a callback writes is
 * sent when that callback ends, in one send() however many replies it holds.
 *
 * The only file that knows libevent is server.c.
 */
#pragma once

#include "shm/base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct server;

/** A listening port. Owned by whoever embeds it; zero-initialise, then listener_open(). */
struct listener {
    struct server *server;
    struct event *event;
    void *owner;   /**< the broker behind this port, NULL for the nameserver */
    uint16_t port; /**< 0 before the first opening: the kernel chooses, and it stays so */
    int fd;
    uint64_t accepted; /**< connections ever */
    uint32_t open;     /**< connections now */
};

struct connection {
    struct list_link link;
    struct list_link dirty_link;
    struct listener *listener;
    struct event *read_event, *write_event;
    uint64_t number; /**< from 1, in order of acceptance at all ports */
    int fd;
    bool closed, draining; /**< draining: sends what is written, then a FIN; what still comes in is ignored */
    bool stopped;          /**< reads nothing until connection_resume() */
    bool congested;        /**< reads nothing until the peer has taken most of the output */
    uint32_t peer_ip;      /**< host order */
    uint16_t peer_port;
    uint64_t frames;
    uint64_t active_ns; /**< when something was last received or sent */
    uint8_t *in, *out;
    size_t in_cap, in_len;
    size_t out_cap, out_len, out_sent;
};

/** What the server tells its user. @c on_frame may close the connection. */
struct server_handler {
    void *ctx;
    void (*on_accept)(void *ctx, struct connection *c);
    void (*on_frame)(void *ctx, struct connection *c, const uint8_t *frame, size_t len);
    void (*on_close)(void *ctx, struct connection *c, const char *reason);
};

/** A one-shot timer; zero-initialise. */
struct server_timer {
    struct server *server;
    struct event *event;
    void (*fire)(void *ctx);
    void *ctx;
};

/** Returns NULL when memory or libevent fails. */
struct server *server_new(const struct server_handler *handler);

/** Closes every connection (without telling the handler). Listeners are closed by their owners before. */
struct server *server_free(struct server *server);

/** Runs until server_stop(). */
void server_run(struct server *server);
void server_stop(struct server *server);

/** Monotonic and wall time, taken once per callback. */
uint64_t server_now_ns(const struct server *server);
int64_t server_now_ms(const struct server *server);

/** Opens 127.0.0.1:port. 0 or -errno. */
int listener_open(struct listener *l, struct server *server, void *owner, uint16_t port);

/** Stops listening (new connections are refused); accepted ones live on. Harmless when closed. */
void listener_close(struct listener *l);

/** Calls @p each for every open connection; @p each may close it. */
void server_each_connection(struct server *server, void (*each)(void *ctx, struct connection *c), void *ctx);

/** The open connection with that number, or NULL. */
struct connection *server_connection(struct server *server, uint64_t number);

/** Room for @p n bytes at the end of the output, or NULL (out of memory, or closed). */
uint8_t *connection_reserve(struct connection *c, size_t n);

/** Makes @p n reserved bytes part of the output. */
void connection_commit(struct connection *c, size_t n);

void connection_close(struct connection *c, const char *reason);

/** Closes with a RST; unsent output is lost. */
void connection_reset(struct connection *c, const char *reason);

/**
 * Ends the connection with a FIN after the output. Input is read and ignored until the peer closes as well, because
 * closing a socket with unread input would send a RST.
 */
void connection_drain(struct connection *c);

void connection_stop_reading(struct connection *c);
void connection_resume(struct connection *c);

/** Arms @p t; an armed timer is moved. 0 or -ENOMEM. */
int server_timer_start(struct server_timer *t, struct server *server, uint64_t after_ms, void (*fire)(void *), void *ctx);
void server_timer_deinit(struct server_timer *t);

/**
 * Watches a foreign descriptor (the control socket) for input. Returns NULL when memory fails.
 * Its callback begins with server_turn_begin() and ends with server_turn_end().
 */
struct event *server_watch_fd(struct server *server, int fd, void (*readable)(int fd, short what, void *ctx), void *ctx);
void server_unwatch(struct event *event);

/** Takes the time, and sends and frees what the callback of a watched descriptor left behind. */
void server_turn_begin(struct server *server);
void server_turn_end(struct server *server);
