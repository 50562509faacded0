/*
 * Sending: producer groups as users hold them, and the way of one message from a
 * caller's slot to a broker and back (4.9.3's DefaultMQProducerImpl.sendKernelImpl,
 * without retries in this version).
 *
 * A send picks a queue, encodes SEND_MESSAGE_V2 straight into the channel's output
 * buffer and is found again by its opaque. Nothing is allocated, no clock is read.
 *
 * Outcomes:
 *   STORED      the broker answered 0, 10, 11 or 12
 *   NOT_STORED  proved: no byte of it was written, or the broker refused it with a code
 *   UNKNOWN     written, and no answer by the deadline or before the connection ended; oneway
 * A request marked tainted (an earlier hub may have written it) is never NOT_STORED.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/producer_table.h"
#include "hub/producer/producer_config.h"
#include "hub/remoting/response_table.h"
#include "hub/route/topic_route_table.h"
#include "shm/base/bytes.h"

enum send_mode { SEND_SYNC, SEND_ASYNC, SEND_ONEWAY };

/** As in rmqhub.h. */
enum send_outcome_kind { SEND_STORED = 1, SEND_NOT_STORED = 2, SEND_UNKNOWN = 3 };
enum send_status { SEND_STATUS_OK, SEND_STATUS_FLUSH_DISK_TIMEOUT, SEND_STATUS_FLUSH_SLAVE_TIMEOUT, SEND_STATUS_SLAVE_NOT_AVAILABLE };

#define SEND_FLAG_MAYBE_DUPLICATED 1u
/** `code` of an outcome for a deadline that passed (10002) or anything else the hub itself found; see enum client_error_code. */
#define OFFSET_MSG_ID_BYTES_MAX 28u /* IPv6: 16 + 4 + 8 */

struct send_request;

struct send_outcome {
    uint8_t outcome;      /* enum send_outcome_kind */
    uint8_t send_status;  /* enum send_status; with STORED */
    int32_t code;         /* response code of the broker, or a local one (10001 ..); 0 when there is none */
    uint16_t attempts;    /* times it was given to a connection */
    uint16_t flags;       /* SEND_FLAG_* */
    int32_t queue_id;     /* -1: not chosen */
    int64_t queue_offset; /* -1: unknown */
    uint8_t offset_msg_id[OFFSET_MSG_ID_BYTES_MAX];
    uint8_t offset_msg_id_len; /* 16, 28 or 0 */
    const char *broker_name;   /* NULL: no broker was chosen */
    uint16_t broker_ix;        /* of the instance's broker table; UINT16_MAX: none */
    const char *reason;        /* for people; NULL when STORED; valid during complete() */
    uint32_t queue_us, connect_us,
        wire_us; /* in the hub before writing; of that, waiting for a connection; on the wire and in the broker */
};

/** One message on its way; embedded in the caller's record. Zero it once, then fill it for each send. */
struct send_request {
    struct response_future future; /* private */
    struct broker *broker;         /* private */
    const char *cancel_reason;     /* private */
    uint64_t connect_from_ns;      /* private; 0: never waited for a connection */
    int32_t chosen_queue_id;       /* private */
    bool parked;                   /* private: waits for a route */
    struct producer *producer;
    const struct producer_settings *settings; /* of the handle that sends */
    struct topic_entry *topic;
    const char *properties; /* name\1value\2..., in the client's memory: copied once, the copy is checked */
    const void *body;       /* in the client's memory: copied once */
    uint32_t properties_len, body_len;
    int32_t msg_flag, sys_flag;
    int32_t queue_id;               /* -1: round robin over the topic's queues */
    uint8_t mode;                   /* enum send_mode */
    bool tainted;                   /* an earlier hub may have written it */
    uint16_t attempts;              /* private */
    uint64_t deadline_ns, taken_ns; /* monotonic, absolute */
    void (*complete)(struct send_request *request, const struct send_outcome *outcome);
};

/**
 * Joins or registers a producer group (name wrapped with its namespace, validated by the caller or refused here). A new group is
 * announced at once to every connected broker. 0 | -EINVAL name | -EPERM it belongs to another uid | -EDQUOT table full | -ENOMEM.
 */
int producer_acquire(struct mq_client_instance *instance, struct span group, uid_t uid, struct producer **out, const char **reason);
/** Leaves it, once all of the caller's requests have completed. The last one starts the linger; with @p final (or linger off) it is unregistered at once. */
void producer_release(struct producer *producer, bool final);

/**
 * Sends. complete() runs exactly once, maybe before this returns. The request, its properties and its body stay untouched
 * until then.
 */
void producer_send(struct send_request *request);
/** The send that a future belongs to; NULL for any other request. For the instance table. */
const struct send_request *send_request_of(const struct response_future *future);
/** Ends a request early with @p reason: NOT_STORED when provably unwritten, else UNKNOWN. complete() runs inside. */
void producer_cancel(struct send_request *request, const char *reason);
