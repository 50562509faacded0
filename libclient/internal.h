/*
 * Private to librmqhub.
 *
 * Locks, in the order in which they may be taken:
 *   link_lock  the socket, its state and the attach handshake   (tried, never waited for, by senders)
 *   lane_lock  the lane, the arena, registrations, the per-slot table
 * No lock is held while a callback runs, nor across a futex wait.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libclient/arena.h"
#include "libclient/include/rmqhub.h"
#include "shm/attach_protocol.h"
#include "shm/base/list.h"
#include "shm/lane.h"
#include "shm/message/uniq_key.h"
#include "shm/runtime_dir.h"

/* The hub answers by the deadline and needs a little to do so; after this much more the library answers itself. */
#define ANSWER_GRACE_NS (35 * NS_PER_MS)
/* A send adds UNIQ_KEY and WAIT to the message's own properties; with their separators they fit well within this. */
#define PROPERTIES_ADDED_MAX 96u
/* Later deadlines mean the same, 292 years after boot, and nothing can be added to them. */
#define DEADLINE_MAX_NS ((uint64_t)INT64_MAX)
/* How long a thread sleeps before it looks whether the hub is still there. */
#define WAIT_SLICE_NS (50 * NS_PER_MS)
#define WAIT_SLICE_LINK_DOWN_NS (5 * NS_PER_MS)

enum link_state {
    LINK_DOWN,      /* no hub; the next try is due at next_try_ns. Only now, and with head_is_final, may a slot be revoked */
    LINK_ATTACHING, /* ATTACH is on its way: another hub may be reading the lane. Entered under lane_lock too */
    LINK_UP,
    LINK_REFUSED, /* the hub said no for good; final_error says how */
};

struct rmqhub_options {
    char runtime_dir[RUNTIME_DIR_CAP];
    rmqhub_log_fn log;
    void *log_ctx;
};

struct link {
    _Atomic int state; /* enum link_state; written under link_lock */
    int fd;
    _Atomic int doorbell;
    _Atomic uint64_t doorbell_inode;
    uint64_t fd_inode;
    uint64_t next_try_ns, backoff_ns;
    int final_error;
    char problem[200];
};

/* What the process remembers of a slot in use; everything here is lost with the process, and not needed then. */
struct pending {
    rmqhub_send_fn fn;
    void *ctx;
    uint64_t deadline_ns;
    uint32_t body_off, properties_off; /* ARENA_NONE: none */
    uint8_t flags;                     /* enum shm_slot_flag */
    bool in_use;
    bool told; /* the caller has its outcome already; the slot waits for its late answer */
    bool is_message;
    bool needs_link; /* pointless once the hub is gone: not waited for */
    uint8_t uniq_len;
    uint8_t uniq[SHM_UNIQ_MAX];
};

struct rmqhub {
    struct rmqhub_options options;
    uint8_t nonce[SHM_NONCE_BYTES];
    _Atomic uint32_t *alive_word; /* on a page that fork wipes */

    pthread_mutex_t link_lock;
    struct link link;
    int epoll_fd, timer_fd;
    _Atomic bool polled;     /* rmqhub_fd was asked for: keep the timer and the wish for a byte up to date */
    uint64_t timer_armed_ns; /* lane_lock */
    uint64_t last_look_ns;   /* lane_lock: when the socket was last polled without a reason */

    pthread_mutex_t lane_lock;
    pthread_cond_t credit; /* a slot or arena space was freed */
    unsigned credit_waiters;
    struct lane_client lane;
    struct shm_c *c;
    struct shm_h *h;
    int c_fd, h_fd, pid_fd;
    uint64_t c_inode, h_inode;
    bool head_is_final; /* lane_lock: the hub of this H hung up, and no other hub that took anything is unknown to us */
    struct arena arena;
    struct pending pending[SHM_SLOTS];
    unsigned quiet_or_told;     /* slots that nobody waits for: to be reaped when credit is wanted */
    unsigned async_in_flight;   /* with a callback owed */
    unsigned in_flight;         /* messages whose caller has no outcome yet */
    uint64_t earliest_async_ns; /* no async deadline lies before this */
    struct uniq_key_source uniq;
    struct rmqhub_stats stats;
    bool handle_used[SHM_REGISTRATIONS]; /* lane_lock; handle 0 is never given out */
    struct list_link producers;          /* lane_lock */
};

#define TOPIC_BUCKETS 64u

struct topic_handle {
    struct topic_handle *next;
    uint32_t hash;
    uint16_t handle;
    char name[128];
};

enum service_state { CREATE_JUST, RUNNING, SHUTDOWN_ALREADY, START_FAILED };

struct rmqhub_producer {
    struct list_link link; /* in rmqhub.producers */
    struct rmqhub *hub;
    _Atomic int state; /* enum service_state */
    uint16_t handle;   /* 0: not registered */
    uint32_t max_message_size;
    uint32_t default_topic_queue_nums; /* 0: the hub's */
    char strings[SHM_STRINGS][512];
    struct topic_handle *topics[TOPIC_BUCKETS]; /* lane_lock */
};

struct rmqhub_message {
    char topic[128];
    uint32_t topic_hash;
    void *body;
    uint32_t body_len, body_cap;
    char *properties; /* everything but WAIT and UNIQ_KEY, encoded */
    uint32_t properties_len, properties_cap;
    int32_t flag;
    bool wait_store_ok;
    uint8_t uniq_len;
    uint8_t uniq[SHM_UNIQ_MAX];
};

struct rmqhub_result {
    enum rmqhub_outcome outcome;
    struct shm_mbox_record mbox;
    char reason[SHM_REASON_BYTES];
    char uniq_key[2 * SHM_UNIQ_MAX + 1];
    char offset_msg_id[2 * SHM_UNIQ_MAX + 1];
    char broker_name[SHM_BROKER_NAME_BYTES];
};

/* ---- link.c: finding the hub, and finding it again ---- */

/** Starts, or goes on with, whatever the link needs now; never blocks. May change state. */
void link_step(struct rmqhub *hub, uint64_t now_ns);
/** Polls the socket when the link is up; notices a hub that hung up. Never blocks. */
void link_look(struct rmqhub *hub, uint64_t now_ns);
/** The descriptors that are the process's own: pidfd, epoll, timer. RMQHUB_OK or SYSTEM. */
int link_open_descriptors(struct rmqhub *hub);
/** Closes what is still ours. */
/** Leaves; a child of fork closes its copy only. */
void link_close(struct rmqhub *hub, bool forked);
/** Inode behind a descriptor, or 0. */
uint64_t link_inode_of(int fd);
void link_drain_wake_bytes(struct rmqhub *hub);
void link_ring(struct rmqhub *hub);
void hub_log(struct rmqhub *hub, enum rmqhub_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void hub_problem(struct rmqhub *hub, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- client.c ---- */

bool hub_is_forked(const struct rmqhub *hub);

/* ---- slots.c: credit, submission, waiting, the end of a slot; all but slot_wait under lane_lock ---- */

/** A slot and arena space for the message, waiting for credit until the deadline if @p may_wait. RMQHUB_OK, WOULD_BLOCK, TIMEOUT, or the link's final error. */
int slot_acquire(struct rmqhub *hub, uint32_t properties_len, uint32_t body_len, uint64_t deadline_ns, bool may_wait, unsigned *slot_out);
/** Accepts: publishes the record and rings the doorbell if the hub sleeps. */
void slot_submit(struct rmqhub *hub, unsigned slot, struct shm_slot_record *record);
/** Waits (without lane_lock) until the slot is answered or its deadline and grace have passed; then ends it. Fills @p result. */
void slot_wait(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result);
/** Ends an answered slot. */
void slot_finish(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result);
/** Ends a slot whose deadline passed without an answer: revoked (NOT_STORED) or UNKNOWN and left to its late answer. */
void slot_give_up(struct rmqhub *hub, unsigned slot, rmqhub_result_t *result);
/** Frees slots that nobody waits for and that are answered by now. Returns how many. */
unsigned slots_reap(struct rmqhub *hub);
bool slot_is_overdue(const struct rmqhub *hub, unsigned slot, uint64_t now_ns);

/* ---- result.c ---- */

void result_set_refused(rmqhub_result_t *result, const char *reason);
void result_set_local(rmqhub_result_t *result, const struct pending *pending, enum rmqhub_outcome outcome, const char *reason);
void result_set_answer(rmqhub_result_t *result, struct rmqhub *hub, unsigned slot);

/* ---- producer.c ---- */

/** Frees the handle and nothing shared: detach, and children of fork. */
void producer_free_memory(rmqhub_producer_t *p);

/** Handle of the topic under this producer, registering it with the hub if need be. Takes lane_lock itself. */
int producer_topic_handle(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, uint16_t *handle_out);
