/*
 * librmqhub: send RocketMQ messages through the hub process of this host.
 *
 * The library has no threads, opens no socket to a broker, prints nothing and
 * depends on libc alone. A process attaches once (rmqhub_attach), starts one or
 * more producers and sends; everything else is the hub's (rmqhubd).
 *
 * What a result means
 *   RMQHUB_STORED      the broker said that it stored the message.
 *   RMQHUB_NOT_STORED  proved not stored: it never reached a socket, or the broker
 *                      refused it. Safe to send again.
 *   RMQHUB_UNKNOWN     it was written and nobody answered in time (or the answer was
 *                      lost). It may be stored. A repeat should carry the same
 *                      UNIQ_KEY (rmqhub_message_set_uniq_key), so that consumers can
 *                      tell it is one message.
 * An accepted message ends with exactly one of them. Accepted means that the send
 * call did not refuse it; accepted is not stored.
 *
 * Time. Deadlines are absolute CLOCK_MONOTONIC nanoseconds (rmqhub_deadline_after_ms).
 * No call returns later than 50 ms after its deadline, whether the hub runs, hangs,
 * restarts or is gone. Wall-clock steps change nothing. UINT64_MAX waits for ever.
 *
 * Threads. Every function may be called from any thread, except that an object must
 * not be freed while another call uses it, and that one rmqhub_message_t or
 * rmqhub_result_t serves one thread at a time. Callbacks run only inside
 * rmqhub_dispatch and rmqhub_flush, on the caller's thread, with no lock held; they may
 * call anything but rmqhub_detach, rmqhub_flush and rmqhub_producer_shutdown.
 *
 * fork(). In a child every handle answers RMQHUB_ERR_FORKED; free them and attach anew.
 *
 * Hub restart. The library attaches again by itself whenever a thread enters it; what
 * the old hub had not answered is sent again by the next one with its UNIQ_KEY. A
 * message survives the death of its process, or of the hub, not of both at once.
 *
 * The ABI may change until version 1.0.
 */
#ifndef RMQHUB_H
#define RMQHUB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RMQHUB_API __attribute__((visibility("default")))

/** Library version, "MAJOR.MINOR.PATCH". Static storage. */
RMQHUB_API const char *rmqhub_version(void);

/* ------------------------------------------------------------------ errors */

/** What a call returns: RMQHUB_OK, or the reason why not. Names and texts: rmqhub_error_name/_text. */
enum rmqhub_error {
    RMQHUB_OK = 0,
    /* The message was accepted and ended otherwise than stored; the result tells more. */
    RMQHUB_ERR_NOT_STORED = -1,
    RMQHUB_ERR_UNKNOWN_OUTCOME = -2,
    /* Refused before acceptance: nothing was or will be sent. */
    RMQHUB_ERR_INVALID_ARGUMENT = -10,
    RMQHUB_ERR_GROUP_ILLEGAL = -11,
    RMQHUB_ERR_TOPIC_ILLEGAL = -12,
    RMQHUB_ERR_MESSAGE_ILLEGAL = -13,
    RMQHUB_ERR_MESSAGE_TOO_LARGE = -14,
    RMQHUB_ERR_PROPERTY_ILLEGAL = -15,
    RMQHUB_ERR_STATE = -16,
    RMQHUB_ERR_DUPLICATE_GROUP = -17,
    RMQHUB_ERR_NO_MEMORY = -18,
    RMQHUB_ERR_WOULD_BLOCK = -19,
    RMQHUB_ERR_TIMEOUT = -20,
    RMQHUB_ERR_FORKED = -21,
    RMQHUB_ERR_LIMIT = -22,
    /* The hub. */
    RMQHUB_ERR_HUB_NOT_RUNNING = -30,
    RMQHUB_ERR_HUB_DRAINING = -31,
    RMQHUB_ERR_PERMISSION = -32,
    RMQHUB_ERR_VERSION = -33,
    RMQHUB_ERR_QUARANTINED = -34,
    RMQHUB_ERR_REFUSED = -35,
    RMQHUB_ERR_SYSTEM = -36,
};

/** "RMQHUB_ERR_TIMEOUT" and the like; "RMQHUB_ERR_?" for a number that is none. Static storage. */
RMQHUB_API const char *rmqhub_error_name(int error);
/** One sentence: what, and what to do. Static storage. */
RMQHUB_API const char *rmqhub_error_text(int error);

/* ---------------------------------------------------------------- outcomes */

enum rmqhub_outcome { RMQHUB_STORED = 1, RMQHUB_NOT_STORED = 2, RMQHUB_UNKNOWN = 3 };

/** 4.9.3's SendStatus; meaningful with RMQHUB_STORED. */
enum rmqhub_send_status {
    RMQHUB_SEND_OK = 0,
    RMQHUB_FLUSH_DISK_TIMEOUT = 1,
    RMQHUB_FLUSH_SLAVE_TIMEOUT = 2,
    RMQHUB_SLAVE_NOT_AVAILABLE = 3,
};

RMQHUB_API const char *rmqhub_outcome_name(enum rmqhub_outcome outcome);
RMQHUB_API const char *rmqhub_send_status_name(enum rmqhub_send_status status);

/* ---------------------------------------------------------------- deadlines */

/** Now + @p ms on the clock that deadlines use, in nanoseconds. Never blocks. */
RMQHUB_API uint64_t rmqhub_deadline_after_ms(uint32_t ms);

/* --------------------------------------------------------------- attachment */

typedef struct rmqhub_options rmqhub_options_t;
typedef struct rmqhub rmqhub_t;

/** Severity of a line given to the log callback. */
enum rmqhub_log_level { RMQHUB_LOG_ERROR, RMQHUB_LOG_WARN, RMQHUB_LOG_INFO, RMQHUB_LOG_DEBUG };
/** @p line is valid during the call and has no newline. May run on any thread inside a library call, with locks held: call nothing of this library from it. */
typedef void (*rmqhub_log_fn)(void *ctx, enum rmqhub_log_level level, const char *line);

/** Options with their defaults, or NULL without memory. The caller frees them; rmqhub_attach copies. */
RMQHUB_API rmqhub_options_t *rmqhub_options_new(void);
RMQHUB_API void rmqhub_options_free(rmqhub_options_t *options);
/** Where the hub listens. Default: $RMQHUB_RUNTIME_DIR, else /run/rmqhub as root and $XDG_RUNTIME_DIR/rmqhub otherwise. */
RMQHUB_API int rmqhub_options_set_runtime_dir(rmqhub_options_t *options, const char *path);
/** The library's only voice. Default: silent. */
RMQHUB_API int rmqhub_options_set_log(rmqhub_options_t *options, rmqhub_log_fn fn, void *ctx);

/**
 * Attaches this process to the hub. Blocks until the hub answered or @p deadline_ns passed.
 * @param options NULL for the defaults.
 * @param out     written on RMQHUB_OK only; ends with rmqhub_detach.
 * @return HUB_NOT_RUNNING, PERMISSION, VERSION, LIMIT, REFUSED, TIMEOUT, NO_MEMORY, SYSTEM (errno set).
 */
RMQHUB_API int rmqhub_attach(const rmqhub_options_t *options, uint64_t deadline_ns, rmqhub_t **out);

/**
 * Leaves the hub and frees everything, producers included. Does not wait: what was
 * accepted is still sent by a hub that runs, but nobody is told (use rmqhub_flush first).
 * Producer groups linger. In a forked child: frees, and touches nothing shared. NULL is fine.
 */
RMQHUB_API void rmqhub_detach(rmqhub_t *hub);

/** True text of the last refusal or lost link on this attachment, for people. Copied into @p buf (terminated); returns @p buf. */
RMQHUB_API const char *rmqhub_last_problem(rmqhub_t *hub, char *buf, size_t cap);

/* ---------------------------------------------------------------- producers */

typedef struct rmqhub_producer rmqhub_producer_t;

/**
 * A producer of @p group, in 4.9.3's state CREATE_JUST. Setters work until it is started: each may return INVALID_ARGUMENT,
 * STATE (started already) and FORKED, and rmqhub_last_problem names the broken rule or the state.
 * @return GROUP_ILLEGAL (null, blank, longer than 255, characters outside [%|a-zA-Z0-9_-], or DEFAULT_PRODUCER), INVALID_ARGUMENT,
 *         FORKED, NO_MEMORY.
 */
RMQHUB_API int rmqhub_producer_new(rmqhub_t *hub, const char *group, rmqhub_producer_t **out);
/** Which [cluster NAME] of the hub's configuration to use; default: its first one. */
RMQHUB_API int rmqhub_producer_set_cluster(rmqhub_producer_t *p, const char *cluster);
/** A nameserver list "host:port;host:port" instead of a named cluster, if the hub's policy allows it. */
RMQHUB_API int rmqhub_producer_set_namesrv(rmqhub_producer_t *p, const char *namesrv_addr);
/** 4.9.3's instanceName (default DEFAULT), unitName and namespace. */
RMQHUB_API int rmqhub_producer_set_instance_name(rmqhub_producer_t *p, const char *name);
RMQHUB_API int rmqhub_producer_set_unit_name(rmqhub_producer_t *p, const char *name);
RMQHUB_API int rmqhub_producer_set_namespace(rmqhub_producer_t *p, const char *name_space);
/** Another group, for a start that was refused with DUPLICATE_GROUP. STATE and FORKED as every setter; GROUP_ILLEGAL as
 * rmqhub_producer_new. */
RMQHUB_API int rmqhub_producer_set_group(rmqhub_producer_t *p, const char *group);
/**
 * 4.9.3's createTopicKey and defaultTopicQueueNums (1 to 65535): a topic that does not exist yet is made by a broker that has
 * the key's topic, with at most so many queues. Defaults: the hub's configuration, there TBW102 and 4.
 */
RMQHUB_API int rmqhub_producer_set_create_topic_key(rmqhub_producer_t *p, const char *topic);
RMQHUB_API int rmqhub_producer_set_default_topic_queue_nums(rmqhub_producer_t *p, uint32_t queue_nums);
/** 4.9.3's maxMessageSize: largest body in bytes, 1 to 4194304 (default). This version sends at most 262144. */
RMQHUB_API int rmqhub_producer_set_max_message_size(rmqhub_producer_t *p, uint32_t bytes);

/**
 * Registers the group with the hub; blocks until it answered or @p deadline_ns passed. Needs no server to be up.
 * @return INVALID_ARGUMENT (no producer), FORKED, STATE (not in CREATE_JUST; rmqhub_last_problem names the state): nothing changed.
 *         DUPLICATE_GROUP (same group twice in this process under an explicit instance name), TIMEOUT, HUB_DRAINING: the state
 *         is CREATE_JUST again, so it may be started again.
 *         REFUSED (the hub's rules, for example a group that is too long in its namespace), PERMISSION, LIMIT, VERSION,
 *         QUARANTINED: the state is START_FAILED for good.
 */
RMQHUB_API int rmqhub_producer_start(rmqhub_producer_t *p, uint64_t deadline_ns);

enum rmqhub_shutdown_mode {
    RMQHUB_SHUTDOWN_LINGER, /**< the group stays registered for the hub's linger time: a restart is free */
    RMQHUB_SHUTDOWN_FINAL,  /**< unregister at once, if no other process of this host uses the group */
};
/**
 * Waits for this attachment's accepted messages (as rmqhub_flush), then leaves the group.
 * @return TIMEOUT when messages were unanswered at @p deadline_ns: the group was left all the same.
 */
RMQHUB_API int rmqhub_producer_shutdown(rmqhub_producer_t *p, enum rmqhub_shutdown_mode mode, uint64_t deadline_ns);
/** Frees the handle; a running producer leaves with LINGER, waiting at most 50 ms for the hub. NULL is fine. Not after rmqhub_detach, which frees it. */
RMQHUB_API void rmqhub_producer_free(rmqhub_producer_t *p);

/* ----------------------------------------------------------------- messages */

typedef struct rmqhub_message rmqhub_message_t;

/**
 * A message. Topic and body are copied; the body may hold any bytes.
 * @return TOPIC_ILLEGAL (empty, longer than 127, illegal character, SCHEDULE_TOPIC_XXXX), MESSAGE_ILLEGAL (empty body),
 *         MESSAGE_TOO_LARGE (over 4194304 bytes), NO_MEMORY.
 */
RMQHUB_API int rmqhub_message_new(const char *topic, const void *body, size_t body_len, rmqhub_message_t **out);
RMQHUB_API void rmqhub_message_free(rmqhub_message_t *m);
/** Replaces the body and drops the UNIQ_KEY; topic, tag, keys and properties stay. For reuse of one message object. */
RMQHUB_API int rmqhub_message_set_body(rmqhub_message_t *m, const void *body, size_t body_len);
/** TAGS: one tag. NULL removes it. */
RMQHUB_API int rmqhub_message_set_tag(rmqhub_message_t *m, const char *tag);
/** KEYS: index keys separated by spaces. NULL removes them. */
RMQHUB_API int rmqhub_message_set_keys(rmqhub_message_t *m, const char *keys);
/** A user property; the last value of a name wins. PROPERTY_ILLEGAL: empty, reserved name, or bytes 0x01/0x02. */
RMQHUB_API int rmqhub_message_put_property(rmqhub_message_t *m, const char *name, const char *value);
/** The user flag of a message, free for the application. Default 0. */
RMQHUB_API int rmqhub_message_set_flag(rmqhub_message_t *m, int32_t flag);
/** WAIT (waitStoreMsgOK), default on. */
RMQHUB_API int rmqhub_message_set_wait_store_ok(rmqhub_message_t *m, int wait);
/** Reuses the UNIQ_KEY of an earlier completion: 32 or 56 hex digits. NULL: a new one per send (default). */
RMQHUB_API int rmqhub_message_set_uniq_key(rmqhub_message_t *m, const char *uniq_key);

/* ------------------------------------------------------------------ results */

typedef struct rmqhub_result rmqhub_result_t;

RMQHUB_API rmqhub_result_t *rmqhub_result_new(void);
RMQHUB_API void rmqhub_result_free(rmqhub_result_t *r);

/* All strings live as long as the result and until it is used again. */
RMQHUB_API enum rmqhub_outcome rmqhub_result_outcome(const rmqhub_result_t *r);
RMQHUB_API enum rmqhub_send_status rmqhub_result_send_status(const rmqhub_result_t *r);
/** Broker's response code, 4.9.3's local code (10001 connect, 10002 timeout, 10005 no route, ...) or 0. */
RMQHUB_API int32_t rmqhub_result_code(const rmqhub_result_t *r);
/** Why it is not stored, one line; "" when stored. */
RMQHUB_API const char *rmqhub_result_reason(const rmqhub_result_t *r);
/** UNIQ_KEY as hex, also known as msgId in Java's SendResult. */
RMQHUB_API const char *rmqhub_result_uniq_key(const rmqhub_result_t *r);
/** Java's offsetMsgId as hex; "" when unknown. */
RMQHUB_API const char *rmqhub_result_offset_msg_id(const rmqhub_result_t *r);
RMQHUB_API const char *rmqhub_result_broker_name(const rmqhub_result_t *r);
/** Queue and offset in it; -1 when unknown. */
RMQHUB_API int32_t rmqhub_result_queue_id(const rmqhub_result_t *r);
RMQHUB_API int64_t rmqhub_result_queue_offset(const rmqhub_result_t *r);
/** Tries that reached a socket, as far as this hub knows. */
RMQHUB_API uint32_t rmqhub_result_attempts(const rmqhub_result_t *r);
/** 1 when stored after an attempt whose fate is not known: a duplicate with this UNIQ_KEY may exist. */
RMQHUB_API int rmqhub_result_maybe_duplicated(const rmqhub_result_t *r);
/** Where the time went, in microseconds. */
struct rmqhub_timings {
    uint32_t ring_us;    /**< accepted -> taken by the hub */
    uint32_t hub_us;     /**< waiting in the hub (route, queueing) */
    uint32_t connect_us; /**< waiting for a connection */
    uint32_t wire_us;    /**< written -> answered: network and broker */
};
RMQHUB_API struct rmqhub_timings rmqhub_result_timings(const rmqhub_result_t *r);

/* --------------------------------------------------------------------- send */

/*
 * Credit. An attachment has 256 slots and 512 KiB for bodies and properties, shared by all its threads. A message holds its
 * share until its outcome was told: a sync send until it returns, an asynchronous one (and a oneway with a callback) until
 * its callback ran. So a thread that waits for credit which only its own rmqhub_dispatch could free waits until its
 * deadline: dispatch first. A body over 262144 bytes is MESSAGE_TOO_LARGE in this version.
 */

/**
 * Sends and waits for the outcome. Blocks until then, at most until @p deadline_ns + 50 ms.
 * @param result may be NULL.
 * @return RMQHUB_OK exactly when STORED; NOT_STORED and UNKNOWN_OUTCOME after acceptance; any other value: refused
 *         (a message refused for want of credit until the deadline is TIMEOUT). @p result is filled in every case.
 */
RMQHUB_API int rmqhub_send(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_result_t *result);

/** @p result is valid during the call only. */
typedef void (*rmqhub_send_fn)(void *ctx, const rmqhub_result_t *result);

/**
 * Accepts the message and returns; @p fn runs exactly once, inside rmqhub_dispatch or rmqhub_flush. Never waits for
 * credit: WOULD_BLOCK when all slots or the arena are in use (dispatch, then try again). The first message to a topic
 * waits for the hub to know the topic, at most until @p deadline_ns.
 */
RMQHUB_API int rmqhub_send_async(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_send_fn fn, void *ctx);

/**
 * Fire and forget: no answer is asked of the broker, so the outcome is UNKNOWN by nature (NOT_STORED when it was never
 * written). @p fn may be NULL. Waits for credit until @p deadline_ns.
 */
RMQHUB_API int rmqhub_send_oneway(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_send_fn fn, void *ctx);

/**
 * Runs the callbacks of finished sends, at most @p max (0: all that are ready). Never blocks on the hub.
 * @return how many ran, or an error (FORKED).
 */
RMQHUB_API int rmqhub_dispatch(rmqhub_t *hub, unsigned max);

/** Dispatches until nothing of this attachment is unanswered. Blocks; TIMEOUT at @p deadline_ns. */
RMQHUB_API int rmqhub_flush(rmqhub_t *hub, uint64_t deadline_ns);

/**
 * A descriptor that polls readable when rmqhub_dispatch has something to do (results, a local deadline, a hub to
 * re-attach to). Owned by the library, the same for the life of the attachment: never read or close it.
 */
RMQHUB_API int rmqhub_fd(rmqhub_t *hub);

/** Counters of this attachment, since rmqhub_attach. */
struct rmqhub_stats {
    uint64_t accepted, stored, not_stored, unknown, late, reattached;
    uint32_t in_flight;
};
RMQHUB_API int rmqhub_get_stats(rmqhub_t *hub, struct rmqhub_stats *out);

#ifdef __cplusplus
}
#endif
#endif
