/*
 * What one broker connection knows of us, and how it is kept true: heartbeats and
 * UNREGISTER_CLIENT, one at a time per connection and strictly in order, because a
 * broker executes them in different pools.
 *
 * Two facts of every broker (spec, section 15) rule this module:
 *  - a group once announced on a connection must go on being announced on it, or be unregistered on it; otherwise the broker
 *    closes the whole connection about 120 s later;
 *  - UNREGISTER_CLIENT of any group forgets clientId -> connection, and only the registration of a group that is new to the
 *    connection brings it back: after an unregister, the inner group is unregistered as well and announced again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/instance/producer_table.h"
#include "hub/loop/event_loop.h"
#include "shm/base/list.h"

struct broker;
struct channel;
struct mq_client_instance;
struct producer;

enum registration_step { REGISTRATION_IDLE, REGISTRATION_HEARTBEAT, REGISTRATION_UNREGISTER, REGISTRATION_MARKER };

struct registration {
    struct list_link link; /* in mq_client_instance.registrations */
    struct mq_client_instance *instance;
    struct channel *channel;
    struct broker *broker;       /* NULL: no broker has this master address any more */
    enum registration_step step; /* what is on its way */
    uint16_t step_group;
    bool heartbeat_due;
    bool marker_due;                              /* a group was unregistered: the marker dance follows */
    bool retiring;                                /* unregister everything, then close */
    uint8_t failures;                             /* heartbeats without an answer in a row */
    uint64_t announced[PRODUCER_GROUPS_MAX / 64]; /* groups this connection may know */
    uint64_t heartbeats, unregisters;
    struct loop_timer retry_timer;
};

/** The registration of the channel to a broker's master; made when new. 0 | -ENOMEM. */
int registration_attach(struct mq_client_instance *instance, struct broker *broker, struct channel *channel);
/** The connection came up: announces before anything else is written. */
void registration_connected(struct registration *registration);
/** The connection is gone, and with it everything the broker knew. */
void registration_lost(struct registration *registration);
/** No broker has this master any more: unregisters everything there, then closes and frees itself. */
void registration_retire(struct registration *registration);
/** A heartbeat is due (period, new group). */
void registration_heartbeat(struct registration *registration);
/** Goes on with whatever is due next. */
void registration_step(struct registration *registration);
void registration_free(struct registration *registration);
bool registration_knows(const struct registration *registration, const struct producer *producer);

const char *registration_step_name(enum registration_step step);
