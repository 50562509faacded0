/*
 * The network client of one instance: its channels by address, its response
 * table, and calls with a callback. Requests that servers send to us go to the
 * owner. One per instance, as NettyRemotingClient in 4.9.3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/loop/deadline_wheel.h"
#include "hub/protocol/send_message_header.h"
#include "hub/remoting/channel.h"
#include "hub/remoting/remoting_command.h"
#include "hub/remoting/response_table.h"
#include "hub/remoting/rpc_hook.h"

struct resolver;
struct tls_context;

#define CHANNELS_MAX 512u /* per client */

struct remoting_client_settings {
    uint32_t connect_timeout_ms;
    uint32_t max_idle_ms; /* no read and no write for so long closes a channel; 0: never */
    uint32_t socket_snd_buf_bytes, socket_rcv_buf_bytes;
    uint32_t tcp_user_timeout_ms;     /* 0: the kernel's */
    bool use_tls;                     /* nothing is dialled without a context (remoting_client_set_tls) */
    uint32_t high_water_bytes;        /* output buffered per channel before senders are held back */
    uint32_t low_water_bytes;         /* they go on below it */
    uint32_t max_pending, max_oneway; /* requests that await their replies, oneway ones not yet written; 0: 65535 */
    uint32_t probe_silence_ms;        /* no byte from a peer that owes answers for so long is suspicious; 0: never */
    uint32_t max_response_bytes;
    enum serialize_type serialize_type;
    int32_t version;
};

struct remoting_client_ops {
    /** A connection is up; what is encoded now precedes every waiting request. */
    void (*connected)(void *ctx, struct channel *channel);
    /** It ended; its futures have been failed already. */
    void (*lost)(void *ctx, struct channel *channel);
    /**
     * Three requests in a row expired, or requests met silence for probe_silence_ms: is anybody there? Said once until the
     * next byte comes in.
     */
    void (*suspect)(void *ctx, struct channel *channel);
    /** A request from the peer. The command and its spans are valid during the call. */
    void (*request)(void *ctx, struct channel *channel, const struct remoting_command *command);
    void (*changed)(void *ctx); /* some channel's state changed */
    /** The listener of connections; after connected(), before lost() of a connection that we close. */
    void (*event)(void *ctx, struct channel *channel, enum channel_event event);
    void *ctx;
};

struct remoting_client {
    struct event_loop *loop;
    struct resolver *resolver;
    struct remoting_client_settings settings;
    struct remoting_client_ops ops;
    struct response_table responses;
    struct deadline_wheel deadlines;
    struct list_link channels; /* struct channel, by link; oldest first */
    struct list_link dirty;    /* channels to be written at the end of this round */
    struct list_link closed;   /* dropped channels, freed at the end of this round */
    unsigned channel_count;
    uint32_t next_channel_id;
    uint32_t served_id;    /* of the channel whose waiting sender got a credit last: the next one's turn is first */
    uint64_t jitter;       /* state of the generator for back-offs */
    struct rpc_hook *hook; /* NULL: none */
    struct tls_context *tls;
    char scratch[REMOTING_SCRATCH_BYTES];
};

int remoting_client_start(struct remoting_client *client, struct event_loop *loop, struct resolver *resolver,
                          const struct remoting_client_settings *settings, const struct remoting_client_ops *ops);
/** Closes every channel for good and cancels their futures, so that the owner can take its things apart. */
void remoting_client_close_all(struct remoting_client *client);
/** Frees everything. NULL-safe for a client that was never initialised (zeroed). */
void remoting_client_deinit(struct remoting_client *client);

/** Takes over the caller's reference; NULL: none. Requests that are encoded or handed over already stay as they are. */
void remoting_client_set_hook(struct remoting_client *client, struct rpc_hook *hook);

/** Takes over the caller's reference. New connections use it; those that are up stay as they are. */
void remoting_client_set_tls(struct remoting_client *client, struct tls_context *tls);

/** The channel to @p address ("host:port"), made if new; nothing is dialled yet. 0 | -EINVAL | -EDQUOT | -ENOMEM. */
int remoting_client_channel(struct remoting_client *client, const char *address, struct channel **out);
/** Closes and frees a channel; its futures are cancelled. */
void remoting_client_drop(struct remoting_client *client, struct channel *channel);

/**
 * Hands a future (ops, begin_ns set) to a channel: encodes it now if the channel can take it, else lets it wait there. Its
 * deadline must be armed already, or is armed here from @p deadline_ns. May end it before returning.
 */
void remoting_client_submit(struct remoting_client *client, struct channel *channel, struct response_future *future, uint64_t deadline_ns);
/** Arms the deadline of a future that waits for something else than a channel. */
void remoting_client_park(struct remoting_client *client, struct response_future *future, struct list_link *list, uint64_t deadline_ns);
/** Takes a parked future back: it is in nobody's hands then. */
void remoting_client_unpark(struct response_future *future);
/** Ends a future in whatever state: takes it out of everything (unwritten frames too) and calls done(). */
void remoting_client_finish(struct remoting_client *client, struct response_future *future, enum future_end end, int error);

/** Result of a call. error 0: @c reply is the answer, with whatever code; else a negative errno and @c reason. */
struct invoke_result {
    int error;
    const char *reason;
    bool maybe_written;
    const struct send_response *response;
    const void *frame;
    size_t frame_len;
    uint32_t rt_us;
};
typedef void (*invoke_fn)(void *ctx, struct channel *channel, const struct invoke_result *result);

/**
 * A small request with up to 4 ext fields and a body (both copied): route, heartbeat, unregister.
 * The callback runs exactly once, never inside this call. 0 | -ENOMEM | -EMSGSIZE | the hook's refusal.
 */
struct invoke_request {
    int32_t code;
    unsigned ext_count;
    const struct ext_field *ext;
    struct span body;
    uint32_t timeout_ms;
    bool bound; /* about this one connection: never carried over to the next */
};
int remoting_client_invoke(struct remoting_client *client, struct channel *channel, const struct invoke_request *request, invoke_fn fn,
                           void *ctx);
/** Answers a request of the peer; nothing is sent for oneway requests or when the output is full. */
void remoting_client_reply(struct channel *channel, const struct remoting_command *request, int32_t code, struct span remark,
                           struct span body);

/** A credit and an opaque for a oneway request that is being encoded. 0 | -EAGAIN: it waits, and goes on when a credit is free. */
int remoting_client_take_oneway(struct remoting_client *client, struct response_future *future);
/**
 * Doubts that anybody is at the other end: the owner is asked once to send a probe (ops.suspect), and the scan closes the
 * connection when no byte came in within half of probe_silence_ms. True if it was not in doubt before.
 */
bool remoting_client_suspect(struct remoting_client *client, struct channel *channel);
/** Whether this connection was suspected, and no byte came in since. */
bool remoting_client_is_suspect(const struct channel *channel);

/** A whole frame from a channel: reply or request. 0 | -EPROTO: close the connection. For channel.c. */
int remoting_client_on_frame(struct remoting_client *client, struct channel *channel, const void *frame, size_t len);
/** Writes every dirty channel once (LOOP_PHASE_FLUSH). */
void remoting_client_flush(struct remoting_client *client);
/** 4.9.3's scan, looking for silent peers, and closing idle channels. Returns how many overdue futures the wheel had missed. */
unsigned remoting_client_scan(struct remoting_client *client);
