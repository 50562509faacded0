/*
 * Who pulls next (4.9.3's PullMessageService): one first-in-first-out queue of pull
 * requests per instance, requests that wait for their time before they enter it, and
 * tasks that run once after a while. A consumer submits one request per queue assigned
 * to it; its pull_message() is called when the request's turn comes, and when that pull
 * has ended it submits the same request again.
 *
 * Requests and tasks are embedded in what belongs to their consumer: nothing is
 * allocated here, and whoever frees one cancels it first. For the loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/loop/deadline_wheel.h"
#include "hub/protocol/message_queue_name.h"
#include "shm/base/list.h"

/** Most pulls started in one round of the loop; what is left has its turn in the next. */
#define PULL_MESSAGE_BUDGET 64u
/** A pull that could not be started is tried again after this time: the effective pullTimeDelayMillsWhenException of 4.9.3. */
#define PULL_TIME_DELAY_WHEN_ERROR_MS 1000u
/** How long a stopped service still runs tasks that come due. */
#define PULL_MESSAGE_JOIN_MS 1000u

struct pull_message_service;

/** Pulls of one message queue, one at a time. The owner fills in the first five and keeps their texts while it is submitted. */
struct pull_request {
    struct span consumer_group;
    struct message_queue_name message_queue;
    void *process_queue; /* the consumer's */
    int64_t next_offset;
    bool previously_locked;
    /* The service's: */
    struct list_link link;
    struct deadline deadline;
    enum { PULL_REQUEST_FREE, PULL_REQUEST_QUEUED, PULL_REQUEST_DELAYED } state;
};

/** Something to run once. The owner fills in run and ctx. */
struct pull_task {
    void (*run)(void *ctx);
    void *ctx;
    struct list_link link;
    struct deadline deadline;
};

/** What a consumer group puts into the instance's consumer table. */
struct pull_consumer {
    /**
     * Starts the pull of @p request, which is free again: it may be submitted (at once or later), kept or freed inside
     * the call. 0, or -errno: it was not started and the request is still there; the service submits it again later.
     */
    int (*pull_message)(void *ctx, struct pull_request *request);
    void *ctx;
};

struct pull_message_service_ops {
    /** The consumer of a group in this instance; NULL: none. */
    const struct pull_consumer *(*select_consumer)(void *ctx, struct span consumer_group);
    void *ctx;
};

enum pull_service_state { PULL_SERVICE_IDLE, PULL_SERVICE_RUNNING, PULL_SERVICE_STOPPING };

/** Everything since the start of the hub. */
struct pull_service_counters {
    uint64_t executed;            /* pulls handed to their consumer, whatever came of it */
    uint64_t delayed;             /* submissions for later */
    uint64_t tasks;               /* tasks run */
    uint64_t errors;              /* pulls that their consumer could not start */
    uint64_t dropped;             /* no consumer of that group here */
    uint64_t cancelled;           /* requests and tasks let go by a stop */
    uint64_t refused;             /* submissions while stopped */
    uint64_t rounds, full_rounds; /* rounds of the pull loop; those that ended at the budget */
};

struct pull_message_service {
    struct event_loop *loop;
    const char *who; /* for the log */
    struct pull_message_service_ops ops;
    enum pull_service_state state;
    struct list_link queue;   /* struct pull_request, next first */
    struct list_link delayed; /* struct pull_request */
    struct list_link tasks;   /* struct pull_task */
    uint32_t queued_count, delayed_count, task_count;
    uint32_t queued_high; /* most requests that were queued at once */
    struct deadline_wheel requests_wheel, tasks_wheel;
    struct loop_timer round_timer, join_timer;
    uint64_t last_loop_round; /* in which pulls were started */
    struct pull_service_counters counters;
};

/** Starts it, also again after a stop. @p who (a clientId) and @p ops must stay. @p ops may be NULL: every group is unknown. 0 | -ENOMEM. */
int pull_message_service_start(struct pull_message_service *service, struct event_loop *loop, const char *who,
                               const struct pull_message_service_ops *ops);
/** Stops the loop; tasks that come due within PULL_MESSAGE_JOIN_MS still run. Harmless when it does not run. */
void pull_message_service_shutdown(struct pull_message_service *service);
/** Nothing runs any more: never started, or shut down and joined. */
bool pull_message_service_is_stopped(const struct pull_message_service *service);
/** Lets everything go at once. Harmless on a zeroed struct and when repeated. */
void pull_message_service_deinit(struct pull_message_service *service);

/** Appends to the queue. 0 | -EALREADY: it is in the queue | -ESHUTDOWN. */
int pull_message_service_execute_pull_request_immediately(struct pull_message_service *service, struct pull_request *request);
/** Appends to the queue when @p delay_ms have passed. 0 | -EALREADY | -ESHUTDOWN. */
int pull_message_service_execute_pull_request_later(struct pull_message_service *service, struct pull_request *request, uint32_t delay_ms);
/** Takes a request back; harmless when it is not here. */
void pull_message_service_cancel_pull_request(struct pull_message_service *service, struct pull_request *request);

/** Runs @p task once after @p delay_ms, whatever happens to the queue; one that waits already is moved. 0 | -ESHUTDOWN. */
int pull_message_service_execute_task_later(struct pull_message_service *service, struct pull_task *task, uint32_t delay_ms);
void pull_message_service_cancel_task(struct pull_message_service *service, struct pull_task *task);

const char *pull_service_state_name(enum pull_service_state state);
