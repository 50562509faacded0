/*
 * One TCP connection to one address: connecting (off-loop name resolution, time
 * limit, capped and jittered back-off), one contiguous buffer each way, one write
 * per loop round, and the futures that wait for it.
 *
 * A channel knows nothing of the protocol but frames. Requests reach it as
 * response_futures: they wait in `waiting` until there is a connection and room,
 * then encode themselves into the output buffer and stay in `pending` (or
 * `oneways`) until their reply, their deadline or the end of the connection.
 * Positions in the stream say exactly whether any byte of a request was written.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/loop/event_loop.h"
#include "shm/base/list.h"

#define CHANNEL_ADDRESS_MAX 271 /* 253 for the host, brackets, colon and port */

struct remoting_client;
struct resolved;
struct response_future;
struct tls_session;

enum channel_state {
    CHANNEL_IDLE,       /* no connection wanted */
    CHANNEL_RESOLVING,  /* the helper thread looks the name up */
    CHANNEL_CONNECTING, /* TLS handshake included */
    CHANNEL_CONNECTED,
    CHANNEL_BACKOFF, /* waits before the next attempt */
    CHANNEL_CLOSED,  /* about to be freed */
};

/** What is told to the listener (remoting_client_ops.event), as 4.9.3's ChannelEventListener. */
enum channel_event {
    CHANNEL_EVENT_CONNECT,   /* up, TLS handshake included */
    CHANNEL_EVENT_CLOSE,     /* a connection ended, whatever the reason */
    CHANNEL_EVENT_EXCEPTION, /* a connection or a handshake met an error; CLOSE follows if it was up */
    CHANNEL_EVENT_IDLE,      /* nothing was read and nothing written for the maximum idle time; CLOSE follows */
    CHANNEL_EVENTS,
};

struct channel_buffer {
    uint8_t *data;
    size_t cap, head, tail; /* bytes head .. tail are in use */
};

struct channel_counters {
    uint64_t connects; /* connections established */
    uint64_t connect_failures, connections_lost;
    uint64_t tls_resumed; /* connections that needed no whole handshake */
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    uint64_t reads, writes, writes_blocked, held_back;
    uint64_t unknown_replies; /* nobody waited: late, duplicate or wrong */
    uint64_t requests_in;
    uint64_t events[CHANNEL_EVENTS];
};

struct channel {
    struct list_link link;       /* in remoting_client.channels */
    struct list_link dirty_link; /* in remoting_client.dirty while output awaits this round's write */
    struct remoting_client *client;
    char address[CHANNEL_ADDRESS_MAX + 1];
    uint32_t id; /* never reused within a client */
    enum channel_state state;
    int fd;
    uint16_t local_port;      /* of the present connection, 0 without one */
    bool keep_connected;      /* reconnect even when nobody waits (brokers that know our groups) */
    bool resolving;           /* the resolver still holds a ticket for us */
    bool parsing;             /* frames of the input buffer are in use */
    bool write_blocked;       /* the kernel's buffer is full: waiting for writability */
    bool held_back;           /* the high water mark was met, the low one not yet: nothing is taken */
    struct tls_session *tls;  /* of the present connection or handshake; NULL: plain text */
    struct resolved *targets; /* where the name leads, while an attempt is on its way */
    unsigned next_target;
    struct loop_io io;
    struct loop_timer timer; /* connect time limit, then back-off */
    struct channel_buffer in, out;
    uint64_t stream_queued;   /* bytes of this connection put into the output buffer */
    uint64_t stream_sent;     /* of these, handed to the kernel, or encrypted: they cannot be taken back */
    struct list_link waiting; /* futures not yet encoded, oldest first */
    struct list_link pending; /* futures encoded, in stream order */
    struct list_link oneways; /* the same for those that get no reply */
    uint32_t waiting_count, pending_count;
    uint32_t unanswered;   /* requests that expired since the last byte came in */
    uint64_t owing_ns;     /* since when the peer owes an answer and is silent, as the scan saw it; 0: it is not */
    uint64_t suspected_ns; /* when it was last suspected */
    int send_error;        /* errno of a failed write or dial, dealt with by the flush or the timer; 0: none */
    uint32_t backoff_ms;
    uint64_t state_since_ns;
    uint64_t connected_ns; /* start of the present connection */
    uint64_t last_read_ns, last_write_ns;
    char last_error[160];
    struct channel_counters counters;
    void *session; /* the registration kept by the instance on this connection */
};

const char *channel_state_name(enum channel_state state);

/**
 * Room for @p len bytes at the end of the output buffer, or NULL when they must wait (not connected, or above the high-water
 * mark: the caller queues itself on `waiting`). Never fails for one frame on an empty buffer, short of memory.
 */
void *channel_reserve(struct channel *channel, size_t len);
/** Makes the first @p len bytes of the reservation part of the stream. */
void channel_commit(struct channel *channel, size_t len);

/**
 * Ends a reservation for a future: its first @p len bytes join the stream, the future joins `pending` (or `oneways`), and
 * knows its place in the stream.
 */
void channel_commit_future(struct channel *channel, struct response_future *future, size_t len, bool oneway);
/** Takes back a frame of which no byte was handed to the kernel. True if it could. */
bool channel_retract(struct channel *channel, struct response_future *future);

/** Ends the present connection or attempt as a failure: futures fail or go back to waiting, the back-off starts. @p error is
 * an errno to be told with @p what, or 0. */
void channel_fail(struct channel *channel, int error, const char *what);
/** Closes without back-off; nothing is failed but what was written. */
void channel_disconnect(struct channel *channel, const char *why);
/** The same, because nothing was read and nothing written for too long. */
void channel_idle(struct channel *channel);
/** Asks for a connection, unless one is there or on its way; shortens a long back-off. */
void channel_want(struct channel *channel);
/** Marks it for the end of the round: something is to be written, or somebody waits. */
void channel_mark_dirty(struct channel *channel);
/** Writes what is buffered, once, and lets waiting futures encode themselves. */
void channel_flush(struct channel *channel);

/** Gives back buffers that have been idle for a while. */
void channel_trim(struct channel *channel);

/** For remoting_client only. */
struct channel *channel_new(struct remoting_client *client, const char *address);
struct channel *channel_free(struct channel *channel);
void channel_close(struct channel *channel);
