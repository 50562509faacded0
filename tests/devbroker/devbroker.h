/*
 * The whole devbroker: one nameserver and some brokers on loopback, one thread.
 * Requests come in through devbroker_handle_frame(); each handler executes one
 * and writes its reply into the connection's output.
 */
#pragma once

#include "hub/remoting/remoting_codec.h"
#include "hub/remoting/wire_json.h"
#include "tests/devbroker/clients.h"
#include "tests/devbroker/fault.h"
#include "tests/devbroker/journal.h"
#include "tests/devbroker/server.h"
#include "tests/devbroker/store.h"

#define BROKERS_MAX 64
#define BROKER_NAME_MAX 31
#define CLUSTER_NAME_MAX 63
#define ACL_TEXT_MAX 255
#define COUNTED_CODES 512 /* requests are counted per code below this; others together */

/** Response codes of 4.9.3 that only consumers meet. */
enum consumer_response_code {
    RESPONSE_SUBSCRIPTION_NOT_EXIST = 24,
    RESPONSE_SUBSCRIPTION_NOT_LATEST = 25,
};

#define FAQ_LINE "\nSee http://rocketmq.apache.org/docs/faq/ for further details."

struct devbroker_options {
    uint16_t port;
    unsigned broker_count;
    int32_t default_queue_nums; /* of TBW102 */
    bool auto_create;
    bool discard; /* keeps no messages, only counters and the journal */
    bool journal;
    bool binary_replies; /* binary headers, like a server configured for them */
    uint64_t channel_expiry_ms, scan_interval_ms;
    uint64_t idle_limit_ms; /* a connection without traffic is closed after that */
    uint64_t hold_sweep_ms; /* how often held pulls are looked at */
    uint64_t seed;
    size_t max_message_bytes;
    char cluster[CLUSTER_NAME_MAX + 1];
    char acl_access_key[ACL_TEXT_MAX + 1], acl_secret_key[ACL_TEXT_MAX + 1]; /* "": no access control */
    const char *control_path;                                                /* NULL: no control socket */
};

struct broker {
    struct devbroker *dev;
    unsigned index;
    char name[BROKER_NAME_MAX + 1];
    struct listener listener;
    struct store store;
    struct clients clients;
    struct list_link consumer_offsets, queue_locks, held_pulls, delayed;
    uint64_t requests[COUNTED_CODES];
    uint64_t stored_messages, stored_bytes;
    bool hidden; /* the nameserver leaves it out of routes */
    uint32_t next_random_queue;
};

struct devbroker {
    struct devbroker_options options;
    struct server *server;
    struct listener nameserver;
    uint64_t nameserver_requests[COUNTED_CODES];
    struct broker brokers[BROKERS_MAX];
    struct journal journal;
    struct fault_plan faults;
    struct list_link later; /* what scripted delays put off */
    struct control *control;
    struct server_timer scan_timer, sweep_timer;
    char *scratch; /* of the decoder and of bodies being built */
    size_t scratch_cap;
    char *body;
    size_t body_cap;
    int32_t push_opaque;
};

/** One request being executed. */
struct request {
    struct devbroker *dev;
    struct broker *broker; /* NULL at the nameserver */
    struct connection *connection;
    const struct remoting_command *command;
    int32_t opaque; /* under which it is answered */
    int32_t status; /* code of a successful send; a fault may set another */
};

/** Starts everything. 0 or -errno; @p what then says what failed. The struct is large and must not move. */
int devbroker_init(struct devbroker *dev, const struct devbroker_options *options, const char **what);
void devbroker_deinit(struct devbroker *dev);

/** Executes a frame as if it had just arrived; @p faults false: by the book. */
void devbroker_handle_frame(struct devbroker *dev, struct connection *c, const uint8_t *frame, size_t len, bool faults);

/** Room for a body under construction; valid until the next call. NULL without memory. */
char *devbroker_body_buffer(struct devbroker *dev, size_t bytes);

/* Requests by receiver: handlers never fail, they reply. */
void nameserver_handle(struct request *r);
void broker_handle(struct request *r);

void broker_send(struct request *r);                      /* 10, 310, 320 */
void broker_send_back(struct request *r);                 /* 36 */
void broker_pull(struct request *r);                      /* 11 */
void broker_query_offset(struct request *r);              /* 14 */
void broker_update_offset(struct request *r);             /* 15 */
void broker_heartbeat(struct request *r);                 /* 34 */
void broker_unregister(struct request *r);                /* 35 */
void broker_list_producers(struct request *r);            /* 204 */
void broker_list_consumer_connections(struct request *r); /* 203 */
void broker_list_consumers(struct request *r);            /* 38 */
void broker_lock_queues(struct request *r);               /* 41 */
void broker_unlock_queues(struct request *r);             /* 42 */
void broker_search_offset(struct request *r);             /* 29 */
void broker_max_offset(struct request *r);                /* 30 */
void broker_min_offset(struct request *r);                /* 31 */
void broker_earliest_time(struct request *r);             /* 32 */
void broker_view_message(struct request *r);              /* 33 */
void broker_create_topic(struct request *r);              /* 17 */
void broker_check_client_config(struct request *r);       /* 46 */

/** Topic for a send: existing, or created from its default topic; NULL when it cannot be. */
struct topic *broker_topic_for_send(struct broker *b, struct span topic, struct span default_topic, int32_t queue_nums);

/** Creates a topic of a broker's own making unless it exists. */
struct topic *broker_ensure_topic(struct broker *b, struct span topic, int32_t queues, int32_t perm);

/** Stores a message, notes it in the journal and answers the pulls that waited for it. As store_put(). */
int broker_store(struct broker *b, struct topic *t, struct stored_message *m, uint64_t connection);

/** Stores a message now in the schedule topic and, after the delay of @p level, under @p t. As store_put(). */
int broker_store_delayed(struct broker *b, struct topic *t, struct stored_message *m, int64_t level, uint64_t connection);
void broker_forget_delayed(struct broker *b);

/** Delay of a level in a stock broker: 1 s .. 2 h for 1 .. 18; higher levels count as 18. */
uint64_t delay_level_ms(int64_t level);

/** Answers held pulls of a queue that just grew. */
void broker_wake_pulls(struct broker *b, struct topic *t, int32_t queue_id);
/** Answers held pulls whose time is over. */
void broker_sweep_pulls(struct broker *b);
void broker_forget_pulls(struct broker *b, const struct connection *c); /* NULL: all */
void broker_forget_locks(struct broker *b);
void broker_forget_offsets(struct broker *b);

/* Replies. None is written to a oneway request. */
void reply(struct request *r, int32_t code, const char *remark);
void replyf(struct request *r, int32_t code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void reply_body(struct request *r, struct span body);
void reply_ext_i64(struct request *r, const char *key, int64_t value);

/** A reply with ext fields: begin, remoting_encode_ext*(), end. False: nothing is to be written. */
struct reply_writer {
    struct remoting_encoder encoder;
    struct connection *connection;
};
bool reply_begin(struct request *r, struct reply_writer *w, int32_t code, const char *remark, size_t ext_bytes, size_t body_len);
void reply_end(struct reply_writer *w, struct span body);

/** Writes the comma before every item but the first. */
void write_separator(struct json_writer *w, bool *first);

/** A oneway request of the broker to a client. */
void push_oneway(struct devbroker *dev, struct connection *c, int32_t code, const char *key, struct span value);

/** "ip:port" of the peer, in a static buffer. */
const char *connection_peer(const struct connection *c);

/** An integer ext field, @p absent when it is missing or none. */
int64_t request_i64(const struct request *r, const char *key, int64_t absent);
