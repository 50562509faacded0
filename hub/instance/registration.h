/*
 * What one broker connection knows of us, and how it is kept true: heartbeats and
 * UNREGISTER_CLIENT, one at a time per connection and strictly in order, because a
 * broker executes them in different pools.
 *
 * Three facts of every broker, measured on 4.9.3 and on 5.3.3, rule this module:
 *  - a group once announced on a connection must go on being announced on it, or be unregistered on it; otherwise the broker
 *    closes the whole connection about 120 s later;
 *  - UNREGISTER_CLIENT of any group forgets clientId -> connection, and only the registration of a group that is new to the
 *    connection brings it back: after an unregister, the marker group is unregistered as well and announced again;
 *  - a broker that notices the end of an old connection after the new one registered forgets clientId -> connection too: the
 *    marker is unregistered and announced again REPAIR_AFTER_RECONNECT_NS after every reconnect, and after a first connect under
 *    a clientId that had connections before: a DEFAULT name kept from another hub, a broker that was lost and came back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hub/instance/producer_table.h"
#include "hub/loop/event_loop.h"
#include "hub/remoting/channel.h"
#include "shm/base/clock.h"
#include "shm/base/list.h"

struct broker;
struct mq_client_instance;
struct producer;

#define HEARTBEAT_COALESCE_NS (100 * NS_PER_MS) /* new groups within this time of a heartbeat share the next one */
#define REPAIR_AFTER_RECONNECT_NS (3 * NS_PER_S)

enum registration_step { REGISTRATION_IDLE, REGISTRATION_HEARTBEAT, REGISTRATION_UNREGISTER, REGISTRATION_MARKER };

struct registration {
    struct list_link link; /* in mq_client_instance.registrations */
    struct mq_client_instance *instance;
    struct channel *channel;
    struct broker *broker;       /* NULL: no broker has this master address any more */
    enum registration_step step; /* what is on its way */
    uint16_t step_group;
    bool marker_due;                              /* a group was unregistered, or the connection is new: repair follows */
    bool retiring;                                /* unregister everything, then close */
    bool duplicate_seen;                          /* see duplicate_client_id.h */
    bool heartbeat_unanswered;                    /* the last one: until another is answered nothing is unregistered */
    uint8_t failures;                             /* calls without an answer in a row */
    uint8_t refusals;                             /* UNREGISTERs refused in a row */
    uint16_t refused_group;                       /* the last one of these */
    uint64_t unregister_at_ns;                    /* after a refusal: not before */
    uint64_t heartbeat_at_ns;                     /* when the next one is due; UINT64_MAX: no time set */
    uint64_t heartbeat_sent_ns;                   /* on this connection, 0: never */
    uint64_t heartbeat_ok_ns;                     /* last confirmed, or when this object came to be */
    uint64_t announced[PRODUCER_GROUPS_MAX / 64]; /* groups this connection may know */
    uint64_t connects, heartbeats, unregisters, repairs;
    struct loop_timer step_timer, repair_timer;
};

#define FOR_EACH_REGISTRATION(reg, in) \
    for (struct list_link *it_ = (in)->registrations.next, *next_ = it_->next; \
         it_ != &(in)->registrations && ((reg) = LIST_ENTRY(it_, struct registration, link)); it_ = next_, next_ = it_->next)

/** The registration of the channel to a broker's master; made when new. 0 | -ENOMEM. */
int registration_attach(struct mq_client_instance *instance, struct broker *broker, struct channel *channel);
/** The connection came up: announces before anything else is written. */
void registration_connected(struct registration *registration);
/** The connection is gone, and with it everything the broker knew. */
void registration_lost(struct registration *registration);
/** No broker has this master any more: unregisters everything there, then closes and frees itself. */
void registration_retire(struct registration *registration);
/** A heartbeat is due now (period, suspicion). One that is on its way is awaited first. */
void registration_heartbeat(struct registration *registration);
/** A new group: a heartbeat at once, or HEARTBEAT_COALESCE_NS after the last one. */
void registration_announce(struct registration *registration);
/** Goes on with whatever is due next. */
void registration_step(struct registration *registration);
/** The same from the loop's timer, for callers in the middle of something. */
void registration_step_soon(struct registration *registration);
void registration_free(struct registration *registration);
/** True if the broker may hold an older connection of this clientId: ours, or that of a hub before this one. */
bool registration_has_predecessors(const struct registration *registration);
bool registration_knows(const struct registration *registration, const struct producer *producer);

/** Announces now what would be announced soon, unless something is on its way. */
void registration_announce_now(struct registration *registration);
/** Before a request of @p producer goes to @p channel: a broker should know the group by then (4.9.3's start waits for that). */
static inline void registration_before_send(struct channel *channel, const struct producer *producer)
{
    struct registration *reg = channel->session;
    if (reg && !(reg->announced[producer->index / 64] >> (producer->index % 64) & 1))
        registration_announce_now(reg);
}
