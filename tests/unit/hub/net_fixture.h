/*
 * A client instance on a clock that only the test moves, and scripted servers in
 * the same thread: nothing here sleeps, and every test sees the same order of
 * events. net_pump() runs the loop and the servers until nothing moves any more;
 * net_advance() moves the clock in small steps and pumps after each.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/producer/producer_impl.h"
#include "hub/remoting/remoting_codec.h"

#define FAKE_CONNS 16
#define FAKE_LOG 4096
#define FAKE_TEXT 512

struct fake_server;

struct fake_conn {
    int fd;          /* -1: closed */
    unsigned number; /* 1, 2, ... in the order of accepting */
    uint8_t *in;
    size_t in_len;
};

/** One request that arrived. */
struct fake_request {
    int32_t code, opaque, flag, queue_id;
    unsigned conn; /* number of its connection */
    bool answered;
    char text[FAKE_TEXT]; /* heartbeat: groups joined by ','; unregister: the group; route and send: the topic */
    char client_id[128];
    unsigned groups; /* of a heartbeat, however many fitted into text */
    size_t body_len;
};

struct fake_server {
    int fd;
    uint16_t port;
    char address[32];
    struct fake_conn conns[FAKE_CONNS];
    unsigned accepted;
    bool stop_reading;
    bool mute;         /* take requests, answer nothing */
    int32_t mute_code; /* the same for one code; 0: none */
    bool (*hook)(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *command); /* true: handled */
    void *hook_ctx;
    int32_t send_code;    /* reply code to sends */
    int32_t route_code;   /* reply code to route requests; 0: as the topic table says */
    char topics[16][128]; /* topics that exist, beside TBW102 */
    unsigned topic_count;
    const char *route_body; /* what every existing topic's route is */
    struct fake_request log[FAKE_LOG];
    unsigned log_count;
    int64_t next_offset;
};

struct net_fixture {
    uint64_t now_ns;
    int64_t wall_ms;
    struct event_loop *loop;
    struct mq_client_manager *manager;
    struct mq_client_instance *instance;
    struct client_config config;
    struct fake_server *name_servers[3], *brokers[3];
    char namesrv_addr[256];
    char route_body[1536];
    struct route_store store;
    unsigned changes;
};

void fake_server_open(struct fake_server **out);
void fake_server_close(struct fake_server *server);
/** Stops listening (connects are refused) but keeps the connections; fake_server_listen() takes the same port again. */
void fake_server_unlisten(struct fake_server *server);
void fake_server_listen(struct fake_server *server);
void fake_server_drop_conns(struct fake_server *server, bool reset);
unsigned fake_server_open_conns(const struct fake_server *server);
bool fake_server_poll(struct fake_server *server);
void fake_server_send(struct fake_conn *conn, const void *data, size_t len);
void fake_server_reply(struct fake_conn *conn, int32_t opaque, int32_t code, const char *remark, const struct ext_field *ext,
                       unsigned ext_count, struct span body);
void fake_server_reply_send(struct fake_server *server, struct fake_conn *conn, const struct remoting_command *command, int32_t code);
struct fake_conn *fake_server_last_conn(struct fake_server *server);
/** True if this heartbeat names @p group (among those that fitted into text). */
bool fake_request_names(const struct fake_request *heartbeat, const char *group);
/** Requests of @p code in the log (all when 0). */
unsigned fake_server_count(const struct fake_server *server, int32_t code);
const struct fake_request *fake_server_last(const struct fake_server *server, int32_t code);
void fake_server_add_topic(struct fake_server *server, const char *topic);

/** One nameserver, one broker, topic "T" with 2 queues on broker-a. No instance yet. */
void net_setup(struct net_fixture *fx);
void net_teardown(struct net_fixture *fx);
/** Gets the instance "unit" (made at first). */
struct mq_client_instance *net_instance(struct net_fixture *fx);
/** Registers @p group with the instance "unit" (user 1000). */
struct producer *net_join(struct net_fixture *fx, const char *group);
/** Uses topic @p name and lets its route arrive. */
struct topic_entry *net_topic(struct net_fixture *fx, const char *name);
/** The same with "T": brings up the connections to its brokers, broker-a's for certain. */
struct topic_entry *net_connect(struct net_fixture *fx);
void net_pump(struct net_fixture *fx);
/** net_pump() for a client without an instance, whose output nothing else flushes. */
void net_pump_client(struct net_fixture *fx, struct remoting_client *client);
/** The thread that resolves names runs in real time: pumps until @p channel's look-up has ended, at most some seconds. */
void net_wait_for_the_resolver(const struct channel *channel, void (*pump)(void));
void net_advance(struct net_fixture *fx, uint64_t ms);
/** The same in steps of half a second: for long times in which only the slow tasks matter. */
void net_skip(struct net_fixture *fx, uint64_t ms);
/** The fixed route: @p brokers brokers (1 to 3) named broker-a, -b, -c with @p queues write queues each, perm 6. */
void net_set_route(struct net_fixture *fx, unsigned brokers, unsigned queues);

/** A send with its last outcome kept. */
struct net_send {
    struct send_request request;
    struct producer_settings settings;
    struct send_outcome outcome;
    unsigned completions;
    char reason[700];
    char broker[64];
};

void net_send_init(struct net_send *send, struct net_fixture *fx, struct producer *producer, struct topic_entry *topic);

#define BLACK_HOLE_FILL 8

/** A listener whose queue is full lets SYNs go unanswered: a host behind a firewall that drops. */
struct black_hole {
    int fd, fill[BLACK_HOLE_FILL];
    char address[32];
};

void black_hole_open(struct black_hole *hole);
void black_hole_close(struct black_hole *hole);
