/*
 * Broker name -> addresses by broker id (0 is the master): 4.9.3's brokerAddrTable,
 * with what the hub knows about each broker beside it. Entries live as long as the
 * table, so that a queue may point at its broker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/remoting/channel.h"

struct broker_data;

#define BROKERS_MAX 256u /* per instance */
#define BROKER_NAME_MAX 127
#define BROKER_ADDRS_MAX 16u /* a master and its slaves */

struct broker_address {
    int64_t broker_id;
    char address[CHANNEL_ADDRESS_MAX + 1];
};

/** Heartbeats to this broker's master. */
struct heartbeat_record {
    int64_t last_ok_ms, last_sent_ms; /* wall clock; 0: never */
    uint32_t last_rt_us;
    uint32_t ok, failed;
    uint32_t last_late_ms, worst_late_ms; /* sent this long after it was due */
    uint32_t coalesced;                   /* due while one was on its way: the next stands for both */
    uint32_t last_20;                     /* bit 0 is the latest; 1 = answered */
    uint32_t last_20_count;
    int32_t broker_version; /* from the reply's header */
    char last_error[128];
};

struct broker {
    char name[BROKER_NAME_MAX + 1];
    char cluster[BROKER_NAME_MAX + 1];
    uint16_t index;      /* position in the table; stable */
    uint16_t addr_count; /* 0: offline, known from an earlier route only */
    struct broker_address addrs[BROKER_ADDRS_MAX];
    uint64_t offline_ns;    /* monotonic time since which it has no address; 0: it has one, or never was looked at */
    struct channel *master; /* channel to id 0, or NULL when the broker has no master */
    struct heartbeat_record heartbeat;
    uint64_t sends, stored, not_stored, unknown;
};

struct broker_addr_table {
    struct broker *brokers[BROKERS_MAX];
    unsigned count;
};

void broker_addr_table_deinit(struct broker_addr_table *table);

struct broker *broker_addr_table_find(const struct broker_addr_table *table, const char *name, size_t len);
/** Replaces the whole address map of one broker, as 4.9.3 does. 0 | 1 changed | -EDQUOT | -ENOMEM | -EINVAL name or address too long. */
int broker_addr_table_put(struct broker_addr_table *table, const struct broker_data *data);
/** Gives an entry that nobody refers to another name; whatever was known of the old one is gone. */
void broker_addr_table_reuse(struct broker *broker, const struct broker_data *data);
const char *broker_master_address(const struct broker *broker); /* NULL: no master */
