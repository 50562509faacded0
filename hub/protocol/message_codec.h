/*
 * Messages outside of headers: members of a batch body, records as a broker
 * stores and returns them, offset message ids.
 */
#pragma once

#include "hub/protocol/codes.h"
#include "shm/base/bytes.h"

#include <stddef.h>

/** Largest properties string: its length travels as a signed int16. */
#define MESSAGE_PROPERTIES_MAX 32767

/** Condition: there is no further record. */
#define MESSAGE_END 1

/** One member of a batch body. */
struct batch_member {
    int32_t flag;
    struct span body, properties;
};

/** Bytes of one member in a batch body. */
size_t batch_member_bytes(const struct batch_member *member);

/** Appends one member. The writer remembers a lack of space, and fails for properties over MESSAGE_PROPERTIES_MAX. */
void batch_append(struct byte_writer *writer, const struct batch_member *member);

/** Takes the next member off a batch body. 0, MESSAGE_END at the end, -EPROTO for lengths that do not add up. */
int batch_next(struct byte_reader *reader, struct batch_member *out);

/** Address of a host inside records and ids: 4 bytes (IPv4) or 16 (IPv6), network order. */
struct message_host {
    uint8_t addr[16];
    uint8_t addr_len; /* 4 or 16 */
    uint16_t port;
};

/** One record of a broker's log (pull, view and query replies, pushes 39 and 309). */
struct stored_message {
    uint32_t body_crc; /* of the stored body, 31 bits */
    int32_t queue_id;
    int32_t flag;
    int32_t sys_flag; /* the two host bits follow born_host and store_host on encode */
    int32_t reconsume_times;
    int64_t queue_offset;
    int64_t commit_log_offset; /* physical offset */
    int64_t born_timestamp_ms, store_timestamp_ms;
    int64_t prepared_transaction_offset;
    struct message_host born_host, store_host;
    struct span body, topic, properties;
};

/** Bytes of the record that stored_message_encode() writes. */
size_t stored_message_bytes(const struct stored_message *message);

/** Appends one record: magic of 4.9.3, or that of 5.x when the topic is longer than 127 bytes. The writer remembers a failure. */
void stored_message_encode(struct byte_writer *writer, const struct stored_message *message);

/** Takes the next record off a body. 0, MESSAGE_END at the end, -EPROTO (bad magic, lengths that do not add up). The CRC is not checked. */
int stored_message_next(struct byte_reader *reader, struct stored_message *out);

/** CRC-32 (that of zlib and java.util.zip) cut to 31 bits, as records carry it. */
uint32_t message_body_crc(const void *data, size_t len);

/** Longest text of an offset message id (IPv6), terminating zero excluded. */
#define OFFSET_MESSAGE_ID_MAX 56

/** Offset message id: where a message lies. */
struct offset_message_id {
    struct message_host store_host;
    int64_t commit_log_offset;
};

/** Writes 32 or 56 upper-case hex digits and a zero; returns their number. */
size_t offset_message_id_format(char dst[OFFSET_MESSAGE_ID_MAX + 1], const struct offset_message_id *id);

/** 0, or -EPROTO when the text is not such an id. Hex digits of either case. */
int offset_message_id_parse(struct span text, struct offset_message_id *out);

/**
 * Value of a property in a properties string; data == NULL when absent. By the rules of the servers' reader: the last
 * duplicate counts, entries without a separator or with an empty name or value do not exist.
 */
struct span message_property(struct span properties, struct span name);
