/*
 * Body of HEART_BEAT: which producer groups (and, read only, which consumer
 * groups) live behind a connection.
 */
#pragma once

#include "shm/base/bytes.h"

#include <stddef.h>

/** Most groups of each kind in one heartbeat that we read; a body with more is refused. */
#define HEARTBEAT_MAX_GROUPS 1024

struct heartbeat_data {
    struct span client_id;
    unsigned producer_group_count, consumer_group_count;
    struct span producer_groups[HEARTBEAT_MAX_GROUPS];
    struct span consumer_groups[HEARTBEAT_MAX_GROUPS];
};

/**
 * Writes the body for a client without consumers: both sets are present, the consumers' is empty.
 *
 * @param len  bytes written, or needed when the buffer is too small
 * @return 0, -ENOBUFS
 */
int heartbeat_data_encode(struct span client_id, const struct span *producer_groups, unsigned count, void *buf, size_t cap, size_t *len);

/**
 * Reads the body of a heartbeat of any client; subscriptions and unknown members are passed over.
 * Spans point into @p body, or into @p scratch where escapes were resolved.
 *
 * @return 0, -EPROTO (not JSON, no clientID, a set that is null, beyond the limit), -ENOBUFS (scratch too small)
 */
int heartbeat_data_decode(struct heartbeat_data *out, const void *body, size_t len, char *scratch, size_t scratch_cap);
