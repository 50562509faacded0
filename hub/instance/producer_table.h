/*
 * Producer groups of one instance, counted. A group whose last user left stays
 * for its linger; then it is unregistered on every connection that knows it, and
 * its place is free again only when no connection does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/instance/client_config.h"
#include "shm/base/list.h"

#define PRODUCER_GROUPS_MAX 1024u /* per instance */

struct mq_client_instance;

enum producer_state {
    PRODUCER_ACTIVE,        /* somebody uses it */
    PRODUCER_LINGERING,     /* nobody does, still announced */
    PRODUCER_UNREGISTERING, /* no longer announced, some connection may still know it */
};

/** One producer group in one instance. */
struct producer {
    struct mq_client_instance *instance;
    char group[GROUP_MAX_LENGTH + 1];
    uint16_t group_len;
    uint16_t index; /* position in the table, stable: bit in the registrations */
    enum producer_state state;
    bool inner; /* the client's own: CLIENT_INNER_PRODUCER, the marker */
    uid_t uid;  /* who registered it */
    uint32_t refs;
    struct list_link handles; /* struct default_mq_producer, by link: who holds it */
    uint32_t outstanding;     /* requests of this group without an outcome; it is not unregistered while there are any */
    uint64_t linger_until_ns; /* monotonic; 0 unless lingering */
    int64_t registered_ms;    /* wall clock */
    uint64_t sends, stored, not_stored, unknown, oneway;
};

struct producer_table {
    struct producer *producers[PRODUCER_GROUPS_MAX]; /* holes are NULL */
    unsigned count;                                  /* present, of every state */
    unsigned high;                                   /* one past the last in use */
};

/** Around every request of a group: begin before anything can end it, end just before its outcome is told. */
static inline void producer_request_begin(struct producer *producer)
{
    producer->outstanding++;
}
/** For producer_request_end(): the last request of a group that waits for it to be unregistered. */
void mq_client_instance_producer_is_idle(struct producer *producer);
static inline void producer_request_end(struct producer *producer)
{
    if (--producer->outstanding == 0 && producer->state == PRODUCER_UNREGISTERING)
        mq_client_instance_producer_is_idle(producer);
}

void producer_table_deinit(struct producer_table *table);
struct producer *producer_table_find(const struct producer_table *table, const char *group, size_t len);
/** 0 | -EDQUOT | -ENOMEM. */
int producer_table_add(struct producer_table *table, const char *group, size_t len, struct producer **out);
void producer_table_remove(struct producer_table *table, struct producer *producer);

const char *producer_state_name(enum producer_state state);
