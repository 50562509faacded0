/*
 * The header of a send in its two spellings, long names (code 10) and letters
 * (310 and 320), and the reply to it. The two functions that run once for each
 * message, send_message_encode() and send_response_decode(), do not allocate.
 */
#pragma once

#include "hub/remoting/remoting_codec.h"

/** No maxReconsumeTimes in the header. */
#define MAX_RECONSUME_TIMES_ABSENT (-1)

struct send_message_header {
    struct span producer_group;       /* a, with namespace */
    struct span topic;                /* b, with namespace */
    struct span default_topic;        /* c */
    struct span properties;           /* i; sent even when empty; data == NULL: left out, or was absent */
    int64_t born_timestamp_ms;        /* g */
    int32_t default_topic_queue_nums; /* d */
    int32_t queue_id;                 /* e; negative: the broker picks one */
    int32_t sys_flag;                 /* f */
    int32_t flag;                     /* h */
    int32_t reconsume_times;          /* j */
    int32_t max_reconsume_times;      /* l, or MAX_RECONSUME_TIMES_ABSENT */
    bool unit_mode;                   /* k */
    bool batch;                       /* m: this, not the code, makes a broker read a batch body */
};

/** Who speaks, and which call it is: the part of a header that is not about the message. */
struct remoting_identity {
    enum serialize_type serialize_type;
    enum language_code language;
    int32_t version;
    int32_t opaque;
    int32_t flag; /* REMOTING_FLAG_ONEWAY or 0 */
};

/** Upper bound of the frame that send_message_encode() writes, for reserving buffer space. */
size_t send_message_frame_bound(enum serialize_type type, const struct send_message_header *header, size_t body_len);

/**
 * Writes the frame of a SEND_MESSAGE_V2 (SEND_BATCH_MESSAGE when header->batch) up to its body.
 *
 * @return where the caller must put @p body_len bytes, or NULL when the frame does not fit @p cap or the
 *         protocol's limits; *frame_len is the length of the whole frame, body included
 */
void *send_message_encode(void *buf, size_t cap, const struct remoting_identity *identity, const struct send_message_header *header,
                          size_t body_len, size_t *frame_len);

#define SEND_MESSAGE_FIELDS_MAX 13

/** The ext fields of a send as they will be written, in the order of their letters. The texts lie in the header and in here. */
struct send_message_fields {
    unsigned count;
    struct ext_field ext[SEND_MESSAGE_FIELDS_MAX];
    char numbers[SEND_MESSAGE_FIELDS_MAX][20];
};

void send_message_fields_fill(struct send_message_fields *out, const struct send_message_header *header);

/** send_message_encode() in two steps, for whoever adds fields that depend on the others (a signature). */
void *send_message_encode_fields(void *buf, size_t cap, const struct remoting_identity *identity, int32_t code,
                                 const struct send_message_fields *fields, const struct ext_field *added, unsigned added_count,
                                 size_t body_len, size_t *frame_len);

/**
 * Reads the header of a send request of any of the six codes (10, 310, 320, 324, 325; letters or long names by code).
 *
 * @param missing  set to the letter or name of the mandatory field that is absent or not a number; may not be NULL
 * @return 0, or -EBADMSG. Optional fields that are absent get 0, false, or the values named in the struct.
 */
int send_message_header_decode(const struct remoting_command *command, struct send_message_header *out, const char **missing);

/** Reply to a send, or what can be read of any other frame that arrives on a broker's connection. */
struct send_response {
    int32_t opaque;
    int32_t code;
    int32_t flag; /* the frame is a response only if REMOTING_FLAG_RESPONSE is set */
    int32_t version;
    int32_t queue_id;           /* -1 when absent */
    int64_t queue_offset;       /* -1 when absent */
    struct span msg_id;         /* offset message id, upper-case hex; a batch: several, joined by commas; data == NULL when absent */
    struct span transaction_id; /* 5.x; data == NULL when absent */
    struct span remark;         /* data == NULL when absent; may be cut, see remoting_command_decode() */
};

/**
 * Reads a frame as a reply to a send, in one pass when it looks as servers write it, else through
 * remoting_command_decode() (same result, slower). Works on every valid frame, so that a channel can call it
 * first and look at flag and opaque. Spans point into the frame or into @p scratch.
 *
 * @return 0, -EPROTO (malformed, or queueId/queueOffset are not numbers), -ENOBUFS
 */
int send_response_decode(const void *frame, size_t frame_len, struct send_response *out, char *scratch, size_t scratch_cap);
