/*
 * Requests awaiting their replies, by opaque.
 *
 * A power-of-two array indexed by the low bits of the opaque. An opaque is handed
 * out only when its slot is free, and a reply must match the whole number: the
 * upper bits are the slot's generation. The counter wraps like Java's int. Futures
 * are embedded in their requests, so nothing is allocated per message.
 *
 * Every future has its own deadline, on a wheel (at most 20 ms late). 4.9.3's scan
 * (first after 3 s, then every second, one second of grace) runs beside it and
 * must find nothing: what it finds is counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/loop/deadline_wheel.h"
#include "shm/base/list.h"

struct channel;
struct create_topic;
struct response_future;

#define RESPONSE_TABLE_MIN_SLOTS 1024u
#define RESPONSE_TABLE_MAX_PENDING 65535u
#define RESPONSE_TABLE_OWN_RESERVE 1024u /* for the client's own requests, above the senders' credits */
#define RESPONSE_SCAN_GRACE_MS 1000u

enum future_state {
    FUTURE_FREE,    /* in nobody's hands (a zeroed future) */
    FUTURE_PARKED,  /* deadline armed; the owner keeps it (waits for a route) */
    FUTURE_WAITING, /* on a channel, not encoded */
    FUTURE_PENDING, /* encoded, reply awaited */
    FUTURE_ONEWAY,  /* encoded, no reply awaited */
};

/** Why a future ended. */
enum future_end {
    FUTURE_REPLIED,
    FUTURE_WRITTEN,        /* oneway: every byte was handed to the kernel */
    FUTURE_EXPIRED,        /* the deadline passed */
    FUTURE_CONNECT_FAILED, /* the connection attempt it waited for failed */
    FUTURE_CHANNEL_LOST,   /* the connection it was written to ended */
    FUTURE_CANCELLED,      /* the owner or the end of the hub */
};

struct future_result {
    enum future_end end;
    bool maybe_written; /* a byte of it may have reached a socket */
    int error;          /* -errno behind CONNECT_FAILED and CHANNEL_LOST */
    const void *frame;  /* REPLIED: the whole reply frame, valid during the call */
    size_t frame_len;
    const struct send_response *response; /* REPLIED: code, remark and the send reply's fields */
};

struct future_ops {
    /** Encodes itself: channel_reserve(), response_table_add() or none for oneway, channel_commit(). 0 | -EAGAIN wait | other: finished itself. */
    int (*write)(struct response_future *future, struct channel *channel);
    /** Exactly once, already out of every table and list; may free or reuse the future. */
    void (*done)(struct response_future *future, const struct future_result *result);
    /** What it was parked for is there (0), or will not come (-errno); NULL for futures that are never parked. */
    void (*resume)(struct response_future *future, int error);
    /** For the table: request code and where it comes from. */
    const char *kind;
};

struct response_future {
    struct list_link link; /* in the channel's waiting, pending or oneways, or the owner's list while parked */
    struct deadline deadline;
    const struct future_ops *ops;
    const struct create_topic *create_topic; /* while parked at a topic: what its sender says of topics that do not exist */
    struct channel *channel;
    uint64_t stream_start, stream_end; /* position of its frame in the channel's stream */
    uint64_t begin_ns;                 /* taken into the hub's hands */
    uint64_t written_ns;               /* encoded */
    int32_t opaque;
    int32_t code;  /* request code */
    uint8_t state; /* enum future_state */
    bool bound;    /* means this one connection: ends with it even if no byte was written */
    bool own;      /* the client's own (route, heartbeat, unregister): needs no credit, waits behind no sender; as in 4.9.3 */
};

struct response_table_counters {
    uint64_t added, replied, expired, lost;
    uint64_t late_or_unknown;              /* replies nobody waited for */
    uint64_t wrong_channel;                /* reply on another connection than its request's */
    uint64_t scans, scan_found;            /* the backstop: runs, and futures the wheel had missed */
    uint64_t refused_full, refused_oneway; /* senders that found no credit */
    uint64_t suspicions;                   /* channels that were asked for a sign of life, because requests met silence */
};

struct response_table {
    struct response_future **slots;
    uint32_t slot_count;                    /* power of two */
    uint32_t count;                         /* of all futures in it */
    uint32_t own_count;                     /* of these, the client's own: at most RESPONSE_TABLE_OWN_RESERVE */
    uint32_t max;                           /* senders' credits; 4.9.3's async semaphore */
    uint32_t oneways, oneways_max;          /* encoded and not yet handed to the kernel; 4.9.3's oneway semaphore */
    bool wanted, own_wanted, oneway_wanted; /* somebody was refused since credits were shared out last */
    uint32_t next_opaque;
    struct response_table_counters counters;
};

/** @p max: senders' requests outstanding at once (at most RESPONSE_TABLE_MAX_PENDING, and that when 0). 0 | -ENOMEM. */
int response_table_init(struct response_table *table, uint32_t max);
void response_table_deinit(struct response_table *table);

/** Credits that senders have taken. */
static inline uint32_t response_table_async_in_use(const struct response_table *table)
{
    return table->count - table->own_count;
}

/** Whether somebody was refused who would find a credit now. */
bool response_table_may_retry(const struct response_table *table);

/** Draws an opaque that belongs to no future. */
int32_t response_table_draw(struct response_table *table);
/** Takes a oneway credit and draws the opaque. 0 | -EAGAIN none left (counted); given back when every byte was written. */
int response_table_add_oneway(struct response_table *table, struct response_future *future);
void response_table_release_oneway(struct response_table *table);
/** Gives @p future a fresh opaque and enters it. 0 | -EAGAIN no credit is left (a sender's is counted) | -ENOMEM. */
int response_table_add(struct response_table *table, struct response_future *future);
/** Takes out the future of @p opaque that was written to @p channel; NULL (counted) when there is none. */
struct response_future *response_table_take(struct response_table *table, int32_t opaque, const struct channel *channel);
void response_table_remove(struct response_table *table, struct response_future *future);

/** The backstop: calls @p found for each future more than the grace past its deadline. Returns how many. */
unsigned response_table_scan(struct response_table *table, uint64_t now_ns, void (*found)(void *ctx, struct response_future *future),
                             void *ctx);

/** Plain iteration over pending futures: start with *cursor = 0; NULL at the end. */
const struct response_future *response_table_next(const struct response_table *table, uint32_t *cursor);
