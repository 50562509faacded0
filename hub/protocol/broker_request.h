/*
 * Requests that brokers send to their clients, read whole and checked before anybody
 * acts on them: what comes out of here can be used as it is. Pure; no allocation.
 *
 * Every decoder returns 0, or -EPROTO: a mandatory field is missing, a value is not
 * what it should be or beyond a limit below, the body is not what belongs there.
 * Spans point into the command (its frame and scratch) and are never NULL unless said.
 */
#pragma once

#include <stdbool.h>

#include "hub/protocol/message_codec.h"
#include "hub/protocol/message_queue_name.h"
#include "hub/remoting/remoting_command.h"

/** Longest texts that are believed. */
#define BROKER_REQUEST_GROUP_MAX 255
#define BROKER_REQUEST_TOPIC_MAX 255
#define BROKER_REQUEST_ID_MAX 255 /* client ids, message ids, broker names, correlation ids, host texts */
/** Most queues in one offset table: ROUTE_MAX_QUEUE_NUMS of one topic. */
#define BROKER_REQUEST_MAX_OFFSETS 65536

/** CHECK_TRANSACTION_STATE (39). */
struct check_transaction_state_request {
    int64_t tran_state_table_offset, commit_log_offset;
    struct span msg_id, transaction_id, offset_msg_id; /* data == NULL: absent */
    struct stored_message message;
    struct span producer_group; /* PGROUP of the message; data == NULL: it has none */
    struct span unique_key;     /* UNIQ_KEY; data == NULL: it has none */
};

/** NOTIFY_CONSUMER_IDS_CHANGED (40). */
struct notify_consumer_ids_changed_request {
    struct span consumer_group;
};

/** One entry of an offset table. Its spans are valid during the call that gets it. */
struct queue_offset {
    struct message_queue_name queue;
    int64_t offset; /* not negative */
};

/** RESET_CONSUMER_CLIENT_OFFSET (220). */
struct reset_offset_request {
    struct span topic, group;
    int64_t timestamp_ms; /* -1: to the end */
    bool is_force;
    struct span offset_table; /* the body, checked: for queue_offsets_for_each() */
    unsigned offset_count;
};

/** GET_CONSUMER_STATUS_FROM_CLIENT (221). */
struct get_consumer_status_request {
    struct span topic, group;
    struct span client_addr; /* data == NULL: absent */
};

/** GET_CONSUMER_RUNNING_INFO (307). */
struct get_consumer_running_info_request {
    struct span consumer_group, client_id;
    bool jstack_enable;
};

/** CONSUME_MESSAGE_DIRECTLY (309). */
struct consume_message_directly_request {
    struct span consumer_group;
    struct span client_id, msg_id, broker_name; /* data == NULL: absent */
    struct stored_message message;
};

/** A host as header fields spell it: "/10.0.0.1:10911", "name/10.0.0.1:10911" or "10.0.0.1:10911". */
struct host_text {
    struct span ip;
    uint16_t port;
};

/** PUSH_REPLY_MESSAGE_TO_CLIENT (326). The body is as stored: deflated when sys_flag says so. */
struct push_reply_message_request {
    struct span producer_group, topic, default_topic;
    int32_t default_topic_queue_nums, queue_id, sys_flag, flag, reconsume_times;
    int64_t born_timestamp_ms, store_timestamp_ms;
    struct host_text born_host, store_host;
    bool unit_mode;
    struct span properties;     /* may be empty */
    struct span correlation_id; /* CORRELATION_ID; data == NULL: it has none */
    struct span body;           /* may be empty */
};

int check_transaction_state_decode(struct check_transaction_state_request *out, const struct remoting_command *command);
int notify_consumer_ids_changed_decode(struct notify_consumer_ids_changed_request *out, const struct remoting_command *command);
int reset_offset_decode(struct reset_offset_request *out, const struct remoting_command *command);
int get_consumer_status_decode(struct get_consumer_status_request *out, const struct remoting_command *command);
int get_consumer_running_info_decode(struct get_consumer_running_info_request *out, const struct remoting_command *command);
int consume_message_directly_decode(struct consume_message_directly_request *out, const struct remoting_command *command);
int push_reply_message_decode(struct push_reply_message_request *out, const struct remoting_command *command);

/**
 * Reads an offset table in either of its forms, {"offsetTable":{{queue}:offset}} or, for administrators that speak
 * C++, {"offsetTable":[queues with their offsets]}; an empty body is an empty table. @p each (may be NULL: only check) gets the entries until the first that is not
 * acceptable, so check the whole before acting on any. Number of entries, or -EPROTO.
 */
int queue_offsets_for_each(struct span table, void (*each)(void *ctx, const struct queue_offset *entry), void *ctx);
