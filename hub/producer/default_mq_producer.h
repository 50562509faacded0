/*
 * A producer as one application holds it (4.9.3's DefaultMQProducer with its Impl): a
 * group with its namespace, settings of its own, and a life:
 *
 *   CREATE_JUST ──start──▶ START_FAILED ──▶ RUNNING ──shutdown──▶ SHUTDOWN_ALREADY
 *        ▲                     │ an error keeps it there
 *        └─ group registered before in this client: another name may be tried
 *
 * Several handles, of one process or of many, share the group in the instance
 * (struct producer), the instance, its connections and its routes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/producer/producer_config.h"
#include "shm/base/list.h"

/* The seam for message traces: nothing in the hub sets either yet. The key access_channel is refused until a dispatcher exists. */

/** 4.9.3's AccessChannel: whose cloud the trace goes to. */
enum access_channel { ACCESS_CHANNEL_LOCAL, ACCESS_CHANNEL_CLOUD };

/** Where tracing hooks in; the producer does not own it. */
struct trace_dispatcher {
    /** 0 or -errno; a failure is logged and the producer runs without. */
    int (*start)(struct trace_dispatcher *dispatcher, const char *namesrv_addr, enum access_channel access_channel);
    void (*shutdown)(struct trace_dispatcher *dispatcher);
};

/** What a producer is asked to be. The texts are copied at the start; NULL or "" means not set: then the cluster's, or 4.9.3's. */
struct default_mq_producer_options {
    struct span group; /* without namespace; data == NULL: none */
    const char *name_space;
    struct instance_key key;
    const char *create_topic_key;
    uint32_t default_topic_queue_nums, max_message_size; /* 0: not set */
    uid_t uid;                                           /* whose it is */
    const void *client;                                  /* the process it belongs to; NULL: nobody's in particular */
    enum access_channel access_channel;
    struct trace_dispatcher *trace_dispatcher; /* NULL: no tracing */
};

struct default_mq_producer {
    enum service_state service_state;
    char group[GROUP_MAX_LENGTH + 1]; /* wrapped with its namespace */
    uint16_t group_len;
    char name_space[NAME_SPACE_MAX_LENGTH + 1];
    struct producer_settings settings;
    struct mq_client_instance *instance;
    struct list_link link;                  /* in producer->handles */
    const void *client;                     /* whose handle it is */
    struct producer *producer;              /* the group in the instance */
    struct topic_entry *create_topic_entry; /* polled from the start */
    struct trace_dispatcher *trace_dispatcher;
    char reason[320]; /* why the last start failed */
};

/** CREATE_JUST. Nothing to free before a start. */
void default_mq_producer_init(struct default_mq_producer *producer);

/**
 * DefaultMQProducer.start, in its order. Contacts nobody: a producer starts with every server down.
 * 0 | -EALREADY not in state CREATE_JUST, which producer->reason names | -EINVAL a rule is broken | -EEXIST this client has the
 * group under this explicit instance name already; the state is CREATE_JUST again | -EPERM another user's group | -ENOENT no such
 * cluster | -EDQUOT | -ESHUTDOWN | -ENOMEM. producer->reason is one line for people.
 */
int default_mq_producer_start(struct default_mq_producer *producer, struct mq_client_manager *manager,
                              const struct default_mq_producer_options *options);

/** Its process gave the handle up, and may register the group anew, while requests are still on their way. */
void default_mq_producer_disown(struct default_mq_producer *producer);

/**
 * DefaultMQProducer.shutdown: leaves the group, which lingers unless @p final, and lets go of the instance. In another state
 * than RUNNING it does nothing, so it may run twice. The owner's requests have completed before.
 */
void default_mq_producer_shutdown(struct default_mq_producer *producer, bool final);
